//! Tries the schedule under failures: `cargo run --release -p mesh --features sim --example simulate`.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use mesh::sim::{Options, run};
use mesh::{Protocol, TestSpec, schedule};

fn main() {
    let args: Vec<f64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let seeds = args.first().copied().unwrap_or(5.0) as u64;
    let tests = vec![TestSpec {
        protocol: Protocol::Tcp,
        duration: Duration::from_secs(5),
        omit: Duration::ZERO,
        timeout: Duration::from_secs(10),
        bitrate: None,
        streams: 1,
        bidir: false,
    }];
    for nodes in [8, 9, 20, 21, 100, 101] {
        for fail in [0.0, 0.01, 0.05] {
            let mut all: Vec<f64> = Vec::new();
            let (mut overlaps, mut stuck, mut messages, mut failed) = (0, 0, 0, 0);
            for seed in 1..=seeds {
                let options = Options {
                    nodes,
                    tests: tests.clone(),
                    interval: Duration::from_secs(60),
                    sweeps: 1,
                    latency: Duration::from_micros(500),
                    loss: 0.0,
                    overhead: Duration::from_millis(12),
                    fail,
                    seed,
                };
                let report = run(&options);
                overlaps += report.overlaps;
                stuck += u64::from(report.stuck);
                messages += report.messages;
                let bound = schedule::sweep_bound(nodes, &tests);
                for sweep in &report.sweeps {
                    failed += sweep.failed;
                    all.push(bound.max(sweep.busiest).as_secs_f64() / sweep.duration.as_secs_f64());
                    let want = (nodes * (nodes - 1)) as u64;
                    if sweep.tests != want {
                        println!("  seed {seed}: {} tests, not {want}", sweep.tests);
                    }
                }
            }
            all.sort_by(f64::total_cmp);
            println!(
                "N={nodes:4} fail={fail:.2} efficiency min {:.3} median {:.3}  overlaps {overlaps} stuck {stuck} messages/meeting {:.1} failed {failed}",
                all[0],
                all[all.len() / 2],
                messages as f64 / seeds as f64 / (nodes * (nodes - 1) / 2) as f64,
            );
        }
    }
}
