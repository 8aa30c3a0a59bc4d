//! One life of windows, played to the engine and to the model.

use super::model::{Disposed, FIRST_WEEKDAY, HOLIDAYS, MAKE_UP, Model, Moves, Planned, Span};
use crate::engine_scenarios::{Bench, row};
use crate::engine_support::{answer, cell, exception, settings, submission};
use holdover::domain::cell::Selector;
use holdover::domain::deadline::{Conditions, DeadlineRule, Rule};
use holdover::domain::outcome::Outcome;
use holdover::domain::policy::Disposition;
use holdover::domain::term::Deadline;
use holdover::domain::time::{CivilDate, Interval, Timestamp};
use holdover::domain::window::{Notice, Proof, RestoreBy, Window};
use holdover::engine::event::{Command, Done, Event, Reply};
use holdover::engine::settings::Settings;
use std::collections::BTreeMap;
use std::time::Duration;

/// One step of a life.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// So many minutes pass, and each is looked at.
    Minutes(u32),
    /// So many minutes pass at once.
    Jump(u32),
    Declare {
        starts_in: i32,
        lasts: u32,
        rows: [Disposed; 2],
        moves: Option<Moves>,
        no_leapfrog: bool,
        at_least_minutes: u32,
    },
    MoveEnd {
        window: usize,
        by: i32,
    },
    Cancel(usize),
    Restore {
        window: usize,
        which: [bool; 2],
    },
    Release {
        window: usize,
        which: [bool; 2],
    },
    Submit {
        business: usize,
        due: Option<u32>,
    },
    Check {
        business: usize,
        day: u32,
    },
    /// The wall clock is set so many minutes ahead of the true time.
    SetClock(i32),
}

/// Monday, at the beginning of the model's first day.
const FIRST_DAY: &str = "2022-08-01T00:00:00+08:00";
/// A life begins here, so that there are days before it.
const BEGINS: u32 = 10 * super::model::DAY;
const WINDOWS_MAX: usize = 4;
const BUSINESSES: [(&str, &str); 2] = [("b", "filing.one"), ("a", "filing.two")];

pub(super) struct Life {
    bench: Bench,
    model: Model,
    now: u32,
    ahead: i32,
    number: u128,
    /// Of each date that was asked for, the latest that was told, and the latest that was ever
    /// counted since. A stop that grows can carry a date over another stop, so that less is
    /// counted than was told; the engine tells as often as it looks.
    told: BTreeMap<(usize, u32), (u32, u32)>,
    compared: u64,
}

type Outcomes = Result<(), String>;

fn at(minute: u32) -> Timestamp {
    FIRST_DAY.parse::<Timestamp>().unwrap().after(Duration::from_secs(60 * u64::from(minute)))
}

fn day(number: u32) -> CivilDate {
    at(0).civil(chrono_tz::Asia::Shanghai).date() + chrono::Days::new(u64::from(number))
}

fn with_two_businesses() -> Settings {
    let mut settings = settings();
    let mut second = settings.catalogue.lines[0].clone();
    (second.business, second.upstream) = ("filing.two".parse().unwrap(), "a".parse().unwrap());
    settings.catalogue.lines.push(second);
    settings.limits.clock_jump_max = Some(Duration::from_secs(30));
    let exceptions = &mut settings.calendar.exceptions;
    exceptions.extend(MAKE_UP.map(|number| (day(number), exception(true))));
    exceptions.extend(HOLIDAYS.map(|number| (day(number), exception(false))));
    settings
}

fn differ<T: PartialEq + std::fmt::Debug>(what: &str, engine: T, model: T) -> Outcomes {
    if engine == model { Ok(()) } else { Err(format!("{what}: {engine:?}, counted {model:?}")) }
}

impl Life {
    /// Plays a life; how many steps were compared, or where the two differ.
    pub(super) fn play(acts: &[Act]) -> Result<u64, String> {
        assert_eq!(FIRST_WEEKDAY, 0, "the first of August 2022 was a Monday");
        let mut bench = Bench::with(with_two_businesses(), FIRST_DAY);
        bench.now = at(BEGINS);
        let model = Model::default();
        let (told, number) = (BTreeMap::new(), 0);
        let mut life = Self { bench, model, now: BEGINS, ahead: 0, number, told, compared: 0 };
        // Both are seen, so that a window's phase knows of both.
        for business in 0..2 {
            life.submit(business, None)?;
        }
        life.gates()?;
        for (place, act) in acts.iter().enumerate() {
            life.step(act).map_err(|why| format!("act {place}, {act:?}: {why}"))?;
        }
        Ok(life.compared)
    }

    fn step(&mut self, act: &Act) -> Outcomes {
        match act {
            Act::Minutes(count) => {
                for _ in 0..*count {
                    self.pass(1)?;
                }
                return Ok(());
            }
            Act::Jump(count) => return self.pass(*count),
            Act::Declare { starts_in, lasts, rows, moves, no_leapfrog, at_least_minutes } => {
                let from = self.now.saturating_add_signed(*starts_in);
                let plan = Span { from, to: from + lasts };
                self.declare(Planned {
                    plan,
                    published: plan,
                    cancelled: false,
                    rows: *rows,
                    moves: *moves,
                    no_leapfrog: *no_leapfrog,
                    at_least_minutes: *at_least_minutes,
                    restored: Vec::new(),
                    released: Vec::new(),
                })?;
            }
            Act::MoveEnd { window, by } => self.move_end(*window, *by)?,
            Act::Cancel(window) => self.cancel(*window)?,
            Act::Restore { window, which } => self.restore(*window, *which)?,
            Act::Release { window, which } => self.release(*window, *which)?,
            Act::Submit { business, due } => self.submit(*business, *due)?,
            Act::Check { business, day } => self.check(*business, *day)?,
            Act::SetClock(ahead) => {
                self.ahead = *ahead;
                self.bench.ahead_ms = i64::from(*ahead) * 60_000;
                self.bench.step(Event::Tick);
            }
        }
        self.gates()
    }

    fn pass(&mut self, minutes: u32) -> Outcomes {
        self.now += minutes;
        self.bench.now = at(self.now);
        self.bench.step(Event::Tick);
        self.gates()
    }

    /// The gates, and what was sent since: nothing while a gate is closed (P4).
    fn gates(&mut self) -> Outcomes {
        self.compared += 1;
        for ((business, number), (_, farthest)) in &mut self.told {
            *farthest = self.model.due(*business, *number, self.now).0.max(*farthest);
        }
        let late = self.now.max(self.now.saturating_add_signed(self.ahead));
        let closed =
            |business| self.model.locks(business, self.now) || self.model.locks(business, late);
        let closed = [closed(0), closed(1)];
        let views = self.bench.machine.gates(self.bench.now);
        for view in views {
            let business = usize::from(view.cell.business.to_string() != BUSINESSES[0].1);
            let is_open = view.state.lets_through();
            differ(&format!("gate of {business} open"), is_open, !closed[business])?;
        }
        while let Some(order) = self.bench.out.first() {
            let business = usize::from(order.cell.business.to_string() != BUSINESSES[0].1);
            differ("sent at a closed gate", closed[business], false)?;
            self.bench.settle(Outcome::Applied(answer("{}")));
        }
        Ok(())
    }

    fn is_done(reply: Option<Reply>) -> Result<bool, String> {
        match reply {
            Some(Reply::Done(Done::Window(_))) => Ok(true),
            Some(Reply::Invalid(_)) => Ok(false),
            other => Err(format!("{other:?}")),
        }
    }

    fn name(index: usize) -> String {
        format!("w{index}")
    }

    fn declare(&mut self, planned: Planned) -> Outcomes {
        let index = self.model.windows.len();
        if index >= WINDOWS_MAX {
            return Ok(());
        }
        let window = window_of(index, &planned);
        let may = self.now < planned.plan.to && fixed_is_after(&planned);
        let done = Self::is_done(self.bench.order(Command::DeclareWindow(Box::new(window))))?;
        differ("declared", done, may)?;
        if done {
            self.model.windows.push(planned);
        }
        self.dates()
    }

    fn move_end(&mut self, index: usize, by: i32) -> Outcomes {
        let Some(known) = self.model.windows.get(index) else { return Ok(()) };
        let to = known.plan.to.saturating_add_signed(by);
        let mut moved = known.clone();
        moved.plan.to = to;
        let may = !known.cancelled
            && !known.is_over(self.now)
            && moved.plan.from < to
            && fixed_is_after(&moved);
        let (window, ends_at) = (Self::name(index).parse().unwrap(), at(to));
        let command = Command::MoveWindowEnd { window, ends_at, row: None, if_version: None };
        let done = Self::is_done(self.bench.order(command))?;
        differ("moved", done, may)?;
        if done {
            moved.published.to = moved.published.to.max(to);
            self.model.windows[index] = moved;
        }
        self.dates()
    }

    fn cancel(&mut self, index: usize) -> Outcomes {
        let Some(known) = self.model.windows.get(index) else { return Ok(()) };
        let may = !known.cancelled && !known.begun(self.now);
        let window = Self::name(index).parse().unwrap();
        let command = Command::CancelWindow { window, if_version: None };
        let done = Self::is_done(self.bench.order(command))?;
        differ("cancelled", done, may)?;
        self.model.windows[index].cancelled |= done;
        self.dates()
    }

    fn restore(&mut self, index: usize, which: [bool; 2]) -> Outcomes {
        let Some(known) = self.model.windows.get(index) else { return Ok(()) };
        let may = !known.cancelled && known.begun(self.now) && !known.is_over(self.now);
        let window = Self::name(index).parse().unwrap();
        let command = Command::Restore {
            window,
            cells: cells_of(which),
            ready_from: None,
            proof: Proof::Signed,
        };
        let done = Self::is_done(self.bench.order(command))?;
        differ("restored", done, may)?;
        if done {
            self.model.windows[index].restored.push((self.now, which));
        }
        self.dates()
    }

    fn release(&mut self, index: usize, which: [bool; 2]) -> Outcomes {
        let Some(known) = self.model.windows.get(index) else { return Ok(()) };
        let may = !known.cancelled && known.begun(self.now) && !known.is_over(self.now);
        let window = Self::name(index).parse().unwrap();
        let command = Command::Release { window, cells: cells_of(which) };
        let done = Self::is_done(self.bench.order(command))?;
        differ("released", done, may)?;
        if done {
            self.model.windows[index].released.push((self.now, which));
        }
        Ok(())
    }

    fn submit(&mut self, business: usize, due: Option<u32>) -> Outcomes {
        self.number += 1;
        let (upstream, name) = BUSINESSES[business];
        let mut submission = submission(cell(upstream, name), self.number, self.number);
        submission.deadline = due.map(day);
        let (said, until) = self.model.says(business, self.now);
        let (disposed, resume_at, moved) = match self.bench.submit(submission) {
            Some(Reply::Accepted { accepted: Some(accepted), .. }) => {
                let told = &accepted.told;
                (told.disposition, told.resume_at, told.deadline.clone())
            }
            Some(Reply::TurnedAway { record, .. }) => {
                (Disposition::Refuse, record.resume_at, record.deadline.clone())
            }
            other => return Err(format!("{other:?}")),
        };
        differ("disposition", disposed, disposition(said))?;
        differ("resumes", resume_at, until.map(at))?;
        let Some(due) = due else { return Ok(()) };
        let to = moved.map_or(Deadline::Day(day(due)), |moved| moved.to);
        self.tells("carried", business, due, to)
    }

    fn check(&mut self, business: usize, number: u32) -> Outcomes {
        let name = BUSINESSES[business].1.parse().unwrap();
        let original = day(number).into();
        let reply =
            self.bench.ask(|reply| Event::CheckDeadline { reply, business: name, original });
        let Some(Reply::Deadline { computed, .. }) = reply else {
            return Err(format!("{reply:?}"));
        };
        let (_, is_final) = self.model.due(business, number, self.now);
        differ("final", computed.is_final, is_final)?;
        self.tells("asked for", business, number, computed.date)
    }

    /// Every date that was told once, as it holds after a change.
    fn dates(&mut self) -> Outcomes {
        let known: Vec<(usize, u32)> = self.told.keys().copied().collect();
        known.into_iter().try_for_each(|(business, number)| {
            let name = BUSINESSES[business].1.parse().unwrap();
            let holds = self.bench.machine.deadline(&name, day(number).into(), self.bench.now);
            self.tells("known", business, number, holds.unwrap().date)
        })
    }

    /// A date is what is counted, or was told before: that is never moved earlier (P5).
    fn tells(&mut self, how: &str, business: usize, number: u32, to: Deadline) -> Outcomes {
        let counted = self.model.due(business, number, self.now).0;
        let (told, farthest) = self.told.entry((business, number)).or_insert((counted, counted));
        let (least, most) = ((*told).max(counted), (*farthest).max(counted));
        let is = (to.day(chrono_tz::Asia::Shanghai) - day(0)).num_days();
        let is = u32::try_from(is).unwrap();
        if is < least || most < is {
            return Err(format!("date {how}: day {is}, counted {least} to {most}"));
        }
        (*told, *farthest) = (is, most);
        Ok(())
    }
}

fn fixed_is_after(planned: &Planned) -> bool {
    match planned.moves {
        Some(Moves::Fixed(day)) => planned.plan.to / super::model::DAY <= day,
        Some(Moves::FirstFullDay | Moves::WorkingDays(_) | Moves::Days(_) | Moves::Shift)
        | None => true,
    }
}

fn cells_of(which: [bool; 2]) -> Selector {
    let named = which.iter().zip(BUSINESSES).filter(|(named, _)| **named);
    let upstream = named.map(|(_, (upstream, _))| upstream.parse().unwrap()).collect();
    Selector { upstream, ..Selector::default() }
}

fn disposition(said: Disposed) -> Disposition {
    match said {
        Disposed::Pass => Disposition::Pass,
        Disposed::Hold => Disposition::Hold,
        Disposed::Release => Disposition::HoldForRelease,
        Disposed::Refuse => Disposition::Refuse,
    }
}

fn window_of(index: usize, planned: &Planned) -> Window {
    let interval = Interval::new(at(planned.plan.from), at(planned.plan.to)).unwrap();
    let policy = planned.rows.iter().zip(BUSINESSES).map(|(said, (upstream, name))| {
        let upstream = vec![upstream.parse().unwrap()];
        let business = vec![name.to_owned().try_into().unwrap()];
        row(Selector { upstream, business, ..Selector::default() }, disposition(*said))
    });
    let rule = planned.moves.map(|moves| match moves {
        Moves::FirstFullDay => Rule::FirstFullWorkingDay,
        Moves::WorkingDays(count) => Rule::RestorePlusWorkingDays(count),
        Moves::Days(count) => Rule::RestorePlusDays(count),
        Moves::Shift => Rule::ShiftByOutage,
        Moves::Fixed(number) => Rule::FixedDate(day(number)),
    });
    let at_least = Some(planned.at_least_minutes).filter(|&minutes| minutes > 0);
    let deadlines = rule.map(|rule| DeadlineRule {
        rule,
        clause: "(三)3".to_owned(),
        legal_basis: "the notice's own words".to_owned(),
        business: vec!["filing.*".to_owned().try_into().unwrap()],
        // For a business that no row stops. The rows name their upstreams themselves.
        restart_of: vec!["b".parse().unwrap()],
        opens_at: chrono::NaiveTime::from_hms_opt(9, 0, 0).unwrap(),
        day_ends_at: None,
        only_if: Conditions { stop_min_minutes: at_least, ..Conditions::default() },
        no_leapfrog: planned.no_leapfrog,
    });
    Window {
        id: Life::name(index).parse().unwrap(),
        version: 1,
        zone: chrono_tz::Asia::Shanghai,
        planned: interval,
        published: interval,
        author: String::new(),
        reason: String::new(),
        changed_at: Timestamp::default(),
        notice: Some(Notice {
            source: "the bureau".to_owned(),
            published_at: at(0),
            document: None,
            digest: None,
            clauses: Vec::new(),
        }),
        policy: policy.collect(),
        deadlines,
        restore_by: RestoreBy::Signed,
        cancelled_at: None,
        restores: Vec::new(),
        releases: Vec::new(),
        told: Vec::new(),
        cause: Default::default(),
        cutoff_minutes: None,
    }
}
