//! Runs the seed corpora of the fuzz targets on the stable compiler. An input that once broke a
//! parser is added to its corpus, so this is also the regression test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use iperf3_mesh_core::fuzzing::{
    gossip_datagram, gossip_datagrams, gossip_state, seal_handshake, sealed_datagrams,
    sealed_request, wire_message,
};

#[test]
fn wire_message_holds_for_every_seed() {
    run_seeds("wire_message", wire_message);
}

#[test]
fn gossip_datagram_holds_for_every_seed() {
    run_seeds("gossip_datagram", gossip_datagram);
}

#[test]
fn gossip_datagrams_hold_for_every_seed() {
    run_seeds("gossip_datagrams", gossip_datagrams);
}

#[test]
fn gossip_state_holds_for_every_seed() {
    run_seeds("gossip_state", gossip_state);
}

#[test]
fn sealed_datagrams_hold_for_every_seed() {
    run_seeds("sealed_datagrams", sealed_datagrams);
}

#[test]
fn seal_handshake_holds_for_every_seed() {
    run_seeds("seal_handshake", seal_handshake);
}

#[test]
fn sealed_request_holds_for_every_seed() {
    run_seeds("sealed_request", sealed_request);
}

/// Gives `target` each seed, and each seed cut short.
fn run_seeds(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/seeds")
        .join(name);
    let seeds: Vec<_> = fs::read_dir(&folder).unwrap().collect();
    assert!(!seeds.is_empty(), "no seed in {}", folder.display());
    for seed in seeds {
        let bytes = fs::read(seed.unwrap().path()).unwrap();
        target(&bytes);
        target(&bytes[..bytes.len() / 2]);
    }
}
