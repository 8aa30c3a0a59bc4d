//! `holdover gate`: which cells may start effects, and an operator's word against it.

use super::Run;
use super::args::{Cells, Reason, Yes, instant, touched};
use super::exit::{Exit, Failure};
use super::out::{Table, plain};
use crate::admin::types::{
    Because, CloseGates, ForCells, GatesChanged, GatesOut, Page, UpstreamOut,
};
use crate::domain::time::Timestamp;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List every gate, and the closings by operators
    List,
    /// Close gates; returns when every send begun before has ended or is in doubt
    Close {
        #[command(flatten)]
        cells: Box<Cells>,
        /// Until when at the latest, such as 2022-08-15T09:00+08:00
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        until: Timestamp,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        reason: Reason,
    },
    /// Move the end of a closing; name exactly the cells that were closed
    Extend {
        #[command(flatten)]
        cells: Box<Cells>,
        /// The new end
        #[arg(long, value_name = "INSTANT", value_parser = instant)]
        until: Timestamp,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        reason: Reason,
    },
    /// Take a closing back; name exactly the cells that were closed
    Open {
        #[command(flatten)]
        cells: Box<Cells>,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        reason: Reason,
    },
    /// Believe the clock as it is now, after it was set; what windows closed may open again
    TrustClock {
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        reason: Reason,
    },
}

impl Verb {
    pub(super) async fn run(self, run: &Run) -> Result<Exit, Failure> {
        let changed: GatesChanged = match self {
            Self::List => return list(run).await,
            Self::Close { cells, until, yes, reason } => {
                let (cells, all) = cells.selector()?;
                let gates: GatesOut = run.client.get("/admin/v1/gates").await?;
                run.confirmed(yes.yes, &touched(&cells, &gates.gates), "--yes")?;
                run.out.note("waiting until sends that were begun before have ended");
                let body = CloseGates { cells, all, until: Some(until), reason: reason.reason };
                run.client.post("/admin/v1/gates/close", &body, None).await?
            }
            Self::Extend { cells, until, yes, reason } => {
                let (cells, all) = cells.selector()?;
                let gates: GatesOut = run.client.get("/admin/v1/gates").await?;
                run.confirmed(yes.yes, &touched(&cells, &gates.gates), "--yes")?;
                let body = CloseGates { cells, all, until: Some(until), reason: reason.reason };
                run.client.post("/admin/v1/gates/extend", &body, None).await?
            }
            Self::Open { cells, yes, reason } => {
                let (cells, all) = cells.selector()?;
                let gates: GatesOut = run.client.get("/admin/v1/gates").await?;
                run.confirmed(yes.yes, &touched(&cells, &gates.gates), "--yes")?;
                let body = ForCells { cells, all, reason: reason.reason };
                run.client.post("/admin/v1/gates/open", &body, None).await?
            }
            Self::TrustClock { yes, reason } => {
                let gates: GatesOut = run.client.get("/admin/v1/gates").await?;
                let doubted = gates.clock.as_ref().map_or_else(
                    || "the clock is believed already".to_owned(),
                    |clock| {
                        let [shows, expected] =
                            [clock.shows, clock.expected].map(|at| run.client.shown(at));
                        format!("the clock shows {shows}, not {expected}")
                    },
                );
                run.confirmed(yes.yes, &doubted, "--yes")?;
                let body = Because { reason: reason.reason };
                run.client.post("/admin/v1/gates/trust-clock", &body, None).await?
            }
        };
        run.out.data(&changed, || {
            let states: Vec<String> =
                changed.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
            format!("{} cells: {}\n", changed.cells, states.join(", "))
        });
        let head = &changed.audit_head;
        run.out.note(&format!("audit record {}, head {}", head.records, head.hash));
        run.out.next("holdover gate list");
        Ok(Exit::Success)
    }
}

async fn list(run: &Run) -> Result<Exit, Failure> {
    let out: GatesOut = run.client.get("/admin/v1/gates").await?;
    run.out.table(&out, || {
        let headings = ["cell", "gate", "window", "waiting", "in flight", "epoch"];
        let mut table = Table::new(&headings);
        for gate in &out.gates {
            table.row([
                gate.cell.to_string(),
                gate.state.to_string(),
                gate.window.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                gate.waiting.to_string(),
                gate.in_flight.to_string(),
                gate.epoch.to_string(),
            ]);
        }
        table
    });
    let parts: Page<UpstreamOut> = run.client.get("/admin/v1/upstreams").await?;
    for part in parts.items.iter().filter(|part| !part.probes.is_empty()) {
        let (phase, probes) = (part.phase, plain(&part.probes));
        run.out.note(&format!("{}: {phase}, its last probes {probes} (newest last)", part.name));
    }
    if let Some(clock) = &out.clock {
        run.out.note(&format!(
            "the clock is not believed: it shows {} where {} was expected; what windows closed \
             stays closed until it is set right, or is accepted by: holdover gate trust-clock",
            run.client.shown(clock.shows),
            run.client.shown(clock.expected)
        ));
    }
    for closing in &out.overrides {
        let cells = serde_json::to_string(&closing.cells).unwrap_or_default();
        run.out.note(&format!(
            "closed by {} until {}: {cells} ({})",
            plain(&closing.by),
            run.client.shown(closing.until),
            plain(&closing.reason)
        ));
    }
    Ok(Exit::Success)
}
