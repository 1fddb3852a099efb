//! The coordinator of one node: turns time, messages and membership views into actions.
//!
//! [`Node::handle`] takes one input. After it, call [`Node::poll`] until it returns `None`, and
//! pass an [`Input::Tick`] at [`Node::deadline`] at the latest. Nothing here fails because of what
//! a peer sends: bad input is refused, counted and forgotten.
//!
//! The module has these parts: `requests` answers other nodes, `sweeps` begins and closes sweeps,
//! `choice` picks the peer to ask, `sweep_plan` is the plan of one sweep, `peers` is the list of
//! peers, `numbers` judges the sweep numbers of the others, `pings` finds out which peers answer,
//! `backoff` tells how rarely those fail that never do, and `losses` bounds the time that a peer
//! costs without meeting this node.

mod backoff;
mod choice;
mod losses;
#[cfg(all(test, feature = "flaws"))]
mod model_hooks;
mod numbers;
pub(crate) mod peers;
mod pings;
mod quota;
mod requests;
mod seen_requests;
pub(crate) mod sweep_plan;
mod sweeps;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use crate::io::{Input, Output, ServerFailure};
use crate::node::peers::{Peer, Peers};
use crate::node::sweep_plan::SweepPlan;
use crate::protocol::{MOVE_TIME, QUIET_TIME};
use crate::reservation::{Action, EndReason, PortRange, Slot};
use crate::status::{Status, SweepStatus};
use crate::wire::{Body, Complaints, MeetingId, Message, Role};
use crate::{
    Epoch, NodeName, Outcome, PeerState, Protocol, Reason, TestSpec, Time, View, WIRE_VERSION,
    rules, schedule,
};

/// A node's own identity and settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this node.
    pub name: NodeName,
    /// The epoch of this agent: a random number.
    pub epoch: Epoch,
    /// The address that the iperf3 servers listen on.
    pub address: IpAddr,
    /// The ports that the iperf3 servers listen on.
    pub ports: PortRange,
    /// The tests of a meeting, one for each protocol; each runs in both directions. They are also
    /// the limits of this node: no test is longer or faster, whoever asks for it.
    pub tests: Vec<TestSpec>,
    /// The limits of the tests that this node takes part in only if another node asks: one for each
    /// protocol that is not in `tests`. A protocol without a limit is refused.
    pub guest_tests: Vec<TestSpec>,
    /// The pause after a sweep.
    pub interval: Duration,
    /// The silence after which a node has departed; `None` means 15 minutes or two periods,
    /// whichever is longer.
    pub forget_after: Option<Duration>,
    /// The maximum number of silent peers. Beyond it, those that have never answered depart first,
    /// and then those that have been silent for longest.
    pub members_max: usize,
    /// Whether to skip the quiet time, because no agent ran on this node within the last
    /// [`QUIET_TIME`].
    pub skip_quiet_time: bool,
    /// A random number that only this agent knows. The numbers of its meetings follow from it.
    pub secret: u128,
}

impl Settings {
    /// Returns the limits of this node for tests of this protocol.
    pub(crate) fn limit(&self, protocol: Protocol) -> Option<&TestSpec> {
        let mut limits = self.tests.iter().chain(&self.guest_tests);
        limits.find(|test| test.protocol == protocol)
    }
}

/// The coordinator of one node.
#[derive(Clone, Debug)]
pub struct Node {
    settings: Settings,
    peers: Peers,
    quotas: quota::Quotas,
    slot: Slot,
    sweep_plan: SweepPlan,
    quiet_until: Time,
    settle: sweeps::Settle,
    pings: pings::Pings,
    /// The pace at which this node follows others into their sweeps.
    pace: numbers::Pace,
    /// The instant at which the word of the others counts, if it does not yet.
    follow_at: Option<Time>,
    /// The instant since which the node could have been in a meeting, but was in none.
    idle_since: Time,
    /// The instant of the last cell with a new result, or of the beginning of the sweep.
    result_at: Time,
    /// The instant until which the node keeps to the order of the tournament.
    patient_until: Time,
    /// The instant from which on the node may ask the next peer out of order.
    out_of_order_at: Time,
    /// The instant at which there may be a peer to ask.
    ask_at: Option<Time>,
    /// Whether another live agent uses this node's name.
    name_taken: bool,
    stopping: bool,
    outputs: VecDeque<Output>,
}

impl Node {
    /// Creates a node that starts at `now`.
    pub fn new(settings: Settings, now: Time) -> Self {
        let has_past = !settings.skip_quiet_time && rules::start_is_quiet();
        let quiet_until = if has_past { now + QUIET_TIME } else { now };
        Self {
            slot: Slot::new(
                settings.name.clone(),
                settings.epoch,
                settings.address,
                settings.ports,
                settings.secret,
            ),
            quotas: quota::Quotas::default(),
            peers: Peers::new(settings.name.clone(), settings.members_max),
            sweep_plan: SweepPlan::none(now),
            quiet_until,
            settle: sweeps::Settle::new(now),
            pings: pings::Pings::default(),
            pace: numbers::Pace::new(now),
            follow_at: None,
            idle_since: now,
            result_at: now,
            patient_until: now,
            out_of_order_at: now,
            ask_at: None,
            name_taken: false,
            stopping: false,
            outputs: VecDeque::new(),
            settings,
        }
    }

    /// Handles one input.
    pub fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::View(view) => self.on_view(now, &view),
            Input::Message(message) => self.on_message(now, message),
            Input::Undelivered { to, meeting } => {
                if self.slot.peer() == Some(&to) {
                    self.slot.on_undelivered(now, &meeting);
                }
            }
            Input::Answered { node, epoch } => self.on_answered(&node, epoch),
            Input::ServerReady { run, buffer } => self.slot.on_server_ready(now, run, buffer),
            Input::ServerFailed(run, failure) => self.slot.on_server_failed(now, run, failure),
            Input::ServerEnded {
                run,
                accepted,
                complaint,
            } => self.slot.on_server_ended(now, run, accepted, complaint),
            Input::ClientEnded {
                run,
                forward,
                reverse,
            } => {
                self.slot.on_client_ended(now, run, forward, reverse);
            }
            Input::Gone(node) => {
                if self.peers.forget_absent(&node) {
                    self.depart(node);
                }
            }
            Input::Cluster(nodes) => {
                let departed = self.peers.update_cluster(now, nodes);
                departed.into_iter().for_each(|node| self.depart(node));
            }
            Input::Moved(address) => {
                self.settings.address = address;
                self.quiet_until = self.quiet_until.max(now + MOVE_TIME);
                self.slot.move_to(now, address);
            }
            Input::Tick => {}
            Input::Stop => {
                self.stopping = true;
                self.slot.cancel(now);
            }
        }
        self.slot.on_timeout(now);
        self.take_actions(now);
        self.advance(now);
    }

    /// Returns the next output; `None` when all have been taken.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Returns when the next input is due at the latest, even if it is only an [`Input::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        let peers = self.peers.deadline(self.forget_after());
        let next = if self.slot.peer().is_some() {
            None
        } else {
            self.ask_at
        };
        let pings = self.takes_part().then(|| self.pings.deadline()).flatten();
        [
            self.slot.deadline(),
            peers,
            next,
            pings,
            self.sweep_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Returns the peers that have not departed.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter()
    }

    /// Returns the peer of this name, if it has not departed.
    pub fn peer(&self, name: &NodeName) -> Option<&Peer> {
        self.peers.get(name)
    }

    /// Returns the epoch of this agent.
    pub fn epoch(&self) -> Epoch {
        self.settings.epoch
    }

    /// Returns whether the node is in no meeting, so that a stopping agent may end.
    pub fn is_free(&self) -> bool {
        self.slot.peer().is_none()
    }

    /// Returns whether another live agent uses this node's name.
    pub fn is_name_taken(&self) -> bool {
        self.name_taken
    }

    /// Returns the nodes that are out of step, this one perhaps included, with their sweep numbers:
    /// those far from the number of most nodes.
    pub fn out_of_step(&self) -> impl Iterator<Item = (&NodeName, u64)> {
        let own = self.sweep_plan.number;
        let median = self.peers.numbers.median_with(own);
        let me = std::iter::once((&self.settings.name, own));
        let live = self.peers.iter().filter(|peer| peer.is_meetable());
        live.map(|peer| (&peer.member.name, peer.number))
            .chain(me)
            .filter(move |&(_, number)| {
                own > 0 && number > 0 && number.abs_diff(median) >= numbers::OUT_OF_STEP
            })
    }

    /// Returns the state of the node at `now`.
    pub fn status(&self, now: Time) -> Status {
        Status {
            sweep: SweepStatus {
                number: self.sweep_plan.number,
                began: self.sweep_plan.began,
                pairs: self.sweep_plan.total(),
                open: self.sweep_plan.open(),
                bound: self.bound(),
            },
            meeting: self.slot.meeting(),
            quiet_for: self.quiet_until.since(now),
        }
    }

    /// Returns the peers that the node still has to meet in this sweep, in order.
    pub fn open_pairs(&self) -> impl Iterator<Item = &NodeName> {
        self.sweep_plan.open_pairs().map(|pair| &pair.peer)
    }

    /// Returns whether this node meets others, now or later.
    fn takes_part(&self) -> bool {
        !self.stopping && !self.name_taken
    }

    fn bound(&self) -> Duration {
        schedule::sweep_bound(self.sweep_plan.players, &self.settings.tests)
    }

    fn forget_after(&self) -> Duration {
        let period = self.bound() + self.settings.interval;
        self.settings
            .forget_after
            .unwrap_or(FORGET_AFTER_MIN.max(period * 2))
    }

    fn on_view(&mut self, now: Time, view: &View) {
        let changes = self.peers.update(now, view);
        for departed in changes.departed {
            self.depart(departed);
        }
        for arrived in &changes.arrived {
            self.welcome(now, arrived);
        }
        for lost in &changes.lost {
            self.ping_first(now, lost);
        }
        let own = self.sweep_plan.number;
        let later = |peer: &&Peer| peer.is_meetable() && peer.number > own;
        for peer in self.peers.iter().filter(later) {
            self.sweep_plan.hear(&peer.member.name, peer.number);
        }
        if view.is_name_taken() && !self.name_taken {
            let peers: Vec<_> = self
                .peers
                .iter()
                .map(|peer| peer.member.name.clone())
                .collect();
            for peer in &peers {
                self.fail_cells(peer, Reason::NameConflict);
            }
        }
        self.name_taken = view.is_name_taken();
    }

    fn depart(&mut self, name: NodeName) {
        self.pings.cancel(&name);
        self.sweep_plan.remove(&name);
        self.outputs.push_back(Output::Departed(name));
    }

    /// Does everything that becomes due by the passage of time alone.
    fn advance(&mut self, now: Time) {
        for forgotten in self.peers.forget(now, self.forget_after()) {
            self.depart(forgotten);
        }
        for missing in self.peers.add_missing(now, self.forget_after()) {
            self.outputs.push_back(Output::Missing(missing.clone()));
            self.fail_cells(&missing, Reason::Unreachable);
        }
        if !self.takes_part() {
            self.ask_at = None;
            return;
        }
        self.advance_pings(now);
        self.advance_sweep(now);
        while self.slot.peer().is_none() && self.ask_next(now) {
            self.take_actions(now);
        }
    }

    fn take_actions(&mut self, now: Time) {
        while let Some(action) = self.slot.poll() {
            match action {
                Action::Send {
                    to,
                    to_epoch,
                    sweep,
                    meeting,
                    complaints,
                    body,
                } => {
                    let about = Some((meeting, complaints));
                    self.send(&to, to_epoch, sweep, about, body);
                }
                // The peer has departed during the meeting, so that no grant would reach it.
                Action::Do(Output::StartServer(start)) if self.peers.get(&start.peer).is_none() => {
                    self.slot
                        .on_server_failed(now, start.run, ServerFailure::Spawn);
                }
                Action::Do(output) => self.outputs.push_back(output),
                Action::Cell {
                    peer,
                    protocol,
                    outcome,
                    is_limited,
                } => {
                    self.on_cell(now, peer, protocol, outcome, is_limited);
                }
                Action::Freed {
                    peer,
                    role,
                    began,
                    reason,
                    tested,
                } => {
                    let held = now.since(began);
                    let has_tested = tested.is_some();
                    self.charge(now, &peer, role, reason, held, tested);
                    self.on_freed(now, peer, role, held, reason, has_tested);
                }
            }
        }
    }

    fn send(
        &mut self,
        to: &NodeName,
        to_epoch: Epoch,
        sweep: u64,
        about: Option<(MeetingId, Complaints)>,
        body: Body,
    ) {
        if let Some(message) = self.message(to, to_epoch, sweep, about, body)
            && let Some(peer) = self.peers.get(to)
        {
            self.outputs
                .push_back(Output::Send(peer.member.control, message));
        }
    }

    /// Returns a message to a peer; `None` if there is no such peer.
    fn message(
        &self,
        to: &NodeName,
        to_epoch: Epoch,
        sweep: u64,
        about: Option<(MeetingId, Complaints)>,
        body: Body,
    ) -> Option<Message> {
        // The epoch of a missing node is unknown, so it would accept no message.
        self.peers
            .get(to)
            .filter(|peer| peer.member.state != PeerState::Missing)?;
        let (meeting, complaints) = about.map_or_else(Default::default, |(meeting, complaints)| {
            (Some(meeting), complaints)
        });
        Some(Message {
            wire: WIRE_VERSION,
            from: self.settings.name.clone(),
            from_epoch: self.settings.epoch,
            to: to.clone(),
            to_epoch,
            sweep,
            meeting,
            complaints,
            body,
        })
    }

    fn on_cell(
        &mut self,
        now: Time,
        peer: NodeName,
        protocol: Protocol,
        outcome: Outcome,
        is_limited: bool,
    ) {
        let failed = outcome.is_err();
        if self.sweep_plan.record_result(&peer, protocol, failed) {
            self.result_at = now;
        }
        if self.peers.get(&peer).is_some() {
            self.outputs.push_back(Output::Cell {
                destination: peer,
                protocol,
                outcome,
                is_limited,
            });
        }
    }

    fn on_freed(
        &mut self,
        now: Time,
        peer: NodeName,
        role: Role,
        lasted: Duration,
        reason: EndReason,
        has_tested: bool,
    ) {
        if reason.took_place() {
            self.mark_idle(now, Duration::ZERO);
            if let Some(pair) = self.sweep_plan.progress_mut(&peer) {
                pair.peer_wants_us = false;
                pair.not_before = now + choice::PAUSE_AFTER_BREAK;
            }
        }
        if role == Role::Asker {
            self.learn_from_request(now, &peer, lasted, reason, has_tested);
        }
        self.outputs.push_back(Output::ReservationEnded {
            peer,
            role,
            outcome: reason.into(),
            lasted,
        });
    }

    /// Fails all cells of the peer, whether they have a result in this sweep or not.
    fn fail_cells(&mut self, peer: &NodeName, reason: Reason) {
        for test in &self.settings.tests {
            let (destination, outcome) = (peer.clone(), Err(reason));
            self.outputs.push_back(Output::Cell {
                destination,
                protocol: test.protocol,
                outcome,
                is_limited: false,
            });
        }
    }

    /// Fails all cells of the peer, unless they have failed recently and it has never answered.
    fn fail_absent(&mut self, peer: &NodeName, reason: Reason) {
        if self.peers.take_failure(peer, self.sweep_plan.began) {
            self.fail_cells(peer, reason);
        }
    }

    /// Gives up the pair for this sweep. Its cells without a result fail, unless the peer never had
    /// a chance to meet this node.
    fn give_up(&mut self, peer: &NodeName, reason: Reason) {
        let failed = self.sweep_plan.give_up(peer, reason);
        if !failed.is_empty() {
            self.peers.take_failure(peer, self.sweep_plan.began);
        }
        for protocol in failed {
            let (destination, outcome) = (peer.clone(), Err(reason));
            self.outputs.push_back(Output::Cell {
                destination,
                protocol,
                outcome,
                is_limited: false,
            });
        }
    }
}

/// The minimum silence after which a node has departed, unless the settings give another value.
const FORGET_AFTER_MIN: Duration = Duration::from_secs(15 * 60);

/// Returns the reason why a peer in this state cannot be met; `None` if it can be met.
fn reason_of_state(peer: Option<&Peer>) -> Option<Reason> {
    match peer {
        Some(peer) if peer.is_meetable() => None,
        Some(peer) => Some(match peer.member.state {
            PeerState::Live => Reason::Incompatible,
            PeerState::Conflict => Reason::NameConflict,
            PeerState::Silent | PeerState::Left | PeerState::Missing => Reason::Unreachable,
        }),
        None => Some(Reason::Unreachable),
    }
}
