//! The `plan` command: predicts the cost of a mesh and the age of its cells, by running the real
//! coordinator in the simulator.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use indicatif::DecimalBytes;
use iperf3_mesh_core::gossip::RoundBytes;
use iperf3_mesh_core::sim::{self, Options};
use iperf3_mesh_core::{Protocol, TestSpec, schedule};
use serde::Serialize;

use crate::cli::{OutputFormat, PlanArgs};
use crate::commands::agent::GOSSIP_INTERVAL;
use crate::commands::output::print;
use crate::config::TestSettings;
use crate::neighbours::DEFAULT_LIMIT;
use crate::units;

/// The time that iperf3 takes in addition to the length of its test, without any network (measured,
/// p50).
const IPERF_COST: Duration = Duration::from_millis(12);

/// The number of round trips for the set-up of a test, in addition to one for each stream
/// (measured).
const SETUP_ROUND_TRIPS: u32 = 8;

/// The assumed bitrate of an unlimited TCP test, because the bitrate of the links is not known
/// here.
const ASSUMED_BITRATE: f64 = 1e9;

/// The maximum number of time series of a cell.
const SERIES_TCP: u64 = 6;
const SERIES_UDP: u64 = 8;

/// The number of time series of a node in addition to those of its cells.
const SERIES_NODE: u64 = 60;

/// The minimum number of nodes for which the command announces that the simulation takes a while.
const MANY_NODES: usize = 300;

/// The expected behaviour and cost of a mesh. docs/configuration.md documents the fields.
#[derive(Debug, Serialize)]
struct Plan {
    nodes: usize,
    /// The lower bound on the duration of a sweep.
    bound_seconds: f64,
    /// The lower bound with failures: the time of the busiest node, including hanging tests.
    bound_with_failures_seconds: f64,
    sweep_seconds: f64,
    period_seconds: f64,
    /// The greatest age that a cell reaches, just before it is measured again.
    max_age_seconds: f64,
    efficiency: f64,
    /// The share of its time that a node spends in tests.
    busy_ratio: f64,
    tests: u64,
    failed: u64,
    overlaps: usize,
    /// The traffic of all nodes in one sweep.
    bytes: u64,
    bytes_per_node_and_day: u64,
    /// The bitrate that `bytes` assumes for unlimited TCP; null if TCP is limited.
    assumed_bitrate: Option<f64>,
    /// The gossip that a node sends after all agents have started together.
    gossip_bytes_per_second: u64,
    /// The gossip that a node sends once the agents have started at different times.
    gossip_bytes_per_second_max: u64,
    /// The number of time series of all nodes in Prometheus.
    series: u64,
}

/// Runs the simulation and prints the plan. The exit code is 1 if a cell becomes older than
/// `--max-age`.
///
/// # Errors
/// Returns an error if the settings cannot be used, or if the simulated mesh does not finish its
/// sweep.
pub(super) fn run(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let settings = TestSettings::try_from(&args.tests)?;
    if args.nodes >= MANY_NODES {
        let patience = "This simulation may take a minute, and much longer with --fail.";
        let _ = writeln!(io::stderr(), "{patience}");
    }
    let plan = plan(args, &settings)?;
    let is_too_old = args
        .max_age
        .is_some_and(|max| plan.max_age_seconds > max.as_secs_f64());
    match args.format.output {
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
        dead: 0,
        refuses: None,
        seed: args.seed,
    });
    let Some(sweep) = report.sweeps.first().filter(|_| !report.stuck) else {
        bail!(
            "the simulated mesh did not finish its sweep (--seed {}). Lower --loss, --fail or \
             --churn: a mesh with so many faults would not finish, either",
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
    let gossip = RoundBytes::estimate(args.nodes);
    let per_second = |bytes: f64| (bytes / GOSSIP_INTERVAL.as_secs_f64()) as u64;
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
        gossip_bytes_per_second: per_second(gossip.together),
        gossip_bytes_per_second_max: per_second(gossip.apart),
        series: series.sum::<u64>() * pairs + SERIES_NODE * args.nodes as u64,
    })
}

/// Returns the number of bytes that one node sends to another node in a sweep.
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
            "time in tests per node",
            format!("{:.1} %", plan.busy_ratio * 100.0),
        ),
        ("tests per sweep", plan.tests.to_string()),
        ("failed tests", plan.failed.to_string()),
        (
            "traffic per sweep (all nodes)",
            DecimalBytes(plan.bytes).to_string(),
        ),
        (
            "traffic per node and day",
            DecimalBytes(plan.bytes_per_node_and_day).to_string(),
        ),
        (
            "gossip per node",
            format!(
                "{}/s to {}/s",
                DecimalBytes(plan.gossip_bytes_per_second),
                DecimalBytes(plan.gossip_bytes_per_second_max)
            ),
        ),
        ("series in Prometheus", plan.series.to_string()),
    ];
    let mut out = String::new();
    for (what, value) in rows {
        let _ = writeln!(out, "{what:29} {value}");
    }
    if plan.assumed_bitrate.is_some() {
        out.push_str("TCP is not limited (--bitrate); the traffic assumes links of 1 Gbit/s.\n");
    }
    if plan.nodes as u64 > DEFAULT_LIMIT / 2 {
        let _ = writeln!(
            out,
            "On one network, each machine needs {} entries in its neighbour table; the\n\
             kernel's default is {DEFAULT_LIMIT} (net.ipv4.neigh.default.gc_thresh3).",
            plan.nodes
        );
    }
    if let Some(max) = exceeded {
        let _ = writeln!(
            out,
            "WARNING: cells get older than --max-age {}.\nShorten --interval or --duration.",
            units::show(max)
        );
    }
    out
}
