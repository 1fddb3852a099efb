//! The listening TCP sockets of a namespace, read from the kernel by netlink.
//!
//! `/proc/net/tcp` has these sockets too, but each read walks the machine's whole table of
//! connections, which takes milliseconds. The netlink dump of listening sockets walks only those
//! sockets.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::netns::Namespace;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_AND_DUMP: u16 = 0x301;
const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
const TCP: u8 = 6;
const LISTENING: u32 = 1 << 10;

/// A netlink socket. The kernel answers it for the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct SockDiag(File);

impl SockDiag {
    /// Opens the socket for `namespace`.
    pub(crate) fn open(namespace: &Namespace) -> Self {
        let opened = namespace.inside(|| {
            let protocol = SockProtocol::NetlinkSockDiag;
            socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                protocol,
            )
        });
        Self(File::from(opened.unwrap()))
    }

    /// Returns the port of every listening socket, by the socket's inode.
    ///
    /// # Errors
    /// If the kernel refuses, or its answer cannot be parsed.
    pub(crate) fn listeners(&mut self) -> io::Result<BTreeMap<u32, u16>> {
        let mut found = BTreeMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            self.0.write_all(&request(family as u8))?;
            while self.receive(&mut found)? {}
        }
        Ok(found)
    }

    /// Receives one datagram of the answer; returns whether more will follow.
    fn receive(&mut self, found: &mut BTreeMap<u32, u16>) -> io::Result<bool> {
        let mut buffer = [0; 32 * 1024];
        let len = self.0.read(&mut buffer)?;
        let mut rest = &buffer[..len];
        while rest.len() >= HEADER {
            let size = u32::from_ne_bytes(field(rest, 0)?) as usize;
            match u16::from_ne_bytes(field(rest, 4)?) {
                NLMSG_DONE => return Ok(false),
                NLMSG_ERROR => return Err(io::Error::other("the kernel has no sock_diag for TCP")),
                _ => {
                    // struct inet_diag_msg has the port in network order after four bytes, and the
                    // inode at its end.
                    let port = u16::from_be_bytes(field(rest, HEADER + 4)?);
                    found.insert(u32::from_ne_bytes(field(rest, HEADER + 68)?), port);
                }
            }
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(true)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    let found = bytes
        .get(at..at + N)
        .and_then(|slice| slice.try_into().ok());
    found.ok_or_else(|| io::Error::other("short answer of sock_diag"))
}

/// Returns `struct nlmsghdr` and `struct inet_diag_req_v2`; a zero field matches everything.
fn request(family: u8) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[0..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_AND_DUMP.to_ne_bytes());
    request[HEADER] = family;
    request[HEADER + 1] = TCP;
    request[HEADER + 4..HEADER + 8].copy_from_slice(&LISTENING.to_ne_bytes());
    request
}
