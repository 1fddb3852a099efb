//! Tests of chitchat's failures: forged messages over real UDP that make it panic or grow,
//! restarts, and names that share a short id.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{ChannelTransport, RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{ChitchatEnvelope, ChitchatId, Serializable};
use tokio::time::{sleep, timeout};

use super::super::state::short_id;
use super::super::{Gossip, GossipStatus};
use super::{address, config, name};
use crate::{Epoch, PeerState};

#[tokio::test]
async fn forged_message_that_panics_chitchat_keeps_the_epoch() {
    let victim = Udp::start("victim", 1).await;
    let peer = Udp::start("peer", 2).await;
    victim.gossip.join(&[peer.address]);
    peer.sees_live(&victim).await;
    // A version that decreases within one delta fails an assertion in chitchat.
    let ops = [key_value("s", "1", 1000), set_max_version(500)].concat();
    attack(&victim, &ack(&peer.id(), &ops));
    victim.until(|status| status.restarts == 1).await;
    // The victim finds the peer again without another join, and the peer sees the same epoch.
    peer.sees_live(&victim).await;
    victim.sees_live(&peer).await;
    victim.gossip.publish_sweep(9);
    let mut views = peer.gossip.views();
    let seen = views.wait_for(|view| view.get(&name("victim")).is_some_and(|it| it.sweep == 9));
    timeout(Duration::from_secs(30), seen)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn overwritten_own_state_is_detected_and_replaced() {
    let victim = Udp::start("victim", 1).await;
    attack(
        &victim,
        &ack(&victim.id(), &key_value("n", "impostor", u64::MAX)),
    );
    victim.until(|status| status.restarts == 1).await;
    // With the forged version, chitchat would panic here.
    victim.gossip.publish_sweep(9);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(victim.gossip.status().restarts, 1);
}

#[tokio::test]
async fn flood_of_forged_identities_stops_at_the_ceiling() {
    let victim = Udp::start("victim", 1).await;
    for wave in 0..12 {
        attack(&victim, &syn(wave));
        sleep(Duration::from_millis(60)).await;
    }
    victim.until(|status| status.refused > 0).await;
    let status = victim.gossip.status();
    assert_eq!(status.restarts, 0, "{status:?}");
    assert!(status.identities < 3000, "{status:?}");
}

#[tokio::test]
async fn decompression_bomb_is_dropped_before_decoding() {
    let victim = Udp::start("victim", 1).await;
    // These eleven bytes decompress to 64 KiB: a frame with one run of zeros.
    let frame = [
        0x28, 0xb5, 0x2f, 0xfd, 0x60, 0xff, 0xfe, 0xfb, 0xff, 0x07, 0,
    ];
    let block = [&[1, 11, 0], &frame[..]].concat();
    let bomb = [&[0x53, 0xb0, 1, 2], &block.repeat(4000)[..], &[0]].concat();
    attack(&victim, &bomb);
    victim.until(|status| status.oversize == 1).await;
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
    let live = |view: &crate::View| {
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

/// A node on a free UDP port of loopback.
struct Udp {
    gossip: Gossip,
    address: SocketAddr,
    name: &'static str,
    epoch: u64,
}

impl Udp {
    async fn start(of: &'static str, epoch: u64) -> Self {
        for _ in 0..20 {
            // The port is free now. If another process takes it in the meantime, try another port.
            let free = UdpSocket::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap();
            if let Ok(gossip) = Gossip::over_udp(config(of, epoch, free)).await {
                return Self {
                    gossip,
                    address: free,
                    name: of,
                    epoch,
                };
            }
        }
        panic!("no free UDP port in 20 tries");
    }

    fn id(&self) -> ChitchatId {
        ChitchatId::new(short_id(Epoch(self.epoch)), 1000, self.address)
    }

    async fn sees_live(&self, other: &Self) {
        let mut views = self.gossip.views();
        let seen = views.wait_for(|view| {
            view.get(&name(other.name)).is_some_and(|member| {
                member.state == PeerState::Live && member.epoch == Epoch(other.epoch)
            })
        });
        timeout(Duration::from_secs(30), seen)
            .await
            .unwrap()
            .unwrap();
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

fn attack(victim: &Udp, datagram: &[u8]) {
    let attacker = UdpSocket::bind("127.0.0.1:0").unwrap();
    attacker.send_to(datagram, victim.address).unwrap();
}

/// Returns an uncompressed stream of blocks.
fn stream(content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for block in content.chunks(16_384) {
        bytes.push(2);
        bytes.extend(u16::try_from(block.len()).unwrap().to_le_bytes());
        bytes.extend(block);
    }
    bytes.push(0);
    bytes
}

fn ack(node: &ChitchatId, ops: &[u8]) -> Vec<u8> {
    let mut delta = vec![0];
    node.serialize(&mut delta);
    // These are the two versions "garbage-collected up to" and "newer than", both zero.
    delta.extend([0; 16]);
    delta.extend(ops);
    [&[0x53, 0xb0, 1, 2], &stream(&delta)[..]].concat()
}

fn key_value(key: &str, value: &str, version: u64) -> Vec<u8> {
    let mut op = vec![1];
    key.serialize(&mut op);
    value.serialize(&mut op);
    version.serialize(&mut op);
    op.push(0);
    op
}

fn set_max_version(version: u64) -> Vec<u8> {
    let mut op = vec![2];
    version.serialize(&mut op);
    op
}

/// Returns a SYN that fills a datagram with forged identities.
fn syn(wave: u64) -> Vec<u8> {
    let mut digest = Vec::new();
    for node in wave * 1300..wave * 1300 + 1300 {
        // This spreads the bits, so that the digest hardly compresses.
        let noise = (node + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let [a, b, c, d, ..] = noise.to_le_bytes();
        let id = ChitchatId::new(
            format!("{:08x}", noise >> 32),
            noise,
            SocketAddr::from(([127, b, c, d], u16::from(a) + 1)),
        );
        id.serialize(&mut digest);
        (noise >> 7).serialize(&mut digest);
        0u64.serialize(&mut digest);
        (noise >> 9).serialize(&mut digest);
    }
    let mut bytes = [&[0x53, 0xb0, 1, 0], &stream(&digest)[..]].concat();
    super::super::config::CLUSTER.serialize(&mut bytes);
    bytes
}
