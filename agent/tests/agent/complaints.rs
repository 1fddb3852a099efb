//! The iperf3 server of one agent fails, and says why.

use std::path::Path;

use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::events::Role;
use iperf3_mesh_testkit::{Network, SOON, SWEEP, await_that};

use super::helpers::{failed, log_lines, seen};

#[test]
fn the_cell_of_the_peer_has_the_reason_of_the_failed_server() {
    let network = Network::draw();
    let starved = Starved::new();
    let n1 = Agent::start(network, 1, "n1", &[]);
    let n2 = Agent::start(network, 2, "n2", &[&starved.option()]);
    let both = [&n1, &n2];
    await_that(
        "the reason at the source, in the matrix of both",
        SWEEP,
        || {
            both.iter()
                .all(|agent| failed(agent, "n1", "n2", "resources"))
        },
        || seen(&both),
    );
    // The other direction has nothing to do with it.
    await_that(
        "the other direction works",
        SWEEP,
        || {
            both.iter()
                .all(|agent| agent.good_cells().contains(&pair("n2", "n1")))
        },
        || seen(&both),
    );

    let told = |agent: &Agent, field: &str| {
        let lines = log_lines(agent).into_iter();
        let said = |text: &str| text.starts_with("error - ");
        lines
            .filter(|line| line[field].as_str().is_some_and(said))
            .count()
    };
    await_that(
        "the words in both logs",
        SOON,
        || told(&n1, "words") > 0 && told(&n2, "detail") > 0,
        || n1.program.stderr(),
    );

    let served = n2
        .events()
        .into_iter()
        .filter(|event| event.role == Role::Server && event.outcome.is_some());
    let ends: Vec<_> = served.map(|event| (event.outcome, event.reason)).collect();
    let failure = (Some("failure".to_owned()), Some("resources".to_owned()));
    assert!(
        !ends.is_empty() && ends.iter().all(|end| *end == failure),
        "{ends:?}"
    );
    let failures = [("reason", "resources")];
    let counted = n2.labelled("iperf_mesh_server_failures_total", &failures);
    assert!(counted.is_some_and(|count| count >= 1.0), "{counted:?}");
    let other = n1.metric("iperf_mesh_server_failures_total");
    assert!(other.is_none_or(|count| count == 0.0), "{other:?}");
}

fn pair(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

/// An iperf3 whose server may not open a file for its stream.
struct Starved(tempfile::TempDir);

impl Starved {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/iperf3");
        std::os::unix::fs::symlink(script, dir.path().join("starved")).unwrap();
        Self(dir)
    }

    fn option(&self) -> String {
        format!("--iperf3={}", self.0.path().join("starved").display())
    }
}
