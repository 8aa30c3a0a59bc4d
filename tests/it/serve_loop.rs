//! The serve loop: what is slow or idle is cut, panics are answered, a stop is orderly.

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::routing::{get, post};
use holdover::domain::identity::synthetic_resident;
use holdover::domain::time::CivilDate;
use holdover::web::body::{self, BodyLimits};
use holdover::web::problem::{Problem, with_fallbacks};
use holdover::web::server::{ServerLimits, Stopped, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything.
const BOUND: Duration = Duration::from_secs(10);

struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<Stopped>,
    entered: Arc<Notify>,
    go_on: Arc<Notify>,
}

fn quick() -> ServerLimits {
    ServerLimits { head_timeout: Duration::from_millis(200), ..ServerLimits::default() }
}

async fn read_it(request: Request) -> Result<String, Problem> {
    let limits = BodyLimits { bytes_max: 1000, timeout: Duration::from_millis(200) };
    Ok(body::read(request.into_body(), limits).await?.len().to_string())
}

async fn served(limits: ServerLimits) -> Served {
    let (entered, go_on) = <(Arc<Notify>, Arc<Notify>)>::default();
    let (inside, waits) = (Arc::clone(&entered), Arc::clone(&go_on));
    let slow = move || async move {
        inside.notify_one();
        waits.notified().await;
        "slow"
    };
    let large = || async { vec![b'x'; 64 << 20] };
    let router = Router::new()
        .route("/", get(|| async { "ok" }))
        .route(
            "/whence",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
        )
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("110101199003070011")
                }
            }),
        )
        .route("/read", post(read_it))
        .route("/slow", get(slow))
        .route("/large", get(large));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, with_fallbacks(router), limits, stop.clone()));
    Served { address, stop, ended, entered, go_on }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `text` and reads until the other side closes.
    async fn all(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        to_end(stream).await
    }
}

async fn to_end(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(BOUND, stream.read_to_end(&mut bytes)).await;
    drop(read.expect("the connection was cut in time"));
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn idle_connections_and_slow_heads_are_cut() {
    let served = served(quick()).await;
    assert_eq!(served.all("").await, "");
    let answer = served.all("GET / HTTP/1.1\r\nhost: a\r\nx-slow: ").await;
    assert!(!answer.contains("200 OK"), "{answer}");
    let kept = served.all("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(kept.starts_with("HTTP/1.1 200 OK"), "cut only after its answer: {kept}");
}

#[tokio::test]
async fn slow_and_large_bodies_are_refused() {
    let served = served(ServerLimits::default()).await;
    let head = "POST /read HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length:";
    let slow = served.all(&format!("{head} 10\r\n\r\nabc")).await;
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    let large = served.all(&format!("{head} 1001\r\n\r\n")).await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    let chunked = "POST /read HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
                   transfer-encoding: chunked\r\n\r\n";
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001));
    let large = served.all(&format!("{chunked}{chunk}")).await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    let good = served.all(&format!("{head} 3\r\n\r\nabc")).await;
    assert!(good.ends_with("\r\n\r\n3"), "{good}");
}

#[tokio::test]
async fn a_panic_is_a_500_without_details_and_the_connection_goes_on() {
    let served = served(ServerLimits::default()).await;
    let both = "GET /panic HTTP/1.1\r\nhost: a\r\nx-request-id: mine-1\r\n\r\n\
                GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = served.all(both).await;
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.contains("\"request_id\":\"mine-1\""), "{answer}");
    assert!(!answer.contains("110101199003070011"), "{answer}");
    assert!(answer.contains("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_request_id_is_taken_over_only_where_it_is_sane() {
    let served = served(ServerLimits::default()).await;
    let birth = CivilDate::from_ymd_opt(1990, 3, 7).unwrap();
    let person = format!("req-{}", synthetic_resident(110_101, birth, 78));
    for (theirs, kept) in
        [("abc-1.2_3", true), ("a b", false), (&*"x".repeat(65), false), (&*person, false)]
    {
        let head = "GET /no HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-request-id:";
        let answer = served.all(&format!("{head} {theirs}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert_eq!(answer.contains(&format!("x-request-id: {theirs}\r\n")), kept, "{answer}");
        assert!(kept || answer.contains("x-request-id: req_"), "{answer}");
    }
}

#[tokio::test]
async fn who_does_not_read_is_cut() {
    let limits = ServerLimits {
        write_timeout: Duration::from_millis(200),
        grace: BOUND * 3,
        ..ServerLimits::default()
    };
    let served = served(limits).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut first = [0u8; 1];
    stream.read_exact(&mut first).await.unwrap();
    served.stop.cancel();
    let ended = tokio::time::timeout(BOUND, served.ended).await.expect("cut in time").unwrap();
    assert_eq!(ended, Stopped::Clean, "cut as slow before the stop had to");
    drop(stream);
}

#[tokio::test]
async fn a_stop_finishes_requests_under_way_and_closes_idle_connections() {
    let served = served(ServerLimits::default()).await;
    let mut idle = served.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut some = [0u8; 15];
    idle.read_exact(&mut some).await.unwrap();
    let mut busy = served.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    served.entered.notified().await;
    served.stop.cancel();
    to_end(idle).await;
    assert!(TcpStream::connect(served.address).await.is_err(), "no new connections");
    served.go_on.notify_one();
    assert!(to_end(busy).await.ends_with("slow"));
    let ended = tokio::time::timeout(BOUND, served.ended).await.unwrap().unwrap();
    assert_eq!(ended, Stopped::Clean);
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_is_cut() {
    let limits = ServerLimits { grace: Duration::from_millis(100), ..ServerLimits::default() };
    let served = served(limits).await;
    let mut busy = served.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    served.entered.notified().await;
    served.stop.cancel();
    let ended = tokio::time::timeout(BOUND, served.ended).await.unwrap().unwrap();
    assert_eq!(ended, Stopped::Cut(1));
}

#[tokio::test]
async fn a_handler_is_told_where_a_request_came_from() {
    let served = served(quick()).await;
    let mut stream = served.connect().await;
    let here = stream.local_addr().unwrap().to_string();
    stream
        .write_all(b"GET /whence HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = to_end(stream).await;
    assert!(answer.ends_with(&here), "{answer}");
}
