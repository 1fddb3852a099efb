//! The state spaces to explore: those of the protocol, and those of variants that must break a
//! rule.

use super::rules::Rule;
use super::{BrokenAssumption, Flaw, Model, spec};
use crate::{Protocol, TestSpec};

/// Returns a model with one test in each direction.
pub(super) fn one_way(nodes: usize, asks: u8, restarts: u8) -> Model {
    Model::new(nodes, asks, restarts, vec![spec(Protocol::Tcp)])
}

/// Returns a model with two tests in each direction, so that each node sends `next`.
pub(super) fn two_protocols(nodes: usize, asks: u8, restarts: u8) -> Model {
    Model::new(
        nodes,
        asks,
        restarts,
        vec![spec(Protocol::Tcp), spec(Protocol::Udp)],
    )
}

/// Returns a model with one test in both directions at the same time: its server sends as well.
pub(super) fn two_way(nodes: usize, asks: u8, restarts: u8) -> Model {
    Model::new(
        nodes,
        asks,
        restarts,
        vec![TestSpec {
            bidir: true,
            ..spec(Protocol::Udp)
        }],
    )
}

/// Returns a model with one test in each direction; a server whose port is taken tries the other
/// port.
pub(super) fn two_ports(nodes: usize, asks: u8, restarts: u8) -> Model {
    Model {
        ports: 2,
        ..one_way(nodes, asks, restarts)
    }
}

/// Returns a model in which an assumption of the protocol does not hold.
pub(super) fn beyond_assumption(broken_assumption: BrokenAssumption) -> Model {
    Model {
        broken_assumption: Some(broken_assumption),
        rules: &[Rule::Alone],
        ..one_way(2, 2, 0)
    }
}

/// Returns a model of the protocol without one of its rules, and with the rule of the model that
/// the protocol must then break.
pub(super) fn flawed(flaw: Flaw) -> Model {
    let (model, rules): (_, &[Rule]) = match flaw {
        Flaw::WaitsWhileHolding | Flaw::NeitherWithdraws => (one_way(2, 2, 0), &[Rule::Freed]),
        Flaw::ForgetsFarEnd => (two_way(2, 2, 0), &[Rule::Alone]),
        Flaw::NoQuiet => (one_way(2, 2, 1), &[Rule::Alone]),
        Flaw::GrantsWhileBusy
        | Flaw::NoClientDeadline
        | Flaw::OneSharedDeadline
        | Flaw::CountsFromGrant
        | Flaw::NoGo
        | Flaw::StaleEpoch
        | Flaw::AnyMeeting
        | Flaw::FreeBeforeReaped => (one_way(2, 2, 0), &[Rule::Alone]),
    };
    Model {
        flaw: Some(flaw),
        rules,
        ..model
    }
}
