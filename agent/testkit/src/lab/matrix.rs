//! What is wrong with the matrix that an agent answers with, given the links.

use std::collections::{BTreeMap, BTreeSet};

use super::goodput::{narrowest, tcp_mbps};
use super::hosts::Lab;
use crate::answers::CellEntry;
pub use crate::answers::Matrix;
use crate::events::Cell;

/// Every ordered pair of the laboratory's hosts and each of `protocols`.
pub fn all_cells(lab: &Lab, protocols: &[&str]) -> BTreeSet<Cell> {
    let names = || lab.hosts().iter().map(|host| &host.name);
    let pairs = names().flat_map(|source| names().map(move |destination| (source, destination)));
    let pairs = pairs.filter(|(source, destination)| source != destination);
    let cells = pairs.flat_map(|(source, destination)| {
        protocols.iter().map(move |&protocol| Cell {
            source: source.clone(),
            destination: destination.clone(),
            protocol: protocol.to_owned(),
        })
    });
    cells.collect()
}

/// The bandwidth that the links leave a TCP cell, megabits per second.
pub fn tcp_goodput(lab: &Lab, cell: &Cell) -> f64 {
    let shape = |name: &str| lab.host(name).shape;
    tcp_mbps(narrowest(shape(&cell.source), shape(&cell.destination)))
}

/// How far `value` is from `expected`, as a share of it.
pub fn off(value: f64, expected: f64) -> f64 {
    (value / expected - 1.0).abs()
}

/// What is wrong with the cells themselves: a test that failed, a cell too many, one that is
/// missing.
pub fn faults(matrix: &Matrix, wanted: &BTreeSet<Cell>) -> Vec<String> {
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
    faults.extend(
        wanted
            .difference(&seen)
            .map(|cell| format!("{cell}: is not in the matrix")),
    );
    faults
}

/// The cells whose bandwidth is off by more than `tolerance`, a share; `expected` says what it must
/// be, megabits per second, for each cell that it knows.
pub fn off_rates(
    matrix: &Matrix,
    expected: &BTreeMap<Cell, f64>,
    tolerance: f64,
) -> BTreeMap<Cell, String> {
    let judge = |entry: &CellEntry| {
        let (mbps, &right) = (entry.bandwidth_mbps?, expected.get(&entry.cell())?);
        let (retransmits, rtt) = (entry.retransmits, entry.rtt_ms);
        (off(mbps, right) > tolerance).then(|| {
            format!("{mbps:.2} Mbit/s instead of {right:.2}, retransmits {retransmits:?}, RTT {rtt:?} ms")
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

    fn matrix(cells: &str) -> Matrix {
        let nodes =
            r#"[{"name":"a","zone":"","state":"live","row_age_seconds":1,"row_error":null}]"#;
        Matrix::parse(&format!(
            r#"{{"version":1,"nodes":{nodes},"cells":[{cells}]}}"#
        ))
        .unwrap()
    }

    fn entry(destination: &str, success: &str, mbps: &str) -> String {
        format!(
            r#"{{"source_node":"a","destination_node":"{destination}","protocol":"tcp","success":{success},
            "reason":null,"bandwidth_mbps":{mbps},"jitter_ms":null,"loss_ratio":null}}"#
        )
    }

    fn cell(destination: &str) -> Cell {
        Cell {
            source: "a".into(),
            destination: destination.into(),
            protocol: "tcp".into(),
        }
    }

    fn off_rates_of(mbps: &str) -> usize {
        let expected = BTreeMap::from([(cell("b"), 100.0)]);
        off_rates(&matrix(&entry("b", "true", mbps)), &expected, 0.03).len()
    }

    #[test]
    fn a_rate_within_the_tolerance_is_right() {
        assert_eq!(["97.5", "102.5"].map(off_rates_of), [0, 0]);
        assert_eq!(["96.5", "103.5"].map(off_rates_of), [1, 1]);
    }

    #[test]
    fn every_kind_of_wrong_cell_is_found() {
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
}
