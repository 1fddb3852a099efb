//! Sealed datagrams and envelopes, as the gossip socket and the HTTP ports use them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod channel;
mod envelope;
mod forgeries;
mod handshake;
mod key_file;
mod messages;
mod net;
mod nonces;
mod schedules;

use std::net::SocketAddr;
use std::time::Duration;

use iperf3_mesh_core::Time;
use iperf3_mesh_core::seal::{Channel, Life, Secret};
use iperf3_mesh_core_testkit::{key, keyring};

const MESH: &str = "test";

/// The life of the first run of a node.
fn life(node: u8) -> Life {
    net::life_of_run(node, 0)
}

/// The channel of the first run of a node.
fn channel(node: u8, keys: &[u8]) -> Channel {
    run(node, 0, keys)
}

/// The channel of a run of a node.
fn run(node: u8, number: u8, keys: &[u8]) -> Channel {
    let life = net::life_of_run(node, number);
    let mut secret = [node; 32];
    secret[1] = number;
    Channel::new(life, Secret::new(secret), MESH.to_owned(), keyring(keys))
}

fn address(node: u8) -> SocketAddr {
    ([198, 18, 0, node], 9877).into()
}

fn seconds(seconds: u64) -> Time {
    Time::default() + Duration::from_secs(seconds)
}

/// Random numbers that the seed decides (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
