//! The `plan` command: what a mesh will cost and how old its cells get, found by running the
//! shipped coordinator in the simulator.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use iperf3_mesh_core::sim::{self, Options};
use iperf3_mesh_core::{Protocol, TestSpec, schedule};
use serde::Serialize;

use crate::cli::{OutputFormat, PlanArgs};
use crate::commands::output::print;
use crate::config::TestSettings;
use crate::units;

/// What iperf3 costs beyond the length of its test, without any network (measured, p50).
const IPERF_COST: Duration = Duration::from_millis(12);

/// What a test takes of set-up, in round trips: 8, and one for each stream (measured).
const SETUP_ROUND_TRIPS: u32 = 8;

/// What an unlimited TCP test is taken to send: the link's rate is not known here.
const ASSUMED_BITRATE: f64 = 1e9;

/// Series of a cell, at most.
const SERIES_TCP: u64 = 6;
const SERIES_UDP: u64 = 8;

/// Series of a node beside its cells.
const SERIES_NODE: u64 = 60;

/// What gossip sends from a node each second for each member of the mesh (measured, at one round a
/// second).
const GOSSIP_BYTES: f64 = 150.0;

/// From so many nodes on the simulation takes long enough to say so.
const MANY_NODES: usize = 300;

/// What to expect.
#[derive(Debug, Serialize)]
struct Plan {
    nodes: usize,
    /// The least time of any sweep.
    bound_seconds: f64,
    /// The same, but no node can do its own tests, hanging ones included, in less.
    bound_with_failures_seconds: f64,
    sweep_seconds: f64,
    period_seconds: f64,
    /// The age of a cell just before it is measured again, in the worst case.
    max_age_seconds: f64,
    efficiency: f64,
    /// The share of time that a node is under test.
    busy_ratio: f64,
    tests: u64,
    failed: u64,
    overlaps: usize,
    /// Sent by all nodes in one sweep.
    bytes: u64,
    bytes_per_node_and_day: u64,
    /// TCP is not limited, so that `bytes` assumes this rate; null if it is.
    assumed_bitrate: Option<f64>,
    /// Sent by each node, all the time.
    gossip_bytes_per_second: u64,
    /// Time series in Prometheus, of all nodes.
    series: u64,
    /// Control messages of one meeting.
    messages_per_meeting: f64,
}

/// Processes the simulation and prints the plan. The exit code is 1 if a cell gets older than
/// wanted.
///
/// # Errors
/// If the settings make no sense, or the simulated mesh gets stuck.
pub(super) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let settings = TestSettings::try_from(&args.tests)?;
    if args.nodes >= MANY_NODES {
        let patience =
            "Simulating the sweep of so many nodes may take a minute, with --fail much longer.";
        let _ = writeln!(io::stderr(), "{patience}");
    }
    let plan = plan(args, &settings)?;
    let is_too_old = args
        .max_age
        .is_some_and(|max| plan.max_age_seconds > max.as_secs_f64());
    match args.output {
        OutputFormat::Json => print(&format!("{}\n", serde_json::to_string_pretty(&plan)?))?,
        OutputFormat::Table => print(&table(&plan, args.max_age.filter(|_| is_too_old)))?,
    }
    Ok(if is_too_old {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn plan(args: &PlanArgs, settings: &TestSettings) -> anyhow::Result<Plan> {
    let tests = settings.specs();
    let round_trips = SETUP_ROUND_TRIPS + u32::from(settings.streams);
    let report = sim::run(&Options {
        nodes: args.nodes,
        tests: tests.clone(),
        interval: settings.interval,
        sweeps: 1,
        latency: args.latency,
        loss: args.loss,
        overhead: IPERF_COST + args.latency * 2 * round_trips,
        fail: args.fail,
        fail_time: args.fail_time.unwrap_or(Duration::MAX),
        skew: args.skew,
        churn: args.churn,
        seed: args.seed,
    });
    let Some(sweep) = report.sweeps.first().filter(|_| !report.stuck) else {
        bail!(
            "the simulated mesh did not finish its sweep (--seed {})",
            args.seed
        );
    };
    let bound = schedule::sweep_bound(args.nodes, &tests);
    let bound_with_failures = bound.max(sweep.busiest);
    let period = sweep.duration + settings.interval;
    let pairs = (args.nodes * (args.nodes - 1)) as u64;
    let bytes = bytes_per_pair(&tests) * pairs as f64;
    let sweeps_per_day = 86_400.0 / period.as_secs_f64();
    let is_unlimited = tests.iter().any(|test| test.bitrate.is_none());
    let series = tests.iter().map(|test| match test.protocol {
        Protocol::Tcp => SERIES_TCP,
        Protocol::Udp => SERIES_UDP,
    });
    Ok(Plan {
        nodes: args.nodes,
        bound_seconds: bound.as_secs_f64(),
        bound_with_failures_seconds: bound_with_failures.as_secs_f64(),
        sweep_seconds: sweep.duration.as_secs_f64(),
        period_seconds: period.as_secs_f64(),
        max_age_seconds: (period + sweep.duration).as_secs_f64(),
        efficiency: bound_with_failures.as_secs_f64() / sweep.duration.as_secs_f64(),
        busy_ratio: sweep.busiest.as_secs_f64() / period.as_secs_f64(),
        tests: sweep.tests,
        failed: sweep.failed,
        overlaps: report.overlaps,
        bytes: bytes as u64,
        bytes_per_node_and_day: (bytes / args.nodes as f64 * sweeps_per_day) as u64,
        assumed_bitrate: is_unlimited.then_some(ASSUMED_BITRATE),
        gossip_bytes_per_second: (GOSSIP_BYTES * args.nodes as f64) as u64,
        series: series.sum::<u64>() * pairs + SERIES_NODE * args.nodes as u64,
        messages_per_meeting: report.messages as f64 / (pairs as f64 / 2.0),
    })
}

/// What one node sends to another in a sweep.
fn bytes_per_pair(tests: &[TestSpec]) -> f64 {
    let bytes = |test: &TestSpec| {
        let streams = f64::from(test.streams);
        let rate = test
            .bitrate
            .map_or(ASSUMED_BITRATE, |bitrate| bitrate as f64 * streams);
        rate / 8.0 * test.length().as_secs_f64()
    };
    tests.iter().map(bytes).sum()
}

fn table(plan: &Plan, exceeded: Option<Duration>) -> String {
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    let rows = [
        ("nodes", plan.nodes.to_string()),
        ("sweep", seconds(plan.sweep_seconds)),
        ("lower bound", seconds(plan.bound_seconds)),
        (
            "lower bound with failures",
            seconds(plan.bound_with_failures_seconds),
        ),
        ("efficiency", format!("{:.3}", plan.efficiency)),
        ("period (sweep and pause)", seconds(plan.period_seconds)),
        ("oldest cell", seconds(plan.max_age_seconds)),
        (
            "time under test per node",
            format!("{:.1} %", plan.busy_ratio * 100.0),
        ),
        ("tests per sweep", plan.tests.to_string()),
        ("failed tests", plan.failed.to_string()),
        ("traffic per sweep (all nodes)", bytes(plan.bytes)),
        (
            "traffic per day and node",
            bytes(plan.bytes_per_node_and_day),
        ),
        (
            "gossip per node",
            format!("{}/s", bytes(plan.gossip_bytes_per_second)),
        ),
        ("series in Prometheus", plan.series.to_string()),
    ];
    let mut out = String::new();
    for (what, value) in rows {
        let _ = writeln!(out, "{what:29} {value}");
    }
    if plan.assumed_bitrate.is_some() {
        out.push_str("TCP is not limited (--bitrate): what is sent assumes links of 1 Gbit/s.\n");
    }
    if let Some(max) = exceeded {
        let _ = writeln!(
            out,
            "WARNING: cells get older than --max-age {}: shorten --interval or --duration.",
            units::show(max)
        );
    }
    out
}

fn bytes(bytes: u64) -> String {
    let (divisor, unit) = match bytes {
        1_000_000_000_000.. => (1e12, "TB"),
        1_000_000_000.. => (1e9, "GB"),
        1_000_000.. => (1e6, "MB"),
        _ => (1e3, "kB"),
    };
    format!("{:.1} {unit}", bytes as f64 / divisor)
}
