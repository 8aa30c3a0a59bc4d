//! The command line: a noun, then a verb; one file per noun.
//!
//! Everything that a running daemon knows is asked of it over `/admin/v1`. Only `key`, `audit
//! verify`, `calendar` and what starts a process work on files. Data goes to standard output, words for
//! people to standard error; `--json` makes the data one JSON value. What changes something says
//! what it changed and what to look at next; what lets transactions be sent, stops them or ends
//! something for good needs a flag that says so, and prints first what it will touch. People are
//! shown times in the daemon's zone, as it names it in each answer; what works on files alone knows
//! no zone and shows UTC.

mod args;
mod audit;
mod calendar;
mod check_config;
mod client;
mod dead_letter;
mod deadline;
mod examples;
mod exit;
mod gate;
mod import;
mod in_doubt;
mod input;
mod journal;
mod key;
mod ledger;
mod manual;
mod out;
mod policy;
mod proposal;
pub mod serve;
mod simulate_core;
mod status;
mod ticket;
mod transaction;
mod window;

pub use exit::{Exit, exit_of};

use clap::{CommandFactory, Parser, Subcommand};
use client::Client;
use exit::Failure;
use out::Out;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the daemon serves operators unless told otherwise.
const ADMIN: &str = "http://127.0.0.1:8481";

/// What the process finds around it.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The value of `HOLDOVER_ADMIN`.
    pub admin: Option<String>,
    /// The value of `HOLDOVER_KEY_FILE`.
    pub key_file: Option<PathBuf>,
    /// Whether standard output is a terminal that wants colour.
    pub color: bool,
    /// Whether standard output is a terminal on which a screen can be written over.
    pub in_place: bool,
    /// Whether a service manager has started the process and wants to be told.
    pub service_manager: bool,
}

/// Takes medical insurance transactions while the core is away, and replays them in order.
#[derive(Debug, Parser)]
#[command(name = "holdover", version, after_help = examples::ALL, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    noun: Noun,
}

/// What every command takes stands apart from what it is about.
const EVERYWHERE: &str = "Everywhere";

#[derive(Debug, clap::Args)]
struct Global {
    /// Address of the daemon's operators' listener [env: HOLDOVER_ADMIN]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "URL")]
    admin: Option<String>,
    /// File that holds the operator's API key; - reads standard input [env: HOLDOVER_KEY_FILE]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print data as one JSON value
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    json: bool,
    /// No colour, whatever the terminal can do
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    no_color: bool,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// What needs a person first, and how everything stands
    #[command(before_help = examples::STATUS)]
    Status(status::Status),
    /// Planned stops of the core
    #[command(subcommand, before_help = examples::WINDOW)]
    Window(window::Verb),
    /// Gates: may effects start in a cell
    #[command(subcommand, before_help = examples::GATE)]
    Gate(gate::Verb),
    /// Accepted transactions
    #[command(subcommand, before_help = examples::TRANSACTION)]
    Transaction(transaction::Verb),
    /// Open tickets
    #[command(subcommand, before_help = examples::TICKET)]
    Ticket(ticket::Verb),
    /// Deadlines and their extensions
    #[command(subcommand, before_help = examples::DEADLINE)]
    Deadline(deadline::Verb),
    /// What would be done with a submission, and why
    #[command(subcommand, before_help = examples::POLICY)]
    Policy(policy::Verb),
    /// The books, in items and in money
    #[command(before_help = examples::LEDGER)]
    Ledger(ledger::Ledger),
    /// Transactions given up after sure failures
    #[command(subcommand, before_help = examples::DEAD_LETTER)]
    DeadLetter(dead_letter::Verb),
    /// Transactions whose attempt may or may not have taken effect
    #[command(subcommand, before_help = examples::IN_DOUBT)]
    InDoubt(in_doubt::Verb),
    /// Orders that wait for a second person
    #[command(subcommand, before_help = examples::PROPOSAL)]
    Proposal(proposal::Verb),
    /// API keys
    #[command(subcommand, before_help = examples::KEY)]
    Key(key::Verb),
    /// The log of operators' acts
    #[command(subcommand, before_help = examples::AUDIT)]
    Audit(audit::Verb),
    /// Play the stop of August 2022 on real processes in about a minute
    #[command(before_help = examples::DEMO)]
    Demo(crate::demo::DemoArgs),
    /// Run the daemon
    #[command(before_help = examples::SERVE)]
    Serve(serve::ServeArgs),
    /// Run a simulated core, for demos, tests and benchmarks
    #[command(before_help = examples::SIMULATE_CORE)]
    SimulateCore(simulate_core::Simulate),
    /// The journal on disk
    #[command(subcommand, before_help = examples::JOURNAL)]
    Journal(journal::Journal),
    /// The working days that are known, and the papers they rest on
    #[command(subcommand, before_help = examples::CALENDAR)]
    Calendar(calendar::Verb),
    /// Check a configuration file
    #[command(before_help = examples::CHECK_CONFIG)]
    CheckConfig(check_config::CheckConfig),
    /// Completions of this command line for a shell
    #[command(before_help = examples::COMPLETIONS)]
    Completions(manual::Completions),
    /// Manual pages of this command line
    #[command(before_help = examples::MAN)]
    Man(manual::Manual),
}

impl Noun {
    async fn run(self, run: &Run) -> Result<Exit, Failure> {
        match self {
            Self::Status(status) => status.run(run).await,
            Self::Window(verb) => verb.run(run).await,
            Self::Gate(verb) => verb.run(run).await,
            Self::Transaction(verb) => verb.run(run).await,
            Self::Ticket(verb) => verb.run(run).await,
            Self::Deadline(verb) => verb.run(run).await,
            Self::Policy(verb) => verb.run(run).await,
            Self::Ledger(ledger) => ledger.run(run).await,
            Self::DeadLetter(verb) => verb.run(run).await,
            Self::InDoubt(verb) => verb.run(run).await,
            Self::Proposal(verb) => verb.run(run).await,
            Self::Key(verb) => verb.run(run),
            Self::Audit(verb) => verb.run(run).await,
            Self::SimulateCore(args) => simulate_core::simulate(args).await,
            Self::Journal(verb) => journal::verify(&run.out, &verb),
            Self::Calendar(verb) => verb.run(run),
            Self::CheckConfig(args) => check_config::check(run, &args).await,
            Self::Completions(args) => manual::completions(&run.out, &args),
            Self::Man(args) => manual::manual(&run.out, &args),
            Self::Serve(_) | Self::Demo(_) => Err(Failure::usage("runs by itself")),
        }
    }
}

/// What every verb is given.
struct Run {
    client: Client,
    out: Out,
}

impl Run {
    /// Lets a destructive verb go on only when its flag was given. What it touches has been
    /// printed by then or is printed here.
    fn confirmed(&self, given: bool, touches: &str, flag: &str) -> Result<(), Failure> {
        self.out.note(&format!("this will touch: {touches}"));
        if given {
            return Ok(());
        }
        Err(Failure::usage(format!("nothing was done; add {flag} to go on")))
    }

    /// The same for verbs that want the name of what they touch.
    fn confirmed_by_name(
        &self,
        given: Option<&str>,
        name: &str,
        touches: &str,
    ) -> Result<(), Failure> {
        self.confirmed(given == Some(name), touches, &format!("--confirm {name}"))
    }
}

/// The tree of commands, for tests and for completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs one command line and gives the process's exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, around: &Surroundings) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Where it cannot be printed there is nobody to tell.
            drop(error.print());
            let usage = error.use_stderr();
            return if usage { Exit::Usage } else { Exit::Success }.into();
        }
    };
    let Global { admin, key_file, json, no_color } = cli.global;
    let color = around.color && !no_color && !json;
    let out = Out { json, color, in_place: around.in_place };
    let admin = admin.or_else(|| around.admin.clone()).unwrap_or_else(|| ADMIN.to_owned());
    let key_file = key_file.or_else(|| around.key_file.clone());
    let run = Run { client: Client::new(admin, key_file), out };
    if let Noun::Demo(args) = cli.noun {
        return crate::demo::run(args, json);
    }
    if let Noun::Serve(args) = cli.noun {
        // The daemon has a runtime of its own.
        return ended(&run.out, serve::serve(args, &run.client, around.service_manager));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(cli.noun.run(&run)),
        Err(error) => Err(Failure::local(Exit::Failure, format!("no runtime: {error}"))),
    };
    ended(&run.out, result)
}

fn ended(out: &Out, result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out.failure(&failure);
            failure.exit().into()
        }
    }
}
