//! The agent's configuration: from the texts of the command line and the environment to values that
//! can be used.
//!
//! Everything that can be known without touching the network is checked here, and all problems are
//! told at once. Whether the ports are free and the names resolve is for [`crate::commands::check`]
//! and for the start to find out.

mod address;
mod discovery;
mod environment;
pub(crate) mod error;
mod failed_cells;
mod join;
mod kubernetes;
mod ports;
mod settings;

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use iperf3_mesh_core::gossip::ZONE_LEN_MAX;
use iperf3_mesh_core::{NodeName, TestSpec};

use crate::cli::AgentArgs;
use crate::units;
use error::OptionErrors;

pub use address::IpFamily;
pub use discovery::Discovery;
pub use environment::Environment;
pub use error::{ConfigErrors, InvalidValue, OptionError};
pub use failed_cells::FailedCells;
pub use join::JoinTarget;
pub use ports::Ports;
pub use settings::TestSettings;

const FORGET_AFTER_MIN: Duration = Duration::from_secs(60);
const FORGET_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What an agent is told, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of this node in the matrix.
    pub node_name: NodeName,
    /// Its zone, empty if it has none.
    pub zone: String,
    /// The address at which the others reach it; `None` if it is to be found
    /// ([`crate::net::advertise_address`]).
    pub advertise_address: Option<IpAddr>,
    /// The family of addresses to use where there are both; `None` is whichever comes first.
    pub ip_family: Option<IpFamily>,
    /// It certainly ran no agent during the last minute: no quiet time after the start.
    pub skip_quiet_time: bool,
    /// Whom to join.
    pub join: Vec<JoinTarget>,
    /// How agents are found.
    pub discovery: Discovery,
    /// The namespace of the agents; `None` is the pod's own.
    pub namespace: Option<String>,
    /// What the agents' pods have in common.
    pub label_selector: String,
    /// After which silence a node counts as departed. `None` is the longer of 15 minutes and two
    /// periods, and follows the size of the mesh.
    pub forget_after: Option<Duration>,
    /// Where it listens.
    pub ports: Ports,
    /// What is measured, and how often.
    pub settings: TestSettings,
    /// The iperf3 program; without a slash it is looked for on the `PATH`.
    pub iperf3: PathBuf,
    /// What is exported of a failed cell.
    pub failed_cells: FailedCells,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Config {
    /// The tests of one direction of a meeting, in their order.
    pub fn tests(&self) -> Vec<TestSpec> {
        self.settings.specs()
    }

    /// Checks `args`; `around` gives the defaults that are not constants.
    ///
    /// # Errors
    /// All problems at once.
    pub fn new(args: &AgentArgs, env: &Environment) -> Result<Self, ConfigErrors> {
        let AgentArgs {
            node,
            mesh,
            ports,
            tests,
            iperf3,
            output,
        } = args;
        let mut problems = OptionErrors::default();
        let name = node.node_name.as_deref().unwrap_or(&env.host_name);
        let node_name = problems.read("node_name", name, node_name);
        let zone = problems.read("zone", &node.zone, zone);
        let ip_family = problems.read_if_given("ip_family", node.ip_family.as_deref(), choice);
        let advertise_address = problems.read_if_given(
            "advertise_address",
            node.advertise_address.as_deref(),
            |text| address::advertise_address(text, ip_family.flatten()),
        );
        let skip_quiet_time = problems.read("skip_quiet_time", &node.skip_quiet_time, switch);
        let join = join_targets(&mut problems, &mesh.join);
        let how = mesh.discovery.as_deref().unwrap_or(env.discovery());
        let discovery = problems.read("discovery", how, |text| {
            discovery::discovery(text, env, &mesh.join)
        });
        let namespace = problems.read_if_given(
            "namespace",
            mesh.namespace.as_deref(),
            kubernetes::namespace,
        );
        let label_selector = problems.read(
            "label_selector",
            &mesh.label_selector,
            kubernetes::label_selector,
        );
        let forget_after =
            problems.read_if_given("forget_after", mesh.forget_after.as_deref(), forget_after);
        let ports = problems.merge(Ports::try_from(ports));
        let settings = problems.merge(TestSettings::try_from(tests));
        let iperf3 = problems.read("iperf3", &iperf3.iperf3, program);
        let failed_cells = problems.read("failed_cells", &output.failed_cells, choice);
        let log_format = problems.read("log_format", &output.log_format, choice);
        let config = || {
            Some(Self {
                node_name: node_name?,
                zone: zone?,
                advertise_address: advertise_address?,
                ip_family: ip_family?,
                skip_quiet_time: skip_quiet_time?,
                join: join?,
                discovery: discovery?,
                namespace: namespace?,
                label_selector: label_selector?,
                forget_after: forget_after?,
                ports: ports?,
                settings: settings?,
                iperf3: iperf3?,
                failed_cells: failed_cells?,
                log_format: log_format?,
            })
        };
        problems.finish(config())
    }
}

impl TryFrom<AgentArgs> for Config {
    type Error = ConfigErrors;

    fn try_from(args: AgentArgs) -> Result<Self, ConfigErrors> {
        Self::new(&args, &Environment::look())
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn node_name(text: &str) -> Result<NodeName, InvalidValue> {
    NodeName::new(text).map_err(|error| {
        InvalidValue::new(
            format!("a name for this node; {error}"),
            "Set it to a name that no other node has; not set, it is the host name.",
        )
    })
}

fn zone(text: &str) -> Result<String, InvalidValue> {
    let sane = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if sane && text.len() <= ZONE_LEN_MAX {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::new(
        format!("at most {ZONE_LEN_MAX} bytes without blanks or control characters"),
        "Shorten it, or leave it empty.",
    ))
}

fn join_targets(problems: &mut OptionErrors, given: &[String]) -> Option<Vec<JoinTarget>> {
    // A comma at the end of a list is a habit, not a mistake.
    let given: Vec<&String> = given
        .iter()
        .filter(|text| !text.trim().is_empty())
        .collect();
    if given.len() > join::JOIN_MAX {
        let wrong = InvalidValue::new(
            format!("at most {}", join::JOIN_MAX),
            "One that answers is enough; a DNS name may stand for all.",
        );
        problems.add("join", &format!("{} targets", given.len()), wrong);
        return None;
    }
    let targets: Vec<_> = given
        .into_iter()
        .map(|text| problems.read("join", text, join::join_target))
        .collect();
    targets.into_iter().collect()
}

fn forget_after(text: &str) -> Result<Duration, InvalidValue> {
    let silence = units::duration(text)?;
    if (FORGET_AFTER_MIN..=FORGET_AFTER_MAX).contains(&silence) {
        return Ok(silence);
    }
    Err(InvalidValue::new(
        format!(
            "from {} to {}",
            units::show(FORGET_AFTER_MIN),
            units::show(FORGET_AFTER_MAX)
        ),
        "Take longer than a restart of a node lasts.",
    ))
}

fn program(text: &str) -> Result<PathBuf, InvalidValue> {
    if text.is_empty() {
        return Err(InvalidValue::new(
            "a path or the name of a program",
            "Leave it out for iperf3 on the PATH.",
        ));
    }
    Ok(PathBuf::from(text))
}

/// Reads one of the words of `T`, in upper or lower case.
fn choice<T: ValueEnum>(text: &str) -> Result<T, InvalidValue> {
    T::from_str(text.trim(), true).map_err(|_| {
        let values = T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value);
        let words: Vec<String> = values.map(|value| value.get_name().to_owned()).collect();
        InvalidValue::new(
            format!("one of {}", words.join(", ")),
            "Choose one of them.",
        )
    })
}

fn switch(text: &str) -> Result<bool, InvalidValue> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(InvalidValue::new(
            "true or false",
            "Leave it out for false.",
        )),
    }
}

fn number<T: FromStr + PartialOrd + Display>(
    text: &str,
    range: RangeInclusive<T>,
) -> Result<T, InvalidValue> {
    text.trim()
        .parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            InvalidValue::new(
                format!("a number from {} to {}", range.start(), range.end()),
                "Set it within that range.",
            )
        })
}
