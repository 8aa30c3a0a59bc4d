//! What of the settings may change while the machine works.
//!
//! The fold of the changes knows none of it, as it knows nothing that a restart with other settings
//! may bring: it only decides what is done next, and what was done stands in the changes. So an
//! adjustment is an event in the engine's order and no change in the journal, a crash after it
//! finds the configuration that is read then, and nothing that was decided is decided again.
//!
//! Not here: what the fold reads (catalogue), what told dates rest on (zone, calendar), what another
//! thread has its own copy of (concurrency, settle times), and how far a clock is believed.

use super::machine::Machine;
use super::settings::Settings;
use super::step::Decision;
use crate::domain::consent::Deed;
use crate::domain::gate::HealthPolicy;
use crate::domain::hours::ServiceHours;
use crate::domain::ids::UpstreamName;
use crate::domain::recurring::Recurring;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings that may change while the machine works.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjustable {
    recurring: Vec<Recurring>,
    service_hours: Vec<ServiceHours>,
    retry: RetryPolicy,
    two_persons_for: Vec<Deed>,
    health: BTreeMap<UpstreamName, HealthPolicy>,
    open_transactions_max: usize,
    deadlines_max: usize,
    window_length_max: Duration,
    recurring_ahead: Duration,
    override_length_max: Duration,
}

impl Adjustable {
    /// What of `settings` may change.
    #[must_use]
    pub fn of(settings: Settings) -> Self {
        let health = settings.upstreams.into_iter().map(|(name, one)| (name, one.health));
        let limits = settings.limits;
        Self {
            recurring: settings.recurring,
            service_hours: settings.service_hours,
            retry: settings.retry,
            two_persons_for: settings.two_persons_for,
            health: health.collect(),
            open_transactions_max: limits.open_transactions_max,
            deadlines_max: limits.deadlines_max,
            window_length_max: limits.window_length_max,
            recurring_ahead: limits.recurring_ahead,
            override_length_max: limits.override_length_max,
        }
    }
}

impl Machine {
    /// Goes by other settings from now on. Gates turn and recurring stops are declared as they say.
    pub(super) fn adjust(&mut self, new: Adjustable, now: Timestamp, out: &mut Decision) {
        let settings = &mut self.settings;
        settings.recurring = new.recurring;
        settings.service_hours = new.service_hours;
        settings.retry = new.retry;
        settings.two_persons_for = new.two_persons_for;
        for (name, health) in new.health {
            if let Some(upstream) = settings.upstreams.get_mut(&name) {
                upstream.health = health;
            }
        }
        let limits = &mut settings.limits;
        limits.open_transactions_max = new.open_transactions_max;
        limits.deadlines_max = new.deadlines_max;
        limits.window_length_max = new.window_length_max;
        limits.recurring_ahead = new.recurring_ahead;
        limits.override_length_max = new.override_length_max;
        self.plan.look_again();
        self.gates_dirty = true;
        self.run_agenda(now, out);
    }
}
