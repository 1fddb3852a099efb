//! The clients that an agent knows, and the names by which clients may call it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;

use hyper::Request;
use tokio::net::TcpStream;

use super::hosts::{self, BadHost, Hosts};
use super::server::Standing;
use crate::config::Access;
use crate::state::AgentState;

/// The routes of the kernel.
const ROUTES_V4: &str = "/proc/net/route";
const ROUTES_V6: &str = "/proc/net/ipv6_route";

/// Tells known clients from strangers. It is cheap to clone.
#[derive(Clone)]
pub struct Visitors {
    state: AgentState,
    hosts: Arc<Hosts>,
    /// The addresses from which the host of this pod calls it.
    host_addresses: Arc<[IpAddr]>,
}

impl Visitors {
    /// Returns the visitors of an agent with this `state`.
    pub fn new(state: AgentState, access: &Access) -> Self {
        Self {
            state,
            hosts: Arc::new(Hosts::new(access)),
            host_addresses: host_addresses(access).into(),
        }
    }

    /// Returns the standing of the client of `stream`, at `address`. The members of a mesh on one
    /// machine have loopback addresses.
    pub(super) fn standing(&self, address: IpAddr, stream: &TcpStream) -> Standing {
        let is_own = || {
            let own = stream.local_addr();
            own.is_ok_and(|own| own.ip().to_canonical() == address)
        };
        if self.host_addresses.contains(&address) {
            Standing::Home
        } else if self.is_member(address) {
            Standing::Member
        } else if address.is_loopback() || is_own() {
            Standing::Home
        } else {
            Standing::Stranger
        }
    }

    fn is_member(&self, address: IpAddr) -> bool {
        let snapshot = self.state.snapshot();
        let mut addresses = snapshot.members.iter().filter_map(|member| member.http);
        addresses.any(|member| member.ip() == address)
    }

    /// Checks that `request` is meant for this agent.
    pub(super) fn check_host<B>(&self, request: &Request<B>) -> Result<(), BadHost> {
        let hosts = hosts::requested(request)?;
        let is_own = |host: &str| {
            hosts::name(host).is_none_or(|name| self.hosts.has(&name) || self.is_node(&name))
        };
        if hosts.into_iter().all(is_own) {
            return Ok(());
        }
        Err(BadHost::NotThisHost)
    }

    /// Returns whether `name` is that of this node or of a member.
    fn is_node(&self, name: &str) -> bool {
        let is = |node: &str| node.eq_ignore_ascii_case(name);
        let members = &self.state.snapshot().members;
        is(self.state.identity().name.as_str())
            || members.iter().any(|member| is(member.name.as_str()))
    }
}

/// Returns the addresses of the host of this pod. On the pod network, the kubelet calls from one of
/// them or, where a bridge leads to the pods, from the address of the bridge: the default gateway.
fn host_addresses(access: &Access) -> Vec<IpAddr> {
    let given = &access.host_addresses;
    let is_own = |address: &IpAddr| UdpSocket::bind((*address, 0)).is_ok();
    if given.is_empty() || given.iter().any(is_own) {
        return given.clone();
    }
    let v4 = fs::read_to_string(ROUTES_V4).unwrap_or_default();
    let v6 = fs::read_to_string(ROUTES_V6).unwrap_or_default();
    let gateways = v4.lines().filter_map(gateway_v4);
    let gateways = gateways.chain(v6.lines().filter_map(gateway_v6));
    given.iter().copied().chain(gateways).collect()
}

/// Returns the gateway in a line of [`ROUTES_V4`], if it is that of the default route: interface,
/// destination and gateway, in hexadecimal digits of the host's byte order.
fn gateway_v4(line: &str) -> Option<IpAddr> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let mut address = || {
        let bits = u32::from_str_radix(fields.next()?, 16).ok()?;
        Some(Ipv4Addr::from(bits.to_ne_bytes()))
    };
    let (destination, gateway) = (address()?, address()?);
    let is_gateway = destination.is_unspecified() && !gateway.is_unspecified();
    is_gateway.then_some(gateway.into())
}

/// Returns the gateway in a line of [`ROUTES_V6`], if it is that of the default route: destination,
/// its length, source, its length, and gateway.
fn gateway_v6(line: &str) -> Option<IpAddr> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let [_, "00", _, _, gateway, ..] = fields[..] else {
        return None;
    };
    let gateway = Ipv6Addr::from(u128::from_str_radix(gateway, 16).ok()?);
    (!gateway.is_unspecified()).then_some(gateway.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_of_the_default_route_is_found() {
        let line = "eth0\t00000000\t0101F40A\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        let expected = if cfg!(target_endian = "little") {
            "10.244.1.1"
        } else {
            "1.1.244.10"
        };
        assert_eq!(gateway_v4(line), expected.parse().ok());
        let local = "eth0\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        assert_eq!(gateway_v4(local), None);
        let zeros = "0".repeat(32);
        let gateway = "fd000000000000000000000000000001";
        let line = format!("{zeros} 00 {zeros} 00 {gateway} 00000400 0 0 3 eth0");
        assert_eq!(gateway_v6(&line), "fd00::1".parse().ok());
        let local = format!("{gateway} 40 {zeros} 00 {zeros} 00000100 0 0 1 eth0");
        assert_eq!(gateway_v6(&local), None);
    }
}
