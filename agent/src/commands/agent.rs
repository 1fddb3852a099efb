//! The `agent` command: runs one agent, from reading its configuration to leaving the mesh.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use iperf3_mesh_core::{AddressRules, Listed};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Discovery, Security};
use crate::discovery::addresses::{self, Seeds};
use crate::discovery::{self, DiscoverySink};
use crate::own_address::{Absence, AddressPolicy, Advertised, ThisHost, absence};
use crate::runtime::address::OwnAddress;
use crate::runtime::preflight::probe;
use crate::runtime::{Agent, Setup};
use crate::telemetry;
use crate::{VERSION, cli};

/// The pause between two rounds of gossip.
pub(super) const GOSSIP_INTERVAL: Duration = Duration::from_secs(1);

/// How long a starting agent waits for its network: an agent may start before the network does.
const NETWORK_WITHIN: Duration = Duration::from_secs(60);

/// How long a starting agent waits for the address that the user gave: long enough for the
/// duplicate address detection of IPv6.
const GIVEN_ADDRESS_WITHIN: Duration = Duration::from_secs(10);

/// The pause between two looks for an address.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
        anyhow::Ok((iperf, own_address(&config).await?))
    };
    let (iperf, own) = tokio::select! {
        prepared = preparation => prepared?,
        () = stop.cancelled() => return Ok(()),
    };
    let own_ip = own.advertised.address;
    let setup = Setup {
        name: config.node_name.clone(),
        zone: config.zone.clone(),
        listen: own.advertised.listen_addrs(&config.ports),
        own,
        rules: rules(&config, own_ip),
        access: config.access.clone(),
        mesh: config.security.mesh.clone(),
        security: config.security.security.clone(),
        protect_read: config.security.protect_read,
        iperf_ports: config.ports.iperf_range(),
        tests,
        guest_tests: config.settings.guest_specs(),
        interval: config.settings.interval,
        forget_after: config.forget_after,
        members_max: config.members_max,
        skip_quiet_time: config.skip_quiet_time,
        failed_cells: config.failed_cells,
        gossip_interval: GOSSIP_INTERVAL,
        iperf,
    };
    tracing::info!(
        node = %setup.name,
        zone = setup.zone,
        address = %setup.own.advertised.address,
        address_source = %setup.own.advertised.source,
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
    tokio::spawn(telemetry::report_left_out());
    if setup.security == Security::Insecure {
        tracing::warn!(
            "no key (--insecure): everybody who reaches the ports of this node can steer it"
        );
    }
    let agent = tokio::select! {
        agent = Agent::start(setup) => agent?,
        () = stop.cancelled() => return Ok(()),
    };
    let metrics = agent.state.metrics().clone();
    let discover = async |sink: DiscoverySink<'_>| {
        // The future is boxed, because the state of an HTTP client would make every enclosing
        // future large.
        Box::pin(discovery::discover(&sink, &config, metrics.clone())).await;
    };
    // The future is boxed for the same reason.
    Box::pin(agent.run(stop, discover)).await?;
    tracing::info!("agent stopped after leaving the mesh");
    Ok(())
}

/// Returns the rules for the addresses of the peers. The members that the cluster tells of are not
/// known yet.
fn rules(config: &Config, own: IpAddr) -> AddressRules {
    let mut rules = AddressRules::new(own, config.peer_cidrs.clone());
    if config.discovery == Discovery::Kubernetes {
        rules.set_listed(Listed::default());
    }
    rules
}

/// Waits until this node has an address to advertise.
///
/// # Errors
/// Returns an error if there is none in time.
async fn own_address(config: &Config) -> anyhow::Result<OwnAddress> {
    let policy = AddressPolicy {
        given: config.advertise_address,
        family: config.ip_family,
    };
    let within = match policy.given {
        Some(_) => GIVEN_ADDRESS_WITHIN,
        None => NETWORK_WITHIN,
    };
    let began = Instant::now();
    let mut is_waiting = false;
    loop {
        let timeout = discovery::RESOLVE_TIMEOUT;
        let resolved = addresses::resolve(&config.join, config.ports.gossip, timeout).await;
        let seeds = Seeds::from(resolved);
        let error = match usable(&policy, &seeds) {
            Ok(advertised) => {
                return Ok(OwnAddress {
                    advertised,
                    policy,
                    seeds,
                });
            }
            Err(error) => error,
        };
        if began.elapsed() >= within {
            return Err(error.context(format!("no address after {} s", within.as_secs())));
        }
        if !is_waiting {
            is_waiting = true;
            tracing::warn!(
                seconds = within.as_secs(),
                "waiting for an address: {error}"
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Chooses an address that this node has at present.
fn usable(policy: &AddressPolicy, seeds: &Seeds) -> anyhow::Result<Advertised> {
    let advertised = policy.choose(&seeds.addresses, &ThisHost)?;
    let address = advertised.address;
    match absence(address) {
        None => Ok(advertised),
        Some(Absence::Missing) => Err(anyhow!(
            "{address} is not an address of this host; set --advertise-address \
             (MESH_ADVERTISE_ADDRESS) to one that is"
        )),
        Some(absence) => Err(anyhow!("cannot use {address}: {absence}")),
    }
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
