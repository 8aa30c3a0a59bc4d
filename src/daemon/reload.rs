//! SIGHUP: reads the configuration again and takes over what can change while the daemon runs.
//!
//! ```text
//!  files ─► checked whole ─► difference ─► anything that needs a restart? ─► refused whole
//!                │                                   │ no
//!                └── any mistake: refused whole      └─► engine, quotas, probes, log
//! ```
//!
//! Nothing is half in force: what is wrong, or would need a restart, is told with its keys, and the
//! configuration before stays. What may change stands in `config::difference`. The engine takes its
//! part as an event in its own order (`engine::adjust`).
//!
//! Not here: API keys, which are looked at anew whenever their file changes.

use super::parts;
use super::serve::{ServeOptions, Source};
use crate::admin::types::{ConfigOut, ConfigProblemOut};
use crate::config::{Changed, Config, Takes};
use crate::domain::ids::UpstreamName;
use crate::domain::time::Timestamp;
use crate::engine::adjust::Adjustable;
use crate::engine::event::Event;
use crate::engine::ports::Clock;
use crate::engine::run::Handle;
use crate::intake::tally::{Quota, Quotas};
use crate::telemetry::{LogFilter, events};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The configuration that is in force, and what becomes of another one.
pub(super) struct InForce {
    source: Source,
    options: ServeOptions,
    log: LogFilter,
    /// Everybody's quota.
    pub(super) quotas: Quotas,
    inner: Mutex<Inner>,
}

struct Inner {
    config: Arc<Config>,
    since: Timestamp,
    refused: Option<Refused>,
}

#[derive(Clone)]
struct Refused {
    at: Timestamp,
    problems: Vec<ConfigProblemOut>,
}

/// How many times sooner the next probe comes after a bad one that may be the first of several.
const HURRY: u32 = 4;

/// How an upstream is probed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probing {
    /// From the beginning of one probe to that of the next.
    interval: Duration,
    /// How long one may take.
    pub(super) timeout: Duration,
    /// Bad ones in a row after which it counts as down.
    bad_needed: u32,
}

impl Probing {
    /// From the beginning of a probe to that of the next, when so many in a row were bad. Where
    /// some were and not yet enough, the next ones come sooner, so that a core which has died is
    /// found out in one interval and what bad probes take; enough of them end the hurry.
    pub(super) fn pause(self, bad_in_a_row: u32) -> Duration {
        let in_suspicion = (1..self.bad_needed).contains(&bad_in_a_row);
        if in_suspicion { self.interval / HURRY } else { self.interval }
    }
}

impl InForce {
    /// The configuration of the start.
    pub(super) fn new(
        source: Source,
        options: ServeOptions,
        log: LogFilter,
        config: Arc<Config>,
        since: Timestamp,
    ) -> Self {
        events::config_taken(since);
        let quotas = Quotas::new(quota(&config));
        let inner = Mutex::new(Inner { config, since, refused: None });
        Self { source, options, log, quotas, inner }
    }

    /// The configuration that is in force.
    pub(super) fn config(&self) -> Arc<Config> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).config.clone()
    }

    /// How an upstream is probed.
    pub(super) fn probing(&self, upstream: &UpstreamName) -> Option<Probing> {
        let config = self.config();
        let upstream = config.upstreams.get(upstream)?;
        Some(Probing {
            interval: upstream.health.probe_interval,
            timeout: upstream.probe.timeout,
            bad_needed: upstream.health.bad_needed,
        })
    }

    /// Since when the files have been refused, where the last reload was.
    pub(super) fn refused_since(&self) -> Option<Timestamp> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.refused.as_ref().map(|refused| refused.at)
    }

    /// As operators are shown it.
    pub(super) fn shown(&self) -> ConfigOut {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        ConfigOut {
            in_force_since: inner.since,
            refused_at: inner.refused.as_ref().map(|refused| refused.at),
            problems: inner.refused.iter().flat_map(|r| r.problems.clone()).collect(),
            effective: serde_json::to_value(inner.config.effective()).unwrap_or_default(),
        }
    }

    /// Reads the files again. Returns when what they say is in force, or is refused and told.
    pub(super) async fn reload(&self, engine: &Handle, clock: &dyn Clock, quarantined: bool) {
        let now = clock.now().wall;
        let running = self.config();
        // Files may lie on a disk that is slow to answer.
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || source.read()).await;
        let judged = match read {
            Ok(Ok(newer)) => judge(&running, newer, quarantined),
            Ok(Err(problems)) => Err(problems.into_iter().map(problem).collect()),
            Err(error) => Err(vec![trouble("", &error.to_string())]),
        };
        let taken = match judged {
            Ok((newer, changed)) => self.take_over(newer, &changed, engine).await.map(|()| changed),
            Err(problems) => Err(problems),
        };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match taken {
            Ok(changed) => {
                (inner.since, inner.refused) = (now, None);
                events::config_reloaded(changed.len(), now);
            }
            Err(problems) => {
                for problem in &problems {
                    let value = problem.value.as_ref().map(|value| format!("{value}: "));
                    let why = value.unwrap_or_default() + &problem.why;
                    events::config_problem(&problem.key, &why);
                }
                events::config_refused(problems.len());
                inner.refused = Some(Refused { at: now, problems });
            }
        }
    }

    /// Takes over what was judged to be good.
    async fn take_over(
        &self,
        newer: Config,
        changed: &[Changed],
        engine: &Handle,
    ) -> Result<(), Vec<ConfigProblemOut>> {
        // First what can fail, and changes nothing then.
        let level = |config: &Config| config.log.level.as_str();
        self.log
            .set(level(&newer))
            .map_err(|error| vec![trouble("log.level", &error.to_string())])?;
        let adjustable = Adjustable::of(parts::settings(&newer, &self.options));
        engine.tell(Event::Adjusted(Box::new(adjustable))).await;
        // Answered behind the event, after the commit that holds what it brought about.
        if engine.read(|_, _| ()).await.is_none() {
            drop(self.log.set(level(&self.config())));
            return Err(vec![trouble("", "the engine has ended")]);
        }
        self.quotas.set(quota(&newer));
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.config = Arc::new(newer);
        for one in changed {
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            events::config_changed(&one.key, &shown(&one.old), &shown(&one.new));
        }
        Ok(())
    }
}

/// What differs in `newer`, where all of it can be taken over.
fn judge(
    running: &Config,
    newer: Config,
    quarantined: bool,
) -> Result<(Config, Vec<Changed>), Vec<ConfigProblemOut>> {
    if quarantined {
        return Err(vec![trouble("", "a quarantined daemon changes nothing; restart it")]);
    }
    let changed = running.difference(&newer);
    let need_a_restart = changed.iter().filter(|one| one.takes == Takes::Restart);
    let refused: Vec<_> = need_a_restart
        .map(|one| trouble(&one.key, "it changes only with a restart of the daemon"))
        .collect();
    if refused.is_empty() { Ok((newer, changed)) } else { Err(refused) }
}

fn quota(config: &Config) -> Quota {
    Quota {
        per_second: config.institutions.requests_per_second,
        burst: config.institutions.burst_requests,
    }
}

fn trouble(key: &str, why: &str) -> ConfigProblemOut {
    ConfigProblemOut { key: key.to_owned(), value: None, why: why.to_owned() }
}

fn problem(problem: crate::config::Problem) -> ConfigProblemOut {
    ConfigProblemOut { key: problem.key, value: problem.value, why: problem.why }
}
