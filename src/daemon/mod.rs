//! The daemon: the only place that constructs, spawns and reads clocks.
//!
//! Here are the parts that a running process is made of: real and driven time, supervised
//! tasks, and the order of stopping. No rule of the product lives here.

pub mod accept_clock;
mod attachments;
pub mod clock;
pub mod dispatch;
pub mod driven;
pub mod observe;
mod parts;
mod reload;
mod retention;
pub mod serve;
mod service_manager;
pub mod shutdown;
pub mod tasks;
mod upkeep;
mod vitals;
