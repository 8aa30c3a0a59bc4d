//! Announcements: which moments of a window's life people are told of, and who hears which.
//!
//! A window is told of when a version of it is made (declared, changed, part of it restored, taken
//! back), [`BEFORE`] its start, at its start, and when it is over. Times count from the earliest
//! start that the version plans, those of single rows included. A moment belongs to the version
//! that was in force at it: one that a version's making has already left behind is none of that
//! version's, so a stop that is declared 30 hours ahead is not told of 72 hours ahead, and one that
//! is moved later is told of anew.
//!
//! Not here: the words, and whether somebody has been told yet (`intake::announce`).

use super::cell::{BusinessPattern, words};
use super::ids::{Business, InstitutionCode, UpstreamName};
use super::time::Timestamp;
use super::window::{Act, Phase, Window};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// How long before its start a window is told of once more, in hours.
pub const BEFORE: [u32; 3] = [72, 24, 1];

words!(
    /// What is told.
    Kind, "kind of announcement", {
        /// A window was declared.
        Announced = "window.announced",
        /// It was changed: its times, or what it says.
        Changed = "window.changed",
        /// Its start is near.
        Reminder = "window.reminder",
        /// It has begun.
        Started = "window.started",
        /// A part of it is over.
        Restored = "window.restored",
        /// All of it is over.
        Ended = "window.ended",
        /// It was taken back.
        Cancelled = "window.cancelled",
        /// A deadline of a registered case was moved.
        Extended = "deadline.extended",
    }
);

/// A moment of a window's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What is told.
    pub kind: Kind,
    /// Of a reminder: how many hours before the start it is.
    pub hours_before: Option<u32>,
    /// The version that it belongs to.
    pub window: Arc<Window>,
    /// The version before it, where this one was made of it.
    pub before: Option<Arc<Window>>,
}

impl Moment {
    /// What its version restored, and the one before had not.
    pub fn restored(&self) -> impl Iterator<Item = &Act> {
        let known = self.before.as_ref().map_or(0, |before| before.restores.len());
        self.window.restores.iter().skip(known)
    }

    /// What its version released, and the one before had not.
    pub fn released(&self) -> impl Iterator<Item = &Act> {
        let known = self.before.as_ref().map_or(0, |before| before.releases.len());
        self.window.releases.iter().skip(known)
    }
}

/// A window as it is seen in one look.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its versions, oldest first, the last of them in force.
    pub versions: Vec<Arc<Window>>,
    /// Where it stands.
    pub phase: Phase,
    /// What was told of it last, as far as that is kept.
    pub known: Option<Known>,
}

/// What was told of a window last. It is kept until the window is over, and beyond that until the
/// time has moved on from its last version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The version.
    pub version: u32,
    /// Whether it was over by then.
    pub is_over: bool,
}

/// The time that is looked at: `(after, up_to]`, and of versions `[after, up_to]`, because several
/// can be made at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Everything up to here was told.
    pub after: Timestamp,
    /// Now.
    pub up_to: Timestamp,
    /// Nothing was ever told: whatever stands is told as if it were declared now.
    pub is_first: bool,
    /// Nobody looked in the meantime: a reminder of what has begun by now helps nobody.
    pub is_late: bool,
}

impl Seen {
    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.phase {
            Phase::Scheduled
            | Phase::Closing
            | Phase::Active
            | Phase::Verifying
            | Phase::Overrun
            | Phase::Replaying => false,
            Phase::Completed | Phase::Cancelled => true,
        }
    }

    /// The moments of the window in `stretch`, in order.
    #[must_use]
    pub fn moments(&self, stretch: Stretch) -> Vec<Moment> {
        let Some(latest) = self.versions.last() else { return Vec::new() };
        let after = self.after(stretch);
        let is_new = |version: &Window| match self.known {
            Some(known) => known.version < version.version,
            None => after <= version.changed_at,
        };
        let stands = stretch.is_first && self.known.is_none() && !self.is_over();
        let mut told: Vec<Moment> = Vec::new();
        let mut before: Option<&Arc<Window>> = None;
        for (place, version) in self.versions.iter().enumerate() {
            if is_new(version) {
                told.push(made(version, before));
            } else if stands && place + 1 == self.versions.len() {
                told.push(made(version, None));
            }
            let until = self.versions.get(place + 1).map_or(stretch.up_to, |n| n.changed_at);
            if !told.is_empty() || self.known.is_some_and(|known| known.version == version.version)
            {
                let from = version.changed_at.max(after);
                told.extend(by_the_clock(version, from, until.min(stretch.up_to)));
            }
            before = Some(version);
        }
        if stretch.is_late {
            let begun = latest.stretch().start <= stretch.up_to;
            told.retain(|moment| match moment.kind {
                Kind::Reminder => !begun,
                Kind::Started => !self.is_over(),
                Kind::Announced
                | Kind::Changed
                | Kind::Restored
                | Kind::Ended
                | Kind::Cancelled
                | Kind::Extended => true,
            });
        }
        let was_on = self.known.is_some_and(|known| !known.is_over);
        if self.phase == Phase::Completed && (was_on || !told.is_empty()) {
            end(&mut told, latest, stretch.up_to);
        }
        told
    }

    /// After when it is looked at. What was told of is kept until it is over, so that one that is
    /// not over and not known was never told of, whatever a clock that was set back says.
    fn after(&self, Stretch { after, is_first, .. }: Stretch) -> Timestamp {
        match self.versions.first() {
            Some(first) if self.known.is_none() && !is_first && !self.is_over() => {
                after.min(first.changed_at)
            }
            _ => after,
        }
    }

    /// What is to be kept of it once the moments up to `now` were told.
    #[must_use]
    pub fn keeps(&self, told: &[Moment], now: Timestamp) -> Option<Known> {
        let latest = self.versions.last()?;
        let is_over = self.is_over();
        let is_known = self.known.is_some() || !told.is_empty();
        (is_known && (!is_over || now <= latest.changed_at))
            .then_some(Known { version: latest.version, is_over })
    }
}

/// The moment in which a version was made.
fn made(version: &Arc<Window>, before: Option<&Arc<Window>>) -> Moment {
    let kind = match before {
        _ if version.cancelled_at.is_some() => Kind::Cancelled,
        None => Kind::Announced,
        Some(before)
            if before.restores.len() < version.restores.len()
                || before.releases.len() < version.releases.len() =>
        {
            Kind::Restored
        }
        Some(_) => Kind::Changed,
    };
    Moment {
        at: version.changed_at,
        kind,
        hours_before: None,
        window: version.clone(),
        before: before.cloned(),
    }
}

/// What the clock brings while `version` is in force, in `(from, until]`.
fn by_the_clock(
    version: &Arc<Window>,
    from: Timestamp,
    until: Timestamp,
) -> impl Iterator<Item = Moment> {
    let start = version.stretch().start;
    let is_on = version.cancelled_at.is_none();
    let reminders = BEFORE.map(|hours| (start.before(HOUR * hours), Kind::Reminder, Some(hours)));
    reminders
        .into_iter()
        .chain([(start, Kind::Started, None)])
        .filter(move |(at, ..)| is_on && from < *at && *at <= until)
        .map(|(at, kind, hours_before)| Moment {
            at,
            kind,
            hours_before,
            window: version.clone(),
            before: None,
        })
}

/// Tells the end: in place of the restore that brought it, where one did.
fn end(told: &mut Vec<Moment>, latest: &Arc<Window>, now: Timestamp) {
    let brought = told
        .last_mut()
        .filter(|last| last.kind == Kind::Restored && last.window.version == latest.version);
    match brought {
        Some(last) => last.kind = Kind::Ended,
        None => told.push(Moment {
            at: now,
            kind: Kind::Ended,
            hours_before: None,
            window: latest.clone(),
            before: None,
        }),
    }
}

/// What somebody wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Kinds.
    pub kinds: Vec<Kind>,
    /// The institution whose deadlines are told; `None`: no deadlines.
    pub institution: Option<InstitutionCode>,
    /// Only windows that stop something of these upstreams; empty: of any.
    pub upstreams: Vec<UpstreamName>,
    /// Only what is about these businesses; empty: any.
    pub businesses: Vec<BusinessPattern>,
}

/// What an announcement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About<'a> {
    /// What is told.
    pub kind: Kind,
    /// Whose deadline, where it is one's.
    pub institution: Option<&'a InstitutionCode>,
    /// Of a window: the upstreams that it stops something of.
    pub upstreams: &'a [UpstreamName],
    /// The businesses.
    pub businesses: &'a [Business],
}

impl Subscription {
    /// Whether it is told of `what`.
    #[must_use]
    pub fn hears_of(&self, what: About<'_>) -> bool {
        let own = what.institution.is_none_or(|of| self.institution.as_ref() == Some(of));
        let upstream = what.kind == Kind::Extended
            || self.upstreams.is_empty()
            || what.upstreams.iter().any(|name| self.upstreams.contains(name));
        let meant = |business: &Business| self.businesses.iter().any(|p| p.matches(business));
        let business = self.businesses.is_empty() || what.businesses.iter().any(meant);
        self.kinds.contains(&what.kind) && own && upstream && business
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cell::Selector;
    use crate::domain::time::Interval;
    use crate::domain::window::{Cause, Proof, RestoreBy};

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(1_660_000_000_000 + hours * 3_600_000)
    }

    /// A stop from `start` to `end`, in hours, whose version was made at `made`.
    fn version(number: u32, made: i64, (start, end): (i64, i64)) -> Window {
        let planned = Interval { start: at(start), end: at(end) };
        Window {
            id: "stop".parse().unwrap(),
            version: number,
            zone: chrono_tz::UTC,
            planned,
            published: planned,
            told: Vec::new(),
            author: String::new(),
            reason: String::new(),
            changed_at: at(made),
            notice: None,
            policy: Vec::new(),
            deadlines: None,
            restore_by: RestoreBy::Signed,
            cause: Cause::Planned,
            cutoff_minutes: None,
            cancelled_at: None,
            restores: Vec::new(),
            releases: Vec::new(),
        }
    }

    fn restored(number: u32, made: i64, planned: (i64, i64), acts: usize) -> Window {
        let act = Act {
            cells: Selector::default(),
            at: at(made),
            ready_from: None,
            by: String::new(),
            proof: Proof::Signed,
            reason: String::new(),
        };
        Window { restores: vec![act; acts], ..version(number, made, planned) }
    }

    fn cancelled(number: u32, made: i64, planned: (i64, i64)) -> Window {
        Window { cancelled_at: Some(at(made)), ..version(number, made, planned) }
    }

    /// What is told, each as `hour kind version`, given the version that was told of last.
    fn told(
        versions: Vec<Window>,
        phase: Phase,
        known: Option<u32>,
        stretch: (i64, i64),
        late: bool,
    ) -> Vec<String> {
        let (after, up_to) = (at(stretch.0), at(stretch.1));
        let versions = versions.into_iter().map(Arc::new).collect();
        let known = known.map(|version| Known { version, is_over: false });
        let seen = Seen { versions, phase, known };
        let stretch = Stretch { after, up_to, is_first: false, is_late: late };
        let show = |m: Moment| {
            let hour = (m.at.as_millis() - at(0).as_millis()) / 3_600_000;
            let kind = m.kind.as_str().trim_start_matches("window.").to_owned();
            let hours = m.hours_before.map_or(String::new(), |hours| format!("-{hours}"));
            format!("{hour} {kind}{hours} v{}", m.window.version)
        };
        seen.moments(stretch).into_iter().map(show).collect()
    }

    #[test]
    fn a_whole_life_is_told_in_one_look_as_in_many() {
        let stop = (100, 120);
        let versions =
            || vec![version(1, 1, stop), restored(2, 121, stop, 1), restored(3, 122, stop, 2)];
        let all = [
            "1 announced v1",
            "28 reminder-72 v1",
            "76 reminder-24 v1",
            "99 reminder-1 v1",
            "100 started v1",
            "121 restored v2",
            "122 ended v3",
        ];
        assert_eq!(told(versions(), Phase::Completed, None, (0, 200), false), all);
        let mut step_by_step = Vec::new();
        let mut known = None;
        for hour in 1..=130 {
            let made: Vec<_> =
                versions().into_iter().filter(|v| v.changed_at <= at(hour)).collect();
            let phase = if hour < 122 { Phase::Active } else { Phase::Completed };
            if hour <= 122 {
                let last = made.last().map(|v| v.version);
                step_by_step.extend(told(made, phase, known, (hour - 1, hour), false));
                known = last;
            }
        }
        assert_eq!(step_by_step, all);
    }

    #[test]
    fn a_moment_that_a_version_has_left_behind_is_not_its_own() {
        let late = told(vec![version(1, 70, (100, 120))], Phase::Active, None, (0, 101), false);
        assert_eq!(
            late,
            ["70 announced v1", "76 reminder-24 v1", "99 reminder-1 v1", "100 started v1"]
        );
        // Declared while it runs: that it begins is no news.
        let running = told(vec![version(1, 105, (100, 120))], Phase::Active, None, (0, 106), false);
        assert_eq!(running, ["105 announced v1"]);
        // Moved later after the first two reminders, which come anew.
        let moved = vec![version(1, 1, (100, 120)), version(2, 80, (160, 180))];
        assert_eq!(
            told(moved, Phase::Active, Some(1), (70, 160), false),
            [
                "76 reminder-24 v1",
                "80 changed v2",
                "88 reminder-72 v2",
                "136 reminder-24 v2",
                "159 reminder-1 v2",
                "160 started v2"
            ]
        );
        // A longer end moves no start: each hour is told of once.
        let longer = vec![version(1, 1, (100, 120)), version(2, 80, (100, 130))];
        assert_eq!(
            told(longer, Phase::Active, Some(1), (70, 101), false),
            ["76 reminder-24 v1", "80 changed v2", "99 reminder-1 v2", "100 started v2"]
        );
    }

    #[test]
    fn a_stop_that_is_taken_back_has_no_further_moments() {
        let stop = (100, 120);
        let versions = vec![version(1, 1, stop), cancelled(2, 80, stop)];
        assert_eq!(
            told(versions, Phase::Cancelled, Some(1), (70, 200), false),
            ["76 reminder-24 v1", "80 cancelled v2"]
        );
    }

    #[test]
    fn what_came_due_while_nobody_looked_is_told_unless_the_stop_has_begun() {
        let stop = || vec![version(1, 1, (100, 120))];
        let late = |up_to| told(stop(), Phase::Scheduled, Some(1), (10, up_to), true);
        assert_eq!(late(77), ["28 reminder-72 v1", "76 reminder-24 v1"]);
        assert_eq!(late(110), ["100 started v1"]);
        let over = told(stop(), Phase::Completed, Some(1), (10, 200), true);
        assert_eq!(over, ["200 ended v1"]);
    }

    #[test]
    fn what_is_over_and_was_told_of_is_told_no_more_and_the_first_look_tells_what_stands() {
        let stop = || vec![version(1, 1, (100, 120)), version(2, 2, (100, 121))];
        assert_eq!(told(stop(), Phase::Completed, None, (150, 151), false), [""; 0]);
        let look = |phase| {
            let versions = stop().into_iter().map(Arc::new).collect();
            let seen = Seen { versions, phase, known: None };
            let (after, up_to) = (at(50), at(50));
            seen.moments(Stretch { after, up_to, is_first: true, is_late: true })
        };
        let first = look(Phase::Scheduled);
        assert_eq!(first.len(), 1);
        assert_eq!((first[0].kind, first[0].window.version), (Kind::Announced, 2));
        assert_eq!(look(Phase::Completed), []);
    }

    #[test]
    fn one_that_was_made_before_the_last_look_by_a_clock_that_was_set_back_is_told() {
        let stop = || vec![version(1, 20, (100, 120)), version(2, 25, (100, 130))];
        let told = |phase, known| told(stop(), phase, known, (30, 31), false);
        let all = ["20 announced v1", "25 changed v2", "28 reminder-72 v2"];
        assert_eq!(told(Phase::Scheduled, None), all);
        assert_eq!(told(Phase::Scheduled, Some(2)), [""; 0]);
        assert_eq!(told(Phase::Completed, None), [""; 0], "it was told of while it was on");
    }

    #[test]
    fn at_a_clock_that_stands_each_version_is_told_once() {
        let stop = (100, 120);
        let made = [version(1, 5, stop), version(2, 5, stop), cancelled(3, 5, stop)].map(Arc::new);
        let mut known = None;
        let mut told = Vec::new();
        let stretch = Stretch { after: at(5), up_to: at(5), is_first: false, is_late: false };
        for count in [1, 1, 2, 3, 3] {
            let phase = if count < 3 { Phase::Scheduled } else { Phase::Cancelled };
            let seen = Seen { versions: made[..count].to_vec(), phase, known };
            let moments = seen.moments(stretch);
            known = seen.keeps(&moments, at(5));
            told.extend(moments.into_iter().map(|m| (m.kind, m.window.version)));
        }
        assert_eq!(told, [(Kind::Announced, 1), (Kind::Changed, 2), (Kind::Cancelled, 3)]);
        let seen = Seen { versions: made.to_vec(), phase: Phase::Cancelled, known };
        assert_eq!(seen.keeps(&[], at(6)), None, "time has moved on");
    }

    #[test]
    fn a_subscription_hears_its_kinds_its_institution_and_its_scope() {
        let (mine, theirs): (InstitutionCode, InstitutionCode) =
            ("H1".parse().unwrap(), "H2".parse().unwrap());
        let upstreams: Vec<UpstreamName> = vec!["agency".parse().unwrap()];
        let businesses: Vec<Business> = vec!["filing.out_of_area".parse().unwrap()];
        let about = |kind, institution| About {
            kind,
            institution,
            upstreams: &upstreams,
            businesses: &businesses,
        };
        let all = Subscription {
            kinds: Kind::ALL.to_vec(),
            institution: None,
            upstreams: Vec::new(),
            businesses: Vec::new(),
        };
        assert!(all.hears_of(about(Kind::Started, None)));
        assert!(!all.hears_of(about(Kind::Extended, Some(&mine))), "nobody's deadlines");
        let own = Subscription { institution: Some(mine.clone()), ..all.clone() };
        assert!(own.hears_of(about(Kind::Extended, Some(&mine))));
        assert!(!own.hears_of(about(Kind::Extended, Some(&theirs))));
        let narrow = Subscription { kinds: vec![Kind::Ended], ..all.clone() };
        assert!(!narrow.hears_of(about(Kind::Started, None)));
        let elsewhere = Subscription { upstreams: vec!["portal".parse().unwrap()], ..own.clone() };
        assert!(!elsewhere.hears_of(about(Kind::Started, None)));
        assert!(elsewhere.hears_of(about(Kind::Extended, Some(&mine))), "a date has no upstream");
        let filings = Subscription { businesses: vec!["filing.*".parse().unwrap()], ..own };
        assert!(filings.hears_of(about(Kind::Started, None)));
        let settlements = Subscription { businesses: vec!["settlement.*".parse().unwrap()], ..all };
        assert!(!settlements.hears_of(about(Kind::Started, None)));
    }
}
