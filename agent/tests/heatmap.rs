//! The matrix as people see it: heatmap, table and CSV.
#![allow(clippy::unwrap_used)] // A test that cannot go on shall fail.

use iperf3_mesh::api::{CellReport, CellResult, Matrix, NodeReport, NodeState, SweepReport};
use iperf3_mesh::render::heatmap::{Screen, render};
use iperf3_mesh::render::table;
use iperf3_mesh_core::{NodeName, Protocol, Reason};

const COLOUR: Screen = Screen {
    colour: true,
    width: Some(100),
};

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn ok(mbps: f64) -> CellResult {
    CellResult {
        success: Some(true),
        bandwidth_mbps: Some(mbps),
        age_seconds: Some(12.0),
        success_age_seconds: Some(12.0),
        ..CellResult::default()
    }
}

fn failed(reason: Reason) -> CellResult {
    CellResult {
        success: Some(false),
        reason: Some(reason),
        age_seconds: Some(30.0),
        success_age_seconds: Some(330.0),
        ..CellResult::default()
    }
}

/// A matrix of `names` with what `result` says of each cell.
fn matrix(
    names: &[&str],
    protocols: &[Protocol],
    result: impl Fn(usize, usize, Protocol) -> CellResult,
) -> Matrix {
    let nodes = names.iter().map(|node| NodeReport {
        name: name(node),
        zone: String::new(),
        state: NodeState::Live,
        row_age_seconds: Some(0.1),
        row_error: None,
    });
    let mut cells = Vec::new();
    for (source, source_name) in names.iter().enumerate() {
        for (destination, destination_name) in names.iter().enumerate() {
            for &protocol in protocols.iter().filter(|_| source != destination) {
                cells.push(CellReport {
                    source_node: name(source_name),
                    destination_node: name(destination_name),
                    protocol,
                    result: result(source, destination, protocol),
                });
            }
        }
    }
    Matrix {
        version: "1.2.3".to_owned(),
        nodes: nodes.collect(),
        cells,
        sweep: None,
    }
}

/// Five nodes: one slow, one silent, one link that fails, one cell that was never tested.
fn example() -> Matrix {
    let names = ["node-a", "node-b", "node-c", "node-d", "node-e"];
    let mut matrix = matrix(
        &names,
        &[Protocol::Tcp, Protocol::Udp],
        |from, to, protocol| match (from, to, protocol) {
            (3, ..) => CellResult::default(),
            (_, 3, _) => failed(Reason::Unreachable),
            (0, 1, Protocol::Tcp) => failed(Reason::Timeout),
            (4, 0, Protocol::Tcp) => CellResult::default(),
            (2, ..) | (_, 2, _) if protocol == Protocol::Tcp => ok(19.1),
            (.., Protocol::Tcp) => ok(94.1 + from as f64 / 10.0),
            (.., Protocol::Udp) => CellResult {
                jitter_ms: Some(0.0431),
                loss_ratio: Some(if to == 2 { 0.123 } else { 0.0 }),
                ..ok(if to == 2 { 8.8 } else { 10.0 })
            },
        },
    );
    matrix.nodes[3].state = NodeState::Silent;
    matrix.nodes[3].row_age_seconds = None;
    matrix.nodes[3].row_error = Some("silent".to_owned());
    let (number, tests, failed) = (7, 32, 5);
    matrix.sweep = Some(SweepReport {
        number,
        seconds: 40.4,
        bound_seconds: 40.0,
        tests,
        failed,
    });
    matrix
}

fn assert_golden(file: &str, text: &str) {
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if text != golden && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    assert!(
        text == golden,
        "{path} differs (UPDATE_GOLDEN=1 rewrites it) from:\n{text}"
    );
}

#[test]
fn plain() {
    let text = render(&example(), Screen::PLAIN);
    assert!(
        !text.contains('\x1b'),
        "no escapes where there is no terminal"
    );
    assert_golden("heatmap-plain.txt", &text);
}

#[test]
fn coloured() {
    assert_golden("heatmap-colour.txt", &render(&example(), COLOUR));
}

#[test]
fn colours_add_nothing_but_colours() {
    let coloured = render(&example(), COLOUR);
    let mut bare = String::new();
    for piece in coloured.split('\x1b') {
        bare.push_str(
            piece
                .split_once('m')
                .filter(|_| piece.starts_with('['))
                .map_or(piece, |p| p.1),
        );
    }
    let plain = render(&example(), Screen::PLAIN);
    let words = |text: &str| -> Vec<String> {
        // The ramp has a line of its own.
        let lines = text
            .lines()
            .filter(|line| !line.contains("M                       "));
        lines
            .flat_map(str::split_whitespace)
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(words(&bare), words(&plain));
}

#[test]
fn it_fits_the_width_of_the_screen() {
    let names: Vec<_> = (1..=24)
        .map(|n| format!("ip-10-0-1-{n}.eu-west-1.internal"))
        .collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let matrix = matrix(&names, &[Protocol::Tcp], |_, _, _| ok(941.0));
    for width in [60, 80, 120] {
        let text = render(
            &matrix,
            Screen {
                colour: false,
                width: Some(width),
            },
        );
        let table = text.split("columns:").next().unwrap();
        let widest = table
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap();
        assert!(widest <= width, "{widest} > {width}:\n{text}");
    }
    let text = render(
        &matrix,
        Screen {
            colour: false,
            width: Some(120),
        },
    );
    assert_golden("heatmap-wide.txt", &text);
}

#[test]
fn a_node_that_nobody_reaches_is_one_line() {
    let names: Vec<_> = (0..40).map(|n| format!("node-{n:02}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let matrix = matrix(&names, &[Protocol::Tcp], |from, to, _| match (from, to) {
        (_, 7) => failed(Reason::Unreachable),
        (8, _) => failed(Reason::Spawn),
        (from, to) if from < 30 && to == from + 1 => failed(Reason::Connect),
        _ => ok(941.0),
    });
    let text = render(&matrix, Screen::PLAIN);
    assert!(
        text.contains("* -> node-07  tcp  unreachable (all 39)"),
        "{text}"
    );
    assert!(text.contains("node-08 -> *  tcp  spawn (all 38)"), "{text}");
    assert!(text.contains("… and "), "the list has a bound: {text}");
    assert!(
        text.contains(" 8 node-07 "),
        "columns by number have rows by number: {text}"
    );
}

#[test]
fn a_mesh_of_one_says_so() {
    let text = render(
        &matrix(&["node-a"], &[Protocol::Tcp], |_, _, _| ok(1.0)),
        Screen::PLAIN,
    );
    assert!(text.contains("No pairs yet: 1 node"), "{text}");
    let text = render(&Matrix::default(), COLOUR);
    assert!(text.contains("No pairs yet: 0 node"), "{text}");
}

#[test]
fn the_table_is_aligned() {
    assert_golden("table.txt", &table::table(&example()));
}

#[test]
fn csv_quotes_what_needs_it() {
    let names = ["plain", "with,comma", "with\"quote"];
    let csv = table::csv(&matrix(&names, &[Protocol::Tcp], |_, to, _| match to {
        0 => ok(94.125),
        1 => failed(Reason::NotMet),
        _ => CellResult::default(),
    }));
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert_eq!(
        lines,
        [
            "source_node,destination_node,protocol,success,reason,bandwidth_mbps,jitter_ms,\
             loss_ratio,retransmits,rtt_ms,age_seconds,success_age_seconds",
            "plain,\"with,comma\",tcp,false,not_met,,,,,,30,330",
            "plain,\"with\"\"quote\",tcp,,,,,,,,,",
            "\"with,comma\",plain,tcp,true,,94.125,,,,,12,12",
            "\"with,comma\",\"with\"\"quote\",tcp,,,,,,,,,",
            "\"with\"\"quote\",plain,tcp,true,,94.125,,,,,12,12",
            "\"with\"\"quote\",\"with,comma\",tcp,false,not_met,,,,,,30,330",
            "",
        ]
    );
}

#[test]
fn json_has_the_sweep_where_there_is_one() {
    let json = table::json(&example()).unwrap();
    let sweep = json.split("\"sweep\"").nth(1).unwrap();
    let fields = ["number", "seconds", "bound_seconds", "tests", "failed"];
    assert!(
        fields.iter().map(|field| sweep.find(field)).is_sorted(),
        "{sweep}"
    );
    let without = Matrix {
        sweep: None,
        ..example()
    };
    assert!(!table::json(&without).unwrap().contains("\"sweep\""));
}
