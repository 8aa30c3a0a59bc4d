//! What people at counters and agencies do after the stop: settle again what became a ticket,
//! close some tickets by hand, tell the results of what was pre-accepted, ask for dates.
//!
//! Everything here follows from answers that the clients hold, so none of it can stand in the
//! schedule.

use super::answers::Told;
use super::bodies::{Request, resettlement};
use super::driver::{DATED, Errand};
use super::proof::dates::Telling;
use super::run::Run;
use super::schedule::{Post, SLOT, Twist};
use crate::admin::types::{Page, TransactionOut};
use crate::domain::cell::Class;
use crate::domain::ids::TransactionId;
use crate::domain::policy::Disposition;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::engine::ports::Clock;
use anyhow::Context;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Items asked for at a time.
const ITEMS: usize = 100;
/// The day of August whose date is shown in the timeline: the last inside the stop.
const SHOWN: u32 = 14;

/// What a counter does with one open ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Resettle,
    Close(&'static str),
    Later,
}

/// Most are settled again at once, some later in the day; a few are closed by hand, and some
/// people do not come.
fn plan(transaction: TransactionId, last: bool) -> Plan {
    match transaction.seq().0 % 20 {
        0 if last => Plan::Close("waived"),
        1 | 2 if last => Plan::Close("reimbursed_manually"),
        3 => Plan::Later,
        4..=8 if !last => Plan::Later,
        0..=2 => Plan::Later,
        _ => Plan::Resettle,
    }
}

impl Run {
    /// Settles open tickets again, and whatever else needs its submitter; on the last round
    /// some are closed by hand.
    ///
    /// # Errors
    /// When a counter is not answered, or not as described.
    pub async fn settle_tickets(&mut self, at: Timestamp, last: bool) -> anyhow::Result<()> {
        let known = self.posts_by_transaction();
        let mut errands = Vec::new();
        let mut by_hand = 0u64;
        let counters = [Class::Hospital, Class::Pharmacy].map(|class| self.city.of_class(class));
        for submitter in counters.concat() {
            for transaction in self.open_tickets(submitter).await? {
                match plan(transaction, last) {
                    Plan::Later => {}
                    Plan::Close(how) => {
                        self.close_ticket(submitter, transaction, how).await?;
                        by_hand += 1;
                    }
                    Plan::Resettle => {
                        errands.push(self.again(&known, submitter, transaction)?);
                    }
                }
            }
            for transaction in self.in_state(submitter, State::ActionRequired).await? {
                errands.push(self.again(&known, submitter, transaction)?);
            }
        }
        let again = errands.len();
        self.post(errands, self.clock.now().wall.after(SLOT), false).await?;
        let what = format!(
            "counters settle {again} again that had become tickets or needed a fresh card, and close {by_hand} by hand"
        );
        self.screen.say(at, &what);
        Ok(())
    }

    fn posts_by_transaction(&self) -> BTreeMap<TransactionId, u32> {
        let mut known = BTreeMap::new();
        for answered in &self.answers {
            if let Told::Accepted { receipt, .. } = &answered.told {
                known.entry(receipt.id).or_insert(answered.post);
            }
        }
        known
    }

    fn again(
        &mut self,
        known: &BTreeMap<TransactionId, u32>,
        submitter: usize,
        transaction: TransactionId,
    ) -> anyhow::Result<Errand> {
        let original = known
            .get(&transaction)
            .with_context(|| format!("no client knows the transaction {transaction}"))?;
        let now = self.clock.now().wall;
        let post = u32::try_from(self.posts.len())?;
        let again = Post {
            at: now,
            occurred_at: now,
            key: format!("again-{post:06}"),
            twist: Twist::Plain,
            ..self.posts[*original as usize].clone()
        };
        let request =
            resettlement(&again, &self.city, &transaction.to_string(), again.key.clone(), now);
        self.posts.push(again);
        Ok(Errand { post, submitter, request })
    }

    async fn open_tickets(&self, submitter: usize) -> anyhow::Result<Vec<TransactionId>> {
        let free = |ticket: &Value| ticket.get("replaced_by").is_none_or(Value::is_null);
        let tickets = self.pages(submitter, "/v1/tickets", "").await?;
        tickets.iter().filter(|t| free(t)).map(|t| id_of(t, "transaction")).collect()
    }

    async fn in_state(&self, submitter: usize, state: State) -> anyhow::Result<Vec<TransactionId>> {
        let filter = format!("&state={state}");
        let found = self.pages(submitter, "/v1/transactions", &filter).await?;
        found.iter().map(|t| id_of(t, "id")).collect()
    }

    /// Every item of a listing.
    async fn pages(
        &self,
        submitter: usize,
        path: &str,
        filter: &str,
    ) -> anyhow::Result<Vec<Value>> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let url = format!("{path}?limit={ITEMS}{filter}{after}");
            let page: Value = self.http.get(self.submitter(submitter), &url).await?;
            let items = page.get("items").and_then(Value::as_array);
            all.extend(items.with_context(|| format!("{path} has no items"))?.iter().cloned());
            match page.get("next").and_then(Value::as_str) {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(all),
            }
        }
    }

    async fn close_ticket(
        &mut self,
        submitter: usize,
        transaction: TransactionId,
        how: &str,
    ) -> anyhow::Result<()> {
        let ticket = crate::domain::ids::TicketId::from(transaction);
        let path = format!("/v1/tickets/{ticket}/close");
        let body = json!({
            "how": how,
            "by": "counter 3",
            "reason": "the person chose so at the counter",
        });
        let request = Request { key: None, wait: None, body: body.to_string(), files: Vec::new() };
        let answer = self.http.post(self.submitter(submitter), &path, &request).await?;
        if !answer.status.is_success() {
            self.finding(&path, format!("answered {}: {}", answer.status, answer.body));
        }
        Ok(())
    }

    /// The operator puts back what was given up after sure failures.
    ///
    /// # Errors
    /// When the daemon does not obey.
    pub async fn redrive(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let mut count = 0;
        let mut refused = false;
        while !refused {
            let dead: Page<TransactionOut> =
                self.http.get(self.operator(), "/admin/v1/dead-letters").await?;
            if dead.items.is_empty() {
                break;
            }
            for letter in &dead.items {
                let path = format!("/admin/v1/dead-letters/{}/redrive", letter.id);
                let body = json!({"reason": "the settlement path works again"});
                match self.http.order(self.operator(), &path, &body).await? {
                    Ok(_) => count += 1,
                    Err(why) => {
                        refused = true;
                        self.finding(&path, why);
                    }
                }
            }
        }
        if count > 0 {
            self.screen.say(at, &format!("the operator puts back {count} that had been given up"));
        }
        Ok(())
    }

    /// Somebody telephones everyone whose case was pre-accepted.
    ///
    /// # Errors
    /// When the daemon does not take it down.
    pub async fn tell_results(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let pre_accepted: std::collections::BTreeSet<TransactionId> = self
            .answers
            .iter()
            .filter_map(|answered| match &answered.told {
                Told::Accepted { receipt, .. }
                    if receipt.disposition == Disposition::PreAccept.as_str() =>
                {
                    Some(receipt.id)
                }
                Told::Accepted { .. } | Told::TurnedAway { .. } | Told::Invalid { .. } => None,
            })
            .collect();
        for id in &pre_accepted {
            let path = format!("/admin/v1/transactions/{id}/told");
            let body = json!({"how": "telephone", "reason": "called by the hall"});
            if let Err(why) = self.http.order(self.operator(), &path, &body).await? {
                self.finding(&path, why);
            }
        }
        let what =
            format!("{} people are told the result of what was pre-accepted", pre_accepted.len());
        self.screen.say(at, &what);
        Ok(())
    }

    /// The halls look up every registered case, and the portal asks for every date of the week.
    ///
    /// # Errors
    /// When a date is not told.
    pub async fn ask_for_dates(&mut self) -> anyhow::Result<()> {
        for hall in self.city.of_class(Class::Hall) {
            for case in self.pages(hall, "/v1/deadlines", "").await? {
                self.hear_case(&case)?;
            }
        }
        let portal = self.city.of_class(Class::Portal);
        let portal = *portal.first().context("there is no portal")?;
        for day in 9..=17 {
            let url = format!("/v1/deadlines/check?business={DATED}&original=2022-08-{day:02}");
            let told: super::answers::Deadline =
                self.http.get(self.submitter(portal), &url).await?;
            self.tellings.push(Telling {
                about: DATED.to_owned(),
                original: told.original,
                told: told.effective,
                at: self.clock.now().wall,
            });
            if day == SHOWN {
                let (original, effective) = (told.original, told.effective);
                let what = format!("people ask: a date of {original} runs to {effective}");
                self.screen.say(self.clock.now().wall, &what);
            }
        }
        Ok(())
    }
}

fn id_of(item: &Value, field: &str) -> anyhow::Result<TransactionId> {
    let text = item.get(field).and_then(Value::as_str);
    let text = text.with_context(|| format!("an item has no {field}: {item}"))?;
    Ok(text.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Seq;
    use crate::domain::numbers::Numbers;

    #[test]
    fn counters_use_every_way_to_close_a_ticket_and_some_people_stay_away() {
        let last: Vec<Plan> =
            (0..20).map(|seq| plan(Numbers::default().transaction(Seq(seq)), true)).collect();
        let count = |wanted: Plan| last.iter().filter(|&&p| p == wanted).count();
        assert_eq!(count(Plan::Close("waived")), 1);
        assert_eq!(count(Plan::Close("reimbursed_manually")), 2);
        assert_eq!(count(Plan::Later), 1);
        assert_eq!(count(Plan::Resettle), 16);
        let first = (0..20)
            .filter(|&seq| plan(Numbers::default().transaction(Seq(seq)), false) == Plan::Resettle);
        assert_eq!(first.count(), 11);
    }
}
