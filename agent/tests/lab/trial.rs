//! A healthy mesh and its sweeps: every cell of each compared with what its link must yield.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::checker;
use super::events::Cell;
use super::goodput::narrowest;
use super::hosts::Lab;
use super::matrix::{all_cells, faults, tcp_goodput};
use super::mesh::{Evidence, Mesh};
use super::udp::UdpCell;
use super::wait_until;

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// `tcp`, `udp`, or both.
    pub(crate) protocols: &'static [&'static str],
    /// The duration of a test.
    pub(crate) seconds: u32,
    /// Bits per second of a UDP test.
    pub(crate) udp_bitrate: u64,
    /// How many sweeps of the assembled mesh.
    pub(crate) sweeps: u64,
    /// How far a TCP cell may be off, a share.
    pub(crate) tolerance: f64,
}

impl Plan {
    /// The least time of a sweep.
    pub(crate) fn bound(&self, lab: &Lab) -> Duration {
        let count = |len: usize| u32::try_from(len).unwrap();
        let test = Duration::from_secs(self.seconds.into());
        checker::bound(count(lab.hosts().len()), count(self.protocols.len()), test)
    }
}

/// What a sweep was like.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// Its number.
    pub(crate) number: u64,
    /// From its first start to its last end.
    pub(crate) took: Duration,
    /// Cells whose figures are not what the links imply, or that have none.
    pub(crate) wrong: Vec<String>,
    /// Tests that failed.
    pub(crate) failed: Vec<String>,
    /// Cells that were not tested exactly once.
    pub(crate) not_once: Vec<String>,
}

impl Sweep {
    /// Everything that is wrong with it but its length.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let all = [&self.wrong, &self.failed, &self.not_once];
        all.into_iter().flatten().map(|text| format!("sweep {}: {text}", self.number)).collect()
    }
}

/// Runs `plan` in `lab`, from the start of the agents to their end.
///
/// # Panics
/// If the agents do not find each other, or a sweep takes several times its bound.
pub(crate) fn run(lab: &Lab, plan: &Plan) -> (Vec<Sweep>, Evidence) {
    let protocol = if plan.protocols.len() == 2 { "both" } else { plan.protocols[0] };
    let (duration, bitrate) = (plan.seconds.to_string(), plan.udp_bitrate.to_string());
    let settings = ["--protocol", protocol, "--duration", &duration, "--udp-bitrate", &bitrate];
    // The pause is when the matrix is read: the tests after it have not yet ended then.
    let mesh = Mesh::start(lab, &[&settings[..], &["--interval", "1s"]].concat());
    assert!(mesh.assembled(Duration::from_secs(30)), "the agents have not found each other");

    // A sweep that began before everybody was there need not have everybody.
    let begun = mesh.tests().iter().map(|test| test.sweep).max().unwrap_or(0);
    let cells = all_cells(lab, plan.protocols);
    let read: Vec<(u64, Vec<String>)> = (begun + 1..=begun + plan.sweeps)
        .map(|number| {
            await_sweep(&mesh, &cells, number, plan.bound(lab));
            (number, wrong_cells(&mesh, lab, &cells, plan))
        })
        .collect();
    let evidence = mesh.finish();
    let sweeps = read.into_iter().map(|(number, wrong)| Sweep {
        number,
        took: checker::span(&evidence.intervals, number).unwrap_or_default(),
        wrong,
        failed: checker::failures(&evidence.intervals, number),
        not_once: checker::not_once(&evidence.intervals, &cells, number),
    });
    (sweeps.collect(), evidence)
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

/// What the matrix, asked of one agent, and the UDP series, asked of each source, have wrong.
fn wrong_cells(mesh: &Mesh<'_>, lab: &Lab, cells: &BTreeSet<Cell>, plan: &Plan) -> Vec<String> {
    let asked = mesh.agents().next().unwrap();
    let matrix = match asked.matrix() {
        Ok(matrix) => matrix,
        Err(error) => return vec![format!("{}: no matrix, {error}", asked.name())],
    };
    let (tcp, udp): (Vec<_>, Vec<_>) = cells.iter().partition(|cell| cell.protocol == "tcp");
    let expected: BTreeMap<Cell, f64> =
        tcp.into_iter().map(|cell| (cell.clone(), tcp_goodput(lab, cell))).collect();
    let mut wrong = faults(&matrix, cells, &expected, plan.tolerance);
    for cell in udp {
        let shape = |name: &str| lab.host(name).shape;
        let link = narrowest(shape(&cell.source), shape(&cell.destination));
        match UdpCell::read(mesh.agent(&cell.source), cell) {
            Ok(found) => {
                let fault = found.fault(link, plan.udp_bitrate as f64, plan.seconds.into());
                wrong.extend(fault.map(|fault| format!("{cell}: {fault}")));
            }
            Err(missing) => wrong.push(missing),
        }
    }
    wrong
}
