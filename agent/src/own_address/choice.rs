//! The choice of the own address. It is a pure function of the agents to join and of what the host
//! answers about its routes and interfaces.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::host::{Host, InterfaceAddress};
use crate::config::{IpFamily, Ports};
use crate::net::ListenAddrs;

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

impl Advertised {
    /// Returns the addresses on which an agent with this address listens.
    pub fn listen_addrs(&self, ports: &Ports) -> ListenAddrs {
        match self.source {
            AddressSource::Given => ListenAddrs::new(self.address, ports),
            _ => ListenAddrs::found(self.address, ports),
        }
    }
}

/// The way in which the advertised address was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The user set the address with an option.
    Given,
    /// The address is the source address of packets to this agent to join.
    RouteTo(SocketAddr),
    /// The address is itself one of the agents to join.
    Joined,
    /// The address is the source address of packets on the default route.
    DefaultRoute,
    /// The address belongs to this interface. It is used because there is no route.
    Interface(String),
    /// The address belongs to this interface, which has no carrier or leads to containers of this
    /// host. It is used because there is neither a route nor another interface.
    DoubtfulInterface(String),
    /// The address is the source address of packets to this agent to join, on the loopback
    /// interface. It is used because there is nothing else.
    Loopback(SocketAddr),
}

impl AddressSource {
    /// Returns the rank of this way. A lower rank is better.
    fn rank(&self) -> u8 {
        match self {
            Self::Given => 0,
            Self::RouteTo(_) => 1,
            Self::Joined => 2,
            Self::DefaultRoute => 3,
            Self::Interface(_) => 4,
            Self::DoubtfulInterface(_) => 5,
            Self::Loopback(_) => 6,
        }
    }
}

impl fmt::Display for AddressSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("given"),
            Self::RouteTo(seed) => write!(f, "found on the route to {seed}"),
            Self::Joined => f.write_str("found among the agents to join"),
            Self::DefaultRoute => f.write_str("found on the default route"),
            Self::Interface(name) => write!(f, "found on interface {name}, as there is no route"),
            Self::DoubtfulInterface(name) => write!(
                f,
                "found on interface {name}, which may not lead to other hosts, as there is no other"
            ),
            Self::Loopback(seed) => {
                write!(f, "found on the route to {seed}, as there is no network")
            }
        }
    }
}

/// The error of a node that has no address to advertise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAddress {
    /// There is no address.
    #[error(
        "this node has no route and no interface with a global address, or none of the family that \
         --ip-family (MESH_IP_FAMILY) names; set --advertise-address (MESH_ADVERTISE_ADDRESS), to \
         127.0.0.1 for a mesh within this host"
    )]
    None,
    /// There is no route, and the system does not list the interfaces.
    #[error(
        "this node has no route, and its interfaces cannot be listed ({0}); set \
         --advertise-address (MESH_ADVERTISE_ADDRESS), or permit netlink sockets"
    )]
    Unlisted(String),
}

/// The settings that the choice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPolicy {
    /// The address that the user has set. There is no choice then.
    pub given: Option<IpAddr>,
    /// The family of a found address; `None` permits both.
    pub family: Option<IpFamily>,
}

impl AddressPolicy {
    /// Returns the address to advertise: the given one, or else the first of these that exists:
    ///
    /// 1. the source address on the route to the first of `seeds` that has a route,
    /// 2. an address of this node that is itself among `seeds`,
    /// 3. the source address on the default route,
    /// 4. the first global address of an interface, and of an interface that leads to containers of
    ///    this host only if there is no other,
    /// 5. the loopback address that leads to a loopback address among `seeds`.
    ///
    /// A name of this node may resolve to loopback (Debian writes such a line into `/etc/hosts`),
    /// so loopback among `seeds` says nothing about the way to the other nodes.
    ///
    /// # Errors
    /// Returns an error if this node has no such address.
    pub fn choose(&self, seeds: &[SocketAddr], host: &impl Host) -> Result<Advertised, NoAddress> {
        let first = self.candidates(seeds, host).into_iter().next();
        first.ok_or_else(|| match host.interface_addresses() {
            Ok(_) => NoAddress::None,
            Err(error) => NoAddress::Unlisted(error.to_string()),
        })
    }

    /// Restricts all later choices to the family of `address`, the family of this node's mesh.
    pub fn keep_family_of(&mut self, address: IpAddr) {
        self.family.get_or_insert(IpFamily::of(address));
    }

    /// Returns a better address than `present`, which this node still has. An address that was
    /// found in an equally good way is no better, so the choice does not swing between the
    /// addresses of a name whose order changes. The exception is IPv4 instead of IPv6, unless the
    /// family is restricted or an agent to join has an IPv6 address: a node that has both at its
    /// start takes IPv4, and IPv6 autoconfiguration may only have been faster than DHCP.
    pub fn better_than(
        &self,
        present: &Advertised,
        seeds: &[SocketAddr],
        host: &impl Host,
    ) -> Option<Advertised> {
        let mut candidates = self.candidates(seeds, host);
        let rank = candidates.first()?.source.rank();
        candidates.retain(|candidate| candidate.source.rank() == rank);
        let is_among = candidates
            .iter()
            .any(|candidate| candidate.address == present.address);
        let best = candidates.into_iter().next()?;
        let is_preferred = self.family.is_none()
            && best.address.is_ipv4()
            && present.address.is_ipv6()
            && seeds.iter().all(SocketAddr::is_ipv4);
        let is_better = rank <= present.source.rank() && (!is_among || is_preferred);
        is_better.then_some(best)
    }

    /// Returns an address that can replace `lost`. It must be found in a way as good, or on the
    /// default route: any other address, such as that of a bridge for containers, leads nowhere,
    /// and the network of the lost one may come back soon. It has the family of `lost`: the peers
    /// cannot measure the other family.
    pub fn replacement(
        &self,
        lost: &Advertised,
        seeds: &[SocketAddr],
        host: &impl Host,
    ) -> Option<Advertised> {
        let worst = lost.source.rank().max(AddressSource::DefaultRoute.rank());
        let mut policy = *self;
        policy.keep_family_of(lost.address);
        let found = policy.choose(seeds, host).ok()?;
        let is_good = found.source.rank() <= worst && !found.address.is_loopback();
        is_good.then_some(found)
    }

    /// Returns all addresses that can be advertised, the best first.
    fn candidates(&self, seeds: &[SocketAddr], host: &impl Host) -> Vec<Advertised> {
        if let Some(address) = self.given {
            let source = AddressSource::Given;
            return vec![Advertised { address, source }];
        }
        let fits = |address: IpAddr| self.family.is_none_or(|family| family.has(address));
        let seeds = seeds
            .iter()
            .filter(|seed| is_destination(seed.ip()) && fits(seed.ip()))
            .map(|seed| (*seed, on_the_way_to(*seed)));
        let probes = UNROUTED_PROBES
            .into_iter()
            .filter(|ip| fits(*ip))
            .map(|ip| (SocketAddr::new(ip, 9), AddressSource::DefaultRoute));
        let routed = seeds.chain(probes).filter_map(|(destination, source)| {
            let address = host.source_address(destination)?;
            let source = match source {
                AddressSource::RouteTo(_) if address == destination.ip() => AddressSource::Joined,
                source => source,
            };
            let is_loopback = matches!(source, AddressSource::Loopback(_));
            let is_usable = is_destination(address) && address.is_loopback() == is_loopback;
            is_usable.then_some(Advertised { address, source })
        });
        let interfaces = host.interface_addresses().unwrap_or_default();
        let interfaces = interfaces
            .into_iter()
            .filter(|found| is_global(found.address) && fits(found.address))
            .map(|found| Advertised {
                address: found.address,
                source: on_interface(found),
            });
        let mut candidates: Vec<Advertised> = routed.chain(interfaces).collect();
        // The sort is stable. On an interface, IPv4 comes before IPv6.
        candidates.sort_by_key(|candidate| {
            use AddressSource::{DoubtfulInterface, Interface};
            let is_on_interface = matches!(candidate.source, Interface(_) | DoubtfulInterface(_));
            let is_second = is_on_interface && candidate.address.is_ipv6();
            (candidate.source.rank(), is_second)
        });
        candidates
    }
}

/// The beginnings of the names of interfaces that lead to containers or virtual machines of this
/// host, or nowhere. Most of them are those that Calico skips when it detects an address.
const DOUBTFUL: &[&str] = &[
    "docker",
    "podman",
    "br-",
    "cbr",
    "cni",
    "virbr",
    "lxcbr",
    "lxdbr",
    "veth",
    "dummy",
    "cali",
    "cilium",
    "flannel",
    "weave",
    "tunl",
    "vxlan",
    "kube-",
    "nodelocaldns",
];

fn on_interface(found: InterfaceAddress) -> AddressSource {
    let is_internal = DOUBTFUL
        .iter()
        .any(|beginning| found.interface.starts_with(beginning));
    if found.is_running && !is_internal {
        AddressSource::Interface(found.interface)
    } else {
        AddressSource::DoubtfulInterface(found.interface)
    }
}

fn on_the_way_to(seed: SocketAddr) -> AddressSource {
    if seed.ip().is_loopback() {
        AddressSource::Loopback(seed)
    } else {
        AddressSource::RouteTo(seed)
    }
}

/// Returns whether `ip` stands for one host, and means the same on every host. An IPv6 link-local
/// address is useful only together with the name of an interface, which differs from node to node.
fn is_destination(ip: IpAddr) -> bool {
    let is_unusable = match ip {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(ip.is_unspecified() || ip.is_multicast() || is_unusable)
}

/// Returns whether other hosts can reach `ip`, because it is neither loopback nor link-local.
fn is_global(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(_) => false,
    };
    is_destination(ip) && !ip.is_loopback() && !is_link_local
}
