//! What differs between two configurations, and what it takes for the newer one to be in force.
//!
//! Told key by key, as people wrote it. Which keys a running daemon takes over stands in [`takes`]
//! and nowhere else; [`Config::differs_beyond_a_reload`] looks at the models themselves, so that
//! a key that were missing there, or a file that a key only names, is noticed.

use super::Config;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

crate::domain::cell::words!(
    /// What brings a changed setting into force.
    Takes, "way into force", {
        /// A reload (SIGHUP).
        Reload = "reload",
        /// A restart.
        Restart = "restart",
    }
);

/// One setting that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Its key.
    pub key: String,
    /// Its value in the older configuration; absent where it has none.
    pub old: Option<String>,
    /// Its value in the newer one; absent where it has none.
    pub new: Option<String>,
    /// What brings the newer one into force.
    pub takes: Takes,
}

/// What of an upstream a running daemon takes over.
const UPSTREAM: &[&str] = &[
    "probe_interval",
    "probe_timeout",
    "good_needed",
    "bad_needed",
    "ramp",
    "ramp_from_per_second",
    "steady_per_second",
    "burst_refusals",
];
/// What of the bounds.
const LIMITS: &[&str] = &[
    "open_transactions_max",
    "deadlines_max",
    "window_length_max",
    "recurring_ahead",
    "override_length_max",
];

/// What brings a change of the setting at `path` into force.
fn takes(path: &[&str]) -> Takes {
    let reloads = match path {
        ["recurring" | "service_hours" | "retry" | "institutions", ..] | ["log", "level"] => true,
        ["approval", "two_persons_for"] => true,
        ["limits", key] => LIMITS.contains(key),
        ["upstream_default", key] | ["upstream", _, key] => UPSTREAM.contains(key),
        _ => false,
    };
    if reloads { Takes::Reload } else { Takes::Restart }
}

/// What differs, by key.
#[must_use]
pub fn difference(old: &Table, new: &Table) -> Vec<Changed> {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten(&mut Vec::new(), old, &mut before);
    flatten(&mut Vec::new(), new, &mut after);
    let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    let told = changed.map(|path| Changed {
        key: path.iter().map(|part| quoted(part)).collect::<Vec<_>>().join("."),
        old: before.get(path).map(ToString::to_string),
        new: after.get(path).map(ToString::to_string),
        takes: takes(path),
    });
    told.collect()
}

fn flatten<'t>(
    path: &mut Vec<&'t str>,
    table: &'t Table,
    into: &mut BTreeMap<Vec<&'t str>, &'t Value>,
) {
    for (key, value) in table {
        path.push(key);
        match value {
            Value::Table(inner) => flatten(path, inner, into),
            leaf => drop(into.insert(path.clone(), leaf)),
        }
        path.pop();
    }
}

/// A part of a key as it is written in a file.
fn quoted(part: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if part.chars().all(bare) { part.to_owned() } else { format!("{part:?}") }
}

impl Config {
    /// The merged files that all this was read from. They hold no secrets: the files that do are
    /// named there, not read.
    #[must_use]
    pub fn effective(&self) -> &Table {
        &self.effective
    }

    /// What differs in `newer`, where something does.
    #[must_use]
    pub fn difference(&self, newer: &Self) -> Vec<Changed> {
        let mut changed = difference(&self.effective, &newer.effective);
        let told = changed.iter().any(|one| one.takes == Takes::Restart);
        if !told && self.differs_beyond_a_reload(newer) {
            // Its key may be the same and its content another.
            changed.push(Changed {
                key: "calendar.file".to_owned(),
                old: Some("its content".to_owned()),
                new: Some("another content".to_owned()),
                takes: Takes::Restart,
            });
        }
        changed
    }

    /// Whether `newer` differs in anything that a reload does not bring.
    fn differs_beyond_a_reload(&self, newer: &Self) -> bool {
        let mut with_ours = newer.clone();
        with_ours.effective = self.effective.clone();
        with_ours.retry = self.retry.clone();
        with_ours.approval.two_persons_for = self.approval.two_persons_for.clone();
        with_ours.recurring = self.recurring.clone();
        with_ours.service_hours = self.service_hours.clone();
        with_ours.institutions = self.institutions.clone();
        with_ours.log.level = self.log.level;
        let (limits, ours) = (&mut with_ours.limits, &self.limits);
        limits.open_transactions_max = ours.open_transactions_max;
        limits.deadlines_max = ours.deadlines_max;
        limits.window_length_max = ours.window_length_max;
        limits.recurring_ahead = ours.recurring_ahead;
        limits.override_length_max = ours.override_length_max;
        for (name, upstream) in &mut with_ours.upstreams {
            if let Some(ours) = self.upstreams.get(name) {
                upstream.health = ours.health.clone();
                upstream.probe.timeout = ours.probe.timeout;
            }
        }
        with_ours != *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const BASE: &str = include_str!("../../tests/fixtures/config/base.toml");
    const PLANNED: &str = include_str!("../../config/recurring.example.toml");

    fn config(more: &str) -> Config {
        parse(&[("base.toml", BASE), ("planned.toml", PLANNED), ("more.toml", more)])
            .unwrap_or_else(|problems| panic!("{more}: {problems:?}"))
    }

    #[test]
    fn keys_and_models_agree_on_what_a_reload_brings() {
        use Takes::{Reload, Restart};
        let base = config("");
        assert_eq!(base.difference(&base), []);
        for (more, key, takes) in [
            ("[retry]\nfirst = \"400ms\"", "retry.first", Reload),
            ("[retry]\nlongest = \"61s\"", "retry.longest", Reload),
            ("[retry]\nfailures_max = 9", "retry.failures_max", Reload),
            ("[institutions]\nrequests_per_second = 3", "institutions.requests_per_second", Reload),
            ("[institutions]\nburst_requests = 900", "institutions.burst_requests", Reload),
            ("[log]\nlevel = \"debug\"", "log.level", Reload),
            ("[log]\nformat = \"text\"", "log.format", Restart),
            ("[limits]\nopen_transactions_max = 9000", "limits.open_transactions_max", Reload),
            ("[limits]\ndeadlines_max = 9000", "limits.deadlines_max", Reload),
            ("[limits]\nwindow_length_max = \"50d\"", "limits.window_length_max", Reload),
            ("[limits]\nrecurring_ahead = \"6d\"", "limits.recurring_ahead", Reload),
            ("[limits]\noverride_length_max = \"6d\"", "limits.override_length_max", Reload),
            ("[limits]\nbatch_lines_max = 9000", "limits.batch_lines_max", Restart),
            ("[listen]\ngrace = \"9s\"", "listen.grace", Restart),
            ("[listen]\nsubmitters = \"127.0.0.1:1\"", "listen.submitters", Restart),
            ("[data]\nfolder = \"elsewhere\"", "data.folder", Restart),
            ("[data]\nclock_jump_max = \"2m\"", "data.clock_jump_max", Restart),
            ("[journal]\nretention = \"401d\"", "journal.retention", Restart),
            ("zone = \"Asia/Urumqi\"", "zone", Restart),
        ] {
            let newer = config(more);
            let changed = base.difference(&newer);
            assert_eq!(changed.len(), 1, "{more}: {changed:?}");
            assert_eq!((changed[0].key.as_str(), changed[0].takes), (key, takes), "{more}");
            assert_eq!(base.differs_beyond_a_reload(&newer), takes == Restart, "{more}");
        }
        let values = [
            ("probe_interval", "\"6s\"", Reload),
            ("probe_timeout", "\"2s\"", Reload),
            ("good_needed", "4", Reload),
            ("bad_needed", "4", Reload),
            ("ramp", "\"61s\"", Reload),
            ("ramp_from_per_second", "11", Reload),
            ("steady_per_second", "500", Reload),
            ("burst_refusals", "6", Reload),
            ("concurrency", "65", Restart),
            ("settle_time", "\"3m\"", Restart),
            ("answer_timeout", "\"29s\"", Restart),
            ("probe_path", "\"/up\"", Restart),
            ("base_url", "\"http://127.0.0.1:1\"", Restart),
        ];
        for (key, value, takes) in values {
            for table in ["upstream_default", "upstream.agency"] {
                if (table, key) == ("upstream_default", "base_url") {
                    continue;
                }
                let newer = config(&format!("[{table}]\n{key} = {value}"));
                let changed = base.difference(&newer);
                assert_eq!((changed.len(), changed[0].takes), (1, takes), "{table}.{key}");
                assert_eq!(base.differs_beyond_a_reload(&newer), takes == Restart, "{table}.{key}");
            }
        }
        assert!(UPSTREAM.iter().all(|key| values.iter().any(|value| value.0 == *key)));
    }

    #[test]
    fn what_comes_and_what_goes_is_told_with_its_key_as_it_is_written() {
        let with = parse(&[("base.toml", BASE), ("planned.toml", PLANNED)]).unwrap();
        let without = parse(&[("base.toml", BASE)]).unwrap();
        let gone = with.difference(&without);
        assert!(!gone.is_empty() && gone.iter().all(|c| c.takes == Takes::Reload), "{gone:?}");
        assert!(gone.iter().all(|c| c.old.is_some() && c.new.is_none()), "{gone:?}");
        assert_eq!(without.difference(&with).len(), gone.len());
        let line = "[catalogue.line.\"service.query.query\"]\ntitle_en = \"another\"";
        let changed = config("").difference(&config(line));
        let title = r#"catalogue.line."service.query.query".title_en"#;
        assert_eq!((changed[0].key.as_str(), changed[0].takes), (title, Takes::Restart));
        assert_eq!(changed[0].old.as_deref(), Some("\"on-line query\""));
        assert_eq!(changed[0].new.as_deref(), Some("\"another\""));
    }
}
