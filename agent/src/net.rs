//! Addresses: the one at which the others reach this node, those of the agents to join, and where
//! to listen.
//!
//! No packet is sent here except the resolver's own.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::config::{IpFamily, Ports};

/// Addresses for documentation (RFC 5737, RFC 3849): nobody has them, so only the default route
/// leads there.
const UNROUTED_PROBES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The address at which the others reach this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The address.
    pub address: IpAddr,
    /// How it was found.
    pub source: AddressSource,
}

/// How the advertised address was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// It was given.
    Given,
    /// Packets to this agent to join leave from it.
    RouteTo(SocketAddr),
    /// Packets to the world leave from it.
    DefaultRoute,
    /// There is no route; this interface has it.
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

/// There is no address to advertise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node has neither a route nor an interface with a global address, or none of the family that \
     --ip-family (MESH_IP_FAMILY) names; \
     set --advertise-address (MESH_ADVERTISE_ADDRESS), 127.0.0.1 for a mesh within this machine"
)]
pub struct NoAddress;

/// The address to advertise: `given`, else that of the route to the first of `seeds` that has one,
/// else that of the default route, else the first global one of an interface. What is found is of
/// `family`, if that is given.
///
/// # Errors
/// If there is none at all.
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
    let seeds = seeds
        .iter()
        .map(|seed| (*seed, AddressSource::RouteTo(*seed)));
    let elsewhere = UNROUTED_PROBES.map(|ip| (SocketAddr::new(ip, 9), AddressSource::DefaultRoute));
    let mut ways = seeds
        .chain(elsewhere)
        .filter(|(towards, _)| fits(towards.ip()));
    let found = ways.find_map(|(towards, source)| {
        source_address(towards).map(|address| Advertised { address, source })
    });
    found.or_else(|| interface_address(fits)).ok_or(NoAddress)
}

/// The address that packets to `towards` would leave from. Connecting a UDP socket asks the routing
/// table alone.
fn source_address(towards: SocketAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((wildcard(towards.ip()), 0)).ok()?;
    socket.connect(towards).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

/// The first global address of an interface that fits, IPv4 before IPv6.
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

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

/// Others can reach it: it is neither of this machine nor of one link alone.
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

/// Where an agent listens; iperf3 listens on [`ListenAddrs::address`], too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddrs {
    /// The advertised address. Nothing but the metrics listens on any other.
    pub address: IpAddr,
    /// Metrics, probes, page and read API. Kubernetes forwards ports to the loopback of a pod, so
    /// this one is open on every address, unless the mesh itself is within one machine.
    pub http: SocketAddr,
    /// The other agents' messages.
    pub control: SocketAddr,
    /// Gossip.
    pub gossip: SocketAddr,
}

impl ListenAddrs {
    /// Where the agent that advertises `address` listens.
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
