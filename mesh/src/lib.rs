//! Who is in the mesh, and who meets whom when.
//!
//! The core decides and does nothing else: it has no sockets, no clock and no randomness of its
//! own. Time, messages and membership views come in as arguments; what is to be done comes out as
//! values. The agent and the simulator drive the same code.
//!
//! Start reading at [`Node`], the coordinator of one node; it stands on the schedule (who meets
//! whom in which round), the sweep plan (one sweep as one node sees it), the peers (the peers that
//! have not departed) and the reservation (the one slot of a node, which makes certain what the
//! schedule only makes likely).
//!
//! The feature `gossip` adds the thin layer over chitchat, the only part that does IO; `sim` adds
//! the simulator, `flaws` a switch that breaks one rule at a time, so that tests can see whether
//! the checkers notice.

pub mod flaw;
#[cfg(feature = "gossip")]
#[allow(
    clippy::disallowed_methods,
    reason = "an edge of the core: it does IO and keeps time"
)]
pub mod gossip;
mod io;
#[cfg(all(test, feature = "flaws"))]
mod model;
mod name;
mod node;
mod outcome;
mod protocol;
mod reservation;
mod rules;
pub mod schedule;
#[cfg(feature = "sim")]
pub mod sim;
mod spec;
mod time;
mod view;
pub mod wire;

pub use io::{ClientStart, Input, Output, ReservationOutcome, RunId, ServerFailure, ServerStart};
pub use name::{Epoch, NAME_LEN_MAX, NameError, NodeName};
pub use node::peers::{ClusterNode, Peer};
pub use node::status::{MeetingStatus, Status, SweepStatus, SweepSummary};
pub use node::{Node, Settings};
pub use outcome::{Figures, Outcome, Reason};
pub use protocol::{DRIFT_PPM_MAX, MARGIN, QUIET_TIME, START_WINDOW, TIMEOUT_MAX, WIRE_VERSION};
pub use reservation::PortRange;
pub use spec::{Protocol, TestSpec};
pub use time::Time;
pub use view::{Member, PeerState, View};
