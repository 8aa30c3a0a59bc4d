//! What happens to the cores and what operators do, and when: the demo's plot.
//!
//! The settlement path stays alive and stumbles now and then; the agency and the portal are
//! stopped at the published start. The portal is back in time. The agency is back when the plan
//! says so, after probes that it failed, and refuses everything at first. Where it is back before the
//! published end, an operator signs for it. Else an operator puts its end off while the stop is on,
//! it is later even than that, and its probes must prove it.

use super::population::AGENCY_DISTRICTS;
use super::schedule::{BEGINS, PLANNED_END, STOPS};
use crate::domain::cell::Selector;
use crate::domain::ids::{District, InvalidId, UpstreamName};
use crate::domain::time::Timestamp;
use crate::upstream::scripted::{Busy, Chance, LateApply, Refuse, Script};
use std::time::Duration;

/// The upstreams of the configuration.
pub const UPSTREAMS: [&str; 3] = ["settlement", "agency", "portal"];

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Refusals with one code while the agency is coming up: enough to close its gate several times,
/// because a kill may come between them and begin the count anew.
const STUMBLES: u64 = 40;

/// What is done to the scene.
#[derive(Debug, Clone, PartialEq)]
pub enum Scene {
    /// A core is told how to behave.
    Core {
        /// Which one.
        upstream: &'static str,
        /// How.
        script: Box<Script>,
        /// For the timeline.
        told: &'static str,
    },
    /// A named person certifies that an upstream is back.
    Restore(UpstreamName),
    /// A named person puts off the end of what the agency handles.
    Extend(Timestamp),
    /// A named person lets the filings of some districts go; of all that is left where none is
    /// named.
    Release(Option<District>),
    /// The daemon is killed while posts are under way.
    KillUnderPosts,
    /// The daemon is killed in the middle of the replay that begins now.
    KillInReplay,
    /// The clock passes the published start or end: a line in the timeline.
    Milestone(&'static str),
    /// The operator puts back what was given up after sure failures.
    Redrive,
    /// Counters settle again what became a ticket, or close it by hand.
    SettleTickets {
        /// Whether nothing is left for later.
        last: bool,
    },
    /// People are told the results of what was pre-accepted.
    TellResults,
    /// People ask for the dates that hold for them.
    AskForDates,
}

/// One entry of the plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Cue {
    /// When.
    pub at: Timestamp,
    /// What.
    pub scene: Scene,
}

fn share(probability: f64) -> Chance {
    Chance { probability, next: 0 }
}

/// How the settlement core behaves on an ordinary day: now and then an answer is lost.
fn ordinary() -> Script {
    Script {
        lose_before: share(0.002),
        lose_after: share(0.003),
        late_apply: Some(LateApply { after_ms: 20_000, chance: share(0.001) }),
        slow_ms: 4,
        ..Script::default()
    }
}

/// How the settlement core takes the replay of what was held: now and then it asks for patience,
/// or a call or its answer is lost.
fn stumbling() -> Script {
    Script {
        lose_before: share(0.02),
        lose_after: share(0.03),
        busy: Some(Busy { status: 503, retry_after_seconds: Some(5), chance: share(0.15) }),
        ..ordinary()
    }
}

/// Until when the operator puts off the end of an agency that will be back late: half of what it will
/// take, and two hours less than that at least.
#[must_use]
pub fn put_off_to(agency_back: Timestamp) -> Option<Timestamp> {
    let late = agency_back.since(PLANNED_END);
    (PLANNED_END < agency_back).then(|| agency_back.before((late / 2).min(2 * HOUR)))
}

/// The plot for an agency that is back at `agency_back`, by time.
///
/// # Errors
/// Never for the names that stand here.
pub fn plot(agency_back: Timestamp) -> Result<Vec<Cue>, InvalidId> {
    let mut cues = Vec::new();
    let mut cue = |at: Timestamp, scene: Scene| cues.push(Cue { at, scene });
    let core =
        |upstream, script: Script, told| Scene::Core { upstream, script: Box::new(script), told };
    let down = || Script { down: true, ..Script::default() };
    cue(
        BEGINS,
        core("settlement", ordinary(), "the settlement path works, now and then an answer is lost"),
    );
    cue(STOPS, Scene::Milestone("the stop begins, as published"));
    cue(STOPS, core("agency", down(), "the agency's system is shut down"));
    cue(STOPS, core("portal", down(), "the on-line platform is shut down"));
    for (at, length, script, told) in troubles() {
        cue(at, core("settlement", script, told));
        cue(at.after(length), core("settlement", ordinary(), "the settlement path works again"));
        cue(at.after(length + 30 * MINUTE), Scene::Redrive);
    }
    cue(STOPS.after(15 * HOUR + 20 * MINUTE), Scene::KillUnderPosts);
    cue(STOPS.after(16 * HOUR), Scene::AskForDates);
    if let Some(ends_at) = put_off_to(agency_back) {
        cue(PLANNED_END.before(40 * MINUTE), Scene::Extend(ends_at));
        cue(PLANNED_END.before(30 * MINUTE), Scene::AskForDates);
    }
    cue(
        PLANNED_END.before(10 * MINUTE),
        core("portal", Script::default(), "the on-line platform answers again"),
    );
    cue(PLANNED_END, Scene::Milestone("the published end; nothing opens before it is proved"));
    if agency_back > PLANNED_END {
        let ill = Script { probe_fails: true, ..Script::default() };
        cue(
            PLANNED_END,
            core("agency", ill, "the agency's system is started, and fails its probes"),
        );
    }
    cue(
        PLANNED_END,
        core("settlement", stumbling(), "the settlement path stumbles as others start"),
    );
    cue(PLANNED_END, Scene::KillInReplay);
    cue(
        PLANNED_END.after(20 * MINUTE),
        core("settlement", ordinary(), "the settlement path works again"),
    );
    cue(PLANNED_END.after(50 * MINUTE), Scene::Redrive);
    let coming_up = Script {
        refuse: vec![Refuse {
            business: None,
            code: "STARTING_UP".to_owned(),
            next: Some(STUMBLES),
        }],
        slow_ms: 4,
        ..Script::default()
    };
    cue(
        agency_back,
        core("agency", coming_up, "the agency's system answers, and refuses at first"),
    );
    if agency_back < PLANNED_END {
        cue(agency_back, Scene::Restore("agency".parse()?));
    }
    let [first, second] = AGENCY_DISTRICTS.map(|district| district.to_string());
    cue(agency_back.after(10 * MINUTE), Scene::Release(Some(first.parse()?)));
    cue(agency_back.after(40 * MINUTE), Scene::Release(Some(second.parse()?)));
    let everything_back = agency_back.max(PLANNED_END);
    cue(everything_back.after(80 * MINUTE), Scene::Release(None));
    cue(everything_back.after(2 * HOUR), Scene::TellResults);
    cue(everything_back.after(2 * HOUR), Scene::AskForDates);
    cue(PLANNED_END.after(2 * HOUR), Scene::SettleTickets { last: false });
    cue(everything_back.after(7 * HOUR), Scene::SettleTickets { last: true });
    cue(everything_back.after(7 * HOUR), Scene::Redrive);
    cue(everything_back.after(7 * HOUR), Scene::AskForDates);
    cues.sort_by_key(|cue| cue.at);
    Ok(cues)
}

/// The short failures of the settlement path: when, how long, how, in words.
fn troubles() -> Vec<(Timestamp, Duration, Script, &'static str)> {
    let stop_after = |hours: u32, minutes: u32| STOPS.after(HOUR * hours + MINUTE * minutes);
    let busy = Busy { status: 503, retry_after_seconds: Some(30), chance: share(1.0) };
    vec![
        (
            stop_after(1, 0),
            20 * MINUTE,
            Script { busy: Some(busy), ..ordinary() },
            "the settlement path is overloaded (503)",
        ),
        (
            stop_after(14, 30),
            20 * MINUTE,
            Script { lose_after: share(0.4), ..ordinary() },
            "answers of the settlement path are lost after it has applied",
        ),
        (
            stop_after(19, 0),
            10 * MINUTE,
            Script { down: true, ..Script::default() },
            "the settlement path is away",
        ),
        (
            stop_after(39, 20),
            20 * MINUTE,
            Script { lose_before: share(0.4), ..ordinary() },
            "calls to the settlement path are lost before it has applied",
        ),
        (
            stop_after(45, 0),
            10 * MINUTE,
            Script { maintenance_page: share(1.0), ..ordinary() },
            "a maintenance page stands in front of the settlement path (200, HTML)",
        ),
    ]
}

/// The cells that a release speaks of.
#[must_use]
pub fn released(district: Option<&District>) -> Selector {
    Selector { district: district.into_iter().cloned().collect(), ..Selector::default() }
}

/// The cells that a restore speaks of.
#[must_use]
pub fn restored(upstream: &UpstreamName) -> Selector {
    Selector { upstream: vec![upstream.clone()], ..Selector::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::schedule::AGENCY_BACK;

    fn scenes(agency_back: Timestamp) -> Vec<Cue> {
        plot(agency_back).unwrap()
    }

    #[test]
    fn the_plot_stands_in_order_and_every_trouble_is_mended() {
        let cues = scenes(AGENCY_BACK);
        assert!(cues.is_sorted_by_key(|cue| cue.at));
        let last = |upstream: &str| {
            cues.iter()
                .filter_map(|cue| match &cue.scene {
                    Scene::Core { upstream: of, script, .. } if *of == upstream => Some(script),
                    _ => None,
                })
                .next_back()
                .unwrap()
                .clone()
        };
        for upstream in UPSTREAMS {
            assert!(!last(upstream).down, "{upstream}");
        }
        assert!(last("settlement").busy.is_none());
        assert_eq!(last("settlement").maintenance_page, Chance::default());
    }

    #[test]
    fn an_agency_that_is_back_early_is_signed_for_and_a_late_one_is_not() {
        let early = "2022-08-14T20:00:00+08:00".parse().unwrap();
        let signed =
            |at| scenes(at).iter().filter(|cue| matches!(cue.scene, Scene::Restore(_))).count();
        assert_eq!((signed(early), signed(AGENCY_BACK)), (1, 0));
    }

    #[test]
    fn an_agency_that_will_be_late_is_put_off_while_the_stop_is_on_and_is_later_still() {
        let early = "2022-08-14T20:00:00+08:00".parse().unwrap();
        assert_eq!(put_off_to(early), None);
        let slips: Timestamp = "2022-08-16T10:00:00+08:00".parse().unwrap();
        for (back, expected) in
            [(AGENCY_BACK, "2022-08-15T06:35:00+08:00"), (slips, "2022-08-16T08:00:00+08:00")]
        {
            let ends_at = expected.parse().unwrap();
            let cues = scenes(back);
            let cue = cues.iter().find(|cue| cue.scene == Scene::Extend(ends_at)).unwrap();
            assert!(cue.at < PLANNED_END && PLANNED_END < ends_at && ends_at < back);
        }
    }

    #[test]
    fn nothing_is_released_for_good_before_every_part_is_back() {
        let early = "2022-08-14T20:00:00+08:00".parse().unwrap();
        for back in [early, AGENCY_BACK] {
            let cues = scenes(back);
            let rest = cues.iter().find(|cue| cue.scene == Scene::Release(None)).unwrap();
            assert!(rest.at > back && rest.at > PLANNED_END);
        }
    }
}
