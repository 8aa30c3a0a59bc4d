//! Holdover: a maintenance-aware transaction processor with an offline queue for medical
//! insurance. This file is the map of the code; it holds no logic.
//!
//! ```text
//!  main ─► cli ─────────────────► admin::types
//!    └──► daemon ─► intake ─┐
//!               ├─► admin ──┤
//!               ├─► journal ┼─► engine ─► domain
//!               ├─► upstream┘
//!               └─► telemetry           intake, upstream ─► kafka (the clients' settings)
//! ```
//!
//! Adapters never import each other, `engine` owns the traits that they implement, and only
//! `daemon` constructs. `tests/it/tidy.rs` holds the code to it.

pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod domain;
pub mod engine;
pub mod index;
pub mod intake;
pub mod journal;
pub mod kafka;
pub mod telemetry;
pub mod upstream;
pub mod web;
