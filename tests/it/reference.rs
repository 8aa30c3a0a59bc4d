//! A second opinion on windows and deadlines: a model that counts minutes, against the engine.
//!
//! The model knows nothing of the engine's code. It keeps for each window the minutes that are
//! planned, the minutes that were published and the acts, and answers every question by counting:
//! is this minute stopped, which day is the first that is worked and opens after that minute.
//! Generated lives of windows (declared, moved, cancelled, restored early, late or in parts,
//! released, overlapping, under a clock that is set) are played to both, minute by minute where
//! gates turn, and every answer is compared.
//!
//! Not here: transactions' order, retries and crashes (`engine_simulation`), rows with times of
//! their own, districts and channels (`deadlines`, `notice_policy`).

mod life;
mod model;

use life::{Act, Life};
use model::Disposed::{Hold, Pass, Refuse, Release};
use model::Moves;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::sync::atomic::{AtomicU64, Ordering};

/// Steps that must have been compared; what one run takes about half a minute for.
const STEPS: u64 = 1_000_000;

fn disposed() -> impl Strategy<Value = model::Disposed> {
    prop_oneof![1 => Just(Pass), 3 => Just(Hold), 1 => Just(Release), 2 => Just(Refuse)]
}

fn moves() -> impl Strategy<Value = Option<Moves>> {
    proptest::option::weighted(
        0.9,
        prop_oneof![
            3 => Just(Moves::FirstFullDay),
            2 => (1_u32..9).prop_map(Moves::WorkingDays),
            1 => (1_u32..20).prop_map(Moves::Days),
            2 => Just(Moves::Shift),
            1 => (10_u32..90).prop_map(Moves::Fixed),
        ],
    )
}

fn act() -> impl Strategy<Value = Act> {
    let window = 0_usize..4;
    let which = prop_oneof![Just([true, false]), Just([false, true]), Just([true, true])];
    prop_oneof![
        6 => (1_u32..40).prop_map(Act::Minutes),
        4 => (1_u32..2400).prop_map(Act::Jump),
        3 => (-300_i32..4000, 1_u32..5000, [disposed(), disposed()], moves(), any::<bool>(), 0_u32..4)
            .prop_map(|(starts_in, lasts, rows, moves, no_leapfrog, at_least)| Act::Declare {
                starts_in, lasts, rows, moves, no_leapfrog, at_least_minutes: at_least * 1200,
            }),
        3 => (window.clone(), -2000_i32..3000).prop_map(|(window, by)| Act::MoveEnd { window, by }),
        1 => window.clone().prop_map(Act::Cancel),
        4 => (window.clone(), which.clone()).prop_map(|(window, which)| Act::Restore { window, which }),
        3 => (window, which).prop_map(|(window, which)| Act::Release { window, which }),
        4 => (0_usize..2, proptest::option::of(0_u32..60)).prop_map(|(business, due)| Act::Submit { business, due }),
        4 => (0_usize..2, 0_u32..70).prop_map(|(business, day)| Act::Check { business, day }),
        1 => (-4000_i32..4000).prop_map(Act::SetClock),
        1 => Just(Act::SetClock(0)),
    ]
}

#[test]
fn counting_minutes_and_the_engine_agree_over_a_million_steps() {
    static COMPARED: AtomicU64 = AtomicU64::new(0);
    let config =
        Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut seed = 0;
    while COMPARED.load(Ordering::Relaxed) < STEPS {
        seed += 1;
        let config = Config {
            cases: 200,
            rng_seed: proptest::test_runner::RngSeed::Fixed(seed),
            ..config.clone()
        };
        let lives = proptest::collection::vec(act(), 1..60);
        let mut runner = TestRunner::new(config);
        let played = runner.run(&lives, |acts| {
            let compared = Life::play(&acts).map_err(TestCaseError::fail)?;
            COMPARED.fetch_add(compared, Ordering::Relaxed);
            Ok(())
        });
        if let Err(difference) = played {
            panic!("seed {seed}: {difference}");
        }
    }
}

/// Lives in which the two once differed, as they were shrunk.
#[test]
fn what_once_differed_agrees() {
    for acts in REGRESSIONS {
        Life::play(acts).unwrap();
    }
}

const REGRESSIONS: &[&[Act]] = &[
    // A part was restored, and what let the other part through was forgotten before its end.
    &[
        Act::Declare {
            starts_in: 0,
            lasts: 917,
            rows: [Pass, Pass],
            moves: None,
            no_leapfrog: false,
            at_least_minutes: 0,
        },
        Act::Minutes(1),
        Act::Restore { window: 0, which: [true, false] },
        Act::Submit { business: 1, due: None },
    ],
];
