//! One real node among mock peers, which answer at once and do what the node asks of them. This
//! file does not measure anything.

use std::collections::VecDeque;
use std::time::Duration;

use iperf3_mesh_core::sim::defaults;
use iperf3_mesh_core::sim::ids::{address_of, number_of};
use iperf3_mesh_core::sim::kernel::{Clock, Delivery, Host, Kernel, Policy, TestEnd};
use iperf3_mesh_core::wire::{
    Body, Complaints, MeetingId, MeetingKind, Message, PlannedTest, Refusal, Role,
};
use iperf3_mesh_core::{
    Epoch, Figures, Input, Member, Node, NodeName, Output, Protocol, ServerFailure, Settings,
    TestSpec, Time, View, WIRE_VERSION,
};

use crate::test_spec;

/// The only machine of the kernel.
const NODE: usize = 0;

/// A node in the middle of a mesh, and its mock peers.
pub struct MockMesh {
    kernel: Kernel<MockPeers>,
    nodes: usize,
    requests: u64,
}

/// The inputs that answer the node's outputs and are still to be handled.
struct MockPeers {
    answers: VecDeque<Input>,
}

impl MockMesh {
    /// Creates a mesh at the beginning of its first sweep.
    pub fn new(nodes: usize, view: &View) -> Self {
        let number = nodes / 2;
        let settings = Settings {
            name: name_of(number),
            epoch: epoch_of(number),
            ..defaults::settings(number, vec![test_spec(Protocol::Tcp)])
        };
        let epoch = settings.epoch;
        let host = Host::new(settings, Clock::default());
        let peers = MockPeers {
            answers: VecDeque::new(),
        };
        let mut mesh = Self {
            kernel: Kernel::new(vec![host], peers),
            nodes,
            requests: 0,
        };
        mesh.kernel.start_agent(NODE, epoch, true);
        mesh.kernel.input(NODE, Input::View(view.clone()));
        while mesh.kernel.sweep_of(NODE) == 0 {
            mesh.step();
        }
        mesh
    }

    /// Creates a mesh in the middle of a sweep. The node waits for the peer that is to ask it next.
    pub fn waiting(nodes: usize, view: &View) -> Self {
        let mut mesh = Self::new(nodes, view);
        while mesh.open() > nodes / 2 || !mesh.node().is_free() {
            mesh.step();
        }
        mesh
    }

    fn open(&self) -> usize {
        self.node().status(self.kernel.now()).sweep.open
    }

    /// Returns the real node.
    pub fn node(&self) -> &Node {
        self.kernel.node(NODE)
    }

    /// Takes the real node out of its mesh.
    pub fn into_node(mut self) -> Option<Node> {
        self.kernel.host_mut(NODE).take_agent()
    }

    /// Lets the node handle an input, and does nothing else. The caller must call [`Self::drain`]
    /// afterwards.
    pub fn handle(&mut self, input: Input) {
        let now = self.kernel.now();
        if let Some(node) = self.kernel.host_mut(NODE).agent_mut() {
            node.handle(now, input);
        }
    }

    /// Prepares the answers to everything that the node has put out.
    pub fn drain(&mut self) {
        self.kernel.drain(NODE);
    }

    /// Returns the next answer, if one is ready.
    pub fn next_answer(&mut self) -> Option<Input> {
        self.kernel.policy.answers.pop_front()
    }

    /// Lets the node handle the next answer, or wakes it at its next deadline.
    pub fn step(&mut self) {
        if let Some(answer) = self.next_answer() {
            self.handle(answer);
            self.drain();
        } else {
            self.wake();
        }
    }

    /// Wakes the node at its next deadline.
    pub fn wake(&mut self) {
        let is_woken = self.kernel.step(Time::from_nanos(u64::MAX));
        assert!(is_woken, "a node with peers has a deadline");
    }

    /// Returns whether the node has asked for a meeting and has no answer yet.
    pub fn is_asking(&self) -> bool {
        matches!(
            self.kernel.policy.answers.front(),
            Some(Input::Message(Message {
                body: Body::Grant { test: 0, .. },
                ..
            }))
        )
    }

    /// Replaces the next answer, which grants a request, with a refusal.
    pub fn refusal(&mut self, refusal: Refusal, free_in: Duration) -> Input {
        let Some(Input::Message(Message { from, meeting, .. })) = self.next_answer() else {
            unreachable!("the node has asked for nothing");
        };
        let body = Body::Refuse {
            refusal,
            free_in_ms: u64::try_from(free_in.as_millis()).ok(),
        };
        self.message(number_of(&from), meeting, body)
    }

    /// Returns a new request of the peer at this position among those that are still to be met.
    pub fn request(&mut self, place: usize) -> Input {
        let asker = self
            .node()
            .open_pairs()
            .nth(place)
            .unwrap_or_else(|| panic!("at most {place} peers are still to be met"))
            .clone();
        let from = number_of(&asker);
        self.requests += 1;
        let plan = [Role::Asker, Role::Granter].map(|client| PlannedTest {
            client,
            spec: test_spec(Protocol::Tcp),
        });
        let meeting = MeetingId {
            asker,
            epoch: epoch_of(from),
            number: self.requests,
        };
        let body = Body::Request {
            plan: plan.into(),
            kind: MeetingKind::Scheduled,
        };
        self.message(from, Some(meeting), body)
    }

    /// Ends the meeting that the node has just granted, so that everything is as before.
    pub fn abort_meeting(&mut self) {
        let Some(Input::ServerReady { run, .. }) = self.next_answer() else {
            unreachable!("the node has granted nothing");
        };
        self.handle(Input::ServerFailed(run, ServerFailure::Spawn));
        self.drain();
    }

    fn message(&self, from: usize, meeting: Option<MeetingId>, body: Body) -> Input {
        let to = self.nodes / 2;
        let sweep = self.kernel.sweep_of(NODE);
        Input::Message(message(from, to, sweep, meeting, body))
    }
}

impl Policy for MockPeers {
    type Event = ();

    fn on_event(_: &mut Kernel<Self>, (): ()) {}

    /// Turns each output into answers. Nothing leaves the node: its peers and processes exist only
    /// as answers.
    fn perform(kernel: &mut Kernel<Self>, _: usize, output: Output) {
        kernel.policy.answers.extend(answer(output));
    }

    fn deliver(&mut self, _: usize, _: usize, _: &Message) -> Delivery {
        Delivery::lost(false)
    }

    fn test_end(&mut self, _: &TestSpec) -> TestEnd {
        TestEnd::Never
    }
}

fn answer(output: Output) -> Option<Input> {
    match output {
        Output::Send(_, message) => reply(message),
        Output::Ping { message, .. } => Some(Input::Answered {
            node: message.to,
            epoch: message.to_epoch,
        }),
        Output::StartServer(start) => Some(Input::ServerReady {
            run: start.run,
            buffer: None,
        }),
        Output::StartClient(start) => Some(Input::ClientEnded {
            run: start.run,
            forward: Some(Ok(Figures::default())),
            reverse: None,
        }),
        Output::Kill(run) => Some(Input::ServerEnded {
            run,
            accepted: true,
            complaint: None,
        }),
        _ => None,
    }
}

fn reply(received: Message) -> Option<Input> {
    let (peer, node) = (number_of(&received.to), number_of(&received.from));
    let body = match received.body {
        Body::Request { plan, .. } => Body::Grant {
            test: 0,
            address: address_of(peer),
            port: 5201,
            buffer: None,
            agreed: plan.into_iter().map(|test| test.spec).collect(),
        },
        Body::Go { .. } => Body::Next { test: 1 },
        Body::Grant { .. } => Body::bare_end(),
        _ => return None,
    };
    let reply = message(peer, node, received.sweep, received.meeting, body);
    Some(Input::Message(reply))
}

fn message(from: usize, to: usize, sweep: u64, meeting: Option<MeetingId>, body: Body) -> Message {
    Message {
        wire: WIRE_VERSION,
        from: name_of(from),
        from_epoch: epoch_of(from),
        to: name_of(to),
        to_epoch: epoch_of(to),
        sweep,
        meeting,
        complaints: Complaints::new(),
        body,
    }
}

/// A view in which all nodes are live.
pub fn live_view(nodes: usize) -> View {
    let members = (0..nodes).map(|number| Member {
        name: name_of(number),
        zone: "eu-west-1a".to_owned(),
        ..defaults::member(number, epoch_of(number))
    });
    View::new(members.collect(), None)
}

/// Returns a name as long as the names in a cloud, which differ only near the end.
fn name_of(number: usize) -> NodeName {
    NodeName::new(&format!("eu-west-1-workers-{number:06}"))
        .unwrap_or_else(|_| unreachable!("letters, digits and hyphens"))
}

fn epoch_of(number: usize) -> Epoch {
    Epoch(number as u64)
}
