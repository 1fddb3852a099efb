//! Views of agents and their logs that the tests share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::answers::CellEntry;
use iperf3_mesh_testkit::events::Event;
use iperf3_mesh_testkit::{await_that, checker};
use serde_json::Value;

/// The fields of every event, besides the timestamp and the level of every line.
const EVENT_FIELDS: [&str; 14] = [
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
pub(crate) fn pairs(agents: &[&Agent]) -> Vec<(String, String)> {
    let names: BTreeSet<&String> = agents.iter().map(|agent| &agent.name).collect();
    let all = names
        .iter()
        .flat_map(|&from| names.iter().map(move |&to| (from.clone(), to.clone())));
    all.filter(|(from, to)| from != to).collect()
}

/// Waits until each of `agents` answers with a matrix of exactly these agents, in which every cell
/// succeeded.
#[track_caller]
pub(crate) fn await_whole(agents: &[&Agent], limit: Duration) {
    let whole = pairs(agents);
    await_that(
        "the same whole matrix from every agent",
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

/// The states and cells that each agent reports, for the message of a failure.
pub(crate) fn seen(agents: &[&Agent]) -> String {
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
pub(crate) fn cell(agent: &Agent, source: &str, destination: &str) -> Option<CellEntry> {
    agent
        .matrix()
        .ok()?
        .get(source, destination, "tcp")
        .cloned()
}

/// Whether the cell has failed for that reason.
pub(crate) fn failed(agent: &Agent, source: &str, destination: &str, reason: &str) -> bool {
    cell(agent, source, destination)
        .is_some_and(|cell| cell.success == Some(false) && cell.reason.as_deref() == Some(reason))
}

/// Asserts that no node was in two tests at once, by the events of all agents.
#[track_caller]
pub(crate) fn assert_exclusive(agents: &[&Agent]) {
    let events: Vec<Event> = agents.iter().flat_map(|agent| agent.events()).collect();
    let (intervals, faults) = checker::intervals(&events, &BTreeMap::new(), u64::MAX);
    assert!(faults.is_empty(), "{faults:#?}");
    let overlaps = checker::overlaps(&intervals);
    assert!(overlaps.is_empty(), "{overlaps:#?}");
}

/// The complete lines of its log.
pub(crate) fn log_lines(agent: &Agent) -> Vec<Value> {
    let log = agent.program.stderr();
    let complete = log.rfind('\n').map_or("", |end| &log[..end]);
    complete
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The name conflicts in its log: its own address, and that of the other agent.
pub(crate) fn conflicts(agent: &Agent) -> Vec<(String, String)> {
    log_lines(agent)
        .into_iter()
        .filter(|line| line["level"] == "WARN" && line["other"].is_string())
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("address"), text("other"))
        })
        .collect()
}

/// Asserts that every iperf3 of an agent that has stopped has one start and one end event, with all
/// their fields.
pub(crate) fn assert_events_are_paired(agent: &Agent) {
    let (mut started, mut finished) = (BTreeSet::new(), BTreeSet::new());
    for line in log_lines(agent) {
        let Some(event) = line["event"].as_str() else {
            continue;
        };
        for key in EVENT_FIELDS {
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
