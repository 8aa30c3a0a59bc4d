//! In-process tests, one module a topic.

mod journal_conformance;
mod journal_crash;
mod journal_format;
