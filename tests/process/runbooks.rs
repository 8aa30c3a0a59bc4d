//! The runbooks, run as they stand: every command of every page, against a live daemon.
//!
//! Each procedure has a scene: a daemon and a core in the state in which the page is read, the
//! page, and the state after it. The pages of alerts and error codes, whose commands change
//! nothing, share one standing scene. What a page says in words, and whether all pages are there,
//! is looked at in the in-process tests.

mod machine;
#[path = "../it/runbooks/page.rs"]
mod page;
mod shell;
mod stage;
mod standing;
mod stops;
mod transactions;

use page::{Page, pages};
use std::collections::BTreeSet;

/// One test a procedure, and the list of them.
macro_rules! scenes {
    ($($page:literal, $test:ident: $scene:path;)*) => {
        const SCENES: &[&str] = &[$($page),*];
        $(
            #[test]
            fn $test() {
                $scene(&procedure($page));
            }
        )*
    };
}

scenes! {
    "declare-a-window", a_window_is_declared_read_back_and_taken_back: stops::declare;
    "weekend-hour-by-hour", a_weekend_is_looked_at_hour_by_hour: stops::weekend;
    "extend-a-window", a_window_is_extended: stops::extend;
    "end-a-window-early", a_window_is_ended_early: stops::end_early;
    "core-back-early", a_part_of_the_core_is_certified_early: stops::back_early;
    "core-back-late", a_late_core_moves_the_end_and_opens_nothing: stops::back_late;
    "core-answers-wrongly", a_core_that_answers_wrongly_is_closed_and_opened: stops::answers_wrongly;
    "replay-stuck", a_forgotten_closing_is_found_and_taken_back: stops::stuck;
    "redrive-dead-letters", dead_letters_are_redriven: transactions::redrive;
    "in-doubt", a_doubt_is_settled_by_the_books_of_the_core: transactions::in_doubt;
    "monday-tickets", tickets_are_closed_on_monday: transactions::tickets;
    "holdover-down", what_went_another_way_takes_effect_once: transactions::holdover_down;
    "rotate-keys", a_key_is_rotated_without_a_gap: machine::rotate_keys;
    "disk-full", a_full_disk_takes_again: machine::disk_full;
    "damaged-index", an_index_is_put_aside: machine::damaged_index;
    "damaged-journal", a_damaged_segment_comes_from_a_copy: machine::damaged_journal;
    "restore-on-another-machine", another_machine_goes_on_with_the_books: machine::restore;
    "upgrade-and-rollback", a_program_is_exchanged_and_put_back: machine::upgrade;
    "change-the-configuration", a_limit_is_raised_and_taken_back: machine::change_configuration;
    "clock-wrong", a_clock_is_signed_for: machine::clock_wrong;
    "kafka-lost", brokers_go_away_and_come_back: machine::kafka_lost;
}

fn procedure(name: &str) -> Page {
    let path = format!("procedures/{name}.md");
    let found = pages().into_iter().find(|page| page.path == path);
    found.unwrap_or_else(|| panic!("there is no runbooks/{path}"))
}

#[test]
fn every_procedure_has_a_scene_and_every_scene_a_procedure() {
    let pages = pages();
    let names = pages.iter().filter_map(|page| page.path.strip_prefix("procedures/"));
    let there: BTreeSet<&str> = names.filter_map(|name| name.strip_suffix(".md")).collect();
    assert_eq!(there, SCENES.iter().copied().collect());
}

#[test]
fn pages_of_alerts_and_codes_change_nothing() {
    let others = pages().into_iter().filter(|page| !page.path.starts_with("procedures/"));
    standing::play(&others.collect::<Vec<_>>());
}
