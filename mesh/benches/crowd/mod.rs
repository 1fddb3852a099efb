//! One real node among many that exist only as far as it can see: they answer what it sends, and do
//! as they are told. Nothing here measures anything.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use iperf3_mesh_core::wire::{Body, MeetingId, Message, PlannedTest, Refusal, Role};
use iperf3_mesh_core::{
    Epoch, Figures, Input, Member, Node, NodeName, Output, PeerState, PortRange, Protocol,
    ServerFailure, Settings, TestSpec, Time, View, WIRE_VERSION,
};

/// A node in a mesh of that many, and the present time.
pub(crate) struct Crowd {
    pub(crate) node: Node,
    pub(crate) now: Time,
    nodes: usize,
    /// What is still to be answered to the node.
    answers: VecDeque<Input>,
    requests: u64,
}

impl Crowd {
    /// At the beginning of the first sweep.
    pub(crate) fn new(nodes: usize, view: &View) -> Self {
        let now = Time::default();
        let mut crowd = Self {
            node: Node::new(settings(nodes / 2), now),
            now,
            nodes,
            answers: VecDeque::new(),
            requests: 0,
        };
        crowd.node.handle(now, Input::View(view.clone()));
        while crowd.node.status(crowd.now).sweep.number == 0 {
            crowd.play();
        }
        crowd
    }

    /// In the middle of a sweep, in order, and waiting for the partner, who is to ask.
    pub(crate) fn waiting(nodes: usize, view: &View) -> Self {
        let mut crowd = Self::new(nodes, view);
        while crowd.open() > nodes / 2 || !crowd.node.is_free() {
            crowd.play();
        }
        crowd
    }

    pub(crate) fn open(&self) -> usize {
        self.node.status(self.now).sweep.open
    }

    /// What comes to the node next, if all its partners are there and do as they should.
    pub(crate) fn next_input(&mut self) -> Input {
        self.answers.pop_front().unwrap_or_else(|| {
            self.now = self
                .node
                .deadline()
                .expect("a node with peers has something to wait for");
            Input::Tick
        })
    }

    /// Lets that happen.
    pub(crate) fn play(&mut self) {
        let input = self.next_input();
        self.handle(input);
    }

    fn handle(&mut self, input: Input) {
        self.node.handle(self.now, input);
        self.answer_all();
    }

    /// Has the answers to all that the node has put out ready.
    pub(crate) fn answer_all(&mut self) {
        while let Some(output) = self.node.poll() {
            self.answer(output);
        }
    }

    /// Whether the node has asked somebody for a meeting and has no answer yet.
    pub(crate) fn is_asking(&self) -> bool {
        let answer = self.answers.front();
        matches!(
            answer,
            Some(Input::Message(Message {
                body: Body::Grant { test: 0, .. },
                ..
            }))
        )
    }

    fn answer(&mut self, output: Output) {
        match output {
            Output::Send(_, message) => self.reply(message),
            Output::StartServer(start) => self.answers.push_back(Input::ServerReady(start.run)),
            Output::StartClient(start) => {
                let forward = Some(Ok(Figures::default()));
                let ended = Input::ClientEnded {
                    run: start.run,
                    forward,
                    reverse: None,
                };
                self.answers.push_back(ended);
            }
            Output::Kill(run) => {
                self.answers.push_back(Input::ServerEnded {
                    run,
                    accepted: true,
                });
            }
            _ => {}
        }
    }

    fn reply(&mut self, message: Message) {
        let address = address_of(number_of(&message.to));
        let body = match message.body {
            Body::Request { .. } => Body::Grant {
                test: 0,
                address,
                port: 5201,
            },
            Body::Go { .. } => Body::Next { test: 1 },
            Body::Grant { .. } => Body::End {
                handover: Vec::new(),
            },
            _ => return,
        };
        let meeting = message.meeting;
        self.answers
            .push_back(self.message(number_of(&message.to), meeting, body));
    }

    /// The refusal of the request to which the answer is still to come.
    pub(crate) fn refusal(&mut self, refusal: Refusal, free_in: Duration) -> Input {
        let granted = self.answers.pop_front();
        let Some(Input::Message(Message { from, meeting, .. })) = granted else {
            unreachable!("nobody was asked");
        };
        let free_in_ms = u64::try_from(free_in.as_millis()).ok();
        self.message(
            number_of(&from),
            meeting,
            Body::Refuse {
                refusal,
                free_in_ms,
            },
        )
    }

    /// A new request of the peer at that place among the open ones.
    pub(crate) fn request(&mut self, place: usize) -> Input {
        let asker = self
            .node
            .open_pairs()
            .nth(place)
            .expect("so many are open")
            .clone();
        let from = number_of(&asker);
        self.requests += 1;
        let plan = [Role::Asker, Role::Granter].map(|client| PlannedTest {
            client,
            spec: test(),
        });
        let meeting = MeetingId {
            asker,
            epoch: epoch_of(from),
            number: self.requests,
        };
        self.message(from, Some(meeting), Body::Request { plan: plan.into() })
    }

    /// Breaks the meeting off that the node has just granted, so that everything is as before.
    pub(crate) fn break_off(&mut self) {
        let Some(Input::ServerReady(run)) = self.answers.pop_front() else {
            unreachable!("nothing was granted");
        };
        self.handle(Input::ServerFailed(run, ServerFailure::Spawn));
    }

    fn message(&self, from: usize, meeting: Option<MeetingId>, body: Body) -> Input {
        let to = self.nodes / 2;
        Input::Message(Message {
            wire: WIRE_VERSION,
            from: name_of(from),
            from_epoch: epoch_of(from),
            to: name_of(to),
            to_epoch: epoch_of(to),
            sweep: self.node.status(self.now).sweep.number,
            meeting,
            body,
        })
    }
}

/// The view that all members are live.
pub(crate) fn view(nodes: usize) -> View {
    let members = (0..nodes).map(|number| Member {
        name: name_of(number),
        epoch: epoch_of(number),
        wire: WIRE_VERSION,
        zone: "eu-west-1a".to_owned(),
        control: SocketAddr::new(address_of(number), 9878),
        http_port: 9876,
        sweep: 0,
        state: PeerState::Live,
    });
    View::new(members.collect(), false)
}

fn settings(number: usize) -> Settings {
    Settings {
        name: name_of(number),
        epoch: epoch_of(number),
        address: address_of(number),
        ports: PortRange {
            first: 5201,
            count: 8,
        },
        tests: vec![test()],
        interval: Duration::ZERO,
        forget_after: None,
        skip_quiet_time: true,
    }
}

fn test() -> TestSpec {
    TestSpec {
        protocol: Protocol::Tcp,
        duration: Duration::from_secs(5),
        omit: Duration::ZERO,
        timeout: Duration::from_secs(10),
        bitrate: None,
        streams: 1,
        bidir: false,
    }
}

/// Names of a length as in the cloud, which differ only near their ends, as there.
fn name_of(number: usize) -> NodeName {
    NodeName::new(&format!("eu-west-1-workers-{number:06}")).expect("letters and digits")
}

fn number_of(name: &NodeName) -> usize {
    let digits = name.as_str().rsplit('-').next();
    digits
        .and_then(|digits| digits.parse().ok())
        .expect("a name made here")
}

fn epoch_of(number: usize) -> Epoch {
    Epoch(number as u64)
}

fn address_of(number: usize) -> IpAddr {
    let bits = u32::from(Ipv4Addr::new(10, 0, 0, 0)) + u32::try_from(number).unwrap_or(0);
    IpAddr::V4(Ipv4Addr::from_bits(bits))
}
