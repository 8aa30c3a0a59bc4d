//! What the kernel saw: the real daemon under `strace`, and the order of its calls.
//!
//! Before a byte of a receipt leaves, its record was written to a segment and a later
//! `fdatasync` of that file had returned. Before a byte of a call to the core leaves, the same
//! holds of its attempt-start record; before an outcome is told, of the outcome. `Trace` reads
//! what `strace` wrote, `judge` matches; both know nothing of the daemon but the bytes drawn at
//! the head of the journal and the text of HTTP.

use crate::rig::{Client, HOLDOVER, Site, wait_for};
use holdover::domain::ids::TransactionId;
use holdover::domain::numbers::Numbers;
use holdover::engine::change::Change;
use holdover::journal::record::Raw;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::process::{Command, Stdio};
use std::time::Duration;

/// One system call. Times are places in the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    name: String,
    /// The path or the connection behind the descriptor.
    target: String,
    /// All bytes that were handed over, as one.
    bytes: Vec<u8>,
    began: usize,
    /// `None` where the trace ends first.
    returned: Option<usize>,
    /// What it returned.
    result: i64,
}

/// Reads what `strace -f -yy -xx` wrote.
fn read_trace(text: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (place, line) in text.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("<... ") {
            let Some(call) = unfinished.remove(pid) else { continue };
            calls[call].returned = Some(place);
            calls[call].result = result_of(rest);
            continue;
        }
        let Some((name, arguments)) = rest.split_once('(') else { continue };
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let cut = rest.ends_with("<unfinished ...>");
        if cut {
            unfinished.insert(pid, calls.len());
        }
        calls.push(Call {
            name: name.to_owned(),
            target: target_of(arguments),
            bytes: bytes_of(arguments),
            began: place,
            returned: (!cut).then_some(place),
            result: if cut { -1 } else { result_of(rest) },
        });
    }
    calls
}

/// The number behind the last ` = `.
fn result_of(line: &str) -> i64 {
    let result = line.rsplit_once(" = ").and_then(|(_, result)| result.split(' ').next());
    result.and_then(|result| result.parse().ok()).unwrap_or(-1)
}

/// What stands in `<…>` behind the first argument.
fn target_of(arguments: &str) -> String {
    let Some((_, rest)) = arguments.split_once('<') else { return String::new() };
    // A connection holds `->`, so its end is `]>`.
    let end = match rest.find("]>") {
        Some(end) if rest.contains("->") => end + 1,
        Some(_) | None => rest.find('>').unwrap_or(rest.len()),
    };
    String::from_utf8_lossy(&unescaped(&rest[..end])).into_owned()
}

/// The text between quotes, all of it in the order in which it stands.
fn bytes_of(arguments: &str) -> Vec<u8> {
    arguments.split('"').skip(1).step_by(2).flat_map(unescaped).collect()
}

/// With `-xx` every byte is `\xHH`; what is not comes as it is.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 + 1);
    let mut rest = text.as_bytes();
    while let Some((&first, more)) = rest.split_first() {
        let hex = rest.strip_prefix(b"\\x").and_then(|rest| rest.get(..2));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(first);
                rest = more;
            }
        }
    }
    bytes
}

/// Which sockets belong to whom.
struct Ports {
    submitters: u16,
    core: Vec<u16>,
}

/// What a record proves once it is durable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    Accepted(u64),
    AttemptStarted(u64, u32),
    Ended(u64),
}

/// What was found.
#[derive(Debug, Default)]
struct Judgement {
    receipts: usize,
    outcomes: usize,
    attempts: usize,
    violations: Vec<String>,
}

/// The facts in one write of batches: heads of 64 bytes, each with its records behind it.
fn facts_in(mut bytes: &[u8]) -> Vec<Fact> {
    let mut facts = Vec::new();
    while bytes.len() >= 64 && bytes.starts_with(b"HLDb") {
        let length = u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize;
        let end = (64 + length).min(bytes.len());
        let mut records = &bytes[64..end];
        while let Some(record) = Raw::at(records) {
            match record.change() {
                Ok(Some(Change::Accepted(_))) => facts.push(Fact::Accepted(record.seq().0)),
                Ok(Some(Change::AttemptStarted { transaction, attempt, .. })) => {
                    facts.push(Fact::AttemptStarted(transaction.0, attempt.0));
                }
                Ok(Some(
                    Change::Settled { transaction, .. } | Change::Ticketed { transaction, .. },
                )) => {
                    facts.push(Fact::Ended(transaction.0));
                }
                _ => {}
            }
            records = &records[record.length()..];
        }
        bytes = &bytes[end..];
    }
    facts
}

/// When each fact was durable: when a sync returned that began after its write had returned.
fn durable(calls: &[Call]) -> BTreeMap<Fact, usize> {
    let mut written: HashMap<&str, Vec<(usize, Vec<Fact>)>> = HashMap::new();
    let mut durable = BTreeMap::new();
    let mut syncs: Vec<&Call> = Vec::new();
    for call in calls.iter().filter(|call| call.target.ends_with(".segment")) {
        match call.name.as_str() {
            "pwrite64" if call.result == call.bytes.len() as i64 => {
                let facts = facts_in(&call.bytes);
                if let Some(returned) = call.returned {
                    written.entry(&call.target).or_default().push((returned, facts));
                }
            }
            "fdatasync" | "fsync" if call.result == 0 => syncs.push(call),
            _ => {}
        }
    }
    for sync in syncs {
        let Some(returned) = sync.returned else { continue };
        for (write, facts) in written.get(sync.target.as_str()).into_iter().flatten() {
            if *write < sync.began {
                for fact in facts {
                    let first = durable.entry(fact.clone()).or_insert(returned);
                    *first = returned.min(*first);
                }
            }
        }
    }
    durable
}

/// The ports of a TCP connection, ours first.
fn ports_of(target: &str) -> Option<(u16, u16)> {
    let (ours, theirs) = target.strip_prefix("TCP:[")?.strip_suffix(']')?.split_once("->")?;
    let port = |address: &str| address.rsplit_once(':')?.1.parse().ok();
    Some((port(ours)?, port(theirs)?))
}

/// The number of the transaction whose identity begins `text`.
fn transaction(text: &str) -> Option<u64> {
    text.get(..20)?.parse::<TransactionId>().ok().map(|id| id.seq().0)
}

/// The value of a header of a request.
fn header<'t>(head: &'t str, name: &str) -> Option<&'t str> {
    let line = head.lines().find(|line| {
        line.split_once(':').is_some_and(|(known, _)| known.eq_ignore_ascii_case(name))
    })?;
    Some(line.split_once(':')?.1.trim())
}

/// Holds everything that left against what was durable by then.
fn judge(calls: &[Call], ports: &Ports) -> Judgement {
    let durable = durable(calls);
    let mut found = Judgement::default();
    let mut must = |call: &Call, what: &str, fact: Fact| match durable.get(&fact) {
        Some(at) if *at < call.began => true,
        at => {
            let violation =
                format!("{what} left at {}, {fact:?} was durable at {at:?}", call.began);
            found.violations.push(violation);
            false
        }
    };
    let (mut receipts, mut outcomes, mut attempts) = (0, 0, 0);
    let sends = ["write", "writev", "sendto", "sendmsg"];
    for call in calls.iter().filter(|call| sends.contains(&call.name.as_str()) && call.result > 0) {
        let Some((ours, theirs)) = ports_of(&call.target) else { continue };
        let text = String::from_utf8_lossy(&call.bytes);
        if ours == ports.submitters {
            let ids: Vec<u64> =
                text.match_indices("txn_").filter_map(|(at, _)| transaction(&text[at..])).collect();
            for &id in &ids {
                receipts += 1;
                must(call, "a receipt", Fact::Accepted(id));
            }
            if let (true, Some(&id)) = (text.starts_with("HTTP/1.1 200"), ids.first()) {
                outcomes += 1;
                must(call, "an outcome", Fact::Ended(id));
            }
        } else if ports.core.contains(&theirs) && text.starts_with("POST ") {
            let id = header(&text, "holdover-transaction-id").and_then(transaction).unwrap();
            let attempt = header(&text, "holdover-attempt").unwrap().parse().unwrap();
            attempts += 1;
            must(call, "a call to the core", Fact::AttemptStarted(id, attempt));
        }
    }
    Judgement { receipts, outcomes, attempts, ..found }
}

/// Runs the daemon with `args` under `strace`, has it take and send, and judges the trace.
fn watched(args: &[&str]) -> Option<Judgement> {
    let there = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        // `tests/run` installs it.
        eprintln!("not looked at: the program strace is not installed");
        return None;
    }
    let site = Site::new("");
    let trace = site.folder().join("trace");
    let serve = site.serve(args);
    let mut command = Command::new("strace");
    // -D: the daemon itself is our child, the tracer is nobody's.
    command.args(["-D", "-f", "-yy", "-xx", "-s", "1048576", "-o"]).arg(&trace);
    command.args(["-e", "trace=write,writev,pwrite64,sendto,sendmsg,fdatasync,fsync", "--"]);
    command.arg(HOLDOVER).args(serve.get_args());
    let daemon = site.run(command).unwrap_or_else(|ended| panic!("{ended:?}"));
    let hospital = &site.submitters[0];
    std::thread::scope(|scope| {
        for client in 0..4 {
            let connection = daemon.client(hospital);
            scope.spawn(move || post_some(connection, client));
        }
    });
    daemon.settle(Duration::from_secs(30));
    daemon.terminate();
    assert!(daemon.ended(Duration::from_secs(30)).success());
    let text = wait_for("the end of the trace", Duration::from_secs(30), || {
        let text = std::fs::read_to_string(&trace).unwrap();
        // Short numbers are padded.
        let ours = |line: &str| line.split_whitespace().next() == Some(&*daemon.pid().to_string());
        let ended = |line: &str| ours(line) && line.ends_with("+++ exited with 0 +++");
        text.lines().any(ended).then_some(text)
    });
    let port = |url: &String| url.rsplit_once(':').unwrap().1.parse().unwrap();
    let ports = Ports {
        submitters: daemon.submitters.port(),
        core: site.core.upstreams.iter().map(|(_, url)| port(url)).collect(),
    };
    Some(judge(&read_trace(&text), &ports))
}

/// Twenty advices that are only taken, and ten requests whose outcome is waited for.
fn post_some(mut connection: Client, client: u32) {
    for number in 0..30 {
        let live = number % 3 == 0;
        let (business, operation) = match live {
            true => ("settlement.out_of_area", "request"),
            false => ("settlement.outpatient", "advice"),
        };
        let body = json!({
            "business": business, "operation": operation, "insured": format!("p-{client}-{number}"),
            "channel": "system", "occurred_at": "2026-01-05T10:00:00+08:00", "amount": "12.50",
            "payload": { "subject": format!("{client}/{number}") },
        });
        let key = format!("key-{client}-{number}");
        let mut headers = vec![("Idempotency-Key", key.as_str())];
        headers.push(("Content-Type", "application/json"));
        if live {
            headers.push(("Prefer", "wait=10"));
        }
        let body = body.to_string();
        let answer =
            connection.request("POST", "/v1/transactions", &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, if live { 200 } else { 202 }, "{}", answer.text());
    }
}

#[test]
fn nothing_leaves_before_what_it_rests_on_is_synced() {
    let Some(found) = watched(&[]) else { return };
    assert!(found.receipts >= 120, "{found:?}");
    assert!(found.outcomes >= 40, "{found:?}");
    assert!(found.attempts >= 120, "{found:?}");
    assert!(found.violations.is_empty(), "{:#?}", found.violations);
}

#[cfg(feature = "sabotage")]
#[test]
fn an_early_acknowledgement_is_seen_in_the_trace() {
    let Some(found) = watched(&["--sabotage", "ack-early"]) else { return };
    let early = |what: &str| found.violations.iter().filter(|v| v.starts_with(what)).count();
    assert!(early("a receipt") > 0 && early("a call to the core") > 0, "{found:?}");
}

/// A trace in small: lines as `strace` writes them, with short names for what they name.
fn judged(lines: &str) -> Judgement {
    use holdover::journal::{record, sample};
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("\\x{b:02x}")).collect::<String>();
    let stamp = record::Stamp { partition: 0, epoch: 1 };
    let now = holdover::domain::time::Timestamp::from_millis(1_000);
    let accepted = sample::change(&mut sample::Dice::new(1), 2);
    assert!(matches!(accepted, Change::Accepted(_)));
    let started = Change::AttemptStarted {
        transaction: holdover::domain::ids::Seq(7),
        attempt: holdover::domain::ids::AttemptNo(1),
        at: now,
    };
    let batch = |seq: u64, change: &Change| {
        let mut bytes = b"HLDb".to_vec();
        bytes.resize(64, 0);
        record::encode(&mut bytes, stamp, holdover::domain::ids::Seq(seq), change, now);
        let length = (bytes.len() - 64) as u64;
        bytes[32..40].copy_from_slice(&length.to_le_bytes());
        (hex(&bytes), bytes.len())
    };
    let ((taken, taken_length), (begun, begun_length)) = (batch(7, &accepted), batch(8, &started));
    let id = Numbers::default().transaction(holdover::domain::ids::Seq(7));
    let receipt = hex(format!("HTTP/1.1 202 Accepted\r\n\r\n{{\"id\":\"{id}\"}}").as_bytes());
    let call = format!("POST /transactions HTTP/1.1\r\nHoldover-Transaction-Id: {id}\r\n");
    let call = hex(format!("{call}holdover-attempt: 1\r\n\r\n{{}}").as_bytes());
    let file = format!("9<{}>", hex(b"/data/1.segment"));
    let other = format!("8<{}>", hex(b"/data/2.segment"));
    let trace = lines
        .replace("@taken", &format!("pwrite64({file}, \"{taken}\", {taken_length}, 64"))
        .replace("@begun", &format!("pwrite64({file}, \"{begun}\", {begun_length}, 64"))
        .replace("@sync", &format!("fdatasync({file}"))
        .replace("@elsewhere", &format!("fdatasync({other}"))
        .replace("@wrote_begun", &format!(") = {begun_length}"))
        .replace("@wrote", &format!(") = {taken_length}"))
        .replace(
            "@receipt",
            &format!("sendto(5<TCP:[127.0.0.1:8480->127.0.0.1:50000]>, \"{receipt}\", 99, 0, NULL, 0"),
        )
        .replace(
            "@call",
            &format!(
                "writev(6<TCP:[127.0.0.1:50001->127.0.0.1:9001]>, [{{iov_base=\"{}\", iov_len=40}}, \
                 {{iov_base=\"{}\", iov_len=99}}], 2",
                &call[..160],
                &call[160..]
            ),
        );
    judge(&read_trace(&trace), &Ports { submitters: 8480, core: vec![9001] })
}

#[test]
fn a_trace_in_good_order_is_judged_good() {
    let found = judged(
        "1 @taken@wrote\n1 @sync) = 0\n2 @receipt) = 99\n\
         1 @begun@wrote_begun\n1 @sync <unfinished ...>\n2 futex(0x1) = 0\n\
         1 <... fdatasync resumed>) = 0\n2 @call) = 139\n",
    );
    assert_eq!((found.receipts, found.attempts), (1, 1), "{found:?}");
    assert_eq!(found.violations, [""; 0]);
}

#[test]
fn a_trace_in_bad_order_is_judged_bad() {
    for (what, trace) in [
        ("before the write", "2 @receipt) = 99\n1 @taken@wrote\n1 @sync) = 0\n"),
        ("before the sync", "1 @taken@wrote\n2 @receipt) = 99\n1 @sync) = 0\n"),
        ("without a sync", "1 @taken@wrote\n2 @receipt) = 99\n"),
        (
            "while the sync is under way",
            "1 @taken@wrote\n1 @sync <unfinished ...>\n2 @receipt) = 99\n\
             1 <... fdatasync resumed>) = 0\n",
        ),
        (
            "after a sync that began before the write had returned",
            "1 @taken <unfinished ...>\n3 @sync) = 0\n1 <... pwrite64 resumed>@wrote\n\
             2 @receipt) = 99\n",
        ),
        ("after a sync that failed", "1 @taken@wrote\n1 @sync) = -1 EIO (x)\n2 @receipt) = 99\n"),
        ("after a sync of another file", "1 @taken@wrote\n1 @elsewhere) = 0\n2 @receipt) = 99\n"),
        ("after a torn write", "1 @taken) = 12\n1 @sync) = 0\n2 @receipt) = 99\n"),
        ("of another record", "1 @begun@wrote_begun\n1 @sync) = 0\n2 @receipt) = 99\n"),
        ("to the core", "1 @taken@wrote\n1 @sync) = 0\n2 @call) = 139\n"),
        ("to the core, unsynced", "1 @begun@wrote_begun\n2 @call) = 139\n1 @sync) = 0\n"),
    ] {
        let found = judged(trace);
        assert_eq!(found.receipts + found.attempts, 1, "{what}: {found:?}");
        assert_eq!(found.violations.len(), 1, "{what}: {found:?}");
    }
}

#[test]
fn a_send_that_took_no_byte_told_nobody() {
    let found = judged("2 @receipt) = -1 EAGAIN (x)\n1 @taken@wrote\n1 @sync) = 0\n");
    assert_eq!((found.receipts, found.violations.len()), (0, 0), "{found:?}");
}
