//! `/metrics`, as Prometheus and the readers of `docs/metrics.md` see it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iperf3_mesh::api::{NodeState, Schedule, Sweep};
use iperf3_mesh::config::FailedCells;
use iperf3_mesh::keys::KeyReason;
use iperf3_mesh::metrics::{Metrics, Settings};
use iperf3_mesh_core::gossip::{GossipStatus, Rejection, RejectionTotals, SendError};
use iperf3_mesh_core::seal::KeyId;
use iperf3_mesh_core::wire::{Refusal, Role};
use iperf3_mesh_core::{
    AuthMode, Figures, Ignored, NodeName, Protocol, Reason, ReservationOutcome,
};

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn metrics(failed_cells: FailedCells) -> Metrics {
    Metrics::new(Settings {
        source: name("node-a"),
        protocols: vec![Protocol::Tcp, Protocol::Udp],
        failed_cells,
        pause: Duration::from_secs(300),
        iperf3_version: "3.12".to_owned(),
        landlock: "abi6".to_owned(),
    })
    .unwrap()
}

fn tcp() -> Figures {
    Figures {
        bandwidth_mbps: 941.5,
        retransmits: Some(3),
        rtt_ms: Some(0.25),
        ..Figures::default()
    }
}

fn udp() -> Figures {
    Figures {
        bandwidth_mbps: 10.0,
        jitter_ms: Some(0.125),
        packets: Some(4000),
        lost_packets: Some(10),
        ..Figures::default()
    }
}

/// All metrics except those of the process collector, which are about the test's own process.
fn text(metrics: &Metrics) -> String {
    let text = metrics.text().unwrap();
    let ours = text.lines().filter(|line| !line.contains("process_"));
    ours.map(|line| line.to_owned() + "\n").collect()
}

/// The value of a series, `None` if it does not exist.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = text(metrics);
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

/// The names after `# TYPE`, with their types.
fn types(text: &str) -> BTreeMap<String, String> {
    let declared = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    declared
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

/// A mesh of five, after a sweep with one failure of each kind that shows differently.
fn example() -> Metrics {
    let metrics = metrics(FailedCells::Zero);
    metrics.record(
        &name("node-b"),
        Protocol::Tcp,
        at(1_700_000_000),
        &Ok(tcp()),
    );
    metrics.record(
        &name("node-b"),
        Protocol::Udp,
        at(1_700_000_006),
        &Ok(udp()),
    );
    metrics.record(
        &name("node-c"),
        Protocol::Tcp,
        at(1_700_000_012),
        &Ok(tcp()),
    );
    metrics.record(
        &name("node-c"),
        Protocol::Tcp,
        at(1_700_000_320),
        &Err(Reason::Timeout),
    );
    metrics.record(
        &name("node-c"),
        Protocol::Udp,
        at(1_700_000_330),
        &Err(Reason::NoData),
    );
    metrics.record(
        &name("node-d"),
        Protocol::Tcp,
        at(1_700_000_340),
        &Err(Reason::Unreachable),
    );
    metrics.test_cancelled(Protocol::Udp);
    let lasted = Duration::from_millis(10_500);
    metrics.reservation(Role::Asker, ReservationOutcome::Met, lasted);
    let refused = ReservationOutcome::Refused(Refusal::Busy);
    metrics.reservation(Role::Granter, refused, Duration::ZERO);
    metrics.unexpected_clients(1);
    metrics.show_vulnerabilities(2);
    metrics.show_filter(true);
    metrics.server_failed("resources");
    metrics.show_auth_mode(AuthMode::Required);
    metrics.show_keys_in_use(&BTreeMap::from([(KeyId::new("2026-11-30").unwrap(), 3)]));
    metrics.show_key_problem(Some(KeyReason::Missing));
    metrics.rejected_message("malformed");
    metrics.ignored_message(Ignored::OldRequest);
    metrics.show_members([
        NodeState::Live,
        NodeState::Live,
        NodeState::Live,
        NodeState::Silent,
        NodeState::Incompatible,
    ]);
    metrics.show_schedule(&Schedule {
        sweep: Sweep {
            number: 7,
            met: 3,
            total: 4,
            began: None,
            last: Some(Duration::from_millis(40_400)),
            bound: Duration::from_secs(40),
        },
        ..Schedule::default()
    });
    let mut refused = RejectionTotals::default();
    refused[Rejection::Foreign as usize] = 2;
    refused[Rejection::Unsolicited as usize] = 1;
    metrics.show_gossip(&GossipStatus {
        digest_bytes: 190,
        digest_bytes_max: 47_000,
        identities: 12,
        identities_max: 4096,
        restarts: 1,
        refused,
        fragmented: 3,
        unsealed_peers: 2,
        send_errors: [4, 0, 0, 1, 0],
        ..GossipStatus::default()
    });
    metrics.discovery_succeeded(at(1_700_000_000));
    metrics.discovery_failed("forbidden");
    metrics
}

#[test]
fn the_exposition_matches_the_golden_file() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/metrics.txt");
    let text = text(&example()).replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    if text != golden && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &text).unwrap();
        return;
    }
    assert!(
        text == golden,
        "{path} differs (UPDATE_GOLDEN=1 rewrites it) from:\n{text}"
    );
}

/// The lint complains about names that were promised, and about no other.
#[test]
fn promtool_complains_about_the_promised_names_only() {
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = promtool.expect("promtool is missing: `make setup` installs it");
    let text = example().text().unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    // Exit code 3: the text is well-formed, and the lint complains.
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let complaints =
        String::from_utf8(output.stdout).unwrap() + std::str::from_utf8(&output.stderr).unwrap();
    let of: BTreeSet<_> = complaints
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let promised = [
        "iperf_network_jitter_ms",
        "iperf_network_lost_packets_total",
        "iperf_network_packets_total",
    ];
    assert_eq!(of, BTreeSet::from(promised), "{complaints}");
}

#[test]
fn a_failed_tcp_test_clears_the_figures_of_the_last_one() {
    let metrics = metrics(FailedCells::Zero);
    let node = name("node-b");
    let series = |metric: &str| {
        format!("{metric}{{destination_node=\"node-b\",protocol=\"tcp\",source_node=\"node-a\"}}")
    };
    let value = |metric: &str| value(&metrics, &series(metric));

    metrics.record(&node, Protocol::Tcp, at(100), &Ok(tcp()));
    assert_eq!(value("iperf_test_success"), Some(1.0));
    assert_eq!(value("iperf_network_bandwidth_mbps"), Some(941.5));
    assert_eq!(value("iperf_network_retransmits"), Some(3.0));
    assert_eq!(value("iperf_network_rtt_seconds"), Some(0.00025));
    assert_eq!(value("iperf_network_jitter_ms"), None, "TCP has no jitter");

    metrics.record(&node, Protocol::Tcp, at(200), &Err(Reason::Connect));
    assert_eq!(value("iperf_test_success"), Some(0.0));
    assert_eq!(value("iperf_network_bandwidth_mbps"), Some(0.0));
    assert_eq!(value("iperf_network_retransmits"), None);
    assert_eq!(value("iperf_network_rtt_seconds"), None);
    assert_eq!(
        value("iperf_network_jitter_ms"),
        None,
        "TCP has no jitter, failed or not"
    );
    assert_eq!(value("iperf_network_packets_total"), None);
    assert_eq!(value("iperf_test_timestamp_seconds"), Some(200.0));
    assert_eq!(value("iperf_test_success_timestamp_seconds"), Some(100.0));
}

#[test]
fn a_failed_udp_test_clears_the_figures_of_the_last_one() {
    for (failed_cells, cleared) in [(FailedCells::Zero, Some(0.0)), (FailedCells::Absent, None)] {
        let metrics = metrics(failed_cells);
        let series = |metric: &str| {
            format!(
                "{metric}{{destination_node=\"node-b\",protocol=\"udp\",source_node=\"node-a\"}}"
            )
        };
        let value = |metric: &str| value(&metrics, &series(metric));

        metrics.record(&name("node-b"), Protocol::Udp, at(100), &Ok(udp()));
        assert_eq!(value("iperf_network_jitter_ms"), Some(0.125));
        assert_eq!(value("iperf_network_packets_total"), Some(4000.0));
        assert_eq!(value("iperf_network_lost_packets_total"), Some(10.0));
        assert_eq!(value("iperf_network_loss_ratio"), Some(0.0025));

        metrics.record(
            &name("node-b"),
            Protocol::Udp,
            at(200),
            &Err(Reason::NoData),
        );
        assert_eq!(value("iperf_test_success"), Some(0.0));
        assert_eq!(value("iperf_network_bandwidth_mbps"), cleared);
        assert_eq!(value("iperf_network_jitter_ms"), cleared);
        assert_eq!(value("iperf_network_packets_total"), None);
        assert_eq!(value("iperf_network_lost_packets_total"), None);
        assert_eq!(value("iperf_network_loss_ratio"), None);
    }
}

#[test]
fn the_reason_of_a_failure_shows_until_the_next_test() {
    let metrics = metrics(FailedCells::Zero);
    let node = name("node-b");
    let shown = |text: String| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| line.starts_with("iperf_mesh_cell_failure{"));
        lines.map(str::to_owned).collect()
    };
    metrics.record(&node, Protocol::Tcp, at(1), &Err(Reason::Timeout));
    metrics.record(&node, Protocol::Tcp, at(2), &Err(Reason::Connect));
    let failing = shown(text(&metrics));
    assert_eq!(failing.len(), 1, "{failing:?}");
    assert!(failing[0].contains("reason=\"connect\""), "{failing:?}");
    metrics.record(&node, Protocol::Tcp, at(3), &Ok(tcp()));
    assert!(shown(text(&metrics)).is_empty());
}

#[test]
fn a_forgotten_node_leaves_no_series() {
    let metrics = example();
    assert!(text(&metrics).contains("node-c"));
    for node in ["node-b", "node-c", "node-d"] {
        metrics.forget(&name(node));
        assert!(!text(&metrics).contains(node), "{}", text(&metrics));
    }
}

#[test]
fn counters_of_tests_start_at_zero() {
    let metrics = metrics(FailedCells::Zero);
    assert_eq!(value(&metrics, "iperf_mesh_overlaps_total"), Some(0.0));
    for reason in Reason::ALL {
        let series = format!(
            "iperf_mesh_tests_total{{outcome=\"failure\",protocol=\"udp\",reason=\"{reason}\"}}"
        );
        assert_eq!(value(&metrics, &series), Some(0.0), "{series}");
    }
    let before = text(&metrics);
    assert!(
        !before.contains("iperf_mesh_sweep_duration_seconds "),
        "no sweep is done yet"
    );
}

#[test]
fn the_process_collector_is_registered() {
    let text = metrics(FailedCells::Zero).text().unwrap();
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total"] {
        assert!(types(&text).contains_key(name), "{name} is missing");
    }
}

/// The tables of the documentation begin `| name | type | labels |`.
#[test]
fn the_documentation_lists_exactly_the_exposed_metrics() {
    let page = include_str!("../../docs/metrics.md");
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `iperf_"));
    let documented: BTreeMap<_, _> = rows
        .map(|row| {
            let mut columns = format!("`iperf_{row}");
            columns.retain(|c| c != '`' && c != ' ');
            let columns: Vec<_> = columns.split('|').map(str::to_owned).collect();
            let labels: BTreeSet<_> = columns[2].split(',').map(str::to_owned).collect();
            (columns[0].clone(), (columns[1].clone(), labels))
        })
        .collect();
    let text = text(&example());
    let exposed: BTreeMap<_, _> = types(&text)
        .into_iter()
        .map(|(name, kind)| {
            let labels = labels(&text, &name);
            (name, (kind, labels))
        })
        .collect();
    assert_eq!(documented, exposed);
}

/// The names of a metric's labels. No label is one empty name, as in the documentation.
fn labels(text: &str, metric: &str) -> BTreeSet<String> {
    let series = text.lines().find_map(|line| {
        let rest = line.strip_prefix(metric)?;
        rest.starts_with([' ', '{']).then_some(rest)
    });
    let labels = series.unwrap().split(['{', '}']).nth(1).unwrap_or("=");
    labels
        .split(',')
        .map(|label| label.split('=').next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_documentation_lists_every_error_of_a_send() {
    let page = include_str!("../../docs/metrics.md");
    for error in SendError::ALL {
        let row = format!("| `{}` |", error.as_str());
        assert!(page.contains(&row), "{row} is missing");
    }
}

#[test]
fn the_documentation_lists_every_reason() {
    let page = include_str!("../../docs/metrics.md");
    for reason in Reason::ALL {
        assert!(
            page.contains(&format!("| `{reason}` |")),
            "{reason} is missing"
        );
    }
}
