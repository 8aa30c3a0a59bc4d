//! In-process tests, one module a topic.

mod audit;
