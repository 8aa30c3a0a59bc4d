//! Tests of the real binary, one module a topic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a test may panic, and bounds its waits by the machine's own clock"
)]

mod asked;
mod attachments;
mod audit_log;
mod books;
mod broken_disk;
mod broker;
mod canary;
mod cli_round;
mod configured;
mod damage;
mod demo;
mod edits;
mod gates;
mod history;
mod in_time;
mod index;
mod kafka;
mod kill_loop;
mod long_memory;
mod lookup;
mod manual;
mod monitoring;
mod order;
mod readme;
mod recurring;
mod registry;
mod reload;
mod retention;
mod rig;
mod runbooks;
mod service;
mod status;
mod stops;
mod strace;
mod stubborn;
mod webhooks;
mod went_back;
mod wrong_clock;
mod zones;
