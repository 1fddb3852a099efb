//! The gossip layer: how a node learns which other nodes are in the mesh. This is the only module
//! of this crate that depends on chitchat and tokio.
//!
//! A view is a belief, not knowledge. Chitchat is eventually consistent: in a healthy network, what
//! a node publishes reaches every other node within two or three rounds. A dead node is believed
//! live for 5 to 20 s, the views of two nodes differ for as long, and a slow node may look dead.
//! Views therefore decide only which peer to ask, and in which order; nothing that must be certain
//! rests on them. Reservations are certain, and two nodes make them without gossip.
//!
//! This layer adds what chitchat lacks: a goodbye and a restart after a failure (`supervisor`), one
//! member per name however many identities that name has had (`view`), a bound on the size of the
//! mesh (`admission`) and of a message (`prefilter`), and a memory of peers lost to a partition
//! (`rejoin`).
//!
//! # Robustness, not security
//!
//! `prefilter`, `admission` and the restarts protect the agent from accidents and broken peers:
//! stray datagrams, truncated messages, a mesh that outgrows a datagram, two agents with one
//! identity. They do not keep out an attacker: anyone that reaches the gossip port can publish
//! members. Two gaps of chitchat 0.13 make these protections necessary. A fix of both gaps upstream
//! would make most of them superfluous:
//!
//! - Its codec is private (`ChitchatEnvelope::{serialize, deserialize}` are `pub(crate)`) and
//!   decompresses without a bound. So `prefilter` parses the outer form of a datagram itself, and
//!   `udp` reaches the codec through a socket on loopback.
//! - It panics when it answers a SYN while its own digest leaves no room for the reply in a
//!   datagram. So `admission` bounds the digest, and `supervisor` restarts chitchat.
//!
//! # Not in this layer
//!
//! This layer leaves out names and DNS (discovery finds addresses and passes them to
//! [`Gossip::join`]), the list of departed nodes (the agent keeps its own), and secrecy and
//! authenticity (a transport, which is an argument, can add them).

mod admission;
mod config;
mod fragments;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod instance;
mod observations;
mod prefilter;
mod rejoin;
mod send_errors;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;
mod traffic;
mod udp;
mod view;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chitchat::transport::Transport;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub use admission::GossipCounters;
pub use config::{GOODBYE_MAX, GossipConfig, GossipError, INTERVAL_MAX, INTERVAL_MIN};
pub use send_errors::{SendError, SendErrorTotals};
pub use state::{ZONE_LEN_MAX, canonical};
pub use traffic::{RoundBytes, largest_bytes, needs_fragments};
pub use udp::{UdpTransport, bind_hint, check_loopback};

use crate::{AddressRules, Listed, View};
use supervisor::{Channels, Supervisor};

/// The maximum number of addresses that one [`Gossip::join`] takes.
const JOIN_MAX: usize = 4096;
/// The maximum number of calls of [`Gossip::join`] that wait for the supervisor.
const JOINS_WAITING_MAX: usize = 4;

/// The state of the gossip layer: totals since the start, and current sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GossipStatus {
    /// The number of identities that chitchat knows, including dead ones. Each takes room in the
    /// digest.
    pub identities: u64,
    /// The size of this node's digest when it was last sent, in bytes.
    pub digest_bytes: u64,
    /// The size of the digest from which on no new node is admitted, in bytes.
    pub digest_bytes_max: u64,
    /// The number of datagrams that were not gossip of this mesh, or could not be decoded.
    pub rejected: u64,
    /// The number of messages that were larger than a datagram, or too large once decompressed.
    pub oversize: u64,
    /// The number of messages that were dropped because the digest had no room left.
    pub refused: u64,
    /// The number of restarts of chitchat after a failure.
    pub restarts: u64,
    /// The number of datagrams that were sent as IP fragments.
    pub fragmented: u64,
    /// The number of datagrams that the kernel did not send, by kind of error.
    pub send_errors: SendErrorTotals,
    /// The error of the last send, if all sends have failed for some time.
    pub unsent: Option<SendError>,
}

/// A running gossip layer. Dropping it stops gossip without a goodbye, like a crash.
#[derive(Debug)]
pub struct Gossip {
    views: watch::Receiver<View>,
    failed: watch::Receiver<Option<String>>,
    sweep: watch::Sender<u64>,
    address: watch::Sender<IpAddr>,
    rules: watch::Sender<AddressRules>,
    joins: mpsc::Sender<Vec<SocketAddr>>,
    goodbye: oneshot::Sender<()>,
    supervisor: JoinHandle<()>,
    counters: Arc<GossipCounters>,
}

impl Gossip {
    /// Starts gossip over UDP.
    ///
    /// # Errors
    /// If the configuration is invalid or the port cannot be opened.
    pub async fn over_udp(config: GossipConfig) -> Result<Self, GossipError> {
        let counters = Arc::<GossipCounters>::default();
        let transport = Arc::new(UdpTransport::new(Arc::clone(&counters)));
        Self::start(config, transport, counters).await
    }

    /// Starts gossip over `transport`, which may share `counters` with the gossip layer.
    ///
    /// # Errors
    /// If the configuration is invalid or the transport cannot be opened.
    pub async fn start(
        config: GossipConfig,
        transport: Arc<dyn Transport>,
        counters: Arc<GossipCounters>,
    ) -> Result<Self, GossipError> {
        let id = state::short_id(config.epoch);
        Self::start_as(id, config, transport, counters).await
    }

    /// Starts gossip with a given short id.
    async fn start_as(
        id: String,
        config: GossipConfig,
        transport: Arc<dyn Transport>,
        counters: Arc<GossipCounters>,
    ) -> Result<Self, GossipError> {
        config.check()?;
        let (views_in, views) = watch::channel(View::default());
        let (failed_in, failed) = watch::channel(None);
        let (sweep, sweep_out) = watch::channel(0);
        let (address, address_out) = watch::channel(config.advertise.ip());
        let mut rules = config.rules.clone();
        rules.set_own(config.advertise.ip());
        let (rules, rules_out) = watch::channel(rules);
        let (joins, joins_out) = mpsc::channel(JOINS_WAITING_MAX);
        let (goodbye, goodbye_out) = oneshot::channel();
        let channels = Channels {
            views: views_in,
            failed: failed_in,
            sweep: sweep_out,
            address: address_out,
            rules: rules_out,
            joins: joins_out,
            goodbye: goodbye_out,
        };
        let (supervisor, instance) =
            Supervisor::start(id, config, transport, Arc::clone(&counters), channels).await?;
        let supervisor = tokio::spawn(supervisor.run(instance));
        Ok(Self {
            views,
            failed,
            sweep,
            address,
            rules,
            joins,
            goodbye,
            supervisor,
            counters,
        })
    }

    /// Returns the view, which is published whenever it changes. It starts empty.
    pub fn views(&self) -> watch::Receiver<View> {
        self.views.clone()
    }

    /// Publishes the number of the sweep that this node works on.
    pub fn publish_sweep(&self, sweep: u64) {
        self.sweep.send_replace(sweep);
    }

    /// Moves to another address of this node: listens there, and publishes it. The ports and the
    /// epoch stay the same, so the peers do not take this node for another one.
    pub fn move_to(&self, address: IpAddr) {
        self.rules.send_modify(|rules| rules.set_own(address));
        self.address.send_replace(address);
    }

    /// Replaces the list of the members that the cluster has told of.
    pub fn list(&self, listed: Listed) {
        self.rules
            .send_if_modified(|rules| rules.set_listed(listed));
    }

    /// Restricts the members to the agents to join, until [`Self::list`] is called; see
    /// [`AddressRules::set_seeds`].
    pub fn list_seeds(&self, found: &[SocketAddr], are_complete: bool) {
        let found = found.iter().take(JOIN_MAX).map(SocketAddr::ip);
        self.rules
            .send_if_modified(|rules| rules.set_seeds(found, are_complete));
    }

    /// Returns the present rules for the addresses of the peers, and all later ones.
    pub fn rules(&self) -> watch::Receiver<AddressRules> {
        self.rules.subscribe()
    }

    /// Contacts those peers at `addresses` that are not live already. A call is cheap, and must be
    /// repeated as long as discovery finds anything: it tries a few addresses, does not repeat a
    /// lost message, and does nothing while earlier calls still wait.
    pub fn join(&self, addresses: &[SocketAddr]) {
        let addresses = &addresses[..addresses.len().min(JOIN_MAX)];
        // If the channel is full or closed, the next call makes up for it.
        let _ = self.joins.try_send(addresses.to_vec());
    }

    /// Returns the present state of the gossip layer.
    pub fn status(&self) -> GossipStatus {
        let counters = &self.counters;
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        GossipStatus {
            identities: load(&counters.identities),
            digest_bytes: load(&counters.digest_bytes),
            digest_bytes_max: admission::DIGEST_CEILING as u64,
            rejected: load(&counters.rejected),
            oversize: load(&counters.oversize),
            refused: load(&counters.refused),
            restarts: load(&counters.restarts),
            fragmented: load(&counters.fragmented),
            send_errors: counters.send_errors.totals(),
            unsent: counters.send_errors.unsent(Instant::now()),
        }
    }

    /// Waits until gossip has failed for good, and returns the reason. A single failure of chitchat
    /// does not count: it is logged, counted as a restart, and repaired. After this returns, the
    /// agent should exit and let its supervisor start it again.
    pub async fn failed(&self) -> String {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the gossip supervisor ended".to_owned(),
        }
    }

    /// Tells the peers that this node leaves, and stops gossip. This takes at most [`GOODBYE_MAX`].
    pub async fn goodbye(mut self) {
        if self.goodbye.send(()).is_ok()
            && timeout(GOODBYE_MAX, &mut self.supervisor).await.is_err()
        {
            self.supervisor.abort();
        }
    }
}
