//! A recorder that holds the key: it derives all keys from what it hears, opens everything, and
//! sees whether a nonce is ever used twice with one key. The derivations are written here once
//! more, from `docs/protocol.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

use crate::net::Net;
use crate::{Dice, MESH};

#[test]
fn no_nonce_is_used_twice_in_50_restarts() {
    let mut net = Net::of(3);
    net.dice = Dice(7);
    (net.lost, net.repeated) = (10, 20);
    for step in 0..2000_u64 {
        let node = 1 + net.dice.below(3) as u8;
        let other = 1 + (node + net.dice.below(2) as u8) % 3;
        if step % 7 == 0 {
            match net.dice.below(4) {
                0 => net.restart(node, &[7]),
                1 => net.channel(node).moved(),
                2 => net.replace_keys(node, &[7]),
                _ => net.replace_keys(node, &[8, 7]),
            }
        }
        let length = net.dice.below(3000) as usize;
        net.send(node, other, &vec![1; length]);
        let pause = Duration::from_millis(net.dice.below(300));
        net.run_until(net.now + pause);
    }
    assert!(net.restarts() >= 50, "{}", net.restarts());
    let mut recorder = Recorder::default();
    for (from, _, datagram) in &net.tape {
        recorder.hear(*from, datagram);
    }
    assert!(recorder.opened > 1000, "{}", recorder.opened);
    assert_eq!(recorder.unopened, 0, "the recorder knows all keys");
}

#[derive(Default)]
struct Recorder {
    /// The life that has sent a HELLO with this nonce.
    hellos: BTreeMap<[u8; 16], [u8; 16]>,
    /// The node that has begun a session, and the keys of its two directions.
    sessions: BTreeMap<[u8; 8], (u8, [[u8; 32]; 2])>,
    used: BTreeSet<([u8; 32], u64)>,
    opened: usize,
    unopened: usize,
}

impl Recorder {
    fn hear(&mut self, from: u8, datagram: &[u8]) {
        match datagram[0] {
            0xe1 => {
                self.hellos.insert(part(datagram, 21), part(datagram, 5));
            }
            0xe2 => self.hear_welcome(from, datagram),
            kind => self.hear_sealed(from, datagram, if kind == 0xe3 { 55 } else { 19 }),
        }
    }

    fn hear_welcome(&mut self, from: u8, datagram: &[u8]) {
        let nonce: [u8; 16] = part(datagram, 5);
        let (responder, token): ([u8; 16], [u8; 16]) = (part(datagram, 21), part(datagram, 37));
        let initiator = self.hellos[&nonce];
        let context = [initiator, responder, nonce, token].concat();
        // The other node has begun it: nodes 1 to 3 each have their number in their life.
        assert_ne!(initiator[0], from);
        for key in [7, 8] {
            let mut derived = [0; 72];
            derive(key, &context, &mut derived);
            let keys = [part(&derived, 8), part(&derived, 40)];
            self.sessions
                .insert(part(&derived, 0), (initiator[0], keys));
        }
    }

    fn hear_sealed(&mut self, from: u8, datagram: &[u8], header: usize) {
        let (header, sealed) = datagram.split_at(header);
        let counter = u64::from_be_bytes(part(header, 9));
        let (initiator, keys) = self.sessions[&part(header, 1)];
        let key = keys[usize::from(from != initiator)];
        let is_first = self.used.insert((key, counter));
        assert!(is_first, "node {from} uses counter {counter} twice");
        if opens(&key, counter, header, sealed) {
            self.opened += 1;
        } else {
            self.unopened += 1;
        }
    }
}

fn opens(key: &[u8; 32], counter: u64, header: &[u8], sealed: &[u8]) -> bool {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap());
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.open_in_place(nonce, Aad::from(header), &mut sealed.to_vec())
        .is_ok()
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Derives the keys of a session from the key of the tests with this number.
fn derive(number: u8, context: &[u8], derived: &mut [u8]) {
    let key: [u8; 32] = std::array::from_fn(|at| number.wrapping_add(at as u8));
    let mesh = [&[MESH.len() as u8][..], MESH.as_bytes()].concat();
    let info = [&b"\x06gossip"[..], &mesh, context].concat();
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"iperf3-mesh/v1");
    let info = [info.as_slice()];
    let extracted = salt.extract(&key);
    let expanded = extracted.expand(&info, Length(derived.len())).unwrap();
    expanded.fill(derived).unwrap();
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}
