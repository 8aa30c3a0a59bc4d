//! The adapter before a server that does exactly what a test says, byte by byte.

use super::{ask, bounded, call, call_of, hurry, id, options, outcome, send, until, upstream};
use bytes::Bytes;
use holdover::domain::time::Timestamp;
use holdover::engine::ports::{Attached, Call, LoadBlob, Upstream};
use holdover::upstream::{HttpOptions, HttpUpstream};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What the server does with one request.
#[derive(Debug, Clone)]
enum Act {
    /// Reads it and writes these bytes; the connection stays.
    Answer(String),
    /// As `Answer`, then closes.
    AnswerAndClose(String),
    /// Reads one byte of it and closes.
    CutEarly,
    /// Reads it whole and closes.
    CutLate,
    /// Reads it whole and says nothing.
    Silent,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    closed: AtomicUsize,
    bytes: AtomicUsize,
    /// Whole requests.
    requests: Mutex<Vec<String>>,
}

impl Seen {
    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

/// A server on a free port that plays `acts`, one for each request, the last one for ever.
struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let acts = Arc::new((acts, AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut visits = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.connections.fetch_add(1, SeqCst);
                visits.spawn(serve(stream, Arc::clone(&acts), Arc::clone(&shared)));
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn serve(mut stream: TcpStream, acts: Arc<(Vec<Act>, AtomicUsize)>, seen: Arc<Seen>) {
    loop {
        let mut request = Vec::new();
        let mut byte = [0u8; 4096];
        let mut act = None;
        loop {
            let room = if act.is_none() { 1 } else { byte.len() };
            let count = stream.read(&mut byte[..room]).await.unwrap_or(0);
            if count == 0 {
                seen.closed.fetch_add(1, SeqCst);
                return;
            }
            seen.bytes.fetch_add(count, SeqCst);
            request.extend_from_slice(&byte[..count]);
            let next = || {
                let turn = acts.1.fetch_add(1, SeqCst).min(acts.0.len() - 1);
                acts.0[turn].clone()
            };
            if matches!(act.get_or_insert_with(next), Act::CutEarly) || is_whole(&request) {
                break;
            }
        }
        seen.requests.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
        match act.unwrap() {
            Act::Answer(text) => stream.write_all(text.as_bytes()).await.unwrap(),
            Act::AnswerAndClose(text) => {
                stream.write_all(text.as_bytes()).await.unwrap();
                break;
            }
            Act::CutEarly | Act::CutLate => break,
            Act::Silent => std::future::pending().await,
        }
    }
    drop(stream);
    seen.closed.fetch_add(1, SeqCst);
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0usize);
    body.len() >= length
}

fn raw(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn applied() -> String {
    raw("200 OK", "content-type: application/json\r\n", r#"{"outcome":"applied"}"#)
}

#[tokio::test]
async fn every_kind_of_answer_becomes_its_outcome_over_a_socket() {
    let page = "<html>maintenance</html>";
    let problem = "content-type: application/problem+json\r\nretry-after: 7\r\n";
    let html = "content-type: text/html\r\nretry-after: 7\r\n";
    let refused = r#"{"outcome":"refused","code":"E9"}"#;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let split = format!("{chunked}c\r\n{{\"outcome\":\"\r\n9\r\napplied\"}}\r\n0\r\n\r\n");
    let endless = format!("{chunked}fff\r\n{}\r\n0\r\n\r\n", "x".repeat(0xfff));
    let long = "x".repeat(1025);
    let rows = [
        (Act::Answer(applied()), "applied"),
        (Act::Answer(split), "applied"),
        (Act::Answer(raw("422 No", "", refused)), "refused E9"),
        (Act::Answer(raw("200 OK", "", refused)), "refused E9"),
        (Act::Answer(raw("429 Slow", "retry-after: 3\r\n", "")), "busy 3"),
        (Act::Answer(raw("503 No", problem, "{}")), "unavailable 7"),
        (Act::Answer(raw("503 No", "", r#"{"outcome":"unavailable"}"#)), "unavailable"),
        (Act::Answer(raw("503 No", html, page)), "doubt unlisted"),
        (Act::Answer(raw("200 OK", html, page)), "doubt unreadable"),
        (Act::Answer(raw("200 OK", "", r#"{"outcome":"#)), "doubt unreadable"),
        (Act::Answer(raw("500 No", "", "")), "doubt unlisted"),
        (Act::Answer(raw("302 Found", "location: /x\r\n", "")), "doubt unlisted"),
        (Act::Answer(raw("200 OK", "", &long)), "doubt unreadable"),
        (Act::Answer(endless), "doubt unreadable"),
        (Act::AnswerAndClose("220 smtp.example\r\n".into()), "doubt unreadable"),
        (Act::AnswerAndClose("HTTP/1.1 200 OK\r\n".into()), "doubt cut"),
        (
            Act::Answer(raw("200 OK", &format!("x: {}\r\n", "y".repeat(70_000)), "")),
            "doubt unreadable",
        ),
        (Act::AnswerAndClose(applied().replace(": 21", ": 22")), "doubt cut"),
        (Act::CutEarly, "doubt cut"),
        (Act::CutLate, "doubt cut"),
    ];
    bounded(async {
        for (act, expected) in rows {
            let server = Server::start(vec![act.clone()]).await;
            let told = send(&upstream(&server.url()), call(1)).await;
            assert_eq!(told, expected, "{act:?}");
            assert_eq!(server.seen.requests(), 1, "{act:?}: written once");
        }
    })
    .await;
}

#[tokio::test]
async fn a_core_that_nobody_answers_for_is_surely_not_reached() {
    bounded(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let asked = AtomicUsize::new(0);
        let may_start = || asked.fetch_add(1, SeqCst) < usize::MAX;
        let upstream = upstream(&url);
        let told = outcome(upstream.send(call(1), &may_start).await);
        assert_eq!(told, "unreachable");
        assert_eq!(asked.load(SeqCst), 0, "asked only once there is a connection");
        assert_eq!(ask(&upstream, 1).await, "no answer");
        assert!(!upstream.probe().await);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_surely_not_reached() {
    bounded(async {
        // The one place of the queue is taken, so the kernel leaves the next connection waiting.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(0).unwrap();
        let address = full.local_addr().unwrap();
        let mut taken = Vec::new();
        let connect_timeout = Duration::from_millis(50);
        for _ in 0..8 {
            let connected = tokio::time::timeout(connect_timeout, TcpStream::connect(address));
            match connected.await {
                Ok(stream) => taken.push(stream.unwrap()),
                Err(_) => break,
            }
        }
        let options = HttpOptions { connect_timeout, ..options(&format!("http://{address}")) };
        assert_eq!(send(&HttpUpstream::new(options).unwrap(), call(1)).await, "unreachable");
    })
    .await;
}

#[tokio::test]
async fn a_slow_answer_is_in_doubt_and_its_connection_is_not_used_again() {
    bounded(async {
        let server = Server::start(vec![Act::Silent, Act::Answer(applied())]).await;
        let upstream = hurry(&server.url());
        assert_eq!(send(&upstream, call(1)).await, "doubt timeout");
        assert_eq!(send(&upstream, call(2)).await, "applied");
        assert_eq!(server.seen.connections.load(SeqCst), 2);
        assert_eq!(server.seen.requests(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_is_in_doubt() {
    bounded(async {
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 21\r\n\r\n{\"outcome\":".to_owned();
        let server = Server::start(vec![Act::Answer(half)]).await;
        assert_eq!(send(&hurry(&server.url()), call(1)).await, "doubt timeout");
    })
    .await;
}

#[tokio::test]
async fn one_connection_carries_call_after_call() {
    bounded(async {
        let server = Server::start(vec![Act::Answer(applied())]).await;
        let upstream = upstream(&server.url());
        for seq in 1..=100 {
            assert_eq!(send(&upstream, call(seq)).await, "applied");
        }
        assert_eq!(server.seen.connections.load(SeqCst), 1);
        assert_eq!(server.seen.requests(), 100);
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_that_the_core_closed_is_replaced_before_a_byte_is_written() {
    bounded(async {
        let server = Server::start(vec![
            Act::AnswerAndClose(applied()),
            Act::AnswerAndClose(applied()),
            Act::Answer(applied()),
        ])
        .await;
        let upstream = upstream(&server.url());
        for seq in 1..=3 {
            assert_eq!(send(&upstream, call(seq)).await, "applied");
            let closed = usize::try_from(seq).unwrap().min(2);
            until("closed", || server.seen.closed.load(SeqCst) == closed).await;
        }
        assert_eq!(server.seen.requests(), 3, "each written once");
        assert_eq!(server.seen.connections.load(SeqCst), 3);
    })
    .await;
}

#[tokio::test]
async fn a_closed_idle_connection_is_noticed_even_before_the_runtime_has_looked() {
    bounded(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (closed, wait_closed) = std::sync::mpsc::channel();
        let (close, wait_close) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            for _ in 0..20 {
                use std::io::{Read, Write};
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut part = [0u8; 4096];
                while !is_whole(&request) {
                    let count = stream.read(&mut part).unwrap();
                    assert!(count > 0, "a connection was left without a request");
                    request.extend_from_slice(&part[..count]);
                }
                stream.write_all(applied().as_bytes()).unwrap();
                let () = wait_close.recv_timeout(Duration::from_secs(10)).unwrap();
                drop(stream);
                closed.send(()).unwrap();
            }
        });
        let upstream = upstream(&url);
        for seq in 1..=20 {
            assert_eq!(send(&upstream, call(seq)).await, "applied");
            close.send(()).unwrap();
            // Blocks the only thread of the runtime, so that it cannot hear of the close.
            wait_closed.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        server.join().unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_that_dies_under_a_request_is_in_doubt_and_never_written_again() {
    bounded(async {
        for act in [Act::CutEarly, Act::CutLate] {
            let server =
                Server::start(vec![Act::Answer(applied()), act, Act::Answer(applied())]).await;
            let upstream = upstream(&server.url());
            assert_eq!(send(&upstream, call(1)).await, "applied");
            assert_eq!(send(&upstream, call(2)).await, "doubt cut");
            assert_eq!(server.seen.requests(), 2);
            assert_eq!(server.seen.connections.load(SeqCst), 1, "it was the idle one");
        }
    })
    .await;
}

#[tokio::test]
async fn a_closed_gate_lets_no_byte_out() {
    bounded(async {
        let server = Server::start(vec![Act::Answer(applied())]).await;
        let upstream = upstream(&server.url());
        for _ in 0..2 {
            assert_eq!(outcome(upstream.send(call(1), &|| false).await), "gate_closed");
        }
        // The same connection is good for the next call, and all it carries is that call.
        assert_eq!(send(&upstream, call(2)).await, "applied");
        assert_eq!(server.seen.connections.load(SeqCst), 1);
        let bytes = server.seen.bytes.load(SeqCst);
        assert_eq!(bytes, server.seen.requests.lock().unwrap()[0].len());
        assert_eq!(outcome(upstream.send(call(3), &|| false).await), "gate_closed");
        assert_eq!(send(&upstream, call(4)).await, "applied");
        assert_eq!(server.seen.bytes.load(SeqCst), 2 * bytes);
        assert!(server.seen.requests.lock().unwrap()[1].contains(&id(4).to_string()));
    })
    .await;
}

#[tokio::test]
async fn a_call_carries_its_headers_and_its_payload_byte_for_byte() {
    bounded(async {
        let server = Server::start(vec![Act::Answer(applied())]).await;
        let upstream = upstream(&format!("{}/core/", server.url()));
        send(&upstream, call(1)).await;
        let mut second = call_of(2, 3, "filing.out_of_area");
        second.received_from_person_at = Some(Timestamp::from_millis(1_660_301_000_000));
        second.credential = Some(Bytes::from_static(b"12 34%"));
        send(&upstream, second).await;
        let requests = server.seen.requests.lock().unwrap();
        let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
        assert_eq!(body.as_bytes(), call(1).payload);
        assert!(head.starts_with("POST /core/transactions HTTP/1.1\r\n"), "{head}");
        assert!(!head.contains("credential") && !head.contains("received-from"), "{head}");
        for line in [
            format!("host: {}", server.address),
            "content-type: application/json".into(),
            format!("holdover-transaction-id: {}", id(1)),
            "idempotency-key: key-1".into(),
            "holdover-institution: H11010500001".into(),
            "holdover-business: settlement.outpatient".into(),
            "holdover-operation: request".into(),
            "holdover-accepted-at: 2022-08-12T11:00:00Z".into(),
            "holdover-occurred-at: 2022-08-12T10:59:59Z".into(),
            "holdover-attempt: 1".into(),
            "holdover-repeat: false".into(),
            format!("holdover-cell: {}", call(1).cell),
        ] {
            assert!(head.lines().any(|found| found == line), "{line} in {head}");
        }
        for line in [
            "holdover-attempt: 3",
            "holdover-repeat: true",
            "holdover-received-from-person-at: 2022-08-12T10:43:20Z",
            "holdover-credential: 12%2034%25",
        ] {
            assert!(requests[1].lines().any(|found| found == line), "{line} in {}", requests[1]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_question_is_asked_by_id_and_only_where_the_core_answers_questions() {
    bounded(async {
        let fence = "holdover-fenced: true\r\n";
        let server = Server::start(vec![
            Act::Answer(applied()),
            Act::Answer(raw("200 OK", "", r#"{"outcome":"refused","code":"E9"}"#)),
            Act::Answer(raw("404 Not Found", "", "")),
            Act::Answer(raw("404 Not Found", fence, "")),
            Act::Answer(raw("404 Not Found", "content-type: text/html\r\n", "<html>")),
            Act::Answer(raw("500 No", "", "")),
            Act::CutLate,
        ])
        .await;
        let upstream = upstream(&server.url());
        for expected in [
            "applied",
            "refused E9",
            "not found",
            "not found fenced",
            "no answer",
            "no answer",
            "no answer",
        ] {
            assert_eq!(ask(&upstream, 5).await, expected);
        }
        let asked = format!("GET /transactions/{} HTTP/1.1\r\n", id(5));
        assert!(server.seen.requests.lock().unwrap()[0].starts_with(&asked));
        let mute = HttpOptions { answers_questions: false, ..options(&server.url()) };
        let requests = server.seen.requests();
        assert_eq!(ask(&HttpUpstream::new(mute).unwrap(), 5).await, "no answer");
        assert_eq!(server.seen.requests(), requests);
    })
    .await;
}

#[tokio::test]
async fn a_probe_is_good_only_with_the_expected_status_and_text() {
    bounded(async {
        let server = Server::start(vec![
            Act::Answer(raw("200 OK", "", r#"{"up":true}"#)),
            Act::Answer(raw("200 OK", "", "<html>maintenance</html>")),
            Act::Answer(raw("503 No", "", r#"{"up":true}"#)),
            Act::CutLate,
            Act::Silent,
        ])
        .await;
        let upstream = hurry(&server.url());
        for expected in [true, false, false, false, false] {
            assert_eq!(upstream.probe().await, expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_probe_may_be_a_query_that_is_posted() {
    bounded(async {
        let server = Server::start(vec![Act::Answer(raw("200 OK", "", r#"{"up":true}"#))]).await;
        let query = r#"{"query":"state"}"#;
        let options = HttpOptions { probe_query: Some(query.into()), ..options(&server.url()) };
        assert!(HttpUpstream::new(options).unwrap().probe().await);
        let requests = server.seen.requests.lock().unwrap();
        assert!(requests[0].starts_with("POST /health HTTP/1.1\r\n"), "{}", requests[0]);
        assert!(requests[0].contains("application/json") && requests[0].ends_with(query));
    })
    .await;
}

#[tokio::test]
async fn no_more_calls_are_out_than_the_concurrency_allows_and_probes_need_no_place() {
    bounded(async {
        let up = Act::Answer(raw("200 OK", "", r#"{"up":true}"#));
        let server = Server::start(vec![Act::Silent, Act::Silent, up]).await;
        let options = HttpOptions { concurrency: 2, ..options(&server.url()) };
        let upstream = Arc::new(HttpUpstream::new(options).unwrap());
        let mut calls = JoinSet::new();
        for seq in 1..=3 {
            let upstream = Arc::clone(&upstream);
            calls.spawn(async move { send(&upstream, call(seq)).await });
        }
        until("two are out", || server.seen.requests() == 2).await;
        assert!(upstream.probe().await);
        assert_eq!(server.seen.requests(), 3, "two calls and the probe");
        // Only the one without a place ends at once.
        upstream.stop();
        assert_eq!(calls.join_next().await.unwrap().unwrap(), "stopping");
        assert_eq!(send(&upstream, call(4)).await, "stopping");
        assert_eq!(server.seen.requests(), 3);
        calls.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn what_waits_behind_files_keeps_no_place_from_others() {
    bounded(async {
        let server = Server::start(vec![Act::Answer(applied())]).await;
        let some = HttpOptions { concurrency: 5, ..options(&server.url()) };
        let some = HttpOptions { takes_attachments: true, ..some };
        let upstream = Arc::new(HttpUpstream::new(some).unwrap());
        let loading = Arc::new(AtomicUsize::new(0));
        let begun = Arc::clone(&loading);
        let load: LoadBlob = Arc::new(move || {
            begun.fetch_add(1, SeqCst);
            Box::pin(std::future::pending())
        });
        let mut calls = JoinSet::new();
        for seq in 1..=8 {
            let digest = format!("sha256:{seq:064x}").parse().unwrap();
            let file = Attached { digest, content: None, load: Some(Arc::clone(&load)) };
            let call = Call { attachments: vec![file], ..call(seq) };
            let upstream = Arc::clone(&upstream);
            calls.spawn(async move { send(&upstream, call).await });
        }
        until("four files are read", || loading.load(SeqCst) == 4).await;
        assert_eq!(send(&upstream, call(9)).await, "applied");
        // Those that wait for a file's place end at once.
        upstream.stop();
        for _ in 0..4 {
            assert_eq!(calls.join_next().await.unwrap().unwrap(), "stopping");
        }
        assert_eq!((loading.load(SeqCst), server.seen.requests()), (4, 1));
        calls.shutdown().await;
    })
    .await;
}
