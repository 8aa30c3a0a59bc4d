//! In-process tests, one module a topic.

mod upstream_http;
