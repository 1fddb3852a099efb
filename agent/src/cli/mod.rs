//! The command line: every command, flag, variable and default is defined here, once.
//!
//! What goes into the agent's configuration is taken as text and read by [`crate::config`], which
//! tells of all problems at once: whoever edits a ConfigMap should not have to restart a DaemonSet
//! for each of them. What somebody types at a prompt is read by clap at once.

mod options;

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::units;

pub use options::{Iperf3Arg, ListenArg, MeshArgs, NodeArgs, OutputArgs, PortArgs, TestArgs};

/// The exit code for a command line or a configuration that cannot be used, as clap has it.
pub const EXIT_USAGE: u8 = 2;

const NOTES: &str = "\
An empty variable counts as unset, and a flag wins over its variable.
Durations: 500ms, 5s, 2m, 1h, or plain seconds. Bitrates: 500k, 10M, 1G, or plain bit/s.
RUST_LOG sets the log level (error, warn, info, debug, trace), info unless set.";

/// The whole command line.
#[derive(Clone, Debug, Parser)]
#[command(name = "iperf3-mesh", version, about, after_help = NOTES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Take part in the mesh as one node: what the DaemonSet runs
    Agent(Box<AgentArgs>),
    /// Run a whole mesh on this machine's loopback, without Kubernetes
    Local(Box<LocalArgs>),
    /// Ask any agent for the whole matrix and print it
    Matrix(MatrixArgs),
    /// Tell what a mesh will cost and how old its cells get, before deploying it
    Plan(Box<PlanArgs>),
    /// Tell what would stop this node from taking part, with each hint
    Check(Box<CheckArgs>),
}

impl Cli {
    /// Reads the command line and the environment; on an error, or to give help, prints and ends
    /// the process.
    pub fn get() -> Self {
        Self::read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads `words`, the first of which is the program's name, and the environment.
    ///
    /// # Errors
    /// If `words` are no command line of this program; also if they ask for help or for the
    /// version.
    pub fn read<I, W>(words: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = W>,
        W: Into<OsString> + Clone,
    {
        let command = Self::command().mut_subcommands(|task| task.after_help(NOTES));
        let mut command = without_empty_variables(command);
        let matches = command.try_get_matches_from_mut(words)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// Kubernetes hands over an unset value as an empty variable, and clap would take it for a value.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let forget = |arg: Arg| {
        let empty = arg
            .get_env()
            .is_some_and(|name| std::env::var_os(name).is_some_and(|v| v.is_empty()));
        if empty { arg.env(None) } else { arg }
    };
    command
        .mut_args(forget)
        .mut_subcommands(without_empty_variables)
}

/// How an option is called in messages, flag and variable: `--duration (IPERF_TEST_DURATION)`.
///
/// `id` is the name of its field in the structures here.
pub(crate) fn option_name(id: &str) -> String {
    let cli = Cli::command();
    let arg = cli
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .find(|arg| arg.get_id() == id);
    let flag = arg.and_then(Arg::get_long).unwrap_or(id);
    match arg.and_then(Arg::get_env) {
        Some(variable) => format!("--{flag} ({})", variable.to_string_lossy()),
        None => format!("--{flag}"),
    }
}

/// The variables of this process that look like those of the options, and that none reads:
/// misspelt, most likely.
pub fn unread_variables() -> Vec<String> {
    let cli = Cli::command();
    let args: Vec<_> = cli
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .collect();
    let is_ours = |name: &str| {
        ["IPERF_", "MESH_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    let is_read = |name: &str| {
        args.iter()
            .any(|arg| arg.get_env().is_some_and(|env| env == name))
    };
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut unread: Vec<String> = names
        .filter(|name| is_ours(name) && !is_read(name))
        .collect();
    unread.sort();
    unread
}

/// The options of `agent`.
#[derive(Clone, Debug, Args)]
pub struct AgentArgs {
    /// Who this node is.
    #[command(flatten)]
    pub node: NodeArgs,
    /// How it finds the others.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// Where it listens.
    #[command(flatten)]
    pub ports: PortArgs,
    /// What it measures.
    #[command(flatten)]
    pub tests: TestArgs,
    /// The iperf3 that it runs.
    #[command(flatten)]
    pub iperf3: Iperf3Arg,
    /// What it exports and logs.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The options of `local`.
#[derive(Clone, Debug, Args)]
// Two cores carry some Gbit/s over loopback, which 64 nodes share; and nobody waits five minutes at
// a prompt. Of an option that is given twice the last one counts: `make demo` has its own, and
// takes more.
#[command(
    args_override_self = true,
    mut_arg("duration", |arg| arg.default_value("1s")),
    mut_arg("interval", |arg| arg.default_value("2s")),
    mut_arg("bitrate", |arg| arg.default_value("100M")),
)]
pub struct LocalArgs {
    /// How many nodes to run, 2 to 64
    #[arg(long, value_name = "COUNT", default_value_t = 4,
          value_parser = RangedU64ValueParser::<usize>::new().range(2..=64))]
    pub nodes: usize,
    /// Sweeps to run; exit 0 only if every cell succeeded [default: until ctrl-c]
    #[arg(long, value_name = "COUNT", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub sweeps: Option<u64>,
    /// What to print: table (progress, then a heatmap) or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    pub output: OutputFormat,
    /// Where the nodes listen, each on a loopback address of its own.
    #[command(flatten)]
    pub ports: PortArgs,
    /// What is measured.
    #[command(flatten)]
    pub tests: TestArgs,
    /// The iperf3 that it runs.
    #[command(flatten)]
    pub iperf3: Iperf3Arg,
}

/// The options of `matrix`.
#[derive(Clone, Debug, Args)]
pub struct MatrixArgs {
    /// Any agent: host, host:port or URL
    #[arg(default_value = "127.0.0.1:9876")]
    pub address: String,
    /// What to print: heatmap, table, json or csv
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "heatmap",
        hide_possible_values = true
    )]
    pub output: MatrixFormat,
    /// Cells to print: tcp, udp or both
    #[arg(long, default_value = "both", hide_possible_values = true)]
    pub protocol: Protocols,
    /// Longest wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = units::duration)]
    pub timeout: Duration,
}

/// The options of `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// How many nodes the mesh has, 2 to 1000
    #[arg(long, value_name = "COUNT", value_parser = RangedU64ValueParser::<usize>::new().range(2..=1000))]
    pub nodes: usize,
    /// Time that a message takes from agent to agent
    #[arg(long, value_name = "DURATION", default_value = "0.5ms", value_parser = latency)]
    pub latency: Duration,
    /// Share of tests that hang, 0 to 0.5
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub fail: f64,
    /// How long they hang [default: until their --timeout]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub fail_time: Option<Duration>,
    /// Share of packets that the network loses between the agents, 0 to 0.5
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub loss: f64,
    /// How far the nodes' clocks are apart
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = units::duration)]
    pub skew: Duration,
    /// Share of nodes that are replaced during a sweep, 0 to 0.5
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = share)]
    pub churn: f64,
    /// Greatest age of a cell that is good enough; exit 1 if the plan exceeds it [default: any]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub max_age: Option<Duration>,
    /// Seed of the simulation's random numbers
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// What to print: table or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    pub output: OutputFormat,
    /// What is measured.
    #[command(flatten)]
    pub tests: TestArgs,
}

/// The options of `check`: all those of `agent`, so that the same command line can be checked.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// What to print: table or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    pub output: OutputFormat,
    /// The command line under check.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// The longest latency that still makes a mesh.
const LATENCY_MAX: Duration = Duration::from_secs(1);

fn latency(text: &str) -> Result<Duration, String> {
    let latency = units::duration(text).map_err(|wrong| wrong.to_string())?;
    if latency > LATENCY_MAX {
        return Err(format!("expected at most {}", units::show(LATENCY_MAX)));
    }
    Ok(latency)
}

fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    let share = share.filter(|share| (0.0..=0.5).contains(share));
    share.ok_or_else(|| "expected a share from 0 to 0.5, as 0.05 for 5 %".to_owned())
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Aligned text.
    Table,
    /// One JSON document.
    Json,
}

/// How `matrix` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MatrixFormat {
    /// Source by destination, coloured on a terminal.
    Heatmap,
    /// One line a cell.
    Table,
    /// The document of the read API.
    Json,
    /// One line a cell, comma-separated, with a header.
    Csv,
}

/// One protocol, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocols {
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
    /// TCP, then UDP.
    Both,
}
