//! The protocol, broken on purpose, one rule at a time: a checker that has never caught anything
//! proves nothing.
//!
//! Each rule that the guarantee rests on asks `is` whether it is to be left out. In every build
//! without the feature `flaws` the answer is the constant `false`; with it, a test switches one
//! flaw on by [`with`].

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A node that is in a meeting grants another one.
    GrantsWhileBusy,
    /// A client has no deadline that is worth the name.
    NoClientDeadline,
    /// The server's side has one deadline for its process and for its slot.
    OneSharedDeadline,
    /// The client's side counts its lease from the grant, not from the request that began the
    /// server's.
    CountsFromGrant,
    /// The granter runs its tests without waiting for the asker's `go`, and the asker lets it.
    NoGo,
    /// Messages of an earlier life, or to one, count.
    StaleEpoch,
    /// A word about any meeting counts as one about the present meeting.
    AnyMeeting,
    /// A busy node makes others wait for its answer, and they wait.
    WaitsWhileHolding,
    /// Both nodes have asked, and each waits for the other one's answer.
    NeitherWithdraws,
    /// The slot is free when the process is to be killed, not when it is dead.
    FreeBeforeReaped,
    /// The asker does not wait for the far end of a two-way test.
    ForgetsFarEnd,
    /// A restarted agent takes part at once.
    NoQuiet,
}

impl Flaw {
    /// All of them.
    #[cfg(feature = "flaws")]
    pub const ALL: [Self; 12] = [
        Self::GrantsWhileBusy,
        Self::NoClientDeadline,
        Self::OneSharedDeadline,
        Self::CountsFromGrant,
        Self::NoGo,
        Self::StaleEpoch,
        Self::AnyMeeting,
        Self::WaitsWhileHolding,
        Self::NeitherWithdraws,
        Self::FreeBeforeReaped,
        Self::ForgetsFarEnd,
        Self::NoQuiet,
    ];
}

#[cfg(feature = "flaws")]
mod switch {
    use std::cell::Cell;

    use super::Flaw;

    thread_local! {
        static PRESENT: Cell<Option<Flaw>> = const { Cell::new(None) };
    }

    /// Runs something in a world in which that rule is left out. Holds for this thread only.
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
