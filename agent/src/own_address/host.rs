//! The answers of the kernel about routes and interfaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::net::ip_of;

/// The facts about a host that the choice of an address depends on.
pub trait Host {
    /// Returns the source address of packets to `destination`; `None` if there is no route.
    fn source_address(&self, destination: SocketAddr) -> Option<IpAddr>;

    /// Returns the addresses of the interfaces that are up.
    ///
    /// # Errors
    /// Returns an error if the system does not list the interfaces, for example because a seccomp
    /// profile denies netlink.
    fn interface_addresses(&self) -> io::Result<Vec<InterfaceAddress>>;
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The name of the interface.
    pub interface: String,
    /// Whether the interface has a carrier. That of a bridge without members has none.
    pub is_running: bool,
    /// The address.
    pub address: IpAddr,
}

/// The host that this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisHost;

impl Host for ThisHost {
    /// Connecting a UDP socket only reads the routing table.
    fn source_address(&self, destination: SocketAddr) -> Option<IpAddr> {
        let any: IpAddr = match destination {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(destination).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_unspecified()).then_some(address)
    }

    /// An address that cannot be used (yet), such as an IPv6 address before the end of its
    /// duplicate address detection, is left out.
    fn interface_addresses(&self) -> io::Result<Vec<InterfaceAddress>> {
        let mut addresses = self.listed_addresses()?;
        addresses.retain(|found| UdpSocket::bind((found.address, 0)).is_ok());
        Ok(addresses)
    }
}

impl ThisHost {
    /// Returns the addresses of the interfaces that are up, usable or not. This opens one socket,
    /// whatever the number of addresses.
    ///
    /// # Errors
    /// Returns an error if the system does not list the interfaces.
    pub(super) fn listed_addresses(self) -> io::Result<Vec<InterfaceAddress>> {
        let addresses = getifaddrs()?
            .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
            .filter_map(|interface| {
                Some(InterfaceAddress {
                    is_running: interface.flags.contains(InterfaceFlags::IFF_RUNNING),
                    address: ip_of(&interface.address?)?,
                    interface: interface.interface_name,
                })
            });
        Ok(addresses.collect())
    }
}
