//! Agents that lack something for their tests, and agents that are closed to iperf3.

use std::fs;
use std::os::unix::fs::MetadataExt;

use iperf3_mesh_testkit::agents::{Agent, QUICK};
use iperf3_mesh_testkit::{Network, SOON, SWEEP, await_that};
use nix::unistd::geteuid;

use super::helpers::{await_whole, failed, log_lines, seen};

#[test]
fn an_agent_without_its_tmpdir_says_so_and_recovers() {
    let network = Network::draw();
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("tmp");
    fs::create_dir(&directory).unwrap();
    let join = format!("--join={}", network.address(1));
    let args = [&QUICK[..], &["--skip-quiet-time", &join]].concat();
    let n1 = Agent::start_in(network, 1, "n1", &args, |command| {
        command.env("TMPDIR", &directory);
    });
    let n2 = Agent::start_with(network, 2, "n2", &args);
    let both = [&n1, &n2];
    await_whole(&both, SWEEP);

    fs::remove_dir_all(&directory).unwrap();
    let words = format!(
        "no test can run: TMPDIR {} is not writable, but iperf3 needs it: No such file or directory",
        directory.display()
    );
    await_that(
        "the agent says what it lacks",
        SOON,
        || {
            let (status, body) = n1.ask("/readyz");
            status == 503 && body.contains(&words)
        },
        || format!("{:?} instead of {words}", n1.ask("/readyz")),
    );
    let lack = || n1.labelled("iperf_mesh_starved", &[("resource", "temporary_directory")]);
    assert_eq!(lack(), Some(1.0));
    await_that(
        "the cells of both have the reason",
        SWEEP,
        || failed(&n1, "n1", "n2", "resources") && failed(&n2, "n2", "n1", "resources"),
        || seen(&both),
    );
    assert_eq!(n2.ask("/readyz").0, 200);

    fs::create_dir(&directory).unwrap();
    await_that(
        "the agent is ready again",
        SOON,
        || n1.ask("/readyz").0 == 200,
        || n1.ask("/readyz").1,
    );
    assert_eq!(lack(), Some(0.0));
    await_whole(&both, SWEEP);
    let told = |text: &str| {
        let lines = log_lines(&n1).into_iter();
        let said = |line: &serde_json::Value| line.to_string().contains(text);
        lines.filter(said).count()
    };
    assert_eq!(told("this node cannot run tests"), 1);
    assert_eq!(told("this node can run tests again"), 1);
}

#[test]
fn an_agent_is_closed_to_other_processes_of_its_user() {
    let network = Network::draw();
    let agent = Agent::start(network, 1, "n1", &[]);
    await_that(
        "the agent is ready",
        SOON,
        || agent.ask("/readyz").0 == 200,
        String::new,
    );
    let of_agent = |file: &str| format!("/proc/{}/{file}", agent.program.pid());
    let status = fs::read_to_string(of_agent("status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    let limits = fs::read_to_string(of_agent("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    let core: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["0", "0"], "{limits}");
    if !geteuid().is_root() {
        // The kernel gives the memory of a closed process to root.
        assert_eq!(fs::metadata(of_agent("mem")).unwrap().uid(), 0);
    }
}
