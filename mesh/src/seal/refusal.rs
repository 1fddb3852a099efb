//! The reasons why something that arrived is not believed.

use strum::{Display, IntoStaticStr, VariantArray};

/// Why a datagram, a message or a request was not opened. Nobody is answered in that case.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum Refusal {
    /// It is not sealed at all.
    Unsealed,
    /// Its form is not that of anything sealed.
    Malformed,
    /// It is longer than anything sealed.
    Oversize,
    /// It belongs to a mesh of another name.
    OtherMesh,
    /// It is sealed with a key that this agent never had.
    UnknownKey,
    /// It is sealed with a key that has been removed.
    RemovedKey,
    /// The key does not permit it.
    Role,
    /// It was not made with the key that it names, or was changed on its way.
    Forged,
    /// It has arrived before, or is too old to tell.
    Replayed,
    /// It is meant for an earlier run of this agent, or for another one.
    OtherLife,
    /// It is said to be of a member, but comes from another address.
    OtherAddress,
    /// It belongs to no session of this agent with its source.
    UnknownSession,
    /// It answers nothing that this agent has sent.
    Unsolicited,
    /// It is a message of this agent itself.
    Reflected,
    /// The sender has used up what may be spent on it.
    Budget,
}

impl Refusal {
    /// Returns the name in labels and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
