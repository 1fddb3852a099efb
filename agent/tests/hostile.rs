//! Attacks on agents that measure each other: garbage on every port, ten thousand times. The agents
//! must refuse and count it. It may cost a test at most, and must not affect the next sweep.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::checker::{self, Interval};
use iperf3_mesh_testkit::events::Role;
use iperf3_mesh_testkit::http::ask;
use iperf3_mesh_testkit::processes::{iperf3_of, peak_memory};
use iperf3_mesh_testkit::{Network, SOON, SWEEP, await_that};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};

/// The number of requests or datagrams of each kind.
const MANY: usize = 10_000;

/// The limit of an agent's memory in these tests, in bytes.
const MEMORY_MAX: u64 = 100 << 20;

/// How long an attacker waits for an answer or for the end of its connection.
const PATIENCE: Duration = Duration::from_secs(15);

const CONTROL: u16 = 9878;
const GOSSIP: u16 = 9877;
const MESSAGE: &str = "/control/v1/message";

const REJECTED: &str = "iperf_mesh_rejected_messages_total";
const UNEXPECTED: &str = "iperf_mesh_unexpected_clients_total";
const REFUSED: &str = "iperf_mesh_gossip_refused_total";

#[test]
fn garbage_on_the_control_and_http_ports_is_refused_and_counted() {
    let targets = Targets::start();
    let control = SocketAddr::from((targets.agents[0].address, CONTROL));
    let http = targets.agents[1].http();
    let sweep = targets.sweep();
    let stop = AtomicBool::new(false);
    let [at_control, at_http] = thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for (to, path) in [(control, MESSAGE), (http, "/api/v1/matrix")] {
            let stop = &stop;
            scope.spawn(move || trickle_bodies(to, path, stop));
        }
        let attacks = [(control, MESSAGE, 1), (http, "/api/v1/row", 2)]
            .map(|(to, path, seed)| scope.spawn(move || count_refused(to, path, seed)));
        attacks.map(|attack| attack.join().unwrap())
    });
    send_single_bytes(control, MESSAGE);
    // Most are no messages at all; some are, but from a node that the agent does not know.
    assert!(at_control > MANY * 9 / 10, "{at_control} of {MANY}");
    assert_eq!(at_http, MANY, "only GET is answered there");
    let rejected = targets.agents[0].metric(REJECTED).unwrap();
    assert!(rejected >= at_control as f64, "{rejected} of {at_control}");
    assert!(targets.sweep() > sweep, "no sweep during the attack");
    targets.assert_unharmed();
}

#[test]
fn garbage_on_the_gossip_port_is_refused_and_counted() {
    let targets = Targets::start();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut random = StdRng::seed_from_u64(3);
    for number in 0..MANY {
        let mut datagram = noise(&mut random, 1400);
        // Every other one has the header of a gossip message, so that the checks after the first
        // one are tested too.
        if number % 2 == 0 {
            datagram.splice(0..0, [0x53, 0xb0, 1, random.random_range(0..5)]);
        }
        let target = &targets.agents[number % 3 % 2];
        socket.send_to(&datagram, (target.address, GOSSIP)).unwrap();
    }
    let all_refuse = || {
        let mut agents = targets.agents.iter();
        agents.all(|agent| agent.metric(REFUSED).is_some_and(|count| count > 100.0))
    };
    await_that("datagrams are refused", SOON, all_refuse, || {
        let counts = targets.agents.each_ref().map(|agent| agent.metric(REFUSED));
        format!("{counts:?}")
    });
    targets.assert_unharmed();
}

/// An iperf3 server serves one client, the first that connects, but sees only the peer.
#[test]
fn clients_of_an_attacker_are_counted_and_cost_no_test() {
    let targets = Targets::start();
    let began = targets.sweep();
    let stop = AtomicBool::new(false);
    let connections = thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        let attacks = targets.agents.each_ref().map(|agent| {
            let (address, stop) = (agent.address, &stop);
            scope.spawn(move || connect_to_servers(address, stop))
        });
        await_that(
            "two sweeps under attack",
            2 * SWEEP,
            || targets.sweep() >= began + 2,
            String::new,
        );
        drop(stopping);
        attacks.map(|attack| attack.join().unwrap())
    });
    assert!(
        connections.iter().all(|&count| count > 0),
        "connections to the servers of each agent: {connections:?}"
    );
    for (agent, connections) in targets.agents.iter().zip(connections) {
        let counted = agent.metric(UNEXPECTED).unwrap();
        // A server that ends resets what it has not seen yet.
        assert!(
            counted >= connections as f64 * 0.9,
            "{counted} of {connections}"
        );
    }
    let (intervals, _) = targets.intervals();
    let clients = intervals.iter().filter(|it| it.role == Role::Client);
    let failed = clients.filter(|it| it.outcome.is_some() && !it.succeeded());
    assert_eq!(failed.count(), 0, "{intervals:#?}");
    targets.assert_unharmed();
}

/// Two agents that measure each other with hardly a pause.
struct Targets {
    network: Network,
    agents: [Agent; 2],
}

impl Targets {
    fn start() -> Self {
        let network = Network::draw();
        let agents =
            [("n1", 1), ("n2", 2)].map(|(name, host)| Agent::start(network, host, name, &[]));
        let targets = Self { network, agents };
        let have_met = || {
            let mut agents = targets.agents.iter();
            agents.all(|agent| agent.good_cells().len() == 2)
        };
        await_that("the agents meet", SWEEP, have_met, String::new);
        targets
    }

    fn sweep(&self) -> u64 {
        let sweeps = self
            .agents
            .iter()
            .filter_map(|agent| agent.metric("iperf_mesh_sweep"));
        sweeps.fold(0.0, f64::max) as u64
    }

    fn intervals(&self) -> (Vec<Interval>, Vec<String>) {
        let events: Vec<_> = self.agents.iter().flat_map(Agent::events).collect();
        checker::intervals(&events, &BTreeMap::new(), u64::MAX)
    }

    /// Asserts that a sweep after the attack succeeds, and that the agents stop cleanly.
    fn assert_unharmed(mut self) {
        self.assert_next_sweep_succeeds();
        for agent in &mut self.agents {
            assert_stops_cleanly(agent);
        }
        let left = self.network.listeners();
        assert!(left.is_empty(), "{left:?}");
    }

    fn assert_next_sweep_succeeds(&self) {
        let next = self.sweep() + 1;
        let is_complete = || checker::finished(&self.intervals().0, next).len() == 2;
        await_that("the sweep after the attack", SWEEP, is_complete, || {
            format!("{:#?}", self.intervals().0)
        });
        let (intervals, faults) = self.intervals();
        assert!(faults.is_empty(), "{faults:#?}");
        let failures = checker::failures(&intervals, next);
        assert!(failures.is_empty(), "{failures:#?}");
        let overlaps = checker::overlaps(&intervals);
        assert!(overlaps.is_empty(), "{overlaps:#?}");
        let unexplained: Vec<_> = intervals.iter().filter(|it| has_no_reason(it)).collect();
        assert!(unexplained.is_empty(), "{unexplained:#?}");
    }
}

/// Whether the test of a client failed without a reason.
fn has_no_reason(interval: &Interval) -> bool {
    interval.role == Role::Client
        && interval.outcome.as_ref().is_some_and(|outcome| {
            outcome.word == "failure" && outcome.reason.as_deref().unwrap_or_default().is_empty()
        })
}

fn assert_stops_cleanly(agent: &mut Agent) {
    assert_eq!(agent.metric("iperf_mesh_overlaps_total"), Some(0.0));
    assert_eq!(agent.metric("iperf_mesh_gossip_restarts_total"), Some(0.0));
    assert_eq!(ask(agent.http(), "/healthz").unwrap().0, 200);
    let pid = agent.program.pid();
    let memory = peak_memory(pid);
    assert!(memory < MEMORY_MAX, "{memory} bytes");
    assert!(agent.program.is_running(), "the agent has crashed");
    let children = iperf3_of(pid);
    assert_eq!(agent.terminate().code, Some(0));
    let left: Vec<_> = children
        .iter()
        .filter(|process| process.is_running())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Tells the other attackers to stop, also if this one panics.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends [`MANY`] requests with garbage; the number that were not answered with a success.
fn count_refused(to: SocketAddr, path: &str, seed: u64) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    (0..MANY)
        .map(|_| exchange(to, &garbage(&mut random, path)))
        .filter(|status| !matches!(status, Some(200..300)))
        .count()
}

/// Sends `request`; the status of the answer, or `None` if the connection ends without one.
fn exchange(to: SocketAddr, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The agent may refuse before it has read everything.
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

/// An invalid request.
fn garbage(random: &mut StdRng, path: &str) -> Vec<u8> {
    match random.random_range(0..8) {
        0 => post(path, &noise(random, 4096)),
        1 => {
            let body = json!([[{"wire": {"from": [null, 1, "x"]}}], 7]);
            post(path, body.to_string().as_bytes())
        }
        2 | 3 => post(path, absurd_message(random).to_string().as_bytes()),
        4 => post(path, "[".repeat(8000).as_bytes()),
        5 => {
            let header = "Content-Length: 99999999999999\r\n";
            request("POST", path, header, b"{\"wire\":1")
        }
        6 => {
            let header = "Transfer-Encoding: chunked\r\n";
            request("POST", path, header, b"5\r\nhello\r\n0\r\n\r\n")
        }
        _ => [b"\0", &noise(random, 300)[..], b"\r\n\r\n"].concat(),
    }
}

/// A message like one of an agent, with one field changed.
fn absurd_message(random: &mut StdRng) -> Value {
    let (from, to) = if random.random() {
        ("n1", "n2")
    } else {
        ("nobody", "n1")
    };
    let meeting = json!({"asker": from, "epoch": 1, "number": 1});
    let mut message = json!({
        "wire": 1, "from": from, "from_epoch": 1, "to": to, "to_epoch": 1, "sweep": 1,
        "meeting": meeting, "body": {"request": {"plan": [planned_test()]}},
    });
    let changes = absurd_changes(from);
    let (at, value) = changes[random.random_range(0..changes.len())].clone();
    *message.pointer_mut(at).unwrap() = value;
    message
}

/// The fields of a message, each with an absurd value.
fn absurd_changes(from: &str) -> [(&'static str, Value); 22] {
    let grant = |test: u32, address: &str, port: u32| json!({"grant": {"test": test, "address": address, "port": port}});
    [
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
        (
            "/body",
            json!({"request": {"plan": vec![planned_test(); 30]}}),
        ),
        ("/body", json!({"next": {"test": 256}})),
        ("/body", grant(0, "nowhere", 0)),
        ("/body", grant(255, "127.0.0.1", 65536)),
        ("/body/request/plan/0/client", json!("granter")),
        ("/body/request/plan/0/spec/duration_ms", json!(0)),
        ("/body/request/plan/0/spec/timeout_ms", json!(u64::MAX)),
        ("/body/request/plan/0/spec/streams", json!(0)),
        ("/body/request/plan/0/spec/bitrate_bps", json!(-1.5)),
    ]
}

fn planned_test() -> Value {
    let spec = json!({
        "protocol": "tcp", "duration_ms": 1000, "omit_ms": 0, "timeout_ms": 5000,
        "bitrate_bps": null, "streams": 1, "bidir": false,
    });
    json!({"client": "asker", "spec": spec})
}

fn noise(random: &mut StdRng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..most)];
    random.fill_bytes(&mut bytes);
    bytes
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let header = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    request("POST", path, &header, body)
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// Keeps some connections busy with bodies that arrive very slowly, until told to stop.
fn trickle_bodies(to: SocketAddr, path: &str, stop: &AtomicBool) {
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

/// Sends bodies in pieces of one byte, just slowly enough for separate reads. A server that keeps
/// the pieces keeps a buffer of kilobytes for each.
fn send_single_bytes(to: SocketAddr, path: &str) {
    let mut streams: Vec<_> = (0..16).map(|_| begun(to, path)).collect();
    for _ in 0..2000 {
        for stream in &mut streams {
            // The agent may close it at any time.
            let _ = stream.write_all(b" ");
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// A POST with a head and no body yet.
fn begun(to: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
    stream.set_nodelay(true).unwrap();
    let head = request("POST", path, "Content-Length: 8000\r\n", b"");
    stream.write_all(&head).unwrap();
    stream
}

/// Connects to every open iperf3 server of that agent, silent or sending, until told to stop; the
/// number of connections.
fn connect_to_servers(address: Ipv4Addr, stop: &AtomicBool) -> usize {
    let mut random = StdRng::seed_from_u64(4);
    let (mut connections, mut silent) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        for port in 5201..=5208 {
            let Ok(mut stream) = TcpStream::connect((address, port)) else {
                continue;
            };
            connections += 1;
            if random.random() {
                // An open server waits for the peer; a cookie makes this connection its client.
                let _ = stream.write_all(&noise(&mut random, 200));
            } else {
                silent.push(stream);
            }
        }
        // A silent connection holds a server for the rest of its life; a few at a time suffice.
        let extra = silent.len().saturating_sub(4);
        silent.drain(..extra);
        thread::sleep(Duration::from_millis(2));
    }
    connections
}
