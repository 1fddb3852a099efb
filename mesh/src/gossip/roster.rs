//! The identities that gossip keeps, and the room for new ones.
//!
//! Whatever chitchat learns, it keeps for minutes and passes on, and every message carries all of
//! it. So the number of identities is bounded, and a new one comes in only if there is room. Those
//! that are in keep their places: no newcomer displaces a member. The last part of the room is for
//! newcomers that speak for themselves, so that hearsay alone cannot shut them out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::believed::{Believed, Delivery};
use super::frame::{Entry, Frame, Id, NodeDelta};
use super::rejections::Rejection;
use super::udp::DATAGRAM_MAX;
use super::voices::{Voice, Voices};
use crate::AddressRules;

/// The size of the own digest, in bytes, from which on no identity comes in. An answer has no
/// states if the digest leaves less than 16 KiB of the datagram for them.
pub(super) const DIGEST_CEILING: usize = 47_000;
/// The size of the own digest, in bytes, from which on the supervisor logs an alarm.
pub(super) const DIGEST_ALARM: usize = 40_000;
/// The maximum size of an entry in a digest that does not compress, in bytes.
const ENTRY_MAX: usize = 56;
/// The number of bytes by which an entry may grow once its identity is in: heartbeat and version
/// may become any numbers.
const CHANGE_MAX: usize = 15;
/// The part of the room that is closed to identities from hearsay, as a divisor.
const RESERVED: usize = 8;
/// The maximum number of identities at one address that come in by hearsay, and as which it speaks
/// itself. A node that restarts again and again has several.
const IDS_PER_ADDRESS: usize = 4;
const IDS_PER_SPEAKER: usize = 16;
/// The maximum number of identities on one host, with all its ports, unless it is this one.
const IDS_PER_HOST: usize = 64;
/// The number of identities for each member: a restarted node has its former one for minutes.
const IDS_PER_MEMBER: usize = 2;

/// The supervisor's knowledge of an identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Whether the identity has ever been live.
    pub(super) ever_live: bool,
}

/// The identity of this node, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) id: Id,
    pub(super) heartbeat: u64,
    pub(super) version: u64,
}

impl Own {
    /// Returns the entry in a digest.
    pub(super) fn entry(self) -> Entry {
        Entry {
            id: self.id,
            heartbeat: self.heartbeat,
            version: self.version,
        }
    }
}

/// The identities that gossip keeps. It is shared by the supervisor and the socket.
#[derive(Debug, Default)]
pub(super) struct Roster(Mutex<Inner>);

/// The identities at one address.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    ids: usize,
    /// Whether any of them has ever been live.
    ever_live: bool,
}

#[derive(Default)]
struct Inner {
    ids_max: usize,
    rules: Option<AddressRules>,
    own: Option<Own>,
    /// The greatest heartbeat and version of this node that a peer has claimed.
    claimed: (u64, u64),
    known: BTreeMap<Id, Known>,
    /// The addresses of the identities.
    addresses: BTreeMap<SocketAddr, Held>,
    /// The number of identities on each host.
    hosts: BTreeMap<IpAddr, usize>,
    /// The identities that have come in since the last report of the supervisor.
    admitted: BTreeSet<Id>,
    voices: Voices,
    believed: Believed,
    digest_bytes: usize,
    /// The number of identities that have come in since the digest was measured.
    unmeasured: usize,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("ids_max", &self.ids_max)
            .field("known", &self.known.len())
            .field("digest_bytes", &self.digest_bytes)
            .finish_non_exhaustive()
    }
}

/// The reasons for which something was left out of a message.
pub(super) type Omissions = Vec<Rejection>;

impl Roster {
    /// Sets the maximum number of members.
    pub(super) fn set_members_max(&self, members_max: usize) {
        self.lock().ids_max = members_max.saturating_mul(IDS_PER_MEMBER);
    }

    /// Sets the rules for the addresses of new identities.
    pub(super) fn set_rules(&self, rules: AddressRules) {
        self.lock().rules = Some(rules);
    }

    /// Sets the own identity, and forgets what peers have claimed of a former one.
    pub(super) fn set_own(&self, own: Own) {
        let mut inner = self.lock();
        if inner.own.is_none_or(|before| before.id != own.id) {
            inner.claimed = (0, 0);
        }
        inner.own = Some(own);
    }

    /// Returns the own identity.
    pub(super) fn own(&self) -> Option<Own> {
        self.lock().own
    }

    /// Returns whether a peer has claimed more of this node than this node has published. Another
    /// agent uses the same identity, or somebody forges it; the peers no longer hear this node.
    pub(super) fn is_overtaken(&self) -> bool {
        let inner = self.lock();
        let (heartbeat, version) = inner.claimed;
        inner
            .own
            .is_some_and(|own| heartbeat > own.heartbeat || version > own.version)
    }

    /// Sets the known identities, all except the own one.
    pub(super) fn set_known(&self, known: BTreeMap<Id, Known>) {
        let mut inner = self.lock();
        inner.addresses.clear();
        inner.hosts.clear();
        for (id, known) in &known {
            inner.hold(*id, known.ever_live);
        }
        // Chitchat may not have seen those yet that were admitted last.
        let Inner {
            believed, admitted, ..
        } = &mut *inner;
        believed.retain(|id| known.contains_key(id) || admitted.contains(id));
        inner.known = known;
        inner.admitted.clear();
    }

    /// Returns whether an agent at `address` has ever been live.
    pub(super) fn is_member(&self, address: SocketAddr) -> bool {
        self.lock().is_member(address)
    }

    /// Returns the addresses at which an agent has ever been live.
    pub(super) fn members(&self) -> Vec<SocketAddr> {
        let inner = self.lock();
        let members = inner.addresses.iter().filter(|(_, held)| held.ever_live);
        members.map(|(address, _)| *address).collect()
    }

    /// Returns whether the rules refuse all that comes from `ip`.
    pub(super) fn refuses(&self, ip: IpAddr) -> bool {
        self.lock().refuses(ip)
    }

    /// Takes note of who says a message, and of itself; see [`Voices::hear`].
    pub(super) fn hear(&self, frame: &Frame<'_>, from: SocketAddr, is_proof: bool, now: Instant) {
        let mut inner = self.lock();
        let Inner {
            voices, addresses, ..
        } = &mut *inner;
        let is_member = |address| addresses.get(&address).is_some_and(|held| held.ever_live);
        voices.hear(frame, from, is_proof, is_member, now);
    }

    /// Records that this node answers a SYN of `address`.
    pub(super) fn answered(&self, address: SocketAddr, now: Instant) {
        self.lock().voices.answered(address, now);
    }

    /// Returns whether this node awaits an ACK from `address`.
    pub(super) fn awaits(&self, address: SocketAddr, now: Instant) -> bool {
        self.lock().voices.awaits(address, now)
    }

    /// Returns whether messages to `address` are known to arrive there.
    pub(super) fn is_proven(&self, address: SocketAddr) -> bool {
        self.lock().voices.is_proven(address)
    }

    /// Returns whether `address` has yet to prove its return path, or as whom it speaks.
    pub(super) fn must_prove(&self, address: SocketAddr) -> bool {
        self.lock().voices.must_prove(address)
    }

    /// Returns what `address` has said of itself.
    pub(super) fn voice(&self, address: SocketAddr) -> Option<Voice> {
        self.lock().voices.get(address)
    }

    /// Returns whether any address has proven its return path. A transport without a screen asks
    /// for no proof.
    pub(super) fn has_voices(&self) -> bool {
        !self.lock().voices.is_empty()
    }

    /// Returns the maximum number of identities besides the own one.
    pub(super) fn ids_max(&self) -> usize {
        self.lock().ids_max
    }

    /// Returns the number of identities that chitchat knows.
    pub(super) fn len(&self) -> usize {
        let inner = self.lock();
        inner.known.len() + inner.admitted.len()
    }

    /// Records the size of a SYN that was sent as the size of the digest.
    pub(super) fn measured(&self, bytes: usize) {
        let mut inner = self.lock();
        inner.digest_bytes = bytes;
        inner.unmeasured = 0;
    }

    /// Returns the size of this node's digest when it was last sent, in bytes.
    pub(super) fn digest_bytes(&self) -> usize {
        self.lock().digest_bytes
    }

    /// Returns the identities that chitchat has to forget; see [`Believed::take_wrong`].
    pub(super) fn take_wrong(&self) -> BTreeSet<Id> {
        self.lock().believed.take_wrong()
    }

    /// Removes from a message what must not reach chitchat, and returns the reasons.
    pub(super) fn screen(
        &self,
        frame: &mut Frame<'_>,
        delivery: Delivery<'_>,
        now: Instant,
    ) -> Omissions {
        let from = delivery.from;
        let mut inner = self.lock();
        let mut omissions = Omissions::new();
        let (digest, delta) = match frame {
            Frame::Syn(digest) => (Some(digest), None),
            Frame::SynAck(digest, delta) => (Some(digest), Some(delta)),
            Frame::Ack(delta) => (None, Some(delta)),
        };
        if let Some(digest) = digest {
            digest.retain_mut(|entry| {
                inner.hear_of(entry, from, now) && keep(inner.admit(entry, from), &mut omissions)
            });
        }
        if let Some(delta) = delta {
            delta.retain(|news| {
                let address = news.id.address;
                let overrules = address != from && inner.voices.speaking(address, now).is_some();
                !overrules && keep(inner.check_news(news), &mut omissions)
            });
            let Inner {
                believed,
                known,
                admitted,
                ..
            } = &mut *inner;
            let is_kept =
                |news: &NodeDelta<'_>| known.contains_key(&news.id) || admitted.contains(&news.id);
            if believed.screen(delta, delivery, is_kept) {
                omissions.push(Rejection::Signature);
            }
        }
        omissions
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No holder of this lock can panic, and its values have no broken state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep(result: Result<(), Rejection>, omissions: &mut Omissions) -> bool {
    if let Err(reason) = result
        && !omissions.contains(&reason)
    {
        omissions.push(reason);
    }
    result.is_ok()
}

impl Inner {
    /// Corrects what `from` says of an identity by what the address of the identity says itself.
    /// Returns whether anything is left.
    fn hear_of(&self, entry: &mut Entry, from: SocketAddr, now: Instant) -> bool {
        let id = entry.id;
        if let Some(own) = self.own.filter(|own| own.id.address == id.address) {
            // Former runs of this node, and forged ones.
            return own.id == id;
        }
        if id.address == from {
            return true;
        }
        match self.voices.speaking(id.address, now) {
            Some((speaker, heartbeat)) if speaker == id => {
                entry.heartbeat = entry.heartbeat.min(heartbeat);
                true
            }
            Some(_) => {
                entry.heartbeat = 0;
                self.known.contains_key(&id)
            }
            None => true,
        }
    }

    /// Admits the identity of an entry, unless it is in already.
    fn admit(&mut self, entry: &Entry, from: SocketAddr) -> Result<(), Rejection> {
        let id = entry.id;
        if self.own.is_some_and(|own| own.id == id) {
            // Strangers cannot say how peers see this node.
            if self.is_member(from) {
                let (heartbeat, version) = self.claimed;
                self.claimed = (heartbeat.max(entry.heartbeat), version.max(entry.version));
            }
            return Ok(());
        }
        if self.known.contains_key(&id) || self.admitted.contains(&id) {
            return Ok(());
        }
        if self.refuses(id.address.ip()) {
            return Err(Rejection::Address);
        }
        let speaker = self.voices.get(from).and_then(|voice| voice.id);
        self.check_room(id, speaker == Some(id))?;
        self.admitted.insert(id);
        self.hold(id, false);
        self.unmeasured += 1;
        Ok(())
    }

    fn is_member(&self, address: SocketAddr) -> bool {
        let held = self.addresses.get(&address);
        held.is_some_and(|held| held.ever_live)
    }

    fn refuses(&self, ip: IpAddr) -> bool {
        let rules = self.rules.as_ref();
        rules.is_some_and(|rules| rules.allows(ip).is_err())
    }

    fn hold(&mut self, id: Id, ever_live: bool) {
        let held = self.addresses.entry(id.address).or_default();
        held.ids += 1;
        held.ever_live |= ever_live;
        let host = id.address.ip().to_canonical();
        *self.hosts.entry(host).or_default() += 1;
    }

    /// Checks whether there is room for `id`. `speaks` is whether its own address says so.
    fn check_room(&self, id: Id, speaks: bool) -> Result<(), Rejection> {
        let (reserved, ids_max) = match speaks {
            true => (0, IDS_PER_SPEAKER),
            false => (1, IDS_PER_ADDRESS),
        };
        let share = |room: usize| room - room / RESERVED * reserved;
        let at_address = self.addresses.get(&id.address).map_or(0, |held| held.ids);
        let host = id.address.ip().to_canonical();
        let on_host = self.hosts.get(&host).copied().unwrap_or_default();
        let count = self.known.len() + self.admitted.len();
        let bytes = self.digest_bytes + (self.unmeasured + 1) * ENTRY_MAX;
        let has_room = at_address < ids_max
            && (on_host < IDS_PER_HOST || self.is_own_host(host))
            && count < share(self.ids_max)
            && bytes <= share(DIGEST_CEILING)
            && bytes + (count + 1) * CHANGE_MAX <= share(DATAGRAM_MAX);
        has_room.then_some(()).ok_or(Rejection::NoRoom)
    }

    /// Returns whether `ip` is an address of this host. Any program here can have all its ports.
    fn is_own_host(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.own.is_some_and(|own| own.id.address.ip() == ip)
    }

    fn check_news(&self, news: &NodeDelta<'_>) -> Result<(), Rejection> {
        match self.own {
            Some(own) if own.id == news.id => Err(Rejection::OwnState),
            _ => Ok(()),
        }
    }
}
