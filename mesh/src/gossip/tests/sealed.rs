//! The screen of nodes that seal their gossip.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatEnvelope;

use super::super::config::{SealMode, Security};
use super::super::frame::{Entry, Frame, Id, KeyValue, NodeDelta};
use super::super::rejections::Rejection;
use super::super::signature::public_key_text;
use super::super::state::short_id;
use super::super::udp::Received;
use super::forged::Forged;
use super::node::{Node, mix};
use super::{address, signer};
use crate::seal::{DATAGRAM_MAX, Key, KeyId, Keyring, Role, Secret, Signer};
use crate::{Epoch, MeshName};

/// The key of one of the two nodes: its life has the short id of [`Node`].
fn signer_of(number: u8) -> Arc<Signer> {
    let has_id = |signer: &Arc<Signer>| short_id(signer.life().epoch()) == "aa";
    let mut signers = (1u64..).map(signer).filter(has_id);
    signers.nth(usize::from(number) - 1).unwrap()
}

#[test]
fn large_message_travels_in_datagrams_below_every_mtu() {
    let [mut one, mut other] = pair(SealMode::Required);
    meet(&mut one, &mut other);
    let numbers = |last| Entry {
        heartbeat: mix(u64::from(last)) >> 8,
        ..entry("aa", SocketAddr::from(([10, 7, 1, last], 9877)))
    };
    let others = (0..150).map(numbers);
    let digest: Vec<Entry> = others.chain([entry("aa", address(1))]).collect();
    let mut datagrams = send(&mut one, &Frame::Syn(digest), address(2));
    assert!(datagrams.len() > 2);
    assert!(datagrams.iter().all(|it| it.len() <= DATAGRAM_MAX));
    datagrams.reverse();
    let last = datagrams.pop().unwrap();
    for datagram in datagrams {
        assert!(other.receive(&datagram, address(1)).is_none());
    }
    assert!(other.receive(&last, address(1)).is_some());
    assert_eq!(other.shared.roster.len(), 151);
}

#[test]
fn address_speaks_only_for_the_life_that_seals() {
    let [mut one, mut other] = pair(SealMode::Required);
    meet(&mut one, &mut other);
    let news = |id, key, value| NodeDelta {
        id,
        after: 0,
        keys: vec![KeyValue {
            key,
            value,
            version: 1,
        }],
    };
    let own = entry("aa", address(1)).id;
    let [own_key, other_key] = [1, 2].map(|number| public_key_text(&signer_of(number).public()));
    let own_epoch = signer_of(1).life().epoch().to_string();
    let other_epoch = Epoch(7).to_string();
    for (frame, is_true) in [
        (Frame::Syn(vec![entry("aa", address(1))]), true),
        (Frame::Syn(vec![entry("bb", address(1))]), false),
        (Frame::Ack(vec![news(own, "e", &own_epoch)]), true),
        (Frame::Ack(vec![news(own, "e", &other_epoch)]), false),
        (Frame::Ack(vec![news(own, "g", &own_key)]), true),
        (Frame::Ack(vec![news(own, "g", &other_key)]), false),
        (
            Frame::Ack(vec![news(entry("bb", address(1)).id, "e", &own_epoch)]),
            false,
        ),
        // The news of another address are hearsay.
        (
            Frame::Ack(vec![news(entry("bb", address(3)).id, "e", &other_epoch)]),
            true,
        ),
    ] {
        // This node awaits an ACK.
        other.answer(1, address(1)).unwrap();
        let before = other.refused(Rejection::OtherLife);
        for datagram in send(&mut one, &frame, address(2)) {
            other.receive(&datagram, address(1));
        }
        let refused = other.refused(Rejection::OtherLife) - before;
        assert_eq!(refused, u64::from(!is_true), "{frame:?}");
    }
}

#[test]
fn permissive_node_greets_others_now_and_then() {
    let [mut one, _] = pair(SealMode::Permissive);
    let digest = Frame::Syn(vec![entry("aa", address(1))]);
    let mut sent = Vec::new();
    for _ in 0..25 {
        let datagrams = send(&mut one, &digest, address(2));
        assert_eq!(datagrams[0][..2], [0x53, 0xb0], "plain");
        sent.push(datagrams.len());
        one.now += Duration::from_secs(1);
    }
    let hellos: Vec<_> = (0..25).filter(|at| sent[*at] == 2).collect();
    assert_eq!(hellos, [0, 10, 20]);
}

#[test]
fn permissive_node_seals_once_it_is_met() {
    let [mut one, mut other] = pair(SealMode::Permissive);
    meet(&mut one, &mut other);
    for (from, to) in [(&mut one, address(2)), (&mut other, address(1))] {
        let datagrams = send(from, &Frame::Syn(Vec::new()), to);
        assert_eq!(datagrams.len(), 1);
        assert_eq!(datagrams[0][0], 0xe4, "sealed");
    }
    // A peer that has gone back to plain gossip does not answer any more.
    for _ in 0..20 {
        send(&mut one, &Frame::Syn(Vec::new()), address(2));
        one.now += Duration::from_secs(1);
    }
    let datagrams = send(&mut one, &Frame::Syn(Vec::new()), address(2));
    assert_eq!(datagrams[0][..2], [0x53, 0xb0], "plain");
}

#[test]
fn members_are_counted_by_the_key_that_seals_for_them() {
    let [mut one, mut other] = pair(SealMode::Required);
    meet(&mut one, &mut other);
    let count = |members: &[SocketAddr]| {
        let usage = one.shared.sealed.usage(members, one.now);
        (usage.by_key[&key_id()], usage.unsealed)
    };
    assert_eq!(count(&[address(2), address(3)]), (1, 1));
    assert_eq!(count(&[address(3)]), (0, 1), "the other one is no member");
}

#[test]
fn node_that_requires_the_seal_reads_nothing_plain() {
    for (mode, is_read) in [(SealMode::Required, false), (SealMode::Permissive, true)] {
        let [mut one, _] = pair(SealMode::Permissive);
        one.shared.sealed.set_mode(mode);
        let plain = Forged::syn(&[Forged::at(address(2))]);
        let reply = one.screen.receive(&plain, address(2), one.now);
        assert_eq!(reply.is_some(), is_read);
        assert_eq!(one.refused(Rejection::Unsealed), u64::from(!is_read));
    }
}

/// Returns two nodes with one key, at the first two addresses.
fn pair(mode: SealMode) -> [Node; 2] {
    [1, 2].map(|number| {
        let node = Node::at(address(number));
        let security = Security::Sealed {
            secret: Secret::new([number; 32]),
            keyring: keyring(),
            mode,
        };
        let mesh = MeshName::default();
        let life = signer_of(number).life();
        node.shared.sealed.set(&mesh, life, security, node.now);
        node
    })
}

/// Lets two nodes meet, and prove their return paths.
fn meet(one: &mut Node, other: &mut Node) {
    let syn = Frame::Syn(vec![entry("aa", address(1))]).write(&MeshName::default());
    let syn = ChitchatEnvelope::deserialize(&mut &syn[..]).unwrap();
    let mut to_other = one.screen.send(&syn, address(2), one.now);
    let mut to_one = Vec::new();
    while !to_other.is_empty() || !to_one.is_empty() {
        to_one.extend(
            to_other
                .drain(..)
                .flat_map(|it| replies(other, &it, address(1))),
        );
        to_other.extend(
            to_one
                .drain(..)
                .flat_map(|it| replies(one, &it, address(2))),
        );
    }
    assert!(other.shared.roster.is_proven(address(1)));
}

fn replies(node: &mut Node, datagram: &[u8], from: SocketAddr) -> Vec<Vec<u8>> {
    match node.screen.receive(datagram, from, node.now) {
        Some(Received::Reply(datagrams)) => datagrams,
        _ => Vec::new(),
    }
}

/// Seals a message of `node`, whether chitchat would send it or not.
fn send(node: &mut Node, frame: &Frame<'_>, to: SocketAddr) -> Vec<Vec<u8>> {
    let message = frame.write(&MeshName::default());
    node.shared.sealed.seal(message, to, node.now)
}

fn entry(short: &str, address: SocketAddr) -> Entry {
    Entry {
        id: Id::new(short, 1000, address).unwrap(),
        heartbeat: 100,
        version: 9,
    }
}

fn key_id() -> KeyId {
    KeyId::new("key").unwrap()
}

fn keyring() -> Keyring {
    let secret = Secret::new(std::array::from_fn(|at| at as u8));
    let line = Key::new(key_id(), Role::Member, secret).to_line();
    Keyring::read(line.as_bytes()).unwrap()
}
