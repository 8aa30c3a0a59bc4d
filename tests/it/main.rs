//! In-process tests, one module a topic.

mod engine_simulation;
