//! What is small enough to be explored with every change. `table` has more.

use super::explore::{Report, explore};
use super::variants::{flawed, one_way, troubled, two_way};
use super::{BrokenAssumption, Flaw, Model};
use crate::ReservationOutcome;
use crate::wire::Refusal;

fn expect_safe(model: &Model) -> Report {
    let report = explore(model);
    assert!(
        report.violation.is_none(),
        "{}",
        report.violation.unwrap_or_default()
    );
    report
}

fn expect_broken(model: &Model) {
    let Report {
        states, violation, ..
    } = explore(model);
    let Model {
        flaw,
        trouble,
        rules,
        ..
    } = model;
    assert!(
        violation.is_some(),
        "{rules:?} in all {states} states with {flaw:?} {trouble:?}"
    );
}

#[test]
fn two_nodes_that_ask_twice_are_never_in_two_meetings_and_never_stuck() {
    for model in [one_way(2, 2, 0), two_way(2, 2, 0)] {
        let seen = expect_safe(&model).seen;
        let all = [
            ReservationOutcome::Met,
            ReservationOutcome::Expired,
            ReservationOutcome::NoAnswer,
            ReservationOutcome::Withdrawn,
            ReservationOutcome::Refused(Refusal::Crossed),
            ReservationOutcome::Refused(Refusal::Busy),
            ReservationOutcome::Refused(Refusal::Spawn),
        ];
        for outcome in &all {
            assert!(seen.contains(outcome), "{outcome:?} did not occur");
        }
    }
}

#[test]
fn an_agent_that_restarts_harms_nobody() {
    for model in [one_way(2, 1, 1), two_way(2, 1, 1)] {
        let seen = expect_safe(&model).seen;
        for outcome in [
            ReservationOutcome::Refused(Refusal::Quiet),
            ReservationOutcome::Refused(Refusal::StaleEpoch),
            ReservationOutcome::Refused(Refusal::Unknown),
        ] {
            assert!(seen.contains(&outcome), "{outcome:?} did not occur");
        }
    }
}

#[test]
fn trouble_beyond_what_the_protocol_covers_is_found() {
    BrokenAssumption::ALL
        .into_iter()
        .for_each(|trouble| expect_broken(&troubled(trouble)));
}

#[test]
fn each_rule_of_the_protocol_is_missed_when_it_is_left_out() {
    Flaw::ALL
        .into_iter()
        .for_each(|flaw| expect_broken(&flawed(flaw)));
}
