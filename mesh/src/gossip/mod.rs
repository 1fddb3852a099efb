//! The gossip layer: how a node learns who else is in the mesh. The only code that knows chitchat
//! and tokio.
//!
//! What it gives is a belief, not knowledge. Chitchat promises that what a node publishes reaches
//! everybody some time: within two or three rounds in a healthy network. A dead node is believed
//! live for 5 to 20 s, the views of two nodes differ for as long, and a node that is merely slow
//! may look dead. So views decide whom to ask and in which order; nothing that must be certain
//! rests on them. Reservations are certain, and they are made between two nodes, without gossip.
//!
//! What chitchat lacks and is added here: a goodbye (`supervisor`), one member for each name
//! whatever became of its earlier lives (`view`), a bound on the size of the mesh (`admission`) and
//! of a message (`prefilter`), memory of peers lost to a partition (`rejoin`), and a new start if
//! chitchat dies (`supervisor`).
//!
//! What is deliberately absent: names and DNS (discovery finds addresses and hands them to
//! [`Gossip::join`]), the list of departed nodes (the agent's own), secrecy and authenticity (a
//! transport can add them: it is an argument).

mod admission;
mod instance;
mod observations;
mod prefilter;
mod rejoin;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;
mod udp;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chitchat::transport::Transport;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use admission::GossipCounters;
pub use state::ZONE_LEN_MAX;
pub use udp::UdpTransport;

use crate::{Epoch, NodeName, View};
use supervisor::{Ends, Supervisor};

/// Messages of another cluster are not for us. A label, no secret.
const CLUSTER: &str = "iperf3-mesh";
/// The shortest gossip interval.
pub const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// The longest gossip interval.
pub const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// How long a goodbye takes at most.
pub const GOODBYE_MAX: Duration = Duration::from_millis(1500);
/// How many addresses one [`Gossip::join`] takes.
const JOIN_MAX: usize = 4096;
/// How many of them wait for the supervisor.
const JOINS_WAITING_MAX: usize = 4;

/// What a node says of itself, and how it gossips.
#[derive(Clone, Debug)]
pub struct GossipConfig {
    /// Its name.
    pub name: NodeName,
    /// Its present life.
    pub epoch: Epoch,
    /// Unix time of the start, in seconds. Must rise from life to life of a node; it orders lives
    /// and does nothing else, so clocks need not agree.
    pub generation: u64,
    /// Its zone, at most [`ZONE_LEN_MAX`] bytes, empty if it has none.
    pub zone: String,
    /// Where peers reach its gossip.
    pub advertise: SocketAddr,
    /// Where its gossip listens.
    pub listen: SocketAddr,
    /// Where peers reach its control messages.
    pub control: SocketAddr,
    /// Where it answers the read API, on the address of `control`.
    pub http_port: u16,
    /// The pause between two rounds of gossip, from [`INTERVAL_MIN`] to [`INTERVAL_MAX`]. 1 s
    /// suits up to 300 nodes, 2 s up to 1000: traffic grows with the number of nodes. It is
    /// fixed for a life, as chitchat cannot change it; nodes of one mesh may differ.
    pub interval: Duration,
}

/// Why gossip did not start.
#[derive(Debug, thiserror::Error)]
pub enum GossipError {
    /// Peers could not send anything there.
    #[error(
        "gossip cannot be advertised at {0}: give an address and a port that peers can reach (--advertise-address, --gossip-port)"
    )]
    Advertise(SocketAddr),
    /// The zone would not fit into labels.
    #[error(
        "the zone {0:?} is not a label value: at most {ZONE_LEN_MAX} bytes without blanks (--zone)"
    )]
    Zone(String),
    /// It would gossip without pause, or hardly ever.
    #[error("a gossip interval of {0:?} is not within {INTERVAL_MIN:?} and {INTERVAL_MAX:?}")]
    Interval(Duration),
    /// The transport does not open.
    #[error("gossip cannot listen on {listen}: {reason}")]
    Listen {
        /// Where it should.
        listen: SocketAddr,
        /// What the transport said, with the mend.
        reason: String,
    },
}

/// How gossip is doing: totals since the start, and present sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GossipStatus {
    /// Lives that chitchat knows, dead ones included. Each takes part of the digest.
    pub identities: u64,
    /// The size of this node's digest when it was last sent, in bytes.
    pub digest_bytes: u64,
    /// The size of the digest at which newcomers are refused, in bytes.
    pub digest_bytes_max: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages received, decoded.
    pub received: u64,
    /// Messages that the network would not take.
    pub lost: u64,
    /// Datagrams that were no gossip of this mesh, or could not be decoded.
    pub rejected: u64,
    /// Messages larger than a datagram, or that would become too large when decoded.
    pub oversize: u64,
    /// Messages dropped because the digest has no room left.
    pub refused: u64,
    /// How often chitchat died and was started again.
    pub restarts: u64,
}

/// A running gossip layer. Dropping it falls silent without a goodbye, like a crash.
#[derive(Debug)]
pub struct Gossip {
    views: watch::Receiver<View>,
    failed: watch::Receiver<Option<String>>,
    sweep: watch::Sender<u64>,
    joins: mpsc::Sender<Vec<SocketAddr>>,
    goodbye: oneshot::Sender<()>,
    supervisor: JoinHandle<()>,
    counters: Arc<GossipCounters>,
}

impl Gossip {
    /// Starts gossip over UDP.
    ///
    /// # Errors
    /// If the configuration makes no sense or the port cannot be opened.
    pub async fn over_udp(config: GossipConfig) -> Result<Self, GossipError> {
        let counters = Arc::<GossipCounters>::default();
        let transport = Arc::new(UdpTransport::new(Arc::clone(&counters)));
        Self::start(config, transport, counters).await
    }

    /// Starts gossip over `transport`, which may count into `counters` as the gossip layer does.
    ///
    /// # Errors
    /// If the configuration makes no sense or the transport does not open.
    pub async fn start(
        config: GossipConfig,
        transport: Arc<dyn Transport>,
        counters: Arc<GossipCounters>,
    ) -> Result<Self, GossipError> {
        let id = state::short_id(&config.name);
        Self::start_as(id, config, transport, counters).await
    }

    /// Starts gossip under a given short id.
    async fn start_as(
        id: String,
        config: GossipConfig,
        transport: Arc<dyn Transport>,
        counters: Arc<GossipCounters>,
    ) -> Result<Self, GossipError> {
        check(&config)?;
        let (views_in, views) = watch::channel(View::default());
        let (failed_in, failed) = watch::channel(None);
        let (sweep, sweep_out) = watch::channel(0);
        let (joins, joins_out) = mpsc::channel(JOINS_WAITING_MAX);
        let (goodbye, goodbye_out) = oneshot::channel();
        let ends = Ends {
            views: views_in,
            failed: failed_in,
            sweep: sweep_out,
            joins: joins_out,
            goodbye: goodbye_out,
        };
        let (supervisor, life) =
            Supervisor::start(id, config, transport, Arc::clone(&counters), ends).await?;
        let supervisor = tokio::spawn(supervisor.run(life));
        Ok(Self {
            views,
            failed,
            sweep,
            joins,
            goodbye,
            supervisor,
            counters,
        })
    }

    /// The view, sent again whenever it differs from the one before. Starts empty.
    pub fn views(&self) -> watch::Receiver<View> {
        self.views.clone()
    }

    /// Publishes the sweep that this node works on.
    pub fn publish_sweep(&self, sweep: u64) {
        self.sweep.send_replace(sweep);
    }

    /// Gossips with peers found at `addresses` that are not live already. Cheap, and to be repeated
    /// as long as discovery finds anything: a few addresses are tried each time, what gets lost
    /// is not repeated, and when earlier calls still wait this one does nothing.
    pub fn join(&self, addresses: &[SocketAddr]) {
        let addresses = &addresses[..addresses.len().min(JOIN_MAX)];
        // Full or over: the next call will do.
        let _ = self.joins.try_send(addresses.to_vec());
    }

    /// How gossip is doing.
    pub fn status(&self) -> GossipStatus {
        let counters = &self.counters;
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        GossipStatus {
            identities: load(&counters.identities),
            digest_bytes: load(&counters.digest_bytes),
            digest_bytes_max: admission::DIGEST_CEILING as u64,
            sent: load(&counters.sent),
            received: load(&counters.received),
            lost: load(&counters.lost),
            rejected: load(&counters.rejected),
            oversize: load(&counters.oversize),
            refused: load(&counters.refused),
            restarts: load(&counters.restarts),
        }
    }

    /// Waits until gossip is beyond help, and says why. A death of chitchat alone is not: it is
    /// logged, counted as a restart, and repaired. The agent should exit and let itself be
    /// started anew.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the gossip supervisor ended".to_owned(),
        }
    }

    /// Tells the peers that this node leaves, and falls silent. Takes at most [`GOODBYE_MAX`].
    pub async fn goodbye(mut self) {
        if self.goodbye.send(()).is_ok()
            && timeout(GOODBYE_MAX, &mut self.supervisor).await.is_err()
        {
            self.supervisor.abort();
        }
    }
}

fn check(config: &GossipConfig) -> Result<(), GossipError> {
    if !state::is_reachable(config.advertise) {
        return Err(GossipError::Advertise(config.advertise));
    }
    if !state::zone_is_sane(&config.zone) {
        return Err(GossipError::Zone(config.zone.clone()));
    }
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&config.interval) {
        return Err(GossipError::Interval(config.interval));
    }
    Ok(())
}
