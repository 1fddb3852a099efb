//! Gossip that is sealed, over real UDP on loopback: who gets in, and how keys change.

#![cfg(feature = "gossip")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "the tests wait for real agents, with deadlines"
)]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use chitchat::{ChitchatEnvelope, ChitchatMessage, ProtocolVersion};
use iperf3_mesh_core::gossip::{Gossip, GossipConfig, GossipStatus, Rejection, SealMode, Security};
use iperf3_mesh_core::seal::{Channel, KeyId, Life, Received, Secret, Signer};
use iperf3_mesh_core::{
    AddressRules, Auth, AuthMode, Member, MeshName, NodeName, PeerState, Time, View,
};
use iperf3_mesh_core_testkit::keyring;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

const WITHIN: Duration = Duration::from_secs(30);
/// How long something is watched that must not happen: many rounds of gossip.
const WATCHED: Duration = Duration::from_secs(3);

#[tokio::test]
async fn agents_with_one_key_are_a_mesh_whatever_their_clocks() {
    let mut agents = Vec::new();
    // The clock chip of one has no battery, and that of another is years ahead.
    for (number, generation) in [(1, 0), (2, 1_796_000_000), (3, 2_145_916_800), (4, 1)] {
        let clock = |config: &mut GossipConfig| config.generation = generation;
        agents.push(Agent::start_with(number, sealed(number, &[7]), clock).await);
    }
    mesh(&agents).await;
    for agent in &agents {
        let in_use = |status: &GossipStatus| status.keys_in_use[&key_id(7)] == 3;
        agent.until(in_use).await;
        let status = agent.gossip().status();
        assert_eq!(status.unsealed_peers, 0, "{status:?}");
        assert_eq!(status.refused.iter().sum::<u64>(), 0, "{status:?}");
    }
}

#[tokio::test]
async fn stranger_is_counted_and_gets_no_byte() {
    let victim = Agent::start(1, sealed(1, &[7])).await;
    let stranger = Puppet::new(channel("iperf3-mesh", 66, &[8]));
    let hello = |mesh, key| channel(mesh, 67, &[key]).send(victim.address, b"", Time::default());
    let [good] = &hello("iperf3-mesh", 7)[..] else {
        panic!("a HELLO is one datagram");
    };
    for (datagram, reason) in [
        (&hello("iperf3-mesh", 8)[0][..], Rejection::UnknownKey),
        (&hello("other", 7)[0], Rejection::OtherMesh),
        (&good[1..], Rejection::Unsealed),
        (&good[..100], Rejection::Malformed),
        (&[&good[..], &[0]].concat(), Rejection::Oversize),
        (
            &[&good[..20], &[1], &good[21..]].concat(),
            Rejection::Forged,
        ),
        (&[0x53, 0xb0, 1, 0, 0], Rejection::Unsealed),
        (&[0xe4; 60], Rejection::Malformed),
        (
            &[&[0xe4; 17][..], &[0, 1], &[0xe4; 60]].concat(),
            Rejection::UnknownSession,
        ),
        (&[0xe2; 85], Rejection::Unsolicited),
    ] {
        let before = refused(&victim.gossip().status(), reason);
        stranger.socket.send_to(datagram, victim.address).unwrap();
        victim
            .until(|status| refused(status, reason) > before)
            .await;
    }
    sleep(WATCHED / 10).await;
    assert_eq!(stranger.receive(), Vec::<Vec<u8>>::new());
    assert_eq!(victim.gossip().status().identities, 0);
}

#[tokio::test]
async fn agent_outside_the_mesh_is_refused_and_learns_nothing() {
    let member = Agent::start(1, sealed(1, &[7])).await;
    let other = MeshName::new("other").unwrap();
    let same = MeshName::default();
    for (number, mesh, security, reason) in [
        (2, &same, sealed(2, &[8]), Rejection::UnknownKey),
        (3, &same, Security::Insecure, Rejection::Unsealed),
        (4, &other, sealed(4, &[7]), Rejection::OtherMesh),
    ] {
        let change = |config: &mut GossipConfig| config.mesh = mesh.clone();
        let outsider = Agent::start_with(number, security, change).await;
        outsider.gossip().join(&[member.address]);
        member.until(|status| refused(status, reason) >= 1).await;
        sleep(WATCHED).await;
        for agent in [&outsider, &member] {
            let view = agent.gossip().views().borrow().clone();
            assert!(view.members().is_empty(), "{view:?}");
            assert_eq!(agent.gossip().status().identities, 0);
        }
    }
}

#[tokio::test]
async fn rotation_in_any_order_loses_no_member() {
    let mut agents = Vec::new();
    for number in 1..=5 {
        agents.push(Agent::start(number, sealed(number, &[7])).await);
    }
    mesh(&agents).await;
    let watch = Watch::of(&agents);
    for keys in [&[8, 7][..], &[8]] {
        for at in [3, 0, 4, 1, 2] {
            agents[at].gossip().replace_keys(keyring(keys));
            sleep(Duration::from_millis(700)).await;
        }
        for agent in &agents {
            agent.until(|it| it.keys_in_use[&key_id(8)] == 4).await;
        }
    }
    watch.saw_all_live().await;
}

#[tokio::test]
async fn change_of_keys_and_mode_reaches_the_peers() {
    let agents = [
        Agent::start(1, sealed(1, &[7])).await,
        Agent::start(2, sealed(2, &[7])).await,
    ];
    mesh(&agents).await;
    let [one, other] = &agents;
    for (keys, mode, told) in [
        (&[7][..], SealMode::Required, AuthMode::Required),
        (&[8, 7], SealMode::Permissive, AuthMode::Permissive),
    ] {
        other.gossip().replace_keys(keyring(keys));
        other.gossip().set_mode(mode);
        let accepted = keyring(keys).wire_ids().collect();
        let auth = Auth {
            mode: told,
            accepted,
        };
        let mut views = one.gossip().views();
        let is_told = |view: &View| view.get(&other.name).is_some_and(|it| it.auth == auth);
        let told = timeout(WITHIN, views.wait_for(is_told)).await.is_ok();
        assert!(told, "{:?}", one.gossip().views().borrow());
    }
}

#[tokio::test]
async fn removed_key_is_refused_at_once() {
    let agents = [
        Agent::start(1, sealed(1, &[7])).await,
        Agent::start(2, sealed(2, &[7])).await,
    ];
    mesh(&agents).await;
    let [one, other] = &agents;
    one.gossip().replace_keys(keyring(&[8]));
    let status = one.gossip().status();
    assert_eq!(status.keys_in_use, [(key_id(8), 0)].into(), "{status:?}");
    one.until(|status| refused(status, Rejection::RemovedKey) >= 1)
        .await;
    for (agent, peer) in [(one, other), (other, one)] {
        agent.sees(peer, PeerState::Silent).await;
    }
}

#[tokio::test]
async fn migration_from_plain_to_sealed_splits_nothing() {
    let plain = || Security::Insecure;
    let mut agents = Vec::new();
    for number in 1..=4 {
        agents.push(Agent::start(number, plain()).await);
    }
    mesh(&agents).await;
    // A rolling upgrade: one agent after the other restarts, at the same address.
    for at in 0..4 {
        let others: Vec<_> = but(&agents, at).map(|it| it.gossip().views()).collect();
        let number = 10 + at as u8;
        agents[at].restart(number, permissive(number, &[7])).await;
        let joined: Vec<_> = but(&agents, at).map(|it| it.address).collect();
        agents[at].gossip().join(&joined);
        let restarted = &agents[at];
        for agent in but(&agents, at) {
            restarted.sees(agent, PeerState::Live).await;
            agent.sees(restarted, PeerState::Live).await;
        }
        for views in others {
            for agent in but(&agents, at) {
                let view = views.borrow();
                let state = view.get(&agent.name).map(|it| it.state);
                assert!(matches!(state, None | Some(PeerState::Live)), "{view:?}");
            }
        }
    }
    for agent in &agents {
        agent.until(|it| it.unsealed_peers == 0).await;
    }
    let watch = Watch::of(&agents);
    for agent in &agents {
        agent.gossip().set_mode(SealMode::Required);
        sleep(Duration::from_millis(500)).await;
    }
    watch.saw_all_live().await;
    for agent in &agents {
        assert_eq!(refused(&agent.gossip().status(), Rejection::Unsealed), 0);
    }
}

#[tokio::test]
async fn restarted_agent_is_back_and_goodbyes_arrive() {
    let mut agents = Vec::new();
    for number in 1..=3 {
        agents.push(Agent::start(number, sealed(number, &[7])).await);
    }
    mesh(&agents).await;
    agents[2].restart(9, sealed(9, &[7])).await;
    mesh(&agents).await;
    for agent in &agents {
        assert_eq!(refused(&agent.gossip().status(), Rejection::OtherLife), 0);
    }
    let mut gone = agents.pop().unwrap();
    gone.gossip.take().unwrap().goodbye().await;
    for agent in &agents {
        agent.sees(&gone, PeerState::Left).await;
    }
}

#[tokio::test]
async fn agent_that_moves_begins_new_sessions_at_once() {
    let mut agents = Vec::new();
    for number in 1..=3 {
        agents.push(Agent::start(number, sealed(number, &[7])).await);
    }
    mesh(&agents).await;
    let there = IpAddr::from([127, 0, 0, 2]);
    agents[0].gossip().move_to(there);
    for agent in &agents[1..] {
        let mut views = agent.gossip().views();
        let has_moved = |view: &View| {
            let moved = view.get(&agents[0].name).unwrap();
            assert_eq!(moved.state, PeerState::Live);
            moved.control.ip() == there
        };
        let moved = timeout(WITHIN, views.wait_for(has_moved)).await;
        assert!(matches!(moved, Ok(Ok(_))));
        let status = agent.gossip().status();
        assert_eq!(refused(&status, Rejection::UnknownSession), 0);
    }
}

#[tokio::test]
async fn recorded_traffic_does_nothing_the_second_time() {
    let mut victim = Agent::start(1, sealed(1, &[7])).await;
    let mut member = Puppet::new(channel("iperf3-mesh", 2, &[7]));
    // A SYN that names nobody: the agent reads it, and counts that.
    let mut syn = Vec::new();
    let message = ChitchatMessage::Syn {
        cluster_id: "iperf3-mesh".to_owned(),
        digest: Default::default(),
    };
    let version = ProtocolVersion::V1;
    ChitchatEnvelope { version, message }.serialize(&mut syn);
    let read = |status: &GossipStatus| refused(status, Rejection::Source);
    for round in 1..=5 {
        member.say(&syn, &victim).await;
        victim.until(|status| read(status) == round).await;
    }
    member.replay(&victim);
    let is_refused = |status: &GossipStatus| refused(status, Rejection::Replayed) >= 5;
    victim.until(is_refused).await;
    assert_eq!(read(&victim.gossip().status()), 5);
    victim.restart(3, sealed(3, &[7])).await;
    member.replay(&victim);
    let is_refused = |status: &GossipStatus| refused(status, Rejection::UnknownSession) >= 5;
    victim.until(is_refused).await;
    let status = victim.gossip().status();
    assert_eq!((read(&status), status.identities), (0, 0), "{status:?}");
}

/// A member of the mesh that says what a test tells it to, and remembers all of it.
struct Puppet {
    socket: UdpSocket,
    channel: Channel,
    sent: Vec<Vec<u8>>,
}

impl Puppet {
    fn new(channel: Channel) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            socket,
            channel,
            sent: Vec::new(),
        }
    }

    /// Sends a message, after a handshake if there is no session yet.
    async fn say(&mut self, message: &[u8], to: &Agent) {
        let datagrams = self.channel.send(to.address, message, Time::default());
        self.send(datagrams, to);
        let said = async {
            while !self.channel.is_met(to.address, Time::default()) {
                sleep(Duration::from_millis(10)).await;
                for datagram in self.receive() {
                    let now = Time::default();
                    match self.channel.receive(&datagram, to.address, true, now) {
                        Ok(Received::Answer(datagrams)) => self.send(datagrams, to),
                        Ok(Received::Nothing) => {}
                        other => panic!("{other:?}"),
                    }
                }
            }
        };
        timeout(WITHIN, said).await.unwrap();
    }

    fn send(&mut self, datagrams: Vec<Vec<u8>>, to: &Agent) {
        for datagram in datagrams {
            self.socket.send_to(&datagram, to.address).unwrap();
            self.sent.push(datagram);
        }
    }

    fn replay(&self, to: &Agent) {
        for datagram in &self.sent {
            self.socket.send_to(datagram, to.address).unwrap();
        }
    }

    /// Returns the datagrams that have arrived.
    fn receive(&self) -> Vec<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let mut datagrams = Vec::new();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            datagrams.push(buffer[..length].to_vec());
        }
        datagrams
    }
}

/// An agent on a free UDP port of loopback.
struct Agent {
    gossip: Option<Gossip>,
    address: SocketAddr,
    name: NodeName,
}

impl Agent {
    async fn start(number: u8, security: Security) -> Self {
        Self::start_with(number, security, |_| ()).await
    }

    async fn start_with(
        number: u8,
        security: Security,
        change: impl Fn(&mut GossipConfig),
    ) -> Self {
        for _ in 0..20 {
            // The port is free now. If another process takes it meanwhile, try another one.
            let free = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            let name = NodeName::new(&format!("node-{number}")).unwrap();
            let mut config = config(&name, number, address, security.clone());
            change(&mut config);
            if let Ok(gossip) = Gossip::over_udp(config).await {
                return Self {
                    gossip: Some(gossip),
                    address,
                    name,
                };
            }
        }
        panic!("no free UDP port in 20 tries");
    }

    /// Ends the agent without a goodbye, and starts it again with another life.
    async fn restart(&mut self, number: u8, security: Security) {
        self.gossip = None;
        let config = config(&self.name, number, self.address, security);
        let deadline = Instant::now() + WITHIN;
        while self.gossip.is_none() {
            // Until the former run has closed its port.
            match Gossip::over_udp(config.clone()).await {
                Ok(gossip) => self.gossip = Some(gossip),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn gossip(&self) -> &Gossip {
        self.gossip.as_ref().unwrap()
    }

    async fn sees(&self, other: &Self, state: PeerState) {
        let mut views = self.gossip().views();
        let is_seen = |view: &View| view.get(&other.name).is_some_and(|it| it.state == state);
        let seen = timeout(WITHIN, views.wait_for(is_seen)).await.is_ok();
        assert!(seen, "{:?}", self.gossip().views().borrow());
    }

    async fn until(&self, condition: impl Fn(&GossipStatus) -> bool) {
        let seen = async {
            while !condition(&self.gossip().status()) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = timeout(WITHIN, seen).await;
        assert!(seen.is_ok(), "{:?}", self.gossip().status());
    }
}

/// Makes a mesh of all agents.
async fn mesh(agents: &[Agent]) {
    for agent in &agents[1..] {
        agent.gossip().join(&[agents[0].address]);
    }
    for agent in agents {
        for other in agents.iter().filter(|other| other.name != agent.name) {
            agent.sees(other, PeerState::Live).await;
        }
    }
}

fn but(agents: &[Agent], at: usize) -> impl Iterator<Item = &Agent> {
    let others = agents.iter().enumerate().filter(move |(of, _)| *of != at);
    others.map(|(_, agent)| agent)
}

fn is_all_live(view: &View, peers: usize) -> bool {
    let live = |it: &&Member| it.state == PeerState::Live;
    view.members().iter().filter(live).count() == peers
}

/// Tasks that end when an agent no longer sees all others live.
struct Watch(Vec<JoinHandle<View>>);

impl Watch {
    fn of(agents: &[Agent]) -> Self {
        let peers = agents.len() - 1;
        let watch = |agent: &Agent| {
            let mut views = agent.gossip().views();
            tokio::spawn(async move {
                let lost = views.wait_for(|view| !is_all_live(view, peers)).await;
                lost.unwrap().clone()
            })
        };
        Self(agents.iter().map(watch).collect())
    }

    async fn saw_all_live(self) {
        sleep(WATCHED).await;
        for task in self.0 {
            assert!(!task.is_finished(), "{:?}", task.await);
        }
    }
}

fn refused(status: &GossipStatus, reason: Rejection) -> u64 {
    status.refused[reason as usize]
}

fn config(name: &NodeName, number: u8, at: SocketAddr, security: Security) -> GossipConfig {
    GossipConfig {
        mesh: MeshName::default(),
        name: name.clone(),
        signer: signer(number),
        generation: 1000,
        zone: String::new(),
        advertise: at,
        rules: AddressRules::new(at.ip(), []),
        listen: at,
        control: at,
        http_port: 9876,
        security,
        members_max: 2048,
        iperf3: "3.12".to_owned(),
        interval: Duration::from_millis(100),
    }
}

fn sealed(number: u8, keys: &[u8]) -> Security {
    secured(number, keys, SealMode::Required)
}

fn permissive(number: u8, keys: &[u8]) -> Security {
    secured(number, keys, SealMode::Permissive)
}

fn secured(number: u8, keys: &[u8], mode: SealMode) -> Security {
    Security::Sealed {
        secret: Secret::new([number; 32]),
        keyring: keyring(keys),
        mode,
    }
}

fn channel(mesh: &str, number: u8, keys: &[u8]) -> Channel {
    let secret = Secret::new([number; 32]);
    Channel::new(life(number), secret, mesh.to_owned(), keyring(keys))
}

fn signer(number: u8) -> Arc<Signer> {
    Arc::new(Signer::new(&[number; 32]))
}

fn life(number: u8) -> Life {
    signer(number).life()
}

fn key_id(number: u8) -> KeyId {
    KeyId::new(&format!("key-{number}")).unwrap()
}
