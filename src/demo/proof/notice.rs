//! Whether submitters were answered as the notice says, row by row, and whether repeats got
//! their first receipt.

use super::Broken;
use crate::demo::answers::{Answered, Told};
use crate::demo::kinds::Kind;
use crate::demo::population::Population;
use crate::demo::schedule::{Post, STOPS, Twist};
use crate::domain::cell::{Channel, Class, Operation};
use crate::domain::policy::Disposition;
use crate::domain::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// How often a row of the notice was used, and for what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Used {
    /// The clause.
    pub clause: String,
    /// The business.
    pub business: &'static str,
    /// The operation.
    pub operation: Operation,
    /// Who submitted.
    pub class: Class,
    /// Through which channel.
    pub channel: Channel,
    /// What was done.
    pub disposition: String,
    /// How often.
    pub count: u64,
}

/// What every answer that rests on a row came to, counted.
#[must_use]
pub fn used(answers: &[Answered], posts: &[Post], city: &Population) -> Vec<Used> {
    let mut counts: BTreeMap<Used, u64> = BTreeMap::new();
    for answered in answers {
        let (clause, disposition) = match &answered.told {
            Told::Accepted { receipt, .. } => (&receipt.clause, receipt.disposition.clone()),
            Told::TurnedAway { clause, .. } => (clause, Disposition::Refuse.to_string()),
            Told::Invalid { .. } => continue,
        };
        let Some(clause) = clause.clone() else { continue };
        let post = &posts[answered.post as usize];
        let (business, operation) = post.kind.line();
        let class = city.submitters[post.submitter].institution.class;
        let channel = Kind::channel(class);
        let row = Used { clause, business, operation, class, channel, disposition, count: 0 };
        *counts.entry(row).or_default() += 1;
    }
    counts.into_iter().map(|(row, count)| Used { count, ..row }).collect()
}

/// Compares every answer with what the notice says. `restored` tells when the part of the core
/// that a post goes to was let back; between that and the end nothing is claimed here.
#[must_use]
pub fn followed(
    answers: &[Answered],
    posts: &[Post],
    city: &Population,
    restored: impl Fn(&Post) -> Timestamp,
) -> Vec<Broken> {
    let mut broken = Vec::new();
    let first: BTreeMap<u32, &Answered> = answers.iter().map(|a| (a.post, a)).collect();
    for answered in answers {
        let post = &posts[answered.post as usize];
        let in_stop = STOPS <= answered.sent_at && answered.answered_at < restored(post);
        let credit = city.submitters[post.submitter].institution.credit;
        let fault = match (post.twist, &answered.told) {
            (Twist::Spoilt(_) | Twist::KeyReused(_) | Twist::NotCovered, Told::Invalid { .. }) => {
                None
            }
            (Twist::Spoilt(_) | Twist::KeyReused(_) | Twist::NotCovered, told) => {
                Some(format!("must be refused for what it says, but was {}", word(told)))
            }
            (Twist::NoReportFile, Told::Accepted { .. }) if in_stop => {
                Some("was taken in without its report file".to_owned())
            }
            (Twist::NoReportFile, _) => None,
            (Twist::Repeat(of), told) => repeat(first.get(&of).map(|a| &a.told), told),
            (Twist::Plain, told) if in_stop => plain(post.kind, credit, told),
            (Twist::Plain, Told::Invalid { code }) => Some(format!("was refused as {code}")),
            (Twist::Plain, Told::Accepted { .. } | Told::TurnedAway { .. }) => None,
        };
        if let Some(what) = fault {
            let (business, operation) = post.kind.line();
            let what = format!("{business}.{operation}, posted at {}: {what}", answered.sent_at);
            broken.push(Broken::new("notice", &post.key, what));
        }
    }
    broken
}

fn word(told: &Told) -> String {
    match told {
        Told::Accepted { receipt, .. } => format!("accepted ({})", receipt.disposition),
        Told::TurnedAway { .. } => "turned away".to_owned(),
        Told::Invalid { code } => format!("refused as {code}"),
    }
}

fn plain(kind: Kind, credit: bool, told: &Told) -> Option<String> {
    let mut said = kind.said();
    // Credit is not in the notice; it is the decision for those who asked for it.
    if credit && said.disposition == Disposition::PassOrTicket {
        said.disposition = Disposition::PassOrHold;
        said.clause = "not_in_notice";
    }
    let (disposition, clause) = match told {
        Told::Accepted { receipt, .. } => (receipt.disposition.as_str(), receipt.clause.as_deref()),
        Told::TurnedAway { clause, .. } => (Disposition::Refuse.as_str(), clause.as_deref()),
        Told::Invalid { code } => return Some(format!("was refused as {code}")),
    };
    let follows = disposition == said.disposition.as_str() && clause == Some(said.clause);
    (!follows).then(|| {
        format!(
            "clause {} says {}, the answer was {disposition} by {}",
            said.clause,
            said.disposition,
            clause.unwrap_or("no clause")
        )
    })
}

fn repeat(original: Option<&Told>, told: &Told) -> Option<String> {
    match (original, told) {
        (Some(Told::Accepted { receipt: one, .. }), Told::Accepted { receipt: two, .. }) => {
            (one.whole != two.whole).then(|| "a repeat got another receipt".to_owned())
        }
        (Some(Told::TurnedAway { .. }), Told::TurnedAway { .. }) => None,
        (_, told) => Some(format!("a repeat was {}, unlike its original", word(told))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::answers::Receipt;
    use crate::demo::schedule::{AGENCY_BACK, PLANNED_END, Plan, Schedule, people_for};
    use crate::domain::ids::{Fingerprint, Seq};
    use crate::domain::numbers::Numbers;

    fn example() -> (Population, Schedule) {
        let city = Population::new(9, people_for(3_000)).unwrap();
        let plan = Plan { seed: 9, transactions: 3_000, agency_back: AGENCY_BACK };
        let schedule = Schedule::new(plan, &city);
        (city, schedule)
    }

    fn held(seq: u64, disposition: Disposition, clause: &str) -> Told {
        let receipt = Receipt {
            id: Numbers::default().transaction(Seq(seq)),
            fingerprint: Fingerprint(seq),
            disposition: disposition.to_string(),
            clause: Some(clause.to_owned()),
            deadline: None,
            whole: serde_json::json!({"id": seq}),
        };
        Told::Accepted { receipt: Box::new(receipt), outcome: None }
    }

    fn answered(post: usize, at: Timestamp, told: Told) -> Answered {
        let post = u32::try_from(post).unwrap();
        Answered { post, sent_at: at, answered_at: at, told, cut_off: 0, put_off: 0 }
    }

    fn find(schedule: &Schedule, kind: Kind, twist: fn(Twist) -> bool) -> usize {
        schedule
            .posts
            .iter()
            .position(|p| p.kind == kind && p.at >= STOPS && twist(p.twist))
            .unwrap()
    }

    #[test]
    fn an_answer_that_the_notice_does_not_give_is_found() {
        let (city, schedule) = example();
        let is_plain = |twist| twist == Twist::Plain;
        let advice = find(&schedule, Kind::OutpatientAdvice, is_plain);
        let refund = find(&schedule, Kind::Reimbursement, is_plain);
        let check = |told: Told, post: usize| {
            let answers = [answered(post, STOPS, told)];
            followed(&answers, &schedule.posts, &city, |_| PLANNED_END).len()
        };
        assert_eq!(check(held(1, Disposition::Hold, "(一)"), advice), 0);
        assert_eq!(check(held(1, Disposition::Pass, "(一)"), advice), 1);
        assert_eq!(check(held(1, Disposition::Hold, "(二)1"), advice), 1);
        assert_eq!(check(held(1, Disposition::Hold, "(三)1"), refund), 1);
    }

    #[test]
    fn a_repeat_with_another_receipt_is_found() {
        let (city, schedule) = example();
        let (place, of) = schedule
            .posts
            .iter()
            .enumerate()
            .find_map(|(place, p)| match p.twist {
                Twist::Repeat(of) => Some((place, of)),
                _ => None,
            })
            .unwrap();
        let at = schedule.posts[place].at;
        let check = |second: u64| {
            let first = held(1, Disposition::Hold, "(一)");
            let answers = [
                answered(of as usize, PLANNED_END, first),
                answered(place, at, held(second, Disposition::Hold, "(一)")),
            ];
            followed(&answers, &schedule.posts, &city, |_| STOPS).len()
        };
        assert_eq!((check(1), check(2)), (0, 1));
    }

    #[test]
    fn a_spoilt_post_that_was_taken_is_found() {
        let (city, schedule) = example();
        let spoilt =
            schedule.posts.iter().position(|p| matches!(p.twist, Twist::Spoilt(_))).unwrap();
        let told = held(1, Disposition::Hold, "(一)");
        let answers = [answered(spoilt, STOPS, told)];
        assert_eq!(followed(&answers, &schedule.posts, &city, |_| PLANNED_END).len(), 1);
    }

    #[test]
    fn rows_are_counted_by_what_submitters_were_told() {
        let (city, schedule) = example();
        let advice = find(&schedule, Kind::OutpatientAdvice, |twist| twist == Twist::Plain);
        let told = held(1, Disposition::Hold, "(一)");
        let answers = [answered(advice, STOPS, told.clone()), answered(advice, STOPS, told)];
        let used = used(&answers, &schedule.posts, &city);
        assert_eq!(used.len(), 1);
        assert_eq!((used[0].count, used[0].clause.as_str()), (2, "(一)"));
    }
}
