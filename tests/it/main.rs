//! In-process tests, one module a topic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a test may panic, and bounds its waits by the machine's own clock"
)]

mod adjusted;
mod admin_http;
mod announcements;
mod api_keys;
mod api_page;
mod asked;
mod attachment_life;
mod attachments;
mod audit;
mod bundle;
mod calendar_feed;
mod cancels;
mod cli_shape;
mod clock_jump;
mod clocks;
mod config_files;
mod damaged_record;
mod deadline_answers;
mod deadline_rules;
mod deadlines;
mod ended;
mod engine_scenarios;
mod engine_search;
mod engine_simulation;
mod engine_support;
mod fair_replay;
mod gauges;
mod history;
mod house;
mod intake_batch;
mod intake_http;
mod intake_rig;
mod journal_conformance;
mod journal_crash;
mod journal_format;
mod journal_retire;
mod kept;
mod late_filing;
mod metrics;
mod monitoring;
mod notice_policy;
mod notices;
mod openapi;
mod outages;
mod portal;
mod probes;
mod recurring;
mod reference;
mod registered;
mod runbooks;
mod schedules;
mod serve_loop;
mod service_hours;
mod stop_moves;
mod ticket_ends;
mod tidy;
mod two_persons;
mod unplanned_dates;
mod untold;
mod upstream_http;
mod window_checks;
mod windows;
mod working_days;
