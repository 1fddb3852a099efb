//! What strangers can do to agents that measure each other: garbage on every port, by the thousand.
//! It is refused and counted, costs a test at most, and changes nothing for the sweep after it.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::events::Role;
use iperf3_mesh_testkit::http::ask;
use iperf3_mesh_testkit::processes::{iperf3_of, peak_memory};
use iperf3_mesh_testkit::{Network, SOON, SWEEP, await_that, checker};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};

/// How much of each kind comes.
const MANY: usize = 10_000;

/// More memory than an agent may ever have taken here, in bytes.
const MEMORY_MAX: u64 = 100 << 20;

/// How long a stranger waits for an answer or for being thrown out.
const PATIENCE: Duration = Duration::from_secs(15);

const CONTROL: u16 = 9878;
const GOSSIP: u16 = 9877;
const MESSAGE: &str = "/control/v1/message";

/// Two agents that measure each other without a pause to speak of.
struct Victims {
    network: Network,
    agents: [Agent; 2],
}

impl Victims {
    fn start() -> Self {
        let network = Network::draw();
        let agents =
            [("n1", 1), ("n2", 2)].map(|(name, host)| Agent::start(network, host, name, &[]));
        let victims = Self { network, agents };
        let meet = || {
            victims
                .agents
                .iter()
                .all(|agent| agent.good_cells().len() == 2)
        };
        await_that("the agents meet", SWEEP, meet, String::new);
        victims
    }

    fn sweep(&self) -> u64 {
        let sweeps = self
            .agents
            .iter()
            .filter_map(|agent| agent.metric("iperf_mesh_sweep"));
        sweeps.fold(0.0, f64::max) as u64
    }

    fn sum(&self, metric: &str) -> f64 {
        self.agents
            .iter()
            .filter_map(|agent| agent.metric(metric))
            .sum()
    }

    /// Asserts that it is over: a sweep that began later has succeeded, and nothing is left when
    /// the agents stop.
    fn assert_unharmed(mut self) {
        let next = self.sweep() + 1;
        let whole = || {
            let (intervals, _) = self.intervals();
            checker::finished(&intervals, next).len() == 2
        };
        await_that("the sweep after it", SWEEP, whole, String::new);
        let (intervals, faults) = self.intervals();
        assert!(faults.is_empty(), "{faults:#?}");
        let failures = checker::failures(&intervals, next);
        assert!(failures.is_empty(), "{failures:#?}");
        let overlaps = checker::overlaps(&intervals);
        assert!(overlaps.is_empty(), "{overlaps:#?}");
        // Whatever the strangers disturbed has failed for a reason.
        let silent = intervals.iter().filter(|interval| {
            let outcome = interval.outcome.as_ref();
            interval.role == Role::Client
                && outcome.is_some_and(|(word, why)| {
                    word == "failure" && why.as_deref().unwrap_or_default().is_empty()
                })
        });
        assert_eq!(silent.count(), 0, "failures without a reason");

        for agent in &mut self.agents {
            assert_eq!(agent.metric("iperf_mesh_overlaps_total"), Some(0.0));
            assert_eq!(agent.metric("iperf_mesh_gossip_restarts_total"), Some(0.0));
            assert_eq!(ask(agent.http(), "/healthz").unwrap().0, 200);
            let pid = agent.program.pid();
            let memory = peak_memory(pid);
            assert!(memory < MEMORY_MAX, "{memory} bytes");
            // Still its first life.
            assert!(agent.program.lives());
            let children = iperf3_of(pid);
            assert_eq!(agent.terminate().code, Some(0));
            let left: Vec<_> = children.iter().filter(|process| process.lives()).collect();
            assert!(left.is_empty(), "{left:?}");
        }
        assert!(
            self.network.listeners().is_empty(),
            "{:?}",
            self.network.listeners()
        );
    }

    fn intervals(&self) -> (Vec<checker::Interval>, Vec<String>) {
        let events: Vec<_> = self.agents.iter().flat_map(Agent::events).collect();
        checker::intervals(&events, &BTreeMap::new(), u64::MAX)
    }
}

fn noise(random: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..most)];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Sends `request` and takes the status of the answer; `None` if the connection is cut off without
/// one.
fn exchange(to: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who refuses may do so before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(
            error.kind(),
            io::ErrorKind::ConnectionReset,
            "no answer to {request:.200?}"
        );
    }
    let head = String::from_utf8_lossy(&answer);
    head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    request(
        "POST",
        path,
        &format!("Content-Length: {}\r\n", body.len()),
        body,
    )
}

/// A message as an agent would send it, but for one thing.
fn absurd_message(random: &mut StdRng) -> Value {
    let (from, to) = if random.random() {
        ("n1", "n2")
    } else {
        ("nobody", "n1")
    };
    let meeting = json!({"asker": from, "epoch": 1, "number": 1});
    let spec = json!({"protocol": "tcp", "duration_ms": 1000, "omit_ms": 0, "timeout_ms": 5000, "bitrate_bps": null, "streams": 1, "bidir": false});
    let planned = json!({"client": "asker", "spec": spec});
    let mut message = json!({
        "wire": 1, "from": from, "from_epoch": 1, "to": to, "to_epoch": 1, "sweep": 1,
        "meeting": meeting, "body": {"request": {"plan": [planned]}},
    });
    let (at, value) = [
        ("/wire", json!(65535)),
        ("/wire", json!(-1)),
        ("/from", json!("")),
        ("/from", json!("x".repeat(300))),
        ("/from", json!("two words\n")),
        ("/to", json!(from)),
        ("/sweep", json!(u64::MAX)),
        ("/meeting", json!(null)),
        ("/meeting/asker", json!("somebody else")),
        ("/meeting/number", json!(1e300)),
        ("/body", json!("sweep")),
        ("/body", json!("unheard of")),
        ("/body", json!({"request": {"plan": []}})),
        ("/body", json!({"request": {"plan": vec![planned; 30]}})),
        ("/body", json!({"next": {"test": 256}})),
        (
            "/body",
            json!({"grant": {"test": 0, "address": "nowhere", "port": 0}}),
        ),
        (
            "/body",
            json!({"grant": {"test": 255, "address": "127.0.0.1", "port": 65536}}),
        ),
        ("/body/request/plan/0/client", json!("granter")),
        ("/body/request/plan/0/spec/duration", json!(0)),
        ("/body/request/plan/0/spec/timeout", json!(u64::MAX)),
        ("/body/request/plan/0/spec/streams", json!(0)),
        ("/body/request/plan/0/spec/bitrate", json!(-1.5)),
    ][random.random_range(0..22)]
    .clone();
    *message.pointer_mut(at).unwrap() = value;
    message
}

/// A request that nobody can want.
fn garbage(random: &mut StdRng, path: &str) -> Vec<u8> {
    match random.random_range(0..8) {
        0 => post(path, &noise(random, 4096)),
        1 => post(
            path,
            json!([[{"wire": {"from": [null, 1, "x"]}}], 7])
                .to_string()
                .as_bytes(),
        ),
        2 | 3 => post(path, absurd_message(random).to_string().as_bytes()),
        4 => post(path, "[".repeat(8000).as_bytes()),
        5 => request(
            "POST",
            path,
            "Content-Length: 99999999999999\r\n",
            b"{\"wire\":1",
        ),
        6 => request(
            "POST",
            path,
            "Transfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
        ),
        _ => [b"\0", &noise(random, 300)[..], b"\r\n\r\n"].concat(),
    }
}

/// Tells the other strangers to stop, also if this one fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A POST of which the head is sent, and nothing of its body.
fn begun(to: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .write_all(&request("POST", path, "Content-Length: 8000\r\n", b""))
        .unwrap();
    stream
}

/// Keeps some connections busy with bodies that hardly come, until told to stop.
fn dribble(to: SocketAddr, path: &str, stop: &AtomicBool) {
    let mut streams: Vec<_> = (0..8).map(|_| begun(to, path)).collect();
    while !stop.load(Ordering::Relaxed) {
        for stream in &mut streams {
            if stream.write_all(b" ").is_err() {
                *stream = begun(to, path);
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Sends bodies in pieces of one byte, just slowly enough that each is read on its own: whoever
/// keeps the pieces keeps a buffer of kilobytes for each.
fn crumble(to: SocketAddr, path: &str) {
    let mut streams: Vec<_> = (0..16).map(|_| begun(to, path)).collect();
    for _ in 0..2000 {
        for stream in &mut streams {
            // It may be cut off at any time.
            let _ = stream.write_all(b" ");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn garbage_on_the_control_and_http_ports_is_refused_and_counted() {
    let victims = Victims::start();
    let control = SocketAddr::from((victims.agents[0].address, CONTROL));
    let http = victims.agents[1].http();
    let before = (
        victims.sweep(),
        victims.sum("iperf_mesh_rejected_messages_total"),
    );
    let stop = AtomicBool::new(false);
    let refused = thread::scope(|scope| {
        let _stop = Stop(&stop);
        for (to, path) in [(control, MESSAGE), (http, "/api/v1/matrix")] {
            let stop = &stop;
            scope.spawn(move || dribble(to, path, stop));
        }
        let attack = |to: SocketAddr, path: &'static str, seed| {
            scope.spawn(move || {
                let mut random = StdRng::seed_from_u64(seed);
                let statuses = (0..MANY).map(|_| exchange(to, &garbage(&mut random, path)));
                statuses
                    .filter(|status| !matches!(status, Some(200..300)))
                    .count()
            })
        };
        let attacks = [attack(control, MESSAGE, 1), attack(http, "/api/v1/row", 2)];
        attacks.map(|attack| attack.join().unwrap())
    });
    crumble(control, MESSAGE);
    // Most are no messages at all; some are, but from nobody whom the agent knows.
    assert!(refused[0] > MANY * 9 / 10, "{refused:?}");
    assert_eq!(refused[1], MANY, "nothing but GET is answered there");
    let rejected = victims.agents[0]
        .metric("iperf_mesh_rejected_messages_total")
        .unwrap();
    assert!(rejected >= refused[0] as f64, "{rejected} of {refused:?}");
    assert!(victims.sum("iperf_mesh_rejected_messages_total") > before.1 + rejected - 1.0);
    assert!(victims.sweep() > before.0, "the mesh stood still");
    victims.assert_unharmed();
}

#[test]
fn garbage_on_the_gossip_port_is_refused_and_counted() {
    let victims = Victims::start();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut random = StdRng::seed_from_u64(3);
    for number in 0..MANY {
        let mut datagram = noise(&mut random, 1400);
        // Every other one begins like a message of the gossip, so that more than the first look is
        // put to the test.
        if number % 2 == 0 {
            datagram.splice(0..0, [0x53, 0xb0, 1, random.random_range(0..5)]);
        }
        socket
            .send_to(&datagram, (victims.agents[number % 3 % 2].address, GOSSIP))
            .unwrap();
    }
    let refused = || {
        victims.agents.iter().all(|agent| {
            agent
                .metric("iperf_mesh_gossip_refused_total")
                .is_some_and(|refused| refused > 100.0)
        })
    };
    await_that("datagrams are refused", SOON, refused, || {
        victims.sum("iperf_mesh_gossip_refused_total").to_string()
    });
    victims.assert_unharmed();
}

/// A server of iperf3 serves one client, the first that comes: a stranger may cost a test, and no
/// more.
#[test]
fn strangers_at_the_iperf3_servers_cost_tests_and_no_more() {
    let victims = Victims::start();
    let began = victims.sweep();
    let stop = AtomicBool::new(false);
    let came = thread::scope(|scope| {
        let stopping = Stop(&stop);
        let attacks = victims.agents.each_ref().map(|agent| {
            let (address, stop) = (agent.address, &stop);
            scope.spawn(move || pester(address, stop))
        });
        await_that(
            "two sweeps of it",
            2 * SWEEP,
            || victims.sweep() >= began + 2,
            String::new,
        );
        drop(stopping);
        attacks.map(|attack| attack.join().unwrap())
    });
    assert!(
        came.iter().all(|&came| came > 0),
        "no server was met: {came:?}"
    );
    let (intervals, _) = victims.intervals();
    let disturbed = intervals
        .iter()
        .filter(|it| it.role == Role::Client && !it.succeeded());
    assert!(
        disturbed.count() > 0,
        "the strangers came too late to disturb anybody"
    );
    victims.assert_unharmed();
}

/// Connects to whatever iperf3 server of that agent is open, silent or talking, until told to stop;
/// how often it met one.
fn pester(address: Ipv4Addr, stop: &AtomicBool) -> usize {
    let mut random = StdRng::seed_from_u64(4);
    let (mut came, mut silent) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        for port in 5201..=5208 {
            let Ok(mut stream) = TcpStream::connect((address, port)) else {
                continue;
            };
            came += 1;
            if random.random() {
                // What is open is a server that waits for the peer; a cookie makes this its client.
                let _ = stream.write_all(&noise(&mut random, 200));
            } else {
                silent.push(stream);
            }
        }
        // The silent ones hold the server for as long as it lives; a few at a time are enough.
        let extra = silent.len().saturating_sub(4);
        silent.drain(..extra);
        thread::sleep(Duration::from_millis(2));
    }
    came
}
