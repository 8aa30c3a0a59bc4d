//! In-process tests, one module a topic.

mod admin_http;
mod audit;
mod cli_shape;
