//! The coordinator under arbitrary messages, views and process ends: it never panics, is never in
//! two meetings at once, and never asks to be woken for nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use iperf3_mesh_core::sim::defaults;
use iperf3_mesh_core::sim::ids::{address_of, number_of};
use iperf3_mesh_core::wire::{
    Body, Complaint, Complaints, Handover, MeetingId, MeetingKind, Message, PlannedTest, Refusal,
    Role,
};
use iperf3_mesh_core::{
    ClusterNode, Epoch, Figures, Input, Member, Node, NodeName, Outcome, Output, PeerState,
    Protocol, Reason, RunId, ServerFailure, Settings, TestSpec, Time, View, WIRE_VERSION,
};
use iperf3_mesh_core_testkit::{Harness, cases, name_of, test_spec};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use strum::VariantArray;

/// The peers of node 0, which is under test.
const OTHERS: usize = 4;

/// One event at the node under test.
#[derive(Clone, Debug)]
enum Step {
    Pass(Duration),
    /// Time passes up to the node's deadline.
    Wake,
    View(Vec<Member>, bool),
    Message(Message),
    /// The running process, if there is one, listens or ends.
    Process(u8),
    /// The last message sent is reported lost.
    Undelivered,
    /// The peer answers the last message sent, as the protocol says, or asks for a meeting itself.
    Answer(u8),
    /// The cluster no longer knows the node.
    Gone(usize),
    /// The cluster knows these nodes, which have not been ready for so many seconds.
    Cluster(BTreeMap<usize, u64>),
    /// A ping is answered, or an agent that was not pinged claims so.
    Answered(u8),
    Move(u8),
    Stop,
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn arbitrary_inputs_cause_no_panic_overlap_or_busy_loop(
        skip_quiet_time in prop::bool::weighted(0.8),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut trial = Trial::new(skip_quiet_time);
        trial.take(all_live());
        for step in steps {
            trial.take(step);
        }
        trial.finish();
    }
}

#[test]
fn arbitrary_inputs_lead_to_meetings_in_both_roles() {
    let mut runner = TestRunner::deterministic();
    let (mut clients, mut servers) = (0, 0);
    let (mut confirmations, mut handovers) = (0, 0);
    for _ in 0..300 {
        let mut trial = Trial::new(true);
        trial.take(all_live());
        for _ in 0..150 {
            let before = trial.running.clone();
            trial.take(step().new_tree(&mut runner).unwrap().current());
            let changed = trial
                .running
                .iter()
                .filter(|(run, process)| before.get(run) != Some(process));
            for (_, process) in changed {
                clients += u32::from(process.kind == Kind::Client);
                servers += u32::from(process.kind == Kind::ListeningServer);
            }
        }
        for message in &trial.sent {
            if let Body::End { handover, confirm } = &message.body {
                confirmations += u32::from(*confirm);
                handovers += u32::from(!handover.is_empty());
            }
        }
    }
    // The property above is not vacuous.
    assert!(
        clients > 100 && servers > 10,
        "{clients} clients, {servers} servers"
    );
    assert!(
        confirmations > 0 && handovers > 10,
        "{confirmations} requests for confirmation, {handovers} handovers"
    );
}

fn epoch() -> impl Strategy<Value = Epoch> {
    prop_oneof![6 => (100u64..105).prop_map(Epoch), 1 => any::<u64>().prop_map(Epoch)]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0u64..6, 4 => 0u64..1000, 1 => any::<u64>()]
}

fn any_spec() -> impl Strategy<Value = TestSpec> {
    let seconds =
        || prop_oneof![8 => 0u64..20, 1 => any::<u64>().prop_map(|seconds| seconds / 1000)];
    (
        any::<bool>(),
        seconds(),
        seconds(),
        seconds(),
        any::<u8>(),
        any::<bool>(),
    )
        .prop_map(|(udp, duration, omit, timeout, streams, bidir)| TestSpec {
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            duration: Duration::from_secs(duration),
            omit: Duration::from_secs(omit),
            timeout: Duration::from_secs(timeout),
            bitrate: None,
            streams,
            bidir,
        })
}

fn plan() -> impl Strategy<Value = Vec<PlannedTest>> {
    let likely = |tests: &[Role]| Just(sound_plan(tests));
    let role = any::<bool>().prop_map(|asker| if asker { Role::Asker } else { Role::Granter });
    let test = (role, any_spec()).prop_map(|(client, spec)| PlannedTest { client, spec });
    prop_oneof![
        3 => likely(&[Role::Asker, Role::Granter]),
        1 => likely(&[Role::Asker]),
        1 => prop::collection::vec(test, 0..10),
    ]
}

fn handover() -> impl Strategy<Value = Vec<Handover>> {
    let outcome = prop_oneof![
        any::<f64>().prop_map(|bandwidth_mbps| Ok(Figures::of_bandwidth(bandwidth_mbps))),
        Just(Err(Reason::Connect)),
    ];
    let result = outcome.prop_map(|outcome| Handover {
        protocol: Protocol::Tcp,
        outcome,
    });
    prop::collection::vec(result, 0..3)
}

fn body() -> impl Strategy<Value = Body> {
    let address = any::<[u8; 4]>().prop_map(std::net::IpAddr::from);
    let test = || prop_oneof![4 => 0u8..4, 1 => any::<u8>()];
    let refusals = prop::sample::select(vec![
        Refusal::Busy,
        Refusal::Expecting,
        Refusal::Crossed,
        Refusal::Quiet,
        Refusal::Sweep,
        Refusal::Unknown,
        Refusal::Spawn,
        Refusal::Resources,
    ]);
    prop_oneof![
        1 => Just(Body::Sweep),
        8 => (plan(), prop::sample::select(MeetingKind::VARIANTS))
            .prop_map(|(plan, kind)| Body::Request { plan, kind }),
        1 => test().prop_map(|test| Body::Next { test }),
        1 => (test(), address, any::<u16>(), prop::collection::vec(any_spec(), 0..4))
            .prop_map(|(test, address, port, agreed)| Body::Grant {
                test,
                address,
                port,
                buffer: Some(u64::from(port)),
                agreed,
            }),
        1 => (refusals, prop::option::of(any::<u64>()))
            .prop_map(|(refusal, free_in_ms)| Body::Refuse { refusal, free_in_ms }),
        1 => handover().prop_map(|handover| Body::Go { handover }),
        1 => (handover(), any::<bool>())
            .prop_map(|(handover, confirm)| Body::End { handover, confirm }),
    ]
}

fn complaints() -> impl Strategy<Value = Complaints> {
    let reason = prop::sample::select(Reason::ALL);
    let complaint = reason.prop_map(|reason| Complaint::new(reason, "words"));
    prop::collection::btree_map(0..4u8, complaint, 0..3)
}

prop_compose! {
    fn message()(
        from in 0usize..=OTHERS + 1,
        to in prop_oneof![9 => Just(0usize), 1 => 0usize..3],
        own in any::<bool>(),
        from_epoch in epoch(),
        to_epoch in prop_oneof![9 => Just(Epoch(100)), 1 => epoch()],
        asker_epoch in epoch(),
        number in number(),
        sweep in prop_oneof![8 => 0u64..3, 1 => any::<u64>()],
        honest in any::<bool>(),
        complaints in complaints(),
        body in body(),
    ) -> Message {
        let from_epoch = if honest { Epoch(100 + from as u64) } else { from_epoch };
        let asker = if own { to } else { from };
        let epoch = match (honest, own) {
            (true, true) => Epoch(100),
            (true, false) => from_epoch,
            _ => asker_epoch,
        };
        let meeting = MeetingId { asker: name_of(asker), epoch, number };
        let meeting = (body != Body::Sweep).then_some(meeting);
        let (from, to) = (name_of(from), name_of(to));
        let wire = WIRE_VERSION;
        Message { wire, from, from_epoch, to, to_epoch, sweep, meeting, complaints, body }
    }
}

fn member() -> impl Strategy<Value = Member> {
    let state = prop_oneof![
        6 => Just(PeerState::Live),
        1 => Just(PeerState::Silent),
        1 => Just(PeerState::Left),
        1 => Just(PeerState::Conflict),
    ];
    let wire = prop_oneof![7 => Just(WIRE_VERSION), 2 => Just(WIRE_VERSION - 1), 1 => any::<u16>()];
    let sweep = 0u64..3;
    (
        0usize..=OTHERS,
        prop::option::weighted(0.1, epoch()),
        wire,
        sweep,
        state,
    )
        .prop_map(|(number, epoch, wire, sweep, state)| Member {
            wire,
            sweep,
            state,
            ..defaults::member(number, epoch.unwrap_or(Epoch(100 + number as u64)))
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0u64..3000).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        1 => (0u64..300_000).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        4 => Just(Step::Wake),
        1 => (prop::collection::vec(member(), 0..8), prop::bool::weighted(0.1))
            .prop_map(|(members, taken)| Step::View(members, taken)),
        6 => message().prop_map(Step::Message),
        10 => any::<u8>().prop_map(Step::Process),
        1 => Just(Step::Undelivered),
        20 => any::<u8>().prop_map(Step::Answer),
        1 => (0usize..8).prop_map(Step::Gone),
        8 => any::<u8>().prop_map(Step::Answered),
        1 => any::<u8>().prop_map(Step::Move),
        1 => proptest::collection::btree_map(0usize..8, 0u64..2000, 0..8).prop_map(Step::Cluster),
    ]
}

/// The node under test, and what it has put out.
struct Trial {
    node: Node,
    now: Time,
    running: BTreeMap<RunId, Process>,
    sent: Vec<Message>,
    /// The pings that may still be answered.
    pings: Vec<(NodeName, Epoch)>,
}

#[derive(Clone, Debug, PartialEq)]
struct Process {
    meeting: MeetingId,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    StartingServer,
    ListeningServer,
    Client,
}

impl Trial {
    fn new(skip_quiet_time: bool) -> Self {
        let settings = Settings {
            skip_quiet_time,
            ..Harness::settings(0)
        };
        let now = Time::from_nanos(1 << 40);
        Self {
            node: Node::new(settings, now),
            now,
            running: BTreeMap::new(),
            sent: Vec::new(),
            pings: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Pass(time) => {
                self.now = self.now + time;
                self.input(Input::Tick);
            }
            Step::Wake => self.wake(),
            Step::View(members, taken) => {
                let namesake = taken.then(|| ([198, 18, 9, 9], 9878).into());
                self.input(Input::View(View::new(members, namesake)));
            }
            Step::Message(message) => self.deliver(&self.with_known_number(message)),
            Step::Process(fate) => self.process(fate),
            Step::Undelivered => {
                let last = self.sent.last().cloned();
                if let Some((to, meeting)) = last.and_then(|last| Some((last.to, last.meeting?))) {
                    self.input(Input::Undelivered { to, meeting });
                }
            }
            Step::Answer(how) => self.answer(how),
            Step::Gone(number) => self.input(Input::Gone(name_of(number))),
            Step::Cluster(nodes) => {
                let node = |(number, seconds)| {
                    let unready_for = Duration::from_secs(seconds);
                    (
                        name_of(number),
                        ClusterNode {
                            address: [10, 9, 9, 9].into(),
                            unready_for,
                        },
                    )
                };
                self.input(Input::Cluster(nodes.into_iter().map(node).collect()));
            }
            Step::Answered(which) => {
                let (node, epoch) = match self.pings.pop() {
                    Some(pinged) => pinged,
                    None => (
                        name_of(usize::from(which) % 8),
                        Epoch(100 + u64::from(which % 8)),
                    ),
                };
                self.input(Input::Answered { node, epoch });
            }
            Step::Move(last) => self.input(Input::Moved([198, 18, 8, last].into())),
            Step::Stop => self.input(Input::Stop),
        }
    }

    /// Puts the number of the last meeting in place of every second one: the peer knows it, while
    /// nobody guesses it.
    fn with_known_number(&self, message: Message) -> Message {
        let last = self.sent.last().and_then(|last| last.meeting.as_ref());
        match (&message.meeting, last) {
            (Some(id), Some(last)) if id.asker == last.asker && id.number.is_multiple_of(2) => {
                Message {
                    meeting: Some(last.clone()),
                    ..message
                }
            }
            _ => message,
        }
    }

    /// Delivers a message as bytes; an unreadable one never reaches the node.
    fn deliver(&mut self, message: &Message) {
        if let Ok(message) = Message::decode(&message.encode()) {
            self.input(Input::Message(message));
        }
    }

    fn wake(&mut self) {
        if let Some(deadline) = self.node.deadline() {
            self.now = self.now.max(deadline);
            self.input(Input::Tick);
        }
    }

    fn process(&mut self, fate: u8) {
        let Some(mut entry) = self.running.first_entry() else {
            return;
        };
        let (run, kind) = (*entry.key(), entry.get().kind);
        if kind == Kind::StartingServer && fate.is_multiple_of(3) {
            entry.get_mut().kind = Kind::ListeningServer;
            return self.input(Input::ServerReady { run, buffer: None });
        }
        entry.remove();
        self.input(match (kind, fate % 3) {
            (Kind::StartingServer, 1) => Input::ServerFailed(run, ServerFailure::PortTaken),
            (Kind::StartingServer, _) => Input::ServerFailed(run, ServerFailure::Spawn),
            (Kind::ListeningServer, _) => Input::ServerEnded {
                run,
                accepted: fate.is_multiple_of(2),
                complaint: fate
                    .is_multiple_of(5)
                    .then(|| Complaint::new(Reason::Resources, "words")),
            },
            (Kind::Client, 0) => Input::ClientEnded {
                run,
                forward: None,
                reverse: None,
            },
            (Kind::Client, rest) => Input::ClientEnded {
                run,
                forward: Some(ending(rest == 1)),
                reverse: fate
                    .is_multiple_of(2)
                    .then(|| ending(fate.is_multiple_of(4))),
            },
        });
    }

    fn answer(&mut self, how: u8) {
        let Some(last) = self.sent.last().cloned() else {
            return;
        };
        let address = address_of(number_of(&last.to));
        let agreed: Vec<TestSpec> = match &last.body {
            Body::Request { plan, .. } => plan.iter().map(|test| test.spec.clone()).collect(),
            _ => Vec::new(),
        };
        let grant = |test| Body::Grant {
            test,
            address,
            port: 5201,
            buffer: None,
            agreed: agreed.clone(),
        };
        let body = match (last.body, how % 4) {
            (_, 3) => Body::bare_end(),
            (Body::Request { .. }, 0) => Body::Refuse {
                refusal: Refusal::Busy,
                free_in_ms: Some(50),
            },
            (Body::Request { .. }, _) => grant(0),
            (Body::Next { test }, _) => grant(test),
            (Body::Grant { test, .. }, 0) => Body::Next {
                test: test.saturating_add(1),
            },
            (Body::Grant { .. }, _) => Body::Go {
                handover: Vec::new(),
            },
            (Body::Go { .. }, how) => Body::Next { test: how },
            (Body::End { .. } | Body::Refuse { .. } | Body::Sweep, _) => Body::Request {
                plan: sound_plan(&[Role::Asker, Role::Granter]),
                kind: MeetingKind::MakeUp,
            },
        };
        let (from, to) = (last.to, last.from);
        let (from_epoch, to_epoch) = (last.to_epoch, last.from_epoch);
        let meeting = match body {
            Body::Request { .. } => Some(MeetingId {
                asker: from.clone(),
                epoch: from_epoch,
                number: self.sent.len() as u64,
            }),
            _ => last.meeting,
        };
        self.deliver(&Message {
            meeting,
            from,
            to,
            from_epoch,
            to_epoch,
            body,
            ..last
        });
    }

    fn input(&mut self, input: Input) {
        self.node.handle(self.now, input);
        self.drain();
        // A tick at the deadline must change something.
        for _ in 0..100 {
            if self
                .node
                .deadline()
                .is_none_or(|deadline| deadline > self.now)
            {
                return;
            }
            let before = self.node.deadline();
            self.node.handle(self.now, Input::Tick);
            let is_idle = self.drain() == 0;
            assert!(
                !(is_idle && self.node.deadline() == before),
                "woken for nothing: {:?}",
                self.node
            );
        }
        panic!("woken again and again: {:?}", self.node);
    }

    fn drain(&mut self) -> usize {
        let mut outputs = 0;
        while let Some(output) = self.node.poll() {
            outputs += 1;
            match output {
                Output::StartServer(start) => {
                    assert!(self.now <= start.start_by && start.start_by <= start.deadline);
                    self.assert_within_own_limits(&start.spec, start.deadline);
                    self.start(start.run, start.meeting, Kind::StartingServer);
                }
                Output::StartClient(start) => {
                    assert!(self.now <= start.start_by && start.start_by <= start.deadline);
                    self.assert_within_own_limits(&start.spec, start.deadline);
                    self.start(start.run, start.meeting, Kind::Client);
                }
                Output::Send(_, message) => {
                    assert!(Message::decode(&message.encode()).is_ok(), "{message:?}");
                    self.sent.push(message);
                }
                Output::Ping { message, .. } => {
                    assert!(Message::decode(&message.encode()).is_ok(), "{message:?}");
                    self.pings.push((message.to, message.to_epoch));
                }
                _ => {}
            }
        }
        assert!(
            !self.node.is_free() || self.running.is_empty(),
            "free with {:?}",
            self.running
        );
        outputs
    }

    /// No test exceeds the node's own settings, whatever the peers ask for or grant.
    fn assert_within_own_limits(&self, spec: &TestSpec, deadline: Time) {
        let own = TestSpec {
            bidir: spec.bidir,
            ..test_spec(spec.protocol)
        };
        assert_eq!(spec.within(&own), *spec, "above the limits of the node");
        assert!(deadline.since(self.now) <= own.timeout);
    }

    /// A node has one process at a time: a server is reaped before its node starts a client, and
    /// the other way round.
    fn start(&mut self, run: RunId, meeting: MeetingId, kind: Kind) {
        assert!(
            self.running.is_empty(),
            "{meeting} beside {:?}",
            self.running
        );
        self.running.insert(run, Process { meeting, kind });
    }

    /// Stops the node, ends all processes, and lets time pass until the node is free.
    fn finish(&mut self) {
        self.take(Step::Stop);
        for _ in 0..10 {
            while !self.running.is_empty() {
                self.process(2);
            }
            self.wake();
        }
        assert!(self.node.is_free(), "stuck: {:?}", self.node);
    }
}

fn sound_plan(clients: &[Role]) -> Vec<PlannedTest> {
    let spec = test_spec(Protocol::Tcp);
    let tests = clients.iter().map(|&client| PlannedTest {
        client,
        spec: spec.clone(),
    });
    tests.collect()
}

fn ending(success: bool) -> Outcome {
    if success {
        Ok(Figures::default())
    } else {
        Err(Reason::Timeout)
    }
}

/// A view in which all peers are live.
fn all_live() -> Step {
    let members = (1..=OTHERS).map(|number| Member {
        sweep: 1,
        ..defaults::member(number, Epoch(100 + number as u64))
    });
    Step::View(members.collect(), false)
}
