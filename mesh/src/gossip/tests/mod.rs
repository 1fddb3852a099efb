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
mod sealed;
mod signed;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::config::{GossipConfig, Security};
use super::state::Published;
use crate::seal::Signer;
use crate::{AddressRules, Auth, AuthMode, Epoch, MeshName, NodeName, WIRE_VERSION};

fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

/// The key of one of many lives.
fn signer(number: u64) -> Arc<Signer> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    Arc::new(Signer::new(&seed))
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 9877))
}

fn published(of: &str, epoch: u64) -> Published {
    Published {
        name: name(of),
        epoch: Epoch(epoch),
        public: None,
        auth: Auth {
            mode: AuthMode::Required,
            accepted: vec![[1, 2, 3, 4], [5, 6, 7, 8]],
        },
        zone: "zone".to_owned(),
        control: address(1),
        http_port: 9876,
        iperf3: "3.12".to_owned(),
        wire: WIRE_VERSION,
        sweep: 7,
        leaving: false,
    }
}

fn config(of: &str, number: u64, at: SocketAddr) -> GossipConfig {
    GossipConfig {
        mesh: MeshName::default(),
        name: name(of),
        signer: signer(number),
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
