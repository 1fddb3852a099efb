//! Deliberately broken variants of the protocol, with one rule left out at a time: a checker that
//! has never caught anything proves nothing.
//!
//! The predicates in `rules` ask `is` whether their rule is left out. Without the feature
//! `flaws`, the answer is the constant `false`. With the feature, a test leaves out one rule by
//! calling [`with`].

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray)]
pub enum Flaw {
    /// A node in a meeting grants another meeting.
    GrantsWhileBusy,
    /// A client has practically no deadline.
    NoClientDeadline,
    /// The server's node has one deadline for its process and for its slot.
    OneSharedDeadline,
    /// The client's node counts its lease from the grant, not from the request.
    CountsFromGrant,
    /// The granter runs its tests without waiting for the asker's `go`, and the asker accepts that.
    NoGo,
    /// Messages from or to an earlier epoch are accepted.
    StaleEpoch,
    /// A message about any meeting is accepted as one about the present meeting.
    AnyMeeting,
    /// A busy node leaves requests unanswered, and the askers wait.
    WaitsWhileHolding,
    /// Both nodes of a pair have asked, and each waits for the answer of the other.
    NeitherWithdraws,
    /// The slot is free when the node has killed the process, not only when the process is dead.
    FreeBeforeReaped,
    /// The asker does not wait for the far end of a two-way test.
    ForgetsFarEnd,
    /// A restarted agent skips its quiet time.
    NoQuiet,
}

impl Flaw {
    /// All flaws.
    #[cfg(feature = "flaws")]
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;
}

#[cfg(feature = "flaws")]
mod switch {
    use std::cell::Cell;

    use super::Flaw;

    thread_local! {
        static PRESENT: Cell<Option<Flaw>> = const { Cell::new(None) };
    }

    /// Runs `run` with this rule left out, on this thread only.
    pub fn with<T>(flaw: Flaw, run: impl FnOnce() -> T) -> T {
        struct Restore(Option<Flaw>);
        impl Drop for Restore {
            fn drop(&mut self) {
                PRESENT.set(self.0);
            }
        }
        let _restore = Restore(PRESENT.replace(Some(flaw)));
        run()
    }

    pub(crate) fn is(flaw: Flaw) -> bool {
        PRESENT.get() == Some(flaw)
    }
}

#[cfg(feature = "flaws")]
pub(crate) use switch::is;
#[cfg(feature = "flaws")]
pub use switch::with;

#[cfg(not(feature = "flaws"))]
pub(crate) const fn is(_: Flaw) -> bool {
    false
}
