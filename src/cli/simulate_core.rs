//! `holdover simulate-core`: runs the simulated core as a process of its own.

use super::exit::{Exit, Failure};
use crate::daemon::driven::{self, Due, DueSource};
use crate::daemon::shutdown::{Phase, Shutdown};
use crate::daemon::tasks::{Kind, Tasks};
use crate::upstream::scripted::{self, SimulateCore};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The simulated core, on the machine's clock or a driver's.
#[derive(Debug, clap::Args)]
pub(super) struct Simulate {
    #[command(flatten)]
    options: SimulateCore,
    /// Run on the clock of a driver at this address, and end with it
    #[arg(long, value_name = "ADDRESS")]
    clock: Option<SocketAddr>,
}

/// `holdover simulate-core`: until it is told to stop.
pub(super) async fn simulate(args: Simulate) -> Result<Exit, Failure> {
    let shutdown = Shutdown::new(Duration::from_secs(2));
    let runtime = tokio::runtime::Handle::current();
    let tasks = Tasks::new(runtime, shutdown.token(Phase::Store));
    tasks.spawn(Kind::Upkeep, "signals", shutdown.clone().follow_signals());
    let due = DueSource::later();
    let clock = driven::clock(args.clock, &due, &tasks, &shutdown).await.map_err(Failure::of)?;
    let simulated = scripted::Simulated::bind(args.options, clock).map_err(Failure::of)?;
    let next_due = simulated.next_due();
    due.set(Arc::new(move || {
        let due = Due { busy: false, next_due_ms: next_due() };
        Box::pin(std::future::ready(due))
    }));
    scripted::announce(&simulated).map_err(Failure::of)?;
    let stop = shutdown.token(Phase::NotReady);
    let ended = simulated.serve(stop);
    tokio::pin!(ended);
    tokio::select! {
        ended = &mut ended => ended.map_err(Failure::of)?,
        () = shutdown.asked() => {
            shutdown.phase(Phase::NotReady, async {}).await;
            ended.await.map_err(Failure::of)?;
        }
    }
    Ok(Exit::Success)
}
