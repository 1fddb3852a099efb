//! One life of chitchat: its settings, and what the supervisor does with it. A life ends when
//! chitchat's task does; then the supervisor starts another.

use std::net::SocketAddr;
use std::time::Duration;

use chitchat::transport::Transport;
use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion,
    spawn_chitchat,
};
use tokio::time::{Instant, timeout};

use super::observations::Observations;
use super::state::Published;
use super::{CLUSTER, GossipConfig};

/// How long chitchat keeps the dead. They burden the digest for half of it, and a rolling restart
/// makes one of every node.
const DEAD_FOR: Duration = Duration::from_secs(300);
/// How long chitchat keeps deleted keys. Nothing is ever deleted here.
const DELETED_FOR: Duration = Duration::from_secs(3600);
/// Intervals that the failure detector averages over, eight bytes each for every peer.
const SAMPLES: usize = 100;
/// Phi at which a peer is taken for dead: chitchat's own default.
const PHI: f64 = 8.0;
/// Nobody publishes so often. Beyond, the version was forged, and the next change would make
/// chitchat panic.
const VERSION_MAX: u64 = 1 << 40;
/// How long chitchat may take to end.
pub(super) const SHUTDOWN_MAX: Duration = Duration::from_millis(400);

/// See the module.
pub(super) struct Instance {
    handle: ChitchatHandle,
    /// What chitchat was given to publish.
    pairs: Vec<(String, String)>,
    pub(super) generation: u64,
    pub(super) since: Instant,
}

impl Instance {
    /// Starts chitchat under the short id `id`.
    pub(super) async fn start(
        id: &str,
        generation: u64,
        config: &GossipConfig,
        published: &Published,
        transport: &dyn Transport,
    ) -> anyhow::Result<Self> {
        let pairs = published.to_pairs();
        let settings = settings(id, generation, config);
        Ok(Self {
            handle: spawn_chitchat(settings, pairs.clone(), transport).await?,
            pairs,
            generation,
            since: Instant::now(),
        })
    }

    /// Waits until chitchat dies, and says of what.
    pub(super) fn death(&self) -> impl Future<Output = String> + use<> {
        let end = self.handle.termination_watcher();
        async move {
            match end.await {
                Ok(()) => "chitchat ended".to_owned(),
                Err(error) => format!("{error:#}"),
            }
        }
    }

    /// Brings `observations` up to date. Fails if this node's own state was forged.
    pub(super) async fn look(
        &self,
        observations: &mut Observations,
        now: Instant,
    ) -> Result<(), String> {
        let chitchat = self.handle.chitchat();
        let mut chitchat = chitchat.lock().await;
        self.check_untouched(&mut chitchat)?;
        observations.observe(&chitchat, now);
        Ok(())
    }

    /// Publishes a new state of this node. Fails if the present one was forged.
    pub(super) async fn publish(&mut self, published: &Published) -> Result<(), String> {
        let chitchat = self.handle.chitchat();
        let mut chitchat = chitchat.lock().await;
        self.check_untouched(&mut chitchat)?;
        self.pairs = published.to_pairs();
        let state = chitchat.self_node_state();
        for (key, value) in &self.pairs {
            state.set(key, value);
        }
        Ok(())
    }

    /// Sends a SYN to `address`: the exchange that follows tells each what the other knows.
    pub(super) fn contact(&self, address: SocketAddr) {
        // Fails only when chitchat has ended, which the supervisor is about to notice.
        let _ = self.handle.gossip(address);
    }

    /// Ends chitchat and waits for its socket to close, but not for long.
    pub(super) async fn shut_down(self) {
        // However it ended: it has ended, or is dropped now.
        let _ = timeout(SHUTDOWN_MAX, self.handle.shutdown()).await;
    }

    /// Whether chitchat still holds what this node published, and nothing that would break it. One
    /// forged message can overwrite it.
    fn check_untouched(&self, chitchat: &mut Chitchat) -> Result<(), String> {
        let state = chitchat.self_node_state();
        let mut pairs = self.pairs.iter();
        if pairs.all(|(key, value)| state.get(key) == Some(value))
            && state.max_version() < VERSION_MAX
        {
            return Ok(());
        }
        Err("what this node publishes was overwritten: by an earlier life started in the same second, another \
             node with its name and address, or a forger"
            .to_owned())
    }
}

fn settings(id: &str, generation: u64, config: &GossipConfig) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: ChitchatId::new(id, generation, config.advertise),
        cluster_id: CLUSTER.to_owned(),
        gossip_interval: config.interval,
        listen_addr: config.listen,
        // Whom to ask first comes by `join`: chitchat would resolve names before it starts.
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: PHI,
            sampling_window_size: SAMPLES,
            max_interval: (config.interval * 10).max(Duration::from_secs(10)),
            initial_interval: config.interval,
            dead_node_grace_period: DEAD_FOR,
        },
        marked_for_deletion_grace_period: DELETED_FOR,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}
