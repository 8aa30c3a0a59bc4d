//! In-process tests, one module a topic.

mod audit;
mod clocks;
mod config_files;
mod deadlines;
mod engine_scenarios;
mod engine_simulation;
mod engine_support;
mod journal_conformance;
mod journal_crash;
mod journal_format;
mod metrics;
mod notice_policy;
mod upstream_http;
