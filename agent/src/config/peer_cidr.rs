//! The networks of the peers (`--peer-cidr`).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::units::InvalidValue;

/// The maximum number of networks. Every address that gossip brings is compared with all of them.
pub(super) const PEER_CIDRS_MAX: usize = 64;

/// Reads `10.0.0.0/8`, `fd00::/8`, or one address.
pub(super) fn peer_cidr(text: &str) -> Result<IpNet, InvalidValue> {
    let text = text.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address.to_canonical())),
        Err(_) => text.parse::<IpNet>().map(|network| network.trunc()),
    };
    match network {
        // Packets to such a network would be compared in the form of IPv4, and never match.
        Ok(IpNet::V6(v6)) if v6.addr().to_ipv4_mapped().is_some() => Err(InvalidValue::new(
            "an IPv4 network in the form of IPv4",
            "Write 10.0.0.0/8, not ::ffff:10.0.0.0/104.",
        )),
        Ok(network) => Ok(network),
        Err(_) => Err(InvalidValue::new(
            "a network such as 10.0.0.0/8 or fd00::/8",
            "Write its first address, a slash and the length of its prefix, and commas between \
             several.",
        )),
    }
}
