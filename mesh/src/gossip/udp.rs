//! Gossip over UDP, with a check of every datagram before chitchat decodes it.
//!
//! Chitchat's codec is private. Its only public entrance is chitchat's own UDP socket, so each
//! message takes a detour over loopback. The detour gives access to the bytes in both directions,
//! to count and bound them, and later to encrypt them. It costs tens of microseconds per message,
//! for some ten messages a second.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket};
use chitchat::{ChitchatEnvelope, ChitchatMessage, ProtocolVersion};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::admission::{DATAGRAM_MAX, GossipCounters, count};
use super::fragments::is_fragmented;
use super::prefilter::{Rejection, SENTINEL, prefilter};

/// The size of the gossip socket's receive buffer, in bytes. The buffer holds the digests that
/// arrive while the agent is busy. The kernel may grant less.
const RECEIVE_BUFFER: usize = 1 << 20;
/// The maximum time that the codec takes. Loopback delivers a datagram at once or not at all.
const CODEC_TIMEOUT: Duration = Duration::from_millis(500);
/// The minimum time for a receive that continues after its deadline because the process was frozen.
/// It is shorter than any gossip interval, because chitchat cancels its receive in each interval.
const CODEC_TIMEOUT_MIN: Duration = Duration::from_millis(40);
/// The repair of a loopback interface that carries nothing.
const LOOPBACK_REPAIR: &str =
    "; bring it up with `ip link set lo up`, and let the firewall accept what arrives on lo";
const _: () = assert!(CODEC_TIMEOUT_MIN.as_millis() < super::config::INTERVAL_MIN.as_millis());

/// A UDP transport for chitchat that filters incoming datagrams.
#[derive(Debug)]
pub struct UdpTransport {
    counters: Arc<GossipCounters>,
}

impl UdpTransport {
    /// Creates a transport that counts into `counters`.
    pub fn new(counters: Arc<GossipCounters>) -> Self {
        Self { counters }
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
        let codec = Codec::open().await.map_err(|error| no_loopback(&error))?;
        Ok(Box::new(FilteredSocket {
            address: net.local_addr()?,
            net,
            codec,
            buffer: vec![0; DATAGRAM_MAX + 1],
            step: ReceiveStep::Idle,
            broken: None,
            counters: Arc::clone(&self.counters),
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

/// Checks that loopback carries messages, as gossip needs it to.
///
/// # Errors
/// Returns what fails.
pub async fn check_loopback() -> Result<(), String> {
    let codec = Codec::open().await;
    codec.map(drop).map_err(|error| format!("{error:#}"))
}

/// Returns the error of the codec with a hint, as one text: chitchat passes on no chain of causes.
fn no_loopback(error: &anyhow::Error) -> anyhow::Error {
    use io::ErrorKind::{AddrNotAvailable, NetworkUnreachable, PermissionDenied};
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let hint = match kind {
        // A message was lost.
        None | Some(AddrNotAvailable | NetworkUnreachable | PermissionDenied) => LOOPBACK_REPAIR,
        Some(_) => "",
    };
    anyhow!("gossip needs two sockets on the loopback interface{hint}: {error:#}")
}

/// Chitchat's own socket on loopback, and two handles of our socket that faces it.
struct Codec {
    chitchat: UdpSocket,
    address: SocketAddr,
    /// The handle that sends without waiting, so that a cancelled receive leaves no step half done.
    to_decoder: std::net::UdpSocket,
    from_encoder: tokio::net::UdpSocket,
}

impl Codec {
    async fn open() -> anyhow::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let chitchat = UdpSocket::open(any).await?;
        let ours = std::net::UdpSocket::bind(any)?;
        ours.connect(chitchat.local_addr()?)?;
        ours.set_nonblocking(true)?;
        let mut codec = Self {
            chitchat,
            address: ours.local_addr()?,
            to_decoder: ours.try_clone()?,
            from_encoder: tokio::net::UdpSocket::from_std(ours)?,
        };
        codec.check().await?;
        Ok(codec)
    }

    /// Passes a message through the pair in each direction. A loopback interface that is down, or
    /// behind a firewall, lets the sockets open and swallows what they send.
    async fn check(&mut self) -> anyhow::Result<()> {
        let envelope = ChitchatEnvelope {
            version: ProtocolVersion::V1,
            message: ChitchatMessage::BadCluster,
        };
        self.encode(envelope, &mut [0; SENTINEL.len()]).await?;
        self.to_decoder.send(&SENTINEL)?;
        self.decoded(Instant::now() + CODEC_TIMEOUT).await?;
        Ok(())
    }

    /// Encodes a message into `buffer`. Returns `None` if the message does not fit into a datagram.
    async fn encode<'a>(
        &mut self,
        envelope: ChitchatEnvelope,
        buffer: &'a mut [u8],
    ) -> anyhow::Result<Option<&'a [u8]>> {
        match self.chitchat.send(self.address, envelope).await {
            Err(error) if is_too_long(&error) => return Ok(None),
            outcome => outcome?,
        };
        let length = timeout(CODEC_TIMEOUT, self.from_encoder.recv(buffer))
            .await
            .context("loopback lost an outgoing gossip message")??;
        Ok(Some(&buffer[..length]))
    }

    /// Sends `datagram` to the decoder, followed by a sentinel. If the decoder cannot decode the
    /// datagram, it skips it, and the sentinel comes out first.
    fn feed(&self, datagram: &[u8]) -> io::Result<()> {
        self.to_decoder.send(datagram)?;
        self.to_decoder.send(&SENTINEL)?;
        Ok(())
    }

    /// Returns the next message out of the decoder. Cancel-safe.
    async fn decoded(&mut self, deadline: Instant) -> anyhow::Result<Decoded> {
        let deadline = deadline.max(Instant::now() + CODEC_TIMEOUT_MIN);
        loop {
            let outcome = timeout_at(deadline, self.chitchat.recv())
                .await
                .context("loopback lost an incoming gossip message")??;
            // Other processes on this host can reach the decoder's port, too.
            if outcome.from_addr != self.address {
                continue;
            }
            return Ok(match outcome.envelope.message {
                ChitchatMessage::BadCluster => Decoded::Sentinel,
                _ => Decoded::Message(outcome.envelope),
            });
        }
    }
}

enum Decoded {
    Message(ChitchatEnvelope),
    Sentinel,
}

fn is_too_long(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.raw_os_error() == Some(libc::EMSGSIZE))
}

/// The progress of receiving a datagram. A receive may be cancelled at every await; the next one
/// continues from here.
#[derive(Clone, Copy)]
enum ReceiveStep {
    Idle,
    Decoding {
        from: SocketAddr,
        bytes: usize,
        deadline: Instant,
    },
    AwaitingSentinel {
        deadline: Instant,
    },
}

struct FilteredSocket {
    net: tokio::net::UdpSocket,
    address: SocketAddr,
    codec: Codec,
    buffer: Vec<u8>,
    step: ReceiveStep,
    /// The failure of a send that ends this socket. Chitchat ends only if a receive fails.
    broken: Option<anyhow::Error>,
    counters: Arc<GossipCounters>,
}

impl FilteredSocket {
    /// Sends one encoded message, and counts what goes wrong on its way.
    async fn send_datagram(&self, bytes: &[u8], to: SocketAddr) {
        if is_fragmented(bytes.len(), self.address.ip(), to) {
            count(&self.counters.fragmented);
            self.counters.fragment_warning.log(bytes.len(), to);
        }
        let errors = &self.counters.send_errors;
        match self.net.send_to(bytes, to).await {
            Ok(_) => errors.sent(),
            Err(error) => errors.failed(to, &error, Instant::now()),
        }
    }

    /// Returns the next message out of the decoder.
    async fn decoded(&mut self, deadline: Instant) -> anyhow::Result<Decoded> {
        let decoded = self.codec.decoded(deadline).await;
        decoded.map_err(|error| no_loopback(&error))
    }

    /// Receives one datagram, and feeds it to the decoder if it passes the prefilter.
    async fn receive_datagram(&mut self) -> anyhow::Result<()> {
        let (bytes, from) = match self.net.recv_from(&mut self.buffer).await {
            Ok(received) => received,
            Err(error) if is_transient(&error) => return Ok(()),
            Err(error) => return Err(error).context("cannot receive from the gossip socket"),
        };
        match prefilter(&self.buffer[..bytes]) {
            Ok(()) => {
                let deadline = Instant::now() + CODEC_TIMEOUT;
                let fed = self.codec.feed(&self.buffer[..bytes]);
                fed.map_err(|error| no_loopback(&error.into()))?;
                self.step = ReceiveStep::Decoding {
                    from,
                    bytes,
                    deadline,
                };
            }
            Err(Rejection::Oversize) => count(&self.counters.oversize),
            Err(Rejection::Foreign) => count(&self.counters.rejected),
        }
        Ok(())
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
impl Socket for FilteredSocket {
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
        if self.broken.is_some() {
            bail!("gossip is about to restart");
        }
        let mut buffer = vec![0; DATAGRAM_MAX];
        let encoded = match self.codec.encode(envelope, &mut buffer).await {
            Ok(encoded) => encoded,
            Err(error) => {
                self.broken = Some(no_loopback(&error));
                return Err(error);
            }
        };
        let Some(bytes) = encoded else {
            count(&self.counters.oversize);
            // The minimum size that the message can have; admission control needs this number.
            let num_bytes_sent = DATAGRAM_MAX + 1;
            return Ok(SendOutcome { num_bytes_sent });
        };
        self.send_datagram(bytes, to).await;
        let num_bytes_sent = bytes.len();
        Ok(SendOutcome { num_bytes_sent })
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        loop {
            match self.step {
                ReceiveStep::Idle => self.receive_datagram().await?,
                ReceiveStep::Decoding {
                    from,
                    bytes,
                    deadline,
                } => match self.decoded(deadline).await? {
                    Decoded::Message(envelope) => {
                        self.step = ReceiveStep::AwaitingSentinel { deadline };
                        return Ok(RecvOutcome {
                            from_addr: from,
                            envelope,
                            num_bytes_received: bytes,
                        });
                    }
                    Decoded::Sentinel => {
                        count(&self.counters.rejected);
                        self.step = ReceiveStep::Idle;
                    }
                },
                ReceiveStep::AwaitingSentinel { deadline } => {
                    self.decoded(deadline).await?;
                    self.step = ReceiveStep::Idle;
                }
            }
        }
    }
}
