//! The node's own list of its peers.
//!
//! Gossip forgets a silent node after minutes. This list keeps a silent node until it has departed:
//! because it said goodbye, because it was silent for long enough, or because it is silent and gone
//! from the cluster. The list also has the nodes that the cluster knows and gossip does not.
//! Without them, a node that starts while one of those nodes is down would never miss that node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::node::backoff::Backoff;
use crate::node::numbers::Numbers;
use crate::node::seen_requests::SeenRequests;
use crate::reservation::Partner;
use crate::wire::is_compatible;
use crate::{Auth, ClusterNode, Epoch, Member, NodeName, PeerState, Time, View, WIRE_VERSION};

/// How long a node that the cluster knows may take to appear in gossip before it is missing. This
/// is less than [`QUIET_TIME`](crate::protocol::QUIET_TIME), so that a node that has just started
/// knows the missing nodes in its first sweep.
const APPEARS_WITHIN: Duration = Duration::from_secs(30);

/// A peer that has not departed.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The peer as it last described itself. Its state is `PeerState::Silent` if gossip has lost
    /// the peer, and `PeerState::Missing` if gossip has never known it.
    pub member: Member,
    /// When the peer became silent or missing.
    pub silent_since: Option<Time>,
    /// The requests of the peer.
    pub(crate) requests: SeenRequests,
    /// The present sweep of the peer, from its last message or from gossip; 0 before its first.
    pub(crate) number: u64,
    /// Whether this epoch of the peer has ever answered at its control address.
    pub has_answered: bool,
    /// Whether it has, and has left no request unanswered since.
    pub(crate) reached: bool,
    /// The number of pings in a row without an answer.
    pub(crate) unanswered_pings: u8,
    /// The number of requests in a row without an answer, in all sweeps.
    pub(crate) unanswered_requests: u8,
    /// The failures of the peer's cells since it last answered, in any epoch.
    backoff: Backoff,
}

impl Peer {
    /// Returns the peer's sweep number, if it counts.
    fn counted_number(&self) -> Option<u64> {
        (self.is_meetable() && self.has_answered && self.number > 0).then_some(self.number)
    }

    /// Returns whether this node can meet the peer: the peer is live and speaks a compatible wire
    /// version.
    pub fn is_meetable(&self) -> bool {
        self.member.state == PeerState::Live && is_compatible(self.member.wire)
    }

    /// Returns whether the peer may be dead: gossip does not hear it, or it has to answer a ping.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.member.state == PeerState::Silent || (self.is_meetable() && !self.reached)
    }

    /// Returns whether the peer has never answered at its address although it had the time to, so
    /// that it may be invented.
    pub(crate) fn never_answers(&self) -> bool {
        !self.has_answered && self.backoff.has_failed()
    }

    /// Returns the peer as the other node of a meeting.
    pub(crate) fn as_partner(&self) -> Partner {
        Partner {
            name: self.member.name.clone(),
            epoch: self.member.epoch,
            address: self.member.control.ip(),
        }
    }
}

/// The changes that a new view made.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// The peers that can be met now, but could not be met before.
    pub(crate) arrived: Vec<NodeName>,
    /// The peers that have departed and are no longer listed.
    pub(crate) departed: Vec<NodeName>,
    /// The peers that could be met before, and have fallen silent.
    pub(crate) lost: Vec<NodeName>,
}

#[derive(Clone, Debug)]
pub(crate) struct Peers {
    me: NodeName,
    silent_max: usize,
    peers: BTreeMap<NodeName, Peer>,
    /// The sweep numbers of the peers.
    pub(crate) numbers: Numbers,
    /// The silent peers in the order of their silence, the longest first. Every input checks for
    /// peers to forget, and must not scan the whole list.
    silent: BTreeSet<(Time, NodeName)>,
    /// The departed peers. Each one is kept for as long as gossip still mentions its epoch, or the
    /// cluster still has its node. Only a sign of life brings a peer back.
    departed: BTreeMap<NodeName, Epoch>,
    cluster: BTreeMap<NodeName, ClusterNode>,
    /// The nodes of the cluster that may still appear, each with the instant since which it has
    /// been awaited. The map is almost always empty.
    awaited: BTreeMap<NodeName, Time>,
}

impl Peers {
    pub(crate) fn new(me: NodeName, silent_max: usize) -> Self {
        Self {
            me,
            silent_max,
            peers: BTreeMap::new(),
            numbers: Numbers::default(),
            silent: BTreeSet::new(),
            departed: BTreeMap::new(),
            cluster: BTreeMap::new(),
            awaited: BTreeMap::new(),
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
        self.iter()
            .filter(|peer| peer.is_meetable())
            .map(|peer| &peer.member.name)
    }

    pub(crate) fn update(&mut self, now: Time, view: &View) -> Changes {
        let mut changes = Changes::default();
        let cluster = &self.cluster;
        self.departed.retain(|name, epoch| match view.get(name) {
            Some(Member {
                state: PeerState::Silent | PeerState::Left,
                epoch: its,
                ..
            }) => its == epoch,
            Some(_) => false,
            None => cluster.contains_key(name),
        });
        for member in view.members() {
            self.update_member(now, member, &mut changes);
        }
        let vanished: Vec<NodeName> = self
            .iter()
            .filter(|peer| peer.silent_since.is_none() && view.get(&peer.member.name).is_none())
            .map(|peer| peer.member.name.clone())
            .collect();
        for name in vanished {
            if let Some(mut peer) = self.remove(&name) {
                peer.member.state = PeerState::Silent;
                peer.silent_since = Some(now);
                peer.reached = false;
                self.insert(peer);
                changes.lost.push(name);
            }
        }
        if self.silent.len() > self.silent_max {
            changes.departed.extend(self.forget_excess());
        }
        changes
    }

    /// Removes the silent peers beyond the bound: those that have never answered before all others,
    /// those that have been silent for longest first. Missing nodes do not count: gossip cannot
    /// invent them.
    fn forget_excess(&mut self) -> Vec<NodeName> {
        let silent = self.silent.iter().filter_map(|(_, name)| self.get(name));
        let (answered, others): (Vec<&Peer>, Vec<&Peer>) = silent
            .filter(|peer| peer.member.state == PeerState::Silent)
            .partition(|peer| peer.has_answered);
        let excess = (answered.len() + others.len()).saturating_sub(self.silent_max);
        let over = others.into_iter().chain(answered).take(excess);
        let mut over: Vec<NodeName> = over.map(|peer| peer.member.name.clone()).collect();
        over.retain(|name| self.forget_absent(name));
        over
    }

    /// Counts a sweep that begins.
    pub(crate) fn count_sweep(&mut self) {
        for peer in self.peers.values_mut() {
            peer.backoff.count_sweep();
        }
    }

    /// Returns whether the cells of this peer may fail in the sweep that began at `began`, and
    /// records that they do. Those of a peer that has never answered fail more and more rarely.
    pub(crate) fn take_failure(&mut self, name: &NodeName, began: Time) -> bool {
        let Some(peer) = self.peers.get_mut(name) else {
            return true;
        };
        if peer.has_answered || peer.member.state == PeerState::Missing {
            return true;
        }
        let is_due = peer.backoff.is_due(began);
        if is_due {
            peer.backoff.record(began);
        }
        is_due
    }

    /// Records the sweep that a peer works on, as it has just told.
    pub(crate) fn hear_of_sweep(&mut self, name: &NodeName, number: u64) {
        self.change(name, |peer| peer.number = number);
    }

    /// Records whether a peer answers.
    pub(crate) fn set_reached(&mut self, name: &NodeName, reached: bool) {
        self.change(name, |peer| {
            peer.reached = reached;
            peer.has_answered |= reached;
            if reached {
                peer.unanswered_pings = 0;
                peer.backoff = Backoff::default();
            }
        });
    }

    fn change(&mut self, name: &NodeName, change: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.peers.get_mut(name) {
            self.numbers
                .remove(peer.is_meetable(), peer.counted_number());
            change(peer);
            self.numbers.add(peer.is_meetable(), peer.counted_number());
        }
    }

    fn update_member(&mut self, now: Time, member: &Member, changes: &mut Changes) {
        let is_known = self
            .peers
            .get(&member.name)
            .is_some_and(|peer| peer.member == *member);
        let has_departed = self.departed.contains_key(&member.name);
        if is_known || has_departed || member.name == self.me {
            return;
        }
        if member.state == PeerState::Left {
            self.departed.insert(member.name.clone(), member.epoch);
            if self.remove(&member.name).is_some() {
                changes.departed.push(member.name.clone());
            }
            return;
        }
        let before = self.remove(&member.name);
        let before = before.as_ref();
        let was_meetable =
            before.is_some_and(|peer| peer.is_meetable() && peer.member.epoch == member.epoch);
        let silent_since = match member.state {
            PeerState::Silent => Some(before.and_then(|peer| peer.silent_since).unwrap_or(now)),
            _ => None,
        };
        let same = before.filter(|peer| peer.member.epoch == member.epoch);
        let same_place = same.filter(|peer| peer.member.control == member.control);
        let is_there = member.state == PeerState::Live;
        let peer = Peer {
            number: same.map_or(member.sweep, |peer| newer_number(peer, member.sweep)),
            has_answered: same_place.is_some_and(|peer| peer.has_answered),
            reached: is_there && same_place.is_some_and(|peer| peer.reached),
            unanswered_pings: same.map_or(0, |peer| peer.unanswered_pings),
            unanswered_requests: same.map_or(0, |peer| peer.unanswered_requests),
            requests: before.map(|peer| peer.requests).unwrap_or_default(),
            backoff: before.map(|peer| peer.backoff).unwrap_or_default(),
            member: member.clone(),
            silent_since,
        };
        if was_meetable && member.state == PeerState::Silent {
            changes.lost.push(member.name.clone());
        }
        if peer.is_meetable() && !was_meetable {
            changes.arrived.push(member.name.clone());
        }
        self.insert(peer);
    }

    fn insert(&mut self, peer: Peer) {
        self.numbers.add(peer.is_meetable(), peer.counted_number());
        let name = &peer.member.name;
        self.awaited.remove(name);
        self.silent
            .extend(peer.silent_since.map(|since| (since, name.clone())));
        self.peers.insert(name.clone(), peer);
    }

    /// Removes the peer from the list.
    fn remove(&mut self, name: &NodeName) -> Option<Peer> {
        let peer = self.peers.remove(name)?;
        self.numbers
            .remove(peer.is_meetable(), peer.counted_number());
        if let Some(since) = peer.silent_since {
            self.silent.remove(&(since, name.clone()));
        }
        Some(peer)
    }

    /// Removes the peers that have been silent for `after`; they have departed.
    pub(crate) fn forget(&mut self, now: Time, after: Duration) -> Vec<NodeName> {
        let mut over = Vec::new();
        while let Some((since, name)) = self.silent.first()
            && now >= *since + after
        {
            let name = name.clone();
            self.forget_absent(&name);
            over.push(name);
        }
        over
    }

    /// Removes the peer if it is silent or missing, and returns whether it did. A peer that still
    /// speaks is present, whatever other sources report.
    pub(crate) fn forget_absent(&mut self, name: &NodeName) -> bool {
        if self
            .get(name)
            .is_none_or(|peer| peer.silent_since.is_none())
        {
            return false;
        }
        let peer = self.remove(name);
        self.departed
            .extend(peer.map(|peer| (name.clone(), peer.member.epoch)));
        true
    }

    /// Updates the list with the present nodes of the cluster. Returns the missing nodes that are
    /// no longer in the cluster: they have departed.
    pub(crate) fn update_cluster(
        &mut self,
        now: Time,
        nodes: BTreeMap<NodeName, ClusterNode>,
    ) -> Vec<NodeName> {
        self.awaited.retain(|name, _| nodes.contains_key(name));
        for name in nodes.keys() {
            let is_new = !self.cluster.contains_key(name) && !self.peers.contains_key(name);
            if is_new && *name != self.me {
                self.awaited.insert(name.clone(), now);
            }
        }
        self.cluster = nodes;
        let over: Vec<NodeName> = self
            .iter()
            .filter(|peer| peer.member.state == PeerState::Missing)
            .map(|peer| peer.member.name.clone())
            .filter(|name| !self.cluster.contains_key(name))
            .collect();
        over.iter().for_each(|name| drop(self.remove(name)));
        over
    }

    /// Adds the nodes of the cluster that have not appeared in time, and returns them. A node that
    /// said goodbye, or has not been ready for `forget_after`, is not added: it has departed.
    pub(crate) fn add_missing(&mut self, now: Time, forget_after: Duration) -> Vec<NodeName> {
        let late: Vec<NodeName> = self
            .awaited
            .iter()
            .filter(|(_, since)| now >= **since + APPEARS_WITHIN)
            .map(|(name, _)| name.clone())
            .collect();
        let mut missing = Vec::new();
        for name in late {
            self.awaited.remove(&name);
            let node = self.cluster.get(&name).copied();
            let Some(node) = node.filter(|node| node.unready_for < forget_after) else {
                continue;
            };
            if !self.departed.contains_key(&name) && !self.is_taken(node.address) {
                missing.push(name.clone());
                self.insert(missing_peer(now, name, node));
            }
        }
        missing
    }

    /// Returns whether a live peer has this address. In that case, the agent at the address uses a
    /// name other than that of the node.
    fn is_taken(&self, address: IpAddr) -> bool {
        let mut live = self.iter().filter(|peer| peer.silent_since.is_none());
        live.any(|peer| peer.member.control.ip() == address)
    }

    /// Returns the instant at which the next silent peer departs, or the next node of the cluster
    /// becomes missing.
    pub(crate) fn deadline(&self, forget_after: Duration) -> Option<Time> {
        let forget = self.silent.first().map(|&(since, _)| since + forget_after);
        let miss = self
            .awaited
            .values()
            .min()
            .map(|&since| since + APPEARS_WITHIN);
        forget.into_iter().chain(miss).min()
    }
}

/// Returns the number of a peer that gossip now reports with this `sweep`. Gossip lags behind
/// messages, so it counts if it is later, or if the peer has gone back.
fn newer_number(before: &Peer, sweep: u64) -> u64 {
    if sweep < before.member.sweep {
        sweep
    } else {
        before.number.max(sweep)
    }
}

fn missing_peer(now: Time, name: NodeName, node: ClusterNode) -> Peer {
    let ClusterNode {
        address,
        unready_for,
    } = node;
    let member = Member {
        name,
        // No agent has this epoch: epochs are drawn at random.
        epoch: Epoch(0),
        life: None,
        auth: Auth::default(),
        wire: WIRE_VERSION,
        zone: String::new(),
        control: SocketAddr::new(address, 0),
        http_port: 0,
        iperf3: String::new(),
        sweep: 0,
        state: PeerState::Missing,
    };
    Peer {
        member,
        silent_since: Some(now - unready_for),
        requests: SeenRequests::default(),
        number: 0,
        has_answered: false,
        reached: false,
        unanswered_pings: 0,
        unanswered_requests: 0,
        backoff: Backoff::default(),
    }
}
