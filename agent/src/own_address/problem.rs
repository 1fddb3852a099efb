//! Why the other nodes cannot reach this node at its own address.

use std::net::{IpAddr, SocketAddr};

use super::presence::Absence;
use crate::cli::option_name;

/// Why the other nodes cannot reach this node at its own address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressProblem {
    /// This node cannot use the address any more.
    #[error("this node has lost its address {address}: {absence}")]
    Lost {
        /// The address.
        address: IpAddr,
        /// The reason.
        absence: Absence,
    },
    /// The address is a loopback address, but there are agents to join elsewhere.
    #[error(
        "no other machine can reach {address}, the address of this node, but there are agents to \
         join elsewhere: set {}",
        option_name("advertise_address")
    )]
    Loopback {
        /// The address.
        address: IpAddr,
    },
}

impl AddressProblem {
    /// Returns the problem of a node with a loopback `address` and agents to join elsewhere.
    /// `is_any_unknown` tells whether the address of an agent to join is not known (yet); such an
    /// agent may be on this machine only if the user gave a loopback address.
    pub fn of_loopback(
        address: IpAddr,
        is_given: bool,
        seeds: &[SocketAddr],
        is_any_unknown: bool,
    ) -> Option<Self> {
        let is_elsewhere =
            |seed: &SocketAddr| !seed.ip().is_loopback() && !seed.ip().is_unspecified();
        let has_others = seeds.iter().any(is_elsewhere) || (is_any_unknown && !is_given);
        (address.is_loopback() && has_others).then_some(Self::Loopback { address })
    }
}
