//! The node's own list of its peers. Gossip forgets a silent node after minutes; this list keeps it until it has
//! departed: said goodbye, was silent for long enough, or is silent and gone from the cluster. Nodes that the cluster
//! knows and gossip does not belong to it, too: who starts while one of them is dead would otherwise never miss it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::wire::is_compatible;
use crate::{Epoch, Member, NodeName, Presence, Time, View, WIRE_VERSION};

/// How long a node that the cluster knows may take to appear in gossip until it is held to be silent. Less than
/// [`QUIET`](crate::lease::QUIET), so that it is in the first sweep of who has just started.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);

/// The life of a node that nobody has heard of. Epochs are drawn at random.
const UNHEARD: Epoch = Epoch(0);

/// A node on which an agent runs as far as the cluster knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Where that agent takes control messages.
    pub control: SocketAddr,
    /// Where it answers the read API, on the address of `control`.
    pub http_port: u16,
}

/// A peer that has not departed.
#[derive(Clone, Debug)]
pub struct Peer {
    /// As it last described itself; `Presence::Silent` if gossip has lost it.
    pub member: Member,
    /// Since when it has been silent.
    pub silent_since: Option<Time>,
    /// The last meeting that it asked for, so that an old request is known when it comes again.
    pub(crate) last_request: Option<(Epoch, u64)>,
}

impl Peer {
    /// Whether the two can meet: it is there, and speaks a wire version that fits.
    pub fn is_meetable(&self) -> bool {
        self.member.presence == Presence::Live && is_compatible(self.member.wire)
    }

    /// Whether the request is one that was not seen before; remembers it.
    pub(crate) fn is_new_request(&mut self, epoch: Epoch, number: u64) -> bool {
        let seen = self.last_request.is_some_and(|(e, last)| e == epoch && number <= last);
        if !seen {
            self.last_request = Some((epoch, number));
        }
        !seen
    }
}

/// What a new view changed.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Peers that can be met now and could not before.
    pub(crate) arrived: Vec<NodeName>,
    /// Peers that have departed and are no longer listed.
    pub(crate) departed: Vec<NodeName>,
}

#[derive(Clone, Debug)]
pub(crate) struct Roster {
    me: NodeName,
    peers: BTreeMap<NodeName, Peer>,
    /// The silent ones, longest first: at every input it is asked who is to be forgotten, which must not cost a look
    /// at each peer.
    silent: BTreeSet<(Time, NodeName)>,
    /// Peers that were silent for too long, or whose node is gone, as long as gossip still speaks of that life of
    /// theirs, or the cluster of their node.
    forgotten: BTreeMap<NodeName, Epoch>,
    expected: BTreeMap<NodeName, Expected>,
    /// Expected nodes that are no peers, and since when. Almost always empty.
    missing: BTreeMap<NodeName, Time>,
}

impl Roster {
    pub(crate) fn new(me: NodeName) -> Self {
        Self {
            me,
            peers: BTreeMap::new(),
            silent: BTreeSet::new(),
            forgotten: BTreeMap::new(),
            expected: BTreeMap::new(),
            missing: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, name: &NodeName) -> Option<&Peer> {
        self.peers.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &NodeName) -> Option<&mut Peer> {
        self.peers.get_mut(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    pub(crate) fn meetable(&self) -> impl Iterator<Item = &NodeName> {
        self.iter().filter(|peer| peer.is_meetable()).map(|peer| &peer.member.name)
    }

    pub(crate) fn update(&mut self, now: Time, view: &View) -> Changes {
        let mut changes = Changes::default();
        let expected = &self.expected;
        self.forgotten.retain(|name, epoch| match view.get(name) {
            Some(member) => member.presence == Presence::Silent && member.epoch == *epoch,
            None => expected.contains_key(name),
        });
        for member in view.members() {
            self.update_member(now, member, &mut changes);
        }
        for (name, peer) in &mut self.peers {
            if peer.member.presence != Presence::Silent && view.get(name).is_none() {
                peer.member.presence = Presence::Silent;
                peer.silent_since = Some(now);
                self.silent.insert((now, name.clone()));
            }
        }
        changes
    }

    fn update_member(&mut self, now: Time, member: &Member, changes: &mut Changes) {
        let known = self.peers.get(&member.name).map(|peer| &peer.member);
        let has_left = member.presence == Presence::Left;
        // A goodbye is remembered for minutes; who was missed since is not the one who said it.
        let is_old =
            known.is_some_and(|known| known == member || has_left && known.epoch == UNHEARD);
        let is_forgotten = self.forgotten.contains_key(&member.name);
        if is_old || is_forgotten || member.name == self.me {
            return;
        }
        if has_left {
            if self.take_out(&member.name).is_some() {
                changes.departed.push(member.name.clone());
                if self.expected.contains_key(&member.name) {
                    self.missing.insert(member.name.clone(), now);
                }
            }
            return;
        }
        let before = self.take_out(&member.name);
        let before = before.as_ref();
        let was_meetable =
            before.is_some_and(|peer| peer.is_meetable() && peer.member.epoch == member.epoch);
        let silent_since = match member.presence {
            Presence::Silent => Some(before.and_then(|peer| peer.silent_since).unwrap_or(now)),
            _ => None,
        };
        let last_request = before.and_then(|peer| peer.last_request);
        let peer = Peer { member: member.clone(), silent_since, last_request };
        if peer.is_meetable() && !was_meetable {
            changes.arrived.push(member.name.clone());
        }
        self.put_in(peer);
    }

    fn put_in(&mut self, peer: Peer) {
        let name = &peer.member.name;
        self.missing.remove(name);
        self.silent.extend(peer.silent_since.map(|since| (since, name.clone())));
        self.peers.insert(name.clone(), peer);
    }

    /// Takes the peer off the list.
    fn take_out(&mut self, name: &NodeName) -> Option<Peer> {
        let peer = self.peers.remove(name)?;
        if let Some(since) = peer.silent_since {
            self.silent.remove(&(since, name.clone()));
        }
        Some(peer)
    }

    /// Takes out the peers that have been silent for `after`.
    pub(crate) fn forget(&mut self, now: Time, after: Duration) -> Vec<NodeName> {
        let mut over = Vec::new();
        while let Some((since, name)) = self.silent.first()
            && now >= *since + after
        {
            let name = name.clone();
            self.dismiss(&name);
            over.push(name);
        }
        over
    }

    /// Takes the peer out if it is silent, and tells whether it was. Who speaks is there, whatever others say.
    pub(crate) fn dismiss(&mut self, name: &NodeName) -> bool {
        if self.get(name).is_none_or(|peer| peer.silent_since.is_none()) {
            return false;
        }
        let peer = self.take_out(name);
        self.forgotten.extend(peer.map(|peer| (name.clone(), peer.member.epoch)));
        true
    }

    /// These nodes, and no others, have an agent as far as the cluster knows.
    pub(crate) fn expect(&mut self, now: Time, nodes: BTreeMap<NodeName, Expected>) {
        self.missing.retain(|name, _| nodes.contains_key(name));
        for name in nodes.keys() {
            let is_new = !self.expected.contains_key(name) && !self.peers.contains_key(name);
            if is_new && *name != self.me {
                self.missing.insert(name.clone(), now);
            }
        }
        self.expected = nodes;
    }

    /// Takes in, as silent, the expected nodes that have not appeared in time.
    pub(crate) fn miss(&mut self, now: Time) {
        let late = self.missing.iter().filter(|(_, since)| now >= **since + APPEARS_WITHIN);
        let late: Vec<NodeName> = late.map(|(name, _)| name.clone()).collect();
        for name in late {
            self.forgotten.remove(&name);
            if let Some(Expected { control, http_port }) = self.expected.get(&name).copied() {
                let member = Member {
                    name,
                    epoch: UNHEARD,
                    wire: WIRE_VERSION,
                    zone: String::new(),
                    control,
                    http_port,
                    sweep: 0,
                    presence: Presence::Silent,
                };
                self.put_in(Peer { member, silent_since: Some(now), last_request: None });
            }
        }
    }

    /// When the next silent peer is to be forgotten, or the next missing node is to be held to be silent.
    pub(crate) fn deadline(&self, forget_after: Duration) -> Option<Time> {
        let forget = self.silent.first().map(|&(since, _)| since + forget_after);
        let miss = self.missing.values().min().map(|&since| since + APPEARS_WITHIN);
        forget.into_iter().chain(miss).min()
    }
}
