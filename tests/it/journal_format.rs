//! Stored formats.
