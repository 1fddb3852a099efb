//! Measures the schedule under loss and hanging tests, over many seeds. These figures decided its
//! constants.
//!
//! `cargo run --release -p iperf3-mesh-core --features sim --example simulate -- --nodes 8,9,100
//! --fail 0,0.05 --seeds 20`
//!
//! `iperf3-mesh plan` does the same for one mesh with its settings.

#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::str::FromStr;
use std::time::Duration;

use iperf3_mesh_core::sim::defaults::test_spec;
use iperf3_mesh_core::sim::{Options, Report, run};
use iperf3_mesh_core::{Protocol, schedule};

const USAGE: &str = "simulate [--nodes 8,9,…] [--fail 0,0.05,…] [--loss 0,0.01,…] [--seeds 5] \
                     [--dead 0] [--sweeps 1] [--interval 60]";

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.len().is_multiple_of(2) {
        return Err(USAGE.to_owned());
    }
    let (mut nodes, mut fail, mut loss, mut seeds) = (
        vec![8, 9, 20, 21, 100, 101],
        vec![0.0, 0.01, 0.05],
        vec![0.0],
        vec![5],
    );
    let mut options = options();
    for flag in args.chunks(2) {
        match flag[0].as_str() {
            "--nodes" => nodes = list(&flag[1])?,
            "--fail" => fail = list(&flag[1])?,
            "--loss" => loss = list(&flag[1])?,
            "--seeds" => seeds = list(&flag[1])?,
            "--dead" => options.dead = list(&flag[1])?[0],
            "--sweeps" => options.sweeps = list(&flag[1])?[0],
            "--interval" => options.interval = Duration::from_secs(list(&flag[1])?[0]),
            _ => return Err(USAGE.to_owned()),
        }
    }
    for &nodes in &nodes {
        for &fail in &fail {
            for &loss in &loss {
                measure(
                    &Options {
                        nodes,
                        fail,
                        loss,
                        ..options.clone()
                    },
                    seeds[0],
                );
            }
        }
    }
    Ok(())
}

fn list<T: FromStr>(text: &str) -> Result<Vec<T>, String> {
    let numbers: Result<Vec<T>, _> = text.split(',').map(str::parse).collect();
    numbers.map_err(|_| format!("{text:?} is not a list of numbers; usage: {USAGE}"))
}

/// One sweep in a data centre.
fn options() -> Options {
    Options {
        nodes: 0,
        tests: vec![test_spec(Protocol::Tcp)],
        interval: Duration::from_secs(60),
        sweeps: 1,
        latency: Duration::from_micros(500),
        loss: 0.0,
        overhead: Duration::from_millis(12),
        fail: 0.0,
        fail_time: Duration::MAX,
        skew: Duration::ZERO,
        churn: 0.0,
        dead: 0,
        refuses: None,
        seed: 0,
    }
}

fn measure(options: &Options, seeds: u64) {
    let reports: Vec<Report> = (1..=seeds)
        .map(|seed| {
            run(&Options {
                seed,
                ..options.clone()
            })
        })
        .collect();
    let mut efficiencies: Vec<f64> = reports
        .iter()
        .filter_map(|report| efficiency(options, report))
        .collect();
    efficiencies.sort_by(f64::total_cmp);
    let worst = efficiencies.first().copied().unwrap_or_default();
    let median = median(&efficiencies);
    let sum = |figure: fn(&Report) -> u64| reports.iter().map(figure).sum::<u64>();
    let cells = (options.nodes * (options.nodes - 1)) as u64 * seeds * options.sweeps;
    let tested = sum(|report| report.sweeps.iter().map(|sweep| sweep.cells).sum());
    println!(
        "nodes {:4}  dead {:3}  fail {:.2}  loss {:.2}  efficiency {worst:.3} worst, {median:.3} \
         median  period {:.2} s  untested {}  overlaps {}  stuck {}  messages per meeting {:.1}",
        options.nodes,
        options.dead,
        options.fail,
        options.loss,
        period(&reports),
        cells.saturating_sub(tested),
        sum(|report| report.overlaps as u64),
        sum(|report| u64::from(report.stuck)),
        2.0 * sum(|report| report.messages) as f64 / cells as f64,
    );
}

/// The middle of the sorted numbers, or the mean of the middle two.
fn median(sorted: &[f64]) -> f64 {
    let at = |at: usize| sorted.get(at).copied().unwrap_or_default();
    at(sorted.len().saturating_sub(1) / 2).midpoint(at(sorted.len() / 2))
}

/// The mean time from the beginning of a sweep to that of the next one, in seconds; 0 if there is
/// only one.
fn period(reports: &[Report]) -> f64 {
    let periods: Vec<f64> = reports
        .iter()
        .flat_map(|report| report.sweeps.windows(2))
        .map(|two| two[1].began.since(two[0].began).as_secs_f64())
        .collect();
    periods.iter().sum::<f64>() / periods.len().max(1) as f64
}

/// The lower bound of the last sweep for the nodes that live, including its hanging tests, divided
/// by its duration.
fn efficiency(options: &Options, report: &Report) -> Option<f64> {
    let bound = schedule::sweep_bound(options.nodes - options.dead, &options.tests);
    let sweep = report.sweeps.last()?;
    Some(bound.max(sweep.busiest).as_secs_f64() / sweep.duration.as_secs_f64())
}
