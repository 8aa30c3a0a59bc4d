//! The daemon as a service: what it tells the service manager and when, and the unit file.

use crate::rig::{HOLDOVER, Site, may_use, signal};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

const BOUND: Duration = Duration::from_secs(30);
const UNIT: &str = include_str!("../../systemd/holdover.service");

/// The manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    /// Reads until a message has the line `wanted`; how many had been read by then.
    fn until(&mut self, wanted: impl Fn(&str) -> bool) -> usize {
        let (mut bytes, began) = ([0; 4096], Instant::now());
        loop {
            assert!(began.elapsed() < BOUND, "not within {BOUND:?}: {:#?}", self.heard);
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| {
                panic!("nothing more was told ({error}) after {:#?}", self.heard)
            });
            let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
            let found = message.lines().any(&wanted);
            self.heard.push(message);
            if found {
                return self.heard.len();
            }
        }
    }

    fn count(&self, line: &str) -> usize {
        self.heard.iter().flat_map(|message| message.lines()).filter(|l| *l == line).count()
    }
}

#[test]
fn the_service_manager_is_told_in_order_what_the_daemon_does() {
    let site = Site::new("");
    let path = site.folder().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let mut manager = Manager { socket, heard: Vec::new() };
    let mut command = site.serve(&[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let daemon = site.run(command).unwrap_or_else(|ended| panic!("{ended:?}"));
    manager.until(|line| line == "READY=1");
    let first = &manager.heard[0];
    assert!(first.starts_with("STATUS=opening the journal"), "{first}");
    let ready = manager.heard.last().unwrap();
    assert!(ready.contains("STATUS=nothing needs a person; no stop is on"), "{ready}");
    assert_eq!(manager.count("WATCHDOG=1"), 0, "nothing is watched before it is ready");
    assert_eq!(daemon.ready().unwrap().status, 200);

    manager.until(|line| line == "WATCHDOG=1");
    manager.until(|line| line == "WATCHDOG=1");
    daemon.gates("close");
    site.core.script_all(&serde_json::json!({ "down": true }));
    signal(daemon.pid(), "-HUP");
    let reloading = manager.until(|line| line == "RELOADING=1");
    let ready = manager.until(|line| line == "READY=1");
    assert!(reloading < ready && manager.count("READY=1") == 2, "{:#?}", manager.heard);
    // Nobody may submit or operate any more: that needs a person, and the words say so.
    std::fs::remove_file(site.folder().join("keys.json")).unwrap();
    manager.until(|line| line.starts_with("STATUS=a person is needed: no API key may"));

    daemon.terminate();
    manager.until(|line| line == "STOPPING=1");
    assert!(daemon.ended(BOUND).success());
    assert_eq!(manager.count("STOPPING=1"), 1);
}

#[test]
fn without_a_service_manager_nobody_is_told() {
    let site = Site::new("");
    let daemon = site.start();
    daemon.terminate();
    assert!(daemon.ended(BOUND).success());
    assert!(!daemon.said().contains("service manager"), "{}", daemon.said());
}

/// The value of a setting of the unit file, which has it once.
fn of_unit(name: &str) -> &'static str {
    let lines = UNIT.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let values: Vec<&str> = lines.collect();
    assert_eq!(values.len(), 1, "{name}: {values:?}");
    values[0]
}

#[test]
fn the_unit_gives_a_stop_more_time_than_it_takes_and_reloads_by_a_hang_up() {
    let defaults = include_str!("../fixtures/config/base.toml");
    let config = holdover::config::parse(&[("base.toml", defaults)]).unwrap();
    let seconds = of_unit("TimeoutStopSec").strip_suffix("min").unwrap();
    let stop = Duration::from_secs(60 * seconds.parse::<u64>().unwrap());
    assert!(stop > config.listen.grace * 2, "{stop:?}");
    assert_eq!(of_unit("ExecReload"), "/bin/kill -HUP $MAINPID");
    assert_eq!((of_unit("Type"), of_unit("Restart")), ("notify", "on-failure"));
}

#[test]
fn systemd_has_nothing_against_the_unit_and_finds_it_hardened() {
    if !may_use("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holdover.service");
    // Neither the program nor its page is installed where this is built.
    let unit = UNIT.replace("/usr/local/bin/holdover", HOLDOVER);
    let unit = unit.replace("Documentation=man:holdover(1)\n", "");
    std::fs::write(&path, unit).unwrap();
    for args in [&["verify"][..], &["security", "--offline=true", "--threshold=20"]] {
        let output = Command::new("systemd-analyze").args(args).arg(&path).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{args:?}: {}{}", said[0], said[1]);
        assert!(args[0] != "verify" || said[1].is_empty(), "{}", said[1]);
    }
}
