//! Gossip over UDP. Each datagram is read, bounded and written again before chitchat decodes it.
//!
//! A datagram passes these checks, the cheapest first: its outer form, whether it is awaited, the
//! budget, its limits, and the roster. Whatever is refused is counted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{ChitchatEnvelope, ChitchatMessage};
use tokio::time::Instant;
use tracing::debug;

use super::budget::DecodeBudget;
use super::exchanges::Exchanges;
use super::fragments::is_fragmented;
use super::frame::{Entry, Frame, Kind, Packed, Unpacker};
use super::rejections::Rejection;
use super::roster::Own;
use super::shared::{GossipShared, count};

/// The largest payload of a UDP datagram over IPv4, and of a chitchat message.
pub(super) const DATAGRAM_MAX: usize = 65_507;
/// The size of the gossip socket's receive buffer, in bytes. The buffer holds the digests that
/// arrive while the agent is busy. The kernel may grant less.
const RECEIVE_BUFFER: usize = 1 << 20;
/// The size of a digest entry once decompressed, in bytes: the work of an answer for each identity.
const ENTRY: usize = 43;

/// A UDP transport for chitchat that screens incoming datagrams.
#[derive(Debug)]
pub struct UdpTransport {
    shared: Arc<GossipShared>,
}

impl UdpTransport {
    /// Creates a transport for the gossip layer that has `shared`.
    pub fn new(shared: Arc<GossipShared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl Transport for UdpTransport {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let net = tokio::net::UdpSocket::bind(listen).await.map_err(|error| {
            let hint = bind_hint(&error, listen.ip(), "--gossip-port (MESH_GOSSIP_PORT)");
            anyhow!(error).context(hint)
        })?;
        // The default buffer is enough for small meshes, and gossip repeats lost messages.
        if let Err(error) = socket2::SockRef::from(&net).set_recv_buffer_size(RECEIVE_BUFFER) {
            debug!(%error, "cannot enlarge the receive buffer of gossip; keeping the default");
        }
        Ok(Box::new(ScreenedSocket {
            address: net.local_addr()?,
            net,
            buffer: vec![0; DATAGRAM_MAX + 1],
            screen: Screen::new(Arc::clone(&self.shared), Instant::now())?,
        }))
    }
}

/// Returns a hint on how to fix a failed bind to `ip` of a port that `option` sets.
pub fn bind_hint(error: &io::Error, ip: IpAddr, option: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => format!(
            "{ip} is not an address of this host; set --advertise-address \
             (MESH_ADVERTISE_ADDRESS) to one that is"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "choose a port from 1024 on with {option}, or grant CAP_NET_BIND_SERVICE to this \
             program"
        ),
        io::ErrorKind::AddrInUse => format!(
            "choose another port with {option}, or stop the process that uses it (`ss -lntup` \
             shows it)"
        ),
        _ => format!("choose another port with {option}"),
    }
}

/// Decides what passes between the network and chitchat.
pub(super) struct Screen {
    shared: Arc<GossipShared>,
    unpacker: Unpacker,
    budget: DecodeBudget,
    exchanges: Exchanges,
    /// The sender of the last SYN, if the SYN has an entry for its sender.
    introduced: Option<SocketAddr>,
}

impl Screen {
    pub(super) fn new(shared: Arc<GossipShared>, now: Instant) -> io::Result<Self> {
        Ok(Self {
            shared,
            unpacker: Unpacker::new()?,
            budget: DecodeBudget::new(now),
            exchanges: Exchanges::new(now),
            introduced: None,
        })
    }

    /// Returns the message for chitchat that a datagram stands for.
    pub(super) fn receive(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
    ) -> Option<ChitchatEnvelope> {
        let message = self.read(datagram, from, now);
        if let Err(reason) = message {
            self.shared.rejections.count(reason, from, now);
        }
        message.ok()
    }

    fn read(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
    ) -> Result<ChitchatEnvelope, Rejection> {
        let packed = Packed::read(datagram)?;
        if !self.exchanges.awaits(packed.kind, from, now) {
            return Err(Rejection::Unsolicited);
        }
        let roster = &self.shared.roster;
        let is_known = packed.kind == Kind::SynAck || roster.knows(from).is_some();
        if !self.budget.has_room(from.ip(), is_known, now) {
            return Err(Rejection::Budget);
        }
        let answer = match packed.kind {
            Kind::Syn | Kind::SynAck => roster.len() * ENTRY,
            Kind::Ack => 0,
        };
        let unpacked = packed.unpack(&mut self.unpacker);
        let bytes = unpacked
            .as_ref()
            .map_or(packed.unpacked_max(), |unpacked| unpacked.bytes());
        let cost = datagram.len() + bytes + answer;
        self.budget.spend(from.ip(), is_known, cost, now);
        let unpacked = unpacked?;
        let (mut frame, is_cut) = unpacked.read(roster.ids_max())?;
        let mut omissions = roster.screen(&mut frame, from);
        omissions.extend(is_cut.then_some(Rejection::Invalid));
        for reason in omissions {
            self.shared.rejections.count(reason, from, now);
        }
        if packed.kind == Kind::Syn {
            let is_own = |entry: &Entry| entry.id.address == from;
            self.introduced = frame.digest().iter().any(is_own).then_some(from);
        }
        ChitchatEnvelope::deserialize(&mut &frame.write()[..]).map_err(|_| Rejection::Malformed)
    }

    /// Returns the datagram to send for a message of chitchat, if any.
    pub(super) fn send(
        &mut self,
        envelope: &ChitchatEnvelope,
        to: SocketAddr,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let kind = match envelope.message {
            ChitchatMessage::Syn { .. } => Kind::Syn,
            ChitchatMessage::SynAck { .. } => Kind::SynAck,
            ChitchatMessage::Ack { .. } => Kind::Ack,
            // A message of another mesh does not reach chitchat.
            ChitchatMessage::BadCluster => return None,
        };
        let mut bytes = Vec::new();
        envelope.serialize(&mut bytes);
        if kind == Kind::Syn {
            self.shared.roster.measured(bytes.len());
        } else {
            bytes = self.answer(bytes, kind, to, now)?;
        }
        if bytes.len() > DATAGRAM_MAX {
            self.shared.rejections.count(Rejection::Oversize, to, now);
            return None;
        }
        self.exchanges.sent(kind, to, now);
        Some(bytes)
    }

    /// Returns the answer that `to` may get instead of `whole`, if any.
    fn answer(
        &mut self,
        whole: Vec<u8>,
        kind: Kind,
        to: SocketAddr,
        now: Instant,
    ) -> Option<Vec<u8>> {
        // An ACK goes to a node that this node has asked.
        let is_live = match (self.shared.roster.knows(to), kind) {
            (None, Kind::Ack) => Some(false),
            (known, _) => known,
        };
        if let Some(is_live) = is_live {
            if self.exchanges.may_answer(to, is_live, whole.len(), now) {
                return Some(whole);
            }
            self.shared.rejections.count(Rejection::Answer, to, now);
        }
        let is_introduced = self.introduced == Some(to);
        let Own {
            id,
            heartbeat,
            version,
        } = self.shared.roster.own()?;
        let own = Entry {
            id,
            heartbeat,
            version,
        };
        (kind == Kind::SynAck && is_introduced)
            .then(|| Frame::SynAck(vec![own], Vec::new()).write())
    }
}

struct ScreenedSocket {
    net: tokio::net::UdpSocket,
    address: SocketAddr,
    buffer: Vec<u8>,
    screen: Screen,
}

/// Returns whether the error concerns one datagram, not the socket.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, OutOfMemory};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | Interrupted | OutOfMemory
    )
}

#[async_trait]
impl Socket for ScreenedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.address)
    }

    /// Sends a datagram. One that cannot be sent counts as lost in the network; that is not an
    /// error.
    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let bytes = self.screen.send(&envelope, to, Instant::now());
        let bytes = bytes.unwrap_or_default();
        let num_bytes_sent = bytes.len();
        if num_bytes_sent == 0 {
            return Ok(SendOutcome { num_bytes_sent });
        }
        let shared = &self.screen.shared;
        if is_fragmented(bytes.len(), self.address.ip(), to) {
            count(&shared.fragmented);
            shared.fragment_warning.log(bytes.len(), to);
        }
        match self.net.send_to(&bytes, to).await {
            Ok(_) => shared.send_errors.sent(),
            Err(error) => shared.send_errors.failed(to, &error, Instant::now()),
        }
        Ok(SendOutcome { num_bytes_sent })
    }

    /// Receives the next message for chitchat. Cancel-safe.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let (bytes, from_addr) = match self.net.recv_from(&mut self.buffer).await {
                Ok(received) => received,
                Err(error) if is_transient(&error) => continue,
                Err(error) => return Err(error).context("cannot receive from the gossip socket"),
            };
            let datagram = &self.buffer[..bytes];
            if let Some(envelope) = self.screen.receive(datagram, from_addr, Instant::now()) {
                return Ok(RecvOutcome {
                    from_addr,
                    envelope,
                    num_bytes_received: bytes,
                });
            }
        }
    }
}
