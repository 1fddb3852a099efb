//! Sealed datagrams and envelopes, as the gossip socket and the HTTP ports use them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod channel;
mod envelope;
mod key_file;

use std::net::SocketAddr;
use std::time::Duration;

use iperf3_mesh_core::Time;
use iperf3_mesh_core::seal::{Channel, Key, KeyId, Keyring, Life, Role, Secret};

const MESH: &str = "test";

/// A key that this number decides.
fn key(number: u8, role: Role) -> Key {
    let bytes = std::array::from_fn(|at| number.wrapping_add(at as u8));
    Key::new(
        KeyId::new(&format!("key-{number}")).unwrap(),
        role,
        Secret::new(bytes),
    )
}

/// A keyring with these member keys, the newest first.
fn keyring(numbers: &[u8]) -> Keyring {
    let lines = numbers
        .iter()
        .map(|number| key(*number, Role::Member).to_line().to_string());
    Keyring::read(lines.collect::<Vec<_>>().join("\n").as_bytes()).unwrap()
}

fn life(number: u8) -> Life {
    Life::new([number; 16])
}

fn channel(number: u8, keys: &[u8]) -> Channel {
    Channel::new(
        life(number),
        Secret::new([number; 32]),
        MESH.to_owned(),
        keyring(keys),
    )
}

fn address(number: u8) -> SocketAddr {
    ([198, 18, 0, number], 9877).into()
}

fn seconds(seconds: u64) -> Time {
    Time::default() + Duration::from_secs(seconds)
}
