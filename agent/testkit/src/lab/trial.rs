//! A trial: a healthy mesh runs some sweeps, and every cell of each sweep is compared with what its
//! link implies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::goodput::narrowest;
use super::hosts::Lab;
use super::matrix::{all_cells, faults, tcp_goodput, wrong_rates};
use super::mesh::{Evidence, Mesh};
use super::udp::UdpCell;
use crate::checker;
use crate::events::Cell;
use crate::wait_until;

/// The settings of a trial.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The protocols to test: `tcp`, `udp`, or both.
    pub protocols: &'static [&'static str],
    /// The duration of a test.
    pub seconds: u32,
    /// The bitrate of a UDP test, in bits per second.
    pub udp_bitrate: u64,
    /// The number of sweeps of the assembled mesh.
    pub sweeps: u64,
    /// The maximum number of further sweeps, which run while some cell is [`never_right`].
    pub spare_sweeps: u64,
    /// The maximum deviation of a TCP cell, as a share.
    pub tolerance: f64,
}

impl Plan {
    /// Returns the lower bound of a sweep.
    pub fn bound(&self, lab: &Lab) -> Duration {
        let count = |len: usize| u32::try_from(len).unwrap();
        let test = Duration::from_secs(self.seconds.into());
        checker::bound(count(lab.hosts().len()), count(self.protocols.len()), test)
    }

    /// Returns the arguments of the agents.
    fn args(&self) -> Vec<String> {
        let protocol = match self.protocols {
            [protocol] => protocol,
            _ => "both",
        };
        // The matrix is read in the pause, before the tests of the next sweep end.
        vec![
            format!("--protocol={protocol}"),
            format!("--duration={}", self.seconds),
            format!("--udp-bitrate={}", self.udp_bitrate),
            "--interval=1s".to_owned(),
        ]
    }
}

/// One sweep of a trial.
#[derive(Debug, Default)]
pub struct Sweep {
    /// The number of the sweep.
    pub number: u64,
    /// The time from the first start in the sweep to the last end.
    pub took: Duration,
    /// Cells of the matrix that failed, that are missing, or that do not belong there.
    pub wrong: Vec<String>,
    /// The cells with figures that the links do not imply, and the deviation of each.
    pub off: BTreeMap<Cell, String>,
    /// The tests that failed.
    pub failed: Vec<String>,
    /// Cells that were not tested exactly once.
    pub not_once: Vec<String>,
}

impl Sweep {
    /// Returns all faults of the sweep except those of its figures and its duration.
    pub fn faults(&self) -> Vec<String> {
        [&self.wrong, &self.failed, &self.not_once]
            .into_iter()
            .flatten()
            .map(|text| format!("sweep {}: {text}", self.number))
            .collect()
    }

    /// Returns the faults of the sweep's figures.
    pub fn errors(&self) -> Vec<String> {
        self.off
            .iter()
            .map(|(cell, how)| format!("sweep {}: {cell}: {how}", self.number))
            .collect()
    }
}

/// Returns the cells whose figures were wrong in every even sweep or in every odd one. The asker of
/// a pair changes from sweep to sweep, and the node that runs the client changes with it.
///
/// A virtual machine whose host takes its processors away for a tenth of a second spoils a test of
/// two seconds, but not a test of the same cell every time.
pub fn never_right(sweeps: &[Sweep]) -> Vec<String> {
    let alike = |parity: u64| {
        sweeps
            .iter()
            .filter(move |sweep| sweep.number % 2 == parity)
    };
    let never = |parity: u64| {
        let last = alike(parity).next_back().into_iter();
        last.flat_map(|sweep| &sweep.off)
            .filter(move |(cell, _)| alike(parity).all(|sweep| sweep.off.contains_key(cell)))
    };
    [0, 1]
        .into_iter()
        .flat_map(never)
        .map(|(cell, how)| format!("never right: {cell}: {how}"))
        .collect()
}

/// Runs `plan` in `lab`, from the start of the agents to their end.
///
/// # Panics
/// If the agents do not find each other or do not answer, or a sweep takes several times its lower
/// bound.
pub fn run(lab: &Lab, plan: &Plan) -> (Vec<Sweep>, Evidence) {
    let args = plan.args();
    let mesh = Mesh::start(lab, &args.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(
        mesh.assembled(Duration::from_secs(30)),
        "the agents have not found each other"
    );
    // A sweep that began before the mesh was assembled may lack some nodes.
    let begun = mesh.tests().iter().map(|test| test.sweep).max();
    let begun = begun.unwrap_or(0);
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

/// Waits until all cells of the sweep have a result, or the next sweep has begun.
fn await_sweep(mesh: &Mesh<'_>, cells: &BTreeSet<Cell>, number: u64, bound: Duration) {
    let limit = bound * 4 + Duration::from_secs(60);
    let over = wait_until(limit, || {
        let tests = mesh.tests();
        checker::finished(&tests, number) == *cells || tests.iter().any(|test| test.sweep > number)
    });
    assert!(over, "sweep {number} is not over after {limit:?}");
}

/// Returns the sweep without those facts that only the events show. TCP figures come from the
/// matrix of one agent, UDP figures from the series of each source.
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
    let mut off = wrong_rates(&matrix, &expected, plan.tolerance);
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

    #[test]
    fn cell_wrong_in_some_sweeps_of_each_parity_is_no_fault() {
        assert!(judged([&["a"], &["b"], &["b"], &["a"]]).is_empty());
        assert!(judged([&["a"], &[], &[], &["a"]]).is_empty());
    }

    #[test]
    fn cell_wrong_in_all_sweeps_of_one_parity_is_never_right() {
        let odd = judged([&["a", "b"], &["c"], &["b", "c"], &[]]);
        assert_eq!(odd, ["never right: b -> z tcp: slow"]);
        let even = judged([&[], &["a"], &[], &["a"]]);
        assert_eq!(even, ["never right: a -> z tcp: slow"]);
    }

    /// Returns the verdict on four sweeps, each given by the sources of its wrong cells.
    fn judged(wrong: [&[&str]; 4]) -> Vec<String> {
        let sweeps: Vec<Sweep> = (1..)
            .zip(wrong)
            .map(|(number, sources)| Sweep {
                number,
                off: sources.iter().map(|source| off(source)).collect(),
                ..Sweep::default()
            })
            .collect();
        never_right(&sweeps)
    }

    fn off(source: &str) -> (Cell, String) {
        let cell = Cell {
            source: source.into(),
            destination: "z".into(),
            protocol: "tcp".into(),
        };
        (cell, "slow".to_owned())
    }
}
