//! The `agent` command: agents that meet, join late, leave, die, come back, or go by one name.
//! Separate processes on loopback addresses of their own, with the real gossip and the real iperf3.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use iperf3_mesh_testkit::agents::{Agent, QUICK};
use iperf3_mesh_testkit::answers::CellEntry;
use iperf3_mesh_testkit::events::{Event, Role};
use iperf3_mesh_testkit::http::{self, ask};
use iperf3_mesh_testkit::{Network, Program, SOON, SWEEP, await_that, checker};
use serde_json::Value;

/// For gossip to be sure that two lives of one name are no restart, and for a sweep after that.
const CONFLICT: Duration = Duration::from_secs(90);

/// For a node that has said goodbye to be gone everywhere.
const GOODBYE: Duration = Duration::from_secs(10);

/// What an event of a test consists of, beside the time and the level that every line has.
const EVENT: [&str; 14] = [
    "event",
    "node",
    "epoch",
    "peer",
    "role",
    "source_node",
    "destination_node",
    "protocol",
    "meeting",
    "sweep",
    "unix_ns",
    "boot_ns",
    "deadline_boot_ns",
    "pid",
];

/// Every ordered pair of `agents`, sorted.
fn pairs(agents: &[&Agent]) -> Vec<(String, String)> {
    let names: BTreeSet<&String> = agents.iter().map(|agent| &agent.name).collect();
    let all = names
        .iter()
        .flat_map(|&from| names.iter().map(move |&to| (from.clone(), to.clone())));
    all.filter(|(from, to)| from != to).collect()
}

/// Waits until each of `agents` answers with a matrix of all of them and nobody else, in which
/// every cell is good.
#[track_caller]
fn await_whole(agents: &[&Agent], limit: Duration) {
    let whole = pairs(agents);
    await_that(
        "the same whole matrix from everybody",
        limit,
        || {
            agents.iter().all(|agent| {
                agent.good_cells() == whole
                    && agent.matrix().unwrap_or_default().cells.len() == whole.len()
            })
        },
        || seen(agents),
    );
}

/// What each agent says of the others, for a failure's message.
fn seen(agents: &[&Agent]) -> String {
    let of = |agent: &&Agent| {
        let cells = agent
            .matrix()
            .unwrap_or_default()
            .cells
            .into_iter()
            .map(|cell| {
                format!(
                    "{}->{} {:?} {:?}",
                    cell.source_node, cell.destination_node, cell.success, cell.reason
                )
            });
        format!(
            "{}: {:?}\n  {}",
            agent.name,
            agent.states(),
            cells.collect::<Vec<_>>().join("\n  ")
        )
    };
    agents.iter().map(of).collect::<Vec<_>>().join("\n")
}

/// The cell as `agent` shows it.
fn cell(agent: &Agent, source: &str, destination: &str) -> Option<CellEntry> {
    agent
        .matrix()
        .ok()?
        .get(source, destination, "tcp")
        .cloned()
}

/// Whether the cell has failed for that reason.
fn failed(agent: &Agent, source: &str, destination: &str, reason: &str) -> bool {
    cell(agent, source, destination)
        .is_some_and(|cell| cell.success == Some(false) && cell.reason.as_deref() == Some(reason))
}

/// Asserts what holds of every agent at any time, and at its end in particular.
#[track_caller]
fn assert_exclusive(agents: &[&Agent]) {
    let events: Vec<Event> = agents.iter().flat_map(|agent| agent.events()).collect();
    let (intervals, faults) = checker::intervals(&events, &BTreeMap::new(), u64::MAX);
    assert!(faults.is_empty(), "{faults:#?}");
    let overlaps = checker::overlaps(&intervals);
    assert!(overlaps.is_empty(), "{overlaps:#?}");
}

#[test]
fn agents_meet_a_later_one_joins_and_who_stops_is_gone() {
    let network = Network::draw();
    let mut n1 = Agent::start(network, 1, "n1", &["--zone=east"]);
    let mut n2 = Agent::start(network, 2, "n2", &[]);
    await_whole(&[&n1, &n2], SWEEP);
    let labels = [
        ("source_node", "n1"),
        ("destination_node", "n2"),
        ("protocol", "tcp"),
    ];
    assert_eq!(n1.labelled("iperf_test_success", &labels), Some(1.0));
    assert!(
        n1.labelled("iperf_network_bandwidth_mbps", &labels)
            .unwrap()
            > 1.0
    );
    let cells = |agent: &Agent| {
        agent
            .series()
            .unwrap_or_default()
            .into_iter()
            .filter(|series| series.name == "iperf_test_success")
            .count()
    };
    assert_eq!(
        (cells(&n1), cells(&n2)),
        (1, 1),
        "each exports its own row only"
    );

    let mut n3 = Agent::start(network, 3, "n3", &[]);
    let is_known = || n1.states().contains_key("n3");
    await_that("n1 knows n3", SOON, is_known, || seen(&[&n1]));
    let joined = n1.metric("iperf_mesh_sweep").unwrap();
    await_whole(&[&n1, &n2, &n3], SWEEP);
    for agent in [&n1, &n2, &n3] {
        let document: Value = serde_json::from_str(&agent.get("/api/v1/matrix").unwrap()).unwrap();
        assert_eq!(document["nodes"][0]["zone"], "east", "{document}");
        assert_eq!(ask(agent.http(), "/readyz").unwrap().0, 200);
        assert_eq!(agent.metric("iperf_mesh_overlaps_total"), Some(0.0));
        assert_eq!(
            agent.labelled("iperf_mesh_members", &[("state", "live")]),
            Some(3.0)
        );
    }
    let events: Vec<Event> = [&n1, &n2, &n3]
        .iter()
        .flat_map(|agent| agent.events())
        .collect();
    for (source, destination) in pairs(&[&n1, &n2, &n3]) {
        let first = events.iter().filter(|event| {
            event.role == Role::Client
                && event.source_node == source
                && event.destination_node == destination
                && event.outcome.as_deref() == Some("success")
        });
        let first = first.map(|event| event.sweep).min().unwrap() as f64;
        assert!(
            first <= joined + 1.0,
            "{source} -> {destination} in {first}, joined in {joined}"
        );
    }

    let ended = n3.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for agent in [&n1, &n2] {
        await_that(
            "n3 is gone",
            GOODBYE,
            || agent.has_forgotten("n3"),
            || seen(&[agent]),
        );
    }
    await_whole(&[&n1, &n2], SWEEP);
    for agent in [&mut n1, &mut n2] {
        assert_eq!(agent.terminate().code, Some(0));
    }
    assert!(network.listeners().is_empty(), "{:?}", network.listeners());
    let all = [&n1, &n2, &n3];
    assert_exclusive(&all);
    all.into_iter().for_each(assert_events_are_whole);
}

/// Every test of an agent that has ended by itself has its start and its end, with all that belongs
/// to them.
fn assert_events_are_whole(agent: &Agent) {
    let log = agent.program.stderr();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (mut started, mut finished) = (BTreeSet::new(), BTreeSet::new());
    for line in lines {
        let Some(event) = line["event"].as_str() else {
            continue;
        };
        for key in EVENT {
            assert!(!line[key].is_null(), "no {key} in {line}");
        }
        assert_eq!(line["node"], agent.name.as_str());
        let process = (
            line["meeting"].to_string(),
            line["role"].to_string(),
            line["pid"].as_u64(),
        );
        let is_first = match event {
            "test_started" => started.insert(process),
            "test_finished" => {
                assert!(
                    line["outcome"].is_string() && line["reason"].is_string(),
                    "{line}"
                );
                finished.insert(process)
            }
            _ => panic!("an unknown event: {line}"),
        };
        assert!(is_first, "twice: {line}");
    }
    assert!(!started.is_empty());
    assert_eq!(started, finished, "of {}", agent.name);
}

#[test]
fn a_killed_agent_is_silent_and_unreachable_until_it_is_back() {
    let network = Network::draw();
    let n1 = Agent::start(network, 1, "n1", &[]);
    let mut n2 = Agent::start(network, 2, "n2", &[]);
    let n3 = Agent::start(network, 3, "n3", &[]);
    await_whole(&[&n1, &n2, &n3], SWEEP);

    n2.program.kill();
    for agent in [&n1, &n3] {
        let is_silent = || {
            agent
                .states()
                .get("n2")
                .is_some_and(|state| state == "silent")
                && ["n1", "n3"]
                    .iter()
                    .all(|source| failed(agent, source, "n2", "unreachable"))
        };
        await_that("n2 is silent and unreachable", SWEEP, is_silent, || {
            seen(&[agent])
        });
        let to_n2 = [
            ("source_node", agent.name.as_str()),
            ("destination_node", "n2"),
        ];
        assert_eq!(agent.labelled("iperf_test_success", &to_n2), Some(0.0));
        assert_eq!(
            agent.labelled("iperf_network_bandwidth_mbps", &to_n2),
            Some(0.0)
        );
        let reason = [("destination_node", "n2"), ("reason", "unreachable")];
        assert_eq!(
            agent.labelled("iperf_mesh_cell_failure", &reason),
            Some(1.0)
        );
        assert_eq!(
            agent.labelled("iperf_mesh_members", &[("state", "silent")]),
            Some(1.0)
        );
        // What it measured itself is not known any more, and nobody makes it up.
        assert_eq!(cell(agent, "n2", "n1").unwrap().success, None);
    }
    let between = cell(&n1, "n3", "n1").unwrap();
    assert_eq!(between.success, Some(true), "{between:?}");

    let n2 = Agent::start(network, 2, "n2", &[]);
    await_whole(&[&n1, &n2, &n3], SWEEP);
    assert_exclusive(&[&n1, &n2, &n3]);
}

#[test]
fn two_agents_of_one_name_both_say_so_until_one_of_them_stops() {
    let network = Network::draw();
    let n1 = Agent::start(network, 1, "n1", &[]);
    let twin = Agent::start(network, 2, "twin", &[]);
    await_whole(&[&n1, &twin], SWEEP);

    let mut other = Agent::start(network, 3, "twin", &[]);
    for agent in [&twin, &other] {
        let knows = || {
            agent.metric("iperf_mesh_name_conflict") == Some(1.0)
                && ask(agent.http(), "/readyz").is_ok_and(|(status, why)| {
                    status == 503
                        && why.contains("the node name twin")
                        && why.contains("--node-name")
                })
        };
        await_that("a twin knows of the other", CONFLICT, knows, || {
            seen(&[agent])
        });
    }
    let knows = || {
        n1.states()
            .get("twin")
            .is_some_and(|state| state == "conflict")
            && n1.labelled("iperf_mesh_members", &[("state", "conflict")]) == Some(1.0)
            && failed(&n1, "n1", "twin", "name_conflict")
    };
    await_that("n1 knows of the twins", CONFLICT, knows, || seen(&[&n1]));

    assert_eq!(other.terminate().code, Some(0));
    let is_mended = || {
        twin.metric("iperf_mesh_name_conflict") == Some(0.0)
            && ask(twin.http(), "/readyz").is_ok_and(|(status, _)| status == 200)
    };
    await_that(
        "the twin that stays has its name for itself",
        CONFLICT,
        is_mended,
        || seen(&[&twin]),
    );
    await_whole(&[&n1, &twin], CONFLICT);
    for agent in [&n1, &twin] {
        assert_eq!(agent.metric("iperf_mesh_overlaps_total"), Some(0.0));
    }
}

#[test]
fn a_port_in_use_is_named_with_its_option() {
    let network = Network::draw();
    let address = network.address(1);
    let start = || Agent::start(network, 1, "n1", &[]).program.ended(SOON);
    let check = |port: u16, option: &str| {
        let ended = start();
        assert_eq!(ended.code, Some(1), "{ended:?}");
        for part in [&format!("{address}:{port}"), option] {
            assert!(
                ended.stderr.contains(part),
                "no {part} in {:?}",
                ended.stderr
            );
        }
    };
    for (port, option) in [
        (9876, "--listen-port (LISTEN_PORT)"),
        (9878, "--control-port (MESH_CONTROL_PORT)"),
    ] {
        let _taken = TcpListener::bind((address, port)).unwrap();
        check(port, option);
    }
    let _taken = UdpSocket::bind((address, 9877)).unwrap();
    check(9877, "--gossip-port (MESH_GOSSIP_PORT)");
}

#[test]
fn a_seed_that_does_not_resolve_is_told_once_and_does_not_keep_others_out() {
    let network = Network::draw();
    let join = ["--skip-quiet-time", "--join=nobody.invalid"];
    let n1 = Agent::start_with(network, 1, "n1", &[&QUICK[..], &join].concat());
    let warnings = || {
        let log = n1.program.stderr();
        log.lines()
            .filter(|line| line.contains("WARN") && line.contains("nobody.invalid"))
            .count()
    };
    await_that("a warning", SOON, || warnings() > 0, || n1.program.stderr());
    let n2 = Agent::start(network, 2, "n2", &[]);
    await_whole(&[&n1, &n2], SWEEP);
    assert_eq!(warnings(), 1, "{}", n1.program.stderr());
}

/// Without `--skip-quiet-time` it may have forgotten a reservation of a former life.
#[test]
fn an_agent_with_a_past_is_quiet_at_first() {
    let network = Network::draw();
    let n1 = Agent::start(network, 1, "n1", &[]);
    let join = format!("--join={}", network.address(1));
    let quiet = Agent::start_with(network, 2, "quiet", &[&QUICK[..], &[&join]].concat());
    let is_refused = || {
        let refused = [
            ("role", "asker"),
            ("outcome", "refused"),
            ("reason", "quiet"),
        ];
        n1.labelled("iperf_mesh_reservations_total", &refused)
            .is_some()
    };
    await_that("n1 asks and is refused", SWEEP, is_refused, || {
        n1.program.stderr()
    });
    assert_eq!(quiet.metric("iperf_mesh_quiet"), Some(1.0));
    assert_eq!(n1.metric("iperf_mesh_quiet"), Some(0.0));
    assert_eq!(ask(quiet.http(), "/readyz").unwrap().0, 200);
    assert!(n1.events().is_empty() && quiet.events().is_empty());
    // A refusal alone fails no cell.
    assert_eq!(cell(&n1, "n1", "quiet").unwrap().success, None);
}

#[test]
fn variables_configure_an_agent_as_flags_do() {
    let network = Network::draw();
    let addresses = [
        network.address(1).to_string(),
        network.address(2).to_string(),
    ];
    let start = |name, address: &str| {
        let variables = [
            ("SOURCE_NODE_NAME", name),
            ("MESH_ZONE", "west"),
            ("MESH_ADVERTISE_ADDRESS", address),
            ("MESH_SKIP_QUIET_TIME", "true"),
            ("MESH_JOIN", &format!("{},{}", addresses[0], addresses[1])),
            ("MESH_DISCOVERY", "static"),
            ("LISTEN_PORT", "19876"),
            ("MESH_CONTROL_PORT", "19878"),
            ("MESH_GOSSIP_PORT", "19877"),
            ("IPERF_SERVER_PORT", "15201"),
            ("IPERF_SERVER_PORTS", "2"),
            ("IPERF_TEST_PROTOCOL", "both"),
            ("IPERF_TEST_DURATION", "1s"),
            ("IPERF_TEST_INTERVAL", "1"),
            ("IPERF_TEST_TIMEOUT", "5s"),
            ("IPERF_BITRATE", "20M"),
            ("IPERF_UDP_BITRATE", "1M"),
            ("IPERF_BIDIR", "true"),
            ("MESH_FORGET_AFTER", ""),
            ("LOG_FORMAT", "json"),
        ];
        Program::start_with(&["agent"], &variables)
    };
    let [n1, _n2] =
        [("n1", &addresses[0]), ("n2", &addresses[1])].map(|(name, at)| start(name, at));
    let matrix = || {
        let answer = http::get((network.address(1), 19876).into(), "/api/v1/matrix");
        serde_json::from_str(&answer.unwrap_or_default()).unwrap_or(Value::Null)
    };
    let is_whole = || {
        let document = matrix();
        let cells = document["cells"].as_array().cloned().unwrap_or_default();
        cells.len() == 4 && cells.iter().all(|cell| cell["success"] == true)
    };
    await_that("four cells", SWEEP, is_whole, || {
        format!("{:#}\n{}", matrix(), n1.stderr())
    });
    assert_eq!(matrix()["nodes"][1]["zone"], "west");
    let mut listeners = network.listeners();
    listeners.retain(|at| *at.ip().to_string() == addresses[0] && at.port() < 15_200);
    assert!(listeners.is_empty(), "{listeners:?}");
    assert!(
        n1.stderr()
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
}
