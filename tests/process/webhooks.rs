//! A real daemon tells a real receiver of a stop: through a receiver that refuses, kill -9, and one
//! that wants no more until a hang-up.

use crate::rig::{Daemon, Site, signal, wait_for};
use serde_json::json;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(30);

/// A stop far ahead that nothing has to be decided for.
const WINDOW: &str = r#"
[window.far]
starts_at = "2099-08-12T19:00:00+08:00"
ends_at = "2099-08-15T06:00:00+08:00"
author = "duty officer"
reason = "upgrade"
restore_by = "signed"

[window.far.notice]
source = "the bureau"
published_at = "2099-08-01T09:00:00+08:00"

[[window.far.row]]
clause = "1"
disposition = "pass"
"#;

/// An id that came, and the status that was answered.
type Call = (String, u16);

/// Every call, and the answers to come; 204 where there is none.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<(Vec<Call>, VecDeque<u16>)>>);

impl Receiver {
    /// Its address.
    fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let this = self.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = BufReader::new(connection.unwrap());
                let (mut id, mut length) = (String::new(), 0);
                let mut line = String::new();
                while connection.read_line(&mut line).unwrap() > 2 {
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("webhook-id:") {
                        value.trim().clone_into(&mut id);
                    } else if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                connection.read_exact(&mut vec![0; length]).unwrap();
                let mut inner = this.0.lock().unwrap();
                let status = inner.1.pop_front().unwrap_or(204);
                inner.0.push((id, status));
                let answer = format!("HTTP/1.1 {status} so\r\ncontent-length: 0\r\n\r\n");
                connection.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        url
    }

    fn says(&self, statuses: &[u16]) {
        self.0.lock().unwrap().1.extend(statuses);
    }

    fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap().0.clone()
    }

    /// Every call, once one of `id` was answered with `status`.
    fn until(&self, id: &str, status: u16) -> Vec<Call> {
        let wanted = (id.to_owned(), status);
        wait_for(id, BOUND, || Some(self.calls()).filter(|calls| calls.contains(&wanted)))
    }
}

fn end_moves(daemon: &Daemon, to: &str) {
    let body = json!({ "ends_at": to, "reason": "as agreed" });
    let path = "/admin/v1/windows/far/extend";
    let answer = daemon.admin().send("POST", path, &body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_stop_is_told_through_refusals_kills_and_a_receiver_that_wants_no_more() {
    let site = Site::new(WINDOW);
    let receiver = Receiver::default();
    let secret = site.folder().join("his.secret");
    let mut file =
        std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&secret);
    file.as_mut().unwrap().write_all(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let (url, secret) = (receiver.listen(), secret.display());
    site.lay_over(&format!("[webhooks.his]\nurl = \"{url}\"\nsecret_file = \"{secret}\"\n"));
    receiver.says(&[500]);
    let daemon = site.start();
    // Told of what stands at the first start, and again after the refusal.
    let calls = receiver.until("window_far_1_announced", 204);
    assert_eq!(calls[0], ("window_far_1_announced".to_owned(), 500));
    end_moves(&daemon, "2099-08-15T07:00:00+08:00");
    receiver.until("window_far_2_changed", 204);
    daemon.kill();

    let daemon = site.start();
    receiver.says(&[410]);
    end_moves(&daemon, "2099-08-15T08:00:00+08:00");
    receiver.until("window_far_3_changed", 410);
    wait_for("the status says so", BOUND, || {
        let shown = daemon.look("/admin/v1/status")["webhooks"][0].clone();
        (shown["disabled"] == true && shown["waiting"] == 1).then_some(())
    });
    signal(daemon.pid(), "-HUP");
    receiver.until("window_far_3_changed", 204);
    let mut told: Vec<_> = receiver.calls();
    told.retain(|(_, status)| *status == 204);
    // A kill right behind an answer may tell it once more, under the same id.
    told.dedup();
    let ids: Vec<&str> = told.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["window_far_1_announced", "window_far_2_changed", "window_far_3_changed"]);
    daemon.terminate();
    let ended = daemon.ended(Duration::from_secs(10));
    assert!(ended.success(), "{ended}: {}", daemon.said());
}
