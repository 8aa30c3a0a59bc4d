//! Tests of the real binary, one module a topic.
