//! The holders of the names. A name belongs to the agent that this node has first heard under it,
//! as long as that agent lives, and for the time of a restart. A later agent with another
//! life at another address is refused, so that no member takes the name of another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::view::Identity;
use crate::{Epoch, NodeName};

/// How long a name stays with a holder that has ended, against those that were up beside it: a
/// restarted agent stays out of all meetings for as long anyway.
const HELD_FOR: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Holder {
    epoch: Epoch,
    address: SocketAddr,
    /// When this node first heard of it.
    since: Instant,
    last_up: Instant,
}

impl Holder {
    /// Returns whether this is a run of the holder: it has moved, or was started again.
    fn is(&self, identity: &Identity) -> bool {
        identity.published.epoch == self.epoch || identity.address == self.address
    }
}

/// The holders by name.
#[derive(Debug, Default)]
pub(super) struct Holders(BTreeMap<NodeName, Holder>);

impl Holders {
    /// Forgets the holders that have ended long ago.
    pub(super) fn retain(&mut self, now: Instant) {
        self.0.retain(|_, holder| now - holder.last_up < HELD_FOR);
    }

    /// Splits the identities of one name into those that may stand for it, and those that are up
    /// although another agent holds the name. Within `patience` after the holder appeared, nobody
    /// can tell who was first.
    pub(super) fn split<'a>(
        &mut self,
        identities: &[&'a Identity],
        patience: Duration,
        now: Instant,
    ) -> (Vec<&'a Identity>, Vec<&'a Identity>) {
        let name = identities.first().map(|one| &one.published.name);
        let Some(holder) = name.and_then(|name| self.0.get_mut(name)) else {
            return (identities.to_vec(), Vec::new());
        };
        if identities.iter().any(|one| one.is_up() && holder.is(one)) {
            holder.last_up = now;
        }
        let is_late = |one: &Identity| {
            let beside = holder.since + patience..=holder.last_up;
            one.is_up() && !holder.is(one) && beside.contains(&one.first_seen)
        };
        identities.iter().copied().partition(|one| !is_late(one))
    }

    /// Takes note that an identity stands for its name.
    pub(super) fn hold(&mut self, identity: &Identity, now: Instant) {
        let name = identity.published.name.clone();
        let before = self.0.get(&name).filter(|holder| holder.is(identity));
        let holder = Holder {
            epoch: identity.published.epoch,
            address: identity.address,
            since: before.map_or(identity.first_seen, |holder| holder.since),
            last_up: now,
        };
        self.0.insert(name, holder);
    }
}
