//! Walks the clock over the stage, slot by slot: play the plot's cues, post what stands in the
//! schedule, let everybody become idle, jump on.
//!
//! ```text
//!  slot begins ─► cues ─► registrations, withdrawals, posts (64 at a time) ─► idle ─► next slot
//!                              └ meanwhile time passes only where somebody waits for it
//! ```
//!
//! A kill is given in the middle of posts or of a replay; the daemon is started again at once,
//! and clients repeat what was cut off. Every wait has a bound in real time. An order that is
//! refused is a finding, and the run goes on; what cannot be gone on from ends the run, and the
//! proof is made of what there is.

use super::answers::{self, Answered, Told};
use super::bodies::{Request, registration, request};
use super::client::Http;
use super::processes;
use super::proof::Broken;
use super::proof::dates::Telling;
use super::run::{Act, Registered, Run, WINDOW};
use super::schedule::{PLANNED_END, SLOT, STOPS};
use super::script::{Cue, Scene, plot, released, restored};
use crate::admin::types::{ForCells, LedgerOut, MoveEnd, WindowOut};
use crate::daemon::clock::{Stopwatch, real_sleep};
use crate::daemon::driven::ClockServer;
use crate::domain::cell::Selector;
use crate::domain::policy::Row;
use crate::domain::time::Timestamp;
use crate::engine::ports::Clock;
use anyhow::{Context, anyhow, bail};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// Posts under way at a time.
const AT_A_TIME: usize = 64;
/// The longest, in real time, that one slot may take: longer is a daemon that is stuck.
const SLOT_MAX: Duration = Duration::from_secs(60);
/// How long it may take to find out who is awaited.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// The longest, in real time, that the whole run may take.
const RUN_MAX: Duration = Duration::from_secs(600);
/// Posts that must be under way for a kill to be worth it.
const UNDER_WAY: usize = 6;
/// How long before the end of its slot time stands for posts that are not answered yet.
const MARGIN: Duration = Duration::from_secs(10);
/// Between two looks at a replay, in real time.
const LOOK_AGAIN: Duration = Duration::from_millis(4);
/// Effects that show that a replay is in its middle, where there is that much to replay.
const MIDDLE: u64 = 200;

/// The clauses of what the agency handles: filings, and reimbursement by hand.
const HANDLED: [&str; 2] = ["(二)", "(三)"];

/// The business whose dates are registered.
pub(super) const DATED: &str = "reimbursement.manual";

/// One post that is to be answered.
#[derive(Debug, Clone)]
pub struct Errand {
    /// Its place among the posts.
    pub post: u32,
    /// Who posts it.
    pub submitter: usize,
    /// What it says.
    pub request: Request,
}

impl Run {
    /// Plays everything from the beginning to the end, as far as it goes.
    pub async fn play(&mut self) {
        let played = match tokio::time::timeout(RUN_MAX, self.slots()).await {
            Ok(played) => played,
            Err(_) => Err(anyhow!("it was not over after {} s", RUN_MAX.as_secs())),
        };
        self.completed = played.is_ok();
        if let Err(error) = played {
            let at = self.clock.now().wall.rfc3339(super::bodies::ZONE);
            self.finding("run", format!("the run ended at {at}: {error:#}"));
        }
        self.screen.finish();
    }

    /// Notes what should not have happened.
    pub(super) fn finding(&mut self, id: &str, what: impl Into<String>) {
        self.findings.push(Broken::new("plot", id, what));
    }

    async fn slots(&mut self) -> anyhow::Result<()> {
        let mut cues: VecDeque<Cue> = plot(self.schedule.agency_back)?.into();
        let (mut post, mut registration, mut withdrawal) = (0, 0, 0);
        let mut kill = false;
        for slot in self.schedule.slots() {
            self.walk_to(slot).await?;
            let ends = slot.after(SLOT);
            while cues.front().is_some_and(|cue| cue.at < ends) {
                let Some(cue) = cues.pop_front() else { break };
                kill |= cue.scene == Scene::KillUnderPosts;
                self.cue(cue).await?;
            }
            while self.schedule.registrations.get(registration).is_some_and(|r| r.at < ends) {
                self.register(registration).await?;
                registration += 1;
            }
            let mut errands = Vec::new();
            while self.schedule.posts.get(post).is_some_and(|p| p.at < ends) {
                let (number, planned) = (u32::try_from(post)?, &self.posts[post]);
                errands.push(Errand {
                    post: number,
                    submitter: planned.submitter,
                    request: request(planned, &self.city),
                });
                post += 1;
            }
            // A kill needs posts under way, so it waits for a slot that has enough of them.
            let now = kill && errands.len() >= UNDER_WAY;
            kill &= !now;
            self.post(errands, ends, now).await?;
            while self.schedule.withdrawals.get(withdrawal).is_some_and(|w| w.0 < ends) {
                self.withdraw(self.schedule.withdrawals[withdrawal].1).await?;
                withdrawal += 1;
            }
            self.look_at_backlog().await?;
            self.screen.reached(slot);
        }
        self.walk_to(self.schedule.ends).await
    }

    /// Walks the clock to `at`.
    async fn walk_to(&mut self, at: Timestamp) -> anyhow::Result<()> {
        let walking = self.clock.advance_when_idle(at);
        if tokio::time::timeout(SLOT_MAX, walking).await.is_ok() {
            return Ok(());
        }
        let who = tokio::time::timeout(LOOK_MAX, self.clock.who_is_awaited()).await;
        let who = who.unwrap_or_else(|_| "somebody does not answer".to_owned());
        bail!("nobody became idle before {at}: {who}")
    }

    async fn cue(&mut self, cue: Cue) -> anyhow::Result<()> {
        let now = self.clock.now().wall;
        if now < cue.at {
            self.walk_to(cue.at).await?;
        }
        match cue.scene {
            Scene::Core { upstream, script, told } => {
                let url = self.core(upstream)?.script_url();
                self.http.control(&url, &*script).await?;
                self.screen.say(cue.at, told);
            }
            Scene::Milestone(what) => self.screen.say(cue.at, what),
            Scene::Restore(upstream) => {
                let what = format!("the operator certifies that {upstream} is back");
                self.act("restore", restored(&upstream), &what, false).await?;
            }
            Scene::Extend(ends_at) => self.extend(ends_at).await?,
            Scene::Release(district) => {
                let what = match &district {
                    Some(district) => format!("district {district} lets its filings go"),
                    None => "all other filings are let go".to_owned(),
                };
                self.act("release", released(district.as_ref()), &what, true).await?;
            }
            Scene::KillUnderPosts => {}
            Scene::KillInReplay => self.kill_in_replay().await?,
            Scene::Redrive => self.redrive(cue.at).await?,
            Scene::SettleTickets { last } => self.settle_tickets(cue.at, last).await?,
            Scene::TellResults => self.tell_results(cue.at).await?,
            Scene::AskForDates => self.ask_for_dates().await?,
        }
        Ok(())
    }

    /// Puts off the end of every row that stops what the agency handles.
    async fn extend(&mut self, ends_at: Timestamp) -> anyhow::Result<()> {
        let at = self.everywhere().await;
        let path = format!("/admin/v1/windows/{WINDOW}");
        let window: WindowOut = self.http.get(self.operator(), &path).await?;
        let path = format!("{path}/extend");
        let agency = |row: &Row| HANDLED.iter().any(|clause| row.clause.starts_with(clause));
        for row in (0..).zip(&window.policy).filter(|(_, row)| agency(row)).map(|(place, _)| place)
        {
            let reason = "the agency's system needs longer".to_owned();
            let body = MoveEnd { ends_at: Some(ends_at), row: Some(row), reason };
            if let Err(refused) = self.http.order(self.operator(), &path, &body).await? {
                self.finding(&path, refused);
                return Ok(());
            }
        }
        self.extended = Some((at, ends_at));
        let until = ends_at.rfc3339(super::bodies::ZONE);
        self.screen.say(at, &format!("the operator puts the agency's part off to {until}"));
        Ok(())
    }

    /// The time, when it is that for every process: a follower's clock is behind by a message's
    /// way, and a core would log what comes of an act as earlier than the act.
    async fn everywhere(&self) -> Timestamp {
        let at = self.clock.now().wall;
        self.clock.jump_to(at).await;
        at
    }

    /// A named person's act.
    async fn act(
        &mut self,
        verb: &str,
        cells: Selector,
        what: &str,
        is_release: bool,
    ) -> anyhow::Result<()> {
        let at = self.everywhere().await;
        let all = cells == Selector::default();
        let body = ForCells { cells: cells.clone(), all, reason: what.to_owned() };
        let path = format!("/admin/v1/windows/{WINDOW}/{verb}");
        match self.http.order(self.operator(), &path, &body).await? {
            Ok(_) => {
                self.acts.push(Act { cells, at, is_release });
                self.screen.say(at, what);
            }
            Err(refused) => self.finding(&path, refused),
        }
        Ok(())
    }

    /// Posts `errands`, many at a time, and lets time pass meanwhile, but not beyond `ends`.
    ///
    /// # Errors
    /// When a post stays without an answer, or the daemon cannot be started again.
    pub async fn post(
        &mut self,
        errands: Vec<Errand>,
        ends: Timestamp,
        kill: bool,
    ) -> anyhow::Result<()> {
        if errands.is_empty() && !kill {
            return Ok(());
        }
        let total = errands.len();
        let work = Work::of(errands);
        let mut workers = JoinSet::new();
        for _ in 0..AT_A_TIME.min(total) {
            workers.spawn(worker(self.worker_seed(), work.clone()));
        }
        let posting = async {
            while let Some(done) = workers.join_next().await {
                done.context("a client panicked")??;
            }
            anyhow::Ok(())
        };
        let clock = self.clock.clone();
        let passing = async {
            clock.advance_when_idle(ends.before(MARGIN)).await;
            std::future::pending::<()>().await;
        };
        let answered = work.clone();
        let killing = async {
            if kill {
                while !answered.is_in_the_middle(total) {
                    real_sleep(Duration::from_micros(200)).await;
                }
                self.kill("while posts are under way").await?;
                self.start_again().await?;
            }
            anyhow::Ok(())
        };
        let all = async { tokio::try_join!(posting, killing).map(|_| ()) };
        let ended = tokio::select! {
            ended = tokio::time::timeout(SLOT_MAX, all) => match ended {
                Ok(ended) => ended,
                Err(_) => Err(anyhow!("some posts were not answered in time")),
            },
            () = passing => Err(anyhow!("time passed for ever")),
        };
        // What was answered is held, however the slot ended.
        workers.abort_all();
        let held = work.take();
        self.unanswered += u64::try_from(total - held.len())?;
        for answered in &held {
            self.remember_date(answered);
        }
        self.answers.extend(held);
        ended
    }

    fn worker_seed(&self) -> Client {
        let keys = (0..self.city.submitters.len())
            .map(|place| self.submitter(place).key.to_owned())
            .collect();
        Client {
            http: self.http.clone(),
            clock: self.clock.clone(),
            base: self.submitter(0).base.to_owned(),
            keys,
        }
    }

    async fn kill(&mut self, when: &str) -> anyhow::Result<()> {
        processes::kill(&mut self.daemon).await?;
        let at = self.everywhere().await;
        self.kills.push(at);
        self.screen.say(at, &format!("the daemon is killed (SIGKILL) {when}, and started again"));
        Ok(())
    }

    /// Waits until the replay that begins now is in its middle, then kills the daemon.
    async fn kill_in_replay(&mut self) -> anyhow::Result<()> {
        let until = PLANNED_END.after(3 * SLOT).before(MARGIN);
        let ledger = self.ledger().await?;
        let waiting = ledger.items.get("waiting").copied().unwrap_or(0);
        let middle = MIDDLE.min(u64::try_from(waiting / 8).unwrap_or(0)).max(1);
        let stats = self.core("settlement")?.stats_url();
        let http = self.http.clone();
        let before = effects(&http, &stats).await?;
        let patience = Stopwatch::start();
        let clock = self.clock.clone();
        let passing = clock.advance_when_idle(until);
        let watching = async {
            while effects(&http, &stats).await? < before + middle {
                if patience.elapsed() > SLOT_MAX {
                    return Ok(false);
                }
                real_sleep(LOOK_AGAIN).await;
            }
            anyhow::Ok(true)
        };
        tokio::pin!(passing, watching);
        let met = tokio::select! {
            biased;
            seen = &mut watching => seen?,
            () = &mut passing => false,
        };
        if !met {
            self.finding("replay", "what was held did not set out after the stop");
            return Ok(());
        }
        self.kill("in the middle of the replay").await?;
        self.start_again().await
    }

    async fn withdraw(&mut self, post: u32) -> anyhow::Result<()> {
        let told = self.answers.iter().find(|a| a.post == post).map(|a| &a.told);
        let Some(Told::Accepted { receipt, .. }) = told else { return Ok(()) };
        let path = format!("/v1/transactions/{}/withdraw", receipt.id);
        let submitter = self.submitter(self.posts[post as usize].submitter);
        let body = serde_json::json!({"reason": "the person has changed their mind"});
        let request = Request { key: None, wait: None, body: body.to_string(), files: Vec::new() };
        let answer = self.http.post(submitter, &path, &request).await?;
        if !answer.status.is_success() {
            self.finding(&path, format!("answered {}: {}", answer.status, answer.body));
        }
        Ok(())
    }

    async fn register(&mut self, number: usize) -> anyhow::Result<()> {
        let planned = &self.schedule.registrations[number];
        let body = registration(DATED, planned.original, &planned.reference);
        let request = Request { key: None, wait: None, body, files: Vec::new() };
        let submitter = self.submitter(planned.submitter);
        let answer = self.http.post(submitter, "/v1/deadlines", &request).await?;
        if !answer.status.is_success() {
            self.finding("/v1/deadlines", format!("answered {}: {}", answer.status, answer.body));
            return Ok(());
        }
        self.hear_case(&answer.body)
    }

    /// Takes in a registered case as it was told.
    ///
    /// # Errors
    /// When it is not in the shape that the interface describes.
    pub fn hear_case(&mut self, case: &serde_json::Value) -> anyhow::Result<()> {
        let id = case.get("id").and_then(|id| id.as_str()).context("a case has no number")?;
        let told: answers::Deadline = serde_json::from_value(case.clone())
            .with_context(|| format!("a case was told as {case}"))?;
        let at = self.clock.now().wall;
        self.tellings.push(Telling {
            about: id.to_owned(),
            original: told.original,
            told: told.effective,
            at,
        });
        let id = id.parse()?;
        let effective = told.effective;
        let rule = told.rule;
        self.registered.insert(id, Registered { id, original: told.original, effective, rule });
        Ok(())
    }

    fn remember_date(&mut self, answered: &Answered) {
        let deadline = match &answered.told {
            Told::Accepted { receipt, .. } => receipt.deadline.as_ref(),
            Told::TurnedAway { deadline, .. } => deadline.as_ref(),
            Told::Invalid { .. } => None,
        };
        // A repeat gets the words of its original, which may be older than what was told since.
        let planned = &self.posts[answered.post as usize];
        if let (Some(told), super::schedule::Twist::Plain) = (deadline, planned.twist) {
            self.tellings.push(Telling {
                about: DATED.to_owned(),
                original: told.original,
                told: told.effective,
                at: answered.answered_at,
            });
        }
    }

    /// The daemon's books.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn ledger(&self) -> anyhow::Result<LedgerOut> {
        self.http.get(self.operator(), "/admin/v1/ledger").await
    }

    async fn look_at_backlog(&mut self) -> anyhow::Result<()> {
        let now = self.clock.now().wall;
        if STOPS <= now && now < PLANNED_END.max(self.schedule.agency_back) {
            let ledger = self.ledger().await?;
            let waiting = ledger.items.get("waiting").copied().unwrap_or(0);
            self.held_peak = self.held_peak.max(u64::try_from(waiting).unwrap_or(0));
        }
        Ok(())
    }
}

/// What one worker needs of the run.
struct Client {
    http: Http,
    clock: ClockServer,
    base: String,
    keys: Vec<String>,
}

/// The posts of a slot, shared by its workers. Cheap to clone.
#[derive(Clone)]
struct Work {
    left: Arc<Mutex<VecDeque<Errand>>>,
    held: Arc<Mutex<Vec<Answered>>>,
}

impl Work {
    fn of(errands: Vec<Errand>) -> Self {
        Self { left: Arc::new(Mutex::new(errands.into())), held: Arc::default() }
    }

    fn next(&self) -> Option<Errand> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn hold(&self, answered: Answered) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
    }

    /// Whether a kill now meets acknowledgements that nothing but the journal stands for: some
    /// are given, others still to come, and the latest one was a bare one.
    fn is_in_the_middle(&self, total: usize) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let bare = held.last().is_some_and(|last| match &last.told {
            Told::Accepted { outcome, .. } => outcome.is_none(),
            Told::TurnedAway { .. } => true,
            Told::Invalid { .. } => false,
        });
        (held.len() >= total / 3 && bare) || held.len() >= total * 2 / 3
    }

    fn take(&self) -> Vec<Answered> {
        std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn worker(client: Client, work: Work) -> anyhow::Result<()> {
    while let Some(errand) = work.next() {
        let door = super::client::Door { base: &client.base, key: &client.keys[errand.submitter] };
        let sent_at = client.clock.now().wall;
        let answer = client.http.post(door, "/v1/transactions", &errand.request).await?;
        work.hold(Answered {
            post: errand.post,
            sent_at,
            answered_at: client.clock.now().wall,
            told: answers::read(&answer)?,
            cut_off: answer.cut_off,
            put_off: answer.put_off,
        });
    }
    Ok(())
}

async fn effects(http: &Http, stats: &str) -> anyhow::Result<u64> {
    let stats = http.look(stats).await.context("the simulated core does not answer")?;
    let per_upstream = stats
        .get("upstreams")
        .and_then(|upstreams| upstreams.as_object())
        .context("the counters have another shape")?;
    Ok(per_upstream.values().filter_map(|part| part.get("effects")?.as_u64()).sum())
}
