//! In-process tests, one module a topic.
mod config_files;
mod deadlines;
mod notice_policy;
