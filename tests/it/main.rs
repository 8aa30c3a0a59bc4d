//! In-process tests, one module a topic.

mod clocks;
mod engine_simulation;
mod upstream_http;
