//! Keeps the agent on an address at which the other nodes can reach it. Notices that the address is
//! gone, looks for a better one while this node has no live peer, and moves gossip, the control
//! port and the coordinator to it.
//!
//! The coordinator itself stays the same: it knows the reservation that it holds, so a change of
//! the address needs no quiet time as after a start. It only stays out of meetings for a moment,
//! until the peers know the new address.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use iperf3_mesh_core::gossip::Gossip;
use iperf3_mesh_core::{Input, PeerState};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{CONTROL_PORT, GOSSIP_PORT, cannot_listen, listen, transport};
use crate::discovery::addresses::Seeds;
use crate::http::visitors::Visitors;
use crate::net::ListenAddrs;
use crate::own_address::{
    Absence, AddressPolicy, AddressProblem, AddressSource, Advertised, ThisHost, absence,
};
use crate::state::AgentState;

/// The pause between two checks of the own address.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// How long the own address must be gone in a row before it counts as lost. An interface that goes
/// down and up again loses its addresses for a second or two.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// The pause between two choices while there is no live peer.
const CHOOSE_EVERY: Duration = Duration::from_secs(5);

/// The own address at the start, and what decides about a later one.
pub(crate) struct OwnAddress {
    /// The address at the start.
    pub(crate) advertised: Advertised,
    /// The settings of the choice.
    pub(crate) policy: AddressPolicy,
    /// The agents to join at the start.
    pub(crate) seeds: Seeds,
}

impl OwnAddress {
    /// Returns an address that the user gave.
    pub(crate) fn given(address: IpAddr) -> Self {
        Self {
            advertised: Advertised {
                address,
                source: AddressSource::Given,
            },
            policy: AddressPolicy {
                given: Some(address),
                family: None,
            },
            seeds: Seeds::default(),
        }
    }
}

/// Keeps the agent on a usable address; see the module documentation.
pub(super) struct AddressKeeper {
    advertised: Advertised,
    policy: AddressPolicy,
    seeds: watch::Receiver<Seeds>,
    listen: ListenAddrs,
    state: AgentState,
    inputs: mpsc::Sender<Input>,
    gossip_address: watch::Sender<SocketAddr>,
    control: ControlPort,
    absent_since: Option<Instant>,
    problem: Option<AddressProblem>,
    /// The address that this node could not move to, so that this is logged once.
    refused: Option<IpAddr>,
}

impl AddressKeeper {
    pub(super) fn new(
        own: OwnAddress,
        seeds: watch::Receiver<Seeds>,
        listen: ListenAddrs,
        state: AgentState,
        inputs: mpsc::Sender<Input>,
        control: ControlPort,
    ) -> Self {
        let mut keeper = Self {
            advertised: own.advertised,
            policy: own.policy,
            seeds,
            listen,
            state,
            inputs,
            gossip_address: watch::Sender::new(listen.gossip),
            control,
            absent_since: None,
            problem: None,
            refused: None,
        };
        keeper.report(keeper.loopback_problem());
        keeper
    }

    /// Returns the present gossip address, and all later ones.
    pub(super) fn gossip_address(&self) -> watch::Receiver<SocketAddr> {
        self.gossip_address.subscribe()
    }

    /// Returns when this node has lost an address that the user gave, with the reason.
    pub(super) async fn keep(&mut self, gossip: &Gossip) -> AddressProblem {
        let mut checks = tokio::time::interval(CHECK_EVERY);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut choose_at = Instant::now() + CHOOSE_EVERY;
        loop {
            checks.tick().await;
            let now = Instant::now();
            let has_live_peer = has_live_peer(gossip);
            if has_live_peer {
                self.policy.keep_family_of(self.advertised.address);
            }
            if let Some(absence) = absence(self.advertised.address) {
                let since = *self.absent_since.get_or_insert(now);
                if now - since < LOST_AFTER {
                    continue;
                }
                let problem = self.lost(absence);
                self.report(Some(problem.clone()));
                if self.policy.given.is_some() {
                    return problem;
                }
                let seeds = self.seeds.borrow().addresses.clone();
                if let Some(next) = self.policy.replacement(&self.advertised, &seeds, &ThisHost) {
                    self.move_to(next, gossip).await;
                }
                continue;
            }
            self.absent_since = None;
            self.report(self.loopback_problem());
            if now < choose_at || has_live_peer {
                continue;
            }
            choose_at = now + CHOOSE_EVERY;
            let seeds = self.seeds.borrow().addresses.clone();
            if let Some(better) = self.policy.better_than(&self.advertised, &seeds, &ThisHost) {
                self.move_to(better, gossip).await;
            }
        }
    }

    /// Closes the control port, and waits for the answers in progress.
    pub(super) async fn close(self) {
        self.control.close().await;
    }

    fn lost(&self, absence: Absence) -> AddressProblem {
        AddressProblem::Lost {
            address: self.advertised.address,
            absence,
        }
    }

    fn loopback_problem(&self) -> Option<AddressProblem> {
        let seeds = self.seeds.borrow();
        AddressProblem::of_loopback(
            self.advertised.address,
            self.policy.given.is_some(),
            &seeds.addresses,
            !seeds.unresolved.is_empty(),
        )
    }

    /// Publishes the problem, and logs it when it begins and ends.
    fn report(&mut self, problem: Option<AddressProblem>) {
        if problem == self.problem {
            return;
        }
        let address = self.advertised.address;
        match &problem {
            Some(problem) => tracing::warn!(%address, "{problem}"),
            None => {
                tracing::info!(%address, "other nodes can reach the address of this node again");
            }
        }
        self.state.set_address_problem(problem.clone());
        self.problem = problem;
    }

    /// Moves to another address, if its ports are free.
    async fn move_to(&mut self, next: Advertised, gossip: &Gossip) {
        let listen = self.listen.moved_to(next.address);
        let control = match open(&listen).await {
            Ok(control) => control,
            Err(error) => {
                if self.refused.replace(next.address) != Some(next.address) {
                    tracing::warn!("cannot move to the address {}: {error:#}", next.address);
                }
                return;
            }
        };
        tracing::warn!(
            from = %self.advertised.address,
            address = %next.address,
            address_source = %next.source,
            "this node moves to another address, and takes no tests until the others know it"
        );
        // The coordinator comes first: it leaves its meeting before the peers hear of the move. If
        // the channel is closed, the agent is about to end.
        let _ = self.inputs.send(Input::Moved(next.address)).await;
        gossip.move_to(next.address);
        self.control.serve(control);
        self.gossip_address.send_replace(listen.gossip);
        self.state.metrics().address_changed();
        self.listen = listen;
        self.advertised = next;
        self.absent_since = None;
        self.refused = None;
        self.report(self.loopback_problem());
    }
}

/// Opens the control port, and checks that the gossip port, which gossip itself opens, is free.
async fn open(at: &ListenAddrs) -> anyhow::Result<TcpListener> {
    UdpSocket::bind(at.gossip).map_err(|error| cannot_listen(error, at.gossip, GOSSIP_PORT))?;
    listen(at.control, CONTROL_PORT).await
}

fn has_live_peer(gossip: &Gossip) -> bool {
    let views = gossip.views();
    let view = views.borrow();
    view.members()
        .iter()
        .any(|member| matches!(member.state, PeerState::Live | PeerState::Conflict))
}

/// The server of control messages, on one address at a time.
pub(super) struct ControlPort {
    state: AgentState,
    inputs: mpsc::Sender<Input>,
    visitors: Visitors,
    close: CancellationToken,
    tasks: TaskTracker,
}

impl ControlPort {
    pub(super) fn new(state: AgentState, inputs: mpsc::Sender<Input>, visitors: Visitors) -> Self {
        Self {
            state,
            inputs,
            visitors,
            close: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Receives messages on `listener` from now on, and on no other.
    pub(super) fn serve(&mut self, listener: TcpListener) {
        self.close.cancel();
        self.close = CancellationToken::new();
        self.tasks.spawn(transport::serve(
            listener,
            self.inputs.clone(),
            self.state.clone(),
            self.visitors.clone(),
            self.close.clone(),
        ));
    }

    async fn close(self) {
        self.close.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
