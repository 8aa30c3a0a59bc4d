//! journal

pub mod record;
pub mod sample;
