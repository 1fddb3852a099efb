//! The `local` command as a new user meets it: a whole mesh on loopback, with real iperf3.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use iperf3_mesh_testkit::processes::iperf3_of;
use iperf3_mesh_testkit::{Ended, Network, Program, SOON, STOP, SWEEP, await_that};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The keys of a cell, a contract with the readers of the JSON.
const CELL: [&str; 12] = [
    "age_seconds",
    "bandwidth_mbps",
    "destination_node",
    "jitter_ms",
    "loss_ratio",
    "protocol",
    "reason",
    "retransmits",
    "rtt_ms",
    "source_node",
    "success",
    "success_age_seconds",
];

#[test]
fn a_sweep_ends_with_the_heatmap_of_all_nodes() {
    let args = ["local", "--nodes", "4", "--duration", "1s", "--sweeps", "1"];
    let ended = Program::run(&args, SWEEP);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let rows = (1..=4).map(|number| format!("node{number}"));
    for row in rows {
        let line = ended
            .stdout
            .lines()
            .find(|line| line.starts_with(&row))
            .unwrap();
        assert_eq!(
            line.split_whitespace().filter(|word| *word == "-").count(),
            1,
            "{line}"
        );
        assert_eq!(line.split_whitespace().count(), 5, "{line}");
    }
    assert!(
        ended.stdout.contains("12 succeeded, 0 failed"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stderr.contains("pairs") && ended.stderr.contains("http://127."),
        "{ended:?}"
    );
    assert!(
        !ended.stdout.contains('\x1b') && !ended.stderr.contains('\x1b'),
        "{ended:?}"
    );
    let keep = "To keep it, leave out --sweeps";
    assert!(ended.stderr.contains(keep), "{ended:?}");
    let widest = ended.stderr.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?} columns: {ended:?}");
}

#[test]
fn the_page_can_be_forwarded_over_ssh() {
    let args = ["local", "--nodes=2", "--sweeps=1", "--duration=1s"];
    let variables = [("SSH_CONNECTION", "192.0.2.7 51000 192.0.2.1 22")];
    let program = Program::start_with(&args, &variables);
    let is_said = || {
        program.stderr().lines().any(|line| {
            line.starts_with("  ssh -N -L 9876:127.") && line.ends_with(":9876 192.0.2.1")
        })
    };
    await_that("the command", SOON, is_said, || program.stderr());
}

#[test]
fn json_has_every_cell_with_figures_and_the_sweep() {
    let document = run_sweep(&["--nodes", "4"]);
    assert_eq!(measured(&document), all(4, &["tcp"]));
    for cell in cells(&document) {
        let keys: Vec<_> = cell.as_object().unwrap().keys().collect();
        assert_eq!(keys, CELL);
        // The cap of `local` is 100 Mbit/s; bursts exceed it.
        let mbps = cell["bandwidth_mbps"].as_f64().unwrap();
        assert!((50.0..150.0).contains(&mbps), "{cell}");
        assert!(
            cell["rtt_ms"].as_f64().unwrap() > 0.0 && cell["retransmits"].is_u64(),
            "{cell}"
        );
        assert!(
            cell["jitter_ms"].is_null() && cell["loss_ratio"].is_null(),
            "{cell}"
        );
        assert!(
            cell["reason"].is_null() && cell["age_seconds"].is_f64(),
            "{cell}"
        );
    }
    let sweep = &document["sweep"];
    let number = |key: &str| sweep[key].as_u64().unwrap();
    assert_eq!(
        (number("number"), number("tests"), number("failed")),
        (1, 12, 0)
    );
    let (seconds, bound) = (
        sweep["seconds"].as_f64().unwrap(),
        sweep["bound_seconds"].as_f64().unwrap(),
    );
    assert!((bound - 6.0).abs() < 1e-9, "{sweep}");
    assert!((0.95 * bound..1.5 * bound).contains(&seconds), "{sweep}");
}

#[test]
fn both_protocols_are_measured_in_both_directions() {
    let document = run_sweep(&["--nodes", "3", "--protocol", "both"]);
    assert_eq!(measured(&document), all(3, &["tcp", "udp"]));
    for cell in cells(&document)
        .iter()
        .filter(|cell| cell["protocol"] == "udp")
    {
        assert!(
            cell["jitter_ms"].is_f64() && cell["loss_ratio"].is_f64(),
            "{cell}"
        );
        assert!(
            cell["retransmits"].is_null() && cell["rtt_ms"].is_null(),
            "{cell}"
        );
    }
}

/// The client of a two-way test measures both cells and hands one of them over to its peer.
#[test]
fn a_two_way_test_fills_both_cells() {
    let document = run_sweep(&["--nodes", "3", "--protocol", "both", "--bidir"]);
    assert_eq!(measured(&document), all(3, &["tcp", "udp"]));
    assert!(
        cells(&document)
            .iter()
            .all(|cell| cell["bandwidth_mbps"].as_f64().unwrap() > 0.5)
    );
    assert_eq!(document["sweep"]["tests"], 6);
}

#[test]
fn an_interrupt_leaves_no_process_and_no_port_behind() {
    let mut program = Program::start(&["local", "--nodes", "4", "--duration", "8s"]);
    let pid = program.pid();
    let mut measuring = Vec::new();
    let is_measuring = || {
        measuring = iperf3_of(pid);
        measuring.len() == 4
    };
    await_that("two tests at once", SOON, is_measuring, || program.stderr());
    let said = program.stderr();
    let address = said
        .split_once("http://")
        .unwrap()
        .1
        .split_once(':')
        .unwrap()
        .0;
    let network = Network::of(address.parse().unwrap());
    // Two iperf3 and three ports of each agent.
    assert!(
        network.listeners().len() >= 2 + 4 * 3,
        "{:?}",
        network.listeners()
    );

    program.signal(Signal::SIGINT);
    let ended = program.ended(STOP);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let left: Vec<_> = measuring
        .iter()
        .filter(|process| process.is_running())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(network.listeners().is_empty(), "{:?}", network.listeners());
}

#[test]
fn an_interrupt_before_the_last_sweep_is_a_failure() {
    let mut program =
        Program::start(&["local", "--nodes", "2", "--sweeps", "1", "--duration", "8s"]);
    let pid = program.pid();
    await_that(
        "the two ends of a test",
        SOON,
        || iperf3_of(pid).len() == 2,
        || program.stderr(),
    );
    program.signal(Signal::SIGINT);
    assert_eq!(program.ended(STOP).code, Some(1));
}

#[test]
fn an_unsuitable_machine_is_rejected_with_a_hint() {
    // Not even root can create files there.
    let local = ["local", "--sweeps", "1"];
    let unwritable = Program::start_with(&local, &[("TMPDIR", "/proc")]).ended(SOON);
    assert_rejected(&unwritable, &["/proc is not writable", "Set TMPDIR to"]);

    let missing = Program::start_with(&local, &[("PATH", "/nowhere")]).ended(SOON);
    assert_rejected(
        &missing,
        &[
            "no directory of PATH has a program of this name",
            "Install iperf3 3.9 or later",
        ],
    );
}

/// Runs one sweep of 1 s tests, which succeeds, and returns its JSON output.
fn run_sweep(args: &[&str]) -> Value {
    let args = [
        &["local", "--duration", "1s", "--sweeps", "1", "-o", "json"],
        args,
    ]
    .concat();
    let ended = Program::run(&args, SWEEP);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

fn cells(document: &Value) -> &Vec<Value> {
    document["cells"].as_array().unwrap()
}

/// Each cell that succeeded, as `source destination protocol`.
fn measured(document: &Value) -> Vec<String> {
    let text = |cell: &Value, key: &str| cell[key].as_str().unwrap().to_owned();
    let good = cells(document)
        .iter()
        .filter(|cell| cell["success"] == true);
    good.map(|cell| {
        ["source_node", "destination_node", "protocol"]
            .map(|key| text(cell, key))
            .join(" ")
    })
    .collect()
}

/// Every ordered pair of that many nodes with each of `protocols`, sorted, as [`measured`] has
/// them.
fn all(nodes: usize, protocols: &[&str]) -> Vec<String> {
    let nodes = || (1..=nodes).map(|number| format!("node{number}"));
    let pairs = nodes().flat_map(|source| nodes().map(move |to| (source.clone(), to)));
    let pairs = pairs.filter(|(source, to)| source != to);
    pairs
        .flat_map(|(source, to)| protocols.iter().map(move |p| format!("{source} {to} {p}")))
        .collect()
}

/// Asserts that it failed with a message that has these parts.
#[track_caller]
fn assert_rejected(ended: &Ended, parts: &[&str]) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "");
    for part in parts {
        assert!(
            ended.stderr.contains(part),
            "no {part:?} in {:?}",
            ended.stderr
        );
    }
}
