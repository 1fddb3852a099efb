//! What stands below the tables: which cells failed and why, which rows are missing, how old the
//! results are.
//!
//! A node that nobody reaches is one line, not one for each of its peers.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use iperf3_mesh_core::{NodeName, Reason};

use crate::api::{CellReport, Matrix, NodeState};
use crate::http::client::one_line;

/// The most lines of one kind; `-o table` shows everything.
const LINES_MAX: usize = 20;

pub(super) fn write(matrix: &Matrix, out: &mut String) {
    write_lines("Failed", &failures(matrix), out);
    write_lines("Nodes", &nodes(matrix), out);
    if let Some(ages) = ages(matrix) {
        let _ = writeln!(out, "{ages}");
    }
    if let Some(sweep) = &matrix.sweep {
        let _ = writeln!(
            out,
            "Sweep {}: {:.1} s (bound {:.1} s), {} tests, {} failed.",
            sweep.number, sweep.seconds, sweep.bound_seconds, sweep.tests, sweep.failed
        );
    }
}

fn write_lines(title: &str, lines: &[String], out: &mut String) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "{title}:");
    for line in lines.iter().take(LINES_MAX) {
        let _ = writeln!(out, "  {line}");
    }
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        let _ = writeln!(out, "  … and {more} more; `-o table` shows all");
    }
    out.push('\n');
}

/// The failed cells: first the nodes to which, then those from which everything fails alike, then
/// the rest.
fn failures(matrix: &Matrix) -> Vec<String> {
    let mut lines = Vec::new();
    let protocols: BTreeSet<_> = matrix.cells.iter().map(|cell| cell.protocol).collect();
    for protocol in protocols {
        let of_protocol = |cell: &&CellReport| cell.protocol == protocol;
        let mut cells: Vec<_> = matrix.cells.iter().filter(of_protocol).collect();
        cells.retain(|cell| cell.result.success.is_some());
        let mut group = |end: fn(&CellReport) -> &NodeName, before: &str, after: &str| {
            for node in &matrix.nodes {
                let its: Vec<_> = cells
                    .iter()
                    .filter(|cell| end(cell) == &node.name)
                    .collect();
                if let (Some(reason), count @ 2..) = (common_reason(&its), its.len()) {
                    let name = &node.name;
                    lines.push(format!(
                        "{before}{name}{after}  {protocol}  {reason} (all {count})"
                    ));
                    cells.retain(|cell| end(cell) != &node.name);
                }
            }
        };
        group(|cell| &cell.destination_node, "* -> ", "");
        group(|cell| &cell.source_node, "", " -> *");
        lines.extend(cells.into_iter().filter_map(failure));
    }
    lines
}

/// The reason for which all of `cells` failed, if there is one.
fn common_reason(cells: &[&&CellReport]) -> Option<Reason> {
    let first = cells.first()?.result.reason?;
    cells
        .iter()
        .all(|cell| cell.result.reason == Some(first))
        .then_some(first)
}

fn failure(cell: &CellReport) -> Option<String> {
    let reason = cell.result.reason?;
    let CellReport {
        source_node,
        destination_node,
        protocol,
        result,
    } = cell;
    let mut line = format!("{source_node} -> {destination_node}  {protocol}  {reason}");
    if let Some(age) = result.age_seconds {
        let _ = write!(line, ", {} ago", words(age));
    }
    let _ = match result.success_age_seconds {
        Some(age) => write!(line, ", last success {} ago", words(age)),
        None => write!(line, ", never succeeded"),
    };
    Some(line)
}

/// The nodes that are not live, or whose row could not be had.
fn nodes(matrix: &Matrix) -> Vec<String> {
    let mut lines = Vec::new();
    for node in &matrix.nodes {
        let (name, state) = (&node.name, node.state);
        let live = state == NodeState::Live;
        match node.row_error.as_deref().map(one_line) {
            None if live => {}
            None => lines.push(format!("{name}: {state}")),
            Some(error) if live => lines.push(format!("{name}: row not available ({error})")),
            Some(error) if error == state.as_str() => {
                lines.push(format!("{name}: {state}, row not available"));
            }
            Some(error) => lines.push(format!("{name}: {state}, row not available ({error})")),
        }
    }
    lines
}

fn ages(matrix: &Matrix) -> Option<String> {
    let aged = || {
        let aged = matrix.cells.iter();
        aged.filter_map(|cell| cell.result.age_seconds.map(|age| (age, cell)))
    };
    let (newest, _) = aged().min_by(|a, b| a.0.total_cmp(&b.0))?;
    let (oldest, cell) = aged().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let CellReport {
        source_node,
        destination_node,
        protocol,
        ..
    } = cell;
    let (newest, oldest) = (words(newest), words(oldest));
    if newest == oldest {
        return Some(format!("All results are {oldest} old."));
    }
    Some(format!(
        "Results are {newest} to {oldest} old; \
         the oldest: {source_node} -> {destination_node} {protocol}."
    ))
}

/// A time in words, to the second.
fn words(seconds: f64) -> String {
    let duration = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    humantime::format_duration(duration).to_string()
}
