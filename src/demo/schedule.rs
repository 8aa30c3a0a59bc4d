//! What happens when: every post of the demo, made from the seed before anything starts.
//!
//! People come with a *story*: a few posts that belong together and are spread over the time
//! before, in and after the stop. Some posts are then repeated, some keys used again for
//! something else, some bodies spoilt. The driver posts what stands here and decides nothing.

use super::kinds::Kind;
use super::population::Population;
use crate::domain::cell::Class;
use crate::domain::money::Money;
use crate::domain::time::{CivilDate, Interval, Timestamp};
use std::time::Duration;

/// 2022-08-12T17:00 +08:00: the demo begins.
pub const BEGINS: Timestamp = Timestamp::from_millis(1_660_294_800_000);
/// 2022-08-12T19:00 +08:00: the published start of the stop.
pub const STOPS: Timestamp = Timestamp::from_millis(1_660_302_000_000);
/// 2022-08-15T06:00 +08:00: the published end.
pub const PLANNED_END: Timestamp = Timestamp::from_millis(1_660_514_400_000);
/// 2022-08-15T07:10 +08:00: the agency path comes back, unless told otherwise.
pub const AGENCY_BACK: Timestamp = Timestamp::from_millis(1_660_518_600_000);
/// 2022-08-15T18:00 +08:00: the demo ends, at the earliest.
const ENDS: Timestamp = Timestamp::from_millis(1_660_557_600_000);
/// Posts are gathered in slots of this length.
pub const SLOT: Duration = Duration::from_secs(600);

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// How a post differs from an ordinary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Twist {
    /// Not at all.
    Plain,
    /// The same key and the same body as an earlier post.
    Repeat(u32),
    /// The same key as an earlier post, with another body.
    KeyReused(u32),
    /// Something is wrong with it.
    Spoilt(Flaw),
    /// A backfill for a day before the stop.
    NotCovered,
    /// A special case without its report file.
    NoReportFile,
}

/// What is wrong with a spoilt post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// A field that does not exist.
    UnknownField,
    /// An amount with three decimals.
    BadAmount,
    /// A business that is not in the catalogue.
    UnknownBusiness,
    /// No idempotency key.
    NoKey,
    /// Not JSON.
    NotJson,
}

const FLAWS: [Flaw; 5] =
    [Flaw::UnknownField, Flaw::BadAmount, Flaw::UnknownBusiness, Flaw::NoKey, Flaw::NotJson];

/// One submission, by its place in [`Schedule::posts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Its slot.
    pub at: Timestamp,
    /// When the business happened; a repeat says what its original said.
    pub occurred_at: Timestamp,
    /// What it is.
    pub kind: Kind,
    /// Who submits it, by place in the population.
    pub submitter: usize,
    /// Who it is about, by place in the population.
    pub person: usize,
    /// The idempotency key.
    pub key: String,
    /// The visit, where the kind has one.
    pub visit: Option<String>,
    /// The amount, where the kind has one.
    pub amount: Option<Money>,
    /// The deadline that it carries.
    pub deadline: Option<CivilDate>,
    /// For a backfill: the first day it is meant for.
    pub covers_from: Option<CivilDate>,
    /// How it differs from an ordinary one.
    pub twist: Twist,
}

/// A case registered by hand, without a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// When.
    pub at: Timestamp,
    /// Who registers it, by place in the population.
    pub submitter: usize,
    /// The date.
    pub original: CivilDate,
    /// The registrant's reference.
    pub reference: String,
}

/// Everything that submitters do.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The posts, by slot.
    pub posts: Vec<Post>,
    /// Which posts are taken back, and when.
    pub withdrawals: Vec<(Timestamp, u32)>,
    /// The registered deadlines, by slot.
    pub registrations: Vec<Registration>,
    /// When the agency path comes back.
    pub agency_back: Timestamp,
    /// When it is over.
    pub ends: Timestamp,
}

/// How large the demo is, and how it plays.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Ordinary posts, at least.
    pub transactions: usize,
    /// When the agency path comes back.
    pub agency_back: Timestamp,
}

/// People needed for `transactions` posts.
#[must_use]
pub fn people_for(transactions: usize) -> usize {
    transactions / 3 + 16
}

impl Schedule {
    /// The schedule of `plan` for `city`.
    #[must_use]
    pub fn new(plan: Plan, city: &Population) -> Self {
        let ends = ENDS.max(plan.agency_back.after(8 * HOUR));
        let mut teller = Teller {
            random: fastrand::Rng::with_seed(plan.seed ^ 0x5eed),
            city,
            before: Interval { start: BEGINS, end: STOPS },
            stop: Interval { start: STOPS, end: PLANNED_END.min(plan.agency_back) },
            after: Interval { start: PLANNED_END.after(40 * MINUTE), end: ends },
            agency_after: Interval {
                start: PLANNED_END.max(plan.agency_back).after(3 * HOUR),
                end: ends,
            },
            posts: Vec::new(),
        };
        let mut person = 0;
        while teller.posts.len() < plan.transactions {
            teller.story(person % city.people.len().max(1));
            person += 1;
        }
        teller.twist();
        let mut posts = teller.posts.clone();
        let order = sort_by_slot(&mut posts);
        let withdrawals = teller.withdrawals(&order);
        let registrations = teller.registrations();
        Self { posts, withdrawals, registrations, agency_back: plan.agency_back, ends }
    }

    /// Every slot from the beginning to the end.
    pub fn slots(&self) -> impl Iterator<Item = Timestamp> + use<> {
        let ends = self.ends;
        std::iter::successors(Some(BEGINS), |at| Some(at.after(SLOT)))
            .take_while(move |&at| at < ends)
    }
}

/// Sorts by slot, keeps the references of repeats right, and tells where each post went.
fn sort_by_slot(posts: &mut Vec<Post>) -> Vec<u32> {
    let mut places: Vec<u32> = (0u32..).take(posts.len()).collect();
    places.sort_by_key(|&old| posts[old as usize].at);
    let mut new_place = vec![0u32; posts.len()];
    for (new, &old) in (0u32..).zip(&places) {
        new_place[old as usize] = new;
    }
    let mut sorted: Vec<Post> = places.iter().map(|&old| posts[old as usize].clone()).collect();
    for post in &mut sorted {
        match &mut post.twist {
            Twist::Repeat(of) | Twist::KeyReused(of) => *of = new_place[*of as usize],
            Twist::Plain | Twist::Spoilt(_) | Twist::NotCovered | Twist::NoReportFile => {}
        }
    }
    *posts = sorted;
    new_place
}

struct Teller<'a> {
    random: fastrand::Rng,
    city: &'a Population,
    before: Interval,
    stop: Interval,
    after: Interval,
    agency_after: Interval,
    posts: Vec<Post>,
}

/// How busy each hour of the day is, in percent.
const BUSY: [u8; 24] =
    [4, 3, 3, 3, 3, 6, 12, 40, 90, 100, 100, 95, 60, 70, 90, 90, 85, 70, 50, 40, 30, 20, 12, 6];

impl Teller<'_> {
    /// A slot within `span`, rather by day than by night.
    fn slot(&mut self, span: Interval) -> Timestamp {
        let slots = (span.length().as_secs() / SLOT.as_secs()).max(1);
        let mut at = span.start;
        for _ in 0..32 {
            let offset = self.random.u64(0..slots);
            at = span.start.after(Duration::from_secs(offset * SLOT.as_secs()));
            let local = (at.as_millis() / 3_600_000 + 8).rem_euclid(24);
            let busy = BUSY[usize::try_from(local).unwrap_or(0)];
            if self.random.u8(0..100) < busy {
                break;
            }
        }
        at
    }

    fn one_of(&mut self, class: Class) -> usize {
        let all = self.city.of_class(class);
        all[self.random.usize(0..all.len())]
    }

    fn submitter(&mut self, kind: Kind) -> usize {
        let classes = kind.classes();
        let class = classes[self.random.usize(0..classes.len())];
        self.one_of(class)
    }

    fn tell(&mut self, span: Interval, kind: Kind, person: usize, submitter: usize) -> &mut Post {
        let at = self.slot(span);
        let number = self.posts.len();
        let visit = kind.has_visit().then(|| format!("V{person:06}-{submitter:02}"));
        let fen = if self.random.u8(0..10) == 0 {
            self.random.i64(100_000..3_000_000)
        } else {
            self.random.i64(500..80_000)
        };
        let amount = kind.has_amount().then(|| Money::from_fen(fen).unwrap_or_default());
        let deadline = match kind {
            Kind::Reimbursement | Kind::SpecialCase => {
                CivilDate::from_ymd_opt(2022, 8, 11 + self.random.u32(0..6))
            }
            _ => None,
        };
        let covers_from = match kind {
            Kind::SpecialDiseaseBackfill | Kind::OutOfAreaBackfill => {
                CivilDate::from_ymd_opt(2022, 8, 13 + self.random.u32(0..2))
            }
            _ => None,
        };
        self.posts.push(Post {
            at,
            occurred_at: at.before(5 * MINUTE),
            kind,
            submitter,
            person,
            key: format!("demo-{number:06}-{:08x}", self.random.u32(..)),
            visit,
            amount,
            deadline,
            covers_from,
            twist: Twist::Plain,
        });
        &mut self.posts[number]
    }

    /// One person's posts.
    fn story(&mut self, person: usize) {
        match self.random.u8(0..100) {
            0..28 => self.treated(person),
            28..38 => self.in_hospital(person),
            38..54 => self.filing(person),
            54..64 => self.reimbursed(person),
            64..67 => self.special_case(person),
            _ => self.plain(person),
        }
    }

    /// The visit goes on over the stop, with a pharmacy in between.
    fn treated(&mut self, person: usize) {
        let hospital = self.one_of(Class::Hospital);
        let pharmacy = self.one_of(Class::Pharmacy);
        self.tell(self.before, Kind::Outpatient, person, hospital);
        self.tell(self.stop, Kind::Pharmacy, person, pharmacy);
        for _ in 0..self.random.u8(1..4) {
            self.tell(self.stop, Kind::OutpatientAdvice, person, hospital);
        }
        if self.random.bool() {
            self.tell(self.stop, Kind::PharmacyAdvice, person, pharmacy);
        }
        self.tell(self.after, Kind::Outpatient, person, hospital);
    }

    fn in_hospital(&mut self, person: usize) {
        let hospital = self.one_of(Class::Hospital);
        self.tell(self.before, Kind::Inpatient, person, hospital);
        self.tell(self.stop, Kind::SpecialOutpatientAtHospital, person, hospital);
        for _ in 0..self.random.u8(1..3) {
            self.tell(self.stop, Kind::InpatientAdvice, person, hospital);
        }
        self.tell(self.after, Kind::Inpatient, person, hospital);
        if self.random.u8(0..4) == 0 {
            let agency = self.submitter(Kind::SpecialOutpatientAtAgency);
            self.tell(self.stop, Kind::SpecialOutpatientAtAgency, person, agency);
        }
    }

    fn filing(&mut self, person: usize) {
        let hospital = self.one_of(Class::Hospital);
        self.tell(self.before, Kind::Outpatient, person, hospital);
        let (apply, backfill) = if self.random.u8(0..5) < 2 {
            (Kind::OutOfAreaOnline, Kind::OutOfAreaBackfill)
        } else {
            (Kind::OutOfAreaAtHall, Kind::OutOfAreaBackfill)
        };
        let counter = self.submitter(apply);
        for _ in 0..self.random.u8(1..3) {
            self.tell(self.stop, apply, person, counter);
        }
        self.tell(self.stop, Kind::Outpatient, person, hospital);
        if self.random.u8(0..3) == 0 {
            let hall = self.one_of(Class::Hall);
            self.tell(self.stop, Kind::SpecialDisease, person, hall);
            let again = self.submitter(Kind::SpecialDiseaseBackfill);
            self.tell(self.agency_after, Kind::SpecialDiseaseBackfill, person, again);
            let agency = self.submitter(Kind::SpecialDiseaseHandling);
            self.tell(self.stop, Kind::SpecialDiseaseHandling, person, agency);
        }
        if self.random.u8(0..4) == 0 {
            let review = if apply == Kind::OutOfAreaOnline {
                Kind::OutOfAreaReview
            } else {
                Kind::OutOfAreaHandling
            };
            let agency = self.submitter(review);
            self.tell(self.stop, review, person, agency);
            self.tell(self.agency_after, review, person, agency);
        }
        if self.random.u8(0..3) == 0 {
            let portal = self.one_of(Class::Portal);
            self.tell(self.stop, Kind::Query, person, portal);
        }
        if self.random.u8(0..3) == 0 {
            self.tell(self.agency_after, backfill, person, counter);
        }
        self.tell(self.after, Kind::Outpatient, person, hospital);
    }

    fn reimbursed(&mut self, person: usize) {
        let pharmacy = self.one_of(Class::Pharmacy);
        let counter = self.submitter(Kind::Reimbursement);
        self.tell(self.before, Kind::Pharmacy, person, pharmacy);
        self.tell(self.stop, Kind::Reimbursement, person, counter);
        self.tell(self.stop, Kind::Pharmacy, person, pharmacy);
        if self.random.u8(0..3) == 0 {
            let mover = self.submitter(Kind::AccountTransfer);
            self.tell(self.stop, Kind::AccountTransfer, person, mover);
        }
        self.tell(self.agency_after, Kind::Reimbursement, person, counter);
        self.tell(self.after, Kind::Pharmacy, person, pharmacy);
    }

    fn special_case(&mut self, person: usize) {
        let hospital = self.one_of(Class::Hospital);
        let hall = self.one_of(Class::Hall);
        self.tell(self.before, Kind::Outpatient, person, hospital);
        let without_file = self.random.u8(0..8) == 0;
        let case = self.tell(self.stop, Kind::SpecialCase, person, hall);
        if without_file {
            case.twist = Twist::NoReportFile;
        }
        self.tell(self.after, Kind::Outpatient, person, hospital);
    }

    fn plain(&mut self, person: usize) {
        let kind = [Kind::Outpatient, Kind::Pharmacy, Kind::Inpatient][self.random.usize(0..3)];
        let institution = self.submitter(kind);
        for _ in 0..self.random.u8(1..3) {
            let span = if self.random.u8(0..4) == 0 { self.after } else { self.stop };
            self.tell(span, kind, person, institution);
        }
    }

    /// Repeats, reused keys, spoilt bodies, backfills for days that are not covered.
    fn twist(&mut self) {
        for of in 0..self.posts.len() {
            let original = self.posts[of].clone();
            let reference = u32::try_from(of).unwrap_or(u32::MAX);
            // A refused submission leaves no key behind, so only what is taken is repeated.
            let taken = original.kind.said().disposition
                != crate::domain::policy::Disposition::Refuse
                && original.twist == Twist::Plain;
            match self.random.u16(0..1000) {
                0..20 if taken => {
                    let delay = SLOT * self.random.u32(0..12);
                    let at = original.at.after(delay).min(self.after.end.before(SLOT));
                    self.posts.push(Post { at, twist: Twist::Repeat(reference), ..original });
                }
                20..26 if taken => {
                    let at = original.at.after(SLOT).min(self.after.end.before(SLOT));
                    if at > original.at {
                        let mut other = original;
                        other.at = at;
                        other.twist = Twist::KeyReused(reference);
                        // Another visit, another amount: surely another intent.
                        other.person = (other.person + 1) % self.city.people.len();
                        self.posts.push(other);
                    }
                }
                26..38 => {
                    let flaw = FLAWS[self.random.usize(0..FLAWS.len())];
                    let mut spoilt = original;
                    spoilt.key.push_str("-spoilt");
                    spoilt.twist = Twist::Spoilt(flaw);
                    self.posts.push(spoilt);
                }
                38..138 if original.covers_from.is_some() => {
                    let mut early = original;
                    early.key.push_str("-early");
                    early.covers_from = CivilDate::from_ymd_opt(2022, 8, 11);
                    early.twist = Twist::NotCovered;
                    self.posts.push(early);
                }
                _ => {}
            }
        }
    }

    /// Some applications are taken back while they are held.
    fn withdrawals(&mut self, new_place: &[u32]) -> Vec<(Timestamp, u32)> {
        let mut withdrawals = Vec::new();
        let latest = self.stop.end.before(HOUR);
        for (old, post) in self.posts.iter().enumerate() {
            let held = matches!(post.kind, Kind::OutOfAreaAtHall | Kind::SpecialDisease)
                && post.twist == Twist::Plain;
            let at = post.at.after(2 * HOUR);
            if held && post.at >= self.stop.start && at <= latest && self.random.u8(0..50) == 0 {
                withdrawals.push((at, new_place[old]));
            }
        }
        withdrawals.sort_unstable();
        withdrawals
    }

    /// Two hundred cases, their dates spread over the week of the stop.
    fn registrations(&mut self) -> Vec<Registration> {
        let halls = self.city.of_class(Class::Hall);
        let mut all: Vec<Registration> = (0..200u32)
            .map(|n| {
                let span = if n % 5 == 4 { self.stop } else { self.before };
                Registration {
                    at: self.slot(span),
                    submitter: halls[n as usize % halls.len()],
                    original: CivilDate::from_ymd_opt(2022, 8, 9 + n % 9).unwrap_or_default(),
                    reference: format!("CASE-{n:04}"),
                }
            })
            .collect();
        all.sort_by_key(|r| r.at);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn plan(transactions: usize) -> (Population, Schedule) {
        let city = Population::new(42, people_for(transactions)).unwrap();
        let schedule =
            Schedule::new(Plan { seed: 42, transactions, agency_back: AGENCY_BACK }, &city);
        (city, schedule)
    }

    #[test]
    fn the_instants_are_those_of_the_notice() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(BEGINS, at("2022-08-12T17:00:00+08:00"));
        assert_eq!(STOPS, at("2022-08-12T19:00:00+08:00"));
        assert_eq!(PLANNED_END, at("2022-08-15T06:00:00+08:00"));
        assert_eq!(AGENCY_BACK, at("2022-08-15T07:10:00+08:00"));
        assert_eq!(ENDS, at("2022-08-15T18:00:00+08:00"));
    }

    /// A person is interleaved when, over the stop, something of one kind of business or
    /// institution stands between two of another.
    fn interleaved(posts: &[&Post]) -> bool {
        let stop = Interval { start: STOPS, end: PLANNED_END };
        posts.iter().enumerate().any(|(first, a)| {
            posts.iter().skip(first + 1).any(|b| {
                let other = (b.kind.line().0, b.submitter) != (a.kind.line().0, a.submitter);
                other
                    && a.at < b.at
                    && posts.iter().any(|c| {
                        (c.kind.line().0, c.submitter) == (a.kind.line().0, a.submitter)
                            && b.at < c.at
                            && a.at < stop.end
                            && c.at > stop.start
                            && (a.at < stop.start || stop.end <= c.at)
                    })
            })
        })
    }

    #[test]
    fn three_people_in_ten_have_interleaved_transactions_across_the_stop() {
        let (_, schedule) = plan(20_000);
        let mut people: BTreeMap<usize, Vec<&Post>> = BTreeMap::new();
        for post in schedule.posts.iter().filter(|p| p.twist == Twist::Plain) {
            people.entry(post.person).or_default().push(post);
        }
        let mixed = people.values().filter(|posts| interleaved(posts)).count();
        assert!(mixed * 10 >= people.len() * 3, "{mixed} of {}", people.len());
        assert!(schedule.posts.len() >= 20_000);
    }

    #[test]
    fn every_row_of_the_notice_is_met_in_the_stop_or_after_it() {
        let (_, schedule) = plan(20_000);
        for kind in Kind::ALL {
            let count = schedule.posts.iter().filter(|p| p.kind == kind).count();
            assert!(count >= 20, "{kind:?} {count}");
        }
        let twists: BTreeSet<u8> = schedule
            .posts
            .iter()
            .map(|p| match p.twist {
                Twist::Plain => 0,
                Twist::Repeat(_) => 1,
                Twist::KeyReused(_) => 2,
                Twist::Spoilt(_) => 3,
                Twist::NotCovered => 4,
                Twist::NoReportFile => 5,
            })
            .collect();
        assert_eq!(twists.len(), 6);
        assert!(schedule.withdrawals.len() >= 5);
    }

    #[test]
    fn posts_stand_in_order_and_repeats_point_back_at_their_original() {
        let (_, schedule) = plan(3_000);
        assert!(schedule.posts.is_sorted_by_key(|p| p.at));
        for post in &schedule.posts {
            match post.twist {
                Twist::Repeat(of) => {
                    let original = &schedule.posts[of as usize];
                    assert_eq!((&original.key, original.person), (&post.key, post.person));
                    assert!(original.at <= post.at && original.twist == Twist::Plain);
                }
                Twist::KeyReused(of) => {
                    let original = &schedule.posts[of as usize];
                    assert_eq!(original.key, post.key);
                    assert!(original.at < post.at && original.person != post.person);
                }
                _ => {}
            }
        }
        for &(at, of) in &schedule.withdrawals {
            let held = &schedule.posts[of as usize];
            assert!(held.at < at && at < PLANNED_END && held.twist == Twist::Plain);
        }
    }

    #[test]
    fn keys_are_never_shared_by_different_intents_except_where_meant() {
        let (_, schedule) = plan(3_000);
        let mut seen = BTreeSet::new();
        for post in &schedule.posts {
            if !matches!(post.twist, Twist::Repeat(_) | Twist::KeyReused(_)) {
                assert!(seen.insert((post.submitter, post.key.as_str())));
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_schedule_and_a_late_restart_a_longer_one() {
        let (city, one) = plan(2_000);
        let again =
            Schedule::new(Plan { seed: 42, transactions: 2_000, agency_back: AGENCY_BACK }, &city);
        assert_eq!(one.posts, again.posts);
        let late = "2022-08-16T10:00:00+08:00".parse::<Timestamp>().unwrap();
        let slipped =
            Schedule::new(Plan { seed: 42, transactions: 2_000, agency_back: late }, &city);
        assert_eq!(slipped.ends, "2022-08-16T18:00:00+08:00".parse::<Timestamp>().unwrap());
        assert_eq!(one.registrations.len(), 200);
    }
}
