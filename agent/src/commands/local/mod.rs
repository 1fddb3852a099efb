//! The `local` command: runs a whole mesh on this machine's loopback interface, with real agents,
//! real gossip and real iperf3. Each node has its own loopback address. The network is chosen at
//! random for each run, so that two meshes do not collide.

mod observer;
mod progress;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use iperf3_mesh_core::{AddressRules, MeshName, NodeName};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::api::SweepReport;
use crate::cli::{LocalArgs, OutputFormat};
use crate::commands::agent::stop_on_signals;
use crate::commands::output::print;
use crate::config::{Access, FailedCells, Ports, Security, TestSettings};
use crate::http::client::Client;
use crate::http::collector::Collector;
use crate::iperf::Iperf;
use crate::net::ListenAddrs;
use crate::render::heatmap::{self, Screen};
use crate::render::table;
use crate::runtime::address::OwnAddress;
use crate::runtime::preflight::probe;
use crate::runtime::{Agent, Setup};

use observer::Observer;
use progress::Progress;

/// The pause between two rounds of gossip. It is short, because loopback has bandwidth to spare.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(200);

/// The maximum number of networks that are tried until all ports of one are free.
const NETWORKS_TRIED: u32 = 8;

/// Runs the mesh until enough sweeps are complete, or until SIGINT, SIGTERM or SIGHUP. The exit
/// code is 0 only if every cell succeeded.
///
/// # Errors
/// Returns an error if the settings make no sense, if iperf3 cannot be used, or if a port cannot be
/// opened.
pub(super) async fn run(args: LocalArgs) -> anyhow::Result<ExitCode> {
    let settings = TestSettings::try_from(&args.tests)?;
    let ports = Ports::try_from(&args.ports)?;
    let iperf = probe(args.iperf3.iperf3.as_ref(), &settings.specs()).await?;
    let agents = start(&args, &settings, &ports, &iperf).await?;
    LocalSet::new()
        .run_until(run_agents(args, settings, ports, agents))
        .await
}

async fn run_agents(
    args: LocalArgs,
    settings: TestSettings,
    ports: Ports,
    agents: Vec<Agent>,
) -> anyhow::Result<ExitCode> {
    let page = SocketAddr::new(agents[0].address(), ports.listen);
    let observer = Observer::new(&agents);
    let gossip: Vec<SocketAddr> = agents
        .iter()
        .map(|agent| SocketAddr::new(agent.address(), ports.gossip))
        .collect();
    let stop = stop_on_signals()?;
    let mut tasks = JoinSet::new();
    for agent in agents {
        let (gossip, stop) = (gossip.clone(), stop.clone());
        tasks.spawn_local(async move {
            // The future is boxed, because it is large.
            let run = agent.run(stop, async |sink| {
                loop {
                    sink.gossip.join(&gossip);
                    tokio::time::sleep(5 * GOSSIP_INTERVAL).await;
                }
            });
            Box::pin(run).await
        });
    }
    let code = tokio::select! {
        code = show_sweeps(&args, &settings, observer, page, &stop) => code,
        // An agent ends only when it is told to.
        Some(ended) = tasks.join_next() => ended?.map(|()| ExitCode::FAILURE),
    };
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    code
}

/// Starts all nodes in one loopback network. If one of its ports is in use, tries another network.
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
        // Other programs use addresses of the form 127.0.x.y.
        let address = IpAddr::V4(Ipv4Addr::new(127, high.max(1), low, number));
        let agent = Agent::start(Setup {
            name: NodeName::new(&format!("node{number:0digits$}"))?,
            zone: String::new(),
            own: OwnAddress::given(address),
            access: Access::default(),
            mesh: MeshName::default(),
            // All nodes are on loopback, and end with this program.
            security: Security::Insecure,
            protect_read: false,
            listen: ListenAddrs::new(address, ports),
            rules: AddressRules::new(address, []),
            iperf_ports: ports.iperf_range(),
            tests: settings.specs(),
            guest_tests: settings.guest_specs(),
            interval: settings.interval,
            forget_after: None,
            members_max: args.nodes,
            skip_quiet_time: true,
            failed_cells: FailedCells::Zero,
            gossip_interval: GOSSIP_INTERVAL,
            iperf: iperf.clone(),
        });
        agents.push(agent.await?);
    }
    Ok(agents)
}

/// Shows the progress of each sweep, and then its matrix.
async fn show_sweeps(
    args: &LocalArgs,
    settings: &TestSettings,
    mut observer: Observer,
    page: SocketAddr,
    stop: &CancellationToken,
) -> anyhow::Result<ExitCode> {
    let mut progress = Progress::new(args, settings, page);
    let mut all_succeeded = true;
    for number in 1.. {
        let sweep = tokio::select! {
            () = stop.cancelled() => break,
            sweep = observer.sweep(number, &mut progress) => sweep,
        };
        progress.clear();
        let (text, is_good) = results(args, &observer, sweep).await?;
        print(&text)?;
        all_succeeded &= is_good;
        if args.sweeps == Some(number) {
            progress.say_how_to_keep_the_page();
            return Ok(exit_code(all_succeeded));
        }
    }
    // An interrupt counts as a failure only if the user asked for a number of sweeps.
    Ok(exit_code(all_succeeded && args.sweeps.is_none()))
}

/// Returns the matrix as text, and whether every cell succeeded.
async fn results(
    args: &LocalArgs,
    observer: &Observer,
    sweep: SweepReport,
) -> anyhow::Result<(String, bool)> {
    // Each call needs a new collector, because a collector returns the same matrix again within a
    // second.
    let collector = Collector::new(observer.first().clone(), Client::default());
    let mut matrix = collector.matrix().await?;
    let is_good = sweep.failed == 0
        && !observer.has_missed_tests()
        && matrix
            .cells
            .iter()
            .all(|cell| cell.result.success == Some(true));
    matrix.sweep = Some(sweep);
    // That is no news here: nobody else reaches this mesh.
    matrix.insecure = false;
    let text = match args.format.output {
        OutputFormat::Json => table::json(&matrix)?,
        OutputFormat::Table => heatmap::render(&matrix, Screen::of_stdout(args.color.color)),
    };
    Ok((text, is_good))
}

fn exit_code(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
