//! The look that fills the outbox: twice a second, and at once in one step with its place.

use super::super::{Shared, State, answer};
use super::outbox::{Announcement, Place};
use super::sentence::{self, DateTold};
use crate::domain::announcement::{Moment, Seen, Stretch, Subscription};
use crate::domain::ids::{InstitutionCode, Seq, SubscriberName};
use crate::domain::time::Timestamp;
use crate::domain::window::Phase;
use crate::engine::change::Change;
use crate::engine::machine::Machine;
use crate::engine::ports::{JournalReader, ReadError};
use crate::engine::search::{Among, Search};
use crate::engine::view::DeadlineView;
use crate::telemetry::events::webhooks as events;
use crate::web::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The pause after a look that brought nothing, such as on a full disk.
const TROUBLE_PAUSE: Duration = Duration::from_secs(10);
/// Changes that are read in one go.
const SCAN_MAX: u64 = 8_192;
/// Changes after which the place is written although there was nothing to tell, so that a start
/// has little to read.
const UNWRITTEN_MAX: u64 = 50_000;
/// Cases of one page.
const CASES_PAGE: usize = 1_000;

/// Why a look brought nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the outbox cannot be written: {0}")]
    Outbox(#[from] std::io::Error),
    #[error(transparent)]
    Journal(#[from] ReadError),
    #[error("{}: {}", .0.code, .0.detail)]
    Problem(Problem),
    #[error("{0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Fills the outbox until `stop`. `subscribers` says what is wanted of it.
pub async fn follow(
    state: Shared,
    subscribers: BTreeMap<SubscriberName, Subscription>,
    stop: CancellationToken,
) {
    let institutions: BTreeSet<InstitutionCode> =
        subscribers.values().filter_map(|s| s.institution.clone()).collect();
    let mut is_late = true;
    let mut written = state.announcements.place().next;
    while !stop.is_cancelled() {
        let pause = match look(&state, &institutions, is_late, &mut written).await {
            Ok(()) => {
                is_late = false;
                LOOK_EVERY
            }
            Err(_) if stop.is_cancelled() => return,
            Err(trouble) => {
                events::announcing_interrupted(&trouble);
                TROUBLE_PAUSE
            }
        };
        stands(&state, &subscribers);
        // Either end is as good.
        drop(tokio::time::timeout(pause, stop.cancelled()).await);
    }
}

/// How each subscriber stands, as a number.
fn stands(state: &Shared, subscribers: &BTreeMap<SubscriberName, Subscription>) {
    for (name, subscription) in subscribers {
        let (waiting, since) = state.announcements.waiting_for(name, subscription);
        events::waits(name, since, waiting);
    }
}

/// What the engine shows.
struct Look {
    now: Timestamp,
    last: Seq,
    begins: Seq,
    windows: Vec<Seen>,
}

async fn look(
    state: &Shared,
    institutions: &BTreeSet<InstitutionCode>,
    is_late: bool,
    written: &mut u64,
) -> Result<(), Trouble> {
    let place = state.announcements.place();
    let Look { now, last, begins, windows } = windows(state, &place).await?;
    // A clock that a person has set back: what comes is new all the same.
    let after = place.until.min(now);
    let stretch = Stretch { after, up_to: now, is_first: place.is_first, is_late };
    let mut known = BTreeMap::new();
    let mut moments: Vec<(Moment, Phase)> = Vec::new();
    for seen in &windows {
        let told = seen.moments(stretch);
        if let (Some(latest), Some(keeps)) = (seen.versions.last(), seen.keeps(&told, now)) {
            known.insert(latest.id.clone(), keeps);
        }
        moments.extend(told.into_iter().map(|moment| (moment, seen.phase)));
    }
    moments.sort_by_key(|(moment, _)| moment.at);
    let tell = |(moment, phase): &(Moment, Phase)| sentence::of_window(state, moment, *phase, now);
    let mut told: Vec<Announcement> = moments.iter().map(tell).collect::<Result<_, _>>()?;
    if !institutions.is_empty() {
        let from = place.next().max(begins);
        told.extend(dates(state, institutions, (from, last), now).await?);
    }
    let must = place.is_first || last.0.saturating_sub(*written) > UNWRITTEN_MAX;
    let next = last.next().0;
    let is_written = must || !told.is_empty();
    let place = Place { until: now, next, known, is_first: false };
    let outbox = state.announcements.clone();
    tokio::task::spawn_blocking(move || outbox.commit(place, told, must, now)).await??;
    if is_written {
        *written = next;
    }
    Ok(())
}

/// The windows of which there may be something to tell.
async fn windows(state: &Shared, place: &Place) -> Result<Look, Problem> {
    let Place { until, known: all, is_first, .. } = place.clone();
    let look = move |machine: &Machine, now: crate::domain::time::Now| {
        let now = now.wall;
        let mut windows = Vec::new();
        let in_play: BTreeSet<_> = machine.windows_in_play().iter().map(|one| &one.id).collect();
        for window in machine.windows() {
            let known = all.get(&window.id).copied();
            let is_old = !is_first && window.changed_at < until.min(now);
            // One in play that is not known may have been made by a clock that was set back.
            if known.is_none() && is_old && !in_play.contains(&window.id) {
                continue;
            }
            let phase = machine.phase(&window, now);
            windows.push(Seen { versions: machine.versions(&window.id), phase, known });
        }
        Look { now, last: machine.last(), begins: machine.begins(), windows }
    };
    state.engine.read(look).await.ok_or_else(answer::unavailable)
}

/// What is told of dates that were moved in `(from, last)`, both included.
async fn dates(
    state: &Shared,
    institutions: &BTreeSet<InstitutionCode>,
    (from, last): (Seq, Seq),
    now: Timestamp,
) -> Result<Vec<Announcement>, Trouble> {
    let mut found = Vec::new();
    let mut from = from;
    while from <= last {
        let end = Seq(last.0.min(from.0.saturating_add(SCAN_MAX - 1)));
        let journal = state.journal.clone();
        let scan = tokio::task::spawn_blocking(move || scan(&*journal, from, end));
        found.extend(scan.await??);
        from = end.next();
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let cases = cases(state, institutions, &found).await?;
    let (state, institutions) = (state.clone(), institutions.clone());
    let sorting = move || to_whom(&state, &institutions, &found, &cases, now);
    Ok(tokio::task::spawn_blocking(sorting).await??)
}

/// Tells each of `institutions` of the `dates` that a case of its own has.
fn to_whom(
    state: &State,
    institutions: &BTreeSet<InstitutionCode>,
    dates: &[DateTold],
    cases: &[DeadlineView],
    now: Timestamp,
) -> Result<Vec<Announcement>, Problem> {
    let mut whose: BTreeMap<_, Vec<Seq>> = BTreeMap::new();
    for DeadlineView { id, case, .. } in cases {
        whose.entry((&case.institution, &case.business, case.original)).or_default().push(*id);
    }
    let mut told = Vec::new();
    for date in dates {
        for institution in institutions {
            let own = whose.get(&(institution, &date.business, date.original));
            // One that was registered later was told the date in its answer.
            let own = own.into_iter().flatten().copied().filter(|&id| id < date.seq);
            let own: Vec<Seq> = own.collect();
            if !own.is_empty() {
                told.push(sentence::of_deadline(state, date, institution, &own, now)?);
            }
        }
    }
    Ok(told)
}

fn scan(journal: &dyn JournalReader, from: Seq, end: Seq) -> Result<Vec<DateTold>, ReadError> {
    let mut found = Vec::new();
    journal.scan(from, &mut |seq, change| {
        if seq > end {
            return ControlFlow::Break(());
        }
        if let Change::DeadlineTold { business, original, extension, at, .. } = change {
            found.push(DateTold { seq, business, original, extension, at });
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The cases of `institutions` that have one of the dates.
async fn cases(
    state: &Shared,
    institutions: &BTreeSet<InstitutionCode>,
    dates: &[DateTold],
) -> Result<Vec<DeadlineView>, Problem> {
    let wanted: BTreeSet<_> = dates.iter().map(|d| (d.business.clone(), d.original)).collect();
    let institutions = institutions.clone();
    let mut all = Vec::new();
    let mut after = Some(Seq(0));
    while let Some(from) = after {
        let (wanted, institutions) = (wanted.clone(), institutions.clone());
        let look = move |machine: &Machine, _, search| {
            let keep = |view: &DeadlineView| {
                institutions.contains(&view.case.institution)
                    && wanted.contains(&(view.case.business.clone(), view.case.original))
            };
            machine.search_deadlines(search, keep, Some)
        };
        let page = state.engine.search(Search::new(from, CASES_PAGE, Among::Open), look).await;
        let page = page.ok_or_else(answer::unavailable)?;
        all.extend(page.items);
        after = page.next;
    }
    Ok(all)
}
