//! What the engine's tests share: settings, a cell, a submission, an answer.

use bytes::Bytes;
use holdover::domain::attachment::Rules;
use holdover::domain::calendar::{Calendar, Exception, Paper};
use holdover::domain::catalogue::{Catalogue, Line, TakesEffect};
use holdover::domain::cell::{Cell, Channel, Class, Operation};
use holdover::domain::gate::{HealthPolicy, OutagePolicy};
use holdover::domain::ids::{Fingerprint, InsuredHash, KeyHash, OrderingKey, Seq};
use holdover::domain::money::Money;
use holdover::domain::policy::Disposition;
use holdover::domain::retry::RetryPolicy;
use holdover::domain::time::Timestamp;
use holdover::engine::change::{Private, Sealed};
use holdover::engine::event::{LineFacts, Submission};
use holdover::engine::machine::Machine;
use holdover::engine::ports::{Answer, KeyEntry, KeyRuns, ReadError};
use holdover::engine::search::{Among, Glance, Search};
use holdover::engine::settings::{Limits, Settings, UpstreamSettings};
use holdover::engine::view::TransactionView;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// A day that is worked, or not, by a paper that was made up.
pub(crate) fn exception(is_worked: bool) -> Exception {
    let paper = Arc::new(Paper {
        year: 2022,
        document: "made up".to_owned(),
        published: "2021-11-01".parse().unwrap(),
        amends: None,
    });
    Exception { is_worked, paper }
}

/// No sealed runs.
pub(crate) struct NoRuns;

impl KeyRuns for NoRuns {
    fn find(&self, _key: KeyHash) -> Result<Option<KeyEntry>, ReadError> {
        Ok(None)
    }
    fn covers(&self) -> Seq {
        Seq(0)
    }
}

#[cfg(feature = "sabotage")]
thread_local! {
    pub(crate) static SABOTAGE: std::cell::Cell<Option<holdover::engine::settings::Sabotage>> =
        const { std::cell::Cell::new(None) };
}

pub(crate) fn settings() -> Settings {
    let health = HealthPolicy {
        // Every good probe counts, so that a test need not wait for the next.
        probe_interval: Duration::ZERO,
        good_needed: 3,
        bad_needed: 3,
        ramp: Duration::from_secs(60),
        ramp_from: 5,
        steady: Some(200),
        burst: 4,
    };
    let upstream = UpstreamSettings {
        health,
        concurrency: 8,
        files_at_a_time: Some(2),
        settle_time: Duration::from_secs(30),
        answers_questions: true,
    };
    Settings {
        partition: 0,
        zone: chrono_tz::Asia::Shanghai,
        calendar: Calendar {
            version: "test".to_owned(),
            file: "test.toml".to_owned(),
            years: vec![2022],
            papers: Vec::new(),
            exceptions: BTreeMap::new(),
        },
        catalogue: Catalogue { lines: vec![line()], credential_fields: Vec::new() },
        limits: Limits {
            open_transactions_max: 1_000_000,
            institution_blob_bytes_max: 1 << 30,
            blobs_max: 1_000_000,
            unnamed_blob_after: Duration::from_secs(7 * 86_400),
            deadlines_max: 1000,
            commit_records_max: 4096,
            window_length_max: Duration::from_secs(60 * 24 * 3600),
            recurring_ahead: Duration::from_secs(7 * 24 * 3600),
            override_length_max: Duration::from_secs(7 * 24 * 3600),
            clock_jump_max: None,
        },
        recurring: Vec::new(),
        service_hours: Vec::new(),
        outages: OutagePolicy {
            proposed_after: Duration::from_secs(60),
            lapses_after: Duration::from_secs(900),
            deadlines: None,
        },
        retry: RetryPolicy {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            failures_max: 4,
        },
        two_persons_for: Vec::new(),
        upstreams: ["a", "b"].map(|n| (n.parse().unwrap(), upstream.clone())).into(),
        #[cfg(feature = "sabotage")]
        sabotage: SABOTAGE.get(),
    }
}

pub(crate) fn cell(upstream: &str, business: &str) -> Cell {
    Cell {
        upstream: upstream.parse().unwrap(),
        business: business.parse().unwrap(),
        operation: Operation::Apply,
        class: Class::Hospital,
        channel: Channel::System,
        district: "110101".parse().unwrap(),
        labels: Vec::new(),
        attributes: BTreeMap::new(),
    }
}

/// A submission that passes on an ordinary day, of one yuan, without anybody waiting.
pub(crate) fn submission(cell: Cell, number: u128, subject: u128) -> Submission {
    let private = Arc::new(Private {
        idempotency_key: format!("k{number}").parse().unwrap(),
        insured: "x".to_owned(),
        visit: None,
        ground: None,
        attributes: BTreeMap::new(),
        attachments: Vec::new(),
        paper: Vec::new(),
        payload: Bytes::new(),
    });
    Submission {
        institution: "H11010500001".parse().unwrap(),
        ordering_key: OrderingKey(subject << 64),
        cell,
        key_hash: KeyHash(number),
        fingerprint: Fingerprint(7),
        insured: InsuredHash(subject),
        amount: Money::from_fen(100).unwrap(),
        occurred_at: Timestamp::default(),
        received_from_person_at: None,
        deadline: None,
        replaces: None,
        depends_on: None,
        covers_from: None,
        has_report_file: false,
        files: Vec::new(),
        credit: false,
        line: LineFacts {
            normal: Disposition::Pass,
            self_contained: true,
            needs_credential: false,
            queued: true,
            live_limit: Duration::from_secs(20),
            files_stored: true,
        },
        wait: None,
        credential: None,
        private,
        sealed: Sealed { algorithm: 1, key_id: 1, bytes: Bytes::from_static(b"sealed") },
    }
}

/// Every transaction that is not final and for which `keep` says yes, by acceptance.
pub(crate) fn found(machine: &Machine, keep: impl Fn(&Glance<'_>) -> bool) -> Vec<TransactionView> {
    let mut search = Search::new(Seq(0), usize::MAX, Among::Open);
    loop {
        match machine.search(search, &keep, |seq| machine.transaction(seq)) {
            ControlFlow::Break(found) => return found.items,
            ControlFlow::Continue(more) => search = more,
        }
    }
}

/// An answer of the core's.
pub(crate) fn answer(body: &'static str) -> Answer {
    Answer { body: Bytes::from_static(body.as_bytes()), sealed: None, business_status: None }
}

/// The one line of the catalogue that windows in these tests speak of.
fn line() -> Line {
    Line {
        business: "filing.one".parse().unwrap(),
        operation: Operation::Apply,
        title_zh: "备案".to_owned(),
        title_en: "filing".to_owned(),
        classes: vec![Class::Hospital],
        channels: vec![Channel::System],
        upstream: "b".parse().unwrap(),
        upstream_for: BTreeMap::new(),
        order_group: "filing".to_owned(),
        self_contained: true,
        needs_credential: false,
        queued: true,
        long: false,
        normal: Disposition::Pass,
        live_limit: Duration::from_secs(20),
        needs_amount: false,
        open_from: None,
        takes_effect: TakesEffect::AtOnce,
        attachments: Rules::stored(),
        attributes: BTreeMap::new(),
    }
}
