//! A node of the tests, with a screen and without a network, and identities for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use chitchat::{ChitchatEnvelope, ChitchatMessage, ProtocolVersion};
use tokio::time::Instant;

use super::super::frame::{Entry, Frame, Id};
use super::super::packed::{Packed, Unpacker};
use super::super::rejections::Rejection;
use super::super::roster::{Known, Own};
use super::super::shared::GossipShared;
use super::super::udp::{Received, Screen};
use super::address;
use super::forged::{Forged, challenge};
use crate::MeshName;

pub(super) const MEMBERS_MAX: usize = 100;
pub(super) const IDS_MAX: usize = 2 * MEMBERS_MAX;

/// A node, at the first address by default.
pub(super) struct Node {
    pub(super) shared: Arc<GossipShared>,
    pub(super) screen: Screen,
    pub(super) now: Instant,
    known: BTreeMap<Id, Known>,
}

impl Node {
    pub(super) fn new() -> Self {
        Self::at(address(1))
    }

    pub(super) fn at(address: SocketAddr) -> Self {
        let shared = Arc::<GossipShared>::default();
        shared.roster.set_members_max(MEMBERS_MAX);
        let id = Id::new("aa", 1000, address).unwrap();
        shared.roster.set_own(Own {
            id,
            heartbeat: 100,
            version: 9,
        });
        let now = Instant::now();
        let screen = Screen::new(Arc::clone(&shared), now).unwrap();
        Self {
            shared,
            screen,
            now,
            known: BTreeMap::new(),
        }
    }

    /// Makes live members of these addresses, which have proven their return paths.
    pub(super) fn knows(&mut self, addresses: &[SocketAddr]) {
        self.known.clear();
        self.hold(addresses, true);
    }

    /// Makes members of these addresses that are never live, and have proven their return paths.
    pub(super) fn invent(&mut self, addresses: &[SocketAddr]) {
        self.hold(addresses, false);
    }

    fn hold(&mut self, addresses: &[SocketAddr], ever_live: bool) {
        for address in addresses {
            self.prove(*address);
            let id = Id::new("aa", 1000, *address).unwrap();
            self.known.insert(id, Known { ever_live });
        }
        self.shared.roster.set_known(self.known.clone());
    }

    /// Lets `peer` introduce itself, and answer the introduction.
    pub(super) fn prove(&mut self, peer: SocketAddr) {
        self.prove_as(Forged::at(peer));
    }

    pub(super) fn prove_as(&mut self, of: Forged) {
        let peer = of.address;
        let syn = Forged::syn(&[of]);
        let introduction = self.introduction(&syn, peer);
        let id = self.shared.roster.own().unwrap().id;
        let own = Forged {
            heartbeat: challenge(&introduction),
            version: 0,
            ..Forged::at(id.address)
        };
        let syn = Forged::syn(&[of, own]);
        assert!(self.receive(&syn, peer).is_some());
    }

    pub(super) fn introduction(&mut self, syn: &[u8], from: SocketAddr) -> Vec<u8> {
        match self.screen.receive(syn, from, self.now) {
            Some(Received::Reply(reply)) => reply.concat(),
            got => panic!("no introduction: {got:?}"),
        }
    }

    pub(super) fn receive(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
    ) -> Option<ChitchatEnvelope> {
        match self.screen.receive(datagram, from, self.now)? {
            Received::Message(message) => Some(message),
            Received::Reply(_) => None,
        }
    }

    /// Sends a SYN.
    pub(super) fn contact(&mut self, to: SocketAddr) -> Vec<u8> {
        let message = ChitchatMessage::Syn {
            cluster_id: "iperf3-mesh".to_owned(),
            digest: Default::default(),
        };
        let version = ProtocolVersion::V1;
        let message = ChitchatEnvelope { version, message };
        self.screen.send(&message, to, self.now).concat()
    }

    /// Sends a SYN-ACK with a digest of `count` identities.
    pub(super) fn answer(&mut self, count: usize, to: SocketAddr) -> Option<Vec<u8>> {
        let digest = (0..count)
            .map(|index| {
                let [high, low] = u16::try_from(index).unwrap().to_be_bytes();
                let address = SocketAddr::from(([10, 1, high, low], 9877));
                let id = Id::new("aa", index as u64 * 7919, address).unwrap();
                Entry {
                    id,
                    heartbeat: index as u64,
                    version: 9,
                }
            })
            .collect();
        let written = Frame::SynAck(digest, Vec::new()).write(&MeshName::default());
        let envelope = ChitchatEnvelope::deserialize(&mut &written[..]).unwrap();
        self.screen.send(&envelope, to, self.now).pop()
    }

    /// Sends a SYN with this digest. Returns `None` if it does not fit into a datagram.
    pub(super) fn send_digest(&mut self, digest: &[Entry], to: SocketAddr) -> Option<Vec<u8>> {
        let written = Frame::Syn(digest.to_vec()).write(&MeshName::default());
        let envelope = ChitchatEnvelope::deserialize(&mut &written[..]).unwrap();
        self.screen.send(&envelope, to, self.now).pop()
    }

    /// Returns the digest that reaches chitchat of a SYN with these entries.
    pub(super) fn admitted(&mut self, entries: &[Forged], from: SocketAddr) -> Vec<Entry> {
        let Some(message) = self.receive(&Forged::syn(entries), from) else {
            return Vec::new();
        };
        let mut bytes = Vec::new();
        message.serialize(&mut bytes);
        let unpacked = Packed::read(&bytes, &MeshName::default()).unwrap();
        let unpacked = unpacked.unpack(&mut Unpacker::new().unwrap()).unwrap();
        let (frame, _) = unpacked.read(usize::MAX).unwrap();
        frame.digest().to_vec()
    }

    pub(super) fn refused(&self, reason: Rejection) -> u64 {
        self.shared.rejections.totals()[reason as usize]
    }
}

/// Returns one of many identities.
pub(super) fn forged(index: u32) -> Forged {
    let [_, a, b, c] = index.to_be_bytes();
    Forged {
        address: SocketAddr::from(([11, a, b, c], 9877)),
        ..Forged::default()
    }
}

/// Returns one of many identities that hardly compress.
pub(super) fn noise(index: u64) -> Forged {
    let noise = mix(index);
    let [a, b, c, d, ..] = noise.to_le_bytes();
    Forged {
        generation: noise >> 24,
        address: SocketAddr::from(([127, b, c, d], u16::from(a) + 1)),
        heartbeat: mix(noise) >> 4,
        version: mix(noise) >> 24,
        ..Forged::default()
    }
}

/// Returns numbers without a pattern (the mixer of SplitMix64).
pub(super) fn mix(index: u64) -> u64 {
    let mut mixed = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
