//! The models that are explored: the protocol as it is, and what must be found to be broken.

use super::rules::Rule;
use super::{BrokenAssumption, Flaw, Model, spec};
use crate::{Protocol, TestSpec};

/// One test in each direction.
pub(super) fn one_way(nodes: usize, asks: u8, restarts: u8) -> Model {
    Model::new(nodes, asks, restarts, vec![spec(Protocol::Tcp)])
}

/// The same by two protocols, so that each side asks for another test by `next`.
pub(super) fn two_protocols(nodes: usize, asks: u8, restarts: u8) -> Model {
    Model::new(
        nodes,
        asks,
        restarts,
        vec![spec(Protocol::Tcp), spec(Protocol::Udp)],
    )
}

/// One test in both directions at the same time, whose server sends as well.
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

/// One test in each direction; a server whose port is taken tries the other one.
pub(super) fn two_ports(nodes: usize, asks: u8, restarts: u8) -> Model {
    Model {
        ports: 2,
        ..one_way(nodes, asks, restarts)
    }
}

/// The world beyond what the protocol is built for.
pub(super) fn troubled(trouble: BrokenAssumption) -> Model {
    Model {
        trouble: Some(trouble),
        rules: &[Rule::Alone],
        ..one_way(2, 2, 0)
    }
}

/// The protocol without one of its rules, and the rule of the model that this breaks.
pub(super) fn flawed(flaw: Flaw) -> Model {
    let (model, rules): (_, &[Rule]) = match flaw {
        Flaw::WaitsWhileHolding | Flaw::NeitherWithdraws => (one_way(2, 2, 0), &[Rule::Freed]),
        Flaw::ForgetsFarEnd => (two_way(2, 2, 0), &[Rule::Alone]),
        Flaw::NoQuiet => (one_way(2, 2, 1), &[Rule::Alone]),
        _ => (one_way(2, 2, 0), &[Rule::Alone]),
    };
    Model {
        flaw: Some(flaw),
        rules,
        ..model
    }
}
