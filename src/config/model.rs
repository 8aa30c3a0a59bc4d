//! The configuration as the program sees it: complete, typed and valid.
//!
//! What each setting is for stands beside its default in `config/default.toml`.

use crate::domain::announcement::Subscription;
use crate::domain::attachment::Format;
use crate::domain::calendar::Calendar;
use crate::domain::catalogue::Catalogue;
use crate::domain::consent::Deed;
use crate::domain::gate::{HealthPolicy, OutagePolicy};
use crate::domain::hours::ServiceHours;
use crate::domain::ids::{InstitutionCode, SubscriberName, UpstreamName};
use crate::domain::recurring::Recurring;
use crate::domain::retry::RetryPolicy;
use crate::domain::time::Zone;
use crate::domain::window::Window;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The zone in which people mean dates.
    pub zone: Zone,
    /// The two listeners.
    pub listen: Listen,
    /// Where things are kept.
    pub data: Data,
    /// The journal.
    pub journal: Journal,
    /// The index.
    pub index: Index,
    /// Bounds.
    pub limits: Limits,
    /// What holds for every institution.
    pub institutions: Institutions,
    /// Files that submissions name.
    pub attachments: Attachments,
    /// Brokers of Kafka to begin with, as `host:port`; none where there is no Kafka.
    pub kafka_brokers: Vec<String>,
    /// Submissions from Kafka, where there are any.
    pub intake_kafka: Option<IntakeKafka>,
    /// What is published to topics of Kafka, where anything is.
    pub publish_kafka: Option<PublishKafka>,
    /// Who is told of stops and of moved deadlines, by name.
    pub webhooks: BTreeMap<SubscriberName, Webhook>,
    /// When to try again.
    pub retry: RetryPolicy,
    /// When an unplanned outage is proposed as a window.
    pub outages: OutagePolicy,
    /// What one person alone may not do.
    pub approval: Approval,
    /// The parts of the core, by name.
    pub upstreams: BTreeMap<UpstreamName, Upstream>,
    /// The businesses.
    pub catalogue: Catalogue,
    /// The working days.
    pub calendar: Calendar,
    /// The windows declared in files, by start.
    pub windows: Vec<Window>,
    /// The stops that recur, by name.
    pub recurring: Vec<Recurring>,
    /// When businesses are open that are not always, by name.
    pub service_hours: Vec<ServiceHours>,
    /// The log.
    pub log: Log,
    /// The merged files that all this was read from, for [`super::render`].
    pub(super) effective: toml::Table,
}

impl Config {
    /// Keeps everything in `folder` instead of the configured one; relative key files move too.
    pub fn set_folder(&mut self, folder: PathBuf) {
        let secrets = self.webhooks.values_mut().map(|webhook| &mut webhook.secret_file);
        let files = [&mut self.data.api_keys_file, &mut self.data.master_key_file];
        for file in files.into_iter().chain(secrets) {
            if let Ok(below) = file.strip_prefix(&self.data.folder) {
                *file = folder.join(below);
            }
        }
        self.data.folder = folder;
    }
}

/// The two listeners, and what both allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// `/v1`.
    pub submitters: SocketAddr,
    /// `/admin/v1`, console, metrics and health.
    pub operators: SocketAddr,
    /// Connections at a time and listener.
    pub connections_max: u32,
    /// For the head of a request to arrive.
    pub head_timeout: Duration,
    /// For a client to take bytes.
    pub write_timeout: Duration,
    /// For a body to arrive.
    pub body_timeout: Duration,
    /// The longest `Prefer: wait`.
    pub wait_max: Duration,
    /// For requests under way to end after a stop was asked for.
    pub grace: Duration,
}

/// Where things are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// Journal, index and audit log.
    pub folder: PathBuf,
    /// The API keys; already joined to the folder where it was relative.
    pub api_keys_file: PathBuf,
    /// The master key; already joined to the folder where it was relative.
    pub master_key_file: PathBuf,
    /// Kept free for outcomes.
    pub disk_reserve_bytes: u64,
    /// How far the clock may have gone back at a start.
    pub clock_back_max: Duration,
    /// How far it may have gone ahead at a start.
    pub clock_ahead_max: Duration,
    /// How far the clock may jump while the daemon runs and still be believed.
    pub clock_jump_max: Duration,
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Size of one segment.
    pub segment_bytes: u64,
    /// Records in one commit.
    pub commit_records_max: u32,
    /// Records between two snapshots.
    pub snapshot_every_records: u64,
    /// The age at which a record that is still needed is written once more.
    pub forward_after: Duration,
    /// How long what is final stays, and is known when it is repeated.
    pub retention: Duration,
    /// Whether segments that leave are kept in the archive.
    pub archive: bool,
}

/// The index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Memory for its cache.
    pub cache_bytes: u64,
}

/// Bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// One submission's bytes: a whole body, or a line of a batch.
    pub submission_bytes_max: u64,
    /// One batch's lines.
    pub batch_lines_max: u32,
    /// One batch's bytes.
    pub batch_bytes_max: u64,
    /// Transactions that are not final.
    pub open_transactions_max: u64,
    /// Registered deadlines.
    pub deadlines_max: u32,
    /// A planned stop.
    pub window_length_max: Duration,
    /// How far ahead of its start a recurring stop is declared.
    pub recurring_ahead: Duration,
    /// An operator's closing.
    pub override_length_max: Duration,
}

/// What one person alone may not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The deeds that need a second person.
    pub two_persons_for: Vec<Deed>,
    /// How long a proposal waits for the second.
    pub proposals_wait: Duration,
}

/// What holds for every institution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Institutions {
    /// Requests per second before 429.
    pub requests_per_second: u32,
    /// Requests above that rate at once.
    pub burst_requests: u32,
}

/// Files that submissions name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachments {
    /// One file's bytes.
    pub bytes_max: u64,
    /// Bytes that are kept for one institution.
    pub institution_bytes_max: u64,
    /// Files that are kept.
    pub files_max: u64,
    /// How long one stays that no transaction names.
    pub unnamed_after: Duration,
    /// For a file to arrive.
    pub upload_timeout: Duration,
    /// What may be uploaded at all.
    pub formats: Vec<Format>,
}

/// Submissions from topics of Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeKafka {
    /// The consumer group.
    pub group: String,
    /// What the name of a topic's answers ends in.
    pub answers_suffix: String,
    /// What the name of a topic's dead letters ends in.
    pub dead_letters_suffix: String,
    /// How long the group waits for us.
    pub poll_interval_max: Duration,
    /// Each topic, and the id of the key whose holder submits there. At least one.
    pub topics: BTreeMap<String, String>,
}

/// What is published to topics of Kafka. At least one of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishKafka {
    /// The topic of windows.
    pub windows: Option<String>,
    /// Each topic of results, and the institution whose they are; `None` for everybody's.
    pub results: BTreeMap<String, Option<InstitutionCode>>,
}

/// Somebody who is told of stops and of moved deadlines by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Where.
    pub url: String,
    /// The file of its secrets; already joined to the folder where it was relative.
    pub secret_file: PathBuf,
    /// Of what.
    pub subscription: Subscription,
}

/// One part of the core.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name.
    pub name: UpstreamName,
    /// How it is spoken to.
    pub way: Way,
    /// For making a connection.
    pub connect_timeout: Duration,
    /// For an answer.
    pub answer_timeout: Duration,
    /// Effect-bearing calls out at a time.
    pub concurrency: u32,
    /// How long a "not found" proves nothing.
    pub settle_time: Duration,
    /// Whether it tells what became of a transaction.
    pub answers_questions: bool,
    /// Whether it is sent the files that a transaction names.
    pub takes_attachments: bool,
    /// The longest answer that is read.
    pub answer_bytes_max: u64,
    /// The probe.
    pub probe: Probe,
    /// How it is let back.
    pub health: HealthPolicy,
}

/// How a part of the core is spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Over HTTP.
    Http {
        /// `http://host[:port][/path]`.
        base_url: String,
    },
    /// Over topics of Kafka.
    Kafka {
        /// The topic of requests.
        requests: String,
        /// The topic of replies.
        replies: String,
    },
}

/// How a part of the core is probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// After the base URL.
    pub path: String,
    /// The status of a good one.
    pub status: u16,
    /// The query that is posted; `None` where the page is only fetched.
    pub query: Option<String>,
    /// What a good one's body contains.
    pub contains: Option<String>,
    /// For an answer.
    pub timeout: Duration,
}

/// The log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is written.
    pub level: LogLevel,
    /// Its form.
    pub format: LogFormat,
}

crate::domain::cell::words!(
    /// How important a line of the log is.
    LogLevel, "log level", {
        /// Something is broken.
        Error = "error",
        /// Something needs a look.
        Warn = "warn",
        /// What happens.
        Info = "info",
        /// How it happens.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
);

crate::domain::cell::words!(
    /// The form of the log.
    LogFormat, "log format", {
        /// One object a line.
        Json = "json",
        /// Lines for people.
        Text = "text",
    }
);
