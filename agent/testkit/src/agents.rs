//! An agent on a loopback address of its own, treated as its users and its enemies would.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use nix::sys::signal::Signal;

use crate::answers::Matrix;
use crate::events::{self, Event};
use crate::http::{self, Series};
use crate::{Ended, Network, Program, STOP};

/// Where agents answer HTTP.
const LISTEN_PORT: u16 = 9876;

/// What makes a mesh quick: tests as short and as gentle as can be, and hardly a pause.
pub const QUICK: [&str; 7] = [
    "--duration=1s",
    "--timeout=5s",
    "--interval=1s",
    "--bitrate=20M",
    "--forget-after=1m",
    "--log-format=json",
    "--discovery=static",
];

/// One life of an agent. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Agent {
    /// The name of its node.
    pub name: String,
    /// Where it listens.
    pub address: Ipv4Addr,
    /// Its process.
    pub program: Program,
}

impl Agent {
    /// Starts the agent `name` as that host of `network`: quick, without a past, and to join host
    /// 1. `args` come last.
    pub fn start(network: Network, host: u8, name: &str, args: &[&str]) -> Self {
        let join = format!("--join={}", network.address(1));
        Self::start_with(
            network,
            host,
            name,
            &[&QUICK[..], &["--skip-quiet-time", &join], args].concat(),
        )
    }

    /// Starts it with nothing but its name, its address, and `args`.
    pub fn start_with(network: Network, host: u8, name: &str, args: &[&str]) -> Self {
        let address = network.address(host);
        let own = [
            "agent",
            "--node-name",
            name,
            "--advertise-address",
            &address.to_string(),
        ]
        .map(str::to_owned);
        let all: Vec<&str> = own
            .iter()
            .map(String::as_str)
            .chain(args.iter().copied())
            .collect();
        Self {
            name: name.to_owned(),
            address,
            program: Program::start(&all),
        }
    }

    /// Where it answers HTTP.
    pub fn http(&self) -> SocketAddr {
        (self.address, LISTEN_PORT).into()
    }

    /// The body of a path.
    ///
    /// # Errors
    /// If it does not answer with 200 in time.
    pub fn get(&self, path: &str) -> io::Result<String> {
        http::get(self.http(), path)
    }

    /// The matrix that it answers with; an empty one if it does not.
    pub fn matrix(&self) -> Matrix {
        let answer = self
            .get("/api/v1/matrix")
            .map_err(|error| error.to_string());
        let matrix = answer.and_then(|answer| Matrix::parse(&answer));
        matrix.unwrap_or(Matrix {
            nodes: Vec::new(),
            cells: Vec::new(),
        })
    }

    /// Its series; none if it does not answer.
    pub fn series(&self) -> Vec<Series> {
        self.get("/metrics")
            .map(|text| http::series(&text))
            .unwrap_or_default()
    }

    /// The sum of its series of that name; `None` if there is none.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.labelled(name, &[])
    }

    /// The sum of its series of that name with these labels; `None` if there is none.
    pub fn labelled(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let series = self.series();
        let found = series.iter().filter(|series| {
            series.name == name && labels.iter().all(|(label, value)| series.has(label, value))
        });
        found
            .map(|series| series.value)
            .reduce(|sum, value| sum + value)
    }

    /// The nodes that it counts to the mesh, itself among them, with what it thinks of each.
    pub fn states(&self) -> BTreeMap<String, String> {
        self.matrix()
            .nodes
            .into_iter()
            .map(|node| (node.name, node.state))
            .collect()
    }

    /// The names of the sources and destinations of the cells that it knows to be good.
    pub fn good_cells(&self) -> Vec<(String, String)> {
        let cells = self
            .matrix()
            .cells
            .into_iter()
            .filter(|cell| cell.success == Some(true));
        cells
            .map(|cell| (cell.source_node, cell.destination_node))
            .collect()
    }

    /// The events in its log.
    pub fn events(&self) -> Vec<Event> {
        let log = self.program.stderr();
        // The last line may be half written.
        events::parse(log.rfind('\n').map_or("", |end| &log[..end])).unwrap()
    }

    /// Asks it to stop, and waits until it has.
    #[track_caller]
    pub fn terminate(&mut self) -> Ended {
        self.program.signal(Signal::SIGTERM);
        self.program.ended(STOP)
    }
}
