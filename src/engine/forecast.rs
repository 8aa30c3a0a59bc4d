//! What a window is expected to keep, from what this process has seen come in.
//!
//! Cells count their acceptances by the hour as they are folded, so that after a restart what stands
//! in the journal since the last snapshot is known again. Nothing is decided by it.

use super::change::Accepted;
use super::live::Slot;
use super::machine::Machine;
use crate::domain::forecast::{BESIDE_SEALED_BYTES, extrapolated, replay_time, watched};
use crate::domain::ids::UpstreamName;
use crate::domain::policy::Disposition;
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a window is expected to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// What it is extrapolated from: since when, and how long that is. `None` where nothing was ever
    /// seen to come in, so that nobody knows.
    pub watched: Option<(Timestamp, Duration)>,
    /// Transactions that are still to come and will be kept until the planned end.
    pub transactions: u64,
    /// What they take on the disk.
    pub bytes: u64,
    /// Transactions that wait behind it already.
    pub waiting: u64,
    /// Each part of the core that has something to be sent afterwards.
    pub upstreams: Vec<ReplayForecast>,
}

/// What is to be sent to one part of the core afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayForecast {
    /// Its name.
    pub upstream: UpstreamName,
    /// How many, with what waits already.
    pub transactions: u64,
    /// The configured pace; `None` where none is.
    pub per_second: Option<u32>,
    /// How long that takes; `None` where no pace is configured.
    pub replay: Option<Duration>,
}

impl Machine {
    /// Counts what was accepted just now, in `slot`.
    pub(super) fn watch(&mut self, slot: Slot, accepted: &Accepted) {
        self.watched_since.get_or_insert(accepted.at);
        let cell = &mut self.cells[self.live.get(slot).cell as usize];
        cell.arrivals.count(accepted.at, accepted.sealed.bytes.len() as u64);
    }

    /// What `window`, declared or not, is expected to keep from `now` to its planned end.
    #[must_use]
    pub fn forecast(&self, window: &Window, now: Timestamp) -> Forecast {
        let watched = self.watched_since.map(|since| watched(since, now));
        let mut forecast =
            Forecast { watched, transactions: 0, bytes: 0, waiting: 0, upstreams: Vec::new() };
        let mut counts: BTreeMap<UpstreamName, u64> = BTreeMap::new();
        for slot in &self.cells {
            let Some((_, row)) = window.row_for(&slot.cell) else { continue };
            let is_kept = match row.disposition {
                Some(Disposition::Hold | Disposition::HoldForRelease | Disposition::PreAccept) => {
                    true
                }
                Some(
                    Disposition::Pass
                    | Disposition::PassOrTicket
                    | Disposition::PassOrHold
                    | Disposition::Refuse,
                )
                | None => false,
            };
            let planned = window.interval_of(row);
            let restored = window.restored_at(&slot.cell).is_some();
            if !is_kept || restored || window.cancelled_at.is_some() {
                continue;
            }
            let begun = planned.start <= now;
            let waiting = if begun { slot.waiting } else { 0 };
            let lasts = planned.end.since(planned.start.max(now));
            let mut expected = 0;
            if let Some((first, length)) = watched {
                let (count, bytes) = slot.arrivals.since(first);
                expected = extrapolated(count, length, lasts);
                let sealed = extrapolated(bytes, length, lasts);
                let beside = expected.saturating_mul(BESIDE_SEALED_BYTES);
                forecast.bytes = forecast.bytes.saturating_add(sealed).saturating_add(beside);
            }
            forecast.transactions = forecast.transactions.saturating_add(expected);
            forecast.waiting += waiting;
            let count = counts.entry(slot.cell.upstream.clone()).or_default();
            *count = count.saturating_add(expected).saturating_add(waiting);
        }
        counts.retain(|_, count| *count > 0);
        forecast.upstreams = counts
            .into_iter()
            .map(|(upstream, transactions)| {
                let health = self.settings.upstreams.get(&upstream).map(|known| &known.health);
                ReplayForecast {
                    per_second: health.and_then(|health| health.steady),
                    replay: health.and_then(|health| replay_time(health, transactions)),
                    upstream,
                    transactions,
                }
            })
            .collect();
        forecast
    }
}
