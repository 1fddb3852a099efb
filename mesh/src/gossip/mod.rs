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
//! member per name however many identities that name has had (`view`), and a memory of peers lost
//! to a partition (`rejoin`).
//!
//! # Bounds
//!
//! Chitchat decompresses, stores, answers and passes on whatever it is sent. So `udp` opens each
//! datagram (`sealed`) and reads it before chitchat does, and what it costs is bounded: its size
//! and its entries (`frame`), the decoding of all messages in a second (`budget`), the answers
//! (`exchanges`), the identities that are kept (`roster`). Chitchat then decodes only bytes that
//! `frame` has written. Gossip has a thread of its own.
//!
//! Each address speaks for itself, once it has proven that it receives what is sent there
//! (`voices`). These bounds are for members. With [`Security::Insecure`], anyone that reaches the
//! gossip port can publish members, and contradict the state of a member that is not speaking. The
//! member hears of it from its peers, and takes a new identity (`supervisor`).
//!
//! Chitchat 0.13 keeps its codec private. The workspace has a copy with a public one: see
//! `vendor/README.md`.
//!
//! # Not in this layer
//!
//! This layer leaves out names and DNS (discovery finds addresses and passes them to
//! [`Gossip::join`]), and the list of departed nodes (the agent keeps its own). A transport that is
//! an argument of [`Gossip::start`] neither seals nor screens.

mod believed;
mod budget;
mod config;
mod exchanges;
mod fragments;
mod frame;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod holders;
mod instance;
mod observations;
mod packed;
mod reader;
mod rejections;
mod rejoin;
mod renewals;
mod roster;
mod sealed;
mod send_errors;
mod shared;
mod signature;
mod state;
mod supervisor;
#[cfg(test)]
mod tests;
mod traffic;
mod udp;
mod view;
mod voices;
mod warned;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use chitchat::transport::Transport;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

pub use config::{
    GOODBYE_MAX, GossipConfig, GossipError, INTERVAL_MAX, INTERVAL_MIN, SealMode, Security,
};
pub use rejections::{Rejection, RejectionTotals};
pub use send_errors::{SendError, SendErrorTotals};
pub use shared::GossipShared;
pub use state::canonical;
pub use traffic::RoundBytes;
pub use udp::{UdpTransport, bind_hint};

use crate::seal::{KeyId, Keyring};
use crate::{AddressRules, Auth, AuthMode, Listed, View};
use supervisor::{Channels, Supervisor};

/// The maximum number of addresses that one [`Gossip::join`] takes.
const JOIN_MAX: usize = 4096;
/// The maximum number of calls of [`Gossip::join`] that wait for the supervisor.
const JOINS_WAITING_MAX: usize = 4;

/// The state of the gossip layer: totals since the start, and current sizes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GossipStatus {
    /// The number of identities that chitchat knows, including dead ones. Each takes room in the
    /// digest.
    pub identities: u64,
    /// The number of identities from which on no new node is admitted.
    pub identities_max: u64,
    /// The size of this node's digest when it was last sent, in bytes.
    pub digest_bytes: u64,
    /// The size of the digest from which on no new node is admitted, in bytes.
    pub digest_bytes_max: u64,
    /// The number of datagrams that were refused, as a whole or in part, by reason.
    pub refused: RejectionTotals,
    /// The number of restarts of chitchat after a failure.
    pub restarts: u64,
    /// The number of datagrams that were sent as IP fragments.
    pub fragmented: u64,
    /// The number of datagrams that the kernel did not send, by kind of error.
    pub send_errors: SendErrorTotals,
    /// The error of the last send, if all sends have failed for some time.
    pub unsent: Option<SendError>,
    /// The number of members to which this node seals its gossip, by key.
    pub keys_in_use: BTreeMap<KeyId, usize>,
    /// The number of members to which this node does not seal its gossip.
    pub unsealed_peers: u64,
}

/// A running gossip layer. Dropping it stops gossip without a goodbye, like a crash.
#[derive(Debug)]
pub struct Gossip {
    views: watch::Receiver<View>,
    failed: watch::Receiver<Option<String>>,
    sweep: watch::Sender<u64>,
    auth: watch::Sender<Auth>,
    address: watch::Sender<IpAddr>,
    rules: watch::Sender<AddressRules>,
    joins: mpsc::Sender<Vec<SocketAddr>>,
    goodbye: oneshot::Sender<()>,
    /// It is closed when gossip has ended.
    ended: oneshot::Receiver<()>,
    shared: Arc<GossipShared>,
}

impl Gossip {
    /// Starts gossip over UDP, on a thread of its own: gossip never delays anything else.
    ///
    /// # Errors
    /// If the configuration is invalid or the port cannot be opened.
    pub async fn over_udp(config: GossipConfig) -> Result<Self, GossipError> {
        let shared = Arc::new(GossipShared::new(config.mesh.clone()));
        let transport = Arc::new(UdpTransport::new(Arc::clone(&shared)));
        let id = state::short_id(config.signer.life().epoch());
        let (gossip, mut supervisor, ended) = Self::prepare(id, config, transport, shared)?;
        let (started_in, started) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(GossipError::Thread)?;
        let run = async move {
            // It is dropped, and so closed, when gossip ends.
            let _ended = ended;
            match supervisor.start().await {
                Ok(instance) => {
                    let _ = started_in.send(Ok(()));
                    supervisor.run(instance).await;
                }
                Err(error) => {
                    let _ = started_in.send(Err(error));
                }
            }
        };
        thread::Builder::new()
            .name("gossip".to_owned())
            .spawn(move || runtime.block_on(run))
            .map_err(GossipError::Thread)?;
        match started.await {
            Ok(started) => started.map(|()| gossip),
            Err(_) => Err(GossipError::Thread(std::io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Starts gossip over `transport`, which may share `shared` with the gossip layer.
    ///
    /// # Errors
    /// If the configuration is invalid or the transport cannot be opened.
    pub async fn start(
        config: GossipConfig,
        transport: Arc<dyn Transport>,
        shared: Arc<GossipShared>,
    ) -> Result<Self, GossipError> {
        let id = state::short_id(config.signer.life().epoch());
        Self::start_as(id, config, transport, shared).await
    }

    /// Starts gossip with a given short id.
    async fn start_as(
        id: String,
        config: GossipConfig,
        transport: Arc<dyn Transport>,
        shared: Arc<GossipShared>,
    ) -> Result<Self, GossipError> {
        let (gossip, mut supervisor, ended) = Self::prepare(id, config, transport, shared)?;
        let instance = supervisor.start().await?;
        tokio::spawn(async move {
            let _ended = ended;
            supervisor.run(instance).await;
        });
        Ok(gossip)
    }

    /// Returns the two ends of a gossip layer that has not started, and a sender to drop when it
    /// ends.
    fn prepare(
        id: String,
        config: GossipConfig,
        transport: Arc<dyn Transport>,
        shared: Arc<GossipShared>,
    ) -> Result<(Self, Supervisor, oneshot::Sender<()>), GossipError> {
        config.check()?;
        shared.roster.set_members_max(config.members_max);
        let security = config.security.clone();
        let life = config.signer.life();
        shared
            .sealed
            .set(&config.mesh, life, security, Instant::now());
        let (views_in, views) = watch::channel(View::default());
        let (failed_in, failed) = watch::channel(None);
        let (sweep, sweep_out) = watch::channel(0);
        let (auth, auth_out) = watch::channel(config.security.auth());
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
            auth: auth_out,
            address: address_out,
            rules: rules_out,
            joins: joins_out,
            goodbye: goodbye_out,
        };
        let supervisor = Supervisor::new(id, config, transport, Arc::clone(&shared), channels);
        let (ended_in, ended) = oneshot::channel();
        let gossip = Self {
            views,
            failed,
            sweep,
            auth,
            address,
            rules,
            joins,
            goodbye,
            ended,
            shared,
        };
        Ok((gossip, supervisor, ended_in))
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

    /// Takes the keys of a newer key file. Sessions with keys that it lacks end at once. This does
    /// nothing if gossip is [`Security::Insecure`].
    pub fn replace_keys(&self, keyring: Keyring) {
        self.auth.send_modify(|auth| {
            if auth.mode != AuthMode::Insecure {
                auth.accepted = keyring.wire_ids().collect();
            }
        });
        self.shared.sealed.replace_keys(keyring);
    }

    /// Changes whether gossip that is not sealed is read. This does nothing if gossip is
    /// [`Security::Insecure`].
    pub fn set_mode(&self, mode: SealMode) {
        self.auth.send_modify(|auth| {
            if auth.mode != AuthMode::Insecure {
                auth.mode = mode.into();
            }
        });
        self.shared.sealed.set_mode(mode);
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
        let shared = &self.shared;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let usage = shared
            .sealed
            .usage(&shared.roster.members(), Instant::now());
        GossipStatus {
            identities: load(&shared.identities),
            identities_max: shared.roster.ids_max() as u64,
            digest_bytes: shared.roster.digest_bytes() as u64,
            digest_bytes_max: roster::DIGEST_CEILING as u64,
            refused: shared.rejections.totals(),
            restarts: load(&shared.restarts),
            fragmented: load(&shared.fragmented),
            send_errors: shared.send_errors.totals(),
            unsent: shared.send_errors.unsent(Instant::now()),
            keys_in_use: usage.by_key,
            unsealed_peers: usage.unsealed as u64,
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
    pub async fn goodbye(self) {
        if self.goodbye.send(()).is_ok() {
            // An error is the end of gossip, too.
            let _ = timeout(GOODBYE_MAX, self.ended).await;
        }
    }
}
