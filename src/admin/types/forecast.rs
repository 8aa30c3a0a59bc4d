//! The bodies about what a window would meet: its faults, and what it is expected to keep.

use crate::domain::difference::Difference;
use crate::domain::ids::UpstreamName;
use crate::domain::review::FaultCode;
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One thing that is wrong with a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultOut {
    /// What kind of mistake it is.
    pub code: FaultCode,
    /// Where in the body it is (RFC 6901).
    pub pointer: String,
    /// What is wrong and what to do.
    pub detail: String,
    /// Whether the window may be in force all the same.
    pub warning: bool,
}

/// What would become of a window: nothing was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WindowChecked {
    /// Whether it would be refused.
    pub refused: bool,
    /// Everything that is wrong with it.
    pub faults: Vec<FaultOut>,
    /// What it would say otherwise than the window does now; absent for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<Difference>>,
    /// What it is expected to keep; absent where it is no window at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastOut>,
}

/// What a window is expected to keep until its planned end, by what came in lately: the same rate
/// for all hours, without weekdays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForecastOut {
    /// Since when what comes in has been watched, a week at most; absent where nothing came in, so
    /// that nothing is expected and nobody knows.
    pub watched_since: Option<Timestamp>,
    /// For how long that is, in seconds.
    pub watched_seconds: u64,
    /// Transactions that are still to come and will be kept.
    pub transactions: u64,
    /// What they take on the disk.
    pub bytes: u64,
    /// Transactions that wait behind it already.
    pub waiting: u64,
    /// Room on the disk above the reserve; absent until it was measured.
    pub room_bytes: Option<u64>,
    /// Transactions that are not final now.
    pub open: u64,
    /// How many there may be.
    pub open_max: u64,
    /// Whether there is room for them, on the disk and among the open ones; absent where nobody
    /// knows.
    pub fits: Option<bool>,
    /// How long sending them takes afterwards at the configured pace, the slowest part of the core;
    /// absent where a part has no pace configured.
    pub replay_seconds: Option<u64>,
    /// The same, part by part.
    pub upstreams: Vec<ReplayForecastOut>,
}

/// What is to be sent to one part of the core afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayForecastOut {
    /// Its name.
    pub upstream: UpstreamName,
    /// How many, with what waits already.
    pub transactions: u64,
    /// The configured pace; absent where none is.
    pub per_second: Option<u32>,
    /// How long that takes, in seconds; absent where no pace is configured.
    pub replay_seconds: Option<u64>,
}
