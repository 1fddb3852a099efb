//! The states that this node believes: those that their owners have signed.
//!
//! Peers pass on states, so the sender of a message need not be the owner of what it tells. A state
//! counts only with the signature of its owner, and all later ones of that identity only with the
//! same key. If two keys claim an identity, its address decides, because it has one owner.
//!
//! Chitchat stores what passes here, and nothing else. Both forget an identity together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::frame::{Id, NodeDelta};
use super::signature::{self, SignedState};
use crate::MeshName;
use crate::seal::{Life, PublicKey};

/// The maximum number of signatures in a message that may be wrong. The rest of its states is not
/// verified.
const WRONG_MAX: usize = 4;

/// The way of a message to this node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery<'a> {
    pub(super) mesh: &'a MeshName,
    pub(super) from: SocketAddr,
    /// The life that has sealed the message; `None` if it is plain.
    pub(super) life: Option<Life>,
    /// Whether states of agents that do not sign are believed.
    pub(super) admits_unsigned: bool,
}

/// The owner of an identity, and its state.
#[derive(Debug)]
struct Owned {
    public: PublicKey,
    /// `None` if chitchat has a state that another key has signed.
    state: Option<SignedState>,
}

/// The believed states by identity.
#[derive(Debug, Default)]
pub(super) struct Believed {
    states: BTreeMap<Id, Owned>,
    /// The identities whose states in chitchat are not those of their owners.
    wrong: BTreeSet<Id>,
}

impl Believed {
    /// Keeps the identities that `is_known` admits.
    pub(super) fn retain(&mut self, is_known: impl Fn(&Id) -> bool) {
        self.states.retain(|id, _| is_known(id));
        self.wrong.retain(is_known);
    }

    /// Returns the identities that chitchat has to forget, because their states are not those of
    /// their owners.
    pub(super) fn take_wrong(&mut self) -> BTreeSet<Id> {
        std::mem::take(&mut self.wrong)
    }

    /// Removes the news of a message that chitchat must not get. `is_relevant` is whether chitchat
    /// can use news of an identity. Returns whether anything was forged.
    pub(super) fn screen(
        &mut self,
        delta: &mut Vec<NodeDelta<'_>>,
        delivery: Delivery<'_>,
        is_relevant: impl Fn(&NodeDelta<'_>) -> bool,
    ) -> bool {
        let mut wrong = 0;
        let last = delta.last().map(|news| news.id);
        delta.retain(|news| {
            if wrong >= WRONG_MAX || !is_relevant(news) {
                return false;
            }
            match self.check(news, delivery) {
                Verdict::Believed => true,
                Verdict::Useless => false,
                // Chitchat cuts the last state of a message that is too long.
                Verdict::Cut if Some(news.id) == last => false,
                Verdict::Cut | Verdict::Forged => {
                    wrong += 1;
                    false
                }
            }
        });
        wrong > 0
    }

    /// Returns the state that is believed of an identity.
    #[cfg(test)]
    pub(super) fn state(&self, id: Id) -> Option<&SignedState> {
        self.states.get(&id)?.state.as_ref()
    }

    fn check(&mut self, news: &NodeDelta<'_>, delivery: Delivery<'_>) -> Verdict {
        if news.keys.is_empty() {
            return Verdict::Useless;
        }
        let owned = self.states.get(&news.id);
        if !signature::is_signed(news) {
            return match owned {
                Some(_) => Verdict::Cut,
                None if delivery.admits_unsigned => Verdict::Believed,
                None => Verdict::Forged,
            };
        }
        if !signature::is_whole(news) {
            return Verdict::Cut;
        }
        let before = owned.and_then(|owned| owned.state.as_ref());
        let Some(next) = SignedState::after(before, news) else {
            return match news.after {
                0 => Verdict::Forged,
                // The states between were lost.
                _ => Verdict::Useless,
            };
        };
        if owned.is_some_and(|owned| owned.public != next.public) {
            return self.claim(&next, news.id, delivery);
        }
        match before {
            Some(before) if next == *before => return Verdict::Believed,
            Some(before) if next.version < before.version => return Verdict::Useless,
            Some(before) if next.version == before.version => return Verdict::Forged,
            _ => {}
        }
        if !next.verifies(delivery.mesh, news.id) {
            return Verdict::Forged;
        }
        let owned = Owned {
            public: next.public,
            state: Some(next),
        };
        self.states.insert(news.id, owned);
        Verdict::Believed
    }

    /// Decides about a state with another key than the one that is believed: its own address is
    /// right.
    fn claim(&mut self, next: &SignedState, id: Id, delivery: Delivery<'_>) -> Verdict {
        let is_owner = delivery.life.is_none_or(|life| life == next.public.life());
        if id.address != delivery.from || !is_owner || !next.verifies(delivery.mesh, id) {
            return Verdict::Forged;
        }
        let owned = Owned {
            public: next.public,
            state: None,
        };
        self.states.insert(id, owned);
        self.wrong.insert(id);
        Verdict::Useless
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is signed, or need not be.
    Believed,
    /// It is not new, or does not fit.
    Useless,
    /// It lacks the signature at its end.
    Cut,
    Forged,
}
