//! The core of iperf3-mesh: which nodes are in the mesh, and which of them meet when.
//!
//! The core is *sans-IO*. It has no sockets, no clock and no randomness of its own: time, messages
//! and membership views go in as arguments, actions come out as values. The agent and the simulator
//! drive the same code, so a simulated run repeats to the nanosecond from its seed.
//!
//! # The run loop
//!
//! A caller owns one [`Node`] and drives it by three methods:
//!
//! 1. [`Node::handle`] takes the present time and one [`Input`]: a message, a view, the end of a
//!    process, or [`Input::Tick`] if only time has passed.
//! 2. [`Node::poll`] returns one [`Output`] after the other. Take all of them, until `None`, before
//!    the next input: the node assumes that what it asked for is being done.
//! 3. [`Node::deadline`] tells when the next input is due at the latest. It can change with every
//!    input, so ask again after each. An earlier or a later tick does no harm to exclusiveness: a
//!    late one costs time only.
//!
//! Time is the node's own boot-time clock ([`Time`]), which never goes back. Every
//! [`Output::StartClient`] and [`Output::StartServer`] must be answered by exactly one input that
//! reports the end of the process, and only when the process is *dead*: the slot is free then.
//! Every [`Output::Send`] may fail, silently or with [`Input::Undelivered`].
//!
//! ```
//! use iperf3_mesh_core::wire::Body;
//! use iperf3_mesh_core::{
//!     Auth, Epoch, Input, Member, Node, NodeName, Output, PeerState, PortRange, Protocol,
//!     Settings, TestSpec, Time, View, WIRE_VERSION,
//! };
//! use std::time::Duration;
//!
//! // Construct a node.
//! let test = TestSpec {
//!     protocol: Protocol::Tcp,
//!     duration: Duration::from_secs(5),
//!     omit: Duration::ZERO,
//!     timeout: Duration::from_secs(10),
//!     bitrate: None,
//!     streams: 1,
//!     bidir: false,
//! };
//! let settings = Settings {
//!     name: NodeName::new("node-b")?,
//!     epoch: Epoch(7),
//!     address: [198, 18, 0, 2].into(),
//!     ports: PortRange { first: 5201, count: 8 },
//!     tests: vec![test],
//!     guest_tests: Vec::new(),
//!     interval: Duration::from_secs(300),
//!     forget_after: None,
//!     members_max: 2048,
//!     skip_quiet_time: true,
//!     secret: 0x5eed,
//! };
//! let mut now = Time::from_nanos(1_000_000_000);
//! let mut node = Node::new(settings, now);
//!
//! // Feed an input: gossip has found a peer.
//! let peer = Member {
//!     name: NodeName::new("node-a")?,
//!     epoch: Epoch(1),
//!     life: None,
//!     auth: Auth::default(),
//!     wire: WIRE_VERSION,
//!     zone: String::new(),
//!     control: ([198, 18, 0, 1], 9878).into(),
//!     http_port: 9876,
//!     iperf3: "3.12".to_owned(),
//!     sweep: 0,
//!     state: PeerState::Live,
//! };
//! node.handle(now, Input::View(View::new(vec![peer], None)));
//!
//! // Drain the outputs and honour the deadline, until this node asks its peer for a meeting.
//! // The peer answers the ping that comes first.
//! let mut answer = None;
//! let request = 'run: loop {
//!     while let Some(output) = node.poll() {
//!         match output {
//!             Output::Send(to, message) if matches!(message.body, Body::Request { .. }) => {
//!                 break 'run (to, message);
//!             }
//!             Output::Ping { message, .. } => {
//!                 answer = Some(Input::Answered { node: message.to, epoch: message.to_epoch });
//!             }
//!             // An agent would send other messages, start and kill iperf3, record cells.
//!             _ => {}
//!         }
//!     }
//!     // A real loop waits for whichever comes first, an event or the deadline.
//!     if let Some(answer) = answer.take() {
//!         node.handle(now, answer);
//!         continue;
//!     }
//!     now = node.deadline().expect("a node with a peer always has one").max(now);
//!     node.handle(now, Input::Tick);
//! };
//! assert_eq!(request.0, ([198, 18, 0, 1], 9878).into());
//! assert_eq!(request.1.to.as_str(), "node-a");
//! # Ok::<(), iperf3_mesh_core::NameError>(())
//! ```
//!
//! # The parts
//!
//! A [`Node`] stands on three parts: the tournament ([`schedule`]: which nodes meet in which
//! round), the sweep plan and the list of peers (inside `node`), and the reservation (the one slot
//! of a node, which makes certain what the schedule only makes likely). [`wire`] has the messages,
//! and `seal` keeps out whoever has no key. `docs/protocol.md` describes all of it.
//!
//! # Features
//!
//! `seal` adds the seal, whose cryptography links a source of randomness but needs none. `gossip`
//! adds the thin layer over chitchat, the only part that does IO. `sim` adds the simulator. `flaws`
//! adds a switch that leaves out one rule at a time, so that tests can see whether the checkers
//! notice. `fuzzing` adds the entry points of the fuzz targets.

mod address;
mod auth;
pub mod flaw;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(feature = "gossip")]
#[allow(
    clippy::disallowed_methods,
    reason = "an edge of the core: it does IO and keeps time"
)]
pub mod gossip;
mod io;
mod life;
mod mesh_name;
#[cfg(all(test, feature = "flaws"))]
mod model;
mod name;
mod node;
mod outcome;
mod plausible;
mod protocol;
mod reservation;
mod rules;
pub mod schedule;
#[cfg(feature = "seal")]
pub mod seal;
#[cfg(feature = "sim")]
pub mod sim;
mod spec;
mod status;
mod time;
mod view;
pub mod wire;

pub use address::{AddressProblem, AddressRules, Listed, unknown_host};
pub use auth::{Auth, AuthMode, WireId};
pub use io::{
    ClientStart, Ignored, Input, Output, ReservationOutcome, RunId, ServerFailure, ServerStart,
};
pub use life::Life;
pub use mesh_name::{MESH_NAME_LEN_MAX, MeshName};
pub use name::{Epoch, NAME_LEN_MAX, NameError, NodeName, ZONE_LEN_MAX, is_zone};
pub use node::peers::Peer;
pub use node::{Node, Settings};
pub use outcome::{Figures, Outcome, Reason};
pub use plausible::{BANDWIDTH_MAX_MBPS, Figure, plausible};
pub use protocol::{
    CONFIRMED_WITHIN, DRIFT_PPM_MAX, MARGIN, QUIET_TIME, START_WINDOW, TIMEOUT_MAX, WIRE_VERSION,
};
pub use reservation::PortRange;
pub use spec::{Protocol, TestSpec};
pub use status::{MeetingStatus, Status, SweepStatus, SweepSummary};
pub use time::Time;
pub use view::{ClusterNode, Member, PeerState, RefusedMember, View};
