//! Who is in the mesh, and who meets whom when.
//!
//! The core decides and does nothing else: it has no sockets, no clock and no randomness of its own.
//! Time, messages and membership views come in as arguments; what is to be done comes out as values.
//! The agent and the simulator drive the same code.

mod name;
mod outcome;
mod test;
mod time;
mod view;

pub use name::{Epoch, NAME_LEN_MAX, NameError, NodeName};
pub use outcome::{Figures, Outcome, Reason};
pub use test::{Protocol, TestSpec};
pub use time::Time;
pub use view::{Member, Presence, View};

/// The version of the control messages and of the gossiped state. A version talks to the one before it.
pub const WIRE_VERSION: u16 = 1;
