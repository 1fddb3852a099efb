//! The names, numbers and addresses of simulated nodes.

use std::net::{IpAddr, Ipv4Addr};

use crate::NodeName;

/// Counts the runs of one node's agent, from 1. Unlike an epoch, it tells which run came first.
pub type Incarnation = u32;

/// Returns the name of a node. Names sort in the order of their numbers.
pub fn name_of(number: usize) -> NodeName {
    NodeName::new(&format!("n{number:04}")).unwrap_or_else(|_| unreachable!("a letter and digits"))
}

/// Returns the number at the end of a node's name; `usize::MAX` if there is none.
pub fn number_of(name: &NodeName) -> usize {
    let digits = name.as_str().rsplit(|c: char| !c.is_ascii_digit()).next();
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(usize::MAX)
}

/// Returns the number of the node with this address; `usize::MAX` if there is none.
pub fn number_at(address: IpAddr) -> usize {
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 0));
    match address {
        IpAddr::V4(address) => u32::from(address)
            .checked_sub(first)
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(usize::MAX),
        IpAddr::V6(_) => usize::MAX,
    }
}

/// Returns the address of a node, in the range for benchmarks (RFC 2544).
pub fn address_of(number: usize) -> IpAddr {
    let bits = u32::from(Ipv4Addr::new(198, 18, 0, 0)) + u32::try_from(number).unwrap_or(0);
    IpAddr::V4(Ipv4Addr::from_bits(bits))
}
