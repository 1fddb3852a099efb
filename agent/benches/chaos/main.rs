//! Chaos on real processes: for some minutes, a seed decides which agents in network namespaces are
//! killed, frozen, cut off and restarted; then all faults are undone. No node may ever have been in
//! two meetings, nothing may be left over, and the matrix must be full within a sweep. The exit
//! code is 1 if a goal is missed.
//!
//! `cargo bench -p iperf3-mesh --bench chaos -- [--seed N]... [--minutes M]`
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the report is what it is for")]

mod faults;
mod injector;
mod verdict;

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use faults::{QUIET_TIME, plan};
use injector::Injector;
use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::lab::hosts::Lab;
use iperf3_mesh_testkit::lab::matrix::all_cells;
use iperf3_mesh_testkit::lab::mesh::Mesh;
use iperf3_mesh_testkit::lab::privilege::privileged;
use iperf3_mesh_testkit::{boot_ns, checker, processes, wait_until};
use verdict::Run;

/// The rates of the hosts' links, Mbit/s. The number of hosts is even, so that a fault costs other
/// nodes their turn.
const LINKS: [u64; 6] = [50; 6];

/// Short tests and leases (the timeout plus one second), so that a minute has many of them.
const SETTINGS: [&str; 6] = ["--duration", "1s", "--timeout", "4s", "--interval", "1s"];
const DURATION: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(4);

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
        for &seed in &wanted.seeds {
            let goals = run(seed, wanted.length);
            missed.extend(goals.into_iter().map(|goal| format!("seed {seed}: {goal}")));
        }
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

const MINUTE: Duration = Duration::from_secs(60);

/// The parsed arguments.
struct Wanted {
    seeds: Vec<u64>,
    length: Duration,
}

impl Wanted {
    fn read(args: &[String]) -> Result<Self, String> {
        let mut wanted = Self {
            seeds: Vec::new(),
            length: 5 * MINUTE,
        };
        for pair in args.chunks(2) {
            let missing = || format!("{} takes a number", pair[0]);
            let number = pair
                .get(1)
                .and_then(|value| value.parse::<u32>().ok())
                .ok_or_else(missing);
            match pair[0].as_str() {
                "--seed" => wanted.seeds.push(number?.into()),
                "--minutes" => wanted.length = number? * MINUTE,
                other => return Err(format!("{other}: expected --seed N or --minutes M")),
            }
        }
        if wanted.seeds.is_empty() {
            wanted.seeds = vec![1, 2, 3];
        }
        Ok(wanted)
    }
}

/// Runs and reports one seed; returns the missed goals.
fn run(seed: u64, length: Duration) -> Vec<String> {
    let lab = Lab::with_mbps(&LINKS);
    let names: Vec<String> = lab.hosts().iter().map(|host| host.name.clone()).collect();
    let faults = plan(seed, &names, length);
    println!(
        "\nseed {seed}: {} agents, {} planned faults",
        names.len(),
        faults.len()
    );
    for fault in &faults {
        println!("{fault}");
    }
    let mut mesh = Mesh::start(&lab, &SETTINGS);
    assert!(
        mesh.assembled(Duration::from_secs(30)),
        "the agents have not found each other"
    );
    let record = Injector::new(&lab, &mut mesh).run(&faults);
    let run = recover(&lab, mesh, record);
    let missed = run.report(sweep());
    let mut logs = run.evidence.logs;
    if !missed.is_empty() {
        logs.keep();
    }
    missed
}

/// The longest time of a sweep: its lower bound, and the time after which nodes close their open
/// pairs (docs/schedule.md and docs/protocol.md).
fn sweep() -> Duration {
    const MEETINGS_THAT_HANG: u32 = 4;
    let margin = Duration::from_secs(1);
    let nodes = u32::try_from(LINKS.len()).unwrap();
    checker::bound(nodes, 1, DURATION) + MEETINGS_THAT_HANG * (TIMEOUT + margin)
}

/// Gives the healed mesh time to recover, and stops it.
fn recover(lab: &Lab, mesh: Mesh<'_>, mut record: injector::Record) -> Run {
    let healed = boot_ns();
    let settled = healed.max(record.last_start + nanos(QUIET_TIME));
    let until = settled + nanos(sweep());
    let mut lacking = Vec::new();
    for agent in mesh.agents() {
        let left = Duration::from_nanos(until.saturating_sub(boot_ns()));
        if !wait_until(left, || is_fresh(agent, healed)) {
            lacking.push(format!("{} shows {:?}", agent.name, stale(agent, healed)));
        }
    }
    let zombies = mesh.agents().flat_map(zombies).collect();
    for agent in mesh.agents() {
        record.count(agent);
    }
    let cells = all_cells(lab, &["tcp"]);
    Run {
        record,
        healed,
        settled,
        cells,
        lacking,
        zombies,
        evidence: mesh.finish(),
    }
}

/// The cells of an agent's matrix without a success since then.
fn stale(agent: &Agent, since: u64) -> Result<Vec<String>, String> {
    let longest = Duration::from_nanos(boot_ns() - since).as_secs_f64();
    let mut cells = agent.matrix()?.cells;
    cells.retain(|it| it.success != Some(true) || it.age_seconds.is_none_or(|age| age > longest));
    Ok(cells
        .into_iter()
        .map(|it| format!("{}: {:?}", it.cell(), it.reason))
        .collect())
}

fn is_fresh(agent: &Agent, since: u64) -> bool {
    let pairs = LINKS.len() * (LINKS.len() - 1);
    agent
        .matrix()
        .is_ok_and(|matrix| matrix.cells.len() == pairs)
        && stale(agent, since).is_ok_and(|cells| cells.is_empty())
}

/// The children of an agent that it has not reaped two seconds after their death.
fn zombies(agent: &Agent) -> Vec<String> {
    let mut dead = processes::zombies(agent.program.pid());
    wait_until(Duration::from_secs(2), || {
        let now = processes::zombies(agent.program.pid());
        dead.retain(|pid| now.contains(pid));
        dead.is_empty()
    });
    dead.into_iter()
        .map(|pid| format!("{}: {pid}", agent.name))
        .collect()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}
