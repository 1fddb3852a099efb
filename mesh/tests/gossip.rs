//! The public behaviour of the gossip layer: views, conflicts, goodbyes. The tests run in virtual
//! time over channels where possible, and over real UDP on loopback where the sockets matter.

#![cfg(feature = "gossip")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "the clock is that of the paused runtime"
)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use chitchat::transport::{ChannelTransport, Transport, TransportExt};
use iperf3_mesh_core::gossip::{Gossip, GossipConfig, GossipError, Security};
use iperf3_mesh_core::seal::Signer;
use iperf3_mesh_core::{
    AddressRules, Auth, Member, MeshName, NodeName, PeerState, View, WIRE_VERSION,
};
use tokio::sync::watch;
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn every_node_sees_every_other_as_published() {
    let mesh = Mesh::start(8).await;
    mesh.all_see_all_live(10 * SECOND).await;
    let view = mesh.nodes[0].views().borrow().clone();
    assert_eq!(view.members().len(), 7, "the node itself is not a member");
    let expected = Member {
        name: name(3),
        epoch: signer(3).life().epoch(),
        life: Some(signer(3).life()),
        auth: Auth::default(),
        wire: WIRE_VERSION,
        zone: "zone-1".to_owned(),
        control: SocketAddr::from(([10, 0, 0, 3], 9878)),
        http_port: 9876,
        iperf3: "3.12".to_owned(),
        sweep: 0,
        state: PeerState::Live,
    };
    assert_eq!(view.get(&name(3)), Some(&expected));
}

#[tokio::test(start_paused = true)]
async fn views_converge_under_message_loss() {
    let transport: Arc<dyn Transport> = Arc::from(ChannelTransport::default().drop_message(0.3));
    let mesh = Mesh::start_over(&transport, 8).await;
    mesh.all_see_all_live(60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn published_sweep_number_reaches_every_node() {
    let mesh = Mesh::start(8).await;
    mesh.all_see_all_live(10 * SECOND).await;
    mesh.nodes[5].publish_sweep(41);
    mesh.nodes[5].publish_sweep(42);
    for node in mesh.but(5) {
        sees(node, 10 * SECOND, |view| member(view, 5).sweep == 42).await;
    }
}

#[tokio::test(start_paused = true)]
async fn unchanged_mesh_publishes_no_view() {
    let mesh = Mesh::start(4).await;
    mesh.all_see_all_live(10 * SECOND).await;
    let mut views = mesh.nodes[0].views();
    views.mark_unchanged();
    let changed = timeout(60 * SECOND, views.changed()).await;
    assert!(changed.is_err(), "{:?}", views.borrow());
}

#[tokio::test(start_paused = true)]
async fn goodbye_reaches_every_node_within_two_seconds() {
    let mut mesh = Mesh::start(8).await;
    mesh.all_see_all_live(10 * SECOND).await;
    let start = tokio::time::Instant::now();
    mesh.nodes.remove(2).goodbye().await;
    assert!(start.elapsed() <= iperf3_mesh_core::gossip::GOODBYE_MAX);
    for node in &mesh.nodes {
        sees_state(node, 2, PeerState::Left, 2 * SECOND).await;
    }
    // The silence that follows changes nothing.
    tokio::time::sleep(30 * SECOND).await;
    for node in &mesh.nodes {
        sees_state(node, 2, PeerState::Left, Duration::ZERO).await;
    }
}

#[tokio::test(start_paused = true)]
async fn goodbye_reaches_every_node_under_message_loss() {
    let transport: Arc<dyn Transport> = Arc::from(ChannelTransport::default().drop_message(0.3));
    let mut mesh = Mesh::start_over(&transport, 8).await;
    mesh.all_see_all_live(60 * SECOND).await;
    mesh.nodes.remove(2).goodbye().await;
    for node in &mesh.nodes {
        sees_state(node, 2, PeerState::Left, 10 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn restarted_node_is_live_again_after_a_goodbye() {
    let mut mesh = Mesh::start(4).await;
    mesh.all_see_all_live(10 * SECOND).await;
    mesh.nodes.remove(2).goodbye().await;
    for node in &mesh.nodes {
        sees_state(node, 2, PeerState::Left, 2 * SECOND).await;
    }
    let _restarted = mesh
        .add(GossipConfig {
            signer: signer(77),
            generation: 2000,
            ..config(2)
        })
        .await;
    for node in &mesh.nodes {
        sees(node, 10 * SECOND, |view| is_live_as(view, 2, 77)).await;
    }
}

/// A machine without a clock chip may start weeks in the past, or at the same second every time.
#[tokio::test(start_paused = true)]
async fn end_of_a_second_run_is_understood_whatever_its_clock() {
    for generation in [0, 1000, 1_210_600] {
        for (first, second, state) in [
            (End::Goodbye, End::Goodbye, PeerState::Left),
            (End::Goodbye, End::Death, PeerState::Silent),
            (End::Death, End::Goodbye, PeerState::Left),
            (End::Death, End::Death, PeerState::Silent),
        ] {
            let context = format!("{first:?}, {second:?}, {generation}");
            let mut mesh = Mesh::start(4).await;
            mesh.all_see_all_live(10 * SECOND).await;
            end(mesh.nodes.remove(2), first).await;
            tokio::time::sleep(2 * SECOND).await;
            let restarted = mesh
                .add(GossipConfig {
                    signer: signer(77),
                    generation,
                    ..config(2)
                })
                .await;
            for node in &mesh.nodes {
                sees(node, 20 * SECOND, |view| is_live_as(view, 2, 77)).await;
            }
            assert_eq!(restarted.status().restarts, 0, "{context}");
            tokio::time::sleep(20 * SECOND).await;
            end(restarted, second).await;
            tokio::time::sleep(30 * SECOND).await;
            for node in &mesh.nodes {
                let views = node.views();
                let view = views.borrow();
                assert_eq!(member(&view, 2).state, state, "{context}");
                assert_eq!(member(&view, 2).life, Some(signer(77).life()), "{context}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_node_that_restarts_at_once_is_no_conflict() {
    let mut mesh = Mesh::start(6).await;
    mesh.all_see_all_live(10 * SECOND).await;
    drop(mesh.nodes.remove(2));
    // Until its port is free.
    tokio::time::sleep(SECOND / 10).await;
    // Restarted before any peer noticed: both epochs appear live for a while.
    let restarted = mesh
        .add(GossipConfig {
            signer: signer(77),
            generation: 1002,
            ..config(2)
        })
        .await;
    let mut watched: Vec<_> = mesh.nodes.iter().map(Gossip::views).collect();
    for views in &mut watched {
        until(views, 20 * SECOND, |view| {
            assert_ne!(member(view, 2).state, PeerState::Conflict);
            is_live_as(view, 2, 77)
        })
        .await;
    }
    tokio::time::sleep(120 * SECOND).await;
    for node in &mesh.nodes {
        sees(node, Duration::ZERO, |view| is_live_as(view, 2, 77)).await;
    }
    assert!(!restarted.views().borrow().is_name_taken());
    drop(restarted);
    for node in &mesh.nodes {
        sees_state(node, 2, PeerState::Silent, 40 * SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn moved_node_stays_one_live_member() {
    let mesh = Mesh::start(6).await;
    mesh.all_see_all_live(10 * SECOND).await;
    let mut watched: Vec<_> = mesh.but(2).map(Gossip::views).collect();
    mesh.nodes[2].move_to(address(100).ip());
    for views in &mut watched {
        until(views, 10 * SECOND, |view| {
            let moved = member(view, 2);
            assert_eq!(moved.state, PeerState::Live, "{view:#?}");
            moved.control.ip() == address(100).ip()
        })
        .await;
    }
    // The former identity falls silent and is forgotten, and the settling of the new one ends.
    let mut views = watched.swap_remove(0);
    let is_lost = views.wait_for(|view| !is_live_as(view, 2, 2));
    assert!(timeout(400 * SECOND, is_lost).await.is_err());
    mesh.all_see_all_live(Duration::ZERO).await;
    assert!(!mesh.nodes[2].views().borrow().is_name_taken());
}

#[tokio::test(start_paused = true)]
async fn partitioned_node_is_silent_until_the_link_heals() {
    let channels = ChannelTransport::default();
    let transport: Arc<dyn Transport> = Arc::new(channels.clone());
    let mesh = Mesh::start_over(&transport, 5).await;
    mesh.all_see_all_live(10 * SECOND).await;
    cut(&channels, &[4], &[0, 1, 2, 3]).await;
    for node in mesh.but(4) {
        sees_state(node, 4, PeerState::Silent, 40 * SECOND).await;
    }
    sees(&mesh.nodes[4], 40 * SECOND, |view| {
        view.members()
            .iter()
            .all(|other| other.state == PeerState::Silent)
    })
    .await;
    heal(&channels, &[4], &[0, 1, 2, 3]).await;
    mesh.all_see_all_live(60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn halves_that_forgot_each_other_rejoin_without_discovery() {
    let channels = ChannelTransport::default();
    let transport: Arc<dyn Transport> = Arc::new(channels.clone());
    let mesh = Mesh::start_over(&transport, 6).await;
    mesh.all_see_all_live(10 * SECOND).await;
    cut(&channels, &[0, 1, 2], &[3, 4, 5]).await;
    // Longer than chitchat keeps dead identities.
    for node in &mesh.nodes {
        sees(node, 900 * SECOND, |view| view.members().len() == 2).await;
    }
    heal(&channels, &[0, 1, 2], &[3, 4, 5]).await;
    mesh.all_see_all_live(60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn two_agents_with_one_name_are_a_conflict_everywhere() {
    let mut mesh = Mesh::start(5).await;
    mesh.all_see_all_live(10 * SECOND).await;
    let twin = GossipConfig {
        advertise: address(100),
        listen: address(100),
        control: address(100),
        signer: signer(77),
        generation: 1050,
        ..config(2)
    };
    let twin = mesh.add(twin).await;
    for node in mesh.but(2) {
        sees_state(node, 2, PeerState::Conflict, 60 * SECOND).await;
    }
    sees(&mesh.nodes[2], 60 * SECOND, |view| view.is_name_taken()).await;
    sees(&twin, 60 * SECOND, |view| view.is_name_taken()).await;
    // The conflict ends when one of the two ends.
    drop(mesh.nodes.remove(2));
    for node in &mesh.nodes {
        sees(node, 60 * SECOND, |view| is_live_as(view, 2, 77)).await;
    }
    sees(&twin, 60 * SECOND, |view| !view.is_name_taken()).await;
}

#[tokio::test(start_paused = true)]
async fn invalid_configuration_is_refused_naming_the_option() {
    let zone = GossipConfig {
        zone: "z".repeat(64),
        ..config(0)
    };
    assert!(rejection(zone).await.contains("--zone"));
    let advertise = GossipConfig {
        advertise: SocketAddr::from(([0, 0, 0, 0], 9877)),
        ..config(0)
    };
    assert!(rejection(advertise).await.contains("--advertise-address"));
    let interval = GossipConfig {
        interval: Duration::ZERO,
        ..config(0)
    };
    assert!(rejection(interval).await.contains("interval"));
}

#[tokio::test]
async fn port_in_use_is_reported_with_the_option() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let error = Gossip::over_udp(GossipConfig {
        listen,
        ..config(0)
    })
    .await
    .unwrap_err();
    assert!(matches!(error, GossipError::Listen { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&listen.to_string()) && text.contains("--gossip-port"),
        "{text}"
    );
}

#[tokio::test]
async fn foreign_listen_address_is_reported_with_the_option() {
    // An address for documentation (RFC 5737), which no host has.
    let listen = SocketAddr::from(([192, 0, 2, 1], 9877));
    let config = GossipConfig {
        listen,
        ..config(0)
    };
    let text = Gossip::over_udp(config).await.unwrap_err().to_string();
    let hint = "192.0.2.1 is not an address of this host; set --advertise-address";
    assert!(text.contains(hint), "{text}");
}

#[tokio::test]
async fn garbage_on_the_gossip_port_is_counted_and_harmless() {
    let (left, right) = (over_udp(0).await, over_udp(1).await);
    let target = left.1;
    let attacker = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut noise = Noise(1);
    for datagram in 0..10_000 {
        let mut bytes = noise.bytes(1400);
        if datagram % 2 == 0 {
            // A valid magic number, version and kind of message, so that half of it is parsed.
            let kind = bytes.first().map_or(0, |byte| byte % 4);
            bytes.splice(0..bytes.len().min(4), [0x53, 0xb0, 1, kind]);
        }
        // The receive buffer may be full; the kernel drops what does not fit.
        let _ = attacker.send_to(&bytes, target);
        if datagram % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    left.0.join(&[right.1]);
    sees(&left.0, 30 * SECOND, |view| view.members().len() == 1).await;
    sees(&right.0, 30 * SECOND, |view| is_live_as(view, 0, 0)).await;
    let status = left.0.status();
    assert!(status.refused.iter().sum::<u64>() > 1000, "{status:?}");
    assert_eq!(status.restarts, 0, "{status:?}");
    left.0.goodbye().await;
    sees_state(&right.0, 0, PeerState::Left, 10 * SECOND).await;
}

/// Agents that all know node 0.
struct Mesh {
    nodes: Vec<Gossip>,
    transport: Arc<dyn Transport>,
}

impl Mesh {
    async fn start(count: u8) -> Self {
        let transport: Arc<dyn Transport> = Arc::new(ChannelTransport::default());
        Self::start_over(&transport, count).await
    }

    async fn start_over(transport: &Arc<dyn Transport>, count: u8) -> Self {
        let mut mesh = Self {
            nodes: Vec::new(),
            transport: Arc::clone(transport),
        };
        for index in 0..count {
            let node = mesh.add(config(index)).await;
            mesh.nodes.push(node);
        }
        mesh
    }

    async fn add(&self, config: GossipConfig) -> Gossip {
        let transport = Arc::clone(&self.transport);
        let node = Gossip::start(config, transport, Arc::default())
            .await
            .unwrap();
        // Repeated like discovery does: a lossy transport may lose the first tries.
        for _ in 0..15 {
            node.join(&[address(0)]);
            tokio::time::sleep(SECOND / 10).await;
        }
        node
    }

    /// All nodes except the one at `index`.
    fn but(&self, index: usize) -> impl Iterator<Item = &Gossip> {
        self.nodes
            .iter()
            .enumerate()
            .filter(move |(at, _)| *at != index)
            .map(|(_, node)| node)
    }

    async fn all_see_all_live(&self, within: Duration) {
        for node in &self.nodes {
            sees(node, within, |view| {
                let live = |member: &&Member| member.state == PeerState::Live;
                view.members().iter().filter(live).count() == self.nodes.len() - 1
            })
            .await;
        }
    }
}

/// The way in which a run of a node ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Goodbye,
    Death,
}

async fn end(node: Gossip, end: End) {
    match end {
        End::Goodbye => node.goodbye().await,
        End::Death => {
            drop(node);
            // Until its port is free.
            tokio::time::sleep(SECOND / 10).await;
        }
    }
}

async fn sees(node: &Gossip, within: Duration, condition: impl Fn(&View) -> bool) {
    until(&mut node.views(), within, condition).await;
}

async fn until(
    views: &mut watch::Receiver<View>,
    within: Duration,
    condition: impl Fn(&View) -> bool,
) {
    let seen = timeout(within, views.wait_for(condition))
        .await
        .map(|view| view.map(|_| ()));
    let view = views.borrow();
    assert!(
        matches!(seen, Ok(Ok(()))),
        "not seen within {within:?}: {view:#?}"
    );
}

async fn sees_state(node: &Gossip, index: u8, state: PeerState, within: Duration) {
    sees(node, within, |view| {
        view.get(&name(index))
            .is_some_and(|member| member.state == state)
    })
    .await;
}

fn member(view: &View, index: u8) -> &Member {
    view.get(&name(index)).unwrap()
}

fn is_live_as(view: &View, index: u8, life: u8) -> bool {
    let life = Some(signer(life).life());
    view.get(&name(index))
        .is_some_and(|member| member.state == PeerState::Live && member.life == life)
}

async fn cut(channels: &ChannelTransport, one: &[u8], other: &[u8]) {
    for (one, other) in pairs(one, other) {
        channels.remove_link(one, other).await;
    }
}

async fn heal(channels: &ChannelTransport, one: &[u8], other: &[u8]) {
    for (one, other) in pairs(one, other) {
        channels.add_link(one, other).await;
    }
}

fn pairs(one: &[u8], other: &[u8]) -> Vec<(SocketAddr, SocketAddr)> {
    let with = |one: &u8| {
        other
            .iter()
            .map(|other| (address(*one), address(*other)))
            .collect::<Vec<_>>()
    };
    one.iter().flat_map(with).collect()
}

async fn rejection(config: GossipConfig) -> String {
    let transport = Arc::new(ChannelTransport::default());
    Gossip::start(config, transport, Arc::default())
        .await
        .unwrap_err()
        .to_string()
}

/// A node on a free UDP port of loopback, and its address.
async fn over_udp(index: u8) -> (Gossip, SocketAddr) {
    for _ in 0..20 {
        // The port is free now. If another process takes it meanwhile, try another one.
        let free = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config = GossipConfig {
            advertise: free,
            listen: free,
            control: free,
            interval: Duration::from_millis(100),
            ..config(index)
        };
        if let Ok(gossip) = Gossip::over_udp(config).await {
            return (gossip, free);
        }
    }
    panic!("no free UDP port in 20 tries");
}

fn config(index: u8) -> GossipConfig {
    GossipConfig {
        mesh: MeshName::default(),
        name: name(index),
        signer: signer(index),
        generation: 1000 + u64::from(index % 2),
        zone: format!("zone-{}", index % 2),
        advertise: address(index),
        rules: AddressRules::new(address(index).ip(), []),
        listen: address(index),
        control: SocketAddr::from(([10, 0, 0, index], 9878)),
        http_port: 9876,
        security: Security::Insecure,
        members_max: 2048,
        iperf3: "3.12".to_owned(),
        interval: SECOND,
    }
}

fn signer(number: u8) -> Arc<Signer> {
    Arc::new(Signer::new(&[number; 32]))
}

fn name(index: u8) -> NodeName {
    NodeName::new(&format!("node-{index}")).unwrap()
}

fn address(index: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, index], 9877))
}

/// Pseudo-random bytes (xorshift), the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = self.next() as usize % (longest + 1);
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}
