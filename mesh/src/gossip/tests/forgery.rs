//! Tests of a running gossip layer: forged messages over real UDP, restarts, and names that share a
//! short id.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{ChannelTransport, RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{ChitchatEnvelope, ChitchatMessage};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::super::state::short_id;
use super::super::{Gossip, GossipConfig, GossipStatus, Rejection};
use super::forged::{Forged, challenge};
use super::node::noise;
use super::{address, config, name, signer};
use crate::{Epoch, PeerState, View};

#[tokio::test]
async fn forged_states_restart_nothing() {
    let victim = Udp::start("victim", 1).await;
    let peer = Udp::start("peer", 2).await;
    victim.gossip.join(&[peer.address]);
    peer.sees_live(&victim).await;
    let attacker = Attacker::new();
    let forged = |of: &Udp| Forged {
        short: short(of.number),
        ..Forged::at(of.address)
    };
    // The own state, and a version that decreases within one delta, which makes chitchat panic.
    let own = [
        forged(&victim).node(),
        Forged::key("n", "impostor", 1 << 39, 0),
    ]
    .concat();
    let key = Forged::key("s", "1", 1000, 0);
    let odd = [forged(&peer).node(), key, Forged::set_max_version(500)].concat();
    for news in [own, odd] {
        attacker.exchange(&victim, &Forged::ack(&news)).await;
    }
    victim
        .until(|status| refused(status, Rejection::OwnState) == 1)
        .await;
    victim
        .until(|status| refused(status, Rejection::Invalid) == 1)
        .await;
    victim.gossip.publish_sweep(9);
    let mut views = peer.gossip.views();
    let seen = views.wait_for(|view| view.get(&name("victim")).is_some_and(|it| it.sweep == 9));
    timeout(Duration::from_secs(30), seen)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(victim.gossip.status().restarts, 0);
}

/// A machine without a clock chip may start at the same second every time.
#[tokio::test]
async fn run_with_the_identity_of_the_run_before_takes_a_new_one() {
    let peer = Udp::start("peer", 2).await;
    let mut first = Udp::start("twice", 1).await;
    first.gossip.join(&[peer.address]);
    peer.sees_live(&first).await;
    sleep(Duration::from_secs(2)).await;
    let is_same = |other: &u64| short(*other) == short(1);
    let other = (3..).find(is_same).unwrap();
    let same_id = config("twice", other, first.address);
    drop(first.gossip);
    sleep(Duration::from_millis(100)).await;
    first.gossip = Gossip::over_udp(same_id).await.unwrap();
    first.number = other;
    first.gossip.join(&[peer.address]);
    first.until(|status| status.restarts == 1).await;
    peer.sees_live(&first).await;
}

#[tokio::test]
async fn goodbye_told_by_others_counts_not_while_a_node_speaks() {
    let (node, peer) = pair().await;
    let attacker = Attacker::new();
    attacker.introduce(&peer).await;
    let mut views = peer.gossip.views();
    views.mark_unchanged();
    let said = Forged {
        short: short(node.number),
        ..Forged::at(node.address)
    };
    for version in 100..120 {
        let goodbye = [said.node(), Forged::key("p", "leaving", version, 0)].concat();
        attacker.exchange(&peer, &Forged::ack(&goodbye)).await;
        let member = views.borrow().get(&name("node")).map(|it| it.state);
        assert_eq!(member, Some(PeerState::Live));
    }
    assert_eq!(node.gossip.status().restarts, 0);
}

#[tokio::test]
async fn goodbye_of_a_dead_node_counts_only_if_it_was_signed() {
    let (node, peer) = pair().await;
    let said = Forged {
        short: short(node.number),
        ..Forged::at(node.address)
    };
    drop(node.gossip);
    // Others are heard about an address that is silent.
    sleep(Duration::from_secs(3)).await;
    let attacker = Attacker::new();
    for version in 100..110 {
        let goodbye = [said.node(), Forged::key("p", "leaving", version, 0)].concat();
        attacker
            .exchange(&peer, &Forged::ack(&[goodbye, filler()].concat()))
            .await;
    }
    peer.until(|status| refused(status, Rejection::Signature) >= 5)
        .await;
    let mut views = peer.gossip.views();
    let end = views.wait_for(|view| {
        let state = view.get(&name("node")).map(|it| it.state);
        matches!(state, Some(PeerState::Silent | PeerState::Left))
    });
    let end = timeout(Duration::from_secs(30), end)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(end.get(&name("node")).unwrap().state, PeerState::Silent);
}

#[tokio::test]
async fn node_that_speaks_is_moved_by_nobody_else() {
    let (node, peer) = pair().await;
    let attacker = Attacker::new();
    let at = attacker.0.local_addr().unwrap();
    let control = at.to_string();
    let values = [
        ("n", "node"),
        ("e", "0000000000000001"),
        ("z", ""),
        ("c", control.as_str()),
        ("h", "1"),
        ("w", "2"),
        ("s", "0"),
        ("p", "up"),
    ];
    let mut forged = Forged {
        generation: 9000,
        short: "zz",
        ..Forged::at(at)
    };
    attacker.introduce_as(forged, &peer).await;
    let known = Forged {
        short: short(peer.number),
        ..Forged::at(peer.address)
    };
    let mut news = forged.node();
    for (version, (key, value)) in (1..).zip(values) {
        news.extend(Forged::key(key, value, version, 0));
    }
    for heartbeat in 10..30 {
        forged.heartbeat = heartbeat;
        attacker.ask(&peer, &Forged::syn(&[forged, known])).await;
        attacker.send(&peer, &Forged::ack(&news));
        sleep(Duration::from_millis(100)).await;
        let views = peer.gossip.views();
        let control = views.borrow().get(&name("node")).map(|it| it.control);
        assert_eq!(control, Some(node.address));
    }
}

#[tokio::test]
async fn flood_of_forged_identities_stops_at_the_maximum() {
    let victim = Udp::start("victim", 1).await;
    let attacker = Attacker::new();
    attacker.introduce(&victim).await;
    for wave in 0..20 {
        let ids: Vec<_> = (wave * 1300..(wave + 1) * 1300).map(noise).collect();
        attacker.send(&victim, &Forged::syn(&ids));
        sleep(Duration::from_millis(60)).await;
    }
    victim
        .until(|status| refused(status, Rejection::NoRoom) > 0)
        .await;
    let status = victim.gossip.status();
    assert_eq!(status.restarts, 0, "{status:?}");
    assert!(status.identities <= 4096, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn digest_larger_than_a_datagram_ends_no_gossip() {
    let channels = ChannelTransport::default();
    let transport = Arc::new(channels.clone());
    let gossip = Gossip::start(config("a", 1, address(1)), transport, Arc::default());
    let gossip = gossip.await.unwrap();
    let mut stranger = channels.open(address(2)).await.unwrap();
    let ids: Vec<_> = (0..6000).map(noise).collect();
    let answered = async {
        loop {
            let syn = ChitchatEnvelope::deserialize(&mut &Forged::syn(&ids)[..]).unwrap();
            stranger.send(address(1), syn).await.unwrap();
            sleep(Duration::from_secs(2)).await;
            assert_eq!(gossip.status().restarts, 0);
            let received = stranger.recv().await.unwrap();
            if let ChitchatMessage::SynAck { .. } = received.envelope.message {
                return received.num_bytes_received;
            }
        }
    };
    let bytes = timeout(Duration::from_secs(30), answered).await.unwrap();
    assert!(bytes > 65_507, "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn gossip_that_fails_once_keeps_the_epoch() {
    let channels = ChannelTransport::default();
    let fault = Arc::new(Notify::new());
    let transport = Arc::new(Faulty(channels.clone(), Arc::clone(&fault)));
    let faulty = Gossip::start(config("a", 1, address(1)), transport, Arc::default());
    let faulty = faulty.await.unwrap();
    let peer = Gossip::start(
        config("b", 2, address(2)),
        Arc::new(channels),
        Arc::default(),
    );
    let peer = peer.await.unwrap();
    faulty.join(&[address(2)]);
    let mut views = peer.views();
    let sees = async |views: &mut watch::Receiver<View>, sweep| {
        let seen = views.wait_for(|view| {
            view.get(&name("a"))
                .is_some_and(|it| it.epoch == epoch(1) && it.sweep == sweep)
        });
        timeout(Duration::from_secs(30), seen)
            .await
            .unwrap()
            .unwrap();
    };
    sees(&mut views, 0).await;
    fault.notify_one();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(faulty.status().restarts, 1);
    // The node finds the peer again without another join.
    faulty.publish_sweep(9);
    sees(&mut views, 9).await;
}

#[tokio::test]
async fn full_node_still_contacts_the_agents_to_join() {
    let full = Udp::start_with("full", 1, |config| config.members_max = 0).await;
    let peer = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    full.gossip.join(&[peer.local_addr().unwrap()]);
    let mut buffer = [0; 1500];
    let received = peer.recv(&mut buffer);
    let received = timeout(Duration::from_secs(30), received).await;
    assert!(received.is_ok(), "no SYN");
}

#[tokio::test(start_paused = true)]
async fn restart_of_gossip_keeps_the_members_that_were_first() {
    let channels = ChannelTransport::default();
    let fault = Arc::new(Notify::new());
    let transport = Arc::new(Faulty(channels.clone(), Arc::clone(&fault)));
    let mut small = config("small", 1, address(1));
    small.members_max = 1;
    let small = Gossip::start(small, transport, Arc::default())
        .await
        .unwrap();
    let start = async |of, epoch, at| {
        let transport = Arc::new(channels.clone());
        let gossip = Gossip::start(config(of, epoch, at), transport, Arc::default());
        let gossip = gossip.await.unwrap();
        gossip.join(&[address(1)]);
        sleep(Duration::from_secs(20)).await;
        gossip
    };
    let _first = start("z", 2, address(2)).await;
    let _second = start("b", 3, address(3)).await;
    let member = || {
        let view = small.views().borrow().clone();
        view.members().first().map(|member| member.name.clone())
    };
    assert_eq!(member(), Some(name("z")));
    fault.notify_one();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(small.status().restarts, 1);
    assert_eq!(member(), Some(name("z")));
}

#[tokio::test(start_paused = true)]
async fn names_that_share_a_short_id_stay_two_nodes() {
    let transport = Arc::new(ChannelTransport::default());
    let start = |of, epoch, at| {
        let transport = transport.clone();
        Gossip::start_as(
            "the-same".to_owned(),
            config(of, epoch, address(at)),
            transport,
            Arc::default(),
        )
    };
    let one = start("one", 1, 1).await.unwrap();
    let _two = start("two", 2, 2).await.unwrap();
    let three = start("three", 3, 3).await.unwrap();
    one.join(&[address(2), address(3)]);
    let mut views = three.views();
    let live = |view: &View| {
        let live = |member: &&crate::Member| member.state == PeerState::Live;
        view.members().iter().filter(live).count() == 2
    };
    timeout(Duration::from_secs(30), views.wait_for(live))
        .await
        .unwrap()
        .unwrap();
    sleep(Duration::from_secs(60)).await;
    assert!(live(&views.borrow()), "{:?}", views.borrow());
}

#[tokio::test(start_paused = true)]
async fn gossip_that_keeps_failing_gives_up_with_the_reason() {
    let gossip = Gossip::start(config("a", 1, address(1)), Arc::new(Broken), Arc::default());
    let gossip = gossip.await.unwrap();
    let reason = timeout(Duration::from_secs(600), gossip.failed())
        .await
        .unwrap();
    assert!(reason.contains("the link is down"), "{reason}");
    assert_eq!(gossip.status().restarts, 8);
    gossip.goodbye().await;
}

/// A transport that fails once, whenever it is told to.
struct Faulty(ChannelTransport, Arc<Notify>);

#[async_trait]
impl Transport for Faulty {
    async fn open(&self, listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let socket = self.0.open(listen).await?;
        Ok(Box::new(FaultySocket(socket, Arc::clone(&self.1))))
    }
}

struct FaultySocket(Box<dyn Socket>, Arc<Notify>);

#[async_trait]
impl Socket for FaultySocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.0.local_addr()
    }

    async fn send(
        &mut self,
        to: SocketAddr,
        envelope: ChitchatEnvelope,
    ) -> anyhow::Result<SendOutcome> {
        self.0.send(to, envelope).await
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        tokio::select! {
            received = self.0.recv() => received,
            () = self.1.notified() => anyhow::bail!("the link went down"),
        }
    }
}

/// A transport whose sockets open, but fail on each receive.
struct Broken;

#[async_trait]
impl Transport for Broken {
    async fn open(&self, _: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl Socket for Broken {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(address(1))
    }

    async fn send(&mut self, _: SocketAddr, _: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        Ok(SendOutcome { num_bytes_sent: 0 })
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        anyhow::bail!("the link is down")
    }
}

/// Returns two nodes that see each other.
async fn pair() -> (Udp, Udp) {
    let (node, peer) = (Udp::start("node", 1).await, Udp::start("peer", 2).await);
    node.gossip.join(&[peer.address]);
    peer.sees_live(&node).await;
    node.sees_live(&peer).await;
    (node, peer)
}

/// A node on a free UDP port of loopback.
struct Udp {
    gossip: Gossip,
    address: SocketAddr,
    name: &'static str,
    /// The number of its life.
    number: u64,
}

impl Udp {
    async fn start(of: &'static str, number: u64) -> Self {
        Self::start_with(of, number, |_| ()).await
    }

    async fn start_with(of: &'static str, number: u64, change: impl Fn(&mut GossipConfig)) -> Self {
        for _ in 0..20 {
            // The port is free now. If another process takes it in the meantime, try another port.
            let free = UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap();
            let mut config = config(of, number, free);
            change(&mut config);
            if let Ok(gossip) = Gossip::over_udp(config).await {
                return Self {
                    gossip,
                    address: free,
                    name: of,
                    number,
                };
            }
        }
        panic!("no free UDP port in 20 tries");
    }

    async fn sees_live(&self, other: &Self) {
        let mut views = self.gossip.views();
        let seen = views.wait_for(|view| {
            view.get(&name(other.name)).is_some_and(|member| {
                member.state == PeerState::Live && member.epoch == epoch(other.number)
            })
        });
        let seen = timeout(Duration::from_secs(30), seen).await.is_ok();
        assert!(seen, "{:?}", self.gossip.views().borrow());
    }

    async fn until(&self, condition: impl Fn(&GossipStatus) -> bool) {
        let seen = async {
            while !condition(&self.gossip.status()) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = timeout(Duration::from_secs(30), seen).await;
        assert!(seen.is_ok(), "{:?}", self.gossip.status());
    }
}

fn refused(status: &GossipStatus, reason: Rejection) -> u64 {
    status.refused[reason as usize]
}

/// A socket of somebody else.
struct Attacker(UdpSocket);

impl Attacker {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    fn send(&self, victim: &Udp, datagram: &[u8]) {
        self.0.send_to(datagram, victim.address).unwrap();
    }

    /// Begins an exchange with the victim, and ends it with `ack`.
    async fn exchange(&self, victim: &Udp, ack: &[u8]) {
        self.introduce(victim).await;
        self.send(victim, ack);
    }

    /// Proves the return path.
    async fn introduce(&self, victim: &Udp) {
        let own = Forged::at(self.0.local_addr().unwrap());
        self.introduce_as(own, victim).await;
    }

    async fn introduce_as(&self, own: Forged, victim: &Udp) {
        let known = Forged {
            short: short(victim.number),
            heartbeat: challenge(&self.ask(victim, &Forged::syn(&[own])).await),
            ..Forged::at(victim.address)
        };
        self.ask(victim, &Forged::syn(&[own, known])).await;
    }

    /// Sends `datagram`, and returns the answer.
    async fn ask(&self, victim: &Udp, datagram: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let answered = async {
            loop {
                self.send(victim, datagram);
                sleep(Duration::from_millis(50)).await;
                // An answer, and no SYN of the victim's own.
                while let Ok(length) = self.0.recv(&mut buffer) {
                    if buffer[3] == 1 {
                        return buffer[..length].to_vec();
                    }
                }
            }
        };
        timeout(Duration::from_secs(30), answered).await.unwrap()
    }
}

/// A state without news: the one before it is not the last of its message, so it is not cut.
fn filler() -> Vec<u8> {
    Forged::default().node()
}

fn epoch(number: u64) -> Epoch {
    signer(number).life().epoch()
}

fn short(number: u64) -> &'static str {
    Box::leak(short_id(epoch(number)).into_boxed_str())
}
