//! The rules of the product as plain values: no I/O, no async, no clock, no randomness.
//!
//! Everything here is decided by its arguments. `now` is one of them wherever time matters.

#![warn(missing_docs)]

pub mod announcement;
pub mod attachment;
pub mod calendar;
pub mod catalogue;
pub mod cell;
pub mod consent;
pub mod deadline;
pub mod difference;
pub mod forecast;
pub mod gate;
pub mod hours;
pub mod identity;
pub mod ids;
pub mod ledger;
pub mod money;
pub mod notice;
pub mod numbers;
pub mod outcome;
pub mod pacing;
pub mod plain;
pub mod plan_review;
pub mod policy;
pub mod recurring;
pub mod retry;
pub mod review;
pub mod revision;
pub mod schedule;
pub mod state;
pub mod term;
pub mod ticket;
pub mod time;
pub mod window;
