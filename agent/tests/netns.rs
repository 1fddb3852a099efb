//! End to end: agents as separate processes in network namespaces with shaped links, with the real
//! iperf3 and the real gossip. The judges are the rates that the links imply, and a checker that
//! trusts no agent. The first tests check the laboratory itself.
//!
//! They need the right to make network namespaces, and say what is missing if they cannot get it.
//! `benches/net.rs` measures the speed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::answers::Matrix;
use iperf3_mesh_testkit::events::{Cell, Role};
use iperf3_mesh_testkit::http;
use iperf3_mesh_testkit::lab::hosts::Lab;
use iperf3_mesh_testkit::lab::matrix::all_cells;
use iperf3_mesh_testkit::lab::mesh::Mesh;
use iperf3_mesh_testkit::lab::samples::Sampler;
use iperf3_mesh_testkit::lab::trial::{self, Plan};
use iperf3_mesh_testkit::lab::{baseline, evidence};
use iperf3_mesh_testkit::{await_that, boot_ns, lab_test, wait_until};

const MEASURED: Plan = Plan {
    protocols: &["tcp"],
    seconds: 2,
    udp_bitrate: 2_000_000,
    sweeps: 2,
    spare_sweeps: 6,
    tolerance: 0.05,
};

/// Short tests and short limits, so that a fault is over soon; the shortest `--forget-after` there
/// is.
const HURRIED: [&str; 4] = [
    "--duration=2s",
    "--timeout=5s",
    "--interval=1s",
    "--forget-after=1m",
];

/// The longest time that [`HURRIED`] may reserve a node for a dead peer: the timeout and the
/// margin.
const LONGEST_HOLD: Duration = Duration::from_secs(6);

/// The quiet time of a restarted agent, and a little more.
const QUIET_TIME: Duration = Duration::from_secs(65);

/// Some sweeps of four hosts, one of them faulty.
const SOON: Duration = Duration::from_secs(90);

/// Long enough for gossip to bring back a node that one agent has forgotten and another has not.
const GOSSIP_FADES: Duration = Duration::from_secs(20);

lab_test!(
    serial_tests_measure_the_goodput_and_do_not_overlap,
    Exclusive,
    [100, 50, 20],
    |lab| {
        let wrong_by_round = [(); 3].map(|()| {
            let (sum, overlaps) = sampled(lab, || baseline::serial(lab, 1));
            assert_eq!((sum.tests, sum.failed), (6, 0), "{sum:?}");
            assert!(overlaps.is_empty(), "{overlaps:?}");
            sum.off_10
        });
        // A processor that is taken away for a moment spoils a test of a second.
        assert!(
            wrong_by_round.contains(&0),
            "tests that deviate by more than 10 %, by round: {wrong_by_round:?}"
        );
    }
);

lab_test!(uncoordinated_tests_overlap, Shared, [50, 50, 50], |lab| {
    let (sum, overlaps) = sampled(lab, || baseline::uncoordinated(lab, 1));
    assert!(sum.failed + sum.off_10 > 0, "{sum:?}");
    assert!(!overlaps.is_empty());
});

lab_test!(
    unplugged_host_is_unreachable_until_the_fault_ends,
    Shared,
    [50, 50],
    |lab| {
        let _listener = listener(lab, "n2");
        assert!(connects(lab, "n1", "n2"));
        let fault = lab.unplug("n2");
        assert!(!connects(lab, "n1", "n2"));
        drop(fault);
        assert!(wait_until(Duration::from_secs(5), || connects(
            lab, "n1", "n2"
        )));
    }
);

lab_test!(
    blocked_host_is_unreachable_until_the_fault_ends,
    Shared,
    [50, 50],
    |lab| {
        let _listener = listener(lab, "n2");
        assert!(connects(lab, "n1", "n2"));
        let fault = lab.block("n1", "n2");
        assert!(!connects(lab, "n1", "n2"));
        drop(fault);
        assert!(connects(lab, "n1", "n2"));
    }
);

lab_test!(
    every_sweep_measures_every_cell_correctly,
    Exclusive,
    [100, 100, 100, 20],
    |lab| assert_healthy(lab, &MEASURED)
);

lab_test!(
    udp_loss_is_what_the_links_imply,
    Exclusive,
    [50, 50, 4],
    |lab| {
        let plan = Plan {
            protocols: &["udp"],
            udp_bitrate: 6_000_000,
            ..MEASURED
        };
        assert_healthy(lab, &plan);
    }
);

lab_test!(
    killed_agent_is_unreachable_and_then_forgotten,
    Shared,
    [50; 4],
    |lab| {
        let mut mesh = assembled(lab);
        await_test(&mesh, "n2");
        mesh.kill("n2");
        let others = || mesh.agents().filter(|agent| agent.name != "n2");
        await_that(
            "n2 is unreachable",
            SOON,
            || others().all(|agent| is_unreachable(agent, "n2")),
            || states(&mesh),
        );
        assert_measured_again(&mesh, &without(lab, "n2"), boot_ns(), SOON);

        let is_forgotten = || others().all(|agent| agent.has_forgotten("n2"));
        await_that("n2 is forgotten", SOON, is_forgotten, || states(&mesh));
        let is_back = wait_until(GOSSIP_FADES, || !is_forgotten());
        assert!(!is_back, "n2 came back: {}", states(&mesh));
        assert_clean(mesh);
    }
);

lab_test!(
    restarted_agent_is_measured_after_its_quiet_time,
    Shared,
    [50; 4],
    |lab| {
        let mut mesh = assembled(lab);
        await_test(&mesh, "n2");
        mesh.kill("n2");
        mesh.restart("n2");
        let limit = QUIET_TIME + SOON;
        assert_measured_again(&mesh, &all_cells(lab, &["tcp"]), boot_ns(), limit);
        assert_clean(mesh);
    }
);

lab_test!(
    frozen_agent_holds_no_peer_and_is_measured_after_thaw,
    Shared,
    [50; 4],
    |lab| {
        let mesh = assembled(lab);
        await_test(&mesh, "n2");
        mesh.agent("n2").freeze();
        let frozen = boot_ns();
        // Time must pass: the reservation has to end while the agent cannot see it end.
        std::thread::sleep(LONGEST_HOLD + Duration::from_secs(2));
        assert_measured_again(&mesh, &without(lab, "n2"), frozen, SOON);
        mesh.agent("n2").thaw();
        assert_measured_again(&mesh, &all_cells(lab, &["tcp"]), boot_ns(), SOON);
        assert_clean(mesh);
    }
);

lab_test!(
    survivor_of_a_frozen_pair_is_measured_after_thaw,
    Shared,
    [50; 4],
    |lab| {
        let mut mesh = assembled(lab);
        let peer = await_test(&mesh, "n2");
        mesh.agent("n2").freeze();
        mesh.agent(&peer).freeze();
        mesh.kill("n2");
        // Time must pass: the reservation has to end while neither of its nodes can see it end.
        std::thread::sleep(LONGEST_HOLD + Duration::from_secs(2));
        mesh.agent(&peer).thaw();
        assert_measured_again(&mesh, &without(lab, "n2"), boot_ns(), SOON);
        assert_clean(mesh);
    }
);

lab_test!(
    unplugged_host_holds_no_peer_and_is_measured_again,
    Shared,
    [50; 4],
    |lab| {
        let mesh = assembled(lab);
        await_test(&mesh, "n2");
        let fault = lab.unplug("n2");
        assert_measured_again(&mesh, &without(lab, "n2"), boot_ns(), SOON);
        drop(fault);
        assert_measured_again(&mesh, &all_cells(lab, &["tcp"]), boot_ns(), SOON);
        assert_clean(mesh);
    }
);

lab_test!(
    link_that_works_one_way_costs_only_its_own_pair,
    Shared,
    [50; 4],
    |lab| {
        let mesh = assembled(lab);
        let fault = lab.block("n1", "n2");
        let mut others = all_cells(lab, &["tcp"]);
        others.retain(|cell| {
            let ends = [cell.source.as_str(), &cell.destination];
            !(ends.contains(&"n1") && ends.contains(&"n2"))
        });
        assert_measured_again(&mesh, &others, boot_ns(), SOON);
        drop(fault);
        assert_measured_again(&mesh, &all_cells(lab, &["tcp"]), boot_ns(), SOON);
        assert_clean(mesh);
    }
);

lab_test!(
    stopped_agent_and_its_series_are_gone_at_once,
    Shared,
    [50; 3],
    |lab| {
        let mut mesh = assembled(lab);
        assert!(wait_until(SOON, || mesh
            .agents()
            .all(|agent| destinations(agent).len() == 2)));
        await_test(&mesh, "n2");
        mesh.terminate("n2");
        let is_gone = || {
            let mut others = mesh.agents().filter(|agent| agent.name != "n2");
            others.all(|agent| agent.has_forgotten("n2"))
        };
        let limit = Duration::from_secs(10);
        await_that("n2 is gone", limit, is_gone, || states(&mesh));
        assert_clean(mesh);
    }
);

lab_test!(
    http_answers_in_the_family_that_the_mesh_does_not_use,
    Shared,
    [50],
    |lab| {
        let mesh = Mesh::start(lab, &["--ip-family=ipv4"]);
        for address in ["198.18.0.1:9876", "127.0.0.1:9876", "[::1]:9876"] {
            let ask = || http::ask(address.parse().unwrap(), "/healthz");
            let answer = || lab.host("n1").namespace.inside(ask);
            await_that(
                "the probe answers",
                SOON,
                || answer().is_ok_and(|(status, _)| status == 200),
                || format!("{address}: {:?}", answer()),
            );
        }
        assert_clean(mesh);
    }
);

lab_test!(
    full_temporary_directory_stops_the_check_and_the_start,
    Shared,
    [50],
    |_| {
        for command in ["check", "agent"] {
            let (code, output) = with_a_full_directory(command);
            assert_eq!(code, Some(1), "{command}: {output}");
            for part in [
                "has no room for the 128 KiB that iperf3 needs there: No space left on device",
                "Free space or raise the quota there, or set TMPDIR",
            ] {
                assert!(output.contains(part), "{command}: {output}");
            }
        }
    }
);

/// The exit code and the output of a command of the program whose TMPDIR is a full file system.
fn with_a_full_directory(command: &str) -> (Option<i32>, String) {
    const SCRIPT: &str = "mount -t tmpfs -o size=64k tmpfs \"$1\" || exit 9\n\
                          head -c 65536 /dev/zero >\"$1/fill\"\n\
                          TMPDIR=$1 exec timeout 20 \"$2\" \"$3\" --insecure --advertise-address=127.0.0.1";
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", SCRIPT, "sh"])
        .arg(directory.path())
        .args([env!("CARGO_BIN_EXE_iperf3-mesh"), command])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code(), text.concat())
}

/// The result of `work`, and the overlaps that the samples show during it.
fn sampled<T>(lab: &Lab, work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let sampler = Sampler::start(lab);
    let done = work();
    let instants = evidence::instants(&sampler.stop());
    (done, evidence::overlaps(&instants, &lab.names()))
}

/// A port that nothing else uses here: each host has a namespace of its own.
const PORT: u16 = 7;

fn listener(lab: &Lab, host: &str) -> TcpListener {
    let host = lab.host(host);
    let bind = || TcpListener::bind((host.address, PORT)).unwrap();
    host.namespace.inside(bind)
}

fn connects(lab: &Lab, from: &str, to: &str) -> bool {
    let target = (lab.host(to).address, PORT).into();
    let connect = || TcpStream::connect_timeout(&target, Duration::from_secs(1)).is_ok();
    lab.host(from).namespace.inside(connect)
}

fn assembled(lab: &Lab) -> Mesh<'_> {
    let mesh = Mesh::start(lab, &HURRIED);
    assert!(
        mesh.assembled(Duration::from_secs(30)),
        "not assembled: {}",
        states(&mesh)
    );
    mesh
}

fn assert_healthy(lab: &Lab, plan: &Plan) {
    let (sweeps, evidence) = trial::run(lab, plan);
    let mut faults: Vec<String> = sweeps.iter().flat_map(trial::Sweep::faults).collect();
    faults.extend(trial::never_right(&sweeps));
    faults.extend(evidence.violations());
    assert!(faults.is_empty(), "{faults:#?}");
}

fn assert_clean(mesh: Mesh<'_>) {
    // The evidence keeps the logs if the assertion fails.
    let evidence = mesh.finish();
    let violations = evidence.violations();
    assert!(violations.is_empty(), "{violations:#?}");
}

/// Waits until each of `cells` has succeeded in a test that began after `since`.
fn assert_measured_again(mesh: &Mesh<'_>, cells: &BTreeSet<Cell>, since: u64, limit: Duration) {
    let mut missing = cells.clone();
    wait_until(limit, || {
        for test in mesh.tests() {
            if test.start > since && test.role == Role::Client && test.succeeded() {
                missing.remove(&test.cell);
            }
        }
        missing.is_empty()
    });
    assert!(
        missing.is_empty(),
        "not measured again within {limit:?}: {missing:?}"
    );
}

/// Waits until `node` is in the middle of a test; returns the peer.
fn await_test(mesh: &Mesh<'_>, node: &str) -> String {
    let into = Duration::from_millis(500).as_nanos() as u64;
    let mut peer = None;
    wait_until(SOON, || {
        peer = mesh
            .tests()
            .into_iter()
            .filter(|test| test.node == node && test.outcome.is_none())
            .find(|test| test.end - test.start > into)
            .map(|test| test.peer);
        peer.is_some()
    });
    peer.unwrap_or_else(|| panic!("{node} is in no test"))
}

fn without(lab: &Lab, node: &str) -> BTreeSet<Cell> {
    let mut cells = all_cells(lab, &["tcp"]);
    cells.retain(|cell| cell.source != node && cell.destination != node);
    cells
}

/// Whether `agent` shows `node` as silent, and its own cell to `node` as failed for that reason.
fn is_unreachable(agent: &Agent, node: &str) -> bool {
    let matrix = agent.matrix().unwrap_or_default();
    let cell = matrix.get(&agent.name, node, "tcp");
    matrix.state(node) == Some("silent")
        && cell.is_some_and(|cell| cell.reason.as_deref() == Some("unreachable"))
}

/// The destinations for which `agent` exports a bandwidth.
fn destinations(agent: &Agent) -> BTreeSet<String> {
    agent
        .series()
        .unwrap_or_default()
        .into_iter()
        .filter(|series| series.name == "iperf_network_bandwidth_mbps")
        .map(|series| series.labels["destination_node"].clone())
        .collect()
}

/// The nodes and their states as each agent shows them, for the message of a failure.
fn states(mesh: &Mesh<'_>) -> String {
    let states = |matrix: Matrix| -> Vec<String> {
        let nodes = matrix.nodes.iter();
        nodes
            .map(|node| format!("{} {}", node.name, node.state))
            .collect()
    };
    mesh.agents()
        .map(|agent| format!("{}: {:?}", agent.name, agent.matrix().map(states)))
        .collect::<Vec<_>>()
        .join("; ")
}
