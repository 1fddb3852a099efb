//! Live agents with a key: they measure each other, and whoever has no key, another key, or copies
//! of their messages changes nothing.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::{fs, thread};

use iperf3_mesh_core::gossip::{Gossip, GossipConfig, SealMode, Security};
use iperf3_mesh_core::seal::{
    Envelopes, Key, KeyId, Keyring, Life, Purpose, Role, Secret, Signer, Target,
};
use iperf3_mesh_core::wire::{Body, Complaints, Message};
use iperf3_mesh_core::{AddressRules, Member, MeshName, NodeName, PeerState, WIRE_VERSION};
use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::http::ask;
use iperf3_mesh_testkit::{Network, SOON, SWEEP, await_that, events};
use tempfile::TempDir;

const CONTROL: u16 = 9878;
const GOSSIP: u16 = 9877;
const PATH: &str = "/control/v1/message";
const PLAIN: &str = "application/json";
const SEALED: &str = "application/vnd.iperf3-mesh";
const REJECTED: &str = "iperf_mesh_rejected_messages_total";
const TARGET: Target<'_> = Target {
    purpose: Purpose::Control,
    method: "POST",
    path: PATH,
};

/// How long an agent may take to look at its key file again.
const LOOKED: Duration = Duration::from_secs(20);

#[test]
fn agents_with_a_key_meet_and_others_get_nothing() {
    let mesh = Mesh::start(&[7]);
    let other = KeyFile::new(&[8]);
    let stranger = start(mesh.network, 3, &other);
    let refused = || mesh.rejected(0, "iperf_mesh_gossip_refused_total", "unknown_key") > 0.0;
    await_that("the stranger is refused", SOON, refused, String::new);
    let plain = message("n2", Life::new([9; 16]), Life::new([9; 16])).encode();
    for (content_type, body, status, reason) in [
        (PLAIN, plain.clone(), 401, "unsealed"),
        (SEALED, plain, 401, "unsealed"),
        (SEALED, vec![0xe5; 80], 421, "other_life"),
    ] {
        let counted = mesh.rejected(0, REJECTED, reason);
        let answer = post(mesh.control(0), content_type, &body);
        assert_eq!(answer, (status, Vec::new()), "{reason}");
        assert!(mesh.rejected(0, REJECTED, reason) > counted, "{reason}");
    }
    mesh.assert_next_sweep_succeeds();
    assert_eq!(stranger.states().len(), 1, "it sees nobody");
    assert_eq!(mesh.agents[0].states().len(), 2);
    for agent in &mesh.agents {
        let matrix = agent.get("/api/v1/matrix").unwrap();
        assert!(!matrix.contains("row_unsealed"), "{matrix}");
    }
}

/// A member that the test plays records what it gets, and plays it to all agents and their later
/// runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_and_forged_messages_of_a_member_do_nothing() {
    let mut mesh = Mesh::start(&[7]);
    let insider = Insider::join(&mesh).await;
    let [n1, n2] = insider.await_members(&mesh).await;
    let recorded = insider.recorded_of(n1.life.unwrap());
    let mut envelopes = Envelopes::new(insider.life, MESH.to_owned(), keyring(&[7]));
    let accepted = envelopes.accepted();
    let mut sealed = |name: &str, to: &Member| {
        let body = message(name, insider.life, to.life.unwrap()).encode();
        envelopes
            .seal(to.life.unwrap(), &accepted, TARGET, &body)
            .unwrap()
            .0
    };
    let good = sealed("n3", &n1);
    assert_eq!(post(mesh.control(0), SEALED, &good).0, 200);
    for (forgery, at, body, status, reason) in [
        ("a replay", 0, &good, 401, "replayed"),
        ("a replay to another node", 1, &good, 421, "other_life"),
        ("a message to the insider", 1, &recorded, 421, "other_life"),
        (
            "one in another's name",
            0,
            &sealed("n2", &n1),
            403,
            "foreign_life",
        ),
        (
            "one to another node",
            0,
            &sealed("n3", &n2),
            421,
            "other_life",
        ),
    ] {
        let counted = mesh.rejected(at, REJECTED, reason);
        let (found, answer) = post(mesh.control(at), SEALED, body);
        assert_eq!(found, status, "{forgery}");
        assert!(answer.is_empty() || reason == "foreign_life", "{forgery}");
        assert!(mesh.rejected(at, REJECTED, reason) > counted, "{forgery}");
    }
    mesh.restart(0);
    assert_eq!(post(mesh.control(0), SEALED, &good), (421, Vec::new()));
    insider.gossip.goodbye().await;
    mesh.assert_next_sweep_succeeds();
}

#[test]
fn operator_reads_what_a_protected_agent_tells_nobody_else() {
    let keys = KeyFile::new(&[7]);
    keys.write(&(line(Role::Member, 7) + &line(Role::Operator, 5)));
    let network = Network::draw();
    let agent = Agent::start(network, 1, "n1", &[&keys.option(), "--protect-read"]);
    let answers = || ask(agent.http(), "/healthz").is_ok_and(|(status, _)| status == 200);
    await_that("the agent answers", SOON, answers, String::new);
    assert_eq!(agent.ask("/api/v1/matrix").0, 401);
    let operator = KeyFile::new(&[]);
    operator.write(&line(Role::Operator, 5));
    let address = agent.http().to_string();
    let matrix = |keys: &KeyFile| {
        let args = ["matrix", &address, "--output=json", &keys.option()];
        agent.run_beside(&args, SOON)
    };
    let is_read = || matrix(&operator).stdout.contains("\"n1\"");
    await_that("the agent has its keys", SOON, is_read, || {
        format!("{:?}", matrix(&operator))
    });
    let ended = matrix(&KeyFile::new(&[8]));
    assert!(
        ended.code == Some(1) && ended.stderr.contains("401"),
        "{ended:?}"
    );
    let ended = agent.run_beside(&["matrix", &address], SOON);
    assert!(
        ended.code == Some(1) && ended.stderr.contains("--key-file"),
        "{ended:?}"
    );
    let join = format!("--join={}", agent.address);
    let joiner = format!("--advertise-address={}", network.address(2));
    let static_ = "--discovery=static";
    let args = [
        "check",
        "--node-name=n2",
        &joiner,
        &join,
        static_,
        &keys.option(),
    ];
    let ended = agent.run_beside(&args, SOON);
    assert!(ended.stdout.contains("agents found: 1 of 1"), "{ended:?}");
}

#[test]
fn rotated_keys_reach_messages_and_rows() {
    let mesh = Mesh::start(&[7]);
    for (times, keys) in [(2, &[8, 7][..]), (3, &[8])] {
        mesh.keys.write(&lines(keys));
        let takes = |agent: &Agent| {
            let log = agent.program.stderr();
            log.matches("the keys of the key file are in use").count() == times
        };
        let all = || mesh.agents.iter().all(takes);
        await_that("the keys are in use", LOOKED, all, String::new);
        mesh.assert_next_sweep_succeeds();
    }
    let in_use = |agent: &Agent| {
        let used = agent.labelled("iperf_mesh_key_in_use", &[("id", "key-8")]);
        used == Some(1.0) && agent.metric("iperf_mesh_key_in_use") == Some(1.0)
    };
    let all = || mesh.agents.iter().all(in_use);
    await_that("only the new key is in use", SOON, all, String::new);
}

/// A mesh gets its first key: each agent in turn takes it, and they never part.
#[test]
fn permissive_agent_meets_agents_with_and_without_a_key() {
    let (network, keys) = (Network::draw(), KeyFile::new(&[7]));
    let plain = Agent::start(network, 1, "n1", &[]);
    let permissive = |host| {
        let args = [keys.option(), "--auth=permissive".to_owned()];
        Agent::start(network, host, &format!("n{host}"), &[&args[0], &args[1]])
    };
    let mut mesh = Mesh {
        network,
        agents: vec![plain, permissive(2)],
        keys: KeyFile::new(&[7]),
    };
    mesh.await_sweep(1);
    let marks = || {
        mesh.agents[1]
            .get("/api/v1/matrix")
            .unwrap()
            .matches("row_unsealed")
            .count()
    };
    assert_eq!(marks(), 1);
    assert_eq!(mesh.agents[0].terminate().code, Some(0));
    mesh.agents[0] = permissive(1);
    mesh.assert_next_sweep_succeeds();
    let marks = || {
        mesh.agents[1]
            .get("/api/v1/matrix")
            .unwrap()
            .matches("row_unsealed")
            .count()
    };
    await_that("all rows are sealed", SOON, || marks() == 0, String::new);
}

/// Two agents with the same key file.
struct Mesh {
    network: Network,
    keys: KeyFile,
    agents: Vec<Agent>,
}

const MESH: &str = "iperf3-mesh";

impl Mesh {
    fn start(keys: &[u8]) -> Self {
        let (network, keys) = (Network::draw(), KeyFile::new(keys));
        let agents = [1, 2].map(|host| start(network, host, &keys)).into();
        let mesh = Self {
            network,
            keys,
            agents,
        };
        mesh.await_sweep(1);
        mesh
    }

    fn restart(&mut self, at: usize) {
        assert_eq!(self.agents[at].terminate().code, Some(0));
        self.agents[at] = start(self.network, at as u8 + 1, &self.keys);
        let answers = || ask(self.agents[at].http(), "/readyz").is_ok_and(|it| it.0 == 200);
        await_that("the agent is back", SOON, answers, String::new);
    }

    fn control(&self, at: usize) -> SocketAddr {
        (self.agents[at].address, CONTROL).into()
    }

    fn rejected(&self, at: usize, metric: &str, reason: &str) -> f64 {
        let count = self.agents[at].labelled(metric, &[("reason", reason)]);
        count.unwrap_or_default()
    }

    fn sweep(&self) -> u64 {
        let sweeps = self
            .agents
            .iter()
            .filter_map(|agent| agent.metric("iperf_mesh_sweep"));
        sweeps.fold(0.0, f64::max) as u64
    }

    fn assert_next_sweep_succeeds(&self) {
        self.await_sweep(self.sweep() + 1);
    }

    /// Waits until both have tested each other in that sweep or a later one.
    fn await_sweep(&self, number: u64) {
        let has_tested = |agent: &Agent| {
            agent.events().iter().any(|event| {
                let has_succeeded = event.outcome.as_deref() == Some("success");
                event.sweep >= number && event.role == events::Role::Client && has_succeeded
            })
        };
        let all = || self.agents.iter().all(has_tested);
        await_that("all tests of a sweep", SWEEP, all, || {
            let states = self.agents.iter().map(Agent::states);
            format!("{:?}", states.collect::<Vec<_>>())
        });
    }
}

fn start(network: Network, host: u8, keys: &KeyFile) -> Agent {
    Agent::start(network, host, &format!("n{host}"), &[&keys.option()])
}

/// A member that has the key, and no agent: its gossip, and a control port that answers nothing.
struct Insider {
    gossip: Gossip,
    life: Life,
    received: Receiver<Vec<u8>>,
}

impl Insider {
    async fn join(mesh: &Mesh) -> Self {
        let address = mesh.network.address(3);
        let signer = Arc::new(Signer::new(&rand::random()));
        let life = signer.life();
        let (sender, received) = channel();
        let listener = TcpListener::bind((address, CONTROL)).unwrap();
        thread::spawn(move || record(&listener, &sender));
        let gossip = Gossip::over_udp(GossipConfig {
            mesh: MeshName::default(),
            name: name("n3"),
            signer,
            generation: 1,
            zone: String::new(),
            advertise: (address, GOSSIP).into(),
            rules: AddressRules::new(address.into(), []),
            listen: (address, GOSSIP).into(),
            control: (address, CONTROL).into(),
            http_port: 9876,
            security: Security::Sealed {
                secret: Secret::new(rand::random()),
                keyring: keyring(&[7]),
                mode: SealMode::Required,
            },
            members_max: 100,
            iperf3: String::new(),
            interval: Duration::from_millis(200),
        });
        Self {
            gossip: gossip.await.unwrap(),
            life,
            received,
        }
    }

    /// Waits until it sees both agents, and each of them it.
    async fn await_members(&self, mesh: &Mesh) -> [Member; 2] {
        let to = mesh.network.address(1);
        loop {
            self.gossip.join(&[(to, GOSSIP).into()]);
            tokio::time::sleep(Duration::from_millis(200)).await;
            let view = self.gossip.views().borrow().clone();
            let members: Vec<Member> = view.members().to_vec();
            let are_live = members.iter().all(|member| member.state == PeerState::Live);
            let know = |agent: &Agent| agent.states().contains_key("n3");
            if are_live && mesh.agents.iter().all(know) {
                return members.try_into().unwrap();
            }
        }
    }

    /// Returns a message that the agent with this life has sent to it.
    fn recorded_of(&self, life: Life) -> Vec<u8> {
        let is_of = |message: &Vec<u8>| message[5..][..16] == *life.bytes();
        loop {
            let message = self.received.recv_timeout(SWEEP).unwrap();
            if is_of(&message) {
                return message;
            }
        }
    }
}

/// Passes on the bodies of all requests.
fn record(listener: &TcpListener, received: &Sender<Vec<u8>>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            request.extend_from_slice(&piece[..length]);
            if let Some(body) = body_of(&request) {
                if received.send(body).is_err() {
                    return;
                }
                break;
            }
        }
    }
}

/// Returns the body of a request that is complete.
fn body_of(request: &[u8]) -> Option<Vec<u8>> {
    let end = request.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let (_, length) = head.split_once("content-length: ")?;
    let length: usize = length.split_whitespace().next()?.parse().ok()?;
    Some(request.get(end..end + length)?.to_vec())
}

/// Posts a control message; the status and the body of the answer.
fn post(to: SocketAddr, content_type: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect_timeout(&to, SOON).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let length = body.len();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\
         Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

/// A ping of the node `from` to `n1`.
fn message(from: &str, life: Life, to: Life) -> Message {
    Message {
        wire: WIRE_VERSION,
        from: name(from),
        from_epoch: life.epoch(),
        to: name("n1"),
        to_epoch: to.epoch(),
        sweep: 1,
        meeting: None,
        complaints: Complaints::default(),
        body: Body::Sweep,
    }
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

/// A key file that only its owner reads.
struct KeyFile(TempDir);

impl KeyFile {
    fn new(keys: &[u8]) -> Self {
        let file = Self(tempfile::tempdir().unwrap());
        file.write(&lines(keys));
        file
    }

    fn write(&self, lines: &str) {
        // Agents read the file at any time, so it is replaced as a whole.
        let next = self.0.path().join("next");
        fs::write(&next, lines).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(next, self.0.path().join("keys")).unwrap();
    }

    fn option(&self) -> String {
        format!("--key-file={}", self.0.path().join("keys").display())
    }
}

fn keyring(keys: &[u8]) -> Keyring {
    Keyring::read(lines(keys).as_bytes()).unwrap()
}

/// The lines of a key file with the member keys of these numbers, the newest first.
fn lines(keys: &[u8]) -> String {
    keys.iter().map(|key| line(Role::Member, *key)).collect()
}

fn line(role: Role, number: u8) -> String {
    let bytes = std::array::from_fn(|at| number.wrapping_add(at as u8));
    let id = KeyId::new(&format!("key-{number}")).unwrap();
    let line = Key::new(id, role, Secret::new(bytes)).to_line().to_string();
    line + "\n"
}
