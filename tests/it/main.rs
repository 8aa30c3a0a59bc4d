//! In-process tests, one module a topic.
mod config_files;
mod notice_policy;
