//! In-process tests, one module a topic.

mod clocks;
mod engine_scenarios;
mod engine_simulation;
mod engine_support;
mod upstream_http;
