//! What is wrong with the matrix that an agent answers with, given the links.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use super::answers::Matrix;
use super::events::Cell;
use super::goodput::{narrowest, tcp_mbps};
use super::hosts::Lab;

/// Every ordered pair of the laboratory's hosts and each of `protocols`.
pub(crate) fn all_cells(lab: &Lab, protocols: &[&str]) -> BTreeSet<Cell> {
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
pub(crate) fn tcp_goodput(lab: &Lab, cell: &Cell) -> f64 {
    let shape = |name: &str| lab.host(name).shape;
    tcp_mbps(narrowest(shape(&cell.source), shape(&cell.destination)))
}

/// How far `value` is from `expected`, as a share of it.
pub(crate) fn off(value: f64, expected: f64) -> f64 {
    (value / expected - 1.0).abs()
}

/// What of the cells is not as it must be. The bandwidth may be off by `tolerance`, a share; `expected` says what
/// it must be, megabits per second, for each cell that it knows.
pub(crate) fn faults(
    matrix: &Matrix,
    wanted: &BTreeSet<Cell>,
    expected: &BTreeMap<Cell, f64>,
    tolerance: f64,
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in &matrix.cells {
        let cell = entry.cell();
        let fault = match (entry.success, entry.bandwidth_mbps, expected.get(&cell)) {
            (Some(true), Some(mbps), Some(&right)) if off(mbps, right) > tolerance => {
                let (retransmits, rtt) = (entry.retransmits, entry.rtt_ms);
                Some(format!(
                    "{mbps:.2} Mbit/s instead of {right:.2}, retransmits {retransmits:?}, RTT {rtt:?} ms"
                ))
            }
            (Some(true), Some(_), _) => None,
            _ => Some(format!("success {:?}, reason {:?}", entry.success, entry.reason)),
        };
        faults.extend(fault.map(|fault| format!("{cell}: {fault}")));
        if !wanted.contains(&cell) || !seen.insert(cell.clone()) {
            faults.push(format!("{cell}: does not belong there"));
        }
    }
    faults.extend(wanted.difference(&seen).map(|cell| format!("{cell}: is not in the matrix")));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(cells: &str) -> Matrix {
        let nodes =
            r#"[{"name":"a","zone":"","state":"live","row_age_seconds":1,"row_error":null}]"#;
        Matrix::parse(&format!(r#"{{"version":1,"nodes":{nodes},"cells":[{cells}]}}"#)).unwrap()
    }

    fn entry(destination: &str, success: &str, mbps: &str) -> String {
        format!(
            r#"{{"source_node":"a","destination_node":"{destination}","protocol":"tcp","success":{success},
            "reason":null,"bandwidth_mbps":{mbps},"jitter_ms":null,"loss_ratio":null}}"#
        )
    }

    fn judge(cells: &str) -> Vec<String> {
        let cell = |destination: &str| Cell {
            source: "a".into(),
            destination: destination.into(),
            protocol: "tcp".into(),
        };
        let wanted = BTreeSet::from([cell("b")]);
        faults(&matrix(cells), &wanted, &BTreeMap::from([(cell("b"), 100.0)]), 0.03)
    }

    #[test]
    fn a_cell_within_the_tolerance_is_right() {
        assert!(judge(&entry("b", "true", "97.5")).is_empty());
        assert!(judge(&entry("b", "true", "102.5")).is_empty());
    }

    #[test]
    fn every_kind_of_wrong_cell_is_found() {
        for (cells, word) in [
            (entry("b", "true", "96.5"), "instead of"),
            (entry("b", "true", "103.5"), "instead of"),
            (entry("b", "true", "null"), "success"),
            (entry("b", "false", "null"), "success"),
            (entry("b", "null", "null"), "success"),
            (String::new(), "is not in the matrix"),
            (format!("{0},{0}", entry("b", "true", "100")), "does not belong"),
            (
                format!("{},{}", entry("b", "true", "100"), entry("c", "true", "100")),
                "does not belong",
            ),
        ] {
            let faults = judge(&cells);
            assert!(faults.len() == 1 && faults[0].contains(word), "{cells}: {faults:?}");
        }
    }
}
