//! The `local` command: a whole mesh on this machine's loopback. Real agents, real gossip, real
//! iperf3; each node has a loopback address of its own, in a network that is drawn anew each time,
//! so that meshes do not collide.

mod progress;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use iperf3_mesh_core::NodeName;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::api::{Matrix, SweepReport};
use crate::cli::{LocalArgs, OutputFormat};
use crate::commands::output::print;
use crate::config::FailedCells;
use crate::config::{Ports, TestSettings};
use crate::http::client::Client;
use crate::http::collector::Collector;
use crate::iperf::Iperf;
use crate::net::ListenAddrs;
use crate::render::heatmap::{self, Screen};
use crate::render::table;
use crate::runtime::preflight::probe;
use crate::runtime::{Agent, Setup};
use crate::state::AgentState;

use progress::Progress;

/// Between two rounds of gossip: there is no network to spare.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(200);

/// How often the states are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Networks that are tried until one has its ports free.
const NETWORKS_TRIED: u32 = 8;

/// Processes the mesh until enough sweeps are done, or until SIGINT or SIGTERM. The exit code is 0
/// only if every cell succeeded.
///
/// # Errors
/// If the settings make no sense, iperf3 cannot be used, or a port cannot be opened.
pub(super) async fn run(args: LocalArgs) -> anyhow::Result<ExitCode> {
    let settings = TestSettings::try_from(&args.tests)?;
    let ports = Ports::try_from(&args.ports)?;
    let iperf = probe(args.iperf3.iperf3.as_ref(), &settings.specs()).await?;
    let agents = start(&args, &settings, &ports, &iperf).await?;
    LocalSet::new()
        .run_until(sweep(args, settings, ports, agents))
        .await
}

async fn sweep(
    args: LocalArgs,
    settings: TestSettings,
    ports: Ports,
    agents: Vec<Agent>,
) -> anyhow::Result<ExitCode> {
    let states: Vec<AgentState> = agents.iter().map(|agent| agent.state.clone()).collect();
    let first = SocketAddr::new(agents[0].address(), ports.listen);
    let all: Vec<SocketAddr> = agents
        .iter()
        .map(|agent| SocketAddr::new(agent.address(), ports.gossip))
        .collect();
    let stop = super::agent::stop_on_signals()?;
    let mut tasks = JoinSet::new();
    for agent in agents {
        let (all, stop) = (all.clone(), stop.clone());
        tasks.spawn_local(async move {
            agent
                .run(stop, async |finds| {
                    loop {
                        finds.gossip.join(&all);
                        tokio::time::sleep(5 * GOSSIP_INTERVAL).await;
                    }
                })
                .await
        });
    }
    let code = tokio::select! {
        code = watch(&args, &settings, &states, first, &stop) => code,
        // No agent ends before it is told to.
        Some(ended) = tasks.join_next() => ended?.map(|()| ExitCode::FAILURE),
    };
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    code
}

/// Starts all nodes in one loopback network; if one of its ports is taken, in another.
async fn start(
    args: &LocalArgs,
    settings: &TestSettings,
    ports: &Ports,
    iperf: &Iperf,
) -> anyhow::Result<Vec<Agent>> {
    let mut tried = 0;
    loop {
        tried += 1;
        match start_in(rand::random(), args, settings, ports, iperf).await {
            Err(_) if tried < NETWORKS_TRIED => {}
            agents => return agents,
        }
    }
}

async fn start_in(
    network: u16,
    args: &LocalArgs,
    settings: &TestSettings,
    ports: &Ports,
    iperf: &Iperf,
) -> anyhow::Result<Vec<Agent>> {
    let [high, low] = network.to_be_bytes();
    let digits = args.nodes.to_string().len();
    let mut agents = Vec::with_capacity(args.nodes);
    for number in 1..=u8::try_from(args.nodes)? {
        // 127.0.x.y is where other programs are.
        let address = IpAddr::V4(Ipv4Addr::new(127, high.max(1), low, number));
        let agent = Agent::start(Setup {
            name: NodeName::new(&format!("node{number:0digits$}"))?,
            zone: String::new(),
            listen: ListenAddrs::new(address, ports),
            iperf_ports: ports.iperf_range(),
            tests: settings.specs(),
            interval: settings.interval,
            forget_after: None,
            skip_quiet_time: true,
            failed_cells: FailedCells::Zero,
            gossip_interval: GOSSIP_INTERVAL,
            iperf: iperf.clone(),
        });
        agents.push(agent.await?);
    }
    Ok(agents)
}

async fn watch(
    args: &LocalArgs,
    settings: &TestSettings,
    states: &[AgentState],
    first: SocketAddr,
    stop: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let mut progress = Progress::new(args, settings, first);
    let mut all_well = true;
    for number in 1.. {
        let swept = tokio::select! {
            () = stop.cancelled() => break,
            swept = sweep_end(states, number, &mut progress) => swept,
        };
        progress.clear();
        // A new collector each time: it would answer twice within a second with one matrix.
        let collector = Collector::new(states[0].clone(), Client::default());
        let mut matrix = Matrix::clone(&*collector.matrix().await);
        all_well &= swept.failed == 0
            && matrix
                .cells
                .iter()
                .all(|cell| cell.result.success == Some(true));
        matrix.sweep = Some(swept.clone());
        print(&match args.output {
            OutputFormat::Json => table::json(&matrix)?,
            OutputFormat::Table => heatmap::render(&matrix, Screen::of_stdout()),
        })?;
        if args.sweeps == Some(number) {
            return Ok(if all_well {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    // Ended by hand: that is a failure only if the user waited for sweeps.
    Ok(if all_well && args.sweeps.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Waits until that sweep has ended at all nodes.
async fn sweep_end(states: &[AgentState], number: u64, progress: &mut Progress) -> SweepReport {
    loop {
        let sweeps: Vec<_> = states.iter().map(AgentState::sweep).collect();
        progress.show(number, states, &sweeps);
        let is_over = |sweep: &crate::state::SweepStatus| {
            let is_done = sweep.total > 0 && sweep.met == sweep.total;
            sweep.number > number || (sweep.number == number && is_done)
        };
        if sweeps.iter().all(is_over) {
            let tests = sweeps.iter().flat_map(|sweep| sweep.tests);
            let tests = tests.filter(|tests| tests.number == number);
            let span = tests.clone().filter_map(|tests| tests.span);
            let first: Option<Instant> = span.clone().map(|(first, _)| first).min();
            let last = span.map(|(_, last)| last).max();
            let seconds = first
                .zip(last)
                .map_or(0.0, |(first, last)| (last - first).as_secs_f64());
            return SweepReport {
                number,
                seconds,
                bound_seconds: sweeps[0].bound.as_secs_f64(),
                tests: tests.clone().map(|tests| tests.ended).sum(),
                failed: tests.map(|tests| tests.failed).sum(),
            };
        }
        tokio::time::sleep(LOOK).await;
    }
}
