//! Gossip over UDP. Each datagram is read, bounded and written again before chitchat decodes it.
//!
//! A datagram passes these checks: its source, its seal, its outer form with the size that it
//! tells, whether it is awaited, the budget, its content, and the roster. Whatever is refused is
//! counted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{ChitchatEnvelope, ChitchatMessage};
use tokio::time::Instant;
use tracing::debug;

use super::believed::Delivery;
use super::budget::DecodeBudget;
use super::exchanges::Exchanges;
use super::fragments::is_fragmented;
use super::frame::{Entry, Frame, with_entry};
use super::packed::{Kind, Packed, Unpacked, Unpacker};
use super::rejections::Rejection;
use super::roster::Own;
use super::sealed::Opened;
use super::shared::{GossipShared, count};
use crate::seal::Life;

/// The largest payload of a UDP datagram over IPv4, and of a chitchat message.
pub(super) const DATAGRAM_MAX: usize = 65_507;
/// The size of the gossip socket's receive buffer, in bytes. The buffer holds the digests that
/// arrive while the agent is busy. The kernel may grant less.
const RECEIVE_BUFFER: usize = 1 << 20;
/// The size of a digest entry once decompressed, in bytes: the work of an answer for each identity.
const ENTRY: usize = 43;
/// The entries in a full digest besides those of the other identities: of the sender, and of the
/// receiver once more, see [`Screen::follow`].
const OF_ENDS: usize = 2;
/// The maximum number of entries of the receiver in a digest: that of chitchat, and that of
/// [`Screen::follow`]. With more, a message could try many challenges at once.
const OWN_ENTRIES_MAX: usize = 2;

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
    /// The last SYN of chitchat, to repeat it once the receiver has introduced itself.
    syn: Vec<u8>,
}

/// The result of a datagram.
#[derive(Debug)]
pub(super) enum Received {
    /// A message for chitchat.
    Message(ChitchatEnvelope),
    /// Datagrams to send back, which need no chitchat.
    Reply(Vec<Vec<u8>>),
}

impl Screen {
    pub(super) fn new(shared: Arc<GossipShared>, now: Instant) -> io::Result<Self> {
        Ok(Self {
            shared,
            unpacker: Unpacker::new()?,
            budget: DecodeBudget::new(now),
            exchanges: Exchanges::new(now),
            syn: Vec::new(),
        })
    }

    /// Returns what a datagram leads to, if anything.
    pub(super) fn receive(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
    ) -> Option<Received> {
        match self.open(datagram, from, now) {
            Ok(received) => received,
            Err(reason) => {
                self.shared.rejections.count(reason, from, now);
                None
            }
        }
    }

    fn open(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
    ) -> Result<Option<Received>, Rejection> {
        let shared = Arc::clone(&self.shared);
        if shared.roster.refuses(from.ip()) {
            return Err(Rejection::Address);
        }
        let is_known = shared.roster.is_member(from);
        match shared.sealed.open(datagram, from, is_known, now)? {
            Opened::Message(message, life) => self.read(&message, life, from, now),
            Opened::Answer(datagrams) => Ok(Some(Received::Reply(datagrams))),
            Opened::Nothing => Ok(None),
        }
    }

    fn read(
        &mut self,
        message: &[u8],
        life: Option<Life>,
        from: SocketAddr,
        now: Instant,
    ) -> Result<Option<Received>, Rejection> {
        let shared = Arc::clone(&self.shared);
        let roster = &shared.roster;
        let packed = Packed::read(message, &shared.mesh)?;
        let is_awaited = match packed.kind {
            Kind::Syn => true,
            Kind::SynAck => self.exchanges.awaits(from, now),
            Kind::Ack => roster.awaits(from, now),
        };
        if !is_awaited {
            return Err(Rejection::Unsolicited);
        }
        let unpacked = self.unpack(&packed, message.len(), from, now)?;
        let (mut frame, is_cut) = unpacked.read(roster.ids_max() + OF_ENDS)?;
        if life.is_some_and(|life| !frame.may_be_of(life, from)) {
            return Err(Rejection::OtherLife);
        }
        let Some(own) = roster.own() else {
            return Ok(None);
        };
        let digest = frame.digest();
        let is_own = |entry: &&Entry| entry.id == own.id;
        if digest.iter().filter(is_own).count() > OWN_ENTRIES_MAX {
            return Err(Rejection::Malformed);
        }
        let is_proof = self.exchanges.is_proof(digest, own, from, now);
        roster.hear(&frame, from, is_proof, now);
        let must_prove = roster.must_prove(from);
        let is_alone = digest.iter().all(|entry| entry.id.address == from);
        let is_introduction = frame.is_introduction(own.id, from);
        match &frame {
            Frame::Syn(digest) if must_prove || (is_alone && !digest.is_empty()) => {
                return self.introduce(own, digest, from, now).map(Some);
            }
            Frame::SynAck(digest, _) if is_introduction => {
                return Ok(self.follow(own, digest, from, now));
            }
            Frame::SynAck(..) if must_prove => return Err(Rejection::Unsolicited),
            _ => {}
        }
        let delivery = Delivery {
            mesh: &shared.mesh,
            from,
            life,
            admits_unsigned: shared.sealed.admits_unsealed(),
        };
        let mut omissions = roster.screen(&mut frame, delivery, now);
        omissions.extend(is_cut.then_some(Rejection::Invalid));
        for reason in omissions {
            shared.rejections.count(reason, from, now);
        }
        let envelope = ChitchatEnvelope::deserialize(&mut &frame.write(&shared.mesh)[..]);
        let envelope = envelope.map_err(|_| Rejection::Malformed)?;
        Ok(Some(Received::Message(envelope)))
    }

    /// Decompresses a message, if the budget allows it.
    fn unpack(
        &mut self,
        packed: &Packed<'_>,
        length: usize,
        from: SocketAddr,
        now: Instant,
    ) -> Result<Unpacked, Rejection> {
        let roster = &self.shared.roster;
        let is_known = packed.kind == Kind::SynAck || roster.is_member(from);
        let identities = roster.len();
        let is_answered = packed.kind != Kind::Ack && roster.is_proven(from);
        let answer = if is_answered { identities * ENTRY } else { 0 };
        let cost = length + packed.unpacked_bytes + answer;
        let budget = &mut self.budget;
        let has_room = if is_known {
            budget.take_known(from.ip(), cost, identities, now)
        } else {
            budget.take_strange(from.ip(), cost, now)
        };
        if !has_room {
            return Err(Rejection::Budget);
        }
        packed.unpack(&mut self.unpacker)
    }

    /// Answers a SYN with the own identity and the sender's, and with nothing else.
    fn introduce(
        &self,
        own: Own,
        digest: &[Entry],
        from: SocketAddr,
        now: Instant,
    ) -> Result<Received, Rejection> {
        let sender = digest.iter().find(|entry| entry.id.address == from);
        let sender = sender.ok_or(Rejection::Source)?;
        let challenge = self.exchanges.challenge(own, from, now);
        let frame = Frame::SynAck(vec![challenge, sender.unread()], Vec::new());
        Ok(self.reply(frame.write(&self.shared.mesh), from, now))
    }

    fn reply(&self, message: Vec<u8>, to: SocketAddr, now: Instant) -> Received {
        Received::Reply(self.shared.sealed.seal(message, to, now))
    }

    /// Answers an introduction with a SYN that repeats its challenge: the whole digest if the
    /// sender has proven its return path by it, otherwise only the two identities.
    fn follow(
        &mut self,
        own: Own,
        digest: &[Entry],
        from: SocketAddr,
        now: Instant,
    ) -> Option<Received> {
        let sender = digest.iter().find(|entry| entry.id.address == from)?;
        if !self.exchanges.may_follow(from, now) {
            return None;
        }
        let must_prove = self.shared.roster.must_prove(from);
        let whole =
            (!must_prove).then(|| with_entry(&self.syn, &sender.unread(), &self.shared.mesh));
        let syn = whole.flatten().unwrap_or_else(|| {
            let challenge = self.exchanges.challenge(own, from, now);
            Frame::Syn(vec![challenge, sender.unread()]).write(&self.shared.mesh)
        });
        Some(self.reply(syn, from, now))
    }

    /// Returns the datagrams to send for a message of chitchat.
    pub(super) fn send(
        &mut self,
        envelope: &ChitchatEnvelope,
        to: SocketAddr,
        now: Instant,
    ) -> Vec<Vec<u8>> {
        let message = self.write(envelope, to, now);
        let sealed = message.map(|message| self.shared.sealed.seal(message, to, now));
        sealed.unwrap_or_default()
    }

    /// Returns what to send for a message of chitchat, if anything.
    fn write(
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
        let shared = Arc::clone(&self.shared);
        let roster = &shared.roster;
        if kind == Kind::Syn {
            roster.measured(bytes.len());
            self.exchanges.asked(to, now);
            self.syn.clone_from(&bytes);
            if roster.must_prove(to) {
                bytes = self.probe(to, now)?;
            }
        } else {
            // An ACK goes to a node that this node has asked.
            let is_live = roster.is_member(to);
            let may_answer =
                roster.is_proven(to) && self.exchanges.may_answer(to, is_live, bytes.len(), now);
            if !may_answer {
                shared.rejections.count(Rejection::Answer, to, now);
                return None;
            }
        }
        if bytes.len() > DATAGRAM_MAX {
            shared.rejections.count(Rejection::Oversize, to, now);
            return None;
        }
        if kind == Kind::SynAck {
            roster.answered(to, now);
        }
        Some(bytes)
    }

    /// Returns a SYN with nothing but a challenge.
    fn probe(&self, to: SocketAddr, now: Instant) -> Option<Vec<u8>> {
        let own = self.shared.roster.own()?;
        let challenge = self.exchanges.challenge(own, to, now);
        Some(Frame::Syn(vec![challenge]).write(&self.shared.mesh))
    }
}

struct ScreenedSocket {
    net: tokio::net::UdpSocket,
    address: SocketAddr,
    buffer: Vec<u8>,
    screen: Screen,
}

impl ScreenedSocket {
    /// Counts a datagram of `bytes` that was sent, or not.
    fn note(&self, bytes: usize, to: SocketAddr, sent: io::Result<usize>) {
        let shared = &self.screen.shared;
        if is_fragmented(bytes, self.address.ip(), to) {
            count(&shared.fragmented);
            shared.fragment_warning.log(bytes, to);
        }
        match sent {
            Ok(_) => shared.send_errors.sent(),
            Err(error) => shared.send_errors.failed(to, &error, Instant::now()),
        }
    }
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

    /// Sends a message. A datagram that cannot be sent counts as lost in the network; that is not
    /// an error.
    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let mut num_bytes_sent = 0;
        for datagram in self.screen.send(&envelope, to, Instant::now()) {
            num_bytes_sent += datagram.len();
            let sent = self.net.send_to(&datagram, to).await;
            self.note(datagram.len(), to, sent);
        }
        Ok(SendOutcome { num_bytes_sent })
    }

    /// Receives the next message for chitchat. Cancel-safe: it waits only for the first byte of a
    /// datagram, and what has been read is passed on without waiting.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            let (bytes, from_addr) = match self.net.recv_from(&mut self.buffer).await {
                Ok(received) => received,
                Err(error) if is_transient(&error) => continue,
                Err(error) => return Err(error).context("cannot receive from the gossip socket"),
            };
            let datagram = &self.buffer[..bytes];
            match self.screen.receive(datagram, from_addr, Instant::now()) {
                Some(Received::Message(envelope)) => {
                    return Ok(RecvOutcome {
                        from_addr,
                        envelope,
                        num_bytes_received: bytes,
                    });
                }
                // It waits for nothing: a datagram that cannot be sent at once counts as lost.
                Some(Received::Reply(datagrams)) => {
                    for datagram in datagrams {
                        let sent = self.net.try_send_to(&datagram, from_addr);
                        self.note(datagram.len(), from_addr, sent);
                    }
                }
                None => {}
            }
        }
    }
}
