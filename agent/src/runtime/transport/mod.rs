//! The messages between agents, on a port of their own. Each message is one POST request, which is
//! answered as soon as it has been read.
//!
//! With a key, messages and their answers are sealed for the lives of the two agents
//! ([`iperf3_mesh_core::seal`]). A message that does not open is counted, and answered with a
//! status alone. The decisions about messages are the coordinator's, not of this module.

mod receive;
mod send;
#[cfg(test)]
mod tests;

use iperf3_mesh_core::seal::{Purpose, Target};

#[cfg(feature = "fuzzing")]
pub(crate) use receive::is_message;
pub(super) use receive::serve;
pub(super) use send::MessageSender;

/// The path of messages. Its number is the version of the API; messages have their own wire
/// version.
const PATH: &str = "/control/v1/message";

/// The part of a message's request that is authenticated besides the message.
const TARGET: Target<'_> = Target {
    purpose: Purpose::Control,
    method: "POST",
    path: PATH,
};
