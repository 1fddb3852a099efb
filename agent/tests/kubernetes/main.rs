//! Discovery in Kubernetes: the real client against a fake API server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod error;
mod server;

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iperf3_mesh::config::FailedCells;
use iperf3_mesh::discovery::kubernetes::{Pace, Search, Watcher};
use iperf3_mesh::discovery::pods::PodStore;
use iperf3_mesh::discovery::{DiscoverySink, find_pods};
use iperf3_mesh::metrics::{Metrics, Settings};
use iperf3_mesh_core::gossip::{Gossip, GossipConfig, Rejection, Security};
use iperf3_mesh_core::seal::Signer;
use iperf3_mesh_core::{
    AddressRules, ClusterNode, Input, Listed, MeshName, NodeName, Protocol, View,
};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use server::{Mood, Server, server_now};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// The limit for something that takes moments on an idle host.
const SOON: Duration = Duration::from_secs(20);

const HOUR: Duration = Duration::from_secs(3600);

/// Short pauses, so that a test is fast.
const PACE: Pace = Pace {
    start_max: Duration::ZERO,
    retry_min: Duration::from_millis(10),
    retry_max: Duration::from_millis(80),
    answer_timeout: Duration::from_secs(2),
};

/// The gossip address of the agent under test.
const OWN: &str = "10.0.0.1:9877";

#[tokio::test]
async fn pods_are_listed_by_pages_and_then_watched() {
    let server = Server::start().await;
    let addresses: Vec<String> = (0..250)
        .map(|n| format!("10.0.{}.{}", n / 100 + 1, n % 100))
        .collect();
    for (number, address) in addresses.iter().enumerate() {
        server.put(pod(&format!("node-{number}"), &[address]));
    }
    let mut watching = Watching::start(&server);
    let expected: Vec<String> = addresses
        .iter()
        .map(|address| format!("{address}:9877"))
        .collect();
    watching
        .sees(&expected.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    server.put(pod("late", &["10.0.9.9"]));
    let both: Vec<&str> = expected
        .iter()
        .map(String::as_str)
        .chain(["10.0.9.9:9877"])
        .collect();
    watching.sees(&both).await;

    let requests = server.requests();
    let [lists @ .., watch] = &requests[..] else {
        panic!("no request")
    };
    assert_eq!(lists.len(), 3, "{lists:?}");
    assert!(
        watch.contains("watch=true") && watch.contains("resourceVersion=251"),
        "{watch}"
    );
    for request in &requests {
        assert!(
            request.starts_with("/api/v1/namespaces/mesh/pods?"),
            "{request}"
        );
        assert!(
            request.contains("labelSelector=app.kubernetes.io%2Fname%3Diperf3-mesh"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn only_running_pods_of_the_same_ip_family_are_peers() {
    let server = Server::start().await;
    server.put(pod("self", &["10.0.0.1", "fd00::1"]));
    server.put(pod("dual", &["fd00::2", "10.0.0.2"]));
    server.put(pod("six", &["fd00::3"]));
    server.put(pod("four", &["10.0.0.4"]));
    server.put(pod("bare", &[]));
    let mut waits = pod("waits", &["10.0.0.6"]);
    waits["status"]["phase"] = json!("Pending");
    server.put(waits);
    let mut moved = pod("moved", &["10.0.0.7"]);
    moved["spec"]["containers"][0]["ports"] = json!([
        { "name": "metrics", "containerPort": 9876 },
        { "name": "gossip", "containerPort": 7000, "protocol": "UDP" },
    ]);
    server.put(moved);
    let four = ["10.0.0.2:9877", "10.0.0.4:9877", "10.0.0.7:7000"];
    Watching::start(&server).sees(&four).await;
    let six = ["[fd00::2]:9877", "[fd00::3]:9877"];
    Watching::start_with(&server, "[fd00::1]:9877", PACE)
        .sees(&six)
        .await;
}

#[tokio::test]
async fn changes_of_pods_are_followed() {
    let server = Server::start().await;
    let mut watching = Watching::start(&server);
    let mut starting = pod("node-2", &[]);
    starting["status"] = json!({ "phase": "Pending" });
    server.put(starting);
    server.put(pod("node-3", &["10.0.0.3"]));
    watching.sees(&["10.0.0.3:9877"]).await;
    server.put(pod("node-2", &["10.0.0.2"]));
    watching.sees(&["10.0.0.2:9877", "10.0.0.3:9877"]).await;
    server.delete("agent-node-3");
    watching.sees(&["10.0.0.2:9877"]).await;
}

#[tokio::test]
async fn node_is_gone_while_it_has_no_pod() {
    let server = Server::start().await;
    for (node, address) in [("node-2", "10.0.0.2"), ("node-3", "10.0.0.3")] {
        server.put(pod(node, &[address]));
    }
    let mut watching = Watching::start(&server);
    watching.sees(&["10.0.0.2:9877", "10.0.0.3:9877"]).await;
    assert_eq!(watching.gone(), []);
    // A rolling update creates the new pod before the old one is gone, or after.
    let mut successor = pod("node-2", &["10.0.0.2"]);
    successor["metadata"]["name"] = json!("agent-node-2b");
    server.put(successor);
    server.delete("agent-node-2");
    server.delete("agent-node-3");
    watching.sees(&["10.0.0.2:9877"]).await;
    assert_eq!(watching.gone(), [name("node-3")]);
    // An agent that is not silent by then runs elsewhere.
    let later = Instant::now() + Duration::from_secs(16 * 60);
    assert_eq!(watching.pods.borrow().gone(later), []);
    server.put(pod("node-3", &["10.0.0.3"]));
    watching.sees(&["10.0.0.2:9877", "10.0.0.3:9877"]).await;
    assert_eq!(watching.gone(), []);
}

#[tokio::test]
async fn cluster_is_the_nodes_with_a_running_undeleted_pod() {
    let server = Server::start().await;
    let epoch = Timestamp::UNIX_EPOCH;
    let not_ready_since = |since: Option<Timestamp>| {
        let status = if since.is_some() { "False" } else { "True" };
        let since = since.unwrap_or(epoch);
        json!([
            { "type": "Initialized", "status": "True", "lastTransitionTime": epoch },
            { "type": "Ready", "status": status, "lastTransitionTime": since },
        ])
    };
    server.put(pod("node-1", &["10.0.0.1"]));
    let mut works = pod("works", &["10.0.0.2"]);
    works["status"]["conditions"] = not_ready_since(None);
    server.put(works);
    let mut dead = pod("dead", &["10.0.0.3"]);
    dead["status"]["conditions"] = not_ready_since(Some(server_now() - HOUR));
    server.put(dead);
    let mut ending = pod("ending", &["10.0.0.4"]);
    ending["metadata"]["deletionTimestamp"] = json!(server_now());
    server.put(ending);
    let mut over = pod("over", &["10.0.0.5"]);
    over["status"]["phase"] = json!("Failed");
    server.put(over);
    let mut watching = Watching::start(&server);
    watching
        .sees(&["10.0.0.2:9877", "10.0.0.3:9877", "10.0.0.4:9877"])
        .await;

    let cluster = watching.pods.borrow().cluster(&name("node-1")).unwrap();
    let [(dead, dead_node), (works, working_node)] = cluster.iter().collect::<Vec<_>>()[..] else {
        panic!("{cluster:?}")
    };
    assert_eq!((dead.as_str(), works.as_str()), ("dead", "works"));
    assert_eq!(dead_node.address.to_string(), "10.0.0.3");
    // The server tells its time in whole seconds, and the clock of this node is wrong.
    let unready_for = dead_node.unready_for + Duration::from_secs(1);
    assert!((HOUR..HOUR + SOON).contains(&unready_for), "{dead_node:?}");
    assert_eq!(working_node.unready_for, Duration::ZERO);
    // An agent name that is no node name.
    let cluster = watching.pods.borrow().cluster(&name("host-1"));
    assert!(cluster.unwrap().is_empty());
}

#[tokio::test]
async fn single_list_counts_peers_or_fails_with_a_hint() {
    let server = Server::start().await;
    server.put(pod("node-1", &["10.0.0.1"]));
    server.put(pod("node-2", &["10.0.0.2"]));
    server.put(json!({ "metadata": { "name": "odd" }, "spec": 7 }));
    let (count, unreadable) = watcher(&server, OWN, PACE).count_peers().await.unwrap();
    assert_eq!((count, unreadable.len()), (1, 1), "{unreadable:?}");
    assert_eq!(unreadable[0].name, "odd");
    server.mood(Mood::Refusing(403));
    let error = watcher(&server, OWN, PACE).count_peers().await.unwrap_err();
    assert!(
        error.hint().contains("get, list and watch on pods"),
        "{error}"
    );
}

#[tokio::test]
async fn agents_find_each_other_and_the_cluster_through_pods() {
    let server = Server::start().await;
    let (here, there) = (free("127.0.0.1"), free("127.0.0.2"));
    let (one, _two) = (gossip("node-1", here).await, gossip("node-2", there).await);
    let mut peer = pod("node-2", &["127.0.0.2"]);
    peer["spec"]["containers"][0]["ports"] =
        json!([{ "name": "gossip", "containerPort": there.port() }]);
    server.put(peer);
    let (inputs, mut received) = mpsc::channel(8);
    let sink = DiscoverySink {
        gossip: &one,
        inputs,
        seeds: &|_| (),
        own: here,
    };
    let watcher = watcher(&server, &here.to_string(), PACE);
    let mut views = one.views();
    let own = name("node-1");
    let steps = async {
        views
            .wait_for(|view| view.get(&name("node-2")).is_some())
            .await
            .unwrap();
        assert!(cluster(&mut received, |_| true).await.is_empty());
        server.put(pod("node-1", &["127.0.0.1"]));
        assert_eq!(
            cluster(&mut received, |nodes| !nodes.is_empty()).await,
            ["node-2 at 127.0.0.2"]
        );
        server.delete("agent-node-2");
        let is_gone = |input: &Input| matches!(input, Input::Gone(node) if *node == name("node-2"));
        while !is_gone(&received.recv().await.unwrap()) {}
        assert!(cluster(&mut received, |_| true).await.is_empty());
    };
    tokio::select! {
        () = find_pods(&sink, watcher, &own, metrics()) => panic!("discovery ended"),
        done = timeout(SOON, steps) => done.unwrap(),
    }
}

#[tokio::test]
async fn member_that_is_no_pod_is_refused_until_it_is_one() {
    let server = Server::start().await;
    let (here, there, elsewhere) = (free("127.0.0.1"), free("127.0.0.2"), free("127.0.0.3"));
    let one = listing("node-1", here).await;
    // Two agents of one name, of which one is at the address of the pod.
    let _pod = gossip("node-2", there).await;
    let forger = gossip("node-2", elsewhere).await;
    let invented = gossip("node-9", free("127.0.0.4")).await;
    for other in [&forger, &invented] {
        // This node hears of them from an agent that it meets.
        other.join(&[there]);
    }
    server.put(pod("node-1", &["127.0.0.1"]));
    let mut real = pod("node-2", &["127.0.0.2"]);
    real["spec"]["containers"][0]["ports"] =
        json!([{ "name": "gossip", "containerPort": there.port() }]);
    server.put(real);
    let (inputs, _received) = mpsc::channel(64);
    let sink = DiscoverySink {
        gossip: &one,
        inputs,
        seeds: &|_| (),
        own: here,
    };
    let watcher = watcher(&server, &here.to_string(), PACE);
    let mut views = one.views();
    let own = name("node-1");
    let refused = || {
        let totals = Rejection::ALL.iter().zip(one.status().refused);
        let is_address = |(reason, _): &(&Rejection, u64)| **reason == Rejection::Address;
        totals.into_iter().find(is_address).unwrap().1
    };
    let steps = async {
        let is_real = |view: &View| {
            view.get(&name("node-2"))
                .is_some_and(|it| it.control == there)
        };
        views.wait_for(is_real).await.unwrap();
        while refused() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(others(&views.borrow()), ["node-2 at 127.0.0.2"]);
        server.put(pod("node-9", &["127.0.0.4"]));
        let is_member = |view: &View| view.get(&name("node-9")).is_some();
        let view = views.wait_for(is_member).await.unwrap().clone();
        let both = ["node-2 at 127.0.0.2", "node-9 at 127.0.0.4"];
        assert_eq!(others(&view), both);
    };
    tokio::select! {
        () = find_pods(&sink, watcher, &own, metrics()) => panic!("discovery ended"),
        done = timeout(SOON, steps) => done.unwrap(),
    }
}

#[tokio::test]
async fn cluster_is_unknown_until_the_first_list() {
    let server = Server::start().await;
    server.put(pod("node-1", &["127.0.0.1"]));
    server.put(pod("node-2", &["127.0.0.2"]));
    server.mood(Mood::Refusing(500));
    let here = free("127.0.0.1");
    let one = gossip("node-1", here).await;
    let (inputs, mut received) = mpsc::channel(8);
    let sink = DiscoverySink {
        gossip: &one,
        inputs,
        seeds: &|_| (),
        own: here,
    };
    let watcher = watcher(&server, &here.to_string(), PACE);
    let own = name("node-1");
    let steps = async {
        while server.requests().len() < 3 {
            tokio::task::yield_now().await;
        }
        server.mood(Mood::Fair);
        assert_eq!(cluster(&mut received, |_| true).await.len(), 1);
    };
    tokio::select! {
        () = find_pods(&sink, watcher, &own, metrics()) => panic!("discovery ended"),
        done = timeout(SOON, steps) => done.unwrap(),
    }
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn metrics() -> Metrics {
    let settings = Settings {
        source: name("node-1"),
        protocols: vec![Protocol::Tcp],
        failed_cells: FailedCells::Zero,
        pause: SOON,
        iperf3_version: "3.12".to_owned(),
        landlock: "abi6".to_owned(),
    };
    Metrics::new(settings).unwrap()
}

fn watcher(server: &Server, own: &str, pace: Pace) -> Watcher {
    let search = Search {
        server: server.config(),
        namespace: None,
        label_selector: "app.kubernetes.io/name=iperf3-mesh".to_owned(),
        gossip: own.parse().unwrap(),
        pace,
    };
    Watcher::new(search).unwrap()
}

/// A running watcher and the pods that it knows. It ends when dropped.
struct Watching {
    pods: watch::Receiver<PodStore>,
    metrics: Metrics,
    task: AbortHandle,
}

impl Watching {
    fn start(server: &Server) -> Self {
        Self::start_with(server, OWN, PACE)
    }

    fn start_with(server: &Server, own: &str, pace: Pace) -> Self {
        let metrics = metrics();
        let watcher = watcher(server, own, pace);
        let pods = watcher.pods();
        let task = tokio::spawn(watcher.run(metrics.clone())).abort_handle();
        Self {
            pods,
            metrics,
            task,
        }
    }

    /// Waits until exactly these addresses are known.
    async fn sees(&mut self, expected: &[&str]) {
        let expected: Vec<SocketAddr> = expected
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        let seen = self.pods.wait_for(|pods| pods.addresses() == expected);
        let is_late = timeout(SOON, seen).await.is_err();
        assert!(
            !is_late,
            "{:?} instead of {expected:?}",
            self.pods.borrow().addresses()
        );
    }

    fn gone(&self) -> Vec<NodeName> {
        self.pods.borrow().gone(Instant::now())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A running pod on that node.
fn pod(node: &str, addresses: &[&str]) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("agent-{node}"), "labels": { "a": "b" } },
        "spec": { "nodeName": node, "hostNetwork": true, "containers": [{ "name": "agent" }] },
        "status": { "phase": "Running", "hostIP": "10.9.9.9", "podIPs": addresses },
    })
}

/// A free UDP port on that address.
fn free(address: &str) -> SocketAddr {
    UdpSocket::bind((address, 0)).unwrap().local_addr().unwrap()
}

async fn gossip(node: &str, at: SocketAddr) -> Gossip {
    with_rules(node, at, AddressRules::new(at.ip(), [])).await
}

/// The members other than `node-1`, each with its address.
fn others(view: &View) -> Vec<String> {
    let members = view.members().iter();
    members
        .filter(|member| member.name != name("node-1"))
        .map(|member| format!("{} at {}", member.name, member.control.ip()))
        .collect()
}

/// An agent that accepts the members of the cluster only.
async fn listing(node: &str, at: SocketAddr) -> Gossip {
    let mut rules = AddressRules::new(at.ip(), []);
    rules.set_listed(Listed::default());
    with_rules(node, at, rules).await
}

async fn with_rules(node: &str, at: SocketAddr, rules: AddressRules) -> Gossip {
    let config = GossipConfig {
        mesh: MeshName::default(),
        name: name(node),
        signer: Arc::new(Signer::new(&rand::random())),
        generation: 1,
        zone: String::new(),
        advertise: at,
        rules,
        listen: at,
        control: at,
        http_port: 9876,
        security: Security::Insecure,
        members_max: 16,
        iperf3: String::new(),
        interval: Duration::from_millis(100),
    };
    Gossip::over_udp(config).await.unwrap()
}

/// The nodes of the next `Input::Cluster` that is `wanted`.
async fn cluster(
    received: &mut mpsc::Receiver<Input>,
    wanted: impl Fn(&BTreeMap<NodeName, ClusterNode>) -> bool,
) -> Vec<String> {
    loop {
        if let Input::Cluster(nodes) = received.recv().await.unwrap()
            && wanted(&nodes)
        {
            return nodes
                .into_iter()
                .map(|(name, node)| format!("{name} at {}", node.address))
                .collect();
        }
    }
}
