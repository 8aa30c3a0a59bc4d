//! The arguments of `holdover serve`. The daemon itself is built in `daemon`.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Starts the daemon.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Configuration file, laid over the built-in defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
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
    /// Write the addresses that were bound to this file once ready, as JSON
    #[arg(long, value_name = "FILE")]
    pub addresses_file: Option<PathBuf>,
}
