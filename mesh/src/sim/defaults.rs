//! The settings that simulated nodes have unless a simulation says otherwise.

use std::net::SocketAddr;
use std::time::Duration;

use super::ids::{address_of, name_of};
use crate::{
    Auth, Epoch, Member, PeerState, PortRange, Protocol, Settings, TestSpec, WIRE_VERSION,
};

/// The settings of a node: the agent's eight ports, no pause after a sweep, no quiet time.
pub fn settings(number: usize, tests: Vec<TestSpec>) -> Settings {
    Settings {
        name: name_of(number),
        epoch: Epoch(0),
        address: address_of(number),
        ports: PortRange {
            first: 5201,
            count: 8,
        },
        guest_tests: Protocol::ALL
            .iter()
            .map(|&protocol| test_spec(protocol))
            .collect(),
        tests,
        interval: Duration::ZERO,
        forget_after: None,
        members_max: 2048,
        skip_quiet_time: true,
        secret: 0,
    }
}

/// The agent's default test: 5 s in one direction, with a timeout of 10 s.
pub fn test_spec(protocol: Protocol) -> TestSpec {
    TestSpec {
        protocol,
        duration: Duration::from_secs(5),
        omit: Duration::ZERO,
        timeout: Duration::from_secs(10),
        bitrate: None,
        streams: 1,
        bidir: false,
    }
}

/// A live node as it describes itself in gossip before its first sweep.
pub fn member(number: usize, epoch: Epoch) -> Member {
    Member {
        name: name_of(number),
        epoch,
        life: None,
        auth: Auth::default(),
        wire: WIRE_VERSION,
        zone: String::new(),
        control: SocketAddr::new(address_of(number), 9878),
        http_port: 9876,
        iperf3: String::new(),
        sweep: 0,
        state: PeerState::Live,
    }
}
