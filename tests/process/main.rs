//! Tests of the real binary, one module a topic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a test may panic, and bounds its waits by the machine's own clock"
)]

mod broken_disk;
mod damage;
mod history;
mod kill_loop;
mod rig;
mod stubborn;
