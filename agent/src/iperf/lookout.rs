//! A look at the sockets of a server that runs without the filter, for clients that are not its
//! guest.
//!
//! iperf3 names its client only once the test runs, so that its output does not show a client that
//! connects and stays silent. The kernel lists the sockets of a port with their remote addresses
//! (`sock_diag`, see `man 7 sock_diag`) and needs no privilege for it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};

use iperf3_mesh_core::Protocol;
use libc::{IPPROTO_TCP, IPPROTO_UDP, NLM_F_DUMP, NLM_F_REQUEST};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket};
use nix::sys::time::{TimeVal, TimeValLike};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// The length of a request: the header and `struct inet_diag_req_v2`.
const REQUEST: usize = HEADER + 56;

/// The states of a connection that the server has, or is about to accept: `TCP_ESTABLISHED` and
/// `TCP_CLOSE_WAIT`. A connected UDP socket is established, too.
const STATES: u32 = 1 << 1 | 1 << 8;

/// The maximum number of datagrams that one look reads. Each of them has a hundred sockets.
const DATAGRAMS_MAX: usize = 16;

/// How long the kernel may take to answer, in seconds.
const ANSWER: i64 = 1;

/// The sockets at a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookout {
    local: SocketAddr,
    guest: IpAddr,
    protocol: Protocol,
}

impl Lookout {
    /// Creates the look at the server of a test that listens at `local` for `guest`.
    pub(super) fn new(local: SocketAddr, guest: IpAddr, protocol: Protocol) -> Self {
        Self {
            local: SocketAddr::new(local.ip().to_canonical(), local.port()),
            guest: guest.to_canonical(),
            protocol,
        }
    }

    /// Returns the address of a client at the port that is not the guest, if there is one. While
    /// the guest's test runs, only the sender of a UDP stream counts: iperf3 refuses connections.
    ///
    /// # Errors
    /// If the kernel refuses to list sockets.
    pub(super) fn stranger(&self, is_running: bool) -> io::Result<Option<IpAddr>> {
        let connections = (!is_running).then_some(IPPROTO_TCP);
        let streams = (self.protocol == Protocol::Udp).then_some(IPPROTO_UDP);
        if connections.or(streams).is_none() {
            return Ok(None);
        }
        let mut kernel = open()?;
        for protocol in connections.into_iter().chain(streams) {
            for family in [AddressFamily::Inet, AddressFamily::Inet6] {
                let found = self.ask(&mut kernel, family, protocol)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    fn ask(
        &self,
        kernel: &mut File,
        family: AddressFamily,
        protocol: i32,
    ) -> io::Result<Option<IpAddr>> {
        kernel.write_all(&request(family, protocol, self.local.port()))?;
        let (mut buffer, mut stranger) = ([0; 32 << 10], None);
        for _ in 0..DATAGRAMS_MAX {
            let len = kernel.read(&mut buffer)?;
            let mut rest = &buffer[..len];
            while let Some(message) = Message::take(&mut rest)? {
                let Message::Socket { local, remote } = message else {
                    return Ok(stranger);
                };
                if local == self.local && remote != self.guest {
                    stranger = Some(remote);
                }
            }
        }
        Ok(stranger)
    }
}

/// Opens a socket to the kernel. It sees the network namespace of this process.
fn open() -> io::Result<File> {
    let protocol = SockProtocol::NetlinkSockDiag;
    let flags = SockFlag::SOCK_CLOEXEC;
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    setsockopt(&kernel, ReceiveTimeout, &TimeVal::seconds(ANSWER))?;
    Ok(File::from(kernel))
}

/// A message of the kernel.
enum Message {
    Socket { local: SocketAddr, remote: IpAddr },
    Done,
}

impl Message {
    /// Takes the next message out of a datagram.
    fn take(rest: &mut &[u8]) -> io::Result<Option<Self>> {
        if rest.is_empty() {
            return Ok(None);
        }
        let len = u32::from_ne_bytes(field(rest, 0)?) as usize;
        let kind = i32::from(u16::from_ne_bytes(field(rest, 4)?));
        let message = match kind {
            libc::NLMSG_DONE => Self::Done,
            libc::NLMSG_ERROR => {
                let code = i32::from_ne_bytes(field(rest, HEADER)?);
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            _ => Self::socket(rest.get(HEADER..).unwrap_or_default())?,
        };
        // Each message begins at a multiple of four bytes.
        let next = len.max(HEADER).next_multiple_of(4);
        *rest = rest.get(next..).unwrap_or_default();
        Ok(Some(message))
    }

    /// Reads `struct inet_diag_msg`.
    fn socket(bytes: &[u8]) -> io::Result<Self> {
        let [family] = field(bytes, 0)?;
        let address = |at| -> io::Result<IpAddr> {
            Ok(if i32::from(family) == AddressFamily::Inet as i32 {
                IpAddr::from(field::<4>(bytes, at)?)
            } else {
                IpAddr::from(field::<16>(bytes, at)?).to_canonical()
            })
        };
        let port = u16::from_be_bytes(field(bytes, 4)?);
        Ok(Self::Socket {
            local: SocketAddr::new(address(8)?, port),
            remote: address(24)?,
        })
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found
        .copied()
        .ok_or_else(|| io::Error::other("short answer of sock_diag"))
}

/// Returns the request for all sockets of a local port; a zero field matches everything.
fn request(family: AddressFamily, protocol: i32, port: u16) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    let mut put = |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &u32::try_from(REQUEST).unwrap_or_default().to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    let flags = u16::try_from(NLM_F_REQUEST | NLM_F_DUMP).unwrap_or_default();
    put(6, &flags.to_ne_bytes());
    put(
        HEADER,
        &[family as u8, u8::try_from(protocol).unwrap_or_default()],
    );
    put(HEADER + 4, &STATES.to_ne_bytes());
    put(HEADER + 8, &port.to_be_bytes());
    request
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn client_is_a_stranger_where_another_is_expected() {
        for local in [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let Ok(listener) = TcpListener::bind((local, 0)) else {
                continue; // A machine without IPv6.
            };
            let at = listener.local_addr().expect("an address");
            let other = "192.0.2.1".parse().expect("an address");
            let look = |guest, protocol| Lookout::new(at, guest, protocol).stranger(false);
            assert_eq!(look(other, Protocol::Tcp).expect("a list"), None);
            let _client = TcpStream::connect(at).expect("a connection");
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                assert_eq!(look(other, protocol).expect("a list"), Some(local));
                assert_eq!(look(local, protocol).expect("a list"), None);
            }
            let elsewhere = SocketAddr::new(other, at.port());
            let elsewhere = Lookout::new(elsewhere, other, Protocol::Tcp);
            assert_eq!(elsewhere.stranger(false).expect("a list"), None);
        }
    }

    #[test]
    fn datagram_s_sender_is_a_stranger_once_it_has_a_socket() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let bind = || UdpSocket::bind((local, 0)).expect("a socket");
        let (server, client) = (bind(), bind());
        let at = server.local_addr().expect("an address");
        let other = "192.0.2.1".parse().expect("an address");
        let look = |protocol| Lookout::new(at, other, protocol).stranger(false);
        assert_eq!(look(Protocol::Udp).expect("a list"), None);
        server
            .connect(client.local_addr().expect("an address"))
            .expect("connected");
        assert_eq!(look(Protocol::Udp).expect("a list"), Some(local));
        assert_eq!(look(Protocol::Tcp).expect("a list"), None);
    }
}
