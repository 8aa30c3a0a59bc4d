//! The screen in a few states, as it is printed.

use super::*;
use crate::admin::types::{DiskOut, Need, NeedOut};
use crate::domain::gate::GateState;
use crate::domain::window::RestoreBy;

const ZONE: Zone = chrono_tz::Asia::Shanghai;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A quiet day.
fn quiet() -> StatusOut {
    StatusOut {
        at: at("2022-08-14T03:12:05+08:00"),
        headline: String::new(),
        needs: Vec::new(),
        ready: true,
        not_ready: Vec::new(),
        phase: StatusPhase::Open,
        windows: Vec::new(),
        books: BooksOut {
            balanced: true,
            proved: true,
            difference: 0,
            amount_difference: "0.00".to_owned(),
            tickets_difference: 0,
            damaged_records: 0,
        },
        gates_open: 12,
        gates_not_open: Vec::new(),
        backlog: BacklogOut {
            deliverable: 0,
            deliverable_oldest: None,
            held: 0,
            held_oldest: None,
            in_flight: 4,
            in_doubt: 0,
            in_doubt_since: None,
            dead_letters: 0,
            action_required: 0,
            tickets_open: 0,
            open: 4,
            limit: 20_000_000,
        },
        replays: Vec::new(),
        deadline_at_risk: None,
        disk: Some(DiskOut {
            used_bytes: 1_200_000_000,
            free_bytes: 212_000_000_000,
            capacity_bytes: 500_000_000_000,
            reserve_bytes: 268_435_456,
        }),
        kafka: None,
        published: None,
        webhooks: Vec::new(),
        clock: None,
    }
}

fn webhook(
    name: &str,
    waiting: u64,
    waiting_since: Option<Timestamp>,
    disabled: bool,
) -> WebhookOut {
    WebhookOut { name: name.parse().unwrap(), waiting, waiting_since, disabled }
}

fn window(id: &str, phase: StatusPhase, seconds_left: i64) -> LiveWindowOut {
    LiveWindowOut {
        id: id.parse().unwrap(),
        phase,
        zone: ZONE,
        starts_at: at("2022-08-12T19:00:00+08:00"),
        ends_at: at("2022-08-15T06:00:00+08:00"),
        seconds_left,
        restore_by: RestoreBy::Signed,
        awaiting_release: 0,
    }
}

fn need(code: Need, what: &str, next: &str) -> NeedOut {
    NeedOut { code, what: what.to_owned(), next: next.to_owned(), page: None }
}

fn closed(upstream: &str, why: &str, cells: u64, waiting: u64) -> NotOpenOut {
    NotOpenOut {
        upstream: upstream.parse().unwrap(),
        state: GateState::ClosedByWindow,
        window: None,
        why: why.to_owned(),
        cells,
        waiting,
    }
}

fn waits(upstream: &str, remaining: u64, pace: Option<f64>, eta: Option<u64>) -> ReplayOut {
    ReplayOut {
        upstream: upstream.parse().unwrap(),
        remaining,
        due_since: None,
        pace_per_second: pace,
        pace_over_seconds: pace.map(|_| 60),
        eta_seconds: eta,
    }
}

/// The screen, which never is larger than one.
#[track_caller]
fn shows(status: &StatusOut, expected: &str) {
    let text = screen(status, ZONE, false);
    assert!(text.lines().count() <= 24, "{text}");
    assert!(text.lines().all(|line| width(line) <= COLUMNS), "{text}");
    assert!(text == expected, "expected\n{expected}\nfound\n{text}");
}

#[test]
fn a_quiet_day() {
    shows(
        &quiet(),
        "\
NOTHING NEEDS A PERSON                         2022-08-14 03:12:05 Asia/Shanghai
stops     open: no stop is on
books     balanced: difference 0 items, 0.00 yuan, 0 tickets
gates     all 12 cells open
backlog   0 can go; 0 held at closed gates
          in flight 4, in doubt 0, dead letters 0, for submitters 0, tickets 0
replay    nothing waits behind an open gate
deadline  none at risk
disk      212 GB of 500 GB free, 1.2 GB taken here; nothing new below 268 MB
intake    submissions are taken
",
    );
}

#[test]
fn before_the_first_transaction_there_is_no_gate_to_speak_of() {
    let new = StatusOut { gates_open: 0, ..quiet() };
    let text = screen(&new, ZONE, false);
    assert!(text.contains("\ngates     no cell has been seen yet\n"), "{text}");
}

#[test]
fn in_the_middle_of_a_stop() {
    let mut status = quiet();
    status.phase = StatusPhase::Active;
    status.windows = vec![
        window("stop-2022-08", StatusPhase::Active, 96_475),
        window("move-2022-09", StatusPhase::Scheduled, 2_592_000),
    ];
    status.gates_open = 5;
    status.gates_not_open = vec![closed("agency", "stopped by stop-2022-08", 7, 1203)];
    status.backlog.held = 1203;
    status.backlog.held_oldest = Some(at("2022-08-12T19:01:00+08:00"));
    status.backlog.deliverable = 120;
    status.backlog.deliverable_oldest = Some(at("2022-08-14T03:09:00+08:00"));
    status.backlog.tickets_open = 14;
    status.replays = vec![waits("settlement", 120, Some(0.5), Some(240))];
    status.kafka = Some(KafkaOut { topics: 1, partitions: 3, lag_records: 1000, away_since: None });
    status.published = Some(PublishedOut { unpublished_changes: 2, interrupted_since: None });
    let waiting_since = Some(status.at.before(Duration::from_secs(600)));
    status.webhooks = vec![
        webhook("all", 0, None, false),
        webhook("away", 1_000, waiting_since, false),
        webhook("gone", 2, waiting_since, true),
    ];
    shows(
        &status,
        "\
NOTHING NEEDS A PERSON                         2022-08-14 03:12:05 Asia/Shanghai
stops     stop-2022-08: active, 08-12 19:00 to 08-15 06:00, 1 d 2 h left
          move-2022-09: scheduled, 08-12 19:00 to 08-15 06:00, begins in 30 d
books     balanced: difference 0 items, 0.00 yuan, 0 tickets
gates     5 cells open; not open:
          agency: stopped by stop-2022-08; cells 7, waiting 1,203
backlog   120 can go (oldest 3 min); 1,203 held at closed gates (oldest 1 d 8 h)
          in flight 4, in doubt 0, dead letters 0, for submitters 0, tickets 14
replay    settlement: 120 left, 4 min at 0.5/s (net, over the last 1 min)
deadline  none at risk
disk      212 GB of 500 GB free, 1.2 GB taken here; nothing new below 268 MB
kafka     topics 1, partitions 3, records not done 1,000
          published, changes to go 2
told      all, of everything
          away, announcements that wait: 1,000, for 10 min
          gone WANTS NO MORE (410), announcements that wait: 2
intake    submissions are taken
",
    );
}

#[test]
fn when_everything_goes_wrong_at_once() {
    let mut status = quiet();
    status.phase = StatusPhase::Overrun;
    status.ready = false;
    status.not_ready = vec!["disk_reserve".to_owned()];
    status.needs = (1..=5)
        .map(|n| need(Need::DeadLetters, &format!("trouble {n} 结算中心"), "do something"))
        .collect();
    status.needs[1].what = "结".repeat(60);
    status.needs[2].what = "a\x1b[2Jb".to_owned();
    status.windows =
        (1..=5).map(|n| window(&format!("w{n}"), StatusPhase::Overrun, -720)).collect();
    status.books.balanced = false;
    status.books.difference = -3;
    status.gates_not_open = (1..=5).map(|n| closed(&format!("u{n}"), "down", 1, 2)).collect();
    status.replays =
        (1..=5).map(|n| waits(&format!("u{n}"), 5, (n > 1).then_some(-1.0), None)).collect();
    status.deadline_at_risk = Some(at("2022-08-14T03:32:05+08:00"));
    status.kafka = Some(KafkaOut {
        topics: 1,
        partitions: 0,
        lag_records: 0,
        away_since: Some(at("2022-08-14T03:02:05+08:00")),
    });
    status.published = Some(PublishedOut {
        unpublished_changes: 40_000,
        interrupted_since: Some(at("2022-08-14T02:42:05+08:00")),
    });
    shows(
        &status,
        "\
A PERSON IS NEEDED: 5 THINGS                   2022-08-14 03:12:05 Asia/Shanghai
1. trouble 1 结算中心
   do something
2. 结结结结结结结结结结结结结结结结结结结结结结结结结结结结结结结结结结结结结结…
   do something
3. a [2Jb
   do something
   and 2 more: holdover status --json
stops     w1: overrun, 08-12 19:00 to 08-15 06:00, 12 min over
          w2: overrun, 08-12 19:00 to 08-15 06:00, 12 min over
          and 3 more: holdover window list
books     DO NOT BALANCE: difference -3 items, 0.00 yuan, 0 tickets
gates     12 cells open; not open:
          u1: down; cells 1, waiting 2
          and 4 more: holdover gate list
backlog   0 can go; 0 held at closed gates
          in flight 4, in doubt 0, dead letters 0, for submitters 0, tickets 0
replay    u1: 5 left, its pace is not known yet
          and 4 more: holdover status --json
deadline  one in a stop ends 08-14 03:32, in 20 min, and is not moved
disk      212 GB of 500 GB free, 1.2 GB taken here; nothing new below 268 MB
kafka     NOTHING TAKEN IN for 10 min, topics 1
          NOTHING PUBLISHED for 30 min, changes to go 40,000
intake    NO SUBMISSION IS TAKEN: disk_reserve
",
    );
}

#[test]
fn what_is_written_over_leaves_nothing_of_the_screen_before() {
    assert_eq!(in_place("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    assert!(screen(&quiet(), ZONE, true).starts_with("\x1b[1mNOTHING NEEDS A PERSON"));
}
