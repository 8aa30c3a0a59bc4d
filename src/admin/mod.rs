//! admin

pub mod audit;
pub mod types;
