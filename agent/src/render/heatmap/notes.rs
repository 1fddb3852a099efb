//! The notes below the tables: failed cells with their reasons, missing rows, the age of the
//! results.
//!
//! A node that no peer can reach takes a single line instead of one line per peer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use iperf3_mesh_core::{NodeName, Reason};

use crate::api::{CellReport, Matrix, NodeState};
use crate::text::excerpt;

/// The maximum number of lines of one kind. `-o table` shows everything.
const LINES_MAX: usize = 20;
/// The maximum length of an excerpt from a text that another agent sent.
const TEXT_MAX: usize = 200;
/// The maximum length of a version of iperf3.
const VERSION_MAX: usize = 16;

pub(super) fn write(matrix: &Matrix, width: Option<usize>, out: &mut String) {
    write_lines("Failed", &failures(matrix), width, out);
    write_lines("Nodes", &nodes(matrix), width, out);
    if let Some(versions) = iperf3_versions(matrix) {
        let _ = writeln!(out, "{}", wrapped(&versions, width, ""));
    }
    if let Some(ages) = ages(matrix) {
        let _ = writeln!(out, "{}", wrapped(&ages, width, ""));
    }
    if matrix.insecure {
        let line =
            "No key (--insecure): everybody who reaches the ports of this agent can steer it.";
        let _ = writeln!(out, "{}", wrapped(line, width, ""));
    }
    if let Some(sweep) = &matrix.sweep {
        let _ = writeln!(
            out,
            "Sweep {}: {:.1} s (lower bound {:.1} s), {} tests, {} failed.",
            sweep.number, sweep.seconds, sweep.bound_seconds, sweep.tests, sweep.failed
        );
    }
}

/// Wraps `line` to `width`. All lines but the first are indented by `indent` and two more spaces. A
/// word that is too long for a line, such as a name, is not split.
pub(super) fn wrapped(line: &str, width: Option<usize>, indent: &str) -> String {
    let Some(width) = width else {
        return format!("{indent}{line}");
    };
    let next = format!("{indent}  ");
    let options = textwrap::Options::new(width)
        .initial_indent(indent)
        .subsequent_indent(&next)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .word_separator(textwrap::WordSeparator::AsciiSpace);
    textwrap::fill(line, options)
}

fn write_lines(title: &str, lines: &[String], width: Option<usize>, out: &mut String) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "{title}:");
    for line in lines.iter().take(LINES_MAX) {
        let _ = writeln!(out, "{}", wrapped(line, width, "  "));
    }
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        let _ = writeln!(out, "  … and {more} more; `-o table` shows all");
    }
    out.push('\n');
}

/// Returns the notes about failed cells: first the nodes to which all tests fail for the same
/// reason, then the nodes from which all tests fail for the same reason, then single cells.
fn failures(matrix: &Matrix) -> Vec<String> {
    let mut lines = Vec::new();
    let protocols: BTreeSet<_> = matrix.cells.iter().map(|cell| cell.protocol).collect();
    for protocol in protocols {
        let mut cells: Vec<_> = matrix
            .cells
            .iter()
            .filter(|cell| cell.protocol == protocol && cell.result.success.is_some())
            .collect();
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

/// Returns the reason of all `cells`, if all of them failed for the same reason.
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
        let _ = write!(line, ", {} ago", format_age(age));
    }
    let _ = match result.success_age_seconds {
        Some(age) => write!(line, ", last success {} ago", format_age(age)),
        None => write!(line, ", never succeeded"),
    };
    Some(line)
}

/// Returns the notes about nodes that are not live or that have a missing row.
fn nodes(matrix: &Matrix) -> Vec<String> {
    let mut lines = Vec::new();
    for node in &matrix.nodes {
        let (name, state) = (&node.name, node.state);
        let live = state == NodeState::Live;
        // The text of this error comes from another agent.
        let row_error = node.row_error.as_deref();
        match row_error.map(|error| excerpt(error, TEXT_MAX)) {
            None if live => {}
            None => lines.push(format!("{name}: {state}")),
            Some(error) if live => lines.push(format!("{name}: row missing ({error})")),
            Some(error) if error == state.as_str() => {
                lines.push(format!("{name}: {state}, row missing"));
            }
            Some(error) => lines.push(format!("{name}: {state}, row missing ({error})")),
        }
    }
    lines
}

/// Returns a note if the nodes have different versions of iperf3.
fn iperf3_versions(matrix: &Matrix) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for version in matrix
        .nodes
        .iter()
        .filter_map(|node| node.iperf3.as_deref())
    {
        *counts.entry(excerpt(version, VERSION_MAX)).or_default() += 1;
    }
    let versions: Vec<_> = counts
        .iter()
        .take(LINES_MAX)
        .map(|(version, count)| format!("{version} on {count} of {}", matrix.nodes.len()))
        .collect();
    (versions.len() > 1).then(|| format!("Versions of iperf3: {}.", versions.join(", ")))
}

fn ages(matrix: &Matrix) -> Option<String> {
    let aged = || {
        matrix
            .cells
            .iter()
            .filter_map(|cell| cell.result.age_seconds.map(|age| (age, cell)))
    };
    let (newest, _) = aged().min_by(|a, b| a.0.total_cmp(&b.0))?;
    let (oldest, cell) = aged().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let CellReport {
        source_node,
        destination_node,
        protocol,
        ..
    } = cell;
    let (newest, oldest) = (format_age(newest), format_age(oldest));
    if newest == oldest {
        return Some(format!("All results are {oldest} old."));
    }
    Some(format!(
        "Results are {newest} to {oldest} old. \
         Oldest: {source_node} -> {destination_node} {protocol}."
    ))
}

/// Formats an age in words, with a precision of one second.
fn format_age(seconds: f64) -> String {
    let duration = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    humantime::format_duration(duration).to_string()
}
