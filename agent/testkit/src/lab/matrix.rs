//! Checkers of an agent's matrix, given the links of the hosts.

use std::collections::{BTreeMap, BTreeSet};

use super::goodput::{narrowest, tcp_mbps};
use super::hosts::Lab;
use crate::answers::{CellEntry, Matrix};
use crate::events::Cell;

/// Returns every ordered pair of hosts for each of `protocols`.
pub fn all_cells(lab: &Lab, protocols: &[&str]) -> BTreeSet<Cell> {
    let names = || lab.hosts().iter().map(|host| &host.name);
    names()
        .flat_map(|source| names().map(move |destination| (source, destination)))
        .filter(|(source, destination)| source != destination)
        .flat_map(|(source, destination)| {
            protocols.iter().map(move |&protocol| Cell {
                source: source.clone(),
                destination: destination.clone(),
                protocol: protocol.to_owned(),
            })
        })
        .collect()
}

/// Returns the bandwidth of a TCP cell that its links imply, in megabits per second.
pub(crate) fn tcp_goodput(lab: &Lab, cell: &Cell) -> f64 {
    let shape = |name: &str| lab.host(name).shape;
    tcp_mbps(narrowest(shape(&cell.source), shape(&cell.destination)))
}

/// Returns the deviation of `value` from `expected`, as a share of `expected`.
pub(crate) fn deviation(value: f64, expected: f64) -> f64 {
    (value / expected - 1.0).abs()
}

/// Returns the cells that failed, that are missing, or that do not belong in the matrix.
pub(crate) fn faults(matrix: &Matrix, wanted: &BTreeSet<Cell>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in &matrix.cells {
        let cell = entry.cell();
        if entry.success != Some(true) || entry.bandwidth_mbps.is_none() {
            let (success, reason) = (entry.success, &entry.reason);
            faults.push(format!("{cell}: success {success:?}, reason {reason:?}"));
        }
        if !wanted.contains(&cell) || !seen.insert(cell.clone()) {
            faults.push(format!("{cell}: does not belong there"));
        }
    }
    let missing = wanted.difference(&seen);
    faults.extend(missing.map(|cell| format!("{cell}: is not in the matrix")));
    faults
}

/// Returns the cells whose bandwidth deviates by more than the share `tolerance`. `expected` has
/// the bandwidth in megabits per second; cells that it lacks are ignored.
pub(crate) fn wrong_rates(
    matrix: &Matrix,
    expected: &BTreeMap<Cell, f64>,
    tolerance: f64,
) -> BTreeMap<Cell, String> {
    let judge = |entry: &CellEntry| {
        let (mbps, &expected) = (entry.bandwidth_mbps?, expected.get(&entry.cell())?);
        let (retransmits, rtt) = (entry.retransmits, entry.rtt_ms);
        (deviation(mbps, expected) > tolerance).then(|| {
            format!(
                "{mbps:.2} Mbit/s instead of {expected:.2}, retransmits {retransmits:?}, \
                 RTT {rtt:?} ms"
            )
        })
    };
    matrix
        .cells
        .iter()
        .filter_map(|entry| Some((entry.cell(), judge(entry)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_within_the_tolerance_is_right() {
        assert_eq!(["97.5", "102.5"].map(count_wrong_rates), [0, 0]);
    }

    #[test]
    fn rate_outside_the_tolerance_is_wrong() {
        assert_eq!(["96.5", "103.5"].map(count_wrong_rates), [1, 1]);
    }

    #[test]
    fn every_kind_of_wrong_cell_is_a_fault() {
        let wanted = BTreeSet::from([cell("b")]);
        let good = entry("b", "true", "100");
        assert!(faults(&matrix(&good), &wanted).is_empty());
        for (cells, word) in [
            (entry("b", "true", "null"), "success"),
            (entry("b", "false", "null"), "success"),
            (entry("b", "null", "null"), "success"),
            (String::new(), "is not in the matrix"),
            (format!("{good},{good}"), "does not belong"),
            (
                format!("{good},{}", entry("c", "true", "100")),
                "does not belong",
            ),
        ] {
            let faults = faults(&matrix(&cells), &wanted);
            assert!(
                faults.len() == 1 && faults[0].contains(word),
                "{cells}: {faults:?}"
            );
        }
    }

    fn count_wrong_rates(mbps: &str) -> usize {
        let expected = BTreeMap::from([(cell("b"), 100.0)]);
        wrong_rates(&matrix(&entry("b", "true", mbps)), &expected, 0.03).len()
    }

    fn matrix(cells: &str) -> Matrix {
        let nodes = r#"[{"name":"a","zone":"","state":"live"}]"#;
        Matrix::parse(&format!(r#"{{"nodes":{nodes},"cells":[{cells}]}}"#)).unwrap()
    }

    fn entry(destination: &str, success: &str, mbps: &str) -> String {
        format!(
            r#"{{"source_node":"a","destination_node":"{destination}","protocol":"tcp",
            "success":{success},"bandwidth_mbps":{mbps}}}"#
        )
    }

    fn cell(destination: &str) -> Cell {
        Cell {
            source: "a".into(),
            destination: destination.into(),
            protocol: "tcp".into(),
        }
    }
}
