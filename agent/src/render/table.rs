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

const CSV_HEAD: [&str; 13] = [
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
    "limited_by",
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
/// JSON, and an empty field for what is null or absent there.
pub fn csv(matrix: &Matrix) -> String {
    let mut out = CSV_HEAD.join(",");
    out.push_str("\r\n");
    for cell in &matrix.cells {
        let result = &cell.result;
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let fields: [String; CSV_HEAD.len()] = [
            text_field(cell.source_node.as_str()),
            text_field(cell.destination_node.as_str()),
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
            result
                .limited_by
                .map_or_else(String::new, |limited| limited.to_string()),
        ];
        out.push_str(&fields.join(","));
        out.push_str("\r\n");
    }
    out
}

/// Formats a field of text. A spreadsheet evaluates a field that begins with one of certain
/// characters, quoted or not, unless an apostrophe comes before them (OWASP, "CSV injection"). A
/// [`NodeName`](iperf3_mesh_core::NodeName) has none of these characters, but a field must be safe
/// wherever its text comes from.
fn text_field(text: &str) -> String {
    let is_formula =
        text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = format!("{}{text}", if is_formula { "'" } else { "" });
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// Formats the matrix as the JSON document of the API, indented.
///
/// # Errors
/// Returns an error if a figure is not a number, which no agent ever measures.
pub fn json(matrix: &Matrix) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(matrix)?;
    let mut out = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        // JSON permits some control characters within texts, but a terminal would obey them.
        if c.is_control() && c != '\n' {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Ok(out + "\n")
}

#[cfg(test)]
mod tests {
    use super::text_field;

    #[test]
    fn csv_field_is_never_a_formula() {
        for formula in [
            "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1",
        ] {
            let field = text_field(formula);
            let begin = field.trim_start_matches('"');
            assert!(begin.starts_with('\''), "{formula:?} is {field:?}");
        }
        assert_eq!(text_field("node-1"), "node-1");
    }

    #[test]
    fn csv_field_with_a_comma_a_quote_or_a_line_end_is_quoted() {
        for (text, field) in [
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=a,b", "\"'=a,b\""),
        ] {
            assert_eq!(text_field(text), field);
        }
    }
}
