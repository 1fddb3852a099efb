//! The memory of an agent whose matrix many readers ask for without reading it. The part of the
//! agent that serves HTTP is a process of its own, so that only its memory is measured. The readers
//! and the peers are in that of the test. The peers are fakes on loopback, each at its own address.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the figures are the result")]

use std::env;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use iperf3_mesh::api::{Member, NodeState};
use iperf3_mesh::config::{Access, FailedCells};
use iperf3_mesh::http::client::Client;
use iperf3_mesh::http::visitors::Visitors;
use iperf3_mesh::memory;
use iperf3_mesh::metrics::{Metrics, Settings};
use iperf3_mesh::state::{AgentState, Identity};
use iperf3_mesh_core::{Epoch, Figures, NodeName, Protocol};
use iperf3_mesh_testkit::processes::{peak_memory, resident_memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

/// Longer than anything here may take; not a measure of speed.
const DEADLINE: Duration = Duration::from_secs(60);

const MIB: u64 = 1 << 20;

/// How long readers hold their connections, and the pause between two probes meanwhile.
const READING: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_millis(250);

/// The address of probes.
const PROBE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 1, 1, 99));

/// The requests of readers: a path, and the header that they add.
const REQUESTS: [(&str, &str); 7] = [
    ("/api/v1/matrix", ""),
    ("/api/v1/matrix", "Accept-Encoding: gzip\r\n"),
    ("/api/v1/matrix.bin", ""),
    ("/", ""),
    ("/metrics", ""),
    ("/api/v1/row", ""),
    ("/api/v1/members", ""),
];

/// The variable that tells the agent's process the number of members and the port of the peers.
const TASK: &str = "READERS_TEST_AGENT";
/// The beginning of the line with the address of the agent.
const SERVES: &str = "the agent serves ";

/// The tests measure a busy machine, so one runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn slow_readers_of_300_members_cost_bounded_memory() {
    let measured = measure(300, 256);
    measured.assert_below(32, 48);
}

#[test]
#[ignore = "takes a minute, and needs a release build"]
fn slow_readers_of_500_members_cost_bounded_memory() {
    let measured = measure(500, 256);
    measured.assert_below(64, 128);
}

#[test]
#[ignore = "takes a minute, and needs a release build"]
fn slow_readers_of_1000_members_cost_bounded_memory() {
    let measured = measure(1000, 100);
    measured.assert_below(64, 160);
}

#[test]
#[ignore = "the other tests start it, as the process of the agent"]
fn agent_of_the_other_tests() {
    let Ok(task) = env::var(TASK) else { return };
    let (nodes, port) = task.split_once(' ').unwrap();
    memory::keep_little();
    let address = agent(&names(nodes.parse().unwrap()), port.parse().unwrap());
    println!("\n{SERVES}{address}");
    // Its standard input ends with the test.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// The memory of the agent in bytes.
#[derive(Debug)]
struct Measured {
    /// After the first matrix.
    before: u64,
    /// The peak with all readers.
    peak: u64,
    /// After the readers have gone.
    after: u64,
    /// The longest time to a short answer. It depends on the machine.
    slowest_probe: Duration,
}

impl Measured {
    fn assert_below(&self, growth: u64, total: u64) {
        let [before, peak, after] = [self.before, self.peak, self.after].map(|it| it / MIB);
        println!("MiB: {before} before, {peak} at most, {after} after");
        println!("slowest probe: {:?}", self.slowest_probe);
        assert!(self.peak - self.before <= growth * MIB, "{self:?}");
        assert!(self.peak <= total * MIB, "{self:?}");
        assert!(self.after <= self.before + growth / 2 * MIB, "{self:?}");
    }
}

/// Measures an agent with `nodes` members and `readers` readers from 16 addresses, which ask again
/// whenever they are cut off.
fn measure(nodes: usize, readers: usize) -> Measured {
    let _alone = ALONE.lock();
    let peers = peers(&names(nodes));
    let agent = Agent::start(nodes, peers.port());
    let before = run(async {
        let answer = read_all(connect(PROBE, agent.address).await, "/api/v1/matrix").await;
        let cells = answer.matches("\"bandwidth_mbps\":9").count();
        println!("{cells} cells with a result");
        assert!(cells > 0, "no row");
        agent.memory()
    });
    let stop = Arc::new(AtomicBool::new(false));
    let slow = {
        let (address, stop) = (agent.address, stop.clone());
        thread::spawn(move || run(hold(address, readers, &stop)))
    };
    let slowest_probe = run(async {
        let mut slowest = Duration::ZERO;
        // A reader of all compressed pieces fills the room for them.
        let compressed = read_compressed(connect(PROBE, agent.address).await).await;
        println!("{} MiB compressed", compressed as u64 / MIB);
        for _ in 0..READING.as_millis() / PROBE_EVERY.as_millis() {
            let began = Instant::now();
            let answer = read_all(connect(PROBE, agent.address).await, "/api/v1/schedule").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            slowest = slowest.max(began.elapsed());
            tokio::time::sleep(PROBE_EVERY).await;
        }
        slowest
    });
    stop.store(true, Ordering::Relaxed);
    slow.join().unwrap();
    let peak = peak_memory(agent.process.id());
    // Unread matrices go within some seconds.
    thread::sleep(Duration::from_secs(12));
    Measured {
        before,
        peak,
        after: agent.memory(),
        slowest_probe,
    }
}

/// The process of an agent. It ends when this is dropped.
struct Agent {
    process: Child,
    address: SocketAddr,
}

impl Agent {
    /// Starts an agent with `nodes` members at `port`.
    fn start(nodes: usize, port: u16) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "agent_of_the_other_tests",
            ])
            .env(TASK, format!("{nodes} {port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix(SERVES)?.parse().ok());
        Self {
            process,
            address: address.expect("an agent that serves"),
        }
    }

    fn memory(&self) -> u64 {
        resident_memory(self.process.id())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Holds `readers` connections that ask and do not read, until `stop`.
async fn hold(agent: SocketAddr, readers: usize, stop: &AtomicBool) {
    let mut held = Vec::new();
    for number in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
        if held.len() >= readers {
            held.remove(0);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Members count one by one, and other loopback addresses as one client.
        let number_of_peer = u16::try_from(number % 16).unwrap();
        let mut stream = connect(peer_address(number_of_peer), agent).await;
        let (path, header) = REQUESTS[number % REQUESTS.len()];
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        held.push(stream);
    }
}

/// Connects from the loopback address `client`.
async fn connect(client: IpAddr, agent: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(client, 0)).unwrap();
    socket.connect(agent).await.unwrap()
}

/// Reads the compressed matrix to its end, and returns its size.
async fn read_compressed(mut stream: TcpStream) -> usize {
    let head = "Host: a\r\nAccept-Encoding: gzip\r\nConnection: close";
    let request = format!("GET /api/v1/matrix HTTP/1.1\r\n{head}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer));
    read.await.expect("an answer in time").unwrap();
    assert!(answer.ends_with(b"\r\n0\r\n\r\n"), "cut off");
    answer.len()
}

async fn read_all(mut stream: TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer));
    read.await.expect("an answer in time").unwrap();
    answer
}

/// Starts an agent that knows `names`, on a thread of its own.
fn agent(names: &[String], port: u16) -> SocketAddr {
    let own = NodeName::new("agent").unwrap();
    let metrics = Metrics::new(Settings {
        source: own.clone(),
        protocols: vec![Protocol::Tcp],
        failed_cells: FailedCells::Zero,
        pause: Duration::from_secs(300),
        iperf3_version: "3.12".to_owned(),
        landlock: "abi6".to_owned(),
    });
    let identity = Identity {
        name: own,
        zone: String::new(),
        epoch: Epoch(1),
        protocols: vec![Protocol::Tcp],
        iperf3: "3.12".to_owned(),
    };
    let state = AgentState::new(identity, metrics.unwrap());
    let members = names.iter().zip(0..).map(|(name, number)| Member {
        name: NodeName::new(name).unwrap(),
        zone: "zone-1".to_owned(),
        state: NodeState::Live,
        silent_since: None,
        http: Some(SocketAddr::new(peer_address(number), port)),
        epoch: Epoch(7),
        iperf3: Some("3.18".to_owned()),
        sweep: 3,
        answered: true,
        seal: None,
    });
    state.set_members(members.collect(), None);
    for name in names {
        let figures = Figures {
            bandwidth_mbps: 94.5,
            ..Figures::default()
        };
        let name = NodeName::new(name).unwrap();
        state.record(&name, Protocol::Tcp, &Ok(figures));
    }
    let visitors = Visitors::new(state.clone(), &Access::default());
    let (sender, address) = std::sync::mpsc::channel();
    thread::spawn(move || {
        run(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let (client, stop) = (Client::default(), CancellationToken::new());
            iperf3_mesh::http::serve(vec![listener], state, client, visitors, stop).await;
        });
    });
    address.recv().unwrap()
}

fn names(nodes: usize) -> Vec<String> {
    (0..nodes).map(|n| format!("ip-10-0-{n:04}")).collect()
}

/// Returns the address of a peer.
fn peer_address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 2, high, low).into()
}

/// Starts peers that answer with full rows, on a thread of their own.
fn peers(names: &[String]) -> SocketAddr {
    let mut cells = String::new();
    for (name, number) in names.iter().zip(1_u32..) {
        let figure = f64::from(number.wrapping_mul(2_654_435_761) % 100_000);
        let _ = write!(
            cells,
            "{}{{\"destination_node\":\"{name}\",\"protocol\":\"tcp\",\"success\":true,\
             \"reason\":null,\"bandwidth_mbps\":{},\"jitter_ms\":null,\"loss_ratio\":null,\
             \"retransmits\":{number},\"rtt_ms\":{},\"age_seconds\":{},\"success_age_seconds\":{}}}",
            if number > 1 { "," } else { "" },
            9e4 + figure / 7.0,
            figure / 1e5,
            figure / 1e3,
            figure / 1e3,
        );
    }
    let (sender, address) = std::sync::mpsc::channel();
    let (names, cells): (Arc<[String]>, Arc<str>) = (names.into(), cells.into());
    thread::spawn(move || {
        run(async {
            let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer_with_rows(stream, names.clone(), cells.clone()));
            }
        });
    });
    address.recv().unwrap()
}

async fn answer_with_rows(mut stream: TcpStream, names: Arc<[String]>, cells: Arc<str>) {
    let IpAddr::V4(own) = stream.local_addr().unwrap().ip() else {
        return;
    };
    let [_, _, high, low] = own.octets();
    let name = &names[usize::from(u16::from_be_bytes([high, low]))];
    let mut request = [0; 2048];
    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        let head = format!(r#"{{"version":"1","node":"{name}","zone":"zone-1","cells":["#);
        let length = head.len() + cells.len() + 2;
        let status = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}");
        for part in [status.as_bytes(), cells.as_bytes(), b"]}"] {
            if stream.write_all(part).await.is_err() {
                return;
            }
        }
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(8);
    runtime.build().unwrap().block_on(future)
}
