//! The room for identities: how many come in, from whom, and how large the digest becomes.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::frame::{COUNTER_MAX, HEARTBEAT_MAX};
use super::super::rejections::Rejection;
use super::address;
use super::forged::Forged;
use super::node::{IDS_MAX, Node, forged, mix, noise};

#[test]
fn message_with_too_many_identities_changes_nothing() {
    let mut node = Node::new();
    node.prove(address(2));
    for (count, reason) in [(1000, Rejection::TooManyIds), (48_000, Rejection::Oversize)] {
        let ids: Vec<_> = (0..count).map(forged).collect();
        assert!(node.receive(&Forged::syn(&ids), address(2)).is_none());
        assert_eq!(node.refused(reason), 1);
    }
    assert_eq!(node.shared.roster.len(), 1, "the sender");
}

#[test]
fn identities_are_bounded_and_known_ones_keep_their_place() {
    let mut node = Node::new();
    let member = address(2);
    node.knows(&[member]);
    node.prove(address(3));
    node.now += Duration::from_secs(2);
    for wave in 0..50 {
        let ids: Vec<_> = (wave * 150..(wave + 1) * 150).map(forged).collect();
        node.receive(&Forged::syn(&ids), address(3));
        assert!(node.shared.roster.len() <= IDS_MAX);
        node.now += Duration::from_secs(1);
    }
    assert!(node.refused(Rejection::NoRoom) > 0);
    let mut entry = Forged {
        address: member,
        ..Forged::default()
    };
    entry.heartbeat = 77;
    let message = node.receive(&Forged::syn(&[entry]), address(3)).unwrap();
    assert!(
        format!("{message:?}").contains("Heartbeat(77)"),
        "{message:?}"
    );
}

#[test]
fn hearsay_leaves_room_for_who_speaks_for_itself() {
    let mut node = full_of_hearsay();
    let count = node.shared.roster.len();
    assert!(count < IDS_MAX, "{count}");
    let newcomer = Forged {
        address: address(4),
        ..Forged::default()
    };
    node.receive(&Forged::syn(&[newcomer]), address(3));
    assert_eq!(node.shared.roster.len(), count, "hearsay");
    node.prove(address(4));
    assert_eq!(node.shared.roster.len(), count + 1);
}

#[test]
fn one_address_takes_a_few_places() {
    let mut node = Node::new();
    let runs = |of: SocketAddr| {
        (1..100).map(move |generation| Forged {
            generation,
            ..Forged::at(of)
        })
    };
    node.prove(address(3));
    let hearsay: Vec<_> = runs(address(4)).collect();
    assert!(node.admitted(&hearsay, address(3)).len() <= 4);
    // An address that has proven its path, and speaks as many.
    let own: Vec<_> = runs(address(3)).collect();
    assert!(node.admitted(&own, address(3)).len() <= 4);
    for run in runs(address(5)).take(50) {
        node.prove_as(run);
    }
    let count = node.shared.roster.len();
    assert!(count <= 1 + 4 + 4 + 16, "{count}");
}

#[test]
fn one_host_takes_some_places_with_all_its_ports() {
    let mut node = Node::new();
    node.shared.roster.set_members_max(2048);
    for port in 1..=100 {
        node.now += Duration::from_millis(10);
        node.prove_as(Forged::at(SocketAddr::from(([10, 0, 0, 4], port))));
    }
    assert_eq!(node.shared.roster.len(), 64);
    node.prove(address(5));
    assert_eq!(node.shared.roster.len(), 65, "another host");
}

#[test]
fn reserved_room_is_for_the_speaker_alone() {
    let mut node = full_of_hearsay();
    let count = node.shared.roster.len();
    let other = Forged {
        generation: 7,
        ..Forged::at(address(3))
    };
    node.receive(
        &Forged::syn(&[Forged::at(address(3)), other, forged(1)]),
        address(3),
    );
    assert_eq!(node.shared.roster.len(), count);
}

#[test]
fn digest_of_a_full_node_is_read() {
    let mut node = Node::new();
    node.prove(address(2));
    // The sender and the receiver beside the identities for which the sender has room.
    let own = Forged::at(address(1));
    let of_ends = [Forged::at(address(2)), own];
    let digest =
        |others| -> Vec<_> { of_ends.into_iter().chain((0..others).map(forged)).collect() };
    let full = u32::try_from(IDS_MAX).unwrap();
    assert!(
        node.receive(&Forged::syn(&digest(full)), address(2))
            .is_some()
    );
    assert!(
        node.receive(&Forged::syn(&digest(full + 1)), address(2))
            .is_none()
    );
    assert_eq!(node.refused(Rejection::TooManyIds), 1);
}

#[test]
fn digest_of_all_that_is_admitted_fits_a_datagram() {
    let mut node = Node::new();
    let stranger = address(3);
    node.shared.roster.set_members_max(2048);
    node.prove(stranger);
    let mut digest = Vec::new();
    for wave in 0..80 {
        node.now += Duration::from_secs(2);
        let still = |index| Forged {
            heartbeat: 1,
            version: 0,
            ..noise(index)
        };
        let mut ids: Vec<_> = (wave * 50..(wave + 1) * 50).map(still).collect();
        ids.push(Forged::at(stranger));
        digest.extend(node.admitted(&ids, stranger));
        assert!(node.send_digest(&digest, stranger).is_some());
    }
    assert!(digest.len() > 1000, "{}", digest.len());
    assert!(node.refused(Rejection::NoRoom) > 0);
    for (index, entry) in digest.iter_mut().enumerate() {
        entry.heartbeat = mix(2 * index as u64) % HEARTBEAT_MAX;
        entry.version = mix(2 * index as u64 + 1) % COUNTER_MAX;
    }
    assert!(
        node.send_digest(&digest, stranger).is_some(),
        "{}",
        digest.len()
    );
}

/// A node to which another one has told more identities than it takes.
fn full_of_hearsay() -> Node {
    let mut node = Node::new();
    node.prove(address(3));
    for wave in 0..5 {
        let ids: Vec<_> = (wave * 150..(wave + 1) * 150).map(forged).collect();
        node.receive(&Forged::syn(&ids), address(3));
    }
    node
}
