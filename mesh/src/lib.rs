//! Who is in the mesh, and who meets whom when.
//!
//! The core decides and does nothing else: it has no sockets, no clock and no randomness of its own.
//! Time, messages and membership views come in as arguments; what is to be done comes out as values.
//! The agent and the simulator drive the same code.
//!
//! Start reading at [`Node`], the coordinator of one node; it stands on the schedule (who meets whom in which
//! round), the agenda (one sweep as one node sees it), the roster (the peers that have not departed) and the
//! reservation (the one slot of a node, which makes certain what the schedule only makes likely).
//!
//! The feature `gossip` adds the thin layer over chitchat, the only part that does IO; `sim` adds the simulator,
//! `flaws` a switch that breaks one rule at a time, so that tests can see whether the checkers notice.

mod agenda;
pub mod flaw;
#[cfg(feature = "gossip")]
#[allow(clippy::disallowed_methods, reason = "an edge of the core: it does IO and keeps time")]
pub mod gossip;
mod lease;
#[cfg(all(test, feature = "flaws"))]
mod model;
mod name;
mod node;
mod outcome;
mod reservation;
mod roster;
pub mod schedule;
#[cfg(feature = "sim")]
pub mod sim;
mod test;
mod time;
mod view;
pub mod wire;

pub use lease::{DRIFT_PPM_MAX, MARGIN, QUIET, START_WINDOW, TIMEOUT_MAX};
pub use name::{Epoch, NAME_LEN_MAX, NameError, NodeName};
pub use node::{Input, Node, Output, Settings, Status, SweepReport};
pub use outcome::{Figures, Outcome, Reason};
pub use reservation::{ClientStart, PortRange, RunId, ServerFailure, ServerStart};
pub use roster::{ClusterNode, Peer};
pub use test::{Protocol, TestSpec};
pub use time::Time;
pub use view::{Member, Presence, View};

/// The version of the control messages and of the gossiped state. A version talks to the one before it.
pub const WIRE_VERSION: u16 = 1;
