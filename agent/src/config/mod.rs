//! The agent's configuration. Converts the texts of the command line and the environment into
//! values.
//!
//! This module checks everything that can be checked without the network, and reports all errors at
//! once. Whether ports are free and whether names resolve is checked at the start and by `check`.

mod access;
mod address;
mod discovery;
mod environment;
mod error;
mod failed_cells;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod join;
mod kubernetes;
mod peer_cidr;
mod ports;
mod security;
mod settings;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use iperf3_mesh_core::{NameError, NodeName, TestSpec, ZONE_LEN_MAX, is_zone};
use ipnet::IpNet;

use crate::cli::AgentArgs;
use crate::units::{self, InvalidValue};
use error::OptionErrors;

pub use access::{Access, AllowedHosts};
pub use address::IpFamily;
pub use discovery::Discovery;
pub use environment::Environment;
pub use error::{ConfigErrors, OptionError};
pub use failed_cells::FailedCells;
pub use join::JoinTarget;
pub use ports::Ports;
pub use security::{Auth, Security, SecuritySettings};
pub use settings::TestSettings;

const FORGET_AFTER_MIN: Duration = Duration::from_secs(60);
const FORGET_AFTER_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The largest mesh that gossip has room for.
const MEMBERS_MAX: usize = 4096;

/// The checked configuration of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name of this node in the matrix.
    pub node_name: NodeName,
    /// The zone of this node, empty if it has none.
    pub zone: String,
    /// The address at which other nodes reach this node; `None` lets the agent find the address
    /// ([`crate::own_address::AddressPolicy`]).
    pub advertise_address: Option<IpAddr>,
    /// The address family to use if there are addresses of both families; `None` selects whichever
    /// comes first.
    pub ip_family: Option<IpFamily>,
    /// Whether to skip the quiet time after the start.
    pub skip_quiet_time: bool,
    /// The agents to join.
    pub join: Vec<JoinTarget>,
    /// The networks of the peers; empty if they may have any address.
    pub peer_cidrs: Vec<IpNet>,
    /// The way in which the agent finds its peers.
    pub discovery: Discovery,
    /// The namespace of the agents; `None` selects the pod's own namespace.
    pub namespace: Option<String>,
    /// The label selector of the agents' pods.
    pub label_selector: String,
    /// How long a node must be silent before it counts as departed; `None` selects 15 minutes or
    /// two periods, whichever is longer, and follows the size of the mesh.
    pub forget_after: Option<Duration>,
    /// The maximum number of nodes in the mesh.
    pub members_max: usize,
    /// The keys of the mesh, and what is allowed without one.
    pub security: SecuritySettings,
    /// The ports of the agent.
    pub ports: Ports,
    /// The names and addresses that the HTTP ports know.
    pub access: Access,
    /// The settings of the tests, and the pause between sweeps.
    pub settings: TestSettings,
    /// The iperf3 program. A name without a slash is searched for on the `PATH`.
    pub iperf3: PathBuf,
    /// The exported values of a failed cell.
    pub failed_cells: FailedCells,
    /// The format of log lines.
    pub log_format: LogFormat,
}

impl Config {
    /// Returns the tests of one direction of a meeting, in the order in which they run.
    pub fn tests(&self) -> Vec<TestSpec> {
        self.settings.specs()
    }

    /// Checks `args`. `env` provides the defaults that are not constants.
    ///
    /// # Errors
    /// Returns all errors of the options at once.
    pub fn new(args: &AgentArgs, env: &Environment) -> Result<Self, ConfigErrors> {
        let AgentArgs {
            node,
            mesh,
            security,
            ports,
            access,
            tests,
            iperf3,
            output,
        } = args;
        let mut errors = OptionErrors::default();
        let name = node.node_name.clone().or_else(|| env.node_name());
        let node_name = errors.read("node_name", &name.unwrap_or_default(), |text| {
            node_name(text, env)
        });
        let zone = errors.read("zone", &node.zone, zone);
        let ip_family = errors.read_if_given("ip_family", node.ip_family.as_deref(), choice);
        let advertise_address = errors.read_if_given(
            "advertise_address",
            node.advertise_address.as_deref(),
            |text| address::advertise_address(text, ip_family.flatten()),
        );
        let skip_quiet_time = errors.read("skip_quiet_time", &node.skip_quiet_time, switch);
        let join = join_targets(&mut errors, &mesh.join);
        let peer_cidrs = peer_cidrs(&mut errors, &mesh.peer_cidr);
        let how = mesh.discovery.as_deref().unwrap_or(env.discovery());
        let discovery = errors.read("discovery", how, |text| {
            discovery::discovery(text, env, &mesh.join)
        });
        let namespace = errors.read_if_given(
            "namespace",
            mesh.namespace.as_deref(),
            kubernetes::namespace,
        );
        let label_selector = errors.read(
            "label_selector",
            &mesh.label_selector,
            kubernetes::label_selector,
        );
        let forget_after =
            errors.read_if_given("forget_after", mesh.forget_after.as_deref(), forget_after);
        let members_max = errors.read("members_max", &mesh.members_max, |text| {
            units::number(text, 2..=MEMBERS_MAX)
        });
        let security = errors.merge(SecuritySettings::try_from(security));
        let ports = errors.merge(Ports::try_from(ports));
        let allowed_hosts = errors.read("allowed_hosts", &access.allowed_hosts, AllowedHosts::read);
        let host_addresses = errors.read("host_ip", &access.host_ip, access::host_addresses);
        let names = own_names(env, join.as_deref().unwrap_or_default());
        let settings = errors.merge(TestSettings::try_from(tests));
        let iperf3 = errors.read("iperf3", &iperf3.iperf3, program);
        let failed_cells = errors.read("failed_cells", &output.failed_cells, choice);
        let log_format = errors.read("log_format", &output.log_format, choice);
        let config = || {
            Some(Self {
                node_name: node_name?,
                zone: zone?,
                advertise_address: advertise_address?,
                ip_family: ip_family?,
                skip_quiet_time: skip_quiet_time?,
                join: join?,
                peer_cidrs: peer_cidrs?,
                discovery: discovery?,
                namespace: namespace?,
                label_selector: label_selector?,
                forget_after: forget_after?,
                members_max: members_max?,
                security: security?,
                ports: ports?,
                access: Access {
                    allowed_hosts: allowed_hosts?,
                    names,
                    host_addresses: host_addresses?,
                },
                settings: settings?,
                iperf3: iperf3?,
                failed_cells: failed_cells?,
                log_format: log_format?,
            })
        };
        errors.finish(config())
    }
}

impl TryFrom<AgentArgs> for Config {
    type Error = ConfigErrors;

    fn try_from(args: AgentArgs) -> Result<Self, ConfigErrors> {
        Self::new(&args, &Environment::detect())
    }
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for human readers.
    Text,
    /// One JSON object per line.
    Json,
}

fn node_name(text: &str, env: &Environment) -> Result<NodeName, InvalidValue> {
    NodeName::new(text).map_err(|error| {
        let example = match error {
            NameError::BadCharacter(_) | NameError::BadEnd(_) => NodeName::suggest(text),
            NameError::Empty | NameError::TooLong(_) => None,
        };
        let example = example.map_or_else(String::new, |name| format!(", such as {name}"));
        let host_name = env.node_name().map(|name| NodeName::new(&name));
        let otherwise = if matches!(host_name, Some(Ok(_))) {
            ", or leave it out for the host name."
        } else {
            ": this machine has no usable host name."
        };
        InvalidValue::new(
            format!("a name for this node; {error}"),
            format!("Set it to a name that no other node has{example}{otherwise}"),
        )
    })
}

fn zone(text: &str) -> Result<String, InvalidValue> {
    if is_zone(text) {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::new(
        format!(
            "at most {ZONE_LEN_MAX} letters (A to Z), digits, '-', '_' and '.', with a letter or a \
             digit at both ends"
        ),
        "Write it like the value of a Kubernetes label, or leave it empty.",
    ))
}

fn join_targets(errors: &mut OptionErrors, texts: &[String]) -> Option<Vec<JoinTarget>> {
    let given = given(texts);
    if given.len() > join::JOIN_MAX {
        let error = InvalidValue::new(
            format!("at most {} targets", join::JOIN_MAX),
            "One that answers is enough, and a DNS name may stand for all.",
        );
        errors.add("join", &format!("{} targets", given.len()), error);
        return None;
    }
    let targets: Vec<_> = given
        .into_iter()
        .map(|text| errors.read("join", text, join::join_target))
        .collect();
    targets.into_iter().collect()
}

fn peer_cidrs(errors: &mut OptionErrors, texts: &[String]) -> Option<Vec<IpNet>> {
    let given = given(texts);
    if given.len() > peer_cidr::PEER_CIDRS_MAX {
        let error = InvalidValue::new(
            format!("at most {} networks", peer_cidr::PEER_CIDRS_MAX),
            "Write a network that contains several of them.",
        );
        errors.add("peer_cidr", &format!("{} networks", given.len()), error);
        return None;
    }
    let networks: Vec<_> = given
        .into_iter()
        .map(|text| errors.read("peer_cidr", text, peer_cidr::peer_cidr))
        .collect();
    networks.into_iter().collect()
}

/// Returns the entries of a list. A comma at its end is accepted, because it is a common habit and
/// not a mistake.
fn given(texts: &[String]) -> Vec<&String> {
    let is_given = |text: &&String| !text.trim().is_empty();
    texts.iter().filter(is_given).collect()
}

/// Returns the names of this host and of the agents to join, in lower case.
fn own_names(env: &Environment, join: &[JoinTarget]) -> Vec<String> {
    let join = join.iter().map(|target| target.host.as_str());
    let join = join.map(str::to_ascii_lowercase);
    env.node_name().into_iter().chain(join).collect()
}

fn forget_after(text: &str) -> Result<Duration, InvalidValue> {
    let silence = units::duration(text)?;
    if (FORGET_AFTER_MIN..=FORGET_AFTER_MAX).contains(&silence) {
        return Ok(silence);
    }
    Err(InvalidValue::new(
        format!(
            "a duration from {} to {}",
            units::show(FORGET_AFTER_MIN),
            units::show(FORGET_AFTER_MAX)
        ),
        "Set it within that range, to more than the restart of a node takes.",
    ))
}

fn program(text: &str) -> Result<PathBuf, InvalidValue> {
    if text.is_empty() {
        return Err(InvalidValue::new(
            "a path or the name of a program",
            "Leave it out for the iperf3 on the PATH.",
        ));
    }
    Ok(PathBuf::from(text))
}

/// Reads the name of one of the values of `T`, in upper or lower case.
fn choice<T: ValueEnum>(text: &str) -> Result<T, InvalidValue> {
    T::from_str(text.trim(), true).map_err(|_| {
        let names: Vec<String> = T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect();
        units::not_one_of(&names)
    })
}

fn switch(text: &str) -> Result<bool, InvalidValue> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(InvalidValue::new(
            "true or false",
            "Write one of them, or leave it out for false.",
        )),
    }
}
