//! One sweep as one node sees it: the peers that the node still has to meet, in order.

use std::collections::{BTreeMap, BTreeSet};

use crate::schedule::Tournament;
use crate::{NodeName, Protocol, Reason, Time};

/// The progress with one peer in this sweep.
#[derive(Clone, Debug)]
pub(crate) struct PeerProgress {
    pub(crate) peer: NodeName,
    /// The cells of this node without a result in this sweep, one bit for each protocol.
    wanted: u8,
    /// The instant before which the peer is not due, because the last request failed through its
    /// fault or found the peer in its quiet time.
    pub(crate) not_before: Time,
    /// The instant until which the peer is in another meeting, by its own prediction.
    pub(crate) busy_until: Time,
    /// Whether the peer has asked without success and is waiting for this node.
    pub(crate) peer_wants_us: bool,
    /// Whether the peer is in a later sweep, so that the two nodes will not meet in this sweep any
    /// more.
    pub(crate) in_later_sweep: bool,
    /// Whether the peer last answered that it is in its quiet time.
    pub(crate) quiet: bool,
    /// Whether the last request has brought no test, although the peer is there and not in its
    /// quiet time.
    pub(crate) refused: bool,
    /// Whether this node has waited for the peer at the end of the sweep, and has not met it.
    pub(crate) in_vain: bool,
    /// Whether the peer has refused the last request as one too many.
    pub(crate) rests: bool,
    /// Whether the peer must answer a ping before it is asked.
    pub(crate) awaits_ping: bool,
    /// The number of requests in a row that failed through the peer's fault, for the same reason.
    pub(crate) strikes: u8,
    /// The reason that stands for the pair if the two nodes never meet.
    pub(crate) last_reason: Option<Reason>,
    /// Whether this node has stopped asking the peer in this sweep. The peer may still ask.
    given_up: bool,
}

impl PeerProgress {
    pub(crate) fn is_open(&self) -> bool {
        self.wanted != 0 && !self.given_up
    }

    pub(crate) fn wants(&self, protocol: Protocol) -> bool {
        self.wanted & bit(protocol) != 0
    }
}

fn bit(protocol: Protocol) -> u8 {
    1 << protocol as u8
}

/// The pairs of one sweep in the order of the tournament, followed by peers that came later or are
/// silent.
#[derive(Clone, Debug)]
pub(crate) struct SweepPlan {
    /// The number of the sweep; 0 before the first.
    pub(crate) number: u64,
    pub(crate) began: Time,
    /// The first instant of this sweep at which no meeting was going on and no pair was open. The
    /// pause counts from this instant. A peer that comes later, perhaps again and again, is met if
    /// there is time, but does not delay the next sweep.
    pub(crate) pause_began: Option<Time>,
    /// The instant at which to give up the open pairs, because other nodes are already in the next
    /// sweep.
    pub(crate) closing: Option<Time>,
    /// The last instant at which most others were in an earlier sweep: a node that is ahead waits.
    pub(crate) ahead_until: Time,
    /// Whether the sweep does not follow the one before: it is the first of this epoch, or this
    /// node has returned to the others. This node may have joined in the middle of it, so a peer
    /// that it does not meet is not at fault.
    pub(crate) is_joined: bool,
    /// The number of nodes in the tournament, this one included.
    pub(crate) players: usize,
    pub(crate) failed_cells: usize,
    /// The position of the pair before which this node has its bye.
    bye: Option<usize>,
    cells: u8,
    pairs: Vec<PeerProgress>,
    index: BTreeMap<NodeName, usize>,
    /// The positions of the open pairs. If a pair stays open for long, no search has to pass all
    /// the pairs that have met.
    open: BTreeSet<usize>,
}

impl SweepPlan {
    /// Returns the plan before the first sweep, without peers.
    pub(crate) fn none(now: Time) -> Self {
        Self {
            number: 0,
            began: now,
            pause_began: None,
            closing: None,
            ahead_until: now,
            is_joined: false,
            players: 1,
            failed_cells: 0,
            bye: None,
            cells: 0,
            pairs: Vec::new(),
            index: BTreeMap::new(),
            open: BTreeSet::new(),
        }
    }

    /// Creates a plan to meet the `expected` peers, which must be sorted, and then the `doubtful`
    /// ones, which may not answer.
    pub(crate) fn new<'a>(
        now: Time,
        number: u64,
        me: &NodeName,
        protocols: impl Iterator<Item = Protocol>,
        expected: impl Iterator<Item = &'a NodeName>,
        doubtful: impl Iterator<Item = &'a NodeName>,
    ) -> Self {
        let mut names: Vec<&NodeName> = expected.collect();
        let mine = names.partition_point(|name| *name < me);
        names.insert(mine, me);
        let tournament = Tournament::new(names.len());
        let partners = (0..tournament.rounds()).map(|round| tournament.partner(mine, round));
        let mut sweep_plan = Self {
            number,
            players: names.len(),
            bye: partners.clone().position(|partner| partner.is_none()),
            cells: protocols.map(bit).fold(0, |cells, bit| cells | bit),
            ..Self::none(now)
        };
        for partner in partners.flatten() {
            sweep_plan.push(names[partner].clone());
        }
        for peer in doubtful {
            sweep_plan.push(peer.clone());
        }
        sweep_plan
    }

    fn push(&mut self, peer: NodeName) {
        let at = self.pairs.len();
        self.index.insert(peer.clone(), at);
        self.pairs.push(PeerProgress {
            peer,
            wanted: self.cells,
            not_before: Time::default(),
            busy_until: Time::default(),
            peer_wants_us: false,
            in_later_sweep: false,
            quiet: false,
            refused: false,
            in_vain: false,
            rests: false,
            awaits_ping: false,
            strikes: 0,
            last_reason: None,
            given_up: false,
        });
        self.open.insert(at);
    }

    /// Adds a peer that arrived, or reopens its pair if it was given up.
    pub(crate) fn welcome(&mut self, peer: &NodeName) {
        let Some(&at) = self.index.get(peer) else {
            self.push(peer.clone());
            return;
        };
        let pair = &mut self.pairs[at];
        pair.given_up = false;
        pair.in_later_sweep = false;
        pair.strikes = 0;
        pair.not_before = Time::default();
        self.after_change(at);
    }

    pub(crate) fn progress(&self, peer: &NodeName) -> Option<&PeerProgress> {
        self.index.get(peer).map(|&at| &self.pairs[at])
    }

    pub(crate) fn progress_mut(&mut self, peer: &NodeName) -> Option<&mut PeerProgress> {
        self.index.get(peer).map(|&at| &mut self.pairs[at])
    }

    /// Returns the open pairs, in the order of their meetings.
    pub(crate) fn open_pairs(&self) -> impl Iterator<Item = &PeerProgress> {
        self.open.iter().map(|&at| &self.pairs[at])
    }

    /// Returns the pair that is due: the first open one whose peer is not left alone at the moment.
    pub(crate) fn due(&self, now: Time) -> Option<&PeerProgress> {
        self.open_pairs()
            .find(|progress| progress.not_before <= now && !progress.awaits_ping)
    }

    /// Records the sweep that a peer works on.
    pub(crate) fn hear(&mut self, peer: &NodeName, number: u64) {
        let own = self.number;
        if let Some(pair) = self.progress_mut(peer) {
            pair.in_later_sweep = number > own;
            if number == own && pair.last_reason == Some(Reason::NotMet) {
                // The peer was behind and has caught up.
                pair.not_before = Time::default();
                pair.strikes = 0;
            }
        }
    }

    /// Returns the peer at this position in the order.
    pub(crate) fn partner_of_round(&self, round: usize) -> Option<&NodeName> {
        self.pairs.get(round).map(|pair| &pair.peer)
    }

    /// Returns whether the bye comes before the next meeting of this node, if the order is kept.
    pub(crate) fn is_at_bye(&self) -> bool {
        self.bye == Some(self.open.first().copied().unwrap_or(self.pairs.len()))
    }

    /// Returns whether the next sweep may begin.
    pub(crate) fn is_over(&self) -> bool {
        self.open.is_empty() || self.pause_began.is_some()
    }

    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn total(&self) -> usize {
        self.pairs.len()
    }

    /// Records that a cell of this peer has a result. Returns whether it is the first in this
    /// sweep.
    pub(crate) fn record_result(
        &mut self,
        peer: &NodeName,
        protocol: Protocol,
        failed: bool,
    ) -> bool {
        self.failed_cells += usize::from(failed);
        let Some(&at) = self.index.get(peer) else {
            return false;
        };
        let is_first = self.pairs[at].wants(protocol);
        self.pairs[at].wanted &= !bit(protocol);
        self.after_change(at);
        is_first
    }

    /// Stops asking the peer in this sweep. Returns the protocols whose cells fail for this reason.
    pub(crate) fn give_up(&mut self, peer: &NodeName, reason: Reason) -> Vec<Protocol> {
        let Some(&at) = self.index.get(peer) else {
            return Vec::new();
        };
        let was_open = self.pairs[at].is_open();
        self.pairs[at].given_up = true;
        self.after_change(at);
        if self.is_joined && reason == Reason::NotMet {
            return Vec::new();
        }
        let missing: Vec<_> = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .filter(|&protocol| self.pairs[at].wants(protocol))
            .collect();
        self.failed_cells += if was_open { missing.len() } else { 0 };
        missing
    }

    /// Removes a departed peer.
    pub(crate) fn remove(&mut self, peer: &NodeName) {
        let Some(at) = self.index.remove(peer) else {
            return;
        };
        self.pairs[at].wanted = 0;
        self.after_change(at);
    }

    fn after_change(&mut self, at: usize) {
        if self.pairs[at].is_open() {
            self.open.insert(at);
        } else {
            self.open.remove(&at);
        }
    }
}
