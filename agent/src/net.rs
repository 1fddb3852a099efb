//! The address that this node advertises to its peers, and the addresses on which it listens.
//!
//! This module sends no packets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::config::{IpFamily, Ports};

/// Addresses that are reserved for documentation (RFC 5737, RFC 3849). No host has such an address,
/// so only the default route leads to it.
const UNROUTED_PROBES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The address at which peers reach this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The IP address.
    pub address: IpAddr,
    /// The way in which the address was found.
    pub source: AddressSource,
}

/// The way in which the advertised address was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The user set the address with an option.
    Given,
    /// The address is the source address of packets to this agent to join.
    RouteTo(SocketAddr),
    /// The address is the source address of packets on the default route.
    DefaultRoute,
    /// The address belongs to this interface. It is used because there is no route.
    Interface(String),
}

impl fmt::Display for AddressSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("given"),
            Self::RouteTo(seed) => write!(f, "found on the route to {seed}"),
            Self::DefaultRoute => f.write_str("found on the default route"),
            Self::Interface(name) => write!(f, "found on interface {name}, as there is no route"),
        }
    }
}

/// The error of a node that has no address to advertise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node has no route and no interface with a global address, or none of the family that \
     --ip-family (MESH_IP_FAMILY) names; set --advertise-address (MESH_ADVERTISE_ADDRESS), to \
     127.0.0.1 for a mesh within this host"
)]
pub struct NoAddress;

/// Returns the address to advertise. This is `given`, or else the source address on the route to
/// the first of `seeds` that has a route, or else the source address on the default route, or else
/// the first global address of an interface. A detected address belongs to `family`, if a family is
/// given.
///
/// # Errors
/// Returns an error if this node has no such address.
pub fn advertise_address(
    given: Option<IpAddr>,
    family: Option<IpFamily>,
    seeds: &[SocketAddr],
) -> Result<Advertised, NoAddress> {
    if let Some(address) = given {
        return Ok(Advertised {
            address,
            source: AddressSource::Given,
        });
    }
    let fits = |address: IpAddr| family.is_none_or(|family| family.has(address));
    let probes = UNROUTED_PROBES.map(|ip| (SocketAddr::new(ip, 9), AddressSource::DefaultRoute));
    seeds
        .iter()
        .map(|seed| (*seed, AddressSource::RouteTo(*seed)))
        .chain(probes)
        .filter(|(destination, _)| fits(destination.ip()))
        .find_map(|(destination, source)| {
            source_address(destination).map(|address| Advertised { address, source })
        })
        .or_else(|| interface_address(fits))
        .ok_or(NoAddress)
}

/// Returns the source address of packets to `destination`. Connecting a UDP socket only reads the
/// routing table.
fn source_address(destination: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((wildcard(destination.ip()), 0)).ok()?;
    socket.connect(destination).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

/// Returns the first global address of an interface that satisfies `fits`, IPv4 before IPv6.
fn interface_address(fits: impl Fn(IpAddr) -> bool) -> Option<Advertised> {
    let interfaces = getifaddrs().ok()?;
    let mut found: Vec<(IpAddr, String)> = interfaces
        .filter_map(|interface| Some((ip_of(&interface.address?)?, interface.interface_name)))
        .filter(|(ip, _)| is_global(*ip) && fits(*ip))
        .collect();
    found.sort_by_key(|(ip, _)| ip.is_ipv6());
    let (address, name) = found.into_iter().next()?;
    Some(Advertised {
        address,
        source: AddressSource::Interface(name),
    })
}

/// Returns the IP address in `address`, or `None` if it belongs to another family.
pub(crate) fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// Returns whether other hosts can reach `ip`, because it is neither loopback nor link-local.
fn is_global(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local)
}

fn wildcard(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// The addresses on which an agent listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddrs {
    /// The advertised address. iperf3 and all other services except HTTP listen on this address.
    pub address: IpAddr,
    /// The address for metrics, probes, page and read API. Kubernetes probes any address of a pod,
    /// and forwards ports to its loopback address, so HTTP listens on every address of both
    /// families, which this unspecified address stands for, unless the mesh itself is within one
    /// host.
    pub http: SocketAddr,
    /// The address for control messages from other agents.
    pub control: SocketAddr,
    /// The address for gossip (UDP).
    pub gossip: SocketAddr,
}

impl ListenAddrs {
    /// Returns the addresses for an agent that advertises `address`.
    pub fn new(address: IpAddr, ports: &Ports) -> Self {
        let http = if address.is_loopback() {
            address
        } else {
            wildcard(address)
        };
        Self {
            address,
            http: SocketAddr::new(http, ports.listen),
            control: SocketAddr::new(address, ports.control),
            gossip: SocketAddr::new(address, ports.gossip),
        }
    }
}
