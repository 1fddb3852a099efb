//! Tests of the parts of the gossip layer (published state, view, rejoin candidates, form and
//! screen of messages), and of a running one with forged datagrams.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod budget;
mod forged;
mod forgery;
mod frame;
mod node;
mod parts;
mod room;
mod screen;
mod view;

use std::net::SocketAddr;
use std::time::Duration;

use super::config::{GossipConfig, Security};
use super::state::Published;
use crate::{AddressRules, Epoch, MeshName, NodeName, WIRE_VERSION};

fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 9877))
}

fn published(of: &str, epoch: u64) -> Published {
    Published {
        name: name(of),
        epoch: Epoch(epoch),
        zone: "zone".to_owned(),
        control: address(1),
        http_port: 9876,
        iperf3: "3.12".to_owned(),
        wire: WIRE_VERSION,
        sweep: 7,
        leaving: false,
    }
}

fn config(of: &str, epoch: u64, at: SocketAddr) -> GossipConfig {
    GossipConfig {
        mesh: MeshName::default(),
        name: name(of),
        epoch: Epoch(epoch),
        generation: 1000,
        zone: String::new(),
        advertise: at,
        rules: AddressRules::new(at.ip(), []),
        listen: at,
        control: at,
        http_port: 9876,
        security: Security::Insecure,
        members_max: 2048,
        iperf3: "3.12".to_owned(),
        interval: Duration::from_millis(100),
    }
}
