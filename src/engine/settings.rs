//! What the engine is told once, at start.

use crate::domain::calendar::Calendar;
use crate::domain::catalogue::Catalogue;
use crate::domain::consent::Deed;
use crate::domain::gate::{HealthPolicy, OutagePolicy};
use crate::domain::hours::ServiceHours;
use crate::domain::ids::UpstreamName;
use crate::domain::recurring::Recurring;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Zone;
use std::collections::BTreeMap;
use std::time::Duration;

/// One upstream, as the engine sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamSettings {
    /// How it is probed and let back.
    pub health: HealthPolicy,
    /// Attempts that may be out at once. At least 1.
    pub concurrency: u32,
    /// Those of them that may name files, because each holds one in memory. `None`: as many, where
    /// the upstream is sent no files.
    pub files_at_a_time: Option<usize>,
    /// How long after an attempt a "not found" still means nothing.
    pub settle_time: Duration,
    /// Whether it answers questions by transaction id.
    pub answers_questions: bool,
}

/// Bounds on what the state may hold, and on what an operator may order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Transactions that are not final.
    pub open_transactions_max: usize,
    /// Registered deadlines.
    pub deadlines_max: usize,
    /// Bytes of attachments stored for one institution.
    pub institution_blob_bytes_max: u64,
    /// Stored attachments.
    pub blobs_max: u64,
    /// How long an attachment stays that no transaction has named.
    pub unnamed_blob_after: Duration,
    /// Changes made durable by one sync.
    pub commit_records_max: usize,
    /// The longest planned stop.
    pub window_length_max: Duration,
    /// How far ahead of its start a recurring stop is declared.
    pub recurring_ahead: Duration,
    /// The longest that an operator's closing lasts.
    pub override_length_max: Duration,
    /// How far the wall clock may jump and still be believed. `None`: however far.
    pub clock_jump_max: Option<Duration>,
}

/// Everything the machine must know besides the changes. The same changes under other settings
/// give the same books; settings decide only what is done next.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The journal partition.
    pub partition: u16,
    /// The zone of civil dates.
    pub zone: Zone,
    /// Working days.
    pub calendar: Calendar,
    /// The businesses, which a window's policy is held to.
    pub catalogue: Catalogue,
    /// The stops that recur.
    pub recurring: Vec<Recurring>,
    /// When businesses are open that are not always.
    pub service_hours: Vec<ServiceHours>,
    /// When an unplanned outage is proposed as a window.
    pub outages: OutagePolicy,
    /// When to try again.
    pub retry: RetryPolicy,
    /// What one person alone may not do.
    pub two_persons_for: Vec<Deed>,
    /// How much there may be of anything.
    pub limits: Limits,
    /// The upstreams.
    pub upstreams: BTreeMap<UpstreamName, UpstreamSettings>,
    /// The one promise to break, for tests that must see it noticed.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<Sabotage>,
}

/// Ways to break one promise each. Tests only.
#[cfg(feature = "sabotage")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// P1: acknowledge before the write.
    AckEarly,
    /// P2: send again without asking.
    ResendWithoutAsking,
    /// P3: send regardless of the order of a key.
    IgnoreKeyOrder,
    /// P4: send regardless of the gate.
    IgnoreGate,
    /// P5: move no deadline.
    SkipExtension,
    /// P6: issue no ticket for what was ticketed.
    DropTicket,
}

#[cfg(feature = "sabotage")]
impl std::str::FromStr for Sabotage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ack-early" => Ok(Self::AckEarly),
            "resend-without-asking" => Ok(Self::ResendWithoutAsking),
            "ignore-key-order" => Ok(Self::IgnoreKeyOrder),
            "ignore-gate" => Ok(Self::IgnoreGate),
            "skip-extension" => Ok(Self::SkipExtension),
            "drop-ticket" => Ok(Self::DropTicket),
            other => Err(format!("no such sabotage: {other}")),
        }
    }
}

/// Whether a given promise is to be broken; always no in a build without the feature.
macro_rules! sabotaged {
    ($settings:expr, $which:ident) => {{
        #[cfg(feature = "sabotage")]
        {
            $settings.sabotage == Some($crate::engine::settings::Sabotage::$which)
        }
        #[cfg(not(feature = "sabotage"))]
        {
            false
        }
    }};
}
pub(crate) use sabotaged;
