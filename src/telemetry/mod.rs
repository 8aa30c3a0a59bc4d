//! telemetry
pub mod events;
