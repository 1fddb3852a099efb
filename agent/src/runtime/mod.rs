//! One agent from start to end: what the agent opens, in which order, and how it closes everything
//! again.

pub(crate) mod address;
mod driver;
mod events;
mod ignored;
mod implausible;
mod keys;
mod out_of_step;
pub(crate) mod preflight;
mod processes;
mod protection;
mod refused;
mod starvation;
mod strangers;
mod transport;
mod unheard;

use std::cell::OnceCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use iperf3_mesh_core::gossip::{Gossip, GossipConfig, bind_hint};
use iperf3_mesh_core::seal::Signer;
use iperf3_mesh_core::{
    AddressRules, Input, Life, MeshName, Node, NodeName, PortRange, Settings, TestSpec,
};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::{boot_now, unix_now_ns};
use crate::config::{Access, FailedCells, Security};
use crate::discovery::DiscoverySink;
use crate::discovery::addresses::Seeds;
use crate::http::listener::{self, ListenError};
use crate::http::visitors::Visitors;
use crate::http::{self, client};
use crate::iperf::{self, Iperf};
use crate::keys::random;
use crate::metrics::Metrics;
use crate::neighbours::NeighbourWatch;
use crate::net::ListenAddrs;
use crate::sealing::Sealing;
use crate::state::{AgentState, Identity};
use address::{AddressKeeper, ControlPort, OwnAddress};
use driver::Driver;
use ignored::IgnoredMessages;
use implausible::ImplausibleFigures;
pub(crate) use processes::FinishedTest;
use processes::Processes;
use protection::Protection;
use starvation::StarvationWatch;
use transport::MessageSender;
#[cfg(feature = "fuzzing")]
pub(crate) use transport::is_message;

/// The maximum number of inputs that wait for the driver.
const INPUTS_MAX: usize = 1024;

/// How long a stopping agent waits for its last messages to be sent.
const LAST_MESSAGES_WITHIN: Duration = Duration::from_millis(500);

/// The options of the ports, as messages name them.
const LISTEN_PORT: &str = "--listen-port (LISTEN_PORT)";
const CONTROL_PORT: &str = "--control-port (MESH_CONTROL_PORT)";
const GOSSIP_PORT: &str = "--gossip-port (MESH_GOSSIP_PORT)";

/// The settings of one agent.
pub(crate) struct Setup {
    /// Node name.
    pub name: NodeName,
    /// Zone, empty if the node has none.
    pub zone: String,
    /// The own address.
    pub own: OwnAddress,
    /// The addresses to listen on.
    pub listen: ListenAddrs,
    /// The rules for the addresses of the peers.
    pub rules: AddressRules,
    /// The names and addresses that the HTTP ports know.
    pub access: Access,
    /// The name of the mesh.
    pub mesh: MeshName,
    /// How messages between agents are protected.
    pub security: Security,
    /// Whether page and read API are closed to clients without a key.
    pub protect_read: bool,
    /// The ports of the iperf3 servers.
    pub iperf_ports: PortRange,
    /// The tests of one direction of a meeting.
    pub tests: Vec<TestSpec>,
    /// The limits of the tests that only other nodes ask for.
    pub guest_tests: Vec<TestSpec>,
    /// The pause after a sweep.
    pub interval: Duration,
    /// How long a node must be silent before it counts as departed; `None` selects the default.
    pub forget_after: Option<Duration>,
    /// The maximum number of nodes in the mesh.
    pub members_max: usize,
    /// Whether to skip the quiet time. This is safe if no earlier run can still hold a reservation.
    pub skip_quiet_time: bool,
    /// The value of bandwidth and jitter after a failed test.
    pub failed_cells: FailedCells,
    /// The pause between two rounds of gossip.
    pub gossip_interval: Duration,
    /// The iperf3 that runs the tests.
    pub iperf: Iperf,
}

/// A running agent.
pub(crate) struct Agent {
    /// The published state.
    pub state: AgentState,
    gossip: Gossip,
    driver: Driver,
    control: TcpListener,
    inputs: mpsc::Sender<Input>,
    own: OwnAddress,
    listen: ListenAddrs,
    visitors: Visitors,
    pages: JoinHandle<()>,
    /// Closes the HTTP port when it is dropped.
    close: DropGuard,
    protection: Protection,
}

impl Agent {
    /// Returns the address at which the other agents reach this agent.
    pub(crate) fn address(&self) -> IpAddr {
        self.listen.address
    }

    /// Subscribes to the tests that this node runs as the client and that finish from now on.
    pub(crate) fn finished_tests(&self) -> broadcast::Receiver<FinishedTest> {
        self.driver.processes.finished_tests()
    }

    /// Opens everything that can fail to open, and starts gossip. No test runs before [`Self::run`]
    /// is called. Without keys, nothing but the HTTP port is open until the key file has some.
    ///
    /// # Errors
    /// Returns an error if a port cannot be opened. The message names the option.
    pub(crate) async fn start(setup: Setup) -> anyhow::Result<Self> {
        let signer = Arc::new(Signer::new(&random()?));
        let http = listen_http(setup.listen.http)?;
        let state = state(&setup, signer.life())?;
        let client = client::Client::default();
        client.connect_from(setup.listen.address);
        let visitors = Visitors::new(state.clone(), &setup.access);
        let close = CancellationToken::new();
        let pages = tokio::spawn(http::serve(
            http,
            state.clone(),
            client.clone(),
            visitors.clone(),
            close.clone(),
        ));
        let close = close.drop_guard();
        let mut protection = Protection::await_keys(&setup.security, state.clone()).await;
        let control = listen(setup.listen.control, CONTROL_PORT).await?;
        let gossip = Gossip::over_udp(GossipConfig {
            mesh: setup.mesh.clone(),
            name: setup.name.clone(),
            signer,
            generation: unix_now_ns() / 1_000_000_000,
            zone: setup.zone.clone(),
            advertise: setup.listen.gossip,
            rules: setup.rules.clone(),
            listen: setup.listen.gossip,
            control: setup.listen.control,
            http_port: setup.listen.http.port(),
            security: protection.of_gossip()?,
            members_max: setup.members_max,
            iperf3: setup.iperf.version().to_string(),
            interval: setup.gossip_interval,
        })
        .await?;
        let (inputs, inputs_out) = mpsc::channel(INPUTS_MAX);
        let message_sender = MessageSender::new(client.clone(), inputs.clone(), state.clone());
        let listen = setup.listen;
        let (driver, own) = driver(setup, &state, message_sender, inputs_out);
        Ok(Self {
            driver,
            state,
            gossip,
            control,
            inputs,
            own,
            listen,
            visitors,
            pages,
            close,
            protection,
        })
    }

    /// Runs until `stop`, and then leaves the mesh in order: it ends the meeting, announces its
    /// departure and closes the ports, all in less than 5 s. `discover` looks for peers meanwhile,
    /// and is called again after each change of the own address.
    ///
    /// # Errors
    /// Returns an error if gossip cannot recover, or if this node has lost an address that the user
    /// gave.
    pub(crate) async fn run(
        self,
        stop: CancellationToken,
        discover: impl AsyncFn(DiscoverySink<'_>),
    ) -> anyhow::Result<()> {
        let Self {
            state,
            gossip,
            driver,
            control,
            inputs,
            own,
            listen,
            visitors,
            pages,
            close,
            protection,
        } = self;
        let mut messages = ControlPort::new(state.clone(), inputs.clone(), visitors);
        messages.serve(control);
        let seeds = watch::Sender::new(own.seeds.clone());
        let mut keeper = AddressKeeper::new(
            own,
            seeds.subscribe(),
            listen,
            state.clone(),
            inputs.clone(),
            messages,
        );
        state.set_listening(true);

        let publish_seeds = |found: Seeds| {
            state.set_unresolved_join(found.unresolved.clone());
            seeds.send_replace(found);
        };
        let message_sender = driver.message_sender.clone();
        let mut address = keeper.gossip_address();
        let discovery = async {
            loop {
                let sink = DiscoverySink {
                    gossip: &gossip,
                    inputs: inputs.clone(),
                    seeds: &publish_seeds,
                    own: *address.borrow_and_update(),
                };
                tokio::select! {
                    () = discover(sink) => {}
                    Ok(()) = address.changed() => {}
                }
            }
        };
        // The driver ends its meeting before the agent ends, whatever the reason.
        let ending = stop.child_token();
        let lost = OnceCell::new();
        let keep = async {
            let _ = lost.set(keeper.keep(&gossip).await);
            ending.cancel();
            std::future::pending::<()>().await;
        };
        let failed = tokio::select! {
            () = driver.run(&gossip, ending.clone()) => None,
            reason = gossip.failed() => Some(reason),
            () = discovery => None,
            () = keep => None,
            () = protection.follow(&gossip) => None,
        };
        state.set_listening(false);
        if let Some(reason) = failed {
            bail!("gossip has failed: {reason}");
        }
        message_sender.flush(LAST_MESSAGES_WITHIN).await;
        drop(close);
        let _ = tokio::join!(gossip.goodbye(), pages, keeper.close());
        match lost.into_inner() {
            Some(problem) => bail!("{problem}"),
            None => Ok(()),
        }
    }
}

/// Creates the state and the metrics of an agent that has not started yet.
fn state(setup: &Setup, life: Life) -> anyhow::Result<AgentState> {
    let protocols: Vec<_> = setup.tests.iter().map(|test| test.protocol).collect();
    let metrics = Metrics::new(crate::metrics::Settings {
        source: setup.name.clone(),
        protocols: protocols.clone(),
        failed_cells: setup.failed_cells,
        pause: setup.interval,
        iperf3_version: setup.iperf.version().to_string(),
        landlock: setup.iperf.landlock().label(),
    })?;
    let identity = Identity {
        name: setup.name.clone(),
        zone: setup.zone.clone(),
        epoch: life.epoch(),
        protocols,
        iperf3: setup.iperf.version().to_string(),
    };
    let sealing = match setup.security {
        Security::Insecure => Sealing::default(),
        Security::Sealed { .. } => Sealing::new(life, setup.mesh.clone()),
    };
    Ok(AgentState::new(identity, metrics).sealed(sealing, setup.protect_read))
}

fn driver(
    setup: Setup,
    state: &AgentState,
    message_sender: MessageSender,
    inputs: mpsc::Receiver<Input>,
) -> (Driver, OwnAddress) {
    let (epoch, metrics) = (state.identity().epoch, state.metrics().clone());
    let address = setup.listen.address;
    let starvation = StarvationWatch::new(state.clone(), iperf::needs(&setup.tests));
    let settings = Settings {
        name: setup.name.clone(),
        epoch,
        address,
        ports: setup.iperf_ports,
        tests: setup.tests,
        guest_tests: setup.guest_tests,
        interval: setup.interval,
        forget_after: setup.forget_after,
        members_max: setup.members_max,
        skip_quiet_time: setup.skip_quiet_time,
        secret: rand::random(),
    };
    let implausible = ImplausibleFigures::new(metrics.clone());
    metrics.show_filter(setup.iperf.is_filtered());
    metrics.show_vulnerabilities(setup.iperf.vulnerabilities().len());
    let ignored = IgnoredMessages::new(metrics.clone());
    let processes = Processes::new(
        setup.name,
        epoch,
        address,
        setup.iperf,
        metrics,
        implausible.clone(),
        starvation,
    );
    let driver = Driver {
        node: Node::new(settings, boot_now()),
        state: state.clone(),
        processes,
        implausible,
        message_sender,
        control: setup.listen.control,
        inputs,
        last_sweep: None,
        refused: refused::RefusedMembers::default(),
        unheard: unheard::Unheard::new(),
        out_of_step: out_of_step::OutOfStep::new(),
        ignored,
        namesake: None,
        iperf3_versions: Vec::new(),
        neighbours: NeighbourWatch::new(address),
    };
    (driver, setup.own)
}

/// Listens for HTTP, and logs the address family that this node does not have.
fn listen_http(address: SocketAddr) -> anyhow::Result<Vec<TcpListener>> {
    let listeners = listener::open(address)
        .map_err(|ListenError { address, error }| cannot_listen(error, address, LISTEN_PORT))?
        .into_iter()
        .map(TcpListener::from_std)
        .collect::<Result<Vec<_>, _>>()?;
    if address.ip().is_unspecified() && listeners.len() == 1 {
        tracing::info!(%address, "metrics and probes listen on the only address family of this node");
    }
    Ok(listeners)
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| cannot_listen(error, address, option))
}

fn cannot_listen(error: io::Error, address: SocketAddr, option: &str) -> anyhow::Error {
    let hint = bind_hint(&error, address.ip(), option);
    anyhow!(error).context(format!("cannot listen on {address}: {hint}"))
}
