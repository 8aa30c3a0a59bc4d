//! In-process tests, one module a topic.

mod api_keys;
mod intake_http;
mod intake_rig;
mod openapi;
mod serve_loop;
