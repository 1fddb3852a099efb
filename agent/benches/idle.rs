//! The cost of an agent between two sweeps: CPU time, memory, the time of a scrape, the size of the
//! program. Exits with 1 if CPU time or memory exceeds its limit.
//!
//! `cargo bench -p iperf3-mesh --bench idle`
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the report goes to stdout")]

use std::fs;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::lab::hosts::Lab;
use iperf3_mesh_testkit::lab::mesh::Mesh;
use iperf3_mesh_testkit::lab::privilege::privileged;
use iperf3_mesh_testkit::processes::{cpu_time, resident_memory};
use iperf3_mesh_testkit::{executable, wait_until};

/// How long the idle agents are measured.
const MEASURED_FOR: Duration = Duration::from_secs(60);

/// The highest share of a core, and the most memory, that an idle agent may use.
const CORE_SHARE_MAX: f64 = 0.005;
const MEMORY_MAX_MB: f64 = 20.0;

fn main() -> ExitCode {
    let mut is_cheap = false;
    privileged(&[], || is_cheap = measure());
    if is_cheap {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn measure() -> bool {
    let lab = Lab::with_mbps(&[100; 8]);
    let mesh = Mesh::start(&lab, &["--duration", "1s", "--interval", "300s"]);
    assert!(wait_until(Duration::from_secs(90), || mesh
        .agents()
        .all(is_between_sweeps)));

    let before: Vec<f64> = mesh.agents().map(cpu_seconds).collect();
    thread::sleep(MEASURED_FOR);
    let shares: Vec<f64> = mesh
        .agents()
        .zip(before)
        .map(|(agent, before)| (cpu_seconds(agent) - before) / MEASURED_FOR.as_secs_f64())
        .collect();
    let memory: Vec<f64> = mesh.agents().map(memory_mb).collect();
    let agent = mesh.agents().next().unwrap();
    let scrapes: Vec<f64> = (0..20).map(|_| scrape_ms(agent)).collect();

    let most = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
    println!("8 agents between two sweeps, for {MEASURED_FOR:?}");
    println!("share of a core  {:.2} % at most", most(&shares) * 100.0);
    println!("memory (RSS)     {:.1} MB at most", most(&memory));
    println!(
        "a scrape         {:.1} ms at most of {}",
        most(&scrapes),
        scrapes.len()
    );
    let program = fs::metadata(executable()).unwrap();
    println!("the program      {:.1} MB", program.len() as f64 / 1e6);
    let faults = mesh.finish().faults;
    assert!(faults.is_empty(), "{faults:?}");
    most(&shares) <= CORE_SHARE_MAX && most(&memory) <= MEMORY_MAX_MB
}

fn is_between_sweeps(agent: &Agent) -> bool {
    agent.metric("iperf_mesh_sweep") >= Some(1.0)
        && agent.metric("iperf_mesh_sweep_progress_ratio") == Some(1.0)
        && agent.metric("iperf_mesh_sweep_duration_seconds").is_some()
}

/// User and system time so far.
fn cpu_seconds(agent: &Agent) -> f64 {
    cpu_time(agent.program.pid()).as_secs_f64()
}

fn memory_mb(agent: &Agent) -> f64 {
    resident_memory(agent.program.pid()) as f64 / 1e6
}

fn scrape_ms(agent: &Agent) -> f64 {
    let from = Instant::now();
    agent.get("/metrics").unwrap();
    from.elapsed().as_secs_f64() * 1e3
}
