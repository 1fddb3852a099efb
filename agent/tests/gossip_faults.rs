//! Faults of the network that concern gossip alone, in the laboratory: an agent that can test but
//! not gossip must say so.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use iperf3_mesh_testkit::lab::hosts::Lab;
use iperf3_mesh_testkit::lab::mesh::Mesh;
use iperf3_mesh_testkit::{await_that, lab_test};

const ARGS: [&str; 3] = ["--duration=1s", "--timeout=5s", "--interval=1s"];

/// Longer than the agents take to see a change, and than the first restarts of gossip.
const SOON: Duration = Duration::from_secs(60);

lab_test!(
    gossip_that_a_firewall_rejects_is_counted_and_logged,
    Shared,
    [50, 50],
    |lab| {
        let mesh = assembled(lab);
        let agent = mesh.agent("n2");
        let errors = || {
            let name = "iperf_mesh_gossip_send_errors_total";
            agent.labelled(name, &[("error", "not_permitted")])
        };
        assert_eq!(errors(), Some(0.0));
        let fault = lab.forbid_sending_from("n2", 9877);
        let rejected = || errors().is_some_and(|errors| errors > 1.0);
        await_that("errors are counted", SOON, rejected, || log(&mesh, "n2"));
        let readyz = || agent.get("/readyz").unwrap_or_default();
        let remarks = || readyz().starts_with("ok\ngossip cannot be sent: a firewall");
        await_that("the probe remarks on it", SOON, remarks, readyz);
        drop(fault);
        let is_healed = || readyz() == "ok\n";
        await_that("the remark is gone", SOON, is_healed, readyz);
        let log = log(&mesh, "n2");
        let warnings: Vec<_> = log
            .lines()
            .filter(|line| line.contains("gossip cannot be sent"))
            .collect();
        let [warning] = warnings[..] else {
            panic!("one warning, not {warnings:#?}");
        };
        for part in ["WARN", "Operation not permitted", "OUTPUT"] {
            assert!(warning.contains(part), "{warning}");
        }
    }
);

lab_test!(agent_without_loopback_takes_part, Shared, [50, 50], |lab| {
    for fault in [Lab::unplug_loopback, Lab::block_loopback] {
        let _fault = fault(lab, "n2");
        let mesh = Mesh::start(lab, &ARGS);
        let n1 = mesh.agent("n1");
        let is_live = || n1.states().get("n2").is_some_and(|state| state == "live");
        await_that("n2 is live", SOON, is_live, || log(&mesh, "n2"));
        let tested = || n1.good_cells().len() == 2;
        await_that("they test each other", SOON, tested, || log(&mesh, "n2"));
    }
});

lab_test!(
    gossip_beyond_the_mtu_is_counted_and_logged_once,
    Shared,
    [50, 50],
    |lab| {
        let mesh = assembled(lab);
        let fragmented = || {
            let agent = mesh.agent("n1");
            agent.metric("iperf_mesh_gossip_fragmented_total")
        };
        assert_eq!(fragmented(), Some(0.0));
        let _fault = lab.narrow("n1", 100);
        let some = || fragmented().is_some_and(|fragmented| fragmented > 1.0);
        await_that("fragments are counted", SOON, some, || log(&mesh, "n1"));
        let log = log(&mesh, "n1");
        let warnings = log.lines().filter(|line| line.contains("IP fragments"));
        assert_eq!(warnings.count(), 1, "{log}");
    }
);

lab_test!(
    peer_that_speaks_but_is_not_heard_is_counted_and_logged,
    Shared,
    [50, 50],
    |lab| {
        let mesh = assembled(lab);
        let unheard = || mesh.agent("n1").metric("iperf_mesh_gossip_unheard_peers");
        let fault = lab.block_port("n1", 9877);
        let counts = |count| move || unheard() == Some(count);
        await_that("n2 is unheard", 2 * SOON, counts(1.0), || log(&mesh, "n1"));
        let log_of_n1 = log(&mesh, "n1");
        assert!(log_of_n1.contains("9877/udp is blocked"), "{log_of_n1}");
        assert_eq!(
            mesh.agent("n2").metric("iperf_mesh_gossip_unheard_peers"),
            Some(0.0)
        );
        drop(fault);
        await_that("n2 is heard again", SOON, counts(0.0), || log(&mesh, "n1"));
    }
);

fn assembled(lab: &Lab) -> Mesh<'_> {
    let mesh = Mesh::start(lab, &ARGS);
    let found = mesh.assembled(Duration::from_secs(30));
    assert!(found, "not assembled: {}", log(&mesh, "n1"));
    mesh
}

fn log(mesh: &Mesh<'_>, node: &str) -> String {
    mesh.agent(node).program.stderr()
}
