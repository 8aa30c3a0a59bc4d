//! What a window would meet: `GET /admin/v1/windows/{id}/forecast`, and the declarations and changes
//! that are only tried (`?dry_run=true`).
//!
//! A trial changes nothing and is no act: it is not written down. It answers 200 whatever is wrong,
//! because to hear that was what it was for.

use super::State;
use super::look;
use super::refusal::{Refusal, pointer};
use super::types::{FaultOut, ForecastOut, ReplayForecastOut, WindowChecked};
use super::versions::differences;
use super::windows::shown;
use crate::domain::ids::WindowId;
use crate::domain::review::{FaultCode, WindowFault};
use crate::domain::time::Timestamp;
use crate::domain::window::{Phase, Window};
use crate::engine::event::{Fault, Sought};
use crate::engine::forecast::Forecast;
use crate::engine::machine::Machine;
use crate::web::problem::Problem;
use axum::Json;
use axum::extract::{Path, State as Extract};
use axum::http::Uri;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    #[serde(default)]
    dry_run: bool,
}

/// Whether an order is only to be tried.
pub(super) fn is_trial(uri: &Uri) -> Result<bool, Refusal> {
    look::query(uri).map(|Trial { dry_run }| dry_run)
}

pub(super) async fn show(
    Extract(state): Extract<Arc<State>>,
    Path(id): Path<String>,
) -> Result<Json<ForecastOut>, Refusal> {
    let id: WindowId = id.parse().map_err(|_| Problem::not_found(Sought::Window))?;
    let seen = look::at(&state, move |machine, now| {
        let window = machine.versions(&id).pop()?;
        Some(Seen::of(machine, &window, now.wall))
    });
    let seen = seen.await?.ok_or_else(|| Problem::not_found(Sought::Window))?;
    Ok(Json(seen.forecast_out(&state)))
}

/// What would become of declaring `window`.
pub(super) async fn of_new(state: &State, window: Window) -> Result<Json<WindowChecked>, Refusal> {
    let seen = look::at(state, move |machine, now| {
        if !machine.versions(&window.id).is_empty() {
            return None;
        }
        let faults = machine.faults_of(&window, now.wall);
        Some((Seen::of(machine, &window, now.wall), faults))
    });
    let state_of =
        || Fault::WrongState { what: "the window", state: "declared already".to_owned() };
    let (seen, faults) = seen.await?.ok_or_else(state_of)?;
    Ok(Json(checked(state, &seen, faults)))
}

/// What would become of a change of `known` to `next`, or what stands against it.
pub(super) async fn of_change(
    state: &State,
    known: Arc<Window>,
    next: Result<Window, Vec<WindowFault>>,
) -> Result<Json<WindowChecked>, Refusal> {
    let next = match next {
        Ok(next) => next,
        Err(faults) => {
            let faults = faults.into_iter().map(fault_out).collect();
            let (differences, forecast) = (None, None);
            return Ok(Json(WindowChecked { refused: true, faults, differences, forecast }));
        }
    };
    let (seen, faults, changes) = look::at(state, move |machine, now| {
        let now = now.wall;
        let faults = machine.faults_of(&next, now);
        let sides = [&*known, &next].map(|window| shown(window, Phase::Scheduled, now));
        (Seen::of(machine, &next, now), faults, differences(&sides[0], &sides[1]))
    })
    .await?;
    let differences = Some(changes);
    Ok(Json(WindowChecked { differences, ..checked(state, &seen, faults) }))
}

/// The warnings that a window that was declared or changed just now deserves.
pub(super) async fn warnings(state: &State, window: Arc<Window>) -> Vec<FaultOut> {
    let seen = look::at(state, move |machine, now| {
        (Seen::of(machine, &window, now.wall), machine.faults_of(&window, now.wall))
    });
    // It has taken effect; where the engine has ended since, nobody can look.
    let Ok((seen, faults)) = seen.await else { return Vec::new() };
    checked(state, &seen, faults).faults.into_iter().filter(|fault| fault.warning).collect()
}

fn checked(state: &State, seen: &Seen, faults: Vec<WindowFault>) -> WindowChecked {
    let forecast = seen.forecast_out(state);
    let faults: Vec<FaultOut> =
        faults.into_iter().chain(over_capacity(&forecast)).map(fault_out).collect();
    let refused = faults.iter().any(|fault| !fault.warning);
    WindowChecked { refused, faults, differences: None, forecast: Some(forecast) }
}

fn over_capacity(forecast: &ForecastOut) -> Option<WindowFault> {
    let missing = forecast.fits == Some(false);
    missing.then(|| {
        let room = forecast.room_bytes.map(|room| format!(" and there is room for {room}"));
        let room = room.unwrap_or_default();
        let why = format!(
            "{} transactions are expected to be kept and there may be {} more; they take {} \
             bytes{room}: make room, or hold less",
            forecast.transactions,
            forecast.open_max.saturating_sub(forecast.open),
            forecast.bytes,
        );
        WindowFault::warning(FaultCode::OverCapacity, "ends_at", why)
    })
}

fn fault_out(fault: WindowFault) -> FaultOut {
    FaultOut {
        code: fault.code,
        pointer: pointer(&fault.field),
        detail: fault.why,
        warning: fault.is_warning,
    }
}

/// Copied out of the engine in one look.
struct Seen {
    forecast: Forecast,
    open: usize,
    open_max: usize,
}

impl Seen {
    fn of(machine: &Machine, window: &Window, now: Timestamp) -> Self {
        let forecast = machine.forecast(window, now);
        let (open, open_max) = (machine.size().0, machine.limits().open_transactions_max);
        Self { forecast, open, open_max }
    }

    fn forecast_out(&self, state: &State) -> ForecastOut {
        let disk = (state.vitals)().disk;
        forecast_out(self, disk.map(|disk| disk.free_bytes.saturating_sub(disk.reserve_bytes)))
    }
}

fn forecast_out(seen: &Seen, room_bytes: Option<u64>) -> ForecastOut {
    let forecast = &seen.forecast;
    let seconds = |length: Duration| length.as_secs();
    let (open, open_max) = (seen.open as u64, seen.open_max as u64);
    let expected = forecast.transactions;
    let too_many = open_max < open.saturating_add(expected);
    let fits = match room_bytes.filter(|_| forecast.watched.is_some()) {
        _ if too_many => Some(false),
        Some(room) => Some(forecast.bytes <= room),
        None => None,
    };
    let upstreams = forecast.upstreams.iter().map(|one| ReplayForecastOut {
        upstream: one.upstream.clone(),
        transactions: one.transactions,
        per_second: one.per_second,
        replay_seconds: one.replay.map(seconds),
    });
    let slowest = forecast.upstreams.iter().map(|one| one.replay);
    let slowest: Option<Vec<Duration>> = slowest.collect();
    ForecastOut {
        watched_since: forecast.watched.map(|(since, _)| since),
        watched_seconds: forecast.watched.map_or(0, |(_, length)| seconds(length)),
        transactions: expected,
        bytes: forecast.bytes,
        waiting: forecast.waiting,
        room_bytes,
        open,
        open_max,
        fits,
        replay_seconds: slowest.map(|all| all.into_iter().max().map_or(0, seconds)),
        upstreams: upstreams.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_warned_about_and_what_nobody_knows_is_not() {
        let told = |watched: bool, bytes: u64, open: usize, room: Option<u64>| {
            let watched = watched.then_some((Timestamp::default(), Duration::from_secs(60)));
            let forecast =
                Forecast { watched, transactions: 10, bytes, waiting: 0, upstreams: Vec::new() };
            let out = forecast_out(&Seen { forecast, open, open_max: 100 }, room);
            (out.fits, over_capacity(&out).map(|fault| (fault.code, fault.is_warning)))
        };
        let over = Some((FaultCode::OverCapacity, true));
        assert_eq!(told(true, 500, 90, Some(500)), (Some(true), None));
        assert_eq!(told(true, 501, 90, Some(500)), (Some(false), over), "the disk");
        assert_eq!(told(true, 500, 91, Some(500)), (Some(false), over), "the open ones");
        assert_eq!(told(false, 501, 90, Some(500)), (None, None), "nothing was watched");
        assert_eq!(told(true, 501, 90, None), (None, None), "the disk was not measured");
        assert_eq!(told(true, 0, 91, None), (Some(false), over), "whatever the disk says");
    }
}
