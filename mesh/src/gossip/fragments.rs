//! Datagrams that travel as IP fragments. Many firewalls and clouds drop fragments, and then the
//! large messages of gossip are lost while the small ones arrive. Sealed gossip has none.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::IpMtu;
use tracing::info;

/// The headers of IP and UDP in front of a datagram, in bytes.
const HEADERS_V4: usize = 20 + 8;
const HEADERS_V6: usize = 40 + 8;
/// The MTU of Ethernet, which is also assumed where the kernel tells none.
const MTU_ETHERNET: usize = 1500;

/// Returns whether a datagram of `bytes` bytes is larger than the path from `from` to `to` carries
/// in one packet.
pub(super) fn is_fragmented(bytes: usize, from: IpAddr, to: SocketAddr) -> bool {
    let headers = if to.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
    bytes + headers > path_mtu(from, to).unwrap_or(MTU_ETHERNET)
}

/// Asks the kernel, which knows the MTU of the link and what it has learned of the path.
fn path_mtu(from: IpAddr, to: SocketAddr) -> Option<usize> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect(to).ok()?;
    // Linux answers this for a socket of IPv6 as well.
    let mtu = getsockopt(&socket, IpMtu).ok()?;
    usize::try_from(mtu).ok()
}

/// The note that gossip needs fragments. It is logged once in the life of the agent, because a
/// mesh of that size is healthy as long as the fragments arrive.
#[derive(Debug, Default)]
pub(super) struct FragmentWarning(AtomicBool);

impl FragmentWarning {
    pub(super) fn log(&self, bytes: usize, to: SocketAddr) {
        if !self.0.swap(true, Ordering::Relaxed) {
            info!(
                bytes,
                %to,
                "messages of gossip have outgrown one packet and travel as IP fragments: the \
                 network must let fragments through, or the mesh falls apart"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn loopback_carries_what_ethernet_would_fragment() {
        for address in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            // A host may lack IPv6.
            if UdpSocket::bind((address, 0)).is_ok() {
                let to = SocketAddr::new(address, 9);
                assert!(!is_fragmented(9000, address, to), "{address}");
                assert!(is_fragmented(65_520, address, to), "{address}");
            }
        }
    }

    #[test]
    fn path_that_the_kernel_does_not_know_is_taken_for_ethernet() {
        // An address for documentation (RFC 5737), which no host has.
        let foreign = SocketAddr::from(([192, 0, 2, 1], 9));
        let largest = MTU_ETHERNET - HEADERS_V4;
        assert!(!is_fragmented(largest, foreign.ip(), foreign));
        assert!(is_fragmented(largest + 1, foreign.ip(), foreign));
    }
}
