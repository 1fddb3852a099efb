//! The rendered matrix: heatmap, table and CSV.
#![allow(clippy::unwrap_used)] // A test that cannot go on shall fail.

use iperf3_mesh::api::{
    CellReport, CellResult, LimitedBy, Matrix, NodeReport, NodeState, SweepReport,
};
use iperf3_mesh::render::heatmap::{Screen, render};
use iperf3_mesh::render::table;
use iperf3_mesh_core::{NodeName, Protocol, Reason};
use iperf3_mesh_testkit::assert_golden;

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

#[test]
fn mixture_of_iperf3_versions_is_noted() {
    let mut matrix = matrix(&["a", "b", "c"], &[Protocol::Udp], |_, _, _| {
        CellResult::default()
    });
    let note = "Versions of iperf3: 3.12 on 2 of 3, 3.18 on 1 of 3.";
    assert!(!render(&matrix, Screen::PLAIN).contains("Versions"));
    matrix.nodes[1].iperf3 = Some("3.18".to_owned());
    assert!(render(&matrix, Screen::PLAIN).contains(note));
}

/// A matrix of `names`, with `result` for each cell.
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
        iperf3: Some("3.12".to_owned()),
        row_unsealed: false,
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
        insecure: false,
        nodes: nodes.collect(),
        cells,
        sweep: None,
    }
}

/// Five nodes: one slow, one silent, one link that fails, one cell without a test.
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

#[test]
fn a_plain_heatmap_has_no_escapes() {
    let text = render(&example(), Screen::PLAIN);
    assert!(!text.contains('\x1b'), "{text:?}");
    assert_golden("heatmap-plain.txt", &text);
}

#[test]
fn a_coloured_heatmap_has_the_colours_of_its_figures() {
    assert_golden("heatmap-colour.txt", &render(&example(), COLOUR));
}

#[test]
fn colours_add_no_text_except_the_ramp() {
    let coloured = render(&example(), COLOUR);
    let bare = without_escapes(&coloured);
    let plain = render(&example(), Screen::PLAIN);
    let words = |text: &str| -> Vec<String> {
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
fn a_heatmap_fits_the_width_of_the_screen() {
    let owned: Vec<_> = (1..=24)
        .map(|n| format!("ip-10-0-1-{n}.eu-west-1.internal"))
        .collect();
    let names: Vec<_> = owned.iter().map(String::as_str).collect();
    let matrix = matrix(&names, &[Protocol::Tcp], |_, _, _| ok(941.0));
    for width in [60, 80, 120] {
        let text = render(
            &matrix,
            Screen {
                colour: false,
                width: Some(width),
            },
        );
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
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
fn legend_and_notes_fit_a_terminal_of_80_columns() {
    let screen = Screen {
        colour: true,
        width: Some(80),
    };
    let long = [
        "gke-pool-1-a1b2c3d4-x9z0.internal",
        "node-b",
        "node-c",
        "node-d",
        "node-e",
    ];
    let mut matrix = example();
    for cell in &mut matrix.cells {
        for name in [&mut cell.source_node, &mut cell.destination_node] {
            if name.as_str() == "node-a" {
                *name = NodeName::new(long[0]).unwrap();
            }
        }
    }
    matrix.nodes[0].name = name(long[0]);
    matrix.nodes[3].row_error = Some("no connection: Connection refused (os error 111)".to_owned());
    for text in [render(&example(), screen), render(&matrix, screen)] {
        for line in without_escapes(&text).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn an_unreachable_node_takes_one_line() {
    let owned: Vec<_> = (0..40).map(|n| format!("node-{n:02}")).collect();
    let names: Vec<_> = owned.iter().map(String::as_str).collect();
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
    assert!(text.contains("… and "), "the list is bounded: {text}");
    assert!(
        text.contains(" 8 node-07 "),
        "numbered columns need numbered rows: {text}"
    );
}

#[test]
fn a_mesh_of_one_node_has_no_pairs() {
    let text = render(
        &matrix(&["node-a"], &[Protocol::Tcp], |_, _, _| ok(1.0)),
        Screen::PLAIN,
    );
    assert!(text.contains("No pairs yet: 1 node"), "{text}");
    let text = render(&Matrix::default(), COLOUR);
    assert!(text.contains("No pairs yet: 0 node"), "{text}");
}

#[test]
fn the_columns_of_the_table_are_aligned() {
    assert_golden("table.txt", &table::table(&example()));
}

#[test]
fn csv_has_a_line_for_each_cell_and_empty_fields_for_null() {
    let names = ["a", "b", "c"];
    let csv = table::csv(&matrix(&names, &[Protocol::Tcp], |_, to, _| match to {
        0 => CellResult {
            limited_by: Some(LimitedBy::Destination),
            ..ok(94.125)
        },
        1 => failed(Reason::NotMet),
        _ => CellResult::default(),
    }));
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert_eq!(
        lines,
        [
            "source_node,destination_node,protocol,success,reason,bandwidth_mbps,jitter_ms,\
             loss_ratio,retransmits,rtt_ms,age_seconds,success_age_seconds,\
             limited_by",
            "a,b,tcp,false,not_met,,,,,,30,330,",
            "a,c,tcp,,,,,,,,,,",
            "b,a,tcp,true,,94.125,,,,,12,12,destination",
            "b,c,tcp,,,,,,,,,,",
            "c,a,tcp,true,,94.125,,,,,12,12,destination",
            "c,b,tcp,false,not_met,,,,,,30,330,",
            "",
        ]
    );
}

#[test]
fn json_has_a_sweep_only_if_the_matrix_has_one() {
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

#[test]
fn an_agent_without_a_key_says_so_below_the_matrix() {
    let rendered = |insecure| {
        let matrix = Matrix {
            insecure,
            ..example()
        };
        render(&matrix, Screen::PLAIN)
    };
    let note = "No key (--insecure): everybody who reaches the ports";
    assert!(rendered(true).contains(note));
    assert!(!rendered(false).contains("--insecure"));
}

fn without_escapes(text: &str) -> String {
    text.split('\x1b')
        .map(|piece| match piece.split_once('m') {
            Some((code, rest)) if code.starts_with('[') => rest,
            _ => piece,
        })
        .collect()
}
