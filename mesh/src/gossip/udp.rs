//! Gossip over UDP, every datagram screened before chitchat decodes it.
//!
//! Chitchat keeps its codec to itself. The one way to it through public API is chitchat's own UDP
//! socket, so each message takes a detour over loopback: its bytes are in hand on both ways, to be
//! counted, bounded, and one day sealed. It costs tens of microseconds for some ten messages a
//! second.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpSocket};
use chitchat::{ChitchatEnvelope, ChitchatMessage};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::admission::{DATAGRAM_MAX, GossipCounters, count};
use super::prefilter::{Rejection, SENTINEL, prefilter};

/// Room for the digests that arrive while the agent is busy. The kernel's own limit may grant less.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Loopback hands a datagram over at once. Later means that it never will.
const DETOUR_MAX: Duration = Duration::from_millis(500);
/// A receipt that goes on after its deadline, in a process that was frozen, still gets so long.
/// Shorter than any gossip interval, since chitchat cancels a receipt at each.
const DETOUR_REST: Duration = Duration::from_millis(40);
const _: () = assert!(DETOUR_REST.as_millis() < super::INTERVAL_MIN.as_millis());

/// Chitchat's transport over UDP, counting into the counters that it is made with.
#[derive(Debug)]
pub struct UdpTransport {
    counters: Arc<GossipCounters>,
}

impl UdpTransport {
    /// A transport that counts into `counters`.
    pub fn new(counters: Arc<GossipCounters>) -> Self {
        Self { counters }
    }
}

#[async_trait]
impl Transport for UdpTransport {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let net = tokio::net::UdpSocket::bind(listen)
            .await
            .with_context(|| format!("the UDP port {listen} is not to be had: free it or choose another with --gossip-port (MESH_GOSSIP_PORT)"))?;
        // What the kernel grants is enough for small meshes; gossip repeats what gets lost.
        if let Err(error) = socket2::SockRef::from(&net).set_recv_buffer_size(RECEIVE_BUFFER) {
            debug!(%error, "gossip keeps the default receive buffer");
        }
        let codec = Codec::open()
            .await
            .context("gossip needs the loopback interface: bring it up with `ip link set lo up`")?;
        Ok(Box::new(ScreenedSocket {
            net,
            codec,
            buffer: vec![0; DATAGRAM_MAX + 1],
            step: Step::Idle,
            counters: Arc::clone(&self.counters),
        }))
    }
}

/// Chitchat's own socket on loopback, and the two ends of ours that face it.
struct Codec {
    chitchat: UdpSocket,
    address: SocketAddr,
    /// Sends without waiting, so that no cancelled receive leaves half a step behind.
    feed: std::net::UdpSocket,
    encoded: tokio::net::UdpSocket,
}

impl Codec {
    async fn open() -> anyhow::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let chitchat = UdpSocket::open(any).await?;
        let ours = std::net::UdpSocket::bind(any)?;
        ours.connect(chitchat.local_addr()?)?;
        ours.set_nonblocking(true)?;
        Ok(Self {
            chitchat,
            address: ours.local_addr()?,
            feed: ours.try_clone()?,
            encoded: tokio::net::UdpSocket::from_std(ours)?,
        })
    }

    /// The bytes of a message, written into `buffer`. None if it does not fit a datagram.
    async fn encode<'a>(
        &mut self,
        envelope: ChitchatEnvelope,
        buffer: &'a mut [u8],
    ) -> anyhow::Result<Option<&'a [u8]>> {
        match self.chitchat.send(self.address, envelope).await {
            Err(error) if is_too_long(&error) => return Ok(None),
            outcome => outcome?,
        };
        let length = timeout(DETOUR_MAX, self.encoded.recv(buffer))
            .await
            .context("loopback lost an outgoing gossip message")??;
        Ok(Some(&buffer[..length]))
    }

    /// Gives `datagram` to the decoder, and a fence behind it: the decoder passes over what it
    /// cannot read, and the fence is then the first to come out.
    fn feed(&self, datagram: &[u8]) -> io::Result<()> {
        self.feed.send(datagram)?;
        self.feed.send(&SENTINEL)?;
        Ok(())
    }

    /// The next message out of the decoder. May be cancelled.
    async fn decoded(&mut self, deadline: Instant) -> anyhow::Result<Decoded> {
        let deadline = deadline.max(Instant::now() + DETOUR_REST);
        loop {
            let outcome = timeout_at(deadline, self.chitchat.recv())
                .await
                .context("loopback lost an incoming gossip message")??;
            // Others on this machine can reach the decoder's port too.
            if outcome.from_addr != self.address {
                continue;
            }
            return Ok(match outcome.envelope.message {
                ChitchatMessage::BadCluster => Decoded::Fence,
                _ => Decoded::Message(outcome.envelope),
            });
        }
    }
}

enum Decoded {
    Message(ChitchatEnvelope),
    Fence,
}

fn is_too_long(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.raw_os_error() == Some(EMSGSIZE))
}

/// "Message too long" on Linux.
const EMSGSIZE: i32 = 90;

/// How far the receipt of a datagram has got: it may be cancelled at every wait and goes on from
/// here.
#[derive(Clone, Copy)]
enum Step {
    Idle,
    Decoding {
        from: SocketAddr,
        bytes: usize,
        deadline: Instant,
    },
    Fence {
        deadline: Instant,
    },
}

struct ScreenedSocket {
    net: tokio::net::UdpSocket,
    codec: Codec,
    buffer: Vec<u8>,
    step: Step,
    counters: Arc<GossipCounters>,
}

impl ScreenedSocket {
    /// Receives one datagram and gives it to the decoder if it passes the prefilter.
    async fn take_in(&mut self) -> anyhow::Result<()> {
        let (bytes, from) = match self.net.recv_from(&mut self.buffer).await {
            Ok(received) => received,
            Err(error) if is_passing(&error) => return Ok(()),
            Err(error) => return Err(error).context("the gossip socket is broken"),
        };
        match prefilter(&self.buffer[..bytes]) {
            Ok(()) => {
                let deadline = Instant::now() + DETOUR_MAX;
                self.codec.feed(&self.buffer[..bytes])?;
                self.step = Step::Decoding {
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

/// Errors that say nothing of the socket itself.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, OutOfMemory};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | Interrupted | OutOfMemory
    )
}

#[async_trait]
impl Socket for ScreenedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.net.local_addr().map_err(|error| anyhow!(error))
    }

    /// A datagram that cannot be sent is a lost datagram: counted, and no error.
    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        let mut buffer = vec![0; DATAGRAM_MAX];
        let Some(bytes) = self.codec.encode(envelope, &mut buffer).await? else {
            count(&self.counters.oversize);
            // The least that it can have been, which is what the admission is to know.
            let num_bytes_sent = DATAGRAM_MAX + 1;
            return Ok(SendOutcome { num_bytes_sent });
        };
        if let Err(error) = self.net.send_to(bytes, to).await {
            count(&self.counters.lost);
            debug!(%to, %error, "a gossip message was not sent");
        }
        let num_bytes_sent = bytes.len();
        Ok(SendOutcome { num_bytes_sent })
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            match self.step {
                Step::Idle => self.take_in().await?,
                Step::Decoding {
                    from,
                    bytes,
                    deadline,
                } => match self.codec.decoded(deadline).await? {
                    Decoded::Message(envelope) => {
                        self.step = Step::Fence { deadline };
                        return Ok(RecvOutcome {
                            from_addr: from,
                            envelope,
                            num_bytes_received: bytes,
                        });
                    }
                    Decoded::Fence => {
                        count(&self.counters.rejected);
                        self.step = Step::Idle;
                    }
                },
                Step::Fence { deadline } => {
                    self.codec.decoded(deadline).await?;
                    self.step = Step::Idle;
                }
            }
        }
    }
}
