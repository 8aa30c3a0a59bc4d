//! The arguments of `holdover serve`. The daemon itself is built in `daemon`.

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
    /// Serve the intact rest of a damaged journal; damaged records keep their keys blocked
    #[arg(long)]
    pub quarantine: bool,
    /// Run on the clock of a driver at this address; refused on real data
    #[arg(long, value_name = "ADDRESS")]
    pub clock: Option<SocketAddr>,
    /// Begin a journal in a data folder that exists and has none
    #[arg(long)]
    pub init: bool,
    /// Break one promise, for tests that must see it noticed
    #[cfg(feature = "sabotage")]
    #[arg(long, value_name = "NAME", hide = true)]
    pub sabotage: Option<crate::engine::settings::Sabotage>,
}
