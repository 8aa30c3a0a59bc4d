//! The core systems, as Holdover sees them: adapters behind `engine::ports::Upstream`.
//!
//! The contract of every adapter, in words:
//! - It answers *applied* or *refused* only where the core itself said so, in a form the adapter
//!   lists.
//! - It answers *transient* only where it knows that the core did not apply the attempt: no byte
//!   was sent, or the core said so in a listed form.
//! - Everything else is *in doubt*: no answer in time, a cut connection, an answer that cannot be
//!   read or is not listed, a maintenance page in front of the core. It is never guessed.
//! - `may_start` is asked between having a connection and writing to it. After a no, nothing is
//!   written. Nothing is ever written twice for one call.
//! - Questions and probes have no effect, and a failing one teaches nothing.
//!
//! `http` is the adapter, `answer` its table of answers, `connection` the sockets beneath it;
//! `scripted` is the simulated core that demos, tests and benchmarks talk to.
//! When to probe and how often to ask is not decided here.

pub mod answer;
mod connection;
pub mod http;
pub mod scripted;

pub use answer::business_status;
pub use http::{HttpOptions, HttpUpstream, ProbeExpect};
