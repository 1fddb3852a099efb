//! The command line: every command, flag, variable and default is defined here, once.
//!
//! The options of the agent's configuration stay texts here. [`crate::config`] reads them and
//! reports all errors at once, since nobody should have to restart a DaemonSet for each mistake in
//! a ConfigMap. Values typed at a prompt are read by clap, and their errors have the same form.

mod error;
mod options;
mod variables;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use iperf3_mesh_core::MeshName;
use iperf3_mesh_core::seal::{KeyId, Role};
use strum::VariantArray;

use crate::units::{self, InvalidValue};

pub use options::{
    AccessArgs, Iperf3Arg, MeshArgs, NodeArgs, OutputArgs, PortArgs, SecurityArgs, TestArgs,
};
pub use variables::{UnreadVariable, unread_variables};

/// The exit code for an unusable command line or configuration, the same as clap's.
pub const EXIT_USAGE: u8 = 2;

const NOTES: &str = "\
An empty variable counts as unset, and a flag wins over its variable.
Durations: 500ms, 5s, 2m, 1h, or plain seconds.
Bitrates: 500k, 10M, 1G, 100Mbit/s, or plain bit/s.
RUST_LOG sets the log level: error, warn, info (the default), debug, trace, off.

Exit codes:
  0  success
  1  a command that failed, or a bad result: a failed cell (local --sweeps),
     a plan above --max-age, a finding of level error (check)
  2  a command line or configuration that cannot be used";

/// The whole command line.
#[derive(Clone, Debug, Parser)]
#[command(name = "iperf3-mesh", version, about, after_help = NOTES)]
pub struct Cli {
    /// The command to run.
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
    /// Show the cost of a mesh and the age of its cells before you deploy it
    Plan(Box<PlanArgs>),
    /// Show what would keep this node out of the mesh, and how to fix it
    Check(Box<CheckArgs>),
    /// Make keys for the mesh
    Key(KeyArgs),
}

impl Cli {
    /// Reads the command line and the environment. On an error, or if the user asks for help,
    /// prints the text and ends the process.
    pub fn get() -> Self {
        Self::read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    /// Reads the environment and `words`. The first of `words` is the program's name.
    ///
    /// # Errors
    /// Returns an error if `words` are not a command line of this program, or if they ask for help
    /// or for the version.
    pub fn read<I, W>(words: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = W>,
        W: Into<OsString> + Clone,
    {
        let command = Self::command().mut_subcommands(|subcommand| subcommand.after_help(NOTES));
        let mut command = variables::without_empty(command);
        let words = error::with_negative_values(words.into_iter().map(Into::into));
        let matches = command
            .try_get_matches_from_mut(words)
            .map_err(error::in_house_form)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    }
}

/// Returns the name of an option as shown in messages, with flag and variable: `--duration
/// (IPERF_TEST_DURATION)`.
///
/// `id` is the name of the option's field in the structs of this module.
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

/// The options of `agent`.
#[derive(Clone, Debug, Args)]
pub struct AgentArgs {
    /// The identity and address of this node.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Discovery and departure of other nodes.
    #[command(flatten)]
    pub mesh: MeshArgs,
    /// The keys of the mesh, and what is allowed without one.
    #[command(flatten)]
    pub security: SecurityArgs,
    /// The ports of this node.
    #[command(flatten)]
    pub ports: PortArgs,
    /// The clients of the HTTP ports.
    #[command(flatten)]
    pub access: AccessArgs,
    /// The tests and the pause between sweeps.
    #[command(flatten)]
    pub tests: TestArgs,
    /// The iperf3 program.
    #[command(flatten)]
    pub iperf3: Iperf3Arg,
    /// Metrics and log.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The options of `local`.
#[derive(Clone, Debug, Args)]
// The options must be cheap by default: two cores carry some Gbit/s over loopback, which up to 64
// nodes share, and nobody waits five minutes at a prompt. If an option is repeated, the last value
// counts, because `make demo` has options of its own and accepts more.
#[command(
    args_override_self = true,
    mut_arg("duration", |arg| arg.default_value("1s")),
    mut_arg("interval", |arg| arg.default_value("2s")),
    mut_arg("bitrate", |arg| arg.default_value("100M")),
    mut_arg("output", |arg| arg.help("Output format: table (progress, then a heatmap) or json")),
)]
pub struct LocalArgs {
    /// Number of nodes to run, 2 to 64
    #[arg(long, value_name = "COUNT", default_value = "4",
          value_parser = |text: &str| units::number(text, 2..=LOCAL_NODES_MAX))]
    pub nodes: usize,
    /// Number of sweeps to run; exit 0 only if every cell succeeded [default: until ctrl-c]
    #[arg(long, value_name = "COUNT", value_parser = sweeps)]
    pub sweeps: Option<u64>,
    /// Output for people or for programs.
    #[command(flatten)]
    pub format: FormatArg,
    /// When to use colours.
    #[command(flatten)]
    pub color: ColorArg,
    /// The ports of the nodes, each on a loopback address of its own.
    #[command(flatten)]
    pub ports: PortArgs,
    /// The tests and the pause between sweeps.
    #[command(flatten)]
    pub tests: TestArgs,
    /// The iperf3 program.
    #[command(flatten)]
    pub iperf3: Iperf3Arg,
}

/// The options of `matrix`.
#[derive(Clone, Debug, Args)]
pub struct MatrixArgs {
    /// Address of any agent: HOST, HOST:PORT or http://HOST:PORT
    #[arg(default_value = "127.0.0.1:9876")]
    pub address: String,
    /// Output format: heatmap, table, json or csv
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
    /// File with a key of the mesh, of any role: the answer is sealed, and comes from an agent of
    /// the mesh [default: none]
    #[arg(long, env = "MESH_KEY_FILE", value_name = "PATH")]
    pub key_file: Option<PathBuf>,
    /// Name of the mesh that the key belongs to
    #[arg(
        long,
        env = "MESH_NAME",
        value_name = "NAME",
        default_value = "iperf3-mesh",
        value_parser = units::mesh_name
    )]
    pub mesh: MeshName,
    /// When to use colours.
    #[command(flatten)]
    pub color: ColorArg,
}

/// The options of `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Number of nodes in the mesh, 2 to 1000
    #[arg(long, value_name = "COUNT",
          value_parser = |text: &str| units::number(text, 2..=PLAN_NODES_MAX))]
    pub nodes: usize,
    /// Time that a message takes from agent to agent, at most 1s
    #[arg(long, value_name = "DURATION", default_value = "0.5ms",
          value_parser = |text: &str| units::duration_in(text, Duration::ZERO..=LATENCY_MAX))]
    pub latency: Duration,
    /// Share of tests that hang, 0 to 0.5
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = units::share)]
    pub fail: f64,
    /// Time that a hanging test lasts [default: until its --timeout]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub fail_time: Option<Duration>,
    /// Share of packets that the network loses between agents, 0 to 0.5
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = units::share)]
    pub loss: f64,
    /// Difference between the nodes' clocks; verifies that clock skew has no effect
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = units::duration)]
    pub skew: Duration,
    /// Share of nodes that are replaced during a sweep, 0 to 0.5
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = units::share)]
    pub churn: f64,
    /// Greatest acceptable age of a cell; exit 1 if the plan exceeds it [default: any]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    pub max_age: Option<Duration>,
    /// Seed of the simulation's random numbers
    #[arg(long, value_name = "NUMBER", default_value = "1",
          value_parser = |text: &str| units::number(text, 0..=u64::MAX))]
    pub seed: u64,
    /// Output for people or for programs.
    #[command(flatten)]
    pub format: FormatArg,
    /// The tests and the pause between sweeps.
    #[command(flatten)]
    pub tests: TestArgs,
}

/// The options of `check`: all those of `agent`, so that the same command line can be checked.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Output for people or for programs.
    #[command(flatten)]
    pub format: FormatArg,
    /// The command line to check.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// The options of `key`.
#[derive(Clone, Debug, Args)]
pub struct KeyArgs {
    /// The command to run.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// The commands below `key`.
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Print a new key, as a line of a key file
    Generate(GenerateArgs),
}

/// The options of `key generate`.
#[derive(Clone, Debug, Args)]
pub struct GenerateArgs {
    /// Name of the key in metrics and logs [default: the date and four digits]
    #[arg(long, value_name = "ID", value_parser = key_id)]
    pub id: Option<KeyId>,
    /// Rights of its holders: member (joins, reads and writes) or operator (reads and writes)
    #[arg(long, value_name = "ROLE", default_value = "member", value_parser = role)]
    pub role: Role,
}

fn key_id(text: &str) -> Result<KeyId, InvalidValue> {
    KeyId::new(text.trim()).ok_or_else(|| {
        InvalidValue::new(
            "1 to 32 lower-case letters, digits, '-' and '.'",
            "Leave it out for the date and four digits.",
        )
    })
}

fn role(text: &str) -> Result<Role, InvalidValue> {
    let names = Role::VARIANTS.iter().map(Role::to_string);
    text.trim()
        .parse()
        .map_err(|_| units::not_one_of(&names.collect::<Vec<_>>()))
}

/// The output of a command that has only these two formats.
#[derive(Clone, Copy, Debug, Args)]
pub struct FormatArg {
    /// Output format: table or json
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    pub output: OutputFormat,
}

/// When a command uses colours.
#[derive(Clone, Copy, Debug, Args)]
pub struct ColorArg {
    /// Colours: auto (on a terminal, as TERM, NO_COLOR and CLICOLOR_FORCE say), always or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub color: ColorChoice,
}

/// The maximum number of nodes of `local`, because their agents and tests share one machine.
const LOCAL_NODES_MAX: usize = 64;
/// The maximum number of nodes of `plan`, because the simulation of a larger mesh takes too long.
const PLAN_NODES_MAX: usize = 1000;
/// The maximum latency of a mesh that still works.
const LATENCY_MAX: Duration = Duration::from_secs(1);

fn sweeps(text: &str) -> Result<u64, InvalidValue> {
    text.trim()
        .parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| {
            InvalidValue::new(
                "a number of at least 1",
                "Leave it out to run until ctrl-c.",
            )
        })
}

/// Output for people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Aligned text.
    Table,
    /// One JSON document.
    Json,
}

/// The output of `matrix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MatrixFormat {
    /// Source by destination, coloured on a terminal.
    Heatmap,
    /// One line for each cell.
    Table,
    /// The document of the read API.
    Json,
    /// One line for each cell, comma-separated, with a header.
    Csv,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal that shows them, unless the environment says otherwise.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
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
