//! The rules that exclusiveness rests on, each as a predicate that is `true` in every shipped
//! build.
//!
//! Tests switch one rule off at a time (see [`crate::flaw`]) and expect the checkers to notice.

use crate::flaw::{Flaw, is};

/// A node in a meeting refuses any other meeting.
pub(crate) fn busy_node_refuses() -> bool {
    !is(Flaw::GrantsWhileBusy)
}

/// A busy node answers at once, so that no node waits while it holds its own slot.
pub(crate) fn refusal_is_immediate() -> bool {
    !is(Flaw::WaitsWhileHolding)
}

/// If both nodes of a pair ask at once, the one that is not the rightful asker withdraws.
pub(crate) fn one_asker_withdraws() -> bool {
    !is(Flaw::NeitherWithdraws)
}

/// A client is dead when its lease is over.
pub(crate) fn client_has_deadline() -> bool {
    !is(Flaw::NoClientDeadline)
}

/// The server's node holds its slot for a margin beyond the death of its own process.
pub(crate) fn hold_outlasts_use() -> bool {
    !is(Flaw::OneSharedDeadline)
}

/// A client's lease counts from its request, which is never later than the server's receipt of it.
pub(crate) fn lease_counts_from_request() -> bool {
    !is(Flaw::CountsFromGrant)
}

/// The granter runs its clients only after the asker's `go`.
pub(crate) fn granter_waits_for_go() -> bool {
    !is(Flaw::NoGo)
}

/// A message counts only from and to the present epochs.
pub(crate) fn epochs_are_compared() -> bool {
    !is(Flaw::StaleEpoch)
}

/// A message counts only for the meeting that it names.
pub(crate) fn meetings_are_compared() -> bool {
    !is(Flaw::AnyMeeting)
}

/// A slot is free only when the node's own process is known to be dead.
pub(crate) fn slot_waits_for_reaping() -> bool {
    !is(Flaw::FreeBeforeReaped)
}

/// The asker of a two-way test waits until the far end has stopped sending.
pub(crate) fn far_end_is_awaited() -> bool {
    !is(Flaw::ForgetsFarEnd)
}

/// An agent takes part in nothing during the quiet time after its start.
pub(crate) fn start_is_quiet() -> bool {
    !is(Flaw::NoQuiet)
}
