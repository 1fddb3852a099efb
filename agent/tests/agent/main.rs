//! The `agent` command: agents that meet, join late, leave, die, restart, or share a name. They are
//! separate processes on loopback addresses of their own, with real gossip and real iperf3.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod complaints;
mod helpers;
mod starving;
mod supervisor;
mod unread_log;

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use iperf3_mesh_testkit::agents::{Agent, QUICK};
use iperf3_mesh_testkit::events::{Event, Role};
use iperf3_mesh_testkit::http::{self, ask};
use iperf3_mesh_testkit::{Network, Program, SOON, SWEEP, await_that};
use serde_json::Value;

use helpers::{
    assert_events_are_paired, assert_exclusive, await_whole, cell, conflicts, failed, log_lines,
    pairs, seen,
};

/// The longest time until gossip takes two epochs of one name for a conflict and not for a restart,
/// plus a sweep.
const CONFLICT: Duration = Duration::from_secs(90);

/// The longest time until a node that said goodbye is gone everywhere.
const GOODBYE: Duration = Duration::from_secs(10);

#[test]
fn two_agents_measure_each_other() {
    let network = Network::draw();
    let n1 = Agent::start(network, 1, "n1", &[]);
    let n2 = Agent::start(network, 2, "n2", &[]);
    await_whole(&[&n1, &n2], SWEEP);
    let labels = [
        ("source_node", "n1"),
        ("destination_node", "n2"),
        ("protocol", "tcp"),
    ];
    assert_eq!(n1.labelled("iperf_test_success", &labels), Some(1.0));
    let bandwidth = n1.labelled("iperf_network_bandwidth_mbps", &labels);
    assert!(bandwidth.unwrap() > 1.0, "{bandwidth:?}");
}

#[test]
fn an_agent_exports_its_own_row_only() {
    let network = Network::draw();
    let n1 = Agent::start(network, 1, "n1", &[]);
    let n2 = Agent::start(network, 2, "n2", &[]);
    await_whole(&[&n1, &n2], SWEEP);
    for agent in [&n1, &n2] {
        let series = agent.series().unwrap();
        let cells: Vec<_> = series
            .iter()
            .filter(|series| series.name == "iperf_test_success")
            .collect();
        assert_eq!(cells.len(), 1, "{cells:?}");
        assert!(cells[0].has("source_node", &agent.name), "{cells:?}");
    }
}

#[test]
fn all_agents_agree_on_members_and_matrix() {
    let network = Network::draw();
    let n1 = Agent::start(network, 1, "n1", &["--zone=east"]);
    let n2 = Agent::start(network, 2, "n2", &[]);
    let n3 = Agent::start(network, 3, "n3", &[]);
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
}

#[test]
fn a_late_agent_is_measured_within_one_sweep() {
    let network = Network::draw();
    let n1 = Agent::start(network, 1, "n1", &[]);
    let n2 = Agent::start(network, 2, "n2", &[]);
    await_whole(&[&n1, &n2], SWEEP);

    let n3 = Agent::start(network, 3, "n3", &[]);
    let is_known = || n1.states().contains_key("n3");
    await_that("n1 knows n3", SOON, is_known, || seen(&[&n1]));
    let joined = n1.metric("iperf_mesh_sweep").unwrap();
    let all = [&n1, &n2, &n3];
    await_whole(&all, SWEEP);
    let events: Vec<Event> = all.iter().flat_map(|agent| agent.events()).collect();
    for (source, destination) in pairs(&all) {
        let first = events
            .iter()
            .filter(|event| {
                event.role == Role::Client
                    && event.source_node == source
                    && event.destination_node == destination
                    && event.outcome.as_deref() == Some("success")
            })
            .map(|event| event.sweep)
            .min()
            .unwrap() as f64;
        assert!(
            first <= joined + 1.0,
            "{source} -> {destination} in sweep {first}, joined in {joined}"
        );
    }
}

#[test]
fn a_stopped_agent_departs_at_once() {
    let network = Network::draw();
    let n1 = Agent::start(network, 1, "n1", &[]);
    let n2 = Agent::start(network, 2, "n2", &[]);
    let mut n3 = Agent::start(network, 3, "n3", &[]);
    await_whole(&[&n1, &n2, &n3], SWEEP);
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
}

#[test]
fn stopped_agents_leave_no_port_open_and_no_event_unpaired() {
    let network = Network::draw();
    let mut n1 = Agent::start(network, 1, "n1", &[]);
    let mut n2 = Agent::start(network, 2, "n2", &[]);
    await_whole(&[&n1, &n2], SWEEP);
    for agent in [&mut n1, &mut n2] {
        assert_eq!(agent.terminate().code, Some(0));
    }
    assert!(network.listeners().is_empty(), "{:?}", network.listeners());
    assert_exclusive(&[&n1, &n2]);
    assert_events_are_paired(&n1);
    assert_events_are_paired(&n2);
}

#[test]
fn the_event_of_a_finished_test_has_its_figures() {
    let network = Network::draw();
    let args = ["--protocol=both", "--udp-bitrate=1M"];
    let n1 = Agent::start(network, 1, "n1", &args);
    let _n2 = Agent::start(network, 2, "n2", &args);
    let finished = |role: &str, protocol: &str| {
        log_lines(&n1).into_iter().find(|line| {
            line["event"] == "test_finished"
                && line["outcome"] == "success"
                && line["role"] == role
                && line["protocol"] == protocol
        })
    };
    let both = ["client", "server"].map(|role| ["tcp", "udp"].map(|protocol| (role, protocol)));
    let all_finished = || {
        both.as_flattened()
            .iter()
            .all(|(role, protocol)| finished(role, protocol).is_some())
    };
    await_that("a test of each kind", SWEEP, all_finished, || {
        n1.program.stderr()
    });

    let figures = [
        "bandwidth_mbps",
        "loss_ratio",
        "jitter_ms",
        "retransmits",
        "rtt_ms",
    ];
    let present = |role, protocol| {
        let event = finished(role, protocol).unwrap();
        figures.map(|figure| event[figure].is_number())
    };
    assert_eq!(present("client", "tcp"), [true, false, false, true, true]);
    assert_eq!(present("client", "udp"), [true, true, true, false, false]);
    assert_eq!(present("server", "tcp"), [false; 5]);
    assert_eq!(present("server", "udp"), [false; 5]);
    let mbps = finished("client", "tcp").unwrap()["bandwidth_mbps"]
        .as_f64()
        .unwrap();
    assert!((1.0..100.0).contains(&mbps), "{mbps} at --bitrate=20M");
}

#[test]
fn a_killed_agent_is_unreachable_until_it_is_back() {
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
        // The row of n2 itself is not available, and no agent makes it up.
        assert_eq!(cell(agent, "n2", "n1").unwrap().success, None);
    }
    let between = cell(&n1, "n3", "n1").unwrap();
    assert_eq!(between.success, Some(true), "{between:?}");

    let n2 = Agent::start(network, 2, "n2", &[]);
    await_whole(&[&n1, &n2, &n3], SWEEP);
    assert_exclusive(&[&n1, &n2, &n3]);
}

#[test]
fn two_agents_of_one_name_conflict_until_one_stops() {
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
        await_that("both agents report the conflict", CONFLICT, knows, || {
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
    await_that("n1 reports the conflict", CONFLICT, knows, || seen(&[&n1]));

    let [first, second] = [&twin, &other].map(|agent| format!("{}:9878", agent.address));
    assert_eq!(conflicts(&twin), [(first.clone(), second.clone())]);
    assert_eq!(conflicts(&other), [(second, first.clone())]);

    assert_eq!(other.terminate().code, Some(0));
    let is_over = || {
        twin.metric("iperf_mesh_name_conflict") == Some(0.0)
            && ask(twin.http(), "/readyz").is_ok_and(|(status, _)| status == 200)
    };
    await_that("the conflict is over", CONFLICT, is_over, || seen(&[&twin]));
    assert_eq!(conflicts(&twin).len(), 1);
    let ends = || {
        let is_end = |line: &Value| {
            line["level"] == "INFO"
                && line["address"] == first.as_str()
                && line["message"].as_str().unwrap().contains("no other agent")
        };
        log_lines(&twin).into_iter().filter(is_end).count()
    };
    await_that(
        "the end is logged once",
        SOON,
        || ends() == 1,
        || twin.program.stderr(),
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
fn a_name_that_does_not_resolve_is_logged_once() {
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

/// Without `--skip-quiet-time`, a previous run may still hold a reservation.
#[test]
fn agents_to_join_of_another_family_are_logged() {
    let network = Network::draw();
    let args = [&QUICK[..], &["--join=[fd00::7]"]].concat();
    let agent = Agent::start_with(network, 1, "n1", &args);
    let log = || agent.program.stderr();
    await_that(
        "a warning about the family",
        SOON,
        || log().contains("are IPv6, and this agent is in a mesh of IPv4"),
        log,
    );
}

#[test]
fn a_new_agent_refuses_tests_in_its_quiet_time() {
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
fn variables_configure_an_agent_like_flags() {
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
