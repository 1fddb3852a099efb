//! The decisions that a simulation makes for itself: everything around the coordinators that may go
//! one way or another.

use std::time::Duration;

use super::Kernel;
use crate::wire::Message;
use crate::{Input, Output, Protocol, ServerFailure, ServerStart, TestSpec, Time};

/// After how long the sender of a lost message learns of the loss, as in the agent.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// The fate of one message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    /// The delay of each copy that arrives.
    pub delays: Vec<Duration>,
    /// Whether the sender is told, after [`DELIVERY_TIMEOUT`], that the message may be lost.
    pub reported_lost: bool,
}

impl Delivery {
    /// Arrives once.
    pub fn after(delay: Duration) -> Self {
        Self::copies([delay])
    }

    /// Each copy arrives after a delay of its own.
    pub fn copies(delays: impl Into<Vec<Duration>>) -> Self {
        Self {
            delays: delays.into(),
            reported_lost: false,
        }
    }

    /// Never arrives.
    pub fn lost(is_reported: bool) -> Self {
        Self {
            delays: Vec::new(),
            reported_lost: is_reported,
        }
    }

    /// Arrives, but only its acknowledgement is lost, so that the sender takes it for lost.
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
    /// With a result, after so long.
    Completed(Duration),
    /// Without a result, after so long.
    Failed(Duration),
    /// It hangs until it is killed.
    Never,
}

/// A test whose client has ended.
#[derive(Clone, Debug)]
pub struct FinishedTest {
    /// The sweep that it belonged to.
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
    /// When the client was dead.
    pub end: Time,
    /// Whether it had a result.
    pub succeeded: bool,
}

/// Decides what the network, the iperf3 processes and the machines do. The defaults are those of a
/// perfect world; only the fate of messages and the end of tests have none.
///
/// Functions that take the kernel may act on it: start and stop agents, plan events, hand inputs to
/// nodes.
pub trait Policy: Sized {
    /// The policy's own events: faults, gossip.
    type Event;

    /// One of the policy's own events is due.
    fn on_event(kernel: &mut Kernel<Self>, event: Self::Event);

    /// A node is about to handle an input.
    fn before_input(_kernel: &mut Kernel<Self>, _number: usize, _input: &Input) {}

    /// Carries out an output of a node.
    fn perform(kernel: &mut Kernel<Self>, number: usize, output: Output) {
        kernel.perform(number, output);
    }

    /// A node has handled an input, and its outputs are carried out.
    fn after_input(_kernel: &mut Kernel<Self>, _number: usize) {}

    /// A test that had begun is over.
    fn on_test_finished(_kernel: &mut Kernel<Self>, _test: &FinishedTest) {}

    /// The fate of a message.
    fn deliver(&mut self, from: usize, to: usize, message: &Message) -> Delivery;

    /// The end of a test, counted from its client's connection.
    fn test_end(&mut self, spec: &TestSpec) -> TestEnd;

    /// Whether a server comes to listen on its node.
    ///
    /// # Errors
    /// The failure that the server's agent reports instead.
    fn listen(&mut self, _number: usize, _start: &ServerStart) -> Result<(), ServerFailure> {
        Ok(())
    }

    /// The one-way delay of packets between iperf3 processes.
    fn latency(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether packets pass between two nodes in both directions.
    fn is_connected(&self, _one: usize, _other: usize) -> bool {
        true
    }

    /// Whether the process on `survivor` notices that its other end on `dead` has died early.
    fn notices_death(&mut self, dead: usize, survivor: usize) -> bool {
        self.is_connected(dead, survivor)
    }

    /// How long a process takes to die; never less than a moment.
    fn death_delay(&mut self) -> Duration {
        Duration::ZERO
    }

    /// How long the agent takes until it handles what it receives.
    fn reaction_time(&mut self, _number: usize) -> Duration {
        Duration::ZERO
    }

    /// Whether an agent reads its clock before its backlog when a standstill ends.
    fn ticks_before_backlog(&mut self) -> bool {
        false
    }

    /// Whether an agent handles the messages of its backlog before the rest (`Some(true)`), after
    /// the rest (`Some(false)`), or everything in the order of arrival (`None`).
    fn messages_first(&mut self) -> Option<bool> {
        None
    }
}
