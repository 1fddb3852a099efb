//! End to end: the own address of an agent that has to be found, that changes, and that goes away.
//! The agents run in network namespaces, where the test adds and removes addresses.
//!
//! The tests need the right to make network namespaces, and say what is missing if they cannot get
//! it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::Duration;

use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::events::{Event, Role};
use iperf3_mesh_testkit::lab::hosts::Lab;
use iperf3_mesh_testkit::{await_that, boot_ns, checker, lab_test};

/// An agent that gives up, or notices that its address is gone.
const NOTICED: Duration = Duration::from_secs(15);

/// Some sweeps of a small mesh, with the time until an agent finds its address.
const SOON: Duration = Duration::from_secs(90);

lab_test!(
    own_name_on_loopback_does_not_choose_the_address,
    Shared,
    [50; 2],
    |lab| {
        // Debian writes "127.0.1.1 own-name" into /etc/hosts, and all nodes have one command line.
        let one = agent(lab, "n1", &["--join=127.0.1.1,198.18.0.2"]);
        let two = agent(lab, "n2", &["--join=198.18.0.1,127.0.1.1"]);
        await_measured(&[&one, &two], 0);
        // Nobody is told to start an agent at this node's own name.
        let check = ["check", "--node-name=n1", "--join=127.0.1.1,198.18.0.2"];
        let checked = one.run_beside(&check, SOON);
        assert!(
            checked.stdout.contains("agents found: 1 of 1"),
            "{checked:?}"
        );
        assert!(!checked.stdout.contains("127.0.1.1"), "{checked:?}");
    }
);

lab_test!(
    agents_of_one_host_meet_over_loopback,
    Shared,
    [50; 1],
    |lab| {
        let one = agent(lab, "n1", &["--join=127.0.0.1:9887"]);
        let other = [
            "--join=127.0.0.1:9877",
            "--gossip-port=9887",
            "--listen-port=9886",
            "--control-port=9888",
            "--iperf-port=15201",
        ];
        let two = Agent::start_another(lab.host("n1"), "n2", &other);
        await_that(
            "n2 is live",
            NOTICED,
            || one.states().get("n2").is_some_and(|state| state == "live"),
            || one.program.stderr() + &two.program.stderr(),
        );
    }
);

lab_test!(
    found_address_that_changes_is_found_again,
    Shared,
    [50; 3],
    |lab| {
        let join = "--join=198.18.0.1,198.18.0.2";
        let agents = ["n1", "n2", "n3"].map(|name| agent(lab, name, &[join]));
        let all: Vec<&Agent> = agents.iter().collect();
        await_measured(&all, 0);
        let host = &lab.host("n3").namespace;
        host.run("ip addr del 198.18.0.3/15 dev eth0");
        host.run("ip addr add 198.18.0.33/15 dev eth0");
        let moved = &agents[2];
        await_that(
            "n3 has moved",
            NOTICED,
            || moved.metric("iperf_mesh_address_changes_total") == Some(1.0),
            || moved.program.stderr(),
        );
        let log = moved.program.stderr();
        assert!(
            log.contains("this node has lost its address 198.18.0.3"),
            "{log}"
        );
        await_measured(&all, boot_ns());
        // The former address is neither a conflict nor another member.
        for agent in &all {
            let states = agent.states();
            assert_eq!(states.len(), 3, "{states:?}");
            assert!(states.values().all(|state| state == "live"), "{states:?}");
            assert!(!agent.program.stderr().contains("uses this node's name"));
        }
        assert_eq!(moved.ask("/readyz").0, 200);
        assert_exclusive(&all);
    }
);

lab_test!(
    lost_address_is_told_until_it_returns,
    Shared,
    [50; 2],
    |lab| {
        let one = agent(lab, "n1", &["--join=198.18.0.2"]);
        let two = agent(lab, "n2", &["--join=198.18.0.1"]);
        await_measured(&[&one, &two], 0);
        let host = &lab.host("n2").namespace;
        // The mesh is on IPv4, so IPv6 does not help.
        host.run("ip addr add fd00::2/64 dev eth0 nodad");
        host.run("ip -6 route add default dev eth0");
        host.run("ip addr del 198.18.0.2/15 dev eth0");
        await_that(
            "n2 is not ready",
            NOTICED,
            || two.ask("/readyz").0 == 503,
            || two.program.stderr(),
        );
        let reason = two.ask("/readyz").1;
        assert!(
            reason.contains("this node has lost its address 198.18.0.2"),
            "{reason}"
        );
        assert_eq!(two.metric("iperf_mesh_address_unreachable"), Some(1.0));
        assert_eq!(two.ask("/healthz").0, 200);
        host.run("ip addr add 198.18.0.2/15 dev eth0");
        await_that(
            "n2 is ready",
            NOTICED,
            || two.ask("/readyz").0 == 200,
            || two.program.stderr(),
        );
        await_measured(&[&one, &two], boot_ns());
        assert_eq!(two.metric("iperf_mesh_address_changes_total"), Some(0.0));
        assert_exclusive(&[&one, &two]);
    }
);

lab_test!(
    agent_ends_when_its_given_address_is_gone,
    Shared,
    [50; 1],
    |lab| {
        let mut agent = agent(lab, "n1", &["--advertise-address=198.18.0.1"]);
        await_ready(&agent);
        let host = &lab.host("n1").namespace;
        // Time must pass: an interface that flaps ends no agent.
        host.run("ip addr del 198.18.0.1/15 dev eth0");
        sleep(Duration::from_secs(2));
        host.run("ip addr add 198.18.0.1/15 dev eth0");
        sleep(Duration::from_secs(6));
        assert!(agent.program.is_running());

        host.run("ip addr del 198.18.0.1/15 dev eth0");
        let ended = agent.program.ended(NOTICED);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let reason = "iperf3-mesh: this node has lost its address 198.18.0.1: no interface of this \
                      node has it";
        assert!(ended.stderr.contains(reason), "{ended:?}");
    }
);

lab_test!(
    agent_waits_for_the_network_of_its_host,
    Shared,
    [50; 2],
    |lab| {
        let host = &lab.host("n1").namespace;
        host.run("ip addr del 198.18.0.1/15 dev eth0");
        let one = agent(lab, "n1", &["--join=198.18.0.2"]);
        await_that(
            "n1 waits",
            NOTICED,
            || one.program.stderr().contains("waiting for an address"),
            || one.program.stderr(),
        );
        let two = agent(lab, "n2", &[]);
        host.run("ip addr add 198.18.0.1/15 dev eth0");
        await_measured(&[&one, &two], 0);
    }
);

lab_test!(
    agent_leaves_loopback_when_a_network_comes,
    Shared,
    [50; 2],
    |lab| {
        let host = &lab.host("n1").namespace;
        host.run("ip addr del 198.18.0.1/15 dev eth0");
        let one = agent(lab, "n1", &["--join=127.0.1.1,198.18.0.2"]);
        let two = agent(lab, "n2", &["--join=198.18.0.1"]);
        await_that(
            "n1 is not ready on loopback",
            NOTICED,
            || {
                one.ask("/readyz")
                    .1
                    .contains("no other machine can reach 127.0.0.1")
            },
            || one.program.stderr(),
        );
        host.run("ip addr add 198.18.0.1/15 dev eth0");
        await_measured(&[&one, &two], 0);
        await_ready(&one);
    }
);

lab_test!(
    agent_waits_for_duplicate_address_detection,
    Shared,
    [50; 1],
    |lab| {
        let host = &lab.host("n1").namespace;
        // Without a carrier, detection does not begin.
        host.run("ip link add v0 type veth peer name v1");
        host.run("ip link set v0 up");
        host.run("ip addr add fd00::1/64 dev v0");
        let args = ["--advertise-address=fd00::1"];
        let ended = agent(lab, "n1", &args).program.ended(NOTICED);
        let reason = "cannot use fd00::1: IPv6 duplicate address detection is not over";
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(reason), "{ended:?}");

        let agent = agent(lab, "n1", &args);
        await_that(
            "the agent waits",
            NOTICED,
            || agent.program.stderr().contains("waiting for an address"),
            || agent.program.stderr(),
        );
        host.run("ip link set v1 up");
        await_ready(&agent);
    }
);

lab_test!(duplicate_ipv6_address_is_not_used, Shared, [50; 2], |lab| {
    lab.host("n2")
        .namespace
        .run("ip addr add fd00::1/64 dev eth0 nodad");
    let host = &lab.host("n1").namespace;
    host.run("ip addr add fd00::1/64 dev eth0");
    let args = ["--advertise-address=fd00::1"];
    let ended = agent(lab, "n1", &args).program.ended(NOTICED);
    let reason = "IPv6 duplicate address detection has found another host that uses it";
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(reason), "{ended:?}");
    let found = agent(lab, "n1", &["--join=fd00::2,198.18.0.2"]);
    await_ready(&found);
    let log = found.program.stderr();
    assert!(log.contains(r#""address":"198.18.0.1""#), "{log}");
});

fn agent(lab: &Lab, name: &str, args: &[&str]) -> Agent {
    Agent::start_without_address(lab.host(name), args)
}

#[track_caller]
fn await_ready(agent: &Agent) {
    await_that(
        "the agent is ready",
        NOTICED,
        || agent.ask("/readyz").0 == 200,
        || agent.program.stderr(),
    );
}

/// Waits until each of `agents` has succeeded in a test with every other that began after `since`.
#[track_caller]
fn await_measured(agents: &[&Agent], since: u64) {
    let names: BTreeSet<&str> = agents.iter().map(|agent| agent.name.as_str()).collect();
    let all: BTreeSet<(String, String)> = names
        .iter()
        .flat_map(|from| names.iter().map(move |to| (from, to)))
        .filter(|(from, to)| from != to)
        .map(|(from, to)| ((*from).to_owned(), (*to).to_owned()))
        .collect();
    let missing = || {
        let mut missing = all.clone();
        for test in intervals(agents) {
            if test.start > since && test.role == Role::Client && test.succeeded() {
                missing.remove(&(test.cell.source, test.cell.destination));
            }
        }
        missing
    };
    await_that(
        "every cell is measured",
        SOON,
        || missing().is_empty(),
        || {
            let logs: Vec<String> = agents.iter().map(|agent| agent.program.stderr()).collect();
            format!("missing: {:?}\n{}", missing(), logs.join("\n"))
        },
    );
}

fn intervals(agents: &[&Agent]) -> Vec<checker::Interval> {
    let events: Vec<Event> = agents.iter().flat_map(|agent| agent.events()).collect();
    checker::intervals(&events, &BTreeMap::new(), boot_ns()).0
}

/// Asserts that no node was in two tests at once, by the events of all agents.
#[track_caller]
fn assert_exclusive(agents: &[&Agent]) {
    let overlaps = checker::overlaps(&intervals(agents));
    assert!(overlaps.is_empty(), "{overlaps:#?}");
    for agent in agents {
        assert_eq!(agent.metric("iperf_mesh_overlaps_total"), Some(0.0));
    }
}
