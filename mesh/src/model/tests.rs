//! State spaces that are small enough for every test run. `table` has larger ones.

use super::explore::{Report, explore};
use super::variants::{beyond_assumption, flawed, one_way, two_way};
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
        broken_assumption,
        rules,
        ..
    } = model;
    assert!(
        violation.is_some(),
        "{rules:?} hold in all {states} states with {flaw:?} {broken_assumption:?}"
    );
}

#[test]
fn two_nodes_that_ask_twice_break_no_rule() {
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
fn restart_of_an_agent_breaks_no_rule() {
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
fn broken_assumption_breaks_a_rule() {
    BrokenAssumption::ALL
        .into_iter()
        .for_each(|broken_assumption| expect_broken(&beyond_assumption(broken_assumption)));
}

#[test]
fn protocol_without_any_one_rule_breaks_a_rule() {
    Flaw::ALL
        .iter()
        .for_each(|&flaw| expect_broken(&flawed(flaw)));
}
