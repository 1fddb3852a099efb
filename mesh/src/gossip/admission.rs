//! The size admission: a decorator around any transport that counts, measures the digest, and shuts
//! the door before the digest outgrows a datagram.
//!
//! Why: every SYN carries the digest of everybody known, and chitchat panics on the next SYN that
//! it answers once the digest leaves no room in its reply. What can be enforced from outside is
//! which messages reach it. Near the ceiling, messages that bring a digest from an address nobody
//! published are dropped, so newcomers stay out; at the brink no SYN is answered at all, and the
//! node goes on gossiping with its own. What cannot be enforced: which identities a *known* peer's
//! digest brings. Should that break chitchat, the supervisor restarts it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{ChitchatEnvelope, ChitchatMessage};

/// The largest payload of a UDP datagram over IPv4, and of a chitchat message.
pub(super) const DATAGRAM_MAX: usize = 65_507;
/// From here on the alarm is raised: 80 % of what a datagram holds.
pub(super) const DIGEST_ALARM: usize = DATAGRAM_MAX / 100 * 80;
/// Here the door is shut for newcomers. The rest of the datagram is for the states themselves.
pub(super) const DIGEST_CEILING: usize = 57_000;
/// Here no SYN is answered any more: beyond, the answer panics. The digest may still grow a little
/// between two measurements.
const DIGEST_BRINK: usize = 62_000;
/// The digest of a node that knows itself and a few peers. It takes any first message: the answer
/// to its SYN may fill a datagram, mostly with states.
const NEWCOMER_BYTES: usize = 500;

/// What the gossip layer and its transport count. Shared by both.
#[derive(Debug, Default)]
pub struct GossipCounters {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) oversize: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) restarts: AtomicU64,
    pub(super) identities: AtomicU64,
    pub(super) digest_bytes: AtomicU64,
}

/// Adds one to a counter.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Knows how near the ceiling is, and who may pass.
#[derive(Debug, Default)]
pub(super) struct Admission {
    pub(super) counters: Arc<GossipCounters>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The size of the last SYN sent: this node's digest, measured.
    digest_bytes: usize,
    /// Digests from strangers that were let in since.
    unmeasured_bytes: usize,
    /// The addresses that identities publish.
    known: BTreeSet<SocketAddr>,
}

impl Admission {
    pub(super) fn new(counters: Arc<GossipCounters>) -> Self {
        Self {
            counters,
            inner: Mutex::default(),
        }
    }

    /// The size of this node's digest when it was last sent, in bytes.
    pub(super) fn digest_bytes(&self) -> usize {
        self.lock().digest_bytes
    }

    /// Whether newcomers are still taken in.
    pub(super) fn is_open(&self) -> bool {
        self.digest_bytes() < DIGEST_CEILING
    }

    /// Sets who is known.
    pub(super) fn set_known(&self, known: BTreeSet<SocketAddr>) {
        self.lock().known = known;
    }

    /// A SYN of `bytes` was made: the digest is measured.
    pub(super) fn measured(&self, bytes: usize) {
        let mut inner = self.lock();
        inner.digest_bytes = bytes;
        inner.unmeasured_bytes = 0;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.counters.digest_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether a message of `bytes` may reach chitchat.
    pub(super) fn admits(&self, from: SocketAddr, message: &ChitchatMessage, bytes: usize) -> bool {
        let (is_syn, has_digest) = match message {
            ChitchatMessage::Syn { .. } => (true, true),
            ChitchatMessage::SynAck { .. } => (false, true),
            ChitchatMessage::Ack { .. } | ChitchatMessage::BadCluster => (false, false),
        };
        let mut inner = self.lock();
        if is_syn && inner.digest_bytes >= DIGEST_BRINK {
            return false;
        }
        if !has_digest || inner.known.contains(&from) {
            return true;
        }
        let held = inner.digest_bytes + inner.unmeasured_bytes;
        if held > NEWCOMER_BYTES && held + bytes > DIGEST_CEILING {
            return false;
        }
        inner.unmeasured_bytes += bytes;
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // No holder of this lock can panic; numbers and addresses have no broken state anyhow.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transport behind the admission.
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
        count(&self.admission.counters.sent);
        if is_syn {
            self.admission.measured(outcome.num_bytes_sent);
        }
        Ok(outcome)
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let received = self.socket.recv().await?;
            count(&self.admission.counters.received);
            let bytes = received.num_bytes_received;
            let message = &received.envelope.message;
            if self.admission.admits(received.from_addr, message, bytes) {
                return Ok(received);
            }
            count(&self.admission.counters.refused);
        }
    }
}
