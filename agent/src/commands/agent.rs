//! The `agent` command: runs one agent, from reading its configuration to leaving the mesh.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::discovery::{self, DiscoverySink, addresses};
use crate::net::{self, ListenAddrs};
use crate::runtime::preflight::probe;
use crate::runtime::{Agent, Setup};
use crate::{VERSION, cli};

/// The pause between two rounds of gossip.
pub(super) const GOSSIP_INTERVAL: Duration = Duration::from_secs(1);

/// Runs the `agent` command until SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
/// Returns an error if iperf3 is not usable, if there is no address to advertise, if a port cannot
/// be opened, or if gossip fails for good.
pub(super) async fn run(config: Config) -> anyhow::Result<()> {
    // This comes first, because process 1 of a container receives only the signals that it handles.
    let stop = stop_on_signals()?;
    // The runtime keeps this thread, even when a limit on processes admits no other one later.
    spawn_blocking(|| ());
    for variable in cli::unread_variables() {
        tracing::warn!("{variable}");
    }
    let tests = config.tests();
    let preparation = async {
        let iperf = probe(&config.iperf3, &tests).await?;
        let timeout = discovery::RESOLVE_TIMEOUT;
        let seeds = addresses::resolve(&config.join, config.ports.gossip, timeout).await;
        anyhow::Ok((iperf, seeds))
    };
    let (iperf, seeds) = tokio::select! {
        prepared = preparation => prepared?,
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
        address_source = %advertised.source,
        iperf3 = %setup.iperf.version(),
        version = VERSION,
        "the agent starts"
    );
    if !setup.skip_quiet_time {
        let seconds = iperf3_mesh_core::QUIET_TIME.as_secs();
        tracing::info!(
            seconds,
            "quiet time: no tests yet, because a previous run may still hold a reservation"
        );
    }
    let own = setup.listen.gossip;
    let agent = Agent::start(setup).await?;
    let metrics = agent.state.metrics().clone();
    let discover = async |sink: DiscoverySink<'_>| {
        // The future is boxed, because the state of an HTTP client would make every enclosing
        // future large.
        Box::pin(discovery::discover(&sink, &config, own, metrics.clone())).await;
    };
    agent.run(stop, discover).await?;
    tracing::info!("agent stopped after leaving the mesh");
    Ok(())
}

/// Returns a token that is cancelled by the first SIGTERM, SIGINT or SIGHUP. A closed terminal and
/// a supervisor's reload send SIGHUP, whose default action would end the agent without a goodbye.
///
/// # Errors
/// Returns an error if a signal handler cannot be installed.
pub(super) fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        let (mut signals, stop) = (
            signal(kind).context("cannot install a signal handler")?,
            stop.clone(),
        );
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}
