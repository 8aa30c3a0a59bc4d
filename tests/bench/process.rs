//! Processes that the benchmark starts, and ends: those and no others.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that ends with this value.
pub(crate) struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts `command`; what it says goes to `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Starts `command` and reads the first line of its output.
    pub(crate) fn start_and_read(name: &str, command: &mut Command) -> Result<(Self, String)> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let running = Self { child, name: name.to_owned() };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        Ok((running, line.trim().to_owned()))
    }

    /// Waits until `ready` says yes, as long as the process lives and `limit` allows.
    pub(crate) fn wait_until(
        &mut self,
        limit: Duration,
        ready: impl Fn() -> bool,
    ) -> Result<Duration> {
        let began = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}", self.name);
            }
            if began.elapsed() > limit {
                bail!("{} was not ready after {limit:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(began.elapsed())
    }

    /// Resident memory in bytes: now, and the most it ever was.
    pub(crate) fn resident_bytes(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let bytes = |name: &str| -> Result<u64> {
            let line = status.lines().find(|l| l.starts_with(name)).context("a line of memory")?;
            let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
            Ok(kib * 1024)
        };
        Ok((bytes("VmRSS:")?, bytes("VmHWM:")?))
    }

    /// Waits until what goes on beside the requests (a snapshot, the index) is done: until it has
    /// used less than a fiftieth of a core for three seconds.
    pub(crate) fn settle(&self) -> Result<()> {
        let ticks = || -> Result<u64> {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
            let fields = stat.rsplit_once(") ").context("a line of times")?.1.split(' ');
            Ok(fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum())
        };
        let (began, mut quiet) = (Instant::now(), 0);
        while quiet < 3 {
            if began.elapsed() > Duration::from_secs(120) {
                bail!("the daemon is still busy after two minutes without a request");
            }
            let before = ticks()?;
            std::thread::sleep(Duration::from_secs(1));
            quiet = if ticks()? - before <= 2 { quiet + 1 } else { 0 };
        }
        Ok(())
    }

    /// Ends it without warning (SIGKILL).
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it in an orderly way by `signal`, within a minute.
    pub(crate) fn stop(mut self, signal: &str) -> Result<()> {
        let sent = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status()?;
        if !sent.success() {
            bail!("{} could not be told to stop", self.name);
        }
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > Duration::from_secs(60) {
                bail!("{} did not stop within a minute", self.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Nothing more can be done here; the process may just have ended by itself.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// One request without a body on a connection of its own: status and body.
pub(crate) fn get(server: &str, path: &str, key: Option<&str>) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let bearer = key.map(|k| format!("Authorization: Bearer {k}\r\n")).unwrap_or_default();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{bearer}Connection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.get(9..12).and_then(|s| s.parse().ok()).context("a status line")?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

/// Runs `command` to its end and returns its output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
