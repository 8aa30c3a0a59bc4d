//! In-process tests, one module a topic.

mod clocks;
mod metrics;
