//! Admission control. It wraps any transport, measures this node's digest, and stops admitting new
//! nodes before the digest outgrows a datagram.
//!
//! Every SYN carries the digest of all known nodes. Once the digest leaves no room for the reply,
//! chitchat panics on the next SYN that it answers. From outside, only the messages that reach
//! chitchat can be controlled. Near the ceiling, messages that bring a digest from an unpublished
//! address are dropped, so new nodes stay out. At the critical size no SYN is answered at all, and
//! the node keeps gossiping through its own SYNs. The identities in the digest of a *known* peer
//! cannot be controlled; if they make chitchat panic, the supervisor restarts it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{ChitchatEnvelope, ChitchatMessage};

use super::fragments::FragmentWarning;
use super::send_errors::SendErrors;

/// The largest payload of a UDP datagram over IPv4, and of a chitchat message.
pub(super) const DATAGRAM_MAX: usize = 65_507;
/// The digest size from which on the supervisor logs an alarm: 80 % of a datagram.
pub(super) const DIGEST_ALARM: usize = DATAGRAM_MAX / 100 * 80;
/// The digest size from which on no new node is admitted. The rest of the datagram is for the
/// states.
pub(super) const DIGEST_CEILING: usize = 57_000;
/// The digest size from which on no SYN is answered, because the answer would make chitchat panic.
/// It leaves room for the growth of the digest between two measurements.
const DIGEST_CRITICAL: usize = 62_000;
/// The digest size of a node that has just started and knows only itself and a few peers. Such a
/// node admits a message of any size: the answer to its first SYN may fill a datagram, mostly with
/// states.
const FRESH_DIGEST_BYTES: usize = 500;

/// The counters of the gossip layer, shared with its transport.
#[derive(Debug, Default)]
pub struct GossipCounters {
    pub(super) rejected: AtomicU64,
    pub(super) oversize: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) restarts: AtomicU64,
    pub(super) identities: AtomicU64,
    pub(super) digest_bytes: AtomicU64,
    pub(super) fragmented: AtomicU64,
    pub(super) fragment_warning: FragmentWarning,
    pub(super) send_errors: SendErrors,
}

/// Adds one to a counter.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Decides which messages may reach chitchat.
#[derive(Debug, Default)]
pub(super) struct Admission {
    pub(super) counters: Arc<GossipCounters>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The size of the last SYN that was sent, in bytes: the measured size of this node's digest.
    digest_bytes: usize,
    /// The size of the messages admitted from unknown addresses since that SYN, in bytes.
    unmeasured_bytes: usize,
    /// The gossip addresses of all known identities.
    known: BTreeSet<SocketAddr>,
}

impl Admission {
    pub(super) fn new(counters: Arc<GossipCounters>) -> Self {
        Self {
            counters,
            inner: Mutex::default(),
        }
    }

    /// Returns the size of this node's digest when it was last sent, in bytes.
    pub(super) fn digest_bytes(&self) -> usize {
        self.lock().digest_bytes
    }

    /// Returns whether new nodes are still admitted.
    pub(super) fn is_open(&self) -> bool {
        self.digest_bytes() < DIGEST_CEILING
    }

    /// Sets the gossip addresses of all known identities.
    pub(super) fn set_known(&self, known: BTreeSet<SocketAddr>) {
        self.lock().known = known;
    }

    /// Records the size of a SYN that was sent as the size of the digest.
    pub(super) fn measured(&self, bytes: usize) {
        let mut inner = self.lock();
        inner.digest_bytes = bytes;
        inner.unmeasured_bytes = 0;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.counters.digest_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Returns whether a message of `bytes` bytes may reach chitchat.
    pub(super) fn admits(&self, from: SocketAddr, message: &ChitchatMessage, bytes: usize) -> bool {
        let (is_syn, has_digest) = match message {
            ChitchatMessage::Syn { .. } => (true, true),
            ChitchatMessage::SynAck { .. } => (false, true),
            ChitchatMessage::Ack { .. } | ChitchatMessage::BadCluster => (false, false),
        };
        let mut inner = self.lock();
        if is_syn && inner.digest_bytes >= DIGEST_CRITICAL {
            return false;
        }
        if !has_digest || inner.known.contains(&from) {
            return true;
        }
        let held = inner.digest_bytes + inner.unmeasured_bytes;
        if held > FRESH_DIGEST_BYTES && held + bytes > DIGEST_CEILING {
            return false;
        }
        inner.unmeasured_bytes += bytes;
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // No holder of this lock can panic, and numbers and addresses have no broken state.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transport that admission control protects.
pub(super) struct AdmissionTransport {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) admission: Arc<Admission>,
}

#[async_trait]
impl Transport for AdmissionTransport {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = self.transport.open(listen).await?;
        let admission = Arc::clone(&self.admission);
        Ok(Box::new(AdmissionSocket { socket, admission }))
    }
}

struct AdmissionSocket {
    socket: Box<dyn Socket>,
    admission: Arc<Admission>,
}

#[async_trait]
impl Socket for AdmissionSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.socket.local_addr()
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let is_syn = matches!(envelope.message, ChitchatMessage::Syn { .. });
        let outcome = self.socket.send(to, envelope).await?;
        if is_syn {
            self.admission.measured(outcome.num_bytes_sent);
        }
        Ok(outcome)
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let received = self.socket.recv().await?;
            let bytes = received.num_bytes_received;
            let message = &received.envelope.message;
            if self.admission.admits(received.from_addr, message, bytes) {
                return Ok(received);
            }
            count(&self.admission.counters.refused);
        }
    }
}
