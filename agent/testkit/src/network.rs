//! A loopback network for one test. No other test uses its addresses, so every agent can use the
//! default ports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use procfs::net::{TcpState, tcp, udp};

/// A network 127.x.y.0/24.
#[derive(Clone, Copy, Debug)]
pub struct Network(u8, u8);

impl Network {
    /// Draws an unused network at random.
    pub fn draw() -> Self {
        loop {
            // Other programs use 127.0.x.y.
            let network = Self(rand::random_range(1..=254), rand::random());
            if TcpListener::bind((network.address(1), 9876)).is_ok() {
                return network;
            }
        }
    }

    /// Returns the network that contains `address`.
    pub fn of(address: Ipv4Addr) -> Self {
        let [_, high, low, _] = address.octets();
        Self(high, low)
    }

    /// Returns the address of this host.
    pub fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.0, self.1, host)
    }

    /// Returns the local addresses of all listening TCP sockets and all UDP sockets in this
    /// network.
    pub fn listeners(self) -> Vec<SocketAddr> {
        let tcp = tcp().unwrap().into_iter();
        let tcp = tcp.filter(|socket| socket.state == TcpState::Listen);
        let udp = udp().unwrap().into_iter();
        tcp.map(|socket| socket.local_address)
            .chain(udp.map(|socket| socket.local_address))
            .filter(|at| self.contains(*at))
            .collect()
    }

    fn contains(self, at: SocketAddr) -> bool {
        matches!(at, SocketAddr::V4(at) if at.ip().octets()[..3] == [127, self.0, self.1])
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn only_sockets_of_the_network_are_its_listeners() {
        let network = Network::draw();
        let tcp = TcpListener::bind((network.address(1), 0)).unwrap();
        let udp = UdpSocket::bind((network.address(2), 0)).unwrap();
        let _elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let expected = [tcp.local_addr().unwrap(), udp.local_addr().unwrap()];
        assert_eq!(network.listeners(), expected);
    }
}
