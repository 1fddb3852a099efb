//! The supervisor of chitchat. It polls chitchat twice a round, passes on what to publish, sends
//! goodbyes through it, and restarts it when it fails.
//!
//! A restarted chitchat is a new *identity* (a greater generation) of the same *epoch*: the agent
//! keeps running, so peers must not take it for a restarted node. The same holds for a chitchat
//! that is started again because the address of the node has changed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chitchat::transport::Transport;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::{error, info, warn};

use super::config::{GOODBYE_MAX, GossipConfig, GossipError};
use super::holders::Holders;
use super::instance::{Instance, SHUTDOWN_MAX};
use super::observations::Observations;
use super::rejoin::{CONTACTS_MAX, RejoinCandidates};
use super::renewals::Renewals;
use super::roster::{DIGEST_ALARM, DIGEST_CEILING};
use super::shared::{GossipShared, count};
use super::state::Published;
use super::view::{self, Identity, Observer};
use crate::{AddressRules, Auth, View, WIRE_VERSION};

/// The minimum `patience` of [`view::view`], which is also at least [`ROUNDS_TO_SETTLE`] rounds.
const CONFLICT_AFTER: Duration = Duration::from_secs(15);
/// The number of rounds after which a change has reached every node, with a wide margin.
const ROUNDS_TO_SETTLE: u32 = 15;

/// The number of times that a goodbye is sent.
const GOODBYES: usize = 3;
/// The pause after each goodbye.
const GOODBYE_PAUSE: Duration = Duration::from_millis(250);
const _: () = assert!(
    GOODBYE_PAUSE.as_millis() * GOODBYES as u128 + SHUTDOWN_MAX.as_millis()
        < GOODBYE_MAX.as_millis()
);

/// The pause before the first restart. It doubles with each restart in a row.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause before a restart.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The maximum number of restarts in a row. After them, gossip has failed for good.
const RESTARTS_MAX: u32 = 8;
/// How long an instance must run to end the row of restarts.
pub(super) const HEALTHY_AFTER: Duration = Duration::from_secs(600);

/// The shortest time within which an address that is asked answers, even if messages are lost.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// The time after which an address that has spoken is asked again.
const ASK_AFTER: Duration = Duration::from_millis(900);
/// The maximum number of disputed addresses to ask in a poll.
const ASKED_MAX: usize = 8;

/// The pause between two alarms about a digest that grows too large.
const ALARM_EVERY: Duration = Duration::from_secs(60);

/// The supervisor's ends of the channels to its [`super::Gossip`].
pub(super) struct Channels {
    pub(super) views: watch::Sender<View>,
    pub(super) failed: watch::Sender<Option<String>>,
    pub(super) sweep: watch::Receiver<u64>,
    pub(super) auth: watch::Receiver<Auth>,
    /// The address of this node.
    pub(super) address: watch::Receiver<IpAddr>,
    /// The rules for the addresses of the peers.
    pub(super) rules: watch::Receiver<AddressRules>,
    pub(super) joins: mpsc::Receiver<Vec<SocketAddr>>,
    /// The request to say goodbye. It is closed without a message if the [`super::Gossip`] was
    /// dropped.
    pub(super) goodbye: oneshot::Receiver<()>,
}

/// The supervisor of chitchat; see the module documentation.
pub(super) struct Supervisor {
    id: String,
    config: GossipConfig,
    transport: Arc<dyn Transport>,
    shared: Arc<GossipShared>,
    channels: Channels,
    published: Published,
    started: Instant,
    observations: Observations,
    holders: Holders,
    rejoin_candidates: RejoinCandidates,
    /// The instant until which the view from before a restart stands, because a restarted chitchat
    /// knows no peer yet.
    settling_until: Instant,
    last_alarm: Option<Instant>,
    restarts_in_a_row: u32,
    renewals: Renewals,
    /// The position from which on disputed addresses are asked next.
    asked: usize,
}

/// The reason why the supervisor stopped serving an instance.
enum Stop {
    Goodbye,
    Dropped,
    Moved,
    /// Peers ascribe to this node what it has not published, and no longer hear it.
    Overtaken,
    Failed(String),
}

impl Supervisor {
    pub(super) fn new(
        id: String,
        config: GossipConfig,
        transport: Arc<dyn Transport>,
        shared: Arc<GossipShared>,
        channels: Channels,
    ) -> Self {
        Self {
            id,
            transport,
            shared,
            channels,
            published: first_state(&config),
            started: Instant::now(),
            observations: Observations::default(),
            holders: Holders::default(),
            rejoin_candidates: RejoinCandidates::default(),
            settling_until: Instant::now(),
            last_alarm: None,
            restarts_in_a_row: 0,
            renewals: Renewals::default(),
            asked: 0,
            config,
        }
    }

    /// Starts the first instance of chitchat.
    pub(super) async fn start(&mut self) -> Result<Instance, GossipError> {
        let started = self.start_instance(self.config.generation).await;
        started.map_err(|error| GossipError::Listen {
            listen: self.config.listen,
            reason: format!("{error:#}"),
        })
    }

    async fn start_instance(&self, generation: u64) -> anyhow::Result<Instance> {
        Instance::start(
            &self.id,
            generation,
            &self.config,
            &self.published,
            &*self.transport,
        )
        .await
    }

    /// Keeps chitchat running until the goodbye.
    pub(super) async fn run(mut self, mut instance: Instance) {
        loop {
            match self.serve(&instance).await {
                Stop::Goodbye => return self.say_goodbye(instance).await,
                Stop::Dropped => return,
                Stop::Moved => match self.replace(instance).await {
                    Some(next) => instance = next,
                    None => return,
                },
                Stop::Overtaken => match self.renew(instance).await {
                    Some(next) => instance = next,
                    None => return,
                },
                Stop::Failed(reason) => match self.restart(instance, reason).await {
                    Some(next) => instance = next,
                    None => return,
                },
            }
        }
    }

    /// Serves one instance of chitchat until it ends.
    async fn serve(&mut self, instance: &Instance) -> Stop {
        let ended = instance.ended();
        tokio::pin!(ended);
        // The screen needs the own identity before anything is sent.
        self.poll(instance).await;
        let pause = self.config.interval / 2;
        let mut polls = interval_at(Instant::now() + pause, pause);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                reason = &mut ended => return Stop::Failed(reason),
                _ = polls.tick() => {
                    self.poll(instance).await;
                    if self.must_renew() {
                        return Stop::Overtaken;
                    }
                }
                Ok(()) = self.channels.sweep.changed() => {
                    self.published.sweep = *self.channels.sweep.borrow_and_update();
                    instance.publish(&self.published, &self.config).await;
                }
                Ok(()) = self.channels.auth.changed() => {
                    self.published.auth = self.channels.auth.borrow_and_update().clone();
                    instance.publish(&self.published, &self.config).await;
                }
                Some(found) = self.channels.joins.recv() => self.join(instance, &found),
                Ok(()) = self.channels.address.changed() => return Stop::Moved,
                end = &mut self.channels.goodbye => return match end {
                    Ok(()) => Stop::Goodbye,
                    Err(_) => Stop::Dropped,
                },
            }
        }
    }

    /// Updates the observations from chitchat, and publishes the view if it changed.
    async fn poll(&mut self, instance: &Instance) {
        let now = Instant::now();
        for id in self.shared.roster.take_wrong() {
            instance.forget(id, &mut self.observations).await;
        }
        if let Some(own) = instance.observe(&mut self.observations, now).await {
            self.shared.roster.set_own(own);
        }
        let rules = self.channels.rules.borrow().clone();
        self.shared.roster.set_rules(rules);
        let known = self.observations.addresses();
        self.rejoin_candidates
            .remember(&self.observations.live_addresses(), now);
        if let Some(lost) = self.rejoin_candidates.lost(&known) {
            self.contact(instance, lost);
        }
        self.shared.roster.set_known(self.observations.known());
        let identities = u64::try_from(self.observations.len()).unwrap_or(u64::MAX);
        self.shared.identities.store(identities, Ordering::Relaxed);
        self.raise_alarm(now);
        let roster = &self.shared.roster;
        let identities = self.observations.identities(roster, self.answered(), now);
        self.ask(instance, &identities, now);
        if now >= self.settling_until {
            self.send_view(identities, now);
        }
    }

    /// Returns the time within which an address that is asked again and again answers.
    fn answered(&self) -> Duration {
        ANSWERED_WITHIN.max(self.config.interval * 3)
    }

    /// Contacts addresses about which there is a dispute, unless they have just spoken.
    fn ask(&mut self, instance: &Instance, identities: &[Identity], now: Instant) {
        let roster = &self.shared.roster;
        if !roster.has_voices() {
            return;
        }
        let must_ask = |address: &SocketAddr| {
            roster
                .voice(*address)
                .is_none_or(|voice| now - voice.heard >= ASK_AFTER)
        };
        let disputed = view::disputed(identities);
        let disputed: Vec<_> = disputed.into_iter().filter(must_ask).collect();
        let from_next = disputed.iter().cycle().skip(self.asked);
        for address in from_next.take(ASKED_MAX.min(disputed.len())) {
            self.contact(instance, *address);
        }
        self.asked = (self.asked + ASKED_MAX) % disputed.len().max(1);
    }

    /// Returns whether this node needs a new identity, and may take one again.
    fn must_renew(&self) -> bool {
        self.shared.roster.is_overtaken() && self.renewals.is_due(Instant::now())
    }

    fn send_view(&mut self, identities: Vec<Identity>, now: Instant) {
        let observer = Observer {
            name: self.config.name.clone(),
            epoch: self.published.epoch,
            started: self.started,
            members_max: self.config.members_max,
        };
        let patience = self.settle().max(CONFLICT_AFTER);
        let rules = self.channels.rules.borrow().clone();
        let holders = &mut self.holders;
        let view = view::view(&observer, &rules, identities, holders, patience, now);
        self.channels.views.send_if_modified(|last| {
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

    /// Logs a warning, once a minute, that the mesh is about to outgrow its gossip.
    fn raise_alarm(&mut self, now: Instant) {
        let digest_bytes = self.shared.roster.digest_bytes();
        let is_recent = self.last_alarm.is_some_and(|at| now - at < ALARM_EVERY);
        if digest_bytes < DIGEST_ALARM || is_recent {
            return;
        }
        self.last_alarm = Some(now);
        error!(
            digest_bytes,
            ceiling = DIGEST_CEILING,
            identities = self.observations.len(),
            "the gossip digest is nearly full and the mesh soon admits no new node: split the mesh"
        );
    }

    fn join(&mut self, instance: &Instance, found: &[SocketAddr]) {
        let live = self.observations.live_addresses();
        for address in self.rejoin_candidates.found(found, &live) {
            self.contact(instance, address);
        }
    }

    /// Contacts `address`, unless it is that of this node. This admits nobody, so it needs no room.
    fn contact(&self, instance: &Instance, address: SocketAddr) {
        if address != self.config.advertise {
            instance.contact(address);
        }
    }

    /// Publishes that this node leaves, contacts at most [`GOODBYES`] times [`CONTACTS_MAX`] peers,
    /// and ends chitchat. The contacted peers spread the news.
    async fn say_goodbye(mut self, instance: Instance) {
        self.published.leaving = true;
        let live: Vec<SocketAddr> = self.observations.live_addresses().into_iter().collect();
        instance.publish(&self.published, &self.config).await;
        if !live.is_empty() {
            for turn in 0..GOODBYES {
                let from_next = live.iter().cycle().skip(turn * CONTACTS_MAX % live.len());
                for peer in from_next.take(CONTACTS_MAX.min(live.len())) {
                    instance.contact(*peer);
                }
                sleep(GOODBYE_PAUSE).await;
            }
        }
        info!(live_peers = live.len(), "sent a goodbye to the mesh");
        instance.shut_down().await;
    }

    /// Starts chitchat again with a new identity, because another agent has the present one or
    /// somebody forges it: a previous run of the agent may have started at the same second of its
    /// clock. Returns `None` as [`Self::restart`].
    async fn renew(&mut self, former: Instance) -> Option<Instance> {
        warn!(
            "peers have heard of a state of this node that it has not published; taking a new \
             identity"
        );
        count(&self.shared.restarts);
        self.renewals.record(Instant::now());
        self.replace(former).await
    }

    /// Starts chitchat again, on the present address of this node. Returns `None` as
    /// [`Self::restart`].
    async fn replace(&mut self, former: Instance) -> Option<Instance> {
        let generation_before = self.shut_down(former).await;
        match self.start_next(generation_before).await {
            Ok(instance) => Some(instance),
            Err(error) => {
                let reason = format!("{error:#}");
                self.retry(generation_before, reason).await
            }
        }
    }

    /// Restarts chitchat after it failed for `reason`. Returns `None` if the restarts failed too,
    /// or if the [`super::Gossip`] is gone.
    async fn restart(&mut self, failed: Instance, reason: String) -> Option<Instance> {
        let generation_before = self.shut_down(failed).await;
        self.retry(generation_before, reason).await
    }

    /// Ends an instance, and returns its generation.
    async fn shut_down(&mut self, former: Instance) -> u64 {
        if former.started.elapsed() >= HEALTHY_AFTER {
            self.restarts_in_a_row = 0;
        }
        let generation = former.generation;
        former.shut_down().await;
        generation
    }

    async fn retry(&mut self, generation_before: u64, mut reason: String) -> Option<Instance> {
        while self.restarts_in_a_row < RESTARTS_MAX {
            let pause = (PAUSE_MIN * 2u32.pow(self.restarts_in_a_row)).min(PAUSE_MAX);
            self.restarts_in_a_row += 1;
            count(&self.shared.restarts);
            error!(%reason, ?pause, "gossip failed; restarting it after a pause");
            tokio::select! {
                () = sleep(pause) => {}
                // No goodbye can be sent now; the peers already see this node as silent.
                _ = &mut self.channels.goodbye => return None,
            }
            match self.start_next(generation_before).await {
                Ok(instance) => return Some(instance),
                Err(error) => reason = format!("{error:#}"),
            }
        }
        error!(%reason, restarts = RESTARTS_MAX, "gossip failed too often; giving up");
        self.channels.failed.send_replace(Some(reason));
        None
    }

    /// Starts the instance that follows one of `generation_before`, on the present address of this
    /// node.
    async fn start_next(&mut self, generation_before: u64) -> anyhow::Result<Instance> {
        let now = Instant::now();
        self.published.sweep = *self.channels.sweep.borrow_and_update();
        self.published.auth = self.channels.auth.borrow_and_update().clone();
        let address = *self.channels.address.borrow_and_update();
        if address != self.config.advertise.ip() {
            self.shared.sealed.moved();
        }
        self.config.advertise.set_ip(address);
        self.config.listen.set_ip(address);
        self.config.control.set_ip(address);
        self.published.control.set_ip(address);
        self.observations.restart(now);
        // A node that knows no peer has nothing to keep.
        let has_peers = !self.channels.views.borrow().members().is_empty();
        self.settling_until = if has_peers { now + self.settle() } else { now };
        let by_clock = self.config.generation + self.started.elapsed().as_secs();
        self.start_instance(by_clock.max(generation_before + 1))
            .await
    }
}

fn first_state(config: &GossipConfig) -> Published {
    let life = config.signer.life();
    Published {
        name: config.name.clone(),
        epoch: life.epoch(),
        public: Some(config.signer.public()),
        auth: config.security.auth(),
        zone: config.zone.clone(),
        control: config.control,
        http_port: config.http_port,
        iperf3: config.iperf3.clone(),
        wire: WIRE_VERSION,
        sweep: 0,
        leaving: false,
    }
}
