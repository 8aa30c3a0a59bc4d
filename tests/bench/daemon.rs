//! The rows that measure Holdover itself: the real `holdover serve` with everything on that
//! production has on, 3,000 institutions with a key each, and a core that is away, so that what
//! is accepted waits; the replay begins when `holdover simulate-core` is started.

use crate::disk::folder_bytes;
use crate::load::{Measured, Plan};
use crate::process::{Running, free_port, get, output};
use crate::submission::INSTITUTIONS;
use anyhow::{Context, Result, bail};
use ring::digest::{SHA256, digest};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a start may take at most: recovery of the largest sizes included.
const START_LIMIT: Duration = Duration::from_secs(600);
/// How many submissions a line-by-line batch has.
pub(crate) const BATCH_LINES: usize = 1000;

/// Where the daemon under test lives.
pub(crate) struct Site {
    binary: PathBuf,
    folder: PathBuf,
    config: PathBuf,
    /// One submitter's key a line, for the load generator.
    pub(crate) keys: PathBuf,
    operator_key: String,
    /// The submitters' listener.
    pub(crate) submitters: String,
    operators: String,
    core: String,
}

/// Whether `binary` has the subcommand at all.
fn has(binary: &Path, subcommand: &str) -> Result<()> {
    let help = output(Command::new(binary).args([subcommand, "--help"])).unwrap_or_default();
    if help.contains("Usage") {
        return Ok(());
    }
    bail!("this build of holdover has no `{subcommand}`")
}

impl Site {
    /// A new, empty site below `folder`.
    pub(crate) fn new(binary: &Path, folder: &Path) -> Result<Self> {
        has(binary, "serve")?;
        std::fs::create_dir(folder)?;
        let port = || free_port().map(|p| format!("127.0.0.1:{p}"));
        let mut site = Self {
            binary: binary.to_owned(),
            config: folder.join("holdover.toml"),
            keys: folder.join("keys.txt"),
            operator_key: String::new(),
            submitters: port()?,
            operators: port()?,
            core: port()?,
            folder: folder.to_owned(),
        };
        site.write_keys()?;
        let config = include_str!("holdover.toml")
            .replace("@FOLDER@", &folder.display().to_string())
            .replace("@SUBMITTERS@", &site.submitters)
            .replace("@OPERATORS@", &site.operators)
            .replace("@CORE@", &site.core);
        std::fs::write(&site.config, config)?;
        Ok(site)
    }

    /// Writes the file of hashed keys in one go (`holdover key create` makes one at a time), and
    /// the keys themselves for the load generator.
    fn write_keys(&mut self) -> Result<()> {
        let mut clear = String::new();
        let mut records = Vec::new();
        for number in 0..=INSTITUTIONS {
            let id = format!("{number:010}");
            let secret: String = std::iter::repeat_with(fastrand::alphanumeric).take(32).collect();
            let body = format!("hk_live_{id}_{secret}");
            let text = format!("{body}_{:08x}", crc32c::crc32c(body.as_bytes()));
            let hash = digest(&SHA256, secret.as_bytes());
            let hash: String = hash.as_ref().iter().map(|b| format!("{b:02x}")).collect();
            let (scopes, holder) = if number == INSTITUTIONS {
                self.operator_key = text;
                (
                    serde_json::json!(["read", "operate"]),
                    serde_json::json!({"operator": {"name": "benchmark"}}),
                )
            } else {
                clear.push_str(&text);
                clear.push('\n');
                let code = format!("H{number:011}");
                (
                    serde_json::json!(["submit", "read"]),
                    serde_json::json!({"institution": {
                        "institution": {"code": code, "class": "hospital", "district": "110101"},
                        "channels": ["system"]
                    }}),
                )
            };
            records.push(serde_json::json!({
                "id": id, "secret_sha256": hash, "scopes": scopes, "holder": holder,
                "created_at": "2026-01-01T00:00:00Z"
            }));
        }
        std::fs::write(&self.keys, clear)?;
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.folder.join("keys.json"))?;
        let document = serde_json::json!({"version": 1, "keys": records});
        file.write_all(document.to_string().as_bytes())?;
        Ok(())
    }

    /// Starts the daemon; returns how long it took until `/readyz` said yes.
    pub(crate) fn start(&self) -> Result<(Running, Duration)> {
        self.run(&mut self.serve())
    }

    /// The same where nothing that is final is kept any longer.
    pub(crate) fn start_past_retention(&self) -> Result<Running> {
        let past = self.folder.join("past.toml");
        let ages = "forward_after = \"0s\"\nretention = \"0s\"\narchive = false\n";
        std::fs::write(&past, format!("[journal]\n{ages}"))?;
        Ok(self.run(self.serve().arg("--config").arg(past))?.0)
    }

    fn serve(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(&self.config);
        if !self.folder.join("data").exists() {
            command.arg("--init");
        }
        command
    }

    fn run(&self, command: &mut Command) -> Result<(Running, Duration)> {
        let log = self.folder.join("holdover.log");
        let mut daemon = Running::start("holdover serve", command, &log)?;
        let ready = || get(&self.operators, "/readyz", None).is_ok_and(|(status, _)| status == 200);
        let took = daemon.wait_until(START_LIMIT, ready).with_context(|| self.last_words())?;
        Ok((daemon, took))
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("holdover.log")).unwrap_or_default();
        log.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// Starts the simulated core, which ends the stop.
    pub(crate) fn start_core(&self) -> Result<Running> {
        has(&self.binary, "simulate-core")?;
        Running::start(
            "holdover simulate-core",
            Command::new(&self.binary)
                .args(["simulate-core", "--no-log", "--upstream", "settlement", "--listen"])
                .arg(format!("settlement={}", self.core)),
            &self.folder.join("core.out"),
        )
    }

    /// Transactions that are not settled yet, by the books.
    pub(crate) fn open_count(&self) -> Result<u64> {
        let (status, body) = get(&self.operators, "/admin/v1/ledger", Some(&self.operator_key))?;
        if status != 200 {
            bail!("the ledger answered {status}");
        }
        let books: serde_json::Value = serde_json::from_str(&body)?;
        let count = |name: &str| {
            books
                .get(name)
                .and_then(serde_json::Value::as_u64)
                .with_context(|| format!("the ledger does not say {name}"))
        };
        Ok(count("waiting")? + count("in_flight")? + count("in_doubt")?)
    }

    /// Deletes the index, which the daemon must rebuild.
    pub(crate) fn delete_index(&self) -> Result<()> {
        let index = self.folder.join("data").join("index");
        std::fs::remove_dir_all(&index).with_context(|| format!("delete {}", index.display()))
    }

    /// The disk that the data take.
    pub(crate) fn disk_bytes(&self) -> Result<u64> {
        folder_bytes(&self.folder.join("data"))
    }

    /// The disk that the data take once they have not changed for five seconds.
    pub(crate) fn settled_disk_bytes(&self) -> Result<u64> {
        let mut seen = self.disk_bytes()?;
        let (began, mut since) = (Instant::now(), Instant::now());
        while since.elapsed() < Duration::from_secs(5) {
            if began.elapsed() > Duration::from_secs(120) {
                bail!("the data folder still changes after two minutes");
            }
            std::thread::sleep(Duration::from_millis(250));
            let now = self.disk_bytes()?;
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
        }
        Ok(seen)
    }

    /// The plan of an ordinary load on this site.
    pub(crate) fn plan(&self, seconds: f64) -> Plan {
        Plan {
            server: self.submitters.clone(),
            keys: Some(self.keys.clone()),
            connections: 256,
            warmup: 2.0,
            seconds,
            count: None,
            rate: None,
            batch: 1,
        }
    }

    /// Adds `count` waiting transactions by batches.
    pub(crate) fn fill(&self, count: u64) -> Result<Measured> {
        let plan = Plan {
            connections: 8,
            warmup: 0.0,
            seconds: 36_000.0,
            count: Some(count),
            batch: BATCH_LINES,
            ..self.plan(0.0)
        };
        load(&plan)
    }

    /// Waits until everything that waits has been sent and settled: transactions a second, from
    /// the moment when the number began to fall.
    pub(crate) fn replay_rate(&self, limit: Duration) -> Result<f64> {
        let all = self.open_count()?;
        let began = Instant::now();
        let mut falling: Option<(Instant, u64)> = None;
        loop {
            let open = self.open_count()?;
            match falling {
                None if open < all => falling = Some((Instant::now(), open)),
                Some((since, from)) if open == 0 => {
                    return Ok(from as f64 / since.elapsed().as_secs_f64());
                }
                None | Some(_) => {}
            }
            if began.elapsed() > limit {
                bail!("{open} of {all} transactions still wait after {limit:?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Runs the load generator as a process of its own. Any answer that was not an acceptance is a
/// failure of the measurement.
pub(crate) fn load(plan: &Plan) -> Result<Measured> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["load", "--server", &plan.server]);
    if let Some(keys) = &plan.keys {
        command.arg("--keys").arg(keys);
    }
    command.args(["--connections", &plan.connections.to_string()]);
    command.args(["--warmup", &plan.warmup.to_string(), "--seconds", &plan.seconds.to_string()]);
    command.args(["--batch", &plan.batch.to_string()]);
    if let Some(count) = plan.count {
        command.args(["--count", &count.to_string()]);
    }
    if let Some(rate) = plan.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let measured: Measured = serde_json::from_str(&output(&mut command)?)?;
    if !measured.errors.is_empty() {
        bail!("not everything was accepted: by status {:?}", measured.errors);
    }
    Ok(measured)
}
