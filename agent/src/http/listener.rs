//! Opens the sockets on which HTTP listens: one for each address family of this node.
//!
//! Probes and Prometheus choose the family themselves: Kubernetes, for example, probes the first
//! address of a pod. So HTTP listens on both families, whichever of them the mesh uses. Each family
//! has a socket of its own, because a single socket for both would show IPv4 clients with IPv6
//! addresses, and could not tell in which family a port is in use.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// The number of connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// The error of an address on which HTTP cannot listen.
#[derive(Debug)]
pub(crate) struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The error of the system.
    pub error: io::Error,
}

/// Listens on `address`. If it is unspecified, listens on all addresses of both families; a family
/// other than that of `address` is left out if this node does not have it. The listeners do not
/// block.
///
/// # Errors
/// Returns an error if the port is in use in one of the families, or cannot be opened for another
/// reason.
pub(crate) fn open(address: SocketAddr) -> Result<Vec<TcpListener>, ListenError> {
    let first = socket(address).and_then(|socket| bind(socket, address));
    let mut listeners = vec![first.map_err(|error| ListenError { address, error })?];
    if address.ip().is_unspecified() {
        let address = SocketAddr::new(other_family(address.ip()), address.port());
        let second = match socket(address) {
            // The kernel was started without the family, or the sandbox forbids it.
            Err(error) if !is_shortage(&error) => return Ok(listeners),
            socket => socket.and_then(|socket| bind(socket, address)),
        };
        match second {
            Ok(listener) => listeners.push(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Err(error) => return Err(ListenError { address, error }),
        }
    }
    Ok(listeners)
}

fn other_family(unspecified: IpAddr) -> IpAddr {
    match unspecified {
        IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

fn bind(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Without this option, an agent could not listen for a minute after the end of another one.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Returns whether the error means that the system is short of something, and so says nothing about
/// the address family.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::{TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn unspecified_address_means_both_families() {
        let (_held, port) = free_port();
        for address in ["0.0.0.0", "::"] {
            if address == "::" && !has_ipv6() {
                continue;
            }
            let listeners = open(at(address, port)).unwrap();
            assert_eq!(
                listeners[0].local_addr().unwrap(),
                at(address, port),
                "its own family comes first"
            );
            TcpStream::connect(at("127.0.0.1", port)).unwrap();
            if has_ipv6() {
                TcpStream::connect(at("::1", port)).unwrap();
            }
        }
    }

    #[test]
    fn another_address_means_only_itself() {
        let listeners = open(at("127.0.0.1", 0)).unwrap();
        assert_eq!(listeners.len(), 1, "{listeners:?}");
    }

    #[test]
    fn port_in_use_in_one_family_is_named_with_its_address() {
        let (_held, port) = free_port();
        for (taken, mesh) in [("::1", "0.0.0.0"), ("127.0.0.1", "::")] {
            if !has_ipv6() {
                continue;
            }
            let _other = TcpListener::bind(at(taken, port)).unwrap();
            let error = open(at(mesh, port)).unwrap_err();
            assert_eq!(error.error.kind(), io::ErrorKind::AddrInUse, "{error:?}");
            assert_eq!(error.address.is_ipv6(), taken.contains(':'), "{error:?}");
        }
    }

    #[test]
    fn a_forbidden_family_is_no_shortage() {
        let is = |code| is_shortage(&io::Error::from_raw_os_error(code));
        assert!(
            [libc::EMFILE, libc::ENFILE, libc::ENOMEM]
                .into_iter()
                .all(is)
        );
        assert!(
            ![libc::EAFNOSUPPORT, libc::EACCES, libc::EPERM]
                .into_iter()
                .any(is)
        );
    }

    fn at(address: &str, port: u16) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), port)
    }

    fn has_ipv6() -> bool {
        UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
    }

    /// Returns a free port. The socket, which does not listen, keeps the kernel from giving the
    /// port to another test.
    fn free_port() -> (Socket, u16) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&at("0.0.0.0", 0).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        (socket, port)
    }
}
