//! The `agent` command: one agent, from the configuration to the last goodbye.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::discovery::{self, DiscoverySink, addresses};
use crate::net::{self, ListenAddrs};
use crate::runtime::preflight::probe;
use crate::runtime::{Agent, Setup};
use crate::{VERSION, cli};

/// Between two rounds of gossip.
const GOSSIP_INTERVAL: Duration = Duration::from_secs(1);

/// The `agent` command: runs until SIGTERM or SIGINT.
///
/// # Errors
/// If iperf3 cannot be used, if there is no address to advertise, if a port cannot be opened, or if
/// gossip fails.
pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    // First of all: who is process 1 of a container gets no signal that it does not handle.
    let stop = stop_on_signals()?;
    for variable in cli::unread_variables() {
        tracing::warn!(variable, "no option reads this variable; is it misspelt?");
    }
    let tests = config.tests();
    let look = async {
        let iperf = probe(&config.iperf3, &tests).await?;
        let within = discovery::RESOLVED_WITHIN;
        let seeds = addresses::resolve(&config.join, config.ports.gossip, within).await;
        anyhow::Ok((iperf, seeds))
    };
    let (iperf, seeds) = tokio::select! {
        looked = look => looked?,
        () = stop.cancelled() => return Ok(()),
    };
    let advertised =
        net::advertise_address(config.advertise_address, config.ip_family, &seeds.addresses)?;
    let setup = Setup {
        name: config.node_name.clone(),
        zone: config.zone.clone(),
        listen: ListenAddrs::new(advertised.address, &config.ports),
        iperf_ports: config.ports.iperf_range(),
        tests,
        interval: config.settings.interval,
        forget_after: config.forget_after,
        skip_quiet_time: config.skip_quiet_time,
        failed_cells: config.failed_cells,
        gossip_interval: GOSSIP_INTERVAL,
        iperf,
    };
    tracing::info!(
        node = %setup.name,
        zone = setup.zone,
        address = %advertised.address,
        found = %advertised.source,
        iperf3 = %setup.iperf.version(),
        version = VERSION,
        "the agent starts"
    );
    if !setup.skip_quiet_time {
        let seconds = iperf3_mesh_core::QUIET_TIME.as_secs();
        tracing::info!(
            seconds,
            "quiet at first: no tests, since an earlier life may have promised some"
        );
    }
    let own = setup.listen.gossip;
    let agent = Agent::start(setup).await?;
    let metrics = agent.state.metrics().clone();
    let find = async |finds: DiscoverySink<'_>| {
        // The state of an HTTP client is large, and would make every future around it so.
        Box::pin(discovery::discover(&finds, &config, own, metrics.clone())).await;
    };
    agent.run(stop, find).await?;
    tracing::info!("the agent has left the mesh");
    Ok(())
}

/// A token that the first SIGTERM or SIGINT cancels.
///
/// # Errors
/// If the signals cannot be handled.
pub(super) fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, stop) = (
            signal(kind).context("signals cannot be handled")?,
            stop.clone(),
        );
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}
