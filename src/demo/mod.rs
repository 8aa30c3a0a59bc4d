//! The demo: three days of a real stop in about a minute, on the real daemon.
pub mod answers;
pub mod bodies;
pub mod client;
pub mod kinds;
pub mod population;
pub mod proof;
pub mod schedule;
