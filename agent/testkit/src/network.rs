//! A loopback network for one test: with addresses of its own, every agent can have the default
//! ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// 127.x.y.0/24.
#[derive(Clone, Copy, Debug)]
pub struct Network(u8, u8);

impl Network {
    /// One that nobody uses.
    pub fn draw() -> Self {
        loop {
            // 127.0.x.y is where other programs are.
            let network = Self(rand::random_range(1..=254), rand::random());
            if TcpListener::bind((network.address(1), 9876)).is_ok() {
                return network;
            }
        }
    }

    /// The one that `address` is in.
    pub fn of(address: Ipv4Addr) -> Self {
        let [_, high, low, _] = address.octets();
        Self(high, low)
    }

    /// The address of that host.
    pub fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, self.1, host)
    }

    /// The addresses with their ports on which anybody listens here, TCP and UDP.
    pub fn listeners(self) -> Vec<SocketAddr> {
        const LISTENING: &str = "0A";
        let sockets = |protocol: &str, state: Option<&str>| {
            let table = fs::read_to_string(format!("/proc/net/{protocol}")).unwrap();
            let rows = table
                .lines()
                .skip(1)
                .map(str::split_whitespace)
                .map(Iterator::collect);
            rows.filter(|row: &Vec<&str>| state.is_none_or(|state| row[3] == state))
                .map(|row| local(row[1]))
                .filter(|at| self.contains(*at))
                .collect::<Vec<_>>()
        };
        [sockets("tcp", Some(LISTENING)), sockets("udp", None)].concat()
    }

    fn contains(self, at: SocketAddr) -> bool {
        matches!(at.ip().to_canonical(), std::net::IpAddr::V4(ip) if ip.octets()[..3] == [127, self.0, self.1])
    }
}

/// The address and port of an entry such as `0100007F:2694`: the address in the machine's byte
/// order.
fn local(entry: &str) -> SocketAddr {
    let (ip, port) = entry.split_once(':').unwrap();
    let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
    (Ipv4Addr::from(ip), u16::from_str_radix(port, 16).unwrap()).into()
}
