//! The address of this node, and the address family to use if there are addresses of both families.

use std::net::IpAddr;

use clap::ValueEnum;

use crate::cli::option_name;
use crate::units::InvalidValue;

const HINT: &str = "Set it to an address of this node that the others can reach, or leave it out.";

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IpFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl IpFamily {
    /// Returns the family of `address`.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }

    /// Returns whether `address` belongs to this family.
    pub fn has(self, address: IpAddr) -> bool {
        self == Self::of(address)
    }
}

/// Reads one or several addresses, and returns the first one. If `family` is given, returns the
/// first one of that family.
pub(super) fn advertise_address(
    text: &str,
    family: Option<IpFamily>,
) -> Result<IpAddr, InvalidValue> {
    let addresses = text
        .split(',')
        .map(address)
        .collect::<Result<Vec<_>, _>>()?;
    let first = addresses
        .into_iter()
        .find(|address| family.is_none_or(|family| family.has(*address)))
        .ok_or_else(|| {
            InvalidValue::new(
                format!("an address of the family of {}", option_name("ip_family")),
                "Give the node such an address, or change the family on all nodes.",
            )
        })?;
    let is_usable = match first {
        IpAddr::V4(v4) => !v4.is_broadcast(),
        // A link-local address is useful only together with the name of an interface, which differs
        // from node to node.
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    if first.is_unspecified() || first.is_multicast() || !is_usable {
        return Err(InvalidValue::new(
            "the address of one node (not unspecified, multicast, broadcast or IPv6 link-local)",
            HINT,
        ));
    }
    Ok(first)
}

fn address(text: &str) -> Result<IpAddr, InvalidValue> {
    let expected = "an IPv4 or IPv6 address without a port";
    text.trim()
        .parse()
        // An IPv4 address may also be written as an IPv6 address (`::ffff:192.0.2.1`).
        .map(|address: IpAddr| address.to_canonical())
        .map_err(|_| InvalidValue::new(expected, HINT))
}
