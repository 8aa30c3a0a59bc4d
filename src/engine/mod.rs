//! The engine: one owner of the state, a pure step, commit first and perform after.
//!
//! ```text
//!  intake, admin ──Event──► step(now, event) ──Decision──► journal: append, fdatasync
//!       ▲                     ▲    │ apply                     │
//!       └──────Answer─────────┼────┼───────────────────────────┤ only after the commit
//!                             │    └── state (machine)         ▼
//!                             └──────Settled────────── dispatch ──► upstream
//! ```
//!
//! Invariants, each asserted or tested:
//!
//! 1. Nothing leaves (answer, send, question) before its change is durable.
//! 2. At most one attempt per ordering key is out at any time.
//! 3. Per ordering key, sends happen in the order of acceptance.
//! 4. Every accepted transaction ends in exactly one final state, which never changes.
//! 5. A crash between any two steps leaves a state that `recovery` names.
//! 6. The state is a fold of the changes: `step` decides changes and applies them with the very
//!    code that recovery uses.
//!
//! The machine holds identities and positions, never payloads.

#![warn(missing_docs)]

pub mod adjust;
pub mod blobs;
mod cells;
pub mod change;
pub mod clock;
mod consent;
pub mod deadlines;
pub mod event;
pub mod explain;
mod flow;
pub mod forecast;
mod gauges;
mod live;
mod look;
pub mod machine;
mod orders;
pub mod outages;
pub mod ports;
mod quarantine;
pub mod recovery;
mod room;
pub mod run;
mod schedule;
pub mod search;
pub mod settings;
mod snapshot;
pub mod step;
pub mod stored;
pub(crate) mod subject;
mod turns;
mod untold;
pub mod view;
pub mod windows;
