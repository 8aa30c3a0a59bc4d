//! What must hold, by counting minutes from the first day.
//!
//! A day is 1,440 minutes; all of it is in one zone without changes of the clock.

/// Minutes of a day.
pub(super) const DAY: u32 = 1440;
/// When the agencies open, in minutes of a day.
const OPENS: u32 = 9 * 60;

/// What a row says of a business; the stricter one is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Disposed {
    Pass,
    Hold,
    Release,
    Refuse,
}

/// How a window moves the dates that it takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moves {
    FirstFullDay,
    WorkingDays(u32),
    Days(u32),
    Shift,
    Fixed(u32),
}

/// Minutes from one (in) to another (out).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Span {
    fn has(self, minute: u32) -> bool {
        self.from <= minute && minute < self.to
    }
}

#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) plan: Span,
    pub(super) published: Span,
    pub(super) cancelled: bool,
    pub(super) rows: [Disposed; 2],
    pub(super) moves: Option<Moves>,
    pub(super) no_leapfrog: bool,
    pub(super) at_least_minutes: u32,
    pub(super) restored: Vec<(u32, [bool; 2])>,
    pub(super) released: Vec<(u32, [bool; 2])>,
}

/// Whether the stop still lasts, and its minutes as they are known.
struct Stop {
    minutes: Span,
    may_grow: bool,
}

impl Planned {
    pub(super) fn begun(&self, now: u32) -> bool {
        self.plan.from <= now
    }

    fn first(&self, acts: &[(u32, [bool; 2])], business: usize, since: u32) -> Option<u32> {
        let of = acts.iter().filter(|(at, which)| since <= *at && which[business]);
        of.map(|(at, _)| *at).min()
    }

    fn stops(&self, business: usize) -> bool {
        self.rows[business] != Disposed::Pass
    }

    /// Whether nothing of `business` may be sent in the minute `now`.
    pub(super) fn locks(&self, business: usize, now: u32) -> bool {
        if self.cancelled || !self.stops(business) || now < self.plan.from {
            return false;
        }
        let since = self.plan.from;
        let back = self.first(&self.restored, business, since).is_some_and(|at| at <= now);
        let let_go = self.first(&self.released, business, since).is_some_and(|at| at <= now);
        !back || (self.rows[business] == Disposed::Release && !let_go)
    }

    /// What is said of a new submission in the minute `now`, if anything.
    fn says(&self, business: usize, now: u32) -> Option<Disposed> {
        let said = self.rows[business];
        let by_now = |acts: &[(u32, [bool; 2])]| {
            self.first(acts, business, self.plan.from).is_some_and(|at| at <= now)
        };
        let let_go = said != Disposed::Release || by_now(&self.released);
        let over =
            (by_now(&self.restored) && let_go) || (said == Disposed::Pass && self.plan.to <= now);
        (self.begun(now) && !self.cancelled && !over).then_some(said)
    }

    /// Whether nothing of it is left to come.
    pub(super) fn is_over(&self, now: u32) -> bool {
        if !self.begun(now) {
            return false;
        }
        let stops = (0..2).any(|business| self.stops(business));
        match (self.restored.is_empty(), stops) {
            (true, true) => false,
            (true, false) => self.plan.to <= now,
            (false, _) => !(0..2).any(|business| self.locks(business, now)),
        }
    }

    fn stop(&self, business: usize, now: u32) -> Stop {
        let published = self.published;
        if self.cancelled {
            return Stop { minutes: published, may_grow: false };
        }
        // A rule may speak of a business that goes on: the restart of the first ends it then.
        let of = if self.stops(business) { business } else { 0 };
        let back = self.first(&self.restored, of, published.from).filter(|&at| at <= now);
        match back {
            Some(at) => Stop {
                minutes: Span { to: published.to.max(at), ..published },
                may_grow: now < published.to,
            },
            None => {
                Stop { minutes: Span { to: published.to.max(now), ..published }, may_grow: true }
            }
        }
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) windows: Vec<Planned>,
}

/// Saturday and Sunday rest, except the days named here; these rest too.
pub(super) const MAKE_UP: [u32; 2] = [12, 41];
pub(super) const HOLIDAYS: [u32; 5] = [17, 18, 19, 45, 46];
/// The weekday of the first day, Monday being 0.
pub(super) const FIRST_WEEKDAY: u32 = 0;

pub(super) fn is_worked(day: u32) -> bool {
    let weekend = (day + FIRST_WEEKDAY) % 7 >= 5;
    MAKE_UP.contains(&day) || (!weekend && !HOLIDAYS.contains(&day))
}

fn worked_from(day: u32) -> u32 {
    (day..).find(|&day| is_worked(day)).unwrap()
}

impl Model {
    pub(super) fn locks(&self, business: usize, now: u32) -> bool {
        self.windows.iter().any(|window| window.locks(business, now))
    }

    /// What a submission is told, and until when.
    pub(super) fn says(&self, business: usize, now: u32) -> (Disposed, Option<u32>) {
        let said: Vec<(Disposed, u32)> = self
            .windows
            .iter()
            .filter_map(|window| Some((window.says(business, now)?, window.plan.to)))
            .collect();
        let strictest = said.iter().map(|(said, _)| *said).max().unwrap_or(Disposed::Pass);
        let of_the_strict =
            |said: Disposed| (said == Disposed::Pass) == (strictest == Disposed::Pass);
        let ends = said.iter().filter(|(said, to)| of_the_strict(*said) && now < *to);
        (strictest, ends.map(|(_, to)| *to).max())
    }

    /// The day that holds for `day`, and whether it can no longer move.
    pub(super) fn due(&self, business: usize, day: u32, now: u32) -> (u32, bool) {
        let mut reached = vec![day];
        let mut is_final = true;
        let mut next = 0;
        while let Some(&day) = reached.get(next) {
            next += 1;
            for window in self.windows.iter().filter(|window| window.moves.is_some()) {
                let stop = window.stop(business, now);
                let last_minute = (day + 1) * DAY - 1;
                if stop.may_grow && stop.minutes.from <= last_minute {
                    is_final = false;
                }
                if let Some(to) =
                    moved(window, stop.minutes, day).filter(|to| !reached.contains(to))
                {
                    reached.push(to);
                }
            }
        }
        (reached.into_iter().max().unwrap(), is_final)
    }
}

/// The later day to which `window`, whose stop is `stop`, moves `day`.
fn moved(window: &Planned, stop: Span, day: u32) -> Option<u32> {
    let length = (stop.from..stop.to).count() as u32;
    if length < window.at_least_minutes {
        return None;
    }
    let is_inside = |day: u32| stop.has((day + 1) * DAY - 1);
    let to = |day: u32| match window.moves? {
        Moves::FirstFullDay => {
            let opens = |day: &u32| is_worked(*day) && stop.to <= day * DAY + OPENS;
            (stop.to / DAY..).find(opens)
        }
        Moves::WorkingDays(count) => {
            (stop.to / DAY + 1..).filter(|&day| is_worked(day)).nth(count as usize - 1)
        }
        Moves::Days(count) => Some(worked_from(stop.to / DAY + count)),
        Moves::Shift => {
            let at_least = (day + 1) * DAY + length;
            (day..).find(|day| at_least <= (day + 1) * DAY).map(worked_from)
        }
        Moves::Fixed(day) => Some(day),
    };
    if is_inside(day) {
        return to(day).filter(|&to| day < to);
    }
    let is_after = stop.to < (day + 1) * DAY;
    if !(window.no_leapfrog && is_after) {
        return None;
    }
    let farthest = (0..=stop.to / DAY).filter(|&day| is_inside(day)).filter_map(to).max()?;
    (day < farthest).then_some(farthest)
}
