//! The addresses on which an agent listens, and the reading of addresses from the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::sys::socket::SockaddrStorage;

use crate::config::Ports;

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
    /// Returns the addresses for an agent that was given `address`. HTTP stays within this host if
    /// that is a loopback address.
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

    /// Returns the addresses for an agent that has found `address` itself. HTTP does not stay
    /// within this host, because a loopback address is replaced as soon as there is a better one.
    pub fn found(address: IpAddr, ports: &Ports) -> Self {
        let mut listen = Self::new(address, ports);
        listen.http.set_ip(wildcard(address));
        listen
    }

    /// Returns the addresses of the same agent after a move to `address`. HTTP does not move.
    pub fn moved_to(mut self, address: IpAddr) -> Self {
        self.address = address;
        self.control.set_ip(address);
        self.gossip.set_ip(address);
        self
    }
}

fn wildcard(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Returns the IP address in `address`, or `None` if it belongs to another family.
pub(crate) fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}
