//! The nodes' views of each other: how each node describes itself, how that spreads, and which view
//! each node gets.

use std::time::Duration;

use rand::RngExt;

use super::{Event, World};
use crate::sim::gossip::{Epidemic, FANOUT, INTERVAL};
use crate::{Input, Member, PeerState, View, WIRE_VERSION};

/// The offset added to gossiped wire versions, so that a version below the present one can be
/// gossiped.
const WIRE_BASE: u16 = 100;

impl World {
    /// Simulates gossip, which takes time and reaches some nodes before others. `silent_after` has,
    /// for each node, the silence after which it considers a peer silent.
    pub(in crate::sim) fn simulate_gossip(&mut self, silent_after: Vec<Duration>) {
        for node in 0..silent_after.len() {
            let at = self.now + INTERVAL.mul_f64(self.policy.rng.random::<f64>());
            self.plan(at, Event::Gossips(node));
        }
        self.policy.epidemic = Some(Epidemic::new(silent_after));
    }

    /// Says goodbye for a node that has left its last meeting, and ends its agent.
    pub(super) fn say_goodbye(&mut self, number: usize) {
        self.trace.note(self.now, || format!("n{number} has left"));
        self.hosts[number].agent = None;
        if let Some(epidemic) = &mut self.policy.epidemic {
            epidemic.leave(number);
            for other in (0..self.hosts.len()).filter(|&other| other != number) {
                self.gossip_to(number, other);
            }
        }
        self.spread();
    }

    fn gossiped(&self, number: usize, state: PeerState) -> Member {
        Member {
            wire: self.gossiped_wire(number),
            state,
            sweep: self.claimed_sweep(number, self.sweep_of(number)),
            control: self.claimed_control(number),
            ..self.member(number)
        }
    }

    fn gossiped_wire(&self, number: usize) -> u16 {
        (WIRE_VERSION + WIRE_BASE).saturating_add_signed(self.hosts[number].wire.into())
    }

    /// Lets a node gossip, as it does every second.
    pub(super) fn gossip(&mut self, number: usize) {
        self.plan(self.now + INTERVAL, Event::Gossips(number));
        let (nodes, now) = (self.hosts.len(), self.now);
        if !self.hosts[number].is_up() {
            return;
        }
        self.check_meeting_length(number);
        self.misbehave(number);
        let incarnation = self.hosts[number].incarnation;
        let member = self.gossiped(number, PeerState::Live);
        if let Some(epidemic) = &mut self.policy.epidemic {
            epidemic.describe(now, number, incarnation, member);
        }
        let first = self.policy.rng.random_range(0..nodes);
        let others = (0..nodes).map(|place| (first + place) % nodes);
        for other in others.filter(|&other| other != number).take(FANOUT) {
            self.gossip_to(number, other);
        }
        self.show_view(number);
    }

    fn gossip_to(&mut self, from: usize, to: usize) {
        let seals = self.policy.seals.as_ref();
        let has_key = seals.is_none_or(|seals| seals.has_common_key(from, to));
        if has_key && self.policy.network.is_open(from, to) {
            let at = self.now + self.policy.network.latency();
            self.plan(at, Event::GossipArrives { from, to });
        }
    }

    pub(super) fn gossip_arrives(&mut self, from: usize, to: usize) {
        if self.hosts[to].is_up()
            && let Some(epidemic) = &mut self.policy.epidemic
        {
            epidemic.tell(self.now, from, to);
        }
    }

    /// Shows the latest view to every node within two seconds, unless gossip is simulated.
    pub(super) fn spread(&mut self) {
        if self.policy.epidemic.is_some() {
            return;
        }
        let state = |number: usize| match &self.hosts[number].agent {
            Some(_) => PeerState::Live,
            None if self.policy.nodes[number].leaving => PeerState::Left,
            None => PeerState::Silent,
        };
        let members = (0..self.hosts.len())
            .map(|number| self.gossiped(number, state(number)))
            .collect();
        self.policy.latest = self.translate(0, &View::new(members, None));
        for number in 0..self.hosts.len() {
            let delay = Duration::from_secs_f64(0.2 + 1.8 * self.policy.rng.random::<f64>());
            self.plan(self.now + delay, Event::ViewChanges(number));
        }
    }

    /// Shows a node the view that gossip has brought it.
    pub(super) fn show_view(&mut self, number: usize) {
        if self.policy.nodes[number].stale > 0 || !self.hosts[number].is_up() {
            return;
        }
        let view = match &self.policy.epidemic {
            Some(epidemic) => self.translate(number, &epidemic.view(self.now, number)),
            None => self.policy.latest.clone(),
        };
        self.handle(number, Input::View(view));
    }

    /// Translates wire versions for an observer. The code always compares them with its own
    /// version, so a translated version exceeds that one by the difference between the member's
    /// version and the observer's.
    fn translate(&self, observer: usize, view: &View) -> View {
        let own = self.gossiped_wire(observer);
        let members = view.members().iter().map(|member| Member {
            wire: WIRE_VERSION + member.wire.abs_diff(own),
            ..member.clone()
        });
        View::new(members.collect(), None)
    }
}
