//! The simulated core, for demos, tests and benchmarks: a real HTTP server that stands in for
//! one or several upstreams and does what it is told, failures included.
//!
//! ```text
//!  Holdover ──POST /transactions, GET /transactions/{id}, GET /health──► one listener each
//!             PUT /attachments/{digest}, GET /attachments (what is noted of files)
//!  driver ────PUT/GET /control/{upstream}, GET /control/stats──────────► control listener
//! ```
//!
//! `script` is what can be told, `memory` what is known and decided, `log` the evidence,
//! `serve` the listeners, `bus` requests and replies over Kafka. It shares no code with the adapter that it is there to test.

mod bus;
mod log;
mod memory;
mod script;
mod serve;

pub use memory::Stats;
pub use script::{Busy, Chance, LateApply, Refuse, Script};
pub use serve::Simulated;

use crate::domain::ids::UpstreamName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Options of the simulated core.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulateCore {
    /// An upstream to stand in for; may be given several times
    #[arg(long = "upstream", value_name = "NAME", required = true)]
    pub upstreams: Vec<UpstreamName>,
    /// Where an upstream listens; a free loopback port where it is not given
    #[arg(long = "listen", value_name = "NAME=ADDRESS")]
    pub listen: Vec<Listen>,
    /// Brokers of Kafka, for what --topic names
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', requires = "topics")]
    pub kafka: Vec<String>,
    /// The topic in which an upstream finds requests, besides its listener
    #[arg(long = "topic", value_name = "NAME=TOPIC", requires = "kafka")]
    pub topics: Vec<Topic>,
    /// Where the control API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub control: SocketAddr,
    /// The file to which one line of JSON is appended for each call
    #[arg(long, value_name = "FILE", required_unless_present = "no_log")]
    pub log: Option<PathBuf>,
    /// Write no log
    #[arg(long, conflicts_with = "log")]
    pub no_log: bool,
    /// Answer a repeat with the first answer instead of applying it again; a repeat has the same
    /// transaction id, or the same institution and idempotency key
    #[arg(long)]
    pub recognise_repeats: bool,
    /// The seed of everything that is drawn by chance
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// The address of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The upstream.
    pub upstream: UpstreamName,
    /// Its address.
    pub address: SocketAddr,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) =
            text.split_once('=').ok_or("expected NAME=ADDRESS, such as agency=127.0.0.1:9001")?;
        let upstream = name.parse().map_err(|error| format!("{error}"))?;
        let address = address
            .parse()
            .map_err(|_| format!("expected an address and port, not {address:?}"))?;
        Ok(Self { upstream, address })
    }
}

/// The topic of one upstream's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// The upstream.
    pub upstream: UpstreamName,
    /// Its topic.
    pub topic: String,
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, topic) = text
            .split_once('=')
            .filter(|(_, topic)| !topic.is_empty())
            .ok_or("expected NAME=TOPIC, such as agency=core.agency.requests")?;
        let upstream = name.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { upstream, topic: topic.to_owned() })
    }
}

/// What is printed once every listener is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// Always true.
    pub ready: bool,
    /// The base URL of each upstream.
    pub upstreams: BTreeMap<String, String>,
    /// The base URL of the control API; its paths begin with `/control/`.
    pub control: String,
}

/// Why the simulated core cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// A listener cannot be opened.
    #[error("{what} cannot listen on {address}: {source}")]
    Listen {
        /// Which one.
        what: String,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The log cannot be opened or written.
    #[error("the log cannot be written: {0}")]
    Log(io::Error),
    /// Nobody reads what is printed.
    #[error("the ready line cannot be printed: {0}")]
    Print(io::Error),
}

/// Prints one line of JSON that says where a simulated core listens.
///
/// # Errors
/// [`Error::Print`] when nobody reads it.
pub fn announce(simulated: &Simulated) -> Result<(), Error> {
    let line = serde_json::to_string(simulated.ready()).map_err(|e| Error::Print(e.into()))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::Print)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: SimulateCore,
    }

    #[test]
    fn the_options_read_as_they_are_documented() {
        let parse = |words: &str| Line::try_parse_from(words.split_whitespace());
        let line = parse("x --upstream a --upstream b --listen b=127.0.0.1:7 --no-log").unwrap();
        assert_eq!(line.options.upstreams.len(), 2);
        assert_eq!(line.options.listen[0].address.port(), 7);
        assert_eq!(line.options.seed, 1);
        for bad in [
            "x --no-log",
            "x --upstream a",
            "x --upstream A --no-log",
            "x --upstream a --log f --no-log",
            "x --upstream a --no-log --listen a",
            "x --upstream a --no-log --listen a=here",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
