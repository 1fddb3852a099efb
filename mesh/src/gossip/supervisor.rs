//! Keeps chitchat: looks at it twice a round, tells it what to publish, says goodbye through it,
//! and starts it again when it dies.
//!
//! A started-again chitchat is a new *identity* (a greater generation) of the same *epoch*: the
//! agent lives on, so nobody must take it for a restarted node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chitchat::transport::Transport;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{error, info};

use super::admission::{
    Admission, AdmissionTransport, DIGEST_ALARM, DIGEST_CEILING, GossipCounters, count,
};
use super::instance::{Instance, SHUTDOWN_MAX};
use super::observations::Observations;
use super::rejoin::{CONTACTS_MAX, RejoinCandidates};
use super::state::Published;
use super::view::{self, Observer};
use super::{GOODBYE_MAX, GossipConfig, GossipError};
use crate::{View, WIRE_VERSION};

/// See [`view::view`]; at least this, and as many rounds as below.
const CONFLICT_AFTER: Duration = Duration::from_secs(15);
/// Rounds that news take to reach everybody, with much to spare.
const ROUNDS_TO_SETTLE: u32 = 15;

/// How often the peers are told of a goodbye, and the pause after each.
const GOODBYES: usize = 3;
const GOODBYE_PAUSE: Duration = Duration::from_millis(250);
const _: () = assert!(
    GOODBYE_PAUSE.as_millis() * GOODBYES as u128 + SHUTDOWN_MAX.as_millis()
        < GOODBYE_MAX.as_millis()
);

/// The pause before the first restart. It doubles with each, up to the last.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LAST: Duration = Duration::from_secs(60);
/// So many restarts in a row are tried.
const RESTARTS_MAX: u32 = 8;
/// A chitchat that lived for so long starts a new row.
const HEALTHY_AFTER: Duration = Duration::from_secs(600);

/// The alarm of a digest that grows too large is repeated at this pace.
const ALARM_EVERY: Duration = Duration::from_secs(60);

/// The supervisor's ends of the channels to its [`super::Gossip`].
pub(super) struct Ends {
    pub(super) views: watch::Sender<View>,
    pub(super) failed: watch::Sender<Option<String>>,
    pub(super) sweep: watch::Receiver<u64>,
    pub(super) joins: mpsc::Receiver<Vec<SocketAddr>>,
    /// Closed without a word if the [`super::Gossip`] was dropped.
    pub(super) goodbye: oneshot::Receiver<()>,
}

/// See the module.
pub(super) struct Supervisor {
    id: String,
    config: GossipConfig,
    transport: AdmissionTransport,
    admission: Arc<Admission>,
    ends: Ends,
    published: Published,
    started: Instant,
    observations: Observations,
    rejoin_candidates: RejoinCandidates,
    /// A chitchat just started again knows nobody: until then the view from before stands.
    blind_until: Instant,
    alarmed: Option<Instant>,
    restarts_in_a_row: u32,
}

/// How keeping one life ended.
enum End {
    Goodbye,
    Dropped,
    Died(String),
}

impl Supervisor {
    /// Starts the first life of chitchat.
    pub(super) async fn start(
        id: String,
        config: GossipConfig,
        transport: Arc<dyn Transport>,
        counters: Arc<GossipCounters>,
        ends: Ends,
    ) -> Result<(Self, Instance), GossipError> {
        let admission = Arc::new(Admission::new(counters));
        let transport = AdmissionTransport {
            transport,
            admission: Arc::clone(&admission),
        };
        let supervisor = Self {
            id,
            transport,
            admission,
            ends,
            published: first_state(&config),
            started: Instant::now(),
            observations: Observations::default(),
            rejoin_candidates: RejoinCandidates::default(),
            blind_until: Instant::now(),
            alarmed: None,
            restarts_in_a_row: 0,
            config,
        };
        let life = supervisor.start_life(supervisor.config.generation).await;
        let life = life.map_err(|error| GossipError::Listen {
            listen: supervisor.config.listen,
            reason: format!("{error:#}"),
        })?;
        Ok((supervisor, life))
    }

    async fn start_life(&self, generation: u64) -> anyhow::Result<Instance> {
        Instance::start(
            &self.id,
            generation,
            &self.config,
            &self.published,
            &self.transport,
        )
        .await
    }

    /// Keeps chitchat alive until the goodbye.
    pub(super) async fn run(mut self, mut life: Instance) {
        loop {
            match self.keep(&mut life).await {
                End::Goodbye => return self.say_goodbye(life).await,
                End::Dropped => return,
                End::Died(reason) => match self.revive(life, reason).await {
                    Some(next) => life = next,
                    None => return,
                },
            }
        }
    }

    /// Serves one life of chitchat until it ends.
    async fn keep(&mut self, life: &mut Instance) -> End {
        let death = life.death();
        tokio::pin!(death);
        let mut looks = interval(self.config.interval / 2);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                reason = &mut death => Err(reason),
                _ = looks.tick() => self.look(life).await,
                Ok(()) = self.ends.sweep.changed() => {
                    self.published.sweep = *self.ends.sweep.borrow_and_update();
                    life.publish(&self.published).await
                }
                Some(found) = self.ends.joins.recv() => {
                    self.join(life, &found);
                    Ok(())
                }
                end = &mut self.ends.goodbye => return match end {
                    Ok(()) => End::Goodbye,
                    Err(_) => End::Dropped,
                },
            };
            if let Err(reason) = done {
                return End::Died(reason);
            }
        }
    }

    /// Takes over what chitchat knows, and sends the view if it changed.
    async fn look(&mut self, life: &Instance) -> Result<(), String> {
        let now = Instant::now();
        life.look(&mut self.observations, now).await?;
        let known = self.observations.addresses();
        self.rejoin_candidates
            .remember(&self.observations.live_addresses(), now);
        if let Some(lost) = self.rejoin_candidates.lost(&known) {
            self.contact(life, lost);
        }
        self.admission.set_known(known);
        let identities = u64::try_from(self.observations.len()).unwrap_or(u64::MAX);
        let counters = &self.admission.counters;
        counters.identities.store(identities, Ordering::Relaxed);
        self.raise_alarm(now);
        if now >= self.blind_until {
            self.send_view();
        }
        Ok(())
    }

    fn send_view(&self) {
        let observer = Observer {
            name: self.config.name.clone(),
            epoch: self.config.epoch,
            since: self.started,
        };
        let identities = self.observations.identities();
        let patience = self.settle().max(CONFLICT_AFTER);
        let view = view::view(&observer, &identities, patience);
        self.ends.views.send_if_modified(|last| {
            let differs = *last != view;
            if differs {
                *last = view;
            }
            differs
        });
    }

    fn settle(&self) -> Duration {
        self.config.interval * ROUNDS_TO_SETTLE
    }

    /// Says, once a minute, that the mesh is about to outgrow its gossip.
    fn raise_alarm(&mut self, now: Instant) {
        let digest_bytes = self.admission.digest_bytes();
        let lately = self.alarmed.is_some_and(|at| now - at < ALARM_EVERY);
        if digest_bytes < DIGEST_ALARM || lately {
            return;
        }
        self.alarmed = Some(now);
        error!(
            digest_bytes,
            ceiling = DIGEST_CEILING,
            identities = self.observations.len(),
            "gossip is nearly full: at the ceiling no newcomer is taken in; split the mesh"
        );
    }

    fn join(&mut self, life: &Instance, found: &[SocketAddr]) {
        let live = self.observations.live_addresses();
        for address in self.rejoin_candidates.found(found, &live) {
            self.contact(life, address);
        }
    }

    /// Asks `address` to gossip, unless there is no room for whoever answers.
    fn contact(&self, life: &Instance, address: SocketAddr) {
        if address != self.config.advertise && self.admission.is_open() {
            life.contact(address);
        }
    }

    /// Publishes that this node leaves, tells as many peers as is decent, and ends chitchat. They
    /// tell the rest.
    async fn say_goodbye(mut self, mut life: Instance) {
        self.published.leaving = true;
        let live: Vec<SocketAddr> = self.observations.live_addresses().into_iter().collect();
        // If the own state was forged, the peers find out by silence.
        if life.publish(&self.published).await.is_ok() && !live.is_empty() {
            for turn in 0..GOODBYES {
                let told = live.iter().cycle().skip(turn * CONTACTS_MAX % live.len());
                for peer in told.take(CONTACTS_MAX.min(live.len())) {
                    life.contact(*peer);
                }
                sleep(GOODBYE_PAUSE).await;
            }
        }
        info!(live = live.len(), "said goodbye");
        life.shut_down().await;
    }

    /// Starts chitchat again after `reason`, or gives up. None if it gave up or is no longer
    /// wanted.
    async fn revive(&mut self, dead: Instance, mut reason: String) -> Option<Instance> {
        if dead.since.elapsed() >= HEALTHY_AFTER {
            self.restarts_in_a_row = 0;
        }
        let generation_before = dead.generation;
        dead.shut_down().await;
        while self.restarts_in_a_row < RESTARTS_MAX {
            let pause = (PAUSE_FIRST * 2u32.pow(self.restarts_in_a_row)).min(PAUSE_LAST);
            self.restarts_in_a_row += 1;
            count(&self.admission.counters.restarts);
            error!(%reason, ?pause, "gossip died, it is started again");
            tokio::select! {
                () = sleep(pause) => {}
                // Nobody can be told goodbye now: to the peers this node is silent already.
                _ = &mut self.ends.goodbye => return None,
            }
            self.published.sweep = *self.ends.sweep.borrow_and_update();
            self.observations = Observations::default();
            self.blind_until = Instant::now() + self.settle();
            let by_clock = self.config.generation + self.started.elapsed().as_secs();
            let generation = by_clock.max(generation_before + 1);
            match self.start_life(generation).await {
                Ok(life) => return Some(life),
                Err(error) => reason = format!("{error:#}"),
            }
        }
        error!(%reason, "gossip died too often, it is given up");
        self.ends.failed.send_replace(Some(reason));
        None
    }
}

fn first_state(config: &GossipConfig) -> Published {
    Published {
        name: config.name.clone(),
        epoch: config.epoch,
        zone: config.zone.clone(),
        control: config.control,
        http_port: config.http_port,
        wire: WIRE_VERSION,
        sweep: 0,
        leaving: false,
    }
}
