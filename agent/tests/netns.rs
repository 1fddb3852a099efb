//! End to end: agents as separate processes in network namespaces with shaped links, real iperf3,
//! real gossip, judged by what the links must yield and by a checker that believes no agent. First
//! the laboratory itself is put to the test.
//!
//! It needs the right to make network namespaces, and says what is missing if it cannot get it.
//! Speed is the business of `benches/net.rs`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::any::type_name;
use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use iperf3_mesh_testkit::events::{Cell, Role};
use iperf3_mesh_testkit::lab::agents::Agent;
use iperf3_mesh_testkit::lab::hosts::Lab;
use iperf3_mesh_testkit::lab::matrix::{Matrix, all_cells};
use iperf3_mesh_testkit::lab::mesh::Mesh;
use iperf3_mesh_testkit::lab::privilege::privileged;
use iperf3_mesh_testkit::lab::samples::Sampler;
use iperf3_mesh_testkit::lab::trial::{self, Plan};
use iperf3_mesh_testkit::lab::{baseline, evidence};
use iperf3_mesh_testkit::{boot_ns, http, wait_until};

const MEASURED: Plan = Plan {
    protocols: &["tcp"],
    seconds: 2,
    udp_bitrate: 2_000_000,
    sweeps: 2,
    spare_sweeps: 6,
    tolerance: 0.05,
};

/// Short tests and short patience, so that a fault is over soon; the least `--forget-after` there
/// is.
const HURRIED: [&str; 8] = [
    "--duration",
    "2s",
    "--timeout",
    "5s",
    "--interval",
    "1s",
    "--forget-after",
    "1m",
];

/// The longest that [`HURRIED`] may hold a node for a peer that is gone: the timeout and the
/// margin.
const LONGEST_HOLD: Duration = Duration::from_secs(6);

/// What a restarted agent is quiet for, and a little more.
const QUIET_TIME: Duration = Duration::from_secs(65);

/// Some sweeps of four hosts, one of them ill.
const SOON: Duration = Duration::from_secs(90);

/// Long enough for news of a node that one agent has forgotten to come to it from another.
const GOSSIP_FADES: Duration = Duration::from_secs(20);

/// Who measures has it alone, the others share it.
static MACHINE: RwLock<()> = RwLock::new(());

/// Processes `body` in a laboratory whose hosts n1, n2 … have links of so many Mbit/s. `test` is
/// the test that calls: where this process may not make namespaces, it is run once more, by its
/// name, in a child that may.
fn in_lab<F: Fn()>(test: F, mbps: &[u64], body: impl FnOnce(&Lab)) {
    let _beside_others = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    run_in_lab(test, mbps, body);
}

/// The same with the machine to itself: for what judges rates, which a busy processor would
/// falsify.
fn in_quiet_lab<F: Fn()>(test: F, mbps: &[u64], body: impl FnOnce(&Lab)) {
    let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    run_in_lab(test, mbps, body);
}

fn run_in_lab<F: Fn()>(test: F, mbps: &[u64], body: impl FnOnce(&Lab)) {
    drop(test);
    let (_, name) = type_name::<F>().split_once("::").unwrap();
    privileged(&["--exact", name, "--nocapture"], || {
        body(&Lab::with_mbps(mbps));
    });
}

#[test]
fn serial_tests_yield_the_goodput_of_the_links_and_do_not_overlap() {
    let this = serial_tests_yield_the_goodput_of_the_links_and_do_not_overlap;
    in_quiet_lab(this, &[100, 50, 20], |lab| {
        let rounds = [(); 3].map(|()| {
            let (sum, overlaps) = watched(lab, || baseline::serial(lab, 1));
            assert_eq!((sum.tests, sum.failed), (6, 0), "{sum:?}");
            assert!(overlaps.is_empty(), "{overlaps:?}");
            sum.off_10
        });
        // A processor that is taken away for a moment spoils a test of a second.
        assert!(
            rounds.contains(&0),
            "tests off by more than 10 %: {rounds:?}"
        );
    });
}

#[test]
fn overlaps_are_seen_where_nobody_coordinates() {
    in_lab(
        overlaps_are_seen_where_nobody_coordinates,
        &[50, 50, 50],
        |lab| {
            let (sum, overlaps) = watched(lab, || baseline::uncoordinated(lab, 1));
            assert!(sum.failed + sum.off_10 > 0, "{sum:?}");
            assert!(!overlaps.is_empty());
        },
    );
}

#[test]
fn faults_break_the_link_and_are_mended() {
    in_lab(faults_break_the_link_and_are_mended, &[50, 50], |lab| {
        let target = (lab.host("n2").address, 7);
        let _listener = lab
            .host("n2")
            .namespace
            .inside(|| TcpListener::bind(target).unwrap());
        let connects = || {
            let limit = Duration::from_secs(1);
            let connect = || TcpStream::connect_timeout(&target.into(), limit).is_ok();
            lab.host("n1").namespace.inside(connect)
        };
        assert!(connects());
        let unplugged = lab.unplug("n2");
        assert!(!connects());
        drop(unplugged);
        assert!(wait_until(Duration::from_secs(5), connects));
        let deaf = lab.deafen("n2", "n1");
        assert!(!connects());
        drop(deaf);
        assert!(connects());
    });
}

#[test]
fn every_cell_is_measured_in_every_sweep_and_right() {
    in_quiet_lab(
        every_cell_is_measured_in_every_sweep_and_right,
        &[100, 100, 100, 20],
        |lab| {
            assert_healthy(lab, &MEASURED);
        },
    );
}

#[test]
fn udp_loss_is_what_the_links_imply() {
    in_quiet_lab(udp_loss_is_what_the_links_imply, &[50, 50, 4], |lab| {
        let plan = Plan {
            protocols: &["udp"],
            udp_bitrate: 6_000_000,
            ..MEASURED
        };
        assert_healthy(lab, &plan);
    });
}

#[test]
fn a_killed_agent_is_unreachable_and_later_forgotten() {
    in_lab(
        a_killed_agent_is_unreachable_and_later_forgotten,
        &[50; 4],
        |lab| {
            let mut mesh = assembled(lab, &HURRIED);
            kill_in_mid_test(&mut mesh, "n2");
            let others = ["n1", "n3", "n4"];
            let all = |holds: &dyn Fn(&Agent<'_>) -> bool| {
                others.iter().all(|name| holds(mesh.agent(name)))
            };
            let unreachable = |agent: &Agent<'_>| {
                let matrix = agent.matrix().unwrap();
                let cell = matrix.get(agent.name(), "n2", "tcp");
                matrix.state("n2") == Some("silent")
                    && cell.is_some_and(|cell| cell.reason.as_deref() == Some("unreachable"))
            };
            assert!(
                wait_until(SOON, || all(&unreachable)),
                "not unreachable: {}",
                states(&mesh)
            );
            assert_measured_again(&mesh, &without(lab, "n2"), boot_ns(), SOON);

            let gone = |agent: &Agent<'_>| is_gone(agent, "n2");
            assert!(
                wait_until(SOON, || all(&gone)),
                "not forgotten: {}",
                states(&mesh)
            );
            let again = wait_until(GOSSIP_FADES, || !all(&gone));
            assert!(!again, "known again: {}", states(&mesh));
            assert_clean(mesh);
        },
    );
}

#[test]
fn a_killed_agent_comes_back_after_its_quiet_time() {
    in_lab(
        a_killed_agent_comes_back_after_its_quiet_time,
        &[50; 4],
        |lab| {
            let mut mesh = assembled(lab, &HURRIED);
            kill_in_mid_test(&mut mesh, "n2");
            mesh.restart("n2");
            assert_measured_again(
                &mesh,
                &all_cells(lab, &["tcp"]),
                boot_ns(),
                QUIET_TIME + SOON,
            );
            assert_clean(mesh);
        },
    );
}

#[test]
fn a_frozen_agent_holds_nobody_and_comes_back() {
    in_lab(
        a_frozen_agent_holds_nobody_and_comes_back,
        &[50; 4],
        |lab| {
            let mesh = assembled(lab, &HURRIED);
            await_test(&mesh, "n2");
            mesh.agent("n2").freeze();
            let frozen = boot_ns();
            // Time must pass here: the reservation has to end while the agent cannot see it end.
            std::thread::sleep(LONGEST_HOLD + Duration::from_secs(2));
            assert_measured_again(&mesh, &without(lab, "n2"), frozen, SOON);
            mesh.agent("n2").thaw();
            assert_measured_again(&mesh, &all_cells(lab, &["tcp"]), boot_ns(), SOON);
            assert_clean(mesh);
        },
    );
}

#[test]
fn of_a_frozen_pair_one_is_killed_and_the_other_comes_back() {
    in_lab(
        of_a_frozen_pair_one_is_killed_and_the_other_comes_back,
        &[50; 4],
        |lab| {
            let mut mesh = assembled(lab, &HURRIED);
            let peer = await_test(&mesh, "n2");
            mesh.agent("n2").freeze();
            mesh.agent(&peer).freeze();
            mesh.kill("n2");
            // Time must pass here: the reservation has to end while nobody who made it can see
            // that.
            std::thread::sleep(LONGEST_HOLD + Duration::from_secs(2));
            mesh.agent(&peer).thaw();
            assert_measured_again(&mesh, &without(lab, "n2"), boot_ns(), SOON);
            assert_clean(mesh);
        },
    );
}

#[test]
fn an_unplugged_host_holds_nobody_and_comes_back() {
    in_lab(
        an_unplugged_host_holds_nobody_and_comes_back,
        &[50; 4],
        |lab| {
            let mesh = assembled(lab, &HURRIED);
            await_test(&mesh, "n2");
            let fault = lab.unplug("n2");
            assert_measured_again(&mesh, &without(lab, "n2"), boot_ns(), SOON);
            drop(fault);
            assert_measured_again(&mesh, &all_cells(lab, &["tcp"]), boot_ns(), SOON);
            assert_clean(mesh);
        },
    );
}

#[test]
fn a_link_that_works_one_way_only_costs_its_own_pair_alone() {
    in_lab(
        a_link_that_works_one_way_only_costs_its_own_pair_alone,
        &[50; 4],
        |lab| {
            let mesh = assembled(lab, &HURRIED);
            let fault = lab.deafen("n2", "n1");
            let mut others = all_cells(lab, &["tcp"]);
            others.retain(|cell| {
                ![&cell.source, &cell.destination]
                    .iter()
                    .all(|name| ["n1", "n2"].contains(&name.as_str()))
            });
            assert_measured_again(&mesh, &others, boot_ns(), SOON);
            drop(fault);
            assert_measured_again(&mesh, &all_cells(lab, &["tcp"]), boot_ns(), SOON);
            assert_clean(mesh);
        },
    );
}

#[test]
fn a_stopped_agent_says_goodbye_and_its_series_go() {
    in_lab(
        a_stopped_agent_says_goodbye_and_its_series_go,
        &[50; 3],
        |lab| {
            let mut mesh = assembled(lab, &HURRIED);
            let has_measured_all = |agent: &Agent<'_>| {
                bandwidths(agent)
                    .iter()
                    .map(|series| &series.labels["destination_node"])
                    .collect::<BTreeSet<_>>()
                    .len()
                    == 2
            };
            assert!(wait_until(SOON, || mesh.agents().all(has_measured_all)));
            await_test(&mesh, "n2");
            mesh.terminate("n2");
            for name in ["n1", "n3"] {
                let gone = wait_until(Duration::from_secs(10), || is_gone(mesh.agent(name), "n2"));
                assert!(gone, "n2 stays at {name}: {}", states(&mesh));
            }
            assert_clean(mesh);
        },
    );
}

fn watched<T>(lab: &Lab, work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let sampler = Sampler::start(lab);
    let done = work();
    let instants = evidence::instants(&sampler.stop());
    (done, evidence::overlaps(&instants, &lab.names()))
}

fn assembled<'lab>(lab: &'lab Lab, args: &[&str]) -> Mesh<'lab> {
    let mesh = Mesh::start(lab, args);
    assert!(
        mesh.assembled(Duration::from_secs(30)),
        "not assembled: {}",
        states(&mesh)
    );
    mesh
}

fn assert_healthy(lab: &Lab, plan: &Plan) {
    let (sweeps, evidence) = trial::run(lab, plan);
    let mut complaints: Vec<String> = sweeps.iter().flat_map(trial::Sweep::faults).collect();
    complaints.extend(trial::never_right(&sweeps));
    complaints.extend(evidence.violations());
    assert!(complaints.is_empty(), "{complaints:#?}");
}

fn assert_clean(mesh: Mesh<'_>) {
    // The evidence, and with it the logs, must be there when this fails.
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

/// Waits until `node` is in mid-test; with whom.
fn await_test(mesh: &Mesh<'_>, node: &str) -> String {
    let into = Duration::from_millis(500).as_nanos() as u64;
    let mut peer = None;
    wait_until(SOON, || {
        let mut tests = mesh.tests();
        tests.retain(|test| test.node == node && test.outcome.is_none());
        peer = tests
            .into_iter()
            .find(|test| test.end - test.start > into)
            .map(|test| test.peer);
        peer.is_some()
    });
    peer.unwrap_or_else(|| panic!("{node} is in no test"))
}

fn kill_in_mid_test(mesh: &mut Mesh<'_>, node: &str) {
    await_test(mesh, node);
    mesh.kill(node);
}

fn without(lab: &Lab, node: &str) -> BTreeSet<Cell> {
    let mut cells = all_cells(lab, &["tcp"]);
    cells.retain(|cell| cell.source != node && cell.destination != node);
    cells
}

/// Whether `agent` neither shows nor exports anything about `node`.
fn is_gone(agent: &Agent<'_>, node: &str) -> bool {
    let matrix = agent.matrix().unwrap();
    let shown = matrix
        .cells
        .iter()
        .any(|cell| cell.source_node == node || cell.destination_node == node);
    let exported = agent
        .metrics()
        .unwrap()
        .iter()
        .any(|series| series.has("destination_node", node));
    matrix.state(node).is_none() && !shown && !exported
}

fn bandwidths(agent: &Agent<'_>) -> Vec<http::Series> {
    let mut all = agent.metrics().unwrap();
    all.retain(|series| series.name == "iperf_network_bandwidth_mbps");
    all
}

/// What each agent says of the nodes, for a failure's message.
fn states(mesh: &Mesh<'_>) -> String {
    let states = |matrix: Matrix| {
        let nodes = matrix
            .nodes
            .iter()
            .map(|node| format!("{} {}", node.name, node.state));
        nodes.collect::<Vec<_>>().join(", ")
    };
    let of = |agent: &Agent<'_>| format!("{}: {:?}", agent.name(), agent.matrix().map(states));
    mesh.agents().map(of).collect::<Vec<_>>().join("; ")
}
