//! The names of the values that are labels of metrics.

use iperf3_mesh_core::wire::{MeetingKind, Refusal, Role};
use iperf3_mesh_core::{Protocol, Reason, ReservationOutcome};
use serde_json::json;
use strum::VariantArray;

#[test]
fn labels_are_the_names_on_the_wire() {
    fn check<T: serde::Serialize + Copy>(all: &[T], label: fn(T) -> &'static str) {
        for &value in all {
            assert_eq!(json!(value), label(value));
        }
    }
    check(Reason::ALL, Reason::as_str);
    check(Protocol::ALL, Protocol::as_str);
    check(Refusal::VARIANTS, Refusal::as_str);
    check(Role::VARIANTS, Role::as_str);
    check(MeetingKind::VARIANTS, MeetingKind::as_str);
    let outcomes = [
        (ReservationOutcome::Met, "met"),
        (ReservationOutcome::Refused(Refusal::Busy), "refused"),
        (ReservationOutcome::NoAnswer, "no_answer"),
        (ReservationOutcome::Expired, "expired"),
        (ReservationOutcome::Withdrawn, "withdrawn"),
        (ReservationOutcome::Cancelled, "cancelled"),
    ];
    for (outcome, label) in outcomes {
        assert_eq!(outcome.as_str(), label);
    }
}
