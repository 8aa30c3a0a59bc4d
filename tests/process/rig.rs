//! The stage of the process tests: a real `holdover serve` and a real `holdover simulate-core`
//! in a folder of their own, submitters and an operator with keys, and small blocking clients.
//!
//! A [`Site`] outlives its daemon: it is started, killed and started again on the same data.
//! Every process that is started here ends with its handle, and no other process is touched.
//! What clients were told stands in `history.rs`; nothing is proved here.

use holdover::domain::time::Timestamp;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// The binary under test.
pub(crate) const HOLDOVER: &str = env!("CARGO_BIN_EXE_holdover");
/// The longest that a process may take to print its ready line.
const START_MAX: Duration = Duration::from_secs(30);
/// The longest that an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Whether programs of somebody else's may be used, which `tests/run` brings; says so where not.
pub(crate) fn may_use(program: &str) -> bool {
    let may = std::env::var("HOLDOVER_SERVERS").is_ok_and(|value| value == "1");
    if !may {
        eprintln!("left out: HOLDOVER_SERVERS=1 asks for {program}");
    }
    may
}

/// Waits until `condition` gives something, or fails with `what` after `bound`.
pub(crate) fn wait_for<T>(
    what: &str,
    bound: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(began.elapsed() < bound, "{what}: not within {bound:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The instant so far from now.
pub(crate) fn after(from_now: Duration) -> Timestamp {
    let now = UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_millis(now.as_millis() as i64).after(from_now)
}

/// An answer over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of the header `name` (lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }
}

/// One keep-alive connection. After an error nobody knows what became of the request, and the
/// next request connects again.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    bearer: Option<String>,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr, bearer: Option<&str>) -> Self {
        Self { address, bearer: bearer.map(str::to_owned), connection: None }
    }

    /// Sends a request and reads its answer.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if let Some(bearer) = &self.bearer {
            head += &format!("Authorization: Bearer {bearer}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        let answer = self.exchange(&bytes);
        let kept = answer.as_ref().is_ok_and(|answer| answer.header("connection") != Some("close"));
        if !kept {
            self.connection = None;
        }
        answer
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.request("GET", path, &[], b"")
    }

    /// Sends JSON.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
        let kind = [("Content-Type", "application/json")];
        self.request(method, path, &kind, body.to_string().as_bytes())
    }

    fn exchange(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect_timeout(&self.address, ANSWER_MAX)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER_MAX))?;
                stream.set_write_timeout(Some(ANSWER_MAX))?;
                self.connection.insert(BufReader::new(stream))
            }
        };
        connection.get_mut().write_all(bytes)?;
        read_answer(connection)
    }
}

fn read_answer(from: &mut impl BufRead) -> io::Result<Answer> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut line = String::new();
    let mut next = |from: &mut dyn BufRead| {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        Ok(line.trim_end().to_owned())
    };
    let status = next(from)?.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(invalid)?;
    let mut headers = Vec::new();
    loop {
        let line = next(from)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(Ok(0), |(_, value)| value.parse::<usize>());
    let mut body = vec![0; length.map_err(|_| invalid())?];
    from.read_exact(&mut body)?;
    Ok(Answer { status, headers, body })
}

/// Starts `command` and returns the line that it prints when it is ready, or what it said
/// instead when it ended.
fn start(mut command: Command, errors: &Path) -> Result<(Child, Value), Ended> {
    let said = File::options().create(true).append(true).open(errors).unwrap();
    let before = said.metadata().unwrap().len();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(said);
    let mut child = command.spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = out.read_line(&mut line);
        // The test may have given up; then nobody listens.
        drop(tell.send(read.map(|_| line)));
        // Nothing else is printed there; the pipe stays open so that it could be.
        drop(io::copy(&mut out, &mut io::sink()));
    });
    let line = told.recv_timeout(START_MAX).unwrap_or_else(|_| {
        child.kill().unwrap();
        panic!("no ready line within {START_MAX:?}; see {}", errors.display())
    });
    match serde_json::from_str(&line.unwrap()) {
        Ok(ready) => Ok((child, ready)),
        Err(_) => {
            let status = child.wait().unwrap();
            let all = std::fs::read(errors).unwrap();
            let said = String::from_utf8_lossy(&all[before as usize..]).into_owned();
            Err(Ended { status, said })
        }
    }
}

/// A process that ended instead of being ready.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// What it wrote to standard error.
    pub(crate) said: String,
}

fn address(url: &Value) -> SocketAddr {
    url.as_str().and_then(|url| url.strip_prefix("http://")).unwrap().parse().unwrap()
}

/// Sends the signal `name`, such as `-TERM`.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "the process had already ended");
}

/// A simulated core that stands in for every upstream.
pub(crate) struct Core {
    child: Child,
    control: SocketAddr,
    /// Upstream and base URL.
    pub(crate) upstreams: Vec<(String, String)>,
    /// One line of JSON for each call.
    pub(crate) log: PathBuf,
}

/// The upstreams of the built-in catalogue.
pub(crate) const UPSTREAMS: [&str; 3] = ["settlement", "agency", "portal"];

impl Core {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let log = folder.join("core.ndjson");
        let mut command = Command::new(HOLDOVER);
        command.arg("simulate-core").arg("--log").arg(&log).args(more);
        for name in UPSTREAMS {
            command.args(["--upstream", name]);
        }
        let (child, ready) = start(command, &folder.join("core.stderr")).unwrap();
        let upstreams = ready["upstreams"].as_object().unwrap();
        let upstreams = upstreams.iter().map(|(n, url)| (n.clone(), url.as_str().unwrap().into()));
        Self { child, control: address(&ready["control"]), upstreams: upstreams.collect(), log }
    }

    /// Tells one upstream what to do; `{}` heals.
    pub(crate) fn script(&self, upstream: &str, script: &Value) {
        let path = format!("/control/{upstream}");
        let answer = Client::new(self.control, None).send("PUT", &path, script).unwrap();
        assert_eq!(answer.status / 100, 2, "{}", answer.text());
    }

    /// The same for every upstream.
    pub(crate) fn script_all(&self, script: &Value) {
        UPSTREAMS.iter().for_each(|upstream| self.script(upstream, script));
    }

    /// Every call so far. A line is on the file before its call is answered.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An institution with a key.
#[derive(Debug, Clone)]
pub(crate) struct Submitter {
    pub(crate) code: String,
    pub(crate) class: &'static str,
    pub(crate) channel: &'static str,
    pub(crate) key: String,
}

/// A data folder with its configuration, its keys and its core.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    /// The daemon's data folder; absent until the first start.
    pub(crate) data: PathBuf,
    pub(crate) core: Core,
    pub(crate) submitters: Vec<Submitter>,
    pub(crate) operator: String,
    config: Vec<PathBuf>,
    starts: AtomicU32,
}

/// Settings that make waits short and limits no obstacle. What a test needs beyond them is laid
/// over.
const CONFIG: &str = r#"
[listen]
submitters = "127.0.0.1:0"
operators = "127.0.0.1:0"

[data]
folder = "@FOLDER@/data"
api_keys_file = "@FOLDER@/keys.json"
master_key_file = "@FOLDER@/master.key"
disk_reserve_bytes = 1048576

[calendar]
file = "@FOLDER@/calendar.toml"

[institutions]
requests_per_second = 1000000
burst_requests = 1000000

[retry]
first = "10ms"
longest = "100ms"
failures_max = 1000

[upstream_default]
connect_timeout = "1s"
answer_timeout = "1s"
settle_time = "1200ms"
probe_interval = "250ms"
probe_timeout = "250ms"
good_needed = 1
ramp = "0s"
ramp_from_per_second = 1000000

[catalogue.line_default]
live_limit = "2s"
"#;

/// The working days that are known, and invented years after them: that a year is missing in which
/// the tests are run is nobody's need here.
pub(crate) fn endless_calendar() -> String {
    let known = holdover::config::built_in_calendar().unwrap();
    let mut text = holdover::config::CALENDAR.to_owned();
    for year in known.years.last().unwrap() + 1..=2099 {
        text += &format!(
            "[[paper]]\nyear = {year}\ndocument = \"invented\"\n\
             published = \"2000-01-01\"\nholidays = []\nworkdays = []\n"
        );
    }
    text
}

impl Site {
    /// A new site; `config` is laid over [`CONFIG`].
    pub(crate) fn new(config: &str) -> Self {
        Self::with_core(config, &[])
    }

    /// The same, with more arguments for the simulated core.
    pub(crate) fn with_core(config: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let core = Core::start(folder.path(), more);
        let mut text = CONFIG.replace("@FOLDER@", &folder.path().display().to_string());
        for (name, url) in &core.upstreams {
            text += &format!("[upstream.{name}]\nbase_url = \"{url}\"\n");
        }
        std::fs::write(folder.path().join("calendar.toml"), endless_calendar()).unwrap();
        let files = [("holdover.toml", text.as_str()), ("extra.toml", config)];
        let config = files.map(|(name, text)| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        });
        let key = |args: &[&str]| create_key(&folder.path().join("keys.json"), args);
        let operator = ["--operator", "Li Na", "--scope", "read", "--scope", "operate"];
        let operator = key(&[operator.as_slice(), &["--scope", "approve"]].concat());
        let submitter = |(code, class, channel): (&str, &'static str, &'static str)| {
            let who = ["--institution", code, "--class", class, "--channel", channel];
            let may = ["--district", "110101", "--scope", "submit", "--scope", "read"];
            let key = key(&[who, may].concat());
            Submitter { code: code.to_owned(), class, channel, key }
        };
        let submitters = [
            ("H11010100001", "hospital", "system"),
            ("H11010100002", "hospital", "system"),
            ("P11010100001", "pharmacy", "system"),
            ("A11010100001", "hall", "hall"),
            ("D11010100001", "district_medical_agency", "system"),
        ];
        Self {
            data: folder.path().join("data"),
            core,
            submitters: submitters.map(submitter).to_vec(),
            operator,
            config: config.to_vec(),
            starts: AtomicU32::new(0),
            folder,
        }
    }

    /// Lays more settings over those of the site, from the next start on.
    pub(crate) fn lay_over(&self, config: &str) {
        let more = self.config.last().unwrap();
        let text = std::fs::read_to_string(more).unwrap();
        std::fs::write(more, format!("{text}\n{config}")).unwrap();
    }

    /// The folder in which everything lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The command that starts the daemon.
    pub(crate) fn serve(&self, args: &[&str]) -> Command {
        let mut command = Command::new(HOLDOVER);
        command.arg("serve");
        // The first start, and no other.
        if !self.data.exists() {
            command.arg("--init");
        }
        for config in &self.config {
            command.arg("--config").arg(config);
        }
        command.args(args);
        command
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(&self, args: &[&str]) -> Daemon {
        self.run(self.serve(args)).unwrap_or_else(|ended| panic!("{ended:?}"))
    }

    /// Runs `command`, which starts the daemon, perhaps under another program. What it writes
    /// to standard error goes to a file of its own.
    pub(crate) fn run(&self, command: Command) -> Result<Daemon, Ended> {
        let number = self.starts.fetch_add(1, Ordering::SeqCst);
        let errors = self.folder().join(format!("daemon-{number}.stderr"));
        let (child, ready) = start(command, &errors)?;
        Ok(Daemon {
            child: Mutex::new(child),
            submitters: address(&ready["submitters"]),
            operators: address(&ready["operators"]),
            operator: self.operator.clone(),
            errors,
        })
    }
}

/// Makes a key with `holdover key create`.
fn create_key(file: &Path, args: &[&str]) -> String {
    let made = Command::new(HOLDOVER)
        .args(["key", "create", "--keys"])
        .arg(file)
        .args(args)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// A daemon that runs. It is killed when this goes away.
pub(crate) struct Daemon {
    child: Mutex<Child>,
    pub(crate) submitters: SocketAddr,
    pub(crate) operators: SocketAddr,
    operator: String,
    /// The file with its log.
    pub(crate) errors: PathBuf,
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// A submitter's connection.
    pub(crate) fn client(&self, submitter: &Submitter) -> Client {
        Client::new(self.submitters, Some(&submitter.key))
    }

    /// An operator's connection.
    pub(crate) fn admin(&self) -> Client {
        Client::new(self.operators, Some(&self.operator))
    }

    /// Asks as an operator.
    pub(crate) fn look(&self, path: &str) -> Value {
        let answer = self.admin().get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// The status and the reasons of `/readyz`; `None` when nobody answers.
    pub(crate) fn ready(&self) -> Option<Answer> {
        Client::new(self.operators, None).get("/readyz").ok()
    }

    /// What stands in `state` by the books, in items.
    pub(crate) fn items(&self, state: &str) -> i64 {
        self.look("/admin/v1/ledger")[state].as_i64().unwrap()
    }

    /// Waits until nothing waits, is in flight or in doubt.
    pub(crate) fn settle(&self, bound: Duration) {
        let began = Instant::now();
        loop {
            let ledger = self.look("/admin/v1/ledger");
            let open = ["waiting", "in_flight", "in_doubt"];
            if open.iter().all(|state| ledger[*state] == json!(0)) {
                return;
            }
            assert!(began.elapsed() < bound, "not settled within {bound:?}: {ledger}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Closes or opens every gate.
    pub(crate) fn gates(&self, act: &str) {
        self.turn_gates(act, json!({ "all": true, "reason": "a test" }));
    }

    /// Closes or opens the gates of some cells.
    pub(crate) fn gates_of(&self, act: &str, cells: &Value) {
        self.turn_gates(act, json!({ "cells": cells, "reason": "a test" }));
    }

    fn turn_gates(&self, act: &str, mut order: Value) {
        if act == "close" {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            let until = now + Duration::from_secs(86_400);
            let until = Timestamp::from_millis(until.as_millis() as i64);
            order["until"] = json!(until.to_string());
        }
        let path = format!("/admin/v1/gates/{act}");
        let answer = self.admin().send("POST", &path, &order).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        signal(self.pid(), "-TERM");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&self, bound: Duration) -> ExitStatus {
        wait_for("the end of the daemon", bound, || self.try_ended())
    }

    /// How it ended, if it has.
    pub(crate) fn try_ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// What it wrote to standard error so far.
    pub(crate) fn said(&self) -> String {
        let mut text = String::new();
        File::open(&self.errors).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        drop(child.kill());
        drop(child.wait());
    }
}
