//! The whole interface of the core: an [`Input`] goes into a [`Node`](crate::Node), an [`Output`]
//! comes out of it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use strum::{Display, IntoStaticStr, VariantArray};

use crate::status::SweepSummary;
use crate::wire::{Complaint, MeetingId, Message, Refusal, Role};
use crate::{ClusterNode, Epoch, Figure, NodeName, Outcome, Protocol, TestSpec, Time, View};

/// Identifies one iperf3 process of this node. No number is used twice in one epoch.
pub type RunId = u64;

/// An event for the node to react to.
#[derive(Clone, Debug)]
pub enum Input {
    /// The present view of the membership, from gossip.
    View(View),
    /// A message from another node.
    Message(Message),
    /// A message about `meeting` could not be delivered.
    Undelivered {
        /// The intended receiver.
        to: NodeName,
        /// The meeting that the message was about.
        meeting: MeetingId,
    },
    /// This epoch of a peer has answered a ping.
    Answered {
        /// The peer.
        node: NodeName,
        /// The epoch that the ping was addressed to.
        epoch: Epoch,
    },
    /// The server of this run is listening.
    ServerReady {
        /// The run.
        run: RunId,
        /// The largest socket buffer that it can have in a UDP test, in bytes; `None` if it is
        /// unknown.
        buffer: Option<u64>,
    },
    /// The server of this run never came to listen, and is dead.
    ServerFailed(RunId, ServerFailure),
    /// The server of this run had been listening, and is dead.
    ServerEnded {
        /// The run.
        run: RunId,
        /// Whether the peer's client connected.
        accepted: bool,
        /// The failure that the server reported; `None` if it reported none.
        complaint: Option<Complaint>,
    },
    /// The client of this run is dead.
    ClientEnded {
        /// The run.
        run: RunId,
        /// The result of the test; `None` if the client was killed before its deadline, which is
        /// no result.
        forward: Option<Outcome>,
        /// The result of the other direction if the test is two-way.
        reverse: Option<Outcome>,
    },
    /// This node is no longer in the cluster: if it is silent, it has departed. The input is
    /// idempotent.
    Gone(NodeName),
    /// The complete set of nodes that should have an agent, according to the cluster. A node of
    /// this set that does not appear in gossip is missing. The input is idempotent.
    Cluster(BTreeMap<NodeName, ClusterNode>),
    /// This node has another address from now on. The present meeting is over, but the slot stays
    /// taken until the peer's iperf3 is dead as well.
    Moved(IpAddr),
    /// Time has passed.
    Tick,
    /// Leave the present meeting, and start no other.
    Stop,
}

/// An action for the caller to carry out, or a fact for it to record.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send the message to this control address; report [`Input::Undelivered`] if that fails.
    Send(SocketAddr, Message),
    /// Send the message to this control address, beside all others. Report [`Input::Answered`] if
    /// it is accepted, and nothing otherwise.
    Ping {
        /// The address.
        to: SocketAddr,
        /// The message.
        message: Message,
        /// The time after which an answer is not awaited any more.
        within: Duration,
    },
    /// Start an iperf3 client.
    StartClient(ClientStart),
    /// Start an iperf3 server.
    StartServer(ServerStart),
    /// Kill the iperf3 of this run; its end is reported like any other.
    Kill(RunId),
    /// A cell of this node's row has a new result.
    Cell {
        /// The destination.
        destination: NodeName,
        /// The protocol.
        protocol: Protocol,
        /// The result.
        outcome: Outcome,
        /// Whether the destination's settings made the test smaller than this node's own.
        is_limited: bool,
    },
    /// A message had no effect, because it does not belong to what this node is doing. Some such
    /// messages are normal, since messages cross and come late; many show an intruder.
    Ignored {
        /// The sender, as the message says.
        from: NodeName,
        /// The kind of the message.
        kind: &'static str,
        /// The reason.
        reason: Ignored,
    },
    /// The peer handed over a figure that cannot be. The cell's outcome, which follows, lacks it;
    /// if it is [`Figure::Bandwidth`], the cell fails.
    ImplausibleFigure {
        /// The node that measured the figure.
        peer: NodeName,
        /// The figure.
        figure: Figure,
    },
    /// The peer has told why a cell of this node's row failed; the result itself follows as
    /// [`Output::Cell`].
    Complaint {
        /// The peer, the destination of the cell.
        peer: NodeName,
        /// The protocol.
        protocol: Protocol,
        /// The complaint of the peer's server.
        complaint: Complaint,
    },
    /// The node has departed, so its cells must be removed.
    Departed(NodeName),
    /// The node should have an agent, but gossip has not heard of it. Its cells fail until it has
    /// departed.
    Missing(NodeName),
    /// This node has begun this sweep, and gossip must publish its number.
    SweepBegan(u64),
    /// This node has met or given up every peer that was due.
    SweepEnded(SweepSummary),
    /// A reservation was refused, was not answered, or is over.
    ReservationEnded {
        /// The other node.
        peer: NodeName,
        /// This node's role.
        role: Role,
        /// How the reservation ended.
        outcome: ReservationOutcome,
        /// How long the reservation occupied this node's slot.
        lasted: Duration,
    },
}

/// An iperf3 client to start.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientStart {
    /// Identifies the process in later inputs.
    pub run: RunId,
    /// The meeting that the test belongs to.
    pub meeting: MeetingId,
    /// The sweep that the meeting belongs to.
    pub sweep: u64,
    /// The other node: the destination of the cell.
    pub peer: NodeName,
    /// The test as both ends have agreed on it.
    pub spec: TestSpec,
    /// The address and port of the peer's server.
    pub remote: SocketAddr,
    /// The largest socket buffer that the peer's server can have in a UDP test, in bytes; `None` if
    /// it is unknown.
    pub buffer: Option<u64>,
    /// After this instant the client must not be started any more.
    pub start_by: Time,
    /// The client is dead by this instant.
    pub deadline: Time,
}

/// An iperf3 server to start.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerStart {
    /// Identifies the process in later inputs.
    pub run: RunId,
    /// The meeting that the test belongs to.
    pub meeting: MeetingId,
    /// The sweep that the meeting belongs to.
    pub sweep: u64,
    /// The other node: the source of the cell.
    pub peer: NodeName,
    /// The only address that may connect.
    pub peer_address: IpAddr,
    /// The test as both ends have agreed on it. The server serves no other, whatever its client
    /// asks for: no longer duration, no more streams, no higher bitrate.
    pub spec: TestSpec,
    /// The port to listen on.
    pub port: u16,
    /// After this instant the server must not be started any more.
    pub start_by: Time,
    /// The server is dead by this instant.
    pub deadline: Time,
}

/// The reason why an iperf3 server never came to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFailure {
    /// The port is in use; another port may work.
    PortTaken,
    /// This node lacks something that iperf3 needs, such as space in `TMPDIR` or open files.
    Resources,
    /// Something else failed; another try would fail as well.
    Spawn,
}

/// The reason why a message had no effect.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Ignored {
    /// The message is for another node.
    OtherNode,
    /// The message is for another epoch of this node.
    StaleEpoch,
    /// The message is about a meeting in which this node and the sender are not, or not any more.
    OtherMeeting,
    /// The request was seen before, or is older than one that was, or asks in another node's name.
    OldRequest,
    /// The grant names an address other than the sender's.
    OtherAddress,
}

impl Ignored {
    /// Returns the name in labels.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The way in which a reservation ended for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ReservationOutcome {
    /// The meeting took place.
    Met,
    /// The granter refused.
    Refused(Refusal),
    /// The peer did not answer in time, or could not be reached.
    NoAnswer,
    /// The peer fell silent during the meeting, and its lease ran out.
    Expired,
    /// Both nodes asked at once, and this node yielded to the rightful asker.
    Withdrawn,
    /// This node stopped, or its address changed.
    Cancelled,
}

impl ReservationOutcome {
    /// Returns the name in labels.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the reason of a refusal; `None` if this is no refusal.
    pub const fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}
