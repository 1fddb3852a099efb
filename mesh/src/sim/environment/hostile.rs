//! Hostile agents: each runs the shipped coordinator, and lies about what it says.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;

use super::{Event, World};
use crate::protocol::TIMEOUT_MAX;
use crate::sim::defaults;
use crate::sim::fault::Lie;
use crate::sim::ids::{Incarnation, address_of, name_of, number_of};
use crate::wire::{
    Body, Complaints, MeetingId, MeetingKind, Message, PlannedTest, Refusal, Role, SWEEP_MAX,
};
use crate::{Epoch, Input, Output, Protocol, RunId, TestSpec, WIRE_VERSION};

/// The number of the first meeting that a hostile agent makes up. Its own meetings have lower ones.
const MADE_UP: u64 = 1 << 62;

impl World {
    /// Returns the sweep number that a node claims to work on.
    pub(super) fn claimed_sweep(&self, number: usize, sweep: u64) -> u64 {
        let seconds = self.now.as_nanos() / 1_000_000_000;
        let mut claims = self.policy.nodes[number]
            .lies
            .iter()
            .filter_map(|lie| match lie {
                Lie::HighestSweep => Some(SWEEP_MAX),
                Lie::RisingSweep => Some(sweep + seconds),
                Lie::FallingSweep => Some((1000 + sweep).saturating_sub(seconds)),
                Lie::ErraticSweep => Some(self.now.as_nanos() / 1000 * 7919 % 64),
                _ => None,
            });
        claims.next_back().unwrap_or(sweep)
    }

    /// Returns the control address that a node claims to have.
    pub(super) fn claimed_control(&self, number: usize) -> SocketAddr {
        let mut claims = self.policy.nodes[number]
            .lies
            .iter()
            .filter_map(|lie| match lie {
                Lie::Address(other) => Some(address_of(*other)),
                _ => None,
            });
        let member = self.member(number).control;
        SocketAddr::new(claims.next_back().unwrap_or(member.ip()), member.port())
    }

    fn has_lie(&self, number: usize, lie: Lie) -> bool {
        self.policy.nodes[number].lies.contains(&lie)
    }

    /// Returns the answer of a hostile agent to this message, if it gives one without a look.
    fn refusal_of(&self, message: &Message) -> Option<Output> {
        let hostile = number_of(&message.to);
        let (refusal, free_in) = self.refuses(hostile)?;
        if !matches!(message.body, Body::Request { .. }) || !self.hosts[hostile].is_up() {
            return None;
        }
        let free_in_ms = free_in.and_then(|it| u64::try_from(it.as_millis()).ok());
        let answer = Message {
            from: message.to.clone(),
            from_epoch: message.to_epoch,
            to: message.from.clone(),
            to_epoch: message.from_epoch,
            body: Body::Refuse {
                refusal,
                free_in_ms,
            },
            ..message.clone()
        };
        let to = SocketAddr::new(address_of(number_of(&message.from)), 9878);
        Some(Output::Send(to, answer))
    }

    /// Returns how this agent refuses every request, if it does.
    fn refuses(&self, number: usize) -> Option<(Refusal, Option<Duration>)> {
        let lies = &self.policy.nodes[number].lies;
        lies.iter().find_map(|lie| match lie {
            Lie::Refuses(refusal, free_in) => Some((*refusal, *free_in)),
            _ => None,
        })
    }

    /// Changes an output of a hostile agent, or leaves it out.
    pub(super) fn falsify(&mut self, number: usize, output: Output) -> Option<Output> {
        if let Output::Send(_, message) = &output
            && let Some(answer) = self.refusal_of(message)
        {
            self.perform(number_of(&message.to), answer);
            return None;
        }
        if self.policy.nodes[number].lies.is_empty() {
            return Some(output);
        }
        match output {
            Output::Send(to, message) => {
                let ends = matches!(message.body, Body::End { .. });
                let message = Message {
                    sweep: self.claimed_sweep(number, message.sweep),
                    ..message
                };
                let is_request = matches!(message.body, Body::Request { .. });
                let is_dropped = (ends && self.has_lie(number, Lie::LongPlans))
                    || (is_request && self.refuses(number).is_some());
                (!is_dropped).then_some(Output::Send(to, message))
            }
            Output::StartClient(start) if self.has_lie(number, Lie::NoClients) => {
                let at = self.hosts[number].clock.instant(start.deadline);
                let incarnation = self.hosts[number].incarnation;
                self.plan(at, Event::NeverStarted(number, incarnation, start.run));
                None
            }
            output => Some(output),
        }
    }

    /// Tells an agent that a client which was never started is dead.
    pub(super) fn end_client(&mut self, number: usize, incarnation: Incarnation, run: RunId) {
        if self.hosts[number].incarnation == incarnation {
            let ended = Input::ClientEnded {
                run,
                forward: None,
                reverse: None,
            };
            self.input(number, ended);
        }
    }

    /// Lets a hostile agent do what it does every second.
    pub(super) fn misbehave(&mut self, number: usize) {
        if self.has_lie(number, Lie::LongPlans) {
            let victim = self.victim(number);
            let body = Body::Request {
                plan: heavy_plan(),
                kind: MeetingKind::MakeUp,
            };
            self.forge(number, number, victim, body);
        }
        if self.has_lie(number, Lie::Forgeries) {
            let (victim, third) = (self.victim(number), self.victim(number));
            if victim != third {
                let body = self.forged_body();
                self.forge(number, third, victim, body);
            }
        }
    }

    fn victim(&mut self, number: usize) -> usize {
        let nodes = self.hosts.len();
        (number + self.policy.rng.random_range(1..nodes)) % nodes
    }

    fn forged_body(&mut self) -> Body {
        match self.policy.rng.random_range(0..4) {
            0 => Body::bare_end(),
            1 => Body::Go {
                handover: Vec::new(),
            },
            2 => Body::Next { test: 1 },
            _ => Body::Refuse {
                refusal: Refusal::NameConflict,
                free_in_ms: None,
            },
        }
    }

    /// Sends a message in the name of `from` about a meeting that does not exist. Epochs are
    /// public.
    fn forge(&mut self, number: usize, from: usize, victim: usize, body: Body) {
        let epoch = |node: usize| -> Epoch { self.hosts[node].settings.epoch };
        let message = Message {
            wire: WIRE_VERSION,
            from: name_of(from),
            from_epoch: epoch(from),
            to: name_of(victim),
            to_epoch: epoch(victim),
            sweep: self.sweep_of(victim),
            meeting: Some(MeetingId {
                asker: name_of(from),
                epoch: epoch(from),
                number: MADE_UP + self.now.as_nanos() / 1_000_000,
            }),
            complaints: Complaints::new(),
            body,
        };
        let to = SocketAddr::new(address_of(victim), 9878);
        self.perform(number, Output::Send(to, message));
    }
}

/// The longest and heaviest tests that a message can ask for.
fn heavy_plan() -> Vec<PlannedTest> {
    let heavy = |client| {
        Protocol::ALL.iter().map(move |&protocol| PlannedTest {
            client,
            spec: TestSpec {
                duration: Duration::from_secs(50),
                timeout: TIMEOUT_MAX,
                streams: 128,
                ..defaults::test_spec(protocol)
            },
        })
    };
    heavy(Role::Asker).chain(heavy(Role::Granter)).collect()
}
