//! The matrix with one line for each cell: aligned columns for human readers, CSV for spreadsheets,
//! JSON for programs.

use std::fmt::Write;

use crate::api::{CellReport, Matrix};
use crate::render::format::{bandwidth, loss};

const TABLE_HEAD: [&str; 10] = [
    "SOURCE",
    "DESTINATION",
    "PROTOCOL",
    "RESULT",
    "BANDWIDTH",
    "JITTER",
    "LOSS",
    "RETRANSMITS",
    "RTT",
    "AGE",
];

const CSV_HEAD: [&str; 12] = [
    "source_node",
    "destination_node",
    "protocol",
    "success",
    "reason",
    "bandwidth_mbps",
    "jitter_ms",
    "loss_ratio",
    "retransmits",
    "rtt_ms",
    "age_seconds",
    "success_age_seconds",
];

/// Formats the matrix as aligned columns with units. An unknown value is shown as `-`.
pub fn table(matrix: &Matrix) -> String {
    let mut lines = vec![TABLE_HEAD.map(str::to_owned)];
    lines.extend(matrix.cells.iter().map(table_line));
    let mut widths = [0; TABLE_HEAD.len()];
    for line in &lines {
        for (width, field) in widths.iter_mut().zip(line) {
            *width = field.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for line in &lines {
        let mut padded = String::new();
        for (field, width) in line.iter().zip(widths) {
            let _ = write!(padded, "{field:<width$}  ");
        }
        let _ = writeln!(out, "{}", padded.trim_end());
    }
    out
}

fn table_line(cell: &CellReport) -> [String; TABLE_HEAD.len()] {
    let result = &cell.result;
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let outcome = match (result.success, result.reason) {
        (Some(true), _) => Some("ok".to_owned()),
        (_, reason) => reason.map(|reason| reason.to_string()),
    };
    [
        cell.source_node.to_string(),
        cell.destination_node.to_string(),
        cell.protocol.to_string(),
        known(outcome),
        known(
            result
                .bandwidth_mbps
                .map(|mbps| format!("{}bit/s", bandwidth(mbps))),
        ),
        known(result.jitter_ms.map(|ms| format!("{ms:.3}ms"))),
        known(result.loss_ratio.map(loss)),
        known(result.retransmits.map(|count| count.to_string())),
        known(result.rtt_ms.map(|ms| format!("{ms:.3}ms"))),
        known(result.age_seconds.map(|seconds| format!("{seconds:.0}s"))),
    ]
}

/// Formats the matrix as CSV according to RFC 4180, with a header line, the same fields as in the
/// JSON, and an empty field for null.
pub fn csv(matrix: &Matrix) -> String {
    let mut out = CSV_HEAD.join(",");
    out.push_str("\r\n");
    for cell in &matrix.cells {
        let result = &cell.result;
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let fields: [String; CSV_HEAD.len()] = [
            quoted(cell.source_node.as_str()),
            quoted(cell.destination_node.as_str()),
            cell.protocol.to_string(),
            result
                .success
                .map_or_else(String::new, |success| success.to_string()),
            result
                .reason
                .map_or_else(String::new, |reason| reason.to_string()),
            number(result.bandwidth_mbps),
            number(result.jitter_ms),
            number(result.loss_ratio),
            result
                .retransmits
                .map_or_else(String::new, |count| count.to_string()),
            number(result.rtt_ms),
            number(result.age_seconds),
            number(result.success_age_seconds),
        ];
        out.push_str(&fields.join(","));
        out.push_str("\r\n");
    }
    out
}

/// Quotes a field that may contain any text. Names have no line breaks, but may contain quotes and
/// commas.
fn quoted(field: &str) -> String {
    if field.contains([',', '"']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Formats the matrix as the JSON document of the API, indented.
///
/// # Errors
/// Returns an error if a figure is not a number, which no agent ever measures.
pub fn json(matrix: &Matrix) -> serde_json::Result<String> {
    serde_json::to_string_pretty(matrix).map(|text| text + "\n")
}
