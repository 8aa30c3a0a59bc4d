//! The processes of the demo: one daemon and three simulated cores, started from this very
//! program, each on free loopback ports, all under the driver's clock.
//!
//! Every child ends with the demo, whatever happens to it: it is killed when its handle goes away,
//! and stops by itself when the demo was killed and with it the clock (`daemon::driven`). What
//! they print goes to files in the demo's folder.

use super::client::Http;
use crate::daemon::clock::{Stopwatch, real_sleep};
use anyhow::{Context, bail};
use rustix::process::WaitOptions;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The longest that a process may take to be ready, in real time.
const START_MAX: Duration = Duration::from_secs(30);
/// The longest that a daemon may take to stop when it was asked to, in real time.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Between two looks at whether a daemon is ready, in real time.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A loopback address that nobody listens on right now.
///
/// # Errors
/// When there is no free port.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

/// What every child is started from.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    /// This program.
    pub program: PathBuf,
    /// The demo's folder.
    pub folder: PathBuf,
    /// Where the driver's clock is served.
    pub clock: SocketAddr,
    /// The promise to break, in a build for tests.
    pub sabotage: Option<String>,
}

/// A simulated core that runs.
#[derive(Debug)]
pub struct Core {
    /// The upstream that it stands in for.
    pub name: String,
    /// Where the daemon sends.
    pub base_url: String,
    /// Where it is told what to do.
    pub control: String,
    /// Its log.
    pub log: PathBuf,
    // Ends the process when it goes away.
    _child: Child,
}

impl Core {
    /// The address of its script.
    #[must_use]
    pub fn script_url(&self) -> String {
        format!("{}/control/{}", self.control, self.name)
    }

    /// The address of its counters.
    #[must_use]
    pub fn stats_url(&self) -> String {
        format!("{}/control/stats", self.control)
    }
}

/// The line that a simulated core prints when its listeners are open.
#[derive(Debug, Deserialize)]
struct Ready {
    upstreams: BTreeMap<String, String>,
    control: String,
}

impl Stage {
    fn errors_of(&self, name: &str) -> anyhow::Result<File> {
        let path = self.folder.join(format!("{name}.stderr"));
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Starts a core for the upstream `name`.
    ///
    /// # Errors
    /// When it does not become ready in time.
    pub(super) async fn start_core(&self, name: &str, seed: u64) -> anyhow::Result<Core> {
        let log = self.folder.join(format!("core-{name}.ndjson"));
        let mut child = Command::new(&self.program)
            .args(["simulate-core", "--upstream", name, "--log"])
            .arg(&log)
            .args(["--seed", &seed.to_string(), "--clock", &self.clock.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.errors_of(name)?)
            .kill_on_drop(true)
            .spawn()
            .context("the simulated core cannot be started")?;
        let out = child.stdout.take().context("the simulated core has no output")?;
        let mut lines = BufReader::new(out).lines();
        let line = tokio::time::timeout(START_MAX, lines.next_line())
            .await
            .context("the simulated core did not become ready in time")??;
        let line = line.with_context(|| {
            format!("the simulated core {name} ended at once; see {name}.stderr in the folder")
        })?;
        let ready: Ready = serde_json::from_str(&line)
            .with_context(|| format!("the simulated core printed {line}"))?;
        let base_url =
            ready.upstreams.get(name).context("the simulated core names no address")?.clone();
        Ok(Core { name: name.to_owned(), base_url, control: ready.control, log, _child: child })
    }

    /// Starts the daemon, with the arguments `how` besides, and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or does not become ready in time.
    pub(super) async fn start_daemon(
        &self,
        config: &Path,
        operators: &str,
        http: &Http,
        how: &[&str],
    ) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .args(how)
            .arg("--config")
            .arg(config)
            .args(["--clock", &self.clock.to_string()])
            .stdin(Stdio::null())
            .stdout(self.errors_of("daemon")?)
            .stderr(self.errors_of("daemon")?)
            .kill_on_drop(true);
        if let Some(sabotage) = &self.sabotage {
            command.args(["--sabotage", sabotage]);
        }
        let mut child = command.spawn().context("the daemon cannot be started")?;
        let patience = Stopwatch::start();
        let ready_url = format!("{operators}/readyz");
        while http.look(&ready_url).await.is_none() {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "the daemon ended with {status}; see daemon.stderr in {}",
                    self.folder.display()
                );
            }
            if patience.elapsed() > START_MAX {
                bail!("the daemon was not ready within {} s", START_MAX.as_secs());
            }
            real_sleep(LOOK_AGAIN).await;
        }
        Ok(child)
    }
}

/// Ends a process that we started with SIGKILL, and waits until it is gone.
///
/// # Errors
/// When it cannot be ended.
pub(super) async fn kill(child: &mut Child) -> anyhow::Result<()> {
    child.kill().await.context("the daemon cannot be killed")
}

/// Asks the daemon to stop, and waits until it has.
///
/// # Errors
/// When it does not stop in time, or not cleanly.
pub(super) async fn stop(child: &mut Child) -> anyhow::Result<()> {
    let pid = child.id().context("the daemon had already ended")?;
    let asked = Command::new("sh")
        .args(["-c", "kill -TERM \"$1\"", "sh", &pid.to_string()])
        .status()
        .await
        .context("no shell to send a signal with")?;
    if !asked.success() {
        bail!("the daemon had already ended");
    }
    let status = tokio::time::timeout(STOP_MAX, child.wait())
        .await
        .context("the daemon did not stop in time")??;
    if !status.success() {
        bail!("the daemon stopped with {status}");
    }
    Ok(())
}

/// Waits until every process that was started here is gone, once their handles are: those that
/// still ran have been killed.
pub(super) async fn all_gone() {
    let patience = Stopwatch::start();
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) if patience.elapsed() < STOP_MAX => real_sleep(LOOK_AGAIN).await,
            // None is left, or a disk keeps one that is beyond our reach.
            Ok(None) | Err(_) => return,
        }
    }
}
