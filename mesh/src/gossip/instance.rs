//! One running instance of chitchat: its settings, and the operations that the supervisor needs. An
//! instance ends when chitchat's task ends; then the supervisor starts another one.

use std::net::SocketAddr;
use std::time::Duration;

use chitchat::transport::Transport;
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, Deserializable, FailureDetectorConfig, Heartbeat,
    NodeState, ProtocolVersion, spawn_chitchat,
};
use tokio::time::{Instant, timeout};

use super::config::GossipConfig;
use super::frame::{HEARTBEAT_STEP, Id};
use super::observations::Observations;
use super::roster::Own;
use super::signature;
use super::state::{Published, key};

/// How long chitchat keeps dead identities. They stay in the digest for half of that time. A
/// rolling restart leaves one dead identity per node.
pub(super) const DEAD_KEPT_FOR: Duration = Duration::from_secs(300);
/// How long chitchat keeps deleted keys. This layer never deletes a key.
const DELETED_KEPT_FOR: Duration = Duration::from_secs(3600);
/// The number of heartbeat intervals that the failure detector averages over. Each one takes eight
/// bytes per peer.
const SAMPLES: usize = 100;
/// The value of phi at which the failure detector declares a peer dead: chitchat's default.
const PHI: f64 = 8.0;
/// The maximum time that a shutdown of chitchat takes.
pub(super) const SHUTDOWN_MAX: Duration = Duration::from_millis(400);

/// A running instance of chitchat.
pub(super) struct Instance {
    handle: ChitchatHandle,
    pub(super) generation: u64,
    pub(super) started: Instant,
}

impl Instance {
    /// Starts chitchat with the short id `id`.
    pub(super) async fn start(
        id: &str,
        generation: u64,
        config: &GossipConfig,
        published: &Published,
        transport: &dyn Transport,
    ) -> anyhow::Result<Self> {
        let settings = settings(id, generation, config);
        let instance = Self {
            handle: spawn_chitchat(settings, published.to_pairs(), transport).await?,
            generation,
            started: Instant::now(),
        };
        instance.publish(published, config).await;
        Ok(instance)
    }

    /// Waits until chitchat ends, and returns the reason.
    pub(super) fn ended(&self) -> impl Future<Output = String> + use<> {
        let end = self.handle.termination_watcher();
        async move {
            match end.await {
                Ok(()) => "chitchat ended".to_owned(),
                Err(error) => format!("{error:#}"),
            }
        }
    }

    /// Updates `observations` from chitchat, and returns the identity of this node.
    pub(super) async fn observe(
        &self,
        observations: &mut Observations,
        now: Instant,
    ) -> Option<Own> {
        let chitchat = self.handle.chitchat();
        let mut chitchat = chitchat.lock().await;
        observations.update(&chitchat, now);
        let id = Id::of(chitchat.self_chitchat_id());
        let state = chitchat.self_node_state();
        step(state);
        id.map(|id| Own {
            id,
            heartbeat: state.heartbeat().into(),
            version: state.max_version(),
        })
    }

    /// Publishes a new state of this node, with its signature as the last two pairs.
    pub(super) async fn publish(&self, published: &Published, config: &GossipConfig) {
        let chitchat = self.handle.chitchat();
        let mut chitchat = chitchat.lock().await;
        let state = chitchat.self_node_state();
        let before = state.max_version();
        for (key, value) in published.to_pairs() {
            state.set(key, value);
        }
        let is_signed = state.contains_key(key::SIGNATURE);
        let Some(id) = Id::of(state.chitchat_id()) else {
            return;
        };
        if is_signed && state.max_version() == before {
            return;
        }
        let pairs = state.key_values_including_deleted();
        let pairs = pairs.map(|(key, value)| (key, value.version, value.value.as_str()));
        let version = state.max_version() + 1;
        let signature = signature::sign(&config.signer, &config.mesh, id, pairs, version);
        for (key, half) in signature {
            state.set(key, half);
        }
    }

    /// Makes chitchat forget an identity. It learns it again from its peers.
    pub(super) async fn forget(&self, id: Id, observations: &mut Observations) {
        let id = id.as_chitchat_id();
        let chitchat = self.handle.chitchat();
        chitchat.lock().await.forget(&id);
        observations.forget(&id);
    }

    /// Sends a SYN to `address`. In the exchange that follows, each side learns what the other
    /// knows.
    pub(super) fn contact(&self, address: SocketAddr) {
        // This fails only if chitchat has ended, which the supervisor is about to notice.
        let _ = self.handle.gossip(address);
    }

    /// Ends chitchat and waits for its socket to close, but no longer than [`SHUTDOWN_MAX`].
    pub(super) async fn shut_down(self) {
        // The result does not matter: chitchat has ended, or is dropped here.
        let _ = timeout(SHUTDOWN_MAX, self.handle.shutdown()).await;
    }
}

/// Raises the own heartbeat to the next multiple of [`HEARTBEAT_STEP`], above all challenges.
fn step(state: &mut NodeState) {
    let present = u64::from(state.heartbeat());
    let next = (present / HEARTBEAT_STEP + 1) * HEARTBEAT_STEP;
    if let Ok(next) = Heartbeat::deserialize(&mut &next.to_le_bytes()[..]) {
        state.try_set_heartbeat(next);
    }
}

fn settings(id: &str, generation: u64, config: &GossipConfig) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: ChitchatId::new(id, generation, config.advertise),
        cluster_id: config.mesh.as_str().to_owned(),
        gossip_interval: config.interval,
        listen_addr: config.listen,
        // The first peers come through `join`, because chitchat would resolve names before it
        // starts.
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: PHI,
            sampling_window_size: SAMPLES,
            max_interval: (config.interval * 10).max(Duration::from_secs(10)),
            initial_interval: config.interval,
            dead_node_grace_period: DEAD_KEPT_FOR,
        },
        marked_for_deletion_grace_period: DELETED_KEPT_FOR,
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}
