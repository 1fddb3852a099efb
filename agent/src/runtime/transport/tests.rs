//! The control port of one agent, over TCP: what it takes, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use iperf3_mesh_core::gossip::SealMode;
use iperf3_mesh_core::seal::{Envelopes, Key, KeyId, Keyring, Life, Purpose, Role, Secret, Target};
use iperf3_mesh_core::wire::{Body, Complaints, Message};
use iperf3_mesh_core::{Input, MeshName, NodeName, WIRE_VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{MessageSender, PATH, TARGET, serve};
use crate::api::{Member, NodeState};
use crate::config::{Access, FailedCells};
use crate::http::client::Client;
use crate::http::visitors::Visitors;
use crate::metrics::{Metrics, Settings};
use crate::sealing::{self, PeerSeal, Sealing};
use crate::state::{AgentState, Identity};

/// Longer than anything here may take; not a measure of speed.
const DEADLINE: Duration = Duration::from_secs(20);

const MESH: &str = "iperf3-mesh";
const PLAIN: &str = "application/json";
const SEALED: &str = sealing::CONTENT_TYPE;
const ME: Life = Life::new([1; 16]);
const PEER: Life = Life::new([2; 16]);

#[tokio::test]
async fn sealed_ping_is_answered_to_the_run_that_sent_it() {
    let mut port = Port::open(sealing(ME, &[7])).await;
    let state = state("peer", PEER).sealed(sealing(PEER, &[7]), false);
    state.set_members(vec![member("me", ME, &[7])], None);
    let (inputs, mut outcomes) = mpsc::channel(1);
    let sender = MessageSender::new(Client::default(), inputs, state);
    sender.ping(port.address, message(PEER, ME), DEADLINE);
    let outcome = timeout(DEADLINE, outcomes.recv()).await.unwrap();
    assert!(
        matches!(outcome, Some(Input::Answered { .. })),
        "{outcome:?}"
    );
    assert_eq!(port.received(), 1);
}

#[tokio::test]
async fn message_to_a_peer_without_a_common_key_is_not_sent() {
    let port = Port::open(sealing(ME, &[7])).await;
    let state = state("peer", PEER).sealed(sealing(PEER, &[8]), false);
    state.set_members(vec![member("me", ME, &[7])], None);
    let (inputs, mut outcomes) = mpsc::channel(1);
    let sender = MessageSender::new(Client::default(), inputs, state);
    sender.ping(port.address, message(PEER, ME), DEADLINE);
    sender.flush(DEADLINE).await;
    drop(sender);
    assert_eq!(outcomes.recv().await.map(|_| ()), None);
    assert!(
        !port
            .metrics()
            .contains("iperf_mesh_rejected_messages_total{")
    );
}

/// No forgery reaches the driver, none gets an answer but a status, and each is counted.
#[tokio::test]
async fn forged_messages_are_refused_counted_and_not_answered() {
    let mut port = Port::open(sealing(ME, &[9, 7])).await;
    port.sealing.set_keys(&keyring(&[7], &[5]));
    let good = sealed(PEER, ME, &[7], MESH, TARGET);
    let rows = Target {
        purpose: Purpose::Rows,
        ..TARGET
    };
    let mut bent = good.clone();
    *bent.last_mut().unwrap() ^= 1;
    let other = Life::new([3; 16]);
    let long = vec![0xe5; 9000];
    let json = message(PEER, ME).encode();
    for (forgery, content_type, body, status, reason) in [
        ("a plain one", PLAIN, json.clone(), 401, "unsealed"),
        ("one that is not sealed", SEALED, json, 401, "unsealed"),
        ("nothing", SEALED, Vec::new(), 401, "unsealed"),
        ("a changed one", SEALED, bent, 401, "forged"),
        ("a part", SEALED, good[..80].to_vec(), 401, "forged"),
        ("a header", SEALED, good[..40].to_vec(), 401, "malformed"),
        ("a long one", SEALED, long, 400, "bad_request"),
        (
            "another type",
            "text/plain",
            good.clone(),
            415,
            "bad_request",
        ),
        (
            "another key",
            SEALED,
            sealed(PEER, ME, &[8], MESH, TARGET),
            401,
            "unknown_key",
        ),
        (
            "a removed key",
            SEALED,
            sealed(PEER, ME, &[9], MESH, TARGET),
            401,
            "removed_key",
        ),
        (
            "the key of an operator",
            SEALED,
            sealed(other, ME, &[5], MESH, TARGET),
            403,
            "role",
        ),
        (
            "another mesh",
            SEALED,
            sealed(PEER, ME, &[7], "other", TARGET),
            401,
            "forged",
        ),
        (
            "another purpose",
            SEALED,
            sealed(PEER, ME, &[7], MESH, rows),
            401,
            "forged",
        ),
        (
            "another receiver, or an earlier run",
            SEALED,
            sealed(PEER, other, &[7], MESH, TARGET),
            421,
            "other_life",
        ),
        (
            "this agent itself",
            SEALED,
            sealed(ME, ME, &[7], MESH, TARGET),
            401,
            "reflected",
        ),
    ] {
        let counted = port.refused(reason);
        let (found, answer) = port.post(content_type, &body).await;
        assert_eq!((found, &*answer), (status, ""), "{forgery}");
        assert_eq!(port.refused(reason), counted + 1, "{forgery}: {reason}");
    }
    assert_eq!(port.received(), 0);
    assert_eq!(port.post(SEALED, &good).await.0, 200);
    assert_eq!(port.post(SEALED, &good).await, (401, String::new()));
    assert_eq!((port.received(), port.refused("replayed")), (1, 1));
}

/// A holder of a key speaks for no member, and neither does a former run of that member.
#[tokio::test]
async fn message_counts_only_from_the_life_that_gossip_knows() {
    let mut port = Port::open(sealing(ME, &[7])).await;
    let own_epoch = Life::from_halves(PEER.epoch(), 9);
    for life in [Life::new([4; 16]), own_epoch] {
        let mut insider = Envelopes::new(life, MESH.to_owned(), keyring(&[7], &[]));
        let accepted = insider.accepted();
        let body = message(PEER, ME).encode();
        let (sealed, answer) = insider.seal(ME, &accepted, TARGET, &body).unwrap();
        let (status, sealed) = port.post_bytes(SEALED, &sealed).await;
        let answer = answer.open(status, &sealed).unwrap();
        assert!(String::from_utf8(answer).unwrap().contains("another run"));
    }
    assert_eq!((port.received(), port.refused("foreign_life")), (0, 2));
}

/// A request uses up a counter of the life that it names: the member's later ones would be refused.
#[tokio::test]
async fn holder_of_a_key_uses_up_no_counter_of_a_member() {
    let port = Port::open(sealing(ME, &[7])).await;
    let far = Member {
        http: Some(([198, 18, 0, 9], 9876).into()),
        ..member("peer", PEER, &[7])
    };
    port.state.set_members(vec![far], None);
    let good = sealed(PEER, ME, &[7], MESH, TARGET);
    assert_eq!(port.post(SEALED, &good).await, (403, String::new()));
    assert_eq!(port.refused("other_address"), 1);
    port.state
        .set_members(vec![member("peer", PEER, &[7])], None);
    assert_eq!(port.post(SEALED, &good).await.0, 200);
}

#[tokio::test]
async fn permissive_agent_takes_plain_and_sealed_messages() {
    let mut port = Port::open(sealing(ME, &[7])).await;
    port.sealing.set_mode(SealMode::Permissive);
    let plain = message(PEER, ME).encode();
    assert_eq!(port.post(PLAIN, &plain).await, (200, "{}".to_owned()));
    let sealed = sealed(PEER, ME, &[7], MESH, TARGET);
    assert_eq!(port.post(SEALED, &sealed).await.0, 200);
    assert_eq!(port.received(), 2);
    port.sealing.set_mode(SealMode::Required);
    assert_eq!(port.post(PLAIN, &plain).await, (401, String::new()));
}

#[tokio::test]
async fn insecure_agent_tells_what_it_takes() {
    let mut port = Port::open(Sealing::default()).await;
    let plain = message(PEER, ME).encode();
    assert_eq!(port.post(PLAIN, &plain).await, (200, "{}".to_owned()));
    let sealed = sealed(PEER, ME, &[7], MESH, TARGET);
    let (status, answer) = port.post(SEALED, &sealed).await;
    assert!(
        status == 415 && answer.contains("no key"),
        "{status} {answer}"
    );
    for (method, path, content_type, expected) in [
        ("POST", PATH, "Application/JSON; charset=utf-8", 200),
        ("POST", PATH, "text/plain", 415),
        ("POST", PATH, "application/json-patch+json", 415),
        ("POST", PATH, "application/x-www-form-urlencoded", 415),
        ("POST", PATH, "", 415),
        ("GET", PATH, PLAIN, 405),
        ("OPTIONS", PATH, "", 405),
        ("POST", "/", PLAIN, 404),
    ] {
        let (status, _) = port.ask(method, path, content_type, &plain).await;
        assert_eq!(status, expected, "{method} {path} {content_type:?}");
    }
    assert_eq!(port.received(), 2);
}

/// The control port of the agent `me`, with the member `peer`.
struct Port {
    address: SocketAddr,
    sealing: Sealing,
    state: AgentState,
    inputs: mpsc::Receiver<Input>,
}

impl Port {
    async fn open(sealing: Sealing) -> Self {
        let state = state("me", ME).sealed(sealing.clone(), false);
        state.set_members(vec![member("peer", PEER, &[7])], None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_driver, inputs) = mpsc::channel(8);
        let visitors = Visitors::new(state.clone(), &Access::default());
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, to_driver, state.clone(), visitors, stop));
        Self {
            address,
            sealing,
            state,
            inputs,
        }
    }

    /// Returns the number of messages that the driver has got since the last call.
    fn received(&mut self) -> usize {
        std::iter::from_fn(|| self.inputs.try_recv().ok()).count()
    }

    fn metrics(&self) -> String {
        self.state.metrics().text().unwrap()
    }

    fn refused(&self, reason: &str) -> u64 {
        let series = format!("iperf_mesh_rejected_messages_total{{reason=\"{reason}\"}} ");
        let metrics = self.metrics();
        let count = metrics.lines().find_map(|line| line.strip_prefix(&series));
        count.map_or(0, |count| count.parse().unwrap())
    }

    async fn post(&self, content_type: &str, body: &[u8]) -> (u16, String) {
        let (status, answer) = self.post_bytes(content_type, body).await;
        (status, String::from_utf8_lossy(&answer).into_owned())
    }

    async fn post_bytes(&self, content_type: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.ask("POST", PATH, content_type, body).await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> (u16, Vec<u8>) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        );
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            // The other end may refuse before it has read everything.
            let _ = stream.write_all(body).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        let answer = timeout(DEADLINE, exchange).await.unwrap();
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
        (status, answer[end + 4..].to_vec())
    }
}

fn state(name: &str, life: Life) -> AgentState {
    let name = NodeName::new(name).unwrap();
    let metrics = Metrics::new(Settings {
        source: name.clone(),
        protocols: Vec::new(),
        failed_cells: FailedCells::Zero,
        pause: Duration::ZERO,
        iperf3_version: String::new(),
        landlock: String::new(),
    });
    let identity = Identity {
        name,
        zone: String::new(),
        epoch: life.epoch(),
        protocols: Vec::new(),
        iperf3: String::new(),
    };
    AgentState::new(identity, metrics.unwrap())
}

fn member(name: &str, life: Life, keys: &[u8]) -> Member {
    Member {
        name: NodeName::new(name).unwrap(),
        zone: String::new(),
        state: NodeState::Live,
        silent_since: None,
        http: Some(([127, 0, 0, 1], 9876).into()),
        epoch: life.epoch(),
        iperf3: None,
        sweep: 0,
        answered: true,
        seal: Some(PeerSeal {
            life,
            accepted: keyring(keys, &[]).wire_ids().collect(),
        }),
    }
}

fn sealing(life: Life, keys: &[u8]) -> Sealing {
    let sealing = Sealing::new(life, MeshName::default());
    sealing.set_keys(&keyring(keys, &[]));
    sealing
}

/// A ping of `from`, whose name is `peer`.
fn message(from: Life, to: Life) -> Message {
    Message {
        wire: WIRE_VERSION,
        from: NodeName::new("peer").unwrap(),
        from_epoch: from.epoch(),
        to: NodeName::new("me").unwrap(),
        to_epoch: to.epoch(),
        sweep: 1,
        meeting: None,
        complaints: Complaints::default(),
        body: Body::Sweep,
    }
}

/// The sealed ping of a program that takes these keys for those of members.
fn sealed(from: Life, to: Life, keys: &[u8], mesh: &str, target: Target<'_>) -> Vec<u8> {
    let mut envelopes = Envelopes::new(from, mesh.to_owned(), keyring(keys, &[]));
    let accepted = envelopes.accepted();
    let body = message(from, to).encode();
    envelopes.seal(to, &accepted, target, &body).unwrap().0
}

/// A keyring with the keys of these numbers, the newest first.
fn keyring(members: &[u8], operators: &[u8]) -> Keyring {
    let line = |role: Role, number: &u8| {
        let bytes = std::array::from_fn(|at| number.wrapping_add(at as u8));
        let id = KeyId::new(&format!("key-{number}")).unwrap();
        Key::new(id, role, Secret::new(bytes)).to_line().to_string()
    };
    let members = members.iter().map(|number| line(Role::Member, number));
    let operators = operators.iter().map(|number| line(Role::Operator, number));
    let lines: Vec<_> = members.chain(operators).collect();
    Keyring::read(lines.join("\n").as_bytes()).unwrap()
}
