//! The arguments of `holdover serve`. The daemon itself is built in `daemon`.

use super::args::instant;
use super::client::Client;
use super::exit::{Exit, Failure};
use crate::config::Secret;
use crate::daemon::accept_clock::ClockWord;
use crate::daemon::serve::{self, ServeOptions, Source};
use crate::domain::time::Timestamp;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Starts the daemon.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Configuration file, laid over the built-in defaults; may be repeated
    #[arg(long, value_name = "FILE")]
    pub config: Vec<PathBuf>,
    /// Data folder, instead of the configured one
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where submitters are served, instead of the configured address
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where operators are served, instead of the configured address
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Look at the intact rest of a damaged journal: receipts, listings, books and repeats are
    /// answered, every new submission and every order gets 503 `quarantined`, nothing is sent
    /// to any core and nothing is written until the damaged files are restored
    #[arg(long)]
    pub quarantine: bool,
    /// Run on the clock of a driver at this address, and end with it; refused on real data
    #[arg(long, value_name = "ADDRESS")]
    pub clock: Option<SocketAddr>,
    /// Begin a journal where the data folder is absent or has none: for the first start only
    #[arg(long)]
    pub init: bool,
    /// Start although the clock is far from the last journaled time: say what time it is, as a
    /// watch shows it, such as 2022-08-15T03:10+08:00. Takes an operator's key with the scope
    /// approve (--key-file); journaled, and written into the audit log
    #[arg(long, value_name = "TIME", value_parser = instant, requires = "reason")]
    pub accept_clock: Option<Timestamp>,
    /// Why the clock is right
    #[arg(long, value_name = "TEXT", requires = "accept_clock")]
    pub reason: Option<String>,
    /// Break one promise, for tests that must see it noticed
    #[cfg(feature = "sabotage")]
    #[arg(long, value_name = "NAME", hide = true)]
    pub sabotage: Option<crate::daemon::serve::Sabotage>,
    /// Let this sync of the journal fail (1 is the first)
    #[cfg(feature = "sabotage")]
    #[arg(long, value_name = "N", hide = true)]
    pub sabotage_sync: Option<u64>,
}

/// `holdover serve`: until it is told to stop.
pub(super) fn serve(
    args: ServeArgs,
    client: &Client,
    service_manager: bool,
) -> Result<Exit, Failure> {
    let source = Source {
        files: args.config,
        data: args.data,
        listen: args.listen,
        admin_listen: args.admin_listen,
    };
    let config = source.read().map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let problems = problems.join("\n");
        Failure::local(Exit::Usage, format!("the configuration is wrong\n{problems}"))
    })?;
    let accept_clock = match args.accept_clock {
        Some(says) => {
            let key = Secret::new(client.key()?.into_bytes());
            Some(ClockWord { says, key, reason: args.reason.unwrap_or_default() })
        }
        None => None,
    };
    let options = ServeOptions {
        accept_clock,
        clock: args.clock,
        quarantine: args.quarantine,
        init: args.init,
        service_manager,
        #[cfg(feature = "sabotage")]
        sabotage: args.sabotage,
        #[cfg(feature = "sabotage")]
        sabotage_sync: args.sabotage_sync,
    };
    serve::run(config, source, options).map_err(|error| Failure::of(format!("{error:#}")))?;
    Ok(Exit::Success)
}
