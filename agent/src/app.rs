//! One agent from its start to its end: what is opened in which order, and how it is closed again.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use mesh::gossip::{Gossip, GossipConfig};
use mesh::{Epoch, Node, NodeName, PortRange, Settings, TestSpec};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::board::{Board, Identity};
use crate::check::{self, Level};
use crate::clock::{boot_now, unix_now_ns};
use crate::config::Config;
use crate::control::{self, Postman};
use crate::discovery::{self, Finds};
use crate::driver::Driver;
use crate::iperf::Iperf;
use crate::metrics::{FailedCells, Metrics};
use crate::net::{self, Listen};
use crate::runs::Runs;
use crate::{cli, client, http};

/// Inputs that wait for the driver at once.
const INPUTS_MAX: usize = 1024;

/// How long a stopping agent gives its last messages.
const LAST_MESSAGES_WITHIN: Duration = Duration::from_millis(500);

/// Between two rounds of gossip.
const GOSSIP_INTERVAL: Duration = Duration::from_secs(1);

/// What one agent needs to know.
pub struct Setup {
    /// Its node.
    pub name: NodeName,
    /// Its zone, empty if it has none.
    pub zone: String,
    /// Where it listens.
    pub listen: Listen,
    /// The ports of its iperf3 servers.
    pub iperf_ports: PortRange,
    /// The tests of one direction of a meeting.
    pub tests: Vec<TestSpec>,
    /// The pause after a sweep.
    pub interval: Duration,
    /// After which silence a node has departed, if not the default.
    pub forget_after: Option<Duration>,
    /// It has no earlier life to be quiet for.
    pub no_past: bool,
    /// What is exported of a failed cell.
    pub failed_cells: FailedCells,
    /// Between two rounds of gossip.
    pub gossip_interval: Duration,
    /// The program that measures.
    pub iperf: Iperf,
}

/// A running agent.
pub struct Agent {
    /// What it knows.
    pub board: Board,
    gossip: Gossip,
    driver: Driver,
    http: TcpListener,
    control: TcpListener,
    client: client::Client,
    inputs: mpsc::Sender<mesh::Input>,
    address: IpAddr,
}

impl Agent {
    /// The address at which the others reach it.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Opens everything that can fail to open, and starts gossip; nothing is measured before [`Self::run`].
    ///
    /// # Errors
    /// If a port cannot be opened; the message names the option.
    pub async fn start(setup: Setup) -> anyhow::Result<Self> {
        let epoch = Epoch(rand::random());
        let http = listen(setup.listen.http, "--listen-port (LISTEN_PORT)").await?;
        let control = listen(setup.listen.control, "--control-port (MESH_CONTROL_PORT)").await?;
        let gossip = Gossip::over_udp(GossipConfig {
            name: setup.name.clone(),
            epoch,
            generation: unix_now_ns() / 1_000_000_000,
            zone: setup.zone.clone(),
            advertise: setup.listen.gossip,
            listen: setup.listen.gossip,
            control: setup.listen.control,
            http_port: setup.listen.http.port(),
            interval: setup.gossip_interval,
        })
        .await?;
        let protocols: Vec<_> = setup.tests.iter().map(|test| test.protocol).collect();
        let metrics = Metrics::new(crate::metrics::Settings {
            source: setup.name.clone(),
            protocols: protocols.clone(),
            failed_cells: setup.failed_cells,
            pause: setup.interval,
            iperf3_version: setup.iperf.version().to_string(),
        })?;
        let (name, zone) = (setup.name.clone(), setup.zone);
        let board = Board::new(Identity { name, zone, epoch, protocols }, metrics.clone());
        let (inputs, inputs_out) = mpsc::channel(INPUTS_MAX);
        let client = client::Client::default();
        let address = setup.listen.address;
        let node = Node::new(
            Settings {
                name: setup.name.clone(),
                epoch,
                address,
                ports: setup.iperf_ports,
                tests: setup.tests,
                interval: setup.interval,
                forget_after: setup.forget_after,
                no_past: setup.no_past,
            },
            boot_now(),
        );
        let driver = Driver {
            node,
            board: board.clone(),
            runs: Runs::new((setup.name, epoch), address, setup.iperf, metrics, inputs.clone()),
            postman: Postman::new(client.clone(), inputs.clone()),
            inputs: inputs_out,
            last_sweep: None,
        };
        Ok(Self { board, gossip, driver, http, control, client, inputs, address })
    }

    /// Gossips with the agents at these addresses, if they are not known already.
    pub fn join(&self, peers: &[SocketAddr]) {
        self.gossip.join(peers);
    }

    /// Works until `stop`, and then leaves properly: ends the meeting, says goodbye, closes the ports. Takes
    /// less than 5 s for that. `find` is what looks for peers meanwhile.
    ///
    /// # Errors
    /// If gossip is beyond help.
    pub async fn run(
        self,
        stop: CancellationToken,
        find: impl AsyncFn(Finds<'_>),
    ) -> anyhow::Result<()> {
        let Self { board, gossip, driver, http, control, client, inputs, .. } = self;
        let finds = Finds { gossip: &gossip, inputs: inputs.clone() };
        let close = CancellationToken::new();
        let pages = tokio::spawn(http::serve(http, board.clone(), client, close.clone()));
        let messages = control::serve(control, inputs, board.metrics().clone(), close.clone());
        let messages = tokio::spawn(messages);
        board.set_listening(true);

        let postman = driver.postman.clone();
        let failed = tokio::select! {
            () = driver.run(&gossip, stop.clone()) => None,
            reason = gossip.failed() => Some(reason),
            () = find(finds) => None,
        };
        board.set_listening(false);
        if let Some(reason) = failed {
            bail!("gossip has failed: {reason}");
        }
        postman.flush(LAST_MESSAGES_WITHIN).await;
        close.cancel();
        let _ = tokio::join!(gossip.goodbye(), pages, messages);
        Ok(())
    }
}

/// The `agent` command: runs until SIGTERM or SIGINT.
///
/// # Errors
/// If iperf3 cannot be used, if there is no address to advertise, if a port cannot be opened, or if gossip fails.
pub async fn run(config: Config) -> anyhow::Result<()> {
    // First of all: who is process 1 of a container gets no signal that it does not handle.
    let stop = stop_on_signals()?;
    for variable in cli::unread_variables() {
        tracing::warn!(variable, "no option reads this variable; is it misspelt?");
    }
    let tests = config.tests();
    let look = async {
        let iperf = probe(&config.iperf3, &tests).await?;
        let within = discovery::RESOLVED_WITHIN;
        let seeds = net::resolve(&config.join, config.ports.gossip, within).await;
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
        listen: Listen::new(advertised.address, &config.ports),
        iperf_ports: config.ports.iperf_range(),
        tests,
        interval: config.settings.interval,
        forget_after: config.forget_after,
        no_past: config.no_past,
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
        version = crate::board::VERSION,
        "the agent starts"
    );
    if !setup.no_past {
        let seconds = mesh::QUIET.as_secs();
        tracing::info!(
            seconds,
            "quiet at first: no tests, since an earlier life may have promised some"
        );
    }
    let own = setup.listen.gossip;
    let agent = Agent::start(setup).await?;
    let metrics = agent.board.metrics().clone();
    let find = async |finds: Finds<'_>| {
        // The state of an HTTP client is large, and would make every future around it so.
        Box::pin(discovery::find_peers(&finds, &config, own, metrics.clone())).await;
    };
    agent.run(stop, find).await?;
    tracing::info!("the agent has left the mesh");
    Ok(())
}

/// Finds iperf3 and checks that it can run the tests.
///
/// # Errors
/// If it is missing or too old, or lacks what a test or its own working needs; the message names the mend.
pub async fn probe(program: &Path, tests: &[TestSpec]) -> anyhow::Result<Iperf> {
    let iperf = Iperf::probe(program).await?;
    let version = iperf.version();
    if tests.iter().any(|test| test.bidir) && !version.names_bidir() {
        bail!(
            "--bidir (IPERF_BIDIR) needs iperf3 3.11 or newer, and {} is {version}: \
             install a newer one, or leave the option out",
            iperf.program().display()
        );
    }
    let directory = check::temporary_directory(&std::env::temp_dir());
    if let (Level::Error, Some(mend)) = (directory.level, directory.mend) {
        bail!("{}. {mend}", directory.detail);
    }
    for loss in version.lost_without() {
        tracing::warn!(%version, "this iperf3 is old: {loss}");
    }
    Ok(iperf)
}

/// A token that the first SIGTERM or SIGINT cancels.
///
/// # Errors
/// If the signals cannot be handled.
pub fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, stop) =
            (signal(kind).context("signals cannot be handled")?, stop.clone());
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

async fn listen(address: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}: choose another port with {option}, or end who has it")
    })
}
