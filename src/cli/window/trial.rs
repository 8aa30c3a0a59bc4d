//! What a window would meet, before anything is declared or changed: its faults, what it would say
//! otherwise, and what it is expected to keep.

use super::super::Run;
use super::super::client::segment;
use super::super::exit::{Exit, Failure, exit_of};
use super::super::out::plain;
use super::lines;
use crate::admin::types::{FaultOut, ForecastOut, WindowChecked};
use crate::domain::ids::WindowId;
use crate::domain::time::Zone;
use serde::Serialize;

/// Tries `body` at `path`, which changes nothing, and shows what would become of it.
pub(super) async fn trial(run: &Run, path: &str, body: &impl Serialize) -> Result<Exit, Failure> {
    let checked = checked(run, path, body).await?;
    run.out.data(&checked, || text(&checked, run.client.zone()));
    run.out.note("nothing was changed");
    Ok(if checked.refused { exit_of("invalid", 422) } else { Exit::Success })
}

pub(super) async fn checked(
    run: &Run,
    path: &str,
    body: &impl Serialize,
) -> Result<WindowChecked, Failure> {
    run.client.post(&format!("{path}?dry_run=true"), body, None).await
}

/// What a window that is known, or that a file declares, is expected to keep.
pub(super) async fn forecast(
    run: &Run,
    id: &WindowId,
    declared: Option<impl Serialize>,
) -> Result<Exit, Failure> {
    let forecast = match declared {
        Some(body) => {
            let checked = checked(run, "/admin/v1/windows", &body).await?;
            for fault in checked.faults.iter().filter(|fault| !fault.warning) {
                run.out.note(fault_line(fault).trim_end());
            }
            checked.forecast.ok_or_else(|| Failure::usage("this is no window"))?
        }
        None => {
            let path = format!("/admin/v1/windows/{}/forecast", segment(id.as_str()));
            run.client.get(&path).await?
        }
    };
    run.out.data(&forecast, || describe(&forecast));
    Ok(if forecast.fits == Some(false) { Exit::NotReady } else { Exit::Success })
}

/// All of it, for people, its instants in `zone`.
pub(super) fn text(checked: &WindowChecked, zone: Zone) -> String {
    let mut text: String = checked.faults.iter().map(fault_line).collect();
    if let Some(differences) = &checked.differences {
        text.push_str("it would say otherwise:\n");
        text.push_str(&lines(differences, zone));
    }
    text.extend(checked.forecast.as_ref().map(describe));
    let word = if checked.refused { "it would be refused\n" } else { "it would be in force\n" };
    text.push_str(word);
    text
}

/// One fault, on one line.
pub(super) fn fault_line(fault: &FaultOut) -> String {
    let kind = if fault.warning { "warning" } else { "error" };
    let (pointer, detail) = (plain(&fault.pointer), plain(&fault.detail));
    format!("{kind} {pointer}: {detail} ({})\n", fault.code)
}

fn describe(forecast: &ForecastOut) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<12} {value}\n"));
    let hours = |seconds: u64| format!("{:.1} h", Seconds(seconds).hours());
    match forecast.watched_since {
        None => line("watched", "nothing has come in yet: nobody can tell what will".to_owned()),
        Some(since) => {
            let watched = hours(forecast.watched_seconds);
            line("watched", format!("{watched} (since {since}), the same rate for all hours"));
        }
    }
    let (count, bytes) = (forecast.transactions, forecast.bytes);
    line("expected", format!("{count} transactions, {bytes} bytes"));
    if forecast.waiting > 0 {
        line("waiting", format!("{} already", forecast.waiting));
    }
    let open = forecast.open_max.saturating_sub(forecast.open);
    let room = forecast.room_bytes.map_or("unknown".to_owned(), |bytes| format!("{bytes} bytes"));
    line("room", format!("{room}, {open} transactions"));
    let fits = match forecast.fits {
        Some(true) => "yes",
        Some(false) => "no: make room, or hold less",
        None => "nobody knows",
    };
    line("fits", fits.to_owned());
    for one in &forecast.upstreams {
        let pace = match (one.per_second, one.replay_seconds) {
            (Some(pace), Some(seconds)) => format!("{} at {pace} a second", hours(seconds)),
            _ => "as fast as the core takes them: no pace is configured".to_owned(),
        };
        line("replay", format!("{}: {} transactions, {pace}", one.upstream, one.transactions));
    }
    text
}

/// Seconds as hours, for people.
struct Seconds(u64);

impl Seconds {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    fn hours(&self) -> f64 {
        self.0 as f64 / 3600.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_forecast_says_plainly_what_it_rests_on() {
        let mut forecast = json!({
            "watched_since": "2022-08-11T00:00:00Z", "watched_seconds": 93_600,
            "transactions": 1200, "bytes": 4096, "waiting": 7, "room_bytes": 1000, "open": 10,
            "open_max": 100, "fits": false, "replay_seconds": 5400,
            "upstreams": [
                {"upstream": "agency", "transactions": 1207, "per_second": 5, "replay_seconds": 5400},
                {"upstream": "portal", "transactions": 3},
            ],
        });
        let text = |forecast: &serde_json::Value| {
            describe(&serde_json::from_value(forecast.clone()).unwrap())
        };
        assert_eq!(
            text(&forecast),
            "watched      26.0 h (since 2022-08-11T00:00:00Z), the same rate for all hours\n\
             expected     1200 transactions, 4096 bytes\n\
             waiting      7 already\n\
             room         1000 bytes, 90 transactions\n\
             fits         no: make room, or hold less\n\
             replay       agency: 1207 transactions, 1.5 h at 5 a second\n\
             replay       portal: 3 transactions, as fast as the core takes them: no pace is \
             configured\n"
        );
        forecast["watched_since"] = json!(null);
        forecast["fits"] = json!(null);
        let text = text(&forecast);
        assert!(text.starts_with("watched      nothing has come in yet"), "{text}");
        assert!(text.contains("fits         nobody knows\n"), "{text}");
    }
}
