//! Whether this node has an address at present.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use super::host::{Host, ThisHost};

/// The IPv6 addresses of this thread's network namespace, with their flags.
const IPV6_ADDRESSES: &str = "/proc/thread-self/net/if_inet6";

/// `IFA_F_DADFAILED` and `IFA_F_TENTATIVE` of `linux/if_addr.h`.
const DAD_FAILED: u8 = 0x08;
const TENTATIVE: u8 = 0x40;

/// Why this node cannot use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// No interface has the address.
    #[error("no interface of this node has it")]
    Missing,
    /// Duplicate address detection (RFC 4862) is not over.
    #[error("IPv6 duplicate address detection is not over")]
    Tentative,
    /// Duplicate address detection has found another node with the address.
    #[error("IPv6 duplicate address detection has found another host that uses it")]
    Duplicate,
}

/// Returns why this node cannot use `address` at present; `None` if it can.
pub fn absence(address: IpAddr) -> Option<Absence> {
    // The socket is closed at once: it may have taken the last free file descriptor.
    match UdpSocket::bind((address, 0)).map(drop) {
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            let flags = match address {
                IpAddr::V4(_) => None,
                IpAddr::V6(v6) => fs::read_to_string(IPV6_ADDRESSES)
                    .ok()
                    .and_then(|table| flags_of(&table, v6)),
            };
            Some(match flags {
                Some(flags) if flags & DAD_FAILED != 0 => Absence::Duplicate,
                Some(flags) if flags & TENTATIVE != 0 => Absence::Tentative,
                _ => Absence::Missing,
            })
        }
        // Any other error, such as a lack of file descriptors, says nothing about the address.
        Err(_) => None,
        // With the sysctl `ip_nonlocal_bind`, any address can be bound.
        Ok(()) if is_local(address) => None,
        Ok(()) => Some(Absence::Missing),
    }
}

/// Returns whether `address` belongs to this node. Packets to an own address have this address as
/// their source, too, except on loopback, where one address stands for the whole network. A list of
/// interfaces that cannot be read proves nothing.
fn is_local(address: IpAddr) -> bool {
    address.is_loopback()
        || ThisHost.source_address(SocketAddr::new(address, 9)) == Some(address)
        || ThisHost
            .listed_addresses()
            .map_or(true, |all| all.iter().any(|own| own.address == address))
}

/// Returns the flags of `address` in a table in the format of `/proc/net/if_inet6`: address,
/// index of the interface, length of the prefix, scope, flags (all hexadecimal), name.
fn flags_of(table: &str, address: Ipv6Addr) -> Option<u8> {
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let bits = u128::from_str_radix(fields.next()?, 16).ok()?;
        let flags = u8::from_str_radix(fields.nth(3)?, 16).ok()?;
        (Ipv6Addr::from(bits) == address).then_some(flags)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_an_ipv6_address_are_found_in_the_table() {
        let table = "\
00000000000000000000000000000001 01 80 10 80       lo
fd000000000000000000000000000002 0a 40 00 c8     eth0
fd000000000000000000000000000003 04 40 00 c0     eth0
";
        let flags = |last: u16| flags_of(table, Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
        assert_eq!(flags(2), Some(TENTATIVE | DAD_FAILED | 0x80));
        assert_eq!(flags(3), Some(TENTATIVE | 0x80));
        assert_eq!(flags(4), None);
    }

    #[test]
    fn foreign_address_is_missing_and_loopback_is_not() {
        assert_eq!(absence([192, 0, 2, 1].into()), Some(Absence::Missing));
        assert_eq!(absence([127, 1, 2, 3].into()), None);
    }
}
