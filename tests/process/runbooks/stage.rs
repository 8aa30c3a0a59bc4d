//! A machine on which a runbook is read: one configuration file, a data folder, a daemon under a
//! stand-in for the service manager, a simulated core, and keys.
//!
//! The stand-ins for `systemctl` and `journalctl` really start and stop the daemon of this stage,
//! by its own process id, and show its real log. Nothing is proved here: scenes do that.

use super::page::Page;
use super::shell::Shell;
use crate::rig::{Answer, Client, HOLDOVER, Site, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The longest that anything is waited for.
pub(super) const BOUND: Duration = Duration::from_secs(20);

/// What a runbook may call, besides `holdover` and the stand-ins.
const PROGRAMS: [&str; 13] = [
    "curl",
    "date",
    "df",
    "du",
    "ls",
    "cp",
    "mv",
    "mkdir",
    "cat",
    "grep",
    "sleep",
    "tar",
    "sha256sum",
];

/// Waits are short, and limits no obstacle.
const CONFIG: &str = r#"
[listen]
submitters = "@SUBMITTERS@"
operators = "@OPERATORS@"

[data]
folder = "@DATA@"
api_keys_file = "@KEYS@"
master_key_file = "@ETC@/master.key"
disk_reserve_bytes = 1048576

[retry]
first = "10ms"
longest = "100ms"
failures_max = 3

[upstream_default]
connect_timeout = "1s"
answer_timeout = "1s"
settle_time = "1200ms"
probe_interval = "250ms"
probe_timeout = "250ms"
good_needed = 2
bad_needed = 2
ramp = "0s"
ramp_from_per_second = 1000000

[catalogue.line_default]
live_limit = "2s"
"#;

const SYSTEMCTL: &str = r#"#!/bin/bash
# Stands in for systemctl: the one service is this stage's daemon.
PATH=/usr/bin:/bin
set -eu
words=()
for word in "$@"; do case $word in -*) ;; *) words+=("$word") ;; esac; done
[ "${words[1]%.service}" = holdover ] || { echo "no unit ${words[1]}" >&2; exit 5; }
cd '@ROOT@'
alive() {
    [ -s pid ] && [ -d "/proc/$(cat pid)" ] && ! grep -q '^State:.Z' "/proc/$(cat pid)/status"
}
start() {
    if alive; then return 0; fi
    : >ready
    setsid '@BIN@/holdover' serve --config '@CONFIG@' ${HOLDOVER_FIRST_START:+--init} \
        >ready 2>>log </dev/null &
    echo $! >pid
    for _ in $(seq 600); do
        if [ -s ready ]; then return 0; fi
        if ! alive; then break; fi
        sleep 0.05
    done
    echo 'Job for holdover.service failed; see journalctl -u holdover' >&2
    return 1
}
stop() {
    if ! alive; then return 0; fi
    kill -TERM "$(cat pid)"
    for _ in $(seq 400); do
        if ! alive; then return 0; fi
        sleep 0.05
    done
    echo 'holdover.service does not stop' >&2
    return 1
}
case ${words[0]} in
start) start ;;
stop) stop ;;
restart) stop && start ;;
reload) alive && kill -HUP "$(cat pid)" ;;
is-active) if alive; then echo active; else echo inactive; exit 3; fi ;;
status) if alive; then echo 'active (running)'; else echo 'inactive (dead)'; exit 3; fi ;;
*) echo "unknown to this stand-in: ${words[0]}" >&2; exit 1 ;;
esac
"#;

const JOURNALCTL: &str = r#"#!/bin/bash
# Stands in for journalctl: shows the log of this stage's daemon.
PATH=/usr/bin:/bin
set -eu
lines=+1
while [ $# -gt 0 ]; do
    case $1 in
    -u) [ "${2%.service}" = holdover ]; shift ;;
    -n) lines=$2; shift ;;
    --no-pager) ;;
    --since | -o) shift ;;
    *) echo "unknown to this stand-in: $1" >&2; exit 1 ;;
    esac
    shift
done
tail -n "$lines" '@ROOT@/log'
"#;

/// Ports that nobody had a moment ago: a unit's configuration names fixed ones.
fn free_ports() -> [SocketAddr; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

pub(super) fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn key_file(path: &Path, key: &str) {
    fs::write(path, key).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The machine.
pub(super) struct Stage {
    pub(super) site: Site,
    pub(super) root: PathBuf,
    pub(super) data: PathBuf,
    pub(super) etc: PathBuf,
    /// The file of the API keys.
    pub(super) keys: PathBuf,
    pub(super) config: PathBuf,
    pub(super) submitters: SocketAddr,
    operators: SocketAddr,
    variables: Vec<(String, String)>,
}

impl Stage {
    /// A machine whose daemon has not been started; `config` is laid over [`CONFIG`].
    pub(super) fn new(config: &str) -> Self {
        Self::with(config, &[])
    }

    /// The same with more arguments for the simulated core.
    pub(super) fn with(config: &str, core: &[&str]) -> Self {
        let site = Site::with_core("", core);
        let root = site.folder().to_owned();
        let (etc, data, bin) = (root.join("etc"), root.join("data"), root.join("bin"));
        for folder in [&etc, &bin] {
            fs::create_dir(folder).unwrap();
        }
        let keys = root.join("api-keys.json");
        fs::copy(root.join("keys.json"), &keys).unwrap();
        key_file(&root.join("operator.key"), &site.operator);
        key_file(&root.join("hospital.key"), &site.submitters[0].key);
        symlink(HOLDOVER, bin.join("holdover")).unwrap();
        for name in PROGRAMS {
            let places = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name));
            let found = places.iter().find(|path| path.exists());
            symlink(found.unwrap_or_else(|| panic!("no {name} here")), bin.join(name)).unwrap();
        }
        let [submitters, operators] = free_ports();
        let file = etc.join("holdover.toml");
        let mut stage = Self {
            site,
            data,
            etc,
            keys,
            config: file,
            submitters,
            operators,
            variables: Vec::new(),
            root: root.clone(),
        };
        stage.write_config(config);
        program(&bin.join("systemctl"), &stage.filled(SYSTEMCTL));
        program(&bin.join("journalctl"), &stage.filled(JOURNALCTL));
        for (name, value) in [
            ("PATH", bin.display().to_string()),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", root.display().to_string()),
            ("DATA", stage.data.display().to_string()),
            ("CONFIG", stage.config.display().to_string()),
            ("KEYS", stage.keys.display().to_string()),
            ("SUBMITTERS", format!("http://{submitters}")),
            ("HOLDOVER_ADMIN", format!("http://{operators}")),
            ("HOLDOVER_KEY_FILE", root.join("operator.key").display().to_string()),
            ("INSTITUTION", stage.site.submitters[0].code.clone()),
            ("INSTITUTION_KEY_FILE", root.join("hospital.key").display().to_string()),
            ("UPSTREAM", "settlement".to_owned()),
            ("WINDOW", "move".to_owned()),
        ] {
            stage.set(name, &value);
        }
        stage
    }

    fn filled(&self, text: &str) -> String {
        [
            ("@ROOT@", self.root.display().to_string()),
            ("@BIN@", self.root.join("bin").display().to_string()),
            ("@CONFIG@", self.config.display().to_string()),
            ("@ETC@", self.etc.display().to_string()),
            ("@KEYS@", self.keys.display().to_string()),
            ("@DATA@", self.data.display().to_string()),
            ("@SUBMITTERS@", self.submitters.to_string()),
            ("@OPERATORS@", self.operators.to_string()),
        ]
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }

    /// Writes the one configuration file, with `more` laid over, from the next start on.
    pub(super) fn write_config(&self, more: &str) {
        let mut table: toml::Table = self.filled(CONFIG).parse().unwrap();
        for (name, url) in &self.site.core.upstreams {
            let part = format!("[upstream.{name}]\nbase_url = \"{url}\"\n");
            lay_over(&mut table, part.parse().unwrap());
        }
        lay_over(&mut table, self.filled(more).parse().unwrap());
        fs::write(&self.config, table.to_string()).unwrap();
    }

    /// Gives the pages a variable.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Opens a page in a shell.
    pub(super) fn open(&self, page: &Page) -> Shell {
        Shell::open(page, &self.root, &self.variables)
    }

    /// Runs a whole page; what it printed.
    pub(super) fn play(&self, page: &Page) -> String {
        let mut shell = self.open(page);
        shell.rest();
        let printed = shell.printed();
        shell.close();
        printed
    }

    /// Asks the service manager; whether it did.
    pub(super) fn systemctl(&self, verb: &str) -> bool {
        let first = if self.data.join("lock").exists() || has_segments(&self.data) {
            None
        } else {
            Some(("HOLDOVER_FIRST_START", "1"))
        };
        let mut command = Command::new(self.root.join("bin/systemctl"));
        command.args([verb, "holdover"]).envs(first);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Starts the daemon, with a new journal where there is none.
    pub(super) fn start(&self) {
        assert!(self.systemctl("start"), "the daemon does not start: {}", self.log());
    }

    pub(super) fn stop(&self) {
        assert!(self.systemctl("stop"), "the daemon does not stop: {}", self.log());
    }

    /// Ends the daemon without warning.
    pub(super) fn kill(&self) {
        let pid = self.pid().expect("the daemon runs");
        crate::rig::signal(pid, "-KILL");
        wait_for("the end of the daemon", BOUND, || self.pid().is_none().then_some(()));
    }

    /// The daemon's process, while it runs.
    fn pid(&self) -> Option<u32> {
        let pid: u32 = fs::read_to_string(self.root.join("pid")).ok()?.trim().parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        // A process that has ended and was not fetched has no command line.
        let ours = String::from_utf8_lossy(&command).contains(&*self.config.to_string_lossy());
        ours.then_some(pid)
    }

    /// Everything that the daemon logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    pub(super) fn client(&self, submitter: usize) -> Client {
        Client::new(self.submitters, Some(&self.site.submitters[submitter].key))
    }

    pub(super) fn admin(&self) -> Client {
        Client::new(self.operators, Some(&self.site.operator))
    }

    /// What an operator sees at `path`.
    pub(super) fn look(&self, path: &str) -> Value {
        let answer = self.admin().get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// An operator's act that must succeed.
    pub(super) fn act(&self, path: &str, body: &Value) -> Value {
        let answer = self.admin().send("POST", path, body).unwrap();
        assert_eq!(answer.status / 100, 2, "{path}: {}", answer.text());
        answer.json()
    }

    /// How many stand in `state`, by the books.
    pub(super) fn items(&self, state: &str) -> i64 {
        self.look("/admin/v1/ledger")[state].as_i64().unwrap()
    }

    /// Waits until `count` stand in `state`.
    pub(super) fn until(&self, state: &str, count: i64) {
        wait_for(&format!("{count} {state}"), BOUND, || (self.items(state) == count).then_some(()));
    }

    /// The phase of a window.
    pub(super) fn phase(&self, window: &str) -> String {
        let seen = self.look(&format!("/admin/v1/windows/{window}"));
        seen["phase"].as_str().unwrap().to_owned()
    }

    pub(super) fn until_phase(&self, window: &str, phase: &str) {
        wait_for(&format!("{window} {phase}"), BOUND, || {
            (self.phase(window) == phase).then_some(())
        });
    }

    /// That the books balance.
    pub(super) fn balanced(&self) {
        let books = self.look("/admin/v1/ledger");
        assert_eq!(books["balanced"], json!(true), "{books}");
    }

    /// Submits; `subject` is the person, and what the core's log knows it by.
    pub(super) fn submit(
        &self,
        submitter: usize,
        business: &str,
        operation: &str,
        subject: &str,
        more: &Value,
    ) -> Answer {
        let who = &self.site.submitters[submitter];
        let mut body = json!({
            "business": business, "operation": operation, "channel": who.channel,
            "insured": subject, "occurred_at": "2026-01-05T10:00:00+08:00",
            "payload": { "subject": subject },
        });
        if business.starts_with("settlement.") {
            body["amount"] = json!("12.50");
        }
        let fields = more.as_object().cloned().unwrap_or_default();
        body.as_object_mut().unwrap().extend(fields);
        let headers = [("Idempotency-Key", subject), ("Content-Type", "application/json")];
        let body = body.to_string();
        let mut client = self.client(submitter);
        client.request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap()
    }

    /// Submits a hospital's advice; its id.
    pub(super) fn advice(&self, subject: &str) -> String {
        self.taken(0, "settlement.outpatient", "advice", subject)
    }

    /// Submits what must be taken; its id.
    pub(super) fn taken(
        &self,
        who: usize,
        business: &str,
        operation: &str,
        subject: &str,
    ) -> String {
        let answer = self.submit(who, business, operation, subject, &json!({}));
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Where a transaction stands.
    pub(super) fn state(&self, id: &str) -> String {
        let answer = self.admin().get(&format!("/admin/v1/transactions/{id}")).unwrap();
        let seen = answer.json();
        let state = seen.pointer("/transaction/state").or_else(|| seen.get("state"));
        state.and_then(Value::as_str).unwrap_or_else(|| panic!("no state: {seen}")).to_owned()
    }

    /// How often something took effect for this subject, by the core's own log.
    pub(super) fn effects(&self, subject: &str) -> usize {
        let calls = self.site.core.calls();
        calls.iter().filter(|call| call["kind"] == "effect" && call["subject"] == subject).count()
    }
}

fn has_segments(data: &Path) -> bool {
    let Ok(entries) = fs::read_dir(data) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|e| e == "segment"))
}

fn lay_over(base: &mut toml::Table, over: toml::Table) {
    for (name, value) in over {
        match (base.get_mut(&name), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => drop(base.insert(name, value)),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Some(pid) = self.pid() else { return };
        drop(Command::new("kill").args(["-KILL", &pid.to_string()]).status());
        for _ in 0..500 {
            if self.pid().is_none() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
