//! What the nodes know of each other: what each says of itself, how it spreads, and what each gets
//! to see of it.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;

use super::{Event, World, address_of, name_of};
use crate::sim::gossip::{FANOUT, INTERVAL};
use crate::{Input, Member, PeerState, Time, View, WIRE_VERSION};

/// What gossip adds to wire versions, so that there is room below.
const WIRE_BASE: u16 = 100;

impl World {
    pub(super) fn say_goodbye(&mut self, number: usize) {
        self.trace.note(self.now, || format!("n{number} has left"));
        self.hosts[number].agent = None;
        if let Some(epidemic) = &mut self.epidemic {
            epidemic.leave(number);
            for other in (0..self.hosts.len()).filter(|&other| other != number) {
                self.gossip_to(number, other);
            }
        }
        self.spread();
    }

    pub(super) fn sweep_of(&self, number: usize) -> u64 {
        self.hosts[number]
            .agent
            .as_ref()
            .map_or(0, |agent| agent.status(Time::default()).sweep.number)
    }

    fn member(&self, number: usize, state: PeerState) -> Member {
        let host = &self.hosts[number];
        Member {
            name: name_of(number),
            epoch: host.settings.epoch,
            wire: (WIRE_VERSION + WIRE_BASE).saturating_add_signed(host.wire.into()),
            zone: String::new(),
            control: SocketAddr::new(address_of(number), 9878),
            http_port: 9876,
            sweep: self.sweep_of(number),
            state,
        }
    }

    /// A node gossips, as it does all the time.
    pub(super) fn gossip(&mut self, number: usize) {
        self.queue.plan(self.now + INTERVAL, Event::Gossips(number));
        let (nodes, now) = (self.hosts.len(), self.now);
        if self.hosts[number].is_up() {
            self.look_for_endless_meeting(number);
            let (life, member) = (
                self.hosts[number].life,
                self.member(number, PeerState::Live),
            );
            if let Some(epidemic) = &mut self.epidemic {
                epidemic.describe(now, number, life, member);
            }
            let first = self.rng.random_range(0..nodes);
            let others = (0..nodes).map(|place| (first + place) % nodes);
            for other in others.filter(|&other| other != number).take(FANOUT) {
                self.gossip_to(number, other);
            }
            self.show_view(number);
        }
    }

    fn gossip_to(&mut self, from: usize, to: usize) {
        if self.network.is_open(from, to) {
            let at = self.now + self.network.latency();
            self.queue.plan(at, Event::GossipArrives { from, to });
        }
    }

    pub(super) fn gossip_arrives(&mut self, from: usize, to: usize) {
        if self.hosts[to].is_up()
            && let Some(epidemic) = &mut self.epidemic
        {
            epidemic.tell(self.now, from, to);
        }
    }

    /// Everybody hears of the present state within two seconds, if gossip is not simulated.
    pub(super) fn spread(&mut self) {
        if self.epidemic.is_some() {
            return;
        }
        let state = |number: usize| match &self.hosts[number] {
            host if host.agent.is_some() => PeerState::Live,
            host if host.leaving => PeerState::Left,
            _ => PeerState::Silent,
        };
        let members = (0..self.hosts.len()).map(|number| self.member(number, state(number)));
        self.latest = self.translate(0, &View::new(members.collect(), false));
        for number in 0..self.hosts.len() {
            let delay = Duration::from_secs_f64(0.2 + 1.8 * self.rng.random::<f64>());
            self.queue
                .plan(self.now + delay, Event::ViewChanges(number));
        }
    }

    /// A node gets to see what gossip has brought it.
    pub(super) fn show_view(&mut self, number: usize) {
        let host = &self.hosts[number];
        if host.stale > 0 || !host.is_up() {
            return;
        }
        let view = match &self.epidemic {
            Some(epidemic) => self.translate(number, &epidemic.view(self.now, number)),
            None => self.latest.clone(),
        };
        self.handle(number, Input::View(view));
    }

    /// Wire versions as the code of that node would see them, whose own version is always the one
    /// of the code: as far above it as the two are apart.
    fn translate(&self, observer: usize, view: &View) -> View {
        let own =
            (WIRE_VERSION + WIRE_BASE).saturating_add_signed(self.hosts[observer].wire.into());
        let members = view.members().iter().map(|member| Member {
            wire: WIRE_VERSION + member.wire.abs_diff(own),
            ..member.clone()
        });
        View::new(members.collect(), false)
    }
}
