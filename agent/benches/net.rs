//! The mesh against the lower bound of a sweep: agents in network namespaces, every sweep timed and
//! every cell compared with what its link implies. For comparison, the same laboratory measures
//! without the mesh too (see [`baseline`]). The exit code is 1 if a goal is missed.
//!
//! `cargo bench -p iperf3-mesh --bench net -- [--only PART]... [--sweeps N] [--skip-baselines]`.
//! A part is `8`, `7`, `9` (that many agents, TCP) or `both` (five agents, TCP and UDP, one
//! link too narrow for the UDP bitrate).
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the report is what it is for")]

use std::env;
use std::process::ExitCode;

use iperf3_mesh_testkit::lab::baseline::{self, Baseline};
use iperf3_mesh_testkit::lab::hosts::Lab;
use iperf3_mesh_testkit::lab::mesh::Evidence;
use iperf3_mesh_testkit::lab::privilege::privileged;
use iperf3_mesh_testkit::lab::trial::{self, Plan};

/// The largest ratio of the duration of a sweep to its lower bound.
const RATIO_MAX: f64 = 1.05;

/// One laboratory and its settings.
struct Part {
    name: &'static str,
    /// The rates of the hosts' links.
    mbps: &'static [u64],
    protocols: &'static [&'static str],
    /// Whether the baselines run too.
    with_baselines: bool,
}

const PARTS: [Part; 4] = [
    Part {
        name: "8",
        mbps: &[100, 100, 100, 100, 100, 100, 100, 20],
        protocols: &["tcp"],
        with_baselines: true,
    },
    Part {
        name: "7",
        mbps: &[100, 100, 100, 100, 100, 100, 20],
        protocols: &["tcp"],
        with_baselines: false,
    },
    Part {
        name: "9",
        mbps: &[100, 100, 100, 100, 100, 100, 100, 100, 20],
        protocols: &["tcp"],
        with_baselines: false,
    },
    Part {
        name: "both",
        mbps: &[100, 100, 100, 100, 20],
        protocols: &["tcp", "udp"],
        with_baselines: false,
    },
];

const PLAN: Plan = Plan {
    protocols: &["tcp"],
    seconds: 2,
    // Fits a link of 100 Mbit/s, but not one of 20.
    udp_bitrate: 24_000_000,
    sweeps: 3,
    spare_sweeps: 0,
    tolerance: 0.03,
};

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let wanted = match Wanted::read(&args) {
        Ok(wanted) => wanted,
        Err(message) => {
            println!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut missed = Vec::new();
    privileged(&args.iter().map(String::as_str).collect::<Vec<_>>(), || {
        missed = report(&wanted);
    });
    for goal in &missed {
        println!("MISSED  {goal}");
    }
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The parsed arguments.
struct Wanted {
    parts: Vec<&'static Part>,
    sweeps: u64,
    baselines: bool,
}

impl Wanted {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut wanted = Self {
            parts: Vec::new(),
            sweeps: PLAN.sweeps,
            baselines: true,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().map(String::as_str).unwrap_or_default();
            match arg.as_str() {
                "--only" => wanted.parts.push(part(value())?),
                "--sweeps" => {
                    wanted.sweeps = value().parse().map_err(|_| "--sweeps takes a number")?;
                }
                "--skip-baselines" => wanted.baselines = false,
                _ => {
                    return Err(format!(
                        "{arg}: expected --only PART, --sweeps N or --skip-baselines"
                    ));
                }
            }
        }
        if wanted.parts.is_empty() {
            wanted.parts = PARTS.iter().collect();
        }
        Ok(wanted)
    }
}

fn part(name: &str) -> Result<&'static Part, String> {
    let names = || PARTS.map(|part| part.name).join(", ");
    PARTS
        .iter()
        .find(|part| part.name == name)
        .ok_or_else(|| format!("--only {name}: expected one of {}", names()))
}

/// Runs and reports the parts; returns the missed goals.
fn report(wanted: &Wanted) -> Vec<String> {
    let mut missed = Vec::new();
    for part in &wanted.parts {
        let lab = Lab::with_mbps(part.mbps);
        println!(
            "\n{} agents, {}, links of {:?} Mbit/s",
            part.mbps.len(),
            part.protocols.join(" and "),
            part.mbps
        );
        println!("                 tests   wrong  failed  not once  seconds   bound   ratio");
        let plan = Plan {
            protocols: part.protocols,
            sweeps: wanted.sweeps,
            ..PLAN
        };
        missed.extend(
            mesh(&lab, &plan)
                .into_iter()
                .map(|goal| format!("{}: {goal}", part.name)),
        );
        if part.with_baselines && wanted.baselines {
            print_baseline("serial", &baseline::serial(&lab, PLAN.seconds));
            print_baseline(
                "uncoordinated",
                &baseline::uncoordinated(&lab, PLAN.seconds),
            );
        }
    }
    missed
}

fn mesh(lab: &Lab, plan: &Plan) -> Vec<String> {
    let (sweeps, mut evidence) = trial::run(lab, plan);
    let bound = plan.bound(lab).as_secs_f64();
    let tests = lab.hosts().len() * (lab.hosts().len() - 1) * plan.protocols.len();
    let mut missed: Vec<String> = sweeps
        .iter()
        .flat_map(|sweep| [sweep.faults(), sweep.errors()].concat())
        .collect();
    for sweep in &sweeps {
        let (wrong, failed, not_once) = (
            sweep.wrong.len() + sweep.off.len(),
            sweep.failed.len(),
            sweep.not_once.len(),
        );
        let seconds = sweep.took.as_secs_f64();
        let ratio = seconds / bound;
        let name = format!("mesh, sweep {}", sweep.number);
        println!(
            "{name:15} {tests:6} {wrong:7} {failed:7} {not_once:9} {seconds:8.2} {bound:7.1} {ratio:7.3}"
        );
        if ratio > RATIO_MAX {
            missed.push(format!(
                "sweep {}: {ratio:.3} times its lower bound",
                sweep.number
            ));
        }
    }
    print_evidence(&evidence);
    missed.extend(evidence.violations());
    if !missed.is_empty() {
        evidence.logs.keep();
    }
    missed
}

fn print_evidence(evidence: &Evidence) {
    println!(
        "{:15} {} by the events of {} tests, {} by {} samples; {} leftovers, {} other faults",
        "overlaps",
        evidence.overlaps.len(),
        evidence.intervals.len(),
        evidence.sampled_overlaps.len(),
        evidence.instants,
        evidence.leftovers.len(),
        evidence.faults.len(),
    );
}

fn print_baseline(name: &str, sum: &Baseline) {
    let Baseline {
        tests,
        failed,
        off_3,
        off_10,
        seconds,
    } = sum;
    println!(
        "{name:15} {tests:6} {off_3:7} {failed:7} {:>9} {seconds:8.2}   ({off_10} off by more than 10 %)",
        ""
    );
}
