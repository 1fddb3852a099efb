//! A healthy mesh and its sweeps: every cell of each compared with what its link must yield.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::goodput::narrowest;
use super::hosts::Lab;
use super::matrix::{all_cells, faults, off_rates, tcp_goodput};
use super::mesh::{Evidence, Mesh};
use super::udp::UdpCell;
use crate::checker;
use crate::events::Cell;
use crate::wait_until;

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// `tcp`, `udp`, or both.
    pub protocols: &'static [&'static str],
    /// The duration of a test.
    pub seconds: u32,
    /// Bits per second of a UDP test.
    pub udp_bitrate: u64,
    /// How many sweeps of the assembled mesh.
    pub sweeps: u64,
    /// How many more at most, as long as some cell is [`never_right`].
    pub spare_sweeps: u64,
    /// How far a TCP cell may be off, a share.
    pub tolerance: f64,
}

impl Plan {
    /// The least time of a sweep.
    pub fn bound(&self, lab: &Lab) -> Duration {
        let count = |len: usize| u32::try_from(len).unwrap();
        let test = Duration::from_secs(self.seconds.into());
        checker::bound(count(lab.hosts().len()), count(self.protocols.len()), test)
    }
}

/// What a sweep was like.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Its number.
    pub number: u64,
    /// From its first start to its last end.
    pub took: Duration,
    /// Cells of the matrix that failed, are missing, or do not belong there.
    pub wrong: Vec<String>,
    /// Cells whose figures are not what the links imply, and how not.
    pub off: BTreeMap<Cell, String>,
    /// Tests that failed.
    pub failed: Vec<String>,
    /// Cells that were not tested exactly once.
    pub not_once: Vec<String>,
}

impl Sweep {
    /// What is wrong with it, but for its length and its figures.
    pub fn faults(&self) -> Vec<String> {
        let all = [&self.wrong, &self.failed, &self.not_once]
            .into_iter()
            .flatten();
        all.map(|text| format!("sweep {}: {text}", self.number))
            .collect()
    }

    /// What is wrong with its figures.
    pub fn errors(&self) -> Vec<String> {
        let all = self.off.iter();
        all.map(|(cell, how)| format!("sweep {}: {cell}: {how}", self.number))
            .collect()
    }
}

/// The cells whose figures were right in no sweep, or in none in which the same of the two nodes
/// asked: that changes from sweep to sweep, and with it who measures at which end.
///
/// A virtual machine whose host takes its processors away for a tenth of a second spoils a test of
/// two seconds, but not that of the same cell every time.
pub fn never_right(sweeps: &[Sweep]) -> Vec<String> {
    let alike = |odd: u64| sweeps.iter().filter(move |sweep| sweep.number % 2 == odd);
    let never = |odd: u64| {
        let last = alike(odd).next_back().into_iter();
        let off = last.flat_map(|sweep| &sweep.off);
        off.filter(move |(cell, _)| alike(odd).all(|sweep| sweep.off.contains_key(cell)))
    };
    let cells = [0, 1].into_iter().flat_map(never);
    cells
        .map(|(cell, how)| format!("never right: {cell}: {how}"))
        .collect()
}

/// Processes `plan` in `lab`, from the start of the agents to their end.
///
/// # Panics
/// If the agents do not find each other or do not answer, or a sweep takes several times its bound.
pub fn run(lab: &Lab, plan: &Plan) -> (Vec<Sweep>, Evidence) {
    let protocol = if plan.protocols.len() == 2 {
        "both"
    } else {
        plan.protocols[0]
    };
    let (duration, bitrate) = (plan.seconds.to_string(), plan.udp_bitrate.to_string());
    let settings = [
        "--protocol",
        protocol,
        "--duration",
        &duration,
        "--udp-bitrate",
        &bitrate,
    ];
    // The pause is when the matrix is read: the tests after it have not yet ended then.
    let mesh = Mesh::start(lab, &[&settings[..], &["--interval", "1s"]].concat());
    assert!(
        mesh.assembled(Duration::from_secs(30)),
        "the agents have not found each other"
    );

    // A sweep that began before everybody was there need not have everybody.
    let begun = mesh
        .tests()
        .iter()
        .map(|test| test.sweep)
        .max()
        .unwrap_or(0);
    let cells = all_cells(lab, plan.protocols);
    let mut sweeps: Vec<Sweep> = Vec::new();
    for count in 0..plan.sweeps + plan.spare_sweeps {
        if count >= plan.sweeps && never_right(&sweeps).is_empty() {
            break;
        }
        let number = begun + 1 + count;
        await_sweep(&mesh, &cells, number, plan.bound(lab));
        sweeps.push(figures(&mesh, lab, &cells, number, plan));
    }
    let evidence = mesh.finish();
    for sweep in &mut sweeps {
        sweep.took = checker::span(&evidence.intervals, sweep.number).unwrap_or_default();
        sweep.failed = checker::failures(&evidence.intervals, sweep.number);
        sweep.not_once = checker::not_once(&evidence.intervals, &cells, sweep.number);
    }
    (sweeps, evidence)
}

/// Waits until the sweep is over: all its cells have a result, or the next one has begun.
fn await_sweep(mesh: &Mesh<'_>, cells: &BTreeSet<Cell>, number: u64, bound: Duration) {
    let limit = bound * 4 + Duration::from_secs(60);
    let over = wait_until(limit, || {
        let tests = mesh.tests();
        checker::finished(&tests, number) == *cells || tests.iter().any(|test| test.sweep > number)
    });
    assert!(over, "sweep {number} is not over after {limit:?}");
}

/// The sweep as far as its figures show it: TCP in the matrix, UDP in the series of each source.
fn figures(mesh: &Mesh<'_>, lab: &Lab, cells: &BTreeSet<Cell>, number: u64, plan: &Plan) -> Sweep {
    let matrix = mesh.agents().next().unwrap().matrix().unwrap();
    let (tcp, udp): (Vec<_>, Vec<_>) = cells
        .iter()
        .cloned()
        .partition(|cell| cell.protocol == "tcp");
    let expected = tcp
        .into_iter()
        .map(|cell| (cell.clone(), tcp_goodput(lab, &cell)))
        .collect();
    let mut off = off_rates(&matrix, &expected, plan.tolerance);
    let mut wrong = faults(&matrix, cells);
    for cell in udp {
        let shape = |name: &str| lab.host(name).shape;
        let link = narrowest(shape(&cell.source), shape(&cell.destination));
        match UdpCell::read(mesh.agent(&cell.source), &cell) {
            Ok(found) => {
                let fault = found.fault(link, plan.udp_bitrate as f64, plan.seconds.into());
                off.extend(fault.map(|fault| (cell, fault)));
            }
            Err(missing) => wrong.push(missing),
        }
    }
    Sweep {
        number,
        wrong,
        off,
        ..Sweep::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(source: &str) -> Cell {
        Cell {
            source: source.into(),
            destination: "z".into(),
            protocol: "tcp".into(),
        }
    }

    fn sweep(number: u64, off: &[&str]) -> Sweep {
        let off = off
            .iter()
            .map(|source| (cell(source), "slow".to_owned()))
            .collect();
        Sweep {
            number,
            off,
            ..Sweep::default()
        }
    }

    #[test]
    fn a_cell_must_be_right_once_whoever_asks() {
        let all = |offs: [&[&str]; 4]| {
            let sweeps: Vec<Sweep> = (1..).zip(offs).map(|(at, off)| sweep(at, off)).collect();
            never_right(&sweeps)
        };
        assert!(all([&["a"], &["b"], &["b"], &["a"]]).is_empty());
        assert!(all([&["a"], &[], &[], &["a"]]).is_empty());
        assert_eq!(
            all([&["a", "b"], &["c"], &["b", "c"], &[]]),
            ["never right: b -> z tcp: slow"]
        );
        assert_eq!(
            all([&[], &["a"], &[], &["a"]]),
            ["never right: a -> z tcp: slow"]
        );
    }
}
