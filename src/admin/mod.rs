//! The operators' interface: `/admin/v1`, health, metrics, and the audit log behind every act.
//!
//! ```text
//!  request ─► guard: key, person, scope ─► handler ─► act: audit (durable) ─► engine ─► audit
//!                  │                          └──── look: a copy of the engine's state
//!                  └─ `ROUTES` says which scope; a path that is not in it is refused
//! ```
//!
//! | Scope | What it allows here |
//! |---|---|
//! | `read` | every `GET` |
//! | `operate` | every act but the five below |
//! | `approve` | restore, release, resolving a doubt, believing a clock that was set, approving what another proposed: a person's word that lets money move |
//!
//! Only a key that names a person is let in: an institution's key would see what belongs to
//! others. Health and metrics ask for no key; they hold nothing about anybody, and the listener
//! is on the loopback address unless configured otherwise.
//!
//! The author of an act comes from the credential and never from a body; a reason is mandatory
//! and must not name a person.

mod act;
pub mod audit;
mod audit_log;
mod configuration;
mod dead_letters;
mod deadlines;
mod ended;
mod forecast;
mod gates;
mod guard;
mod health;
pub mod history;
mod in_doubt;
mod ledger;
mod look;
mod outages;
mod policy;
pub mod proposals;
mod refusal;
mod registry;
pub mod status;
mod text;
mod tickets;
mod transactions;
pub mod types;
mod upstreams;
mod versions;
mod windows;

pub use text::fault_in_reason;

use crate::domain::ids::Seq;
use crate::domain::numbers::Numbers;
use crate::domain::time::Zone;
use crate::engine::change::Change;
use crate::engine::ports::Vault;
use crate::engine::ports::{Clock, ReadError};
use crate::engine::run::Handle;
use crate::web::access::{KeyFile, Scope};
use crate::web::body::BodyLimits;
use crate::web::problem::with_fallbacks;
use axum::routing::{get, post};
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// Finds every change about one transaction, the acceptance first; none where there is no such
/// transaction. Where it is known that nothing followed the acceptance (`true`), nothing is looked
/// for. Blocks while it reads.
pub type History = Arc<dyn Fn(Seq, bool) -> Result<Vec<(Seq, Change)>, ReadError> + Send + Sync>;

/// What the operators' interface stands on.
#[derive(Clone)]
pub struct State {
    /// The way into the engine.
    pub engine: Handle,
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// Who may call.
    pub keys: Arc<KeyFile>,
    /// Hashes the references of registered cases.
    pub vault: Arc<dyn Vault>,
    /// Where acts are written down.
    pub audit: Arc<audit::Audit>,
    /// What happened to a transaction.
    pub history: History,
    /// The numbers that are given out and understood.
    pub numbers: Arc<Numbers>,
    /// The zone of windows that name none.
    pub zone: Zone,
    /// The orders that wait for a second person.
    pub proposals: Arc<proposals::Proposals>,
    /// How much of a body is taken.
    pub body_limits: BodyLimits,
    /// Runs acts to their end, also when the operator hangs up. To be waited for at shutdown,
    /// before the engine stops.
    pub acts: TaskTracker,
    /// Why submissions cannot be taken durably now; empty when they can. Fast, never blocks.
    pub not_ready: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// What submitters were answered since the process began.
    pub intake: Arc<dyn Fn() -> types::IntakeCounters + Send + Sync>,
    /// Renders `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What the daemon watches beside the engine.
    pub vitals: Arc<dyn Fn() -> status::Vitals + Send + Sync>,
    /// The configuration that is in force.
    pub configuration: Arc<dyn Fn() -> types::ConfigOut + Send + Sync>,
    /// What of the journal is known to be damaged, found at the start or since.
    pub damage: Arc<dyn Fn() -> Vec<types::DamageOut> + Send + Sync>,
}

/// One call of `/admin/v1` and the scope that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path as the router matches it.
    pub path: &'static str,
    /// The scope.
    pub scope: Scope,
}

impl Route {
    /// Whether it changes anything, so that it needs a reason and is written down.
    #[must_use]
    pub fn is_act(&self) -> bool {
        self.method != "GET"
    }
}

const fn look(path: &'static str) -> Route {
    Route { method: "GET", path, scope: Scope::Read }
}

const fn operate(path: &'static str) -> Route {
    Route { method: "POST", path, scope: Scope::Operate }
}

const fn approve(path: &'static str) -> Route {
    Route { method: "POST", path, scope: Scope::Approve }
}

/// Every call that needs a key. The guard refuses what is not listed.
pub const ROUTES: &[Route] = &[
    look("/admin/v1/windows"),
    operate("/admin/v1/windows"),
    look("/admin/v1/windows/{id}"),
    look("/admin/v1/windows/{id}/forecast"),
    look("/admin/v1/windows/{id}/versions"),
    look("/admin/v1/windows/{id}/versions/{version}"),
    operate("/admin/v1/windows/{id}/change"),
    operate("/admin/v1/windows/{id}/confirm"),
    operate("/admin/v1/windows/{id}/dismiss"),
    operate("/admin/v1/windows/{id}/extend"),
    operate("/admin/v1/windows/{id}/end"),
    operate("/admin/v1/windows/{id}/cancel"),
    approve("/admin/v1/windows/{id}/restore"),
    approve("/admin/v1/windows/{id}/release"),
    look("/admin/v1/gates"),
    operate("/admin/v1/gates/close"),
    operate("/admin/v1/gates/extend"),
    operate("/admin/v1/gates/open"),
    approve("/admin/v1/gates/trust-clock"),
    look("/admin/v1/transactions"),
    look("/admin/v1/transactions/{id}"),
    operate("/admin/v1/transactions/{id}/told"),
    look("/admin/v1/tickets"),
    look("/admin/v1/dead-letters"),
    operate("/admin/v1/dead-letters/{id}/redrive"),
    operate("/admin/v1/dead-letters/{id}/skip"),
    look("/admin/v1/in-doubt"),
    operate("/admin/v1/in-doubt/{id}/ask"),
    approve("/admin/v1/in-doubt/{id}/resolve"),
    look("/admin/v1/deadlines"),
    look("/admin/v1/deadlines/check"),
    look("/admin/v1/deadlines/explain"),
    look("/admin/v1/deadlines/evidence"),
    look("/admin/v1/deadlines/at-risk"),
    look("/admin/v1/deadlines/preview"),
    operate("/admin/v1/deadlines/apply"),
    operate("/admin/v1/deadlines/import"),
    look("/admin/v1/deadlines/{id}"),
    look("/admin/v1/ledger"),
    look("/admin/v1/policy"),
    look("/admin/v1/proposals"),
    approve("/admin/v1/proposals/{id}/approve"),
    operate("/admin/v1/proposals/{id}/reject"),
    look("/admin/v1/upstreams"),
    look("/admin/v1/audit"),
    look("/admin/v1/status"),
    look("/admin/v1/configuration"),
];

/// The operators' interface.
pub fn router(state: State) -> axum::Router {
    let state = Arc::new(state);
    let guarded = axum::Router::new()
        .route("/admin/v1/status", get(status::show))
        .route("/admin/v1/configuration", get(configuration::show))
        .route("/admin/v1/windows", get(windows::list).post(windows::declare))
        .route("/admin/v1/windows/{id}", get(windows::show))
        .route("/admin/v1/windows/{id}/forecast", get(forecast::show))
        .route("/admin/v1/windows/{id}/versions", get(versions::list))
        .route("/admin/v1/windows/{id}/versions/{version}", get(versions::show))
        .route("/admin/v1/windows/{id}/change", post(windows::change))
        .route("/admin/v1/windows/{id}/confirm", post(outages::confirm))
        .route("/admin/v1/windows/{id}/dismiss", post(outages::dismiss))
        .route("/admin/v1/windows/{id}/extend", post(windows::extend))
        .route("/admin/v1/windows/{id}/end", post(windows::end))
        .route("/admin/v1/windows/{id}/cancel", post(windows::cancel))
        .route("/admin/v1/windows/{id}/restore", post(windows::restore))
        .route("/admin/v1/windows/{id}/release", post(windows::release))
        .route("/admin/v1/gates", get(gates::list))
        .route("/admin/v1/gates/close", post(gates::close))
        .route("/admin/v1/gates/extend", post(gates::extend))
        .route("/admin/v1/gates/open", post(gates::open))
        .route("/admin/v1/gates/trust-clock", post(gates::trust_clock))
        .route("/admin/v1/transactions", get(transactions::list))
        .route("/admin/v1/transactions/{id}", get(transactions::show))
        .route("/admin/v1/transactions/{id}/told", post(transactions::told))
        .route("/admin/v1/tickets", get(tickets::list))
        .route("/admin/v1/dead-letters", get(dead_letters::list))
        .route("/admin/v1/dead-letters/{id}/redrive", post(dead_letters::redrive))
        .route("/admin/v1/dead-letters/{id}/skip", post(dead_letters::skip))
        .route("/admin/v1/in-doubt", get(in_doubt::list))
        .route("/admin/v1/in-doubt/{id}/ask", post(in_doubt::ask))
        .route("/admin/v1/in-doubt/{id}/resolve", post(in_doubt::resolve))
        .route("/admin/v1/deadlines", get(deadlines::list))
        .route("/admin/v1/deadlines/check", get(deadlines::check))
        .route("/admin/v1/deadlines/explain", get(deadlines::explain))
        .route("/admin/v1/deadlines/evidence", get(deadlines::evidence))
        .route("/admin/v1/deadlines/at-risk", get(deadlines::at_risk))
        .route("/admin/v1/deadlines/preview", get(deadlines::preview))
        .route("/admin/v1/deadlines/apply", post(deadlines::apply))
        .route("/admin/v1/deadlines/import", post(registry::import))
        .route("/admin/v1/deadlines/{id}", get(deadlines::show))
        .route("/admin/v1/ledger", get(ledger::show))
        .route("/admin/v1/policy", get(policy::explain))
        .route("/admin/v1/proposals", get(proposals::list))
        .route("/admin/v1/proposals/{id}/approve", post(proposals::approve))
        .route("/admin/v1/proposals/{id}/reject", post(proposals::reject))
        .route("/admin/v1/upstreams", get(upstreams::list))
        .route("/admin/v1/audit", get(audit_log::show))
        .route_layer(axum::middleware::from_fn_with_state(Arc::clone(&state), guard::check));
    let open = axum::Router::new()
        .route("/livez", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics));
    with_fallbacks(guarded.merge(open)).with_state(state)
}
