//! The decisions that a simulation makes itself: everything around the coordinators that has more
//! than one possible result.

use std::time::Duration;

use super::Kernel;
use crate::wire::{Complaint, Message};
use crate::{Input, Output, Protocol, ServerFailure, ServerStart, TestSpec, Time};

/// How long it takes until the sender of a lost message learns of the loss, as in the agent.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of a message in its sealed form.
pub type Seal = u64;

/// The fate of one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    /// The delay of each copy that arrives.
    pub delays: Vec<Duration>,
    /// Whether the sender is told, after [`DELIVERY_TIMEOUT`], that the message may be lost.
    pub reported_lost: bool,
}

impl Delivery {
    /// Returns the fate of a message that arrives once.
    pub fn after(delay: Duration) -> Self {
        Self::copies([delay])
    }

    /// Returns the fate of a message of which each copy arrives after its own delay.
    pub fn copies(delays: impl Into<Vec<Duration>>) -> Self {
        Self {
            delays: delays.into(),
            reported_lost: false,
        }
    }

    /// Returns the fate of a message that never arrives.
    pub fn lost(is_reported: bool) -> Self {
        Self {
            delays: Vec::new(),
            reported_lost: is_reported,
        }
    }

    /// Returns the fate of a message that arrives, but whose acknowledgement is lost, so that the
    /// sender considers it lost.
    pub fn uncertain(delay: Duration) -> Self {
        Self {
            delays: vec![delay],
            reported_lost: true,
        }
    }
}

/// How a test ends after its client has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestEnd {
    /// The test ends with a result after this time.
    Completed(Duration),
    /// The test ends without a result after this time.
    Failed(Duration),
    /// The test hangs until it is killed.
    Never,
}

/// A test whose client has ended.
#[derive(Clone, Debug)]
pub struct FinishedTest {
    /// The sweep that the test belonged to.
    pub sweep: u64,
    /// The number of the node that ran the client.
    pub client: usize,
    /// The number of the node that ran the server.
    pub server: usize,
    /// The protocol under test.
    pub protocol: Protocol,
    /// Whether both directions were tested at once.
    pub bidir: bool,
    /// When the client connected.
    pub start: Time,
    /// When the client had died.
    pub end: Time,
    /// Whether the client had a result.
    pub succeeded: bool,
}

/// Decides what the network, the iperf3 processes and the machines do. The default methods describe
/// a perfect world; only the fate of messages and the end of tests have no default.
///
/// Functions that take the kernel may act on it: they may start and stop agents, plan events, and
/// pass inputs to nodes.
pub trait Policy: Sized {
    /// The policy's own events, such as faults and gossip.
    type Event;

    /// Handles one of the policy's own events, which is due.
    fn on_event(kernel: &mut Kernel<Self>, event: Self::Event);

    /// Called when a node is about to handle an input.
    fn before_input(_kernel: &mut Kernel<Self>, _number: usize, _input: &Input) {}

    /// Carries out an output of a node.
    fn perform(kernel: &mut Kernel<Self>, number: usize, output: Output) {
        kernel.perform(number, output);
    }

    /// Called when a node has handled an input and its outputs have been carried out.
    fn after_input(_kernel: &mut Kernel<Self>, _number: usize) {}

    /// Called when a test that had begun is over.
    fn on_test_finished(_kernel: &mut Kernel<Self>, _test: &FinishedTest) {}

    /// Decides the fate of a message.
    fn deliver(&mut self, from: usize, to: usize, message: &Message) -> Delivery;

    /// Seals a message. A mesh without a key has one seal for all messages.
    fn seal(&mut self, _from: usize, _to: usize, _message: &Message) -> Seal {
        0
    }

    /// Decides whether a message opens at its receiver; if not, the receiver refuses it at once.
    fn opens(&mut self, _to: usize, _seal: Seal) -> bool {
        true
    }

    /// Decides how a test ends, counted from its client's connection.
    fn test_end(&mut self, spec: &TestSpec) -> TestEnd;

    /// Decides whether a server comes to listen on its node.
    ///
    /// # Errors
    /// Returns the failure that the server's agent reports instead.
    fn listen(&mut self, _number: usize, _start: &ServerStart) -> Result<(), ServerFailure> {
        Ok(())
    }

    /// Decides what the server of a test complains about when it has ended.
    fn complaint(&mut self, _start: &ServerStart) -> Option<Complaint> {
        None
    }

    /// Returns the one-way delay of packets between iperf3 processes.
    fn latency(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns whether packets pass between two nodes in both directions.
    fn is_connected(&self, _one: usize, _other: usize) -> bool {
        true
    }

    /// Decides whether the process on `survivor` notices that its other end on `dead` has died
    /// early.
    fn notices_death(&mut self, dead: usize, survivor: usize) -> bool {
        self.is_connected(dead, survivor)
    }

    /// Decides how long a process takes to die; the time is never zero.
    fn death_delay(&mut self) -> Duration {
        Duration::ZERO
    }

    /// Decides how long the agent takes until it handles what it receives.
    fn reaction_time(&mut self, _number: usize) -> Duration {
        Duration::ZERO
    }

    /// Decides whether an agent reads its clock before it handles its backlog when a standstill
    /// ends.
    fn ticks_before_backlog(&mut self) -> bool {
        false
    }

    /// Decides whether an agent handles the messages of its backlog before the rest (`Some(true)`),
    /// after the rest (`Some(false)`), or everything in the order of arrival (`None`).
    fn messages_first(&mut self) -> Option<bool> {
        None
    }
}
