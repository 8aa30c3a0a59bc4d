//! The peers: Redis Streams that sync every append, and PostgreSQL inserting single rows under a
//! unique key. Both run with the durability that Holdover promises, on the same disk, driven
//! by their own load generators.

use crate::process::{Running, free_port, output};
use crate::submission::BODY_BYTES;
use anyhow::{Context, Result, bail};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const READY: Duration = Duration::from_secs(30);

/// XADD with `appendfsync always` over `connections`: entries a second.
pub(crate) fn redis(folder: &Path, connections: usize, seconds: f64) -> Result<f64> {
    let data = folder.join("redis");
    std::fs::create_dir(&data)?;
    let port = free_port()?;
    let mut server = Running::start(
        "redis-server",
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
            .arg("--dir")
            .arg(&data),
        &folder.join("redis.log"),
    )?;
    server.wait_until(READY, || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    let measure = |count: u64| -> Result<f64> {
        let text = output(
            Command::new("redis-benchmark")
                .args(["-h", "127.0.0.1", "-p", &port.to_string(), "--csv"])
                .args(["-c", &connections.to_string(), "-n", &count.to_string()])
                .args(["-r", "1000000000", "XADD", "accepted", "*", "key", "__rand_int__"])
                .args(["body", &"x".repeat(BODY_BYTES)]),
        )?;
        let line = text.lines().last().unwrap_or_default();
        let rate = line.split("\",\"").nth(1).context("redis-benchmark gave no rate")?;
        rate.parse().with_context(|| format!("redis-benchmark said {rate:?}"))
    };
    let first = measure(20_000)?;
    let rate = measure((first * seconds) as u64)?;
    server.stop("-TERM")?;
    std::fs::remove_dir_all(data)?;
    Ok(rate)
}

/// The user and group that the server may run as: it refuses to be root.
fn postgres_user() -> Result<Option<(u32, u32)>> {
    if output(Command::new("id").arg("-u"))?.trim() != "0" {
        return Ok(None);
    }
    let id = |flag: &str| -> Result<u32> {
        Ok(output(Command::new("id").args([flag, "postgres"]))?.trim().parse()?)
    };
    Ok(Some((id("-u")?, id("-g")?)))
}

/// The folder of the server's programs, which Debian keeps out of the search path.
fn postgres_programs() -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL from Debian is not installed")?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().context("PostgreSQL from Debian is not installed")
}

/// Single-row inserts with a unique key, committed one by one: the best rate over several
/// connection counts, and that count.
pub(crate) fn postgres(folder: &Path, seconds: f64) -> Result<(f64, usize)> {
    let programs = postgres_programs()?;
    let user = postgres_user()?;
    let home = folder.join("postgres");
    std::fs::create_dir(&home)?;
    if let Some((uid, gid)) = user {
        chown(&home, Some(uid), Some(gid))?;
    }
    let data = home.join("data");
    let as_server = |program: &str| {
        let mut command = Command::new(programs.join(program));
        command.current_dir(&home);
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
    };
    let initdb = ["--auth=trust", "--username=bench", "--encoding=UTF8", "--locale=C"];
    output(as_server("initdb").args(initdb).arg("-D").arg(&data))?;
    let mut server = Running::start(
        "postgres",
        as_server("postgres")
            .arg("-D")
            .arg(&data)
            .arg("-c")
            .arg(format!("unix_socket_directories={}", home.display()))
            .args(["-c", "listen_addresses=", "-c", "max_connections=300"])
            .args(["-c", "shared_buffers=512MB", "-c", "max_wal_size=8GB"]),
        &folder.join("postgres.log"),
    )?;
    let client = |program: &str| {
        let mut command = Command::new(program);
        command.arg("-h").arg(&home).args(["-U", "bench", "-d", "postgres"]);
        command
    };
    let table = "CREATE TABLE accepted (institution integer, key text, body text, \
                 at timestamptz DEFAULT now(), UNIQUE (institution, key))";
    let psql = |text: &str| output(client("psql").args(["-qAtc", text]));
    server.wait_until(READY, || psql("SELECT 1").is_ok())?;
    psql(table)?;
    let script = folder.join("insert.sql");
    std::fs::write(
        &script,
        format!(
            "\\set institution random(1, 3000)\n\\set key random(1, 9000000000000000000)\n\
             INSERT INTO accepted (institution, key, body) \
             VALUES (:institution, md5((:key::bigint)::text), '{}');\n",
            "x".repeat(BODY_BYTES)
        ),
    )?;
    let mut best = (0.0, 0);
    for connections in [32, 64, 128, 256] {
        let text = output(
            client("pgbench")
                .args(["-n", "-M", "prepared", "-j", "2", "-T", &format!("{seconds:.0}")])
                .args(["-c", &connections.to_string(), "-f"])
                .arg(&script),
        )?;
        let rate = tps(&text)?;
        if rate > best.0 {
            best = (rate, connections);
        }
    }
    let rows: f64 = psql("SELECT count(*) FROM accepted")?.trim().parse()?;
    if rows < best.0 * seconds * 0.9 {
        bail!("PostgreSQL holds {rows} rows, fewer than its rate says");
    }
    server.stop("-INT")?;
    std::fs::remove_dir_all(home)?;
    Ok(best)
}

/// The rate in pgbench's report.
fn tps(report: &str) -> Result<f64> {
    let line = report.lines().find_map(|l| l.strip_prefix("tps = "));
    let number = line.and_then(|l| l.split_whitespace().next());
    number.context("pgbench gave no rate")?.parse().context("pgbench's rate is no number")
}
