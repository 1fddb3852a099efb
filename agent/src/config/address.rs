//! The address of this node, and which family of addresses is to be used where there are both.

use std::net::IpAddr;

use clap::ValueEnum;

use crate::cli::option_name;
use crate::config::error::InvalidValue;

const MEND: &str = "Set it to an address of this node that the others can reach, or leave it out.";

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IpFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl IpFamily {
    /// Whether `address` is one of the family.
    pub fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::Ipv4)
    }
}

/// Reads one address or several, and takes the first of them that is of `family`, if that is given.
pub(super) fn advertise_address(
    text: &str,
    family: Option<IpFamily>,
) -> Result<IpAddr, InvalidValue> {
    let addresses = text
        .split(',')
        .map(address)
        .collect::<Result<Vec<_>, _>>()?;
    let mut fitting = addresses
        .into_iter()
        .filter(|address| family.is_none_or(|family| family.has(*address)));
    let first = fitting.next().ok_or_else(|| {
        InvalidValue::new(
            format!(
                "an address of the family that {} names",
                option_name("ip_family")
            ),
            "Give the node such an address, or change the family on all nodes.",
        )
    })?;
    let is_usable = match first {
        IpAddr::V4(v4) => !v4.is_broadcast(),
        // It would be of use only with the name of an interface, which differs from node to node.
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    };
    if first.is_unspecified() || first.is_multicast() || !is_usable {
        return Err(InvalidValue::new(
            "an address of one node (not unspecified, multicast, broadcast or IPv6 link-local)",
            MEND,
        ));
    }
    Ok(first)
}

fn address(text: &str) -> Result<IpAddr, InvalidValue> {
    let expected = "an IPv4 or IPv6 address without a port";
    text.trim()
        .parse()
        .map_err(|_| InvalidValue::new(expected, MEND))
}
