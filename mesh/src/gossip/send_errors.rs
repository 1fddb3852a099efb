//! The errors of sending gossip: how often each kind occurred, and a warning with advice.
//!
//! Gossip repeats what is lost, so a failed send is no failure of gossip. But if all sends fail,
//! the peers take this node for silent, and only this node can tell why.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};
use tokio::time::Instant;
use tracing::warn;

use super::shared::count;
use super::warned::Warned;

/// How long every send must fail until gossip counts as unsent. Peers take a node for silent after
/// a similar time.
const UNSENT_AFTER: Duration = Duration::from_secs(15);

/// A kind of error that the kernel reports when gossip is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum SendError {
    /// A firewall of this host dropped the datagram.
    NotPermitted,
    /// The kernel had no memory for the datagram, or no room in its neighbour table.
    NoBuffer,
    /// The kernel could not use the addresses of the datagram.
    Invalid,
    /// This node has no route to the peer.
    Unreachable,
    /// Anything else.
    Other,
}

impl SendError {
    /// All kinds, in the order of [`SendErrorTotals`].
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the name in labels.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NotPermitted,
            Some(libc::ENOBUFS | libc::ENOMEM) => Self::NoBuffer,
            Some(libc::EINVAL | libc::EADDRNOTAVAIL) => Self::Invalid,
            Some(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ENETDOWN
                | libc::EHOSTDOWN
                | libc::ENODEV
                | libc::ENONET,
            ) => Self::Unreachable,
            _ => Self::Other,
        }
    }

    /// Returns the usual causes, and how to fix them.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NotPermitted => {
                "a firewall of this host drops it (let the OUTPUT chain accept udp from the gossip \
                 port), or the connection-tracking table is full (raise \
                 net.netfilter.nf_conntrack_max)"
            }
            Self::NoBuffer => {
                "the neighbour table is full (raise net.ipv4.neigh.default.gc_thresh3, or that of \
                 ipv6, above the number of nodes), or the queue of the link is"
            }
            Self::Invalid => {
                "this node has lost the address that it advertises, a route drops the traffic, or \
                 the neighbour table is full (raise net.ipv4.neigh.default.gc_thresh3, or that of \
                 ipv6, above the number of nodes)"
            }
            Self::Unreachable => {
                "the link is down, or there is no route to the peer (`ip route get` shows it)"
            }
            Self::Other => "see the error",
        }
    }
}

/// The number of failed sends of each kind, in the order of [`SendError::ALL`].
pub type SendErrorTotals = [u64; SendError::VARIANTS.len()];

/// Counts failed sends, and warns about them.
#[derive(Debug, Default)]
pub(super) struct SendErrors {
    totals: [AtomicU64; SendError::VARIANTS.len()],
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    warned: Warned<{ SendError::VARIANTS.len() }>,
    /// The failed sends since the last successful one.
    unsent: Option<Unsent>,
}

/// Failed sends in a row.
#[derive(Clone, Copy, Debug)]
struct Unsent {
    first: Instant,
    last: Instant,
    kind: SendError,
}

impl SendErrors {
    /// Records that a datagram was sent.
    pub(super) fn sent(&self) {
        self.times().unsent = None;
    }

    /// Counts the error of a send to `to`, and logs the first one of each kind in a minute.
    pub(super) fn failed(&self, to: SocketAddr, error: &io::Error, now: Instant) {
        let kind = SendError::of(error);
        count(&self.totals[kind as usize]);
        if self.must_warn(kind, now) {
            let failures = self.totals()[kind as usize];
            warn!(%to, %error, failures, "gossip cannot be sent: {}", kind.advice());
        }
    }

    pub(super) fn totals(&self) -> SendErrorTotals {
        std::array::from_fn(|kind| self.totals[kind].load(Ordering::Relaxed))
    }

    /// Returns the kind of the last error if all sends have failed for [`UNSENT_AFTER`], and the
    /// last one recently: a node without peers sends nothing.
    pub(super) fn unsent(&self, now: Instant) -> Option<SendError> {
        let Unsent { first, last, kind } = self.times().unsent?;
        (last - first >= UNSENT_AFTER && now - last < UNSENT_AFTER).then_some(kind)
    }

    /// Records the error, and returns whether to warn about it.
    fn must_warn(&self, kind: SendError, now: Instant) -> bool {
        let mut times = self.times();
        let first = times.unsent.map_or(now, |unsent| unsent.first);
        let last = now;
        times.unsent = Some(Unsent { first, last, kind });
        times.warned.is_due(kind as usize, now)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        // No holder of this lock can panic, and times have no broken state.
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gossip_is_unsent_if_all_sends_fail_for_a_while() {
        let errors = SendErrors::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(errors.unsent(start), None);
        errors.must_warn(SendError::Unreachable, start);
        errors.must_warn(SendError::NotPermitted, after(14));
        assert_eq!(errors.unsent(after(15)), None);
        errors.must_warn(SendError::NotPermitted, after(15));
        assert_eq!(errors.unsent(after(29)), Some(SendError::NotPermitted));
        assert_eq!(errors.unsent(after(30)), None, "nothing is sent any more");
        errors.must_warn(SendError::NotPermitted, after(31));
        errors.sent();
        assert_eq!(errors.unsent(after(32)), None);
    }

    #[test]
    fn errors_are_counted_by_kind() {
        let errors = SendErrors::default();
        for (code, kind) in [
            (libc::EPERM, SendError::NotPermitted),
            (libc::EACCES, SendError::NotPermitted),
            (libc::ENOBUFS, SendError::NoBuffer),
            (libc::EINVAL, SendError::Invalid),
            (libc::ENETUNREACH, SendError::Unreachable),
            (libc::EHOSTUNREACH, SendError::Unreachable),
            (libc::ENETDOWN, SendError::Unreachable),
            (libc::EMSGSIZE, SendError::Other),
        ] {
            let before = errors.totals()[kind as usize];
            let peer = SocketAddr::from(([198, 18, 0, 2], 9877));
            errors.failed(peer, &io::Error::from_raw_os_error(code), Instant::now());
            assert_eq!(errors.totals()[kind as usize], before + 1, "{code}");
        }
    }
}
