//! The kinds of addresses that are never those of a member, from the registries of special-purpose
//! addresses (RFC 6890) and the documentation of the clouds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::AddressProblem;

/// Addresses at which a cloud serves metadata, credentials or its own agent, outside the link-local
/// networks: Alibaba Cloud, Azure, Oracle Cloud, and Google Cloud over IPv6.
const METADATA: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Returns why `ip` is not the address of a member; `None` if it may be one. `ip` is canonical.
pub(super) fn problem(ip: IpAddr) -> Option<AddressProblem> {
    if METADATA.contains(&ip) {
        return Some(AddressProblem::Metadata);
    }
    match ip {
        IpAddr::V4(v4) => problem_v4(v4),
        IpAddr::V6(v6) => problem_v6(v6),
    }
}

/// Returns whether `ip` is an IPv4 link-local address. An IPv6 link-local address is useful only
/// together with the name of an interface, so it is never the address of a node.
pub(super) fn is_link_local_v4(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(v4) if v4.is_link_local())
}

fn problem_v4(ip: Ipv4Addr) -> Option<AddressProblem> {
    let [first, second, third, _] = ip.octets();
    match (first, second, third) {
        // Linux takes 0.0.0.0 for loopback, and the rest of 0.0.0.0/8 is no host.
        (0, ..) => Some(AddressProblem::Unspecified),
        (127, ..) => Some(AddressProblem::Loopback),
        // Metadata, DNS and time of AWS, Azure and Google Cloud; credentials of AWS for containers.
        (169, 254, 169 | 170) => Some(AddressProblem::Metadata),
        (169, 254, _) => Some(AddressProblem::LinkLocal),
        (224..=239, ..) => Some(AddressProblem::Multicast),
        _ if ip.is_broadcast() => Some(AddressProblem::Broadcast),
        _ => None,
    }
}

fn problem_v6(ip: Ipv6Addr) -> Option<AddressProblem> {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(AddressProblem::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(AddressProblem::Loopback),
        // IPv4-compatible (RFC 4291), and IPv4-translated (RFC 2765).
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(AddressProblem::Translated),
        // NAT64 (RFC 6052, RFC 8215).
        [0x64, 0xff9b, 0 | 1, ..] => Some(AddressProblem::Translated),
        // The network of AWS for metadata, credentials, DNS and time.
        [0xfd00, 0xec2, ..] => Some(AddressProblem::Metadata),
        // 6to4 (RFC 3056) contains the IPv4 address of a router.
        [0x2002, high, low, ..] => problem(IpAddr::V4(Ipv4Addr::from_bits(
            u32::from(high) << 16 | u32::from(low),
        ))),
        [0xfe80..=0xfebf, ..] => Some(AddressProblem::LinkLocal),
        [0xff00..=0xffff, ..] => Some(AddressProblem::Multicast),
        _ => None,
    }
}
