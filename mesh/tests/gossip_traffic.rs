//! The traffic of real instances of gossip over channels, in virtual time, against the estimate.

#![cfg(feature = "gossip")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "the clock is that of the paused runtime"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::ChannelTransport;
use iperf3_mesh_core::gossip::{Gossip, GossipConfig, RoundBytes, Security};
use iperf3_mesh_core::seal::{DATAGRAM_OVERHEAD, Signer};
use iperf3_mesh_core::{AddressRules, MeshName, NodeName};

const SECOND: Duration = Duration::from_secs(1);
/// The bytes of UDP, IPv4 and the seal with each message that is one datagram.
const HEADERS: u64 = 28 + DATAGRAM_OVERHEAD as u64;
/// The number of rounds that are measured.
const ROUNDS: u32 = 10;
/// The greatest acceptable error of the estimate.
const TOLERANCE: f64 = 0.15;

#[tokio::test(start_paused = true)]
async fn estimate_fits_agents_that_started_together() {
    for nodes in [20, 60] {
        let started = |index| 1_790_000_000 + index * 30 / nodes;
        let measured = bytes_per_round(nodes, started).await;
        let estimate = RoundBytes::estimate(nodes as usize).together;
        let error = measured / estimate - 1.0;
        assert!(
            error.abs() < TOLERANCE,
            "{nodes} nodes: {measured:.0} bytes per round, estimated {estimate:.0}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn agents_that_started_apart_stay_below_the_maximum() {
    let months = |index| 1_780_000_000 + index * 7_919_777 % 10_000_000;
    let measured = bytes_per_round(40, months).await;
    let RoundBytes { together, apart } = RoundBytes::estimate(40);
    assert!(
        measured > together && measured < apart,
        "{measured:.0} bytes per round, estimated {together:.0} to {apart:.0}"
    );
}

/// Returns the number of bytes that a node sends in a round of a stable mesh, in which node `index`
/// says that it was started at `started_at(index)`.
async fn bytes_per_round(nodes: u64, started_at: impl Fn(u64) -> u64) -> f64 {
    let channels = ChannelTransport::default();
    let _running = started(&channels, nodes, started_at).await;
    let before = channels.statistics();
    tokio::time::sleep(SECOND * ROUNDS).await;
    let after = channels.statistics();
    let messages = after.num_messages_total - before.num_messages_total;
    let bytes = after.num_bytes_total - before.num_bytes_total + messages * HEADERS;
    bytes as f64 / f64::from(ROUNDS) / nodes as f64
}

/// Returns the gossip of a complete mesh.
async fn started(
    channels: &ChannelTransport,
    nodes: u64,
    started: impl Fn(u64) -> u64,
) -> Vec<Gossip> {
    let transport = Arc::new(channels.clone());
    let mut running = Vec::new();
    for index in 0..nodes {
        let config = config(index, started(index));
        let node = Gossip::start(config, transport.clone(), Arc::default());
        running.push(node.await.unwrap());
        tokio::time::sleep(30 * SECOND / nodes as u32).await;
        running[index as usize].join(&[address(0)]);
    }
    tokio::time::sleep(20 * SECOND).await;
    for node in &running {
        let members = node.views().borrow().members().len();
        assert_eq!(members as u64, nodes - 1, "the mesh is complete");
    }
    running
}

fn config(index: u64, generation: u64) -> GossipConfig {
    GossipConfig {
        mesh: MeshName::default(),
        name: NodeName::new(&format!("node-{index}")).unwrap(),
        signer: Arc::new(Signer::new(&[index as u8; 32])),
        generation,
        zone: format!("zone-{}", index % 3),
        advertise: address(index),
        rules: AddressRules::new(address(index).ip(), []),
        listen: address(index),
        control: SocketAddr::new(address(index).ip(), 9878),
        http_port: 9876,
        security: Security::Insecure,
        members_max: 2048,
        iperf3: "3.12".to_owned(),
        interval: SECOND,
    }
}

fn address(index: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, index as u8], 9877))
}
