//! What submitters were answered since the process began, and how much each may ask.
//!
//! The tally is the intake's side of the books: answered posts equal new transactions, repeats,
//! posts turned away by policy and posts that were invalid. Posts that must be sent again (no
//! credential, quota, no room, our own inability) are no answers and are not counted.

use super::answer::Answered;
use crate::domain::ids::InstitutionCode;
use crate::domain::time::Monotonic;
use crate::telemetry::events;
use crate::web::problem::{Code, Problem};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts answers. One for the whole process.
#[derive(Debug, Default)]
pub struct Tally {
    accepted: AtomicU64,
    duplicates: AtomicU64,
    turned_away: AtomicU64,
    invalid: AtomicU64,
}

/// The tally at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Newly accepted.
    pub accepted: u64,
    /// Answered with an earlier receipt.
    pub duplicates: u64,
    /// Turned away by policy.
    pub turned_away: u64,
    /// Refused because of what they said.
    pub invalid: u64,
}

impl Tally {
    /// What has been counted.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            accepted: read(&self.accepted),
            duplicates: read(&self.duplicates),
            turned_away: read(&self.turned_away),
            invalid: read(&self.invalid),
        }
    }

    pub(super) fn count(&self, answered: &Answered) {
        let counter = match answered {
            Answered::Accepted { duplicate: false, .. } => &self.accepted,
            Answered::Accepted { duplicate: true, id, record, .. } => {
                events::duplicate(*id, &record.cell);
                &self.duplicates
            }
            Answered::Problem(problem) => match self.of(problem) {
                Some(counter) => counter,
                None => return,
            },
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn of(&self, problem: &Problem) -> Option<&AtomicU64> {
        match problem.code {
            Code::BusinessSuspended => Some(&self.turned_away),
            Code::Malformed
            | Code::Invalid
            | Code::CredentialInPayload
            | Code::AttachmentNotStored
            | Code::IdempotencyKeyMissing
            | Code::IdempotencyKeyReused
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::BodyTooLarge
            | Code::UnsupportedMediaType
            | Code::WrongState
            | Code::Changed
            | Code::VersionMissing
            | Code::BeingReplaced
            | Code::OpenTicket
            | Code::PolicyDemands
            | Code::NotCovered
            | Code::NoCalendar => Some(&self.invalid),
            Code::Unauthenticated
            | Code::Forbidden
            | Code::RequestTimeout
            | Code::QuotaExceeded
            | Code::DiskReserve
            | Code::RecordDamaged
            | Code::Quarantined
            | Code::IndexUnavailable
            | Code::Unavailable
            | Code::Internal => None,
        }
    }
}

/// How much one institution may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Submissions per second, on average.
    pub per_second: u32,
    /// Submissions at once above that.
    pub burst: u32,
}

/// A token bucket for each institution. Bounded by the number of keys that were ever made. Cheap to
/// clone: all are one.
#[derive(Debug, Clone)]
pub struct Quotas(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    per_second: AtomicU32,
    burst: AtomicU32,
    buckets: Mutex<HashMap<InstitutionCode, Bucket>>,
}

/// Thousandths of a submission, so that a millisecond is worth something.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u64,
    seen: Monotonic,
}

impl Quotas {
    /// The same quota for everybody.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        let [per_second, burst] = [quota.per_second, quota.burst].map(AtomicU32::new);
        Self(Arc::new(Buckets { per_second, burst, buckets: Mutex::default() }))
    }

    /// Gives everybody another quota from now on.
    pub fn set(&self, quota: Quota) {
        self.0.per_second.store(quota.per_second, Ordering::Relaxed);
        self.0.burst.store(quota.burst, Ordering::Relaxed);
    }

    fn per_second(&self) -> u64 {
        u64::from(self.0.per_second.load(Ordering::Relaxed)).max(1)
    }

    /// What a full bucket holds.
    #[must_use]
    pub fn full(&self) -> u64 {
        self.per_second() + u64::from(self.0.burst.load(Ordering::Relaxed))
    }

    /// Takes `submissions` out of the bucket of `who`; those beyond a full one are free.
    ///
    /// # Errors
    /// The seconds after which it is worth asking again.
    pub fn take(&self, who: &InstitutionCode, submissions: u64, now: Monotonic) -> Result<(), u64> {
        let per_second = self.per_second();
        let full = self.full() * 1000;
        let mut buckets = self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = match buckets.get_mut(who) {
            Some(bucket) => bucket,
            None => buckets.entry(who.clone()).or_insert(Bucket { left: full, seen: now }),
        };
        let gained = now.0.saturating_sub(bucket.seen.0).saturating_mul(per_second);
        bucket.left = bucket.left.saturating_add(gained).min(full);
        bucket.seen = now;
        let wanted = submissions.saturating_mul(1000).min(full);
        if bucket.left >= wanted {
            bucket.left -= wanted;
            return Ok(());
        }
        Err((wanted - bucket.left).div_ceil(per_second * 1000).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_institution_gets_its_rate_and_a_burst_and_takes_nothing_from_another() {
        let quotas = Quotas::new(Quota { per_second: 10, burst: 5 });
        let (one, other) = ("H1".parse().unwrap(), "H2".parse().unwrap());
        let granted = |who: &InstitutionCode, ms: u64| {
            (0..100).filter(|_| quotas.take(who, 1, Monotonic(ms)).is_ok()).count()
        };
        assert_eq!(granted(&one, 0), 15);
        assert_eq!(granted(&one, 500), 5);
        assert_eq!(granted(&other, 500), 15);
        assert_eq!(quotas.take(&one, 1, Monotonic(500)), Err(1));
        quotas.set(Quota { per_second: 2, burst: 1 });
        assert_eq!(granted(&one, 1000), 1);
        assert_eq!(granted(&other, 60_000), 3, "what was saved up is cut");
    }
}
