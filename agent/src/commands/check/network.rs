//! Checks the advertised address, and the ports on it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use ipnet::IpNet;

use super::running::{self, Running};
use super::{Finding, Level};
use crate::api::Refused;
use crate::cli::option_name;
use crate::config::Config;
use crate::discovery::addresses::Resolved;
use crate::http::listener;
use crate::net::ListenAddrs;
use crate::own_address::{Absence, AddressProblem, AddressSource, Advertised, NoAddress, absence};
use crate::text::short;

/// The first port that needs no privilege, unless `net.ipv4.ip_unprivileged_port_start` says
/// otherwise.
const PRIVILEGED_BELOW: u16 = 1024;

/// The maximum number of refused members that a finding names.
const NAMED: usize = 3;

pub(super) async fn check(
    config: &Config,
    advertised: Result<Advertised, NoAddress>,
    resolved: &Resolved,
) -> Vec<Finding> {
    let advertised = match advertised {
        Ok(advertised) => advertised,
        Err(error) => {
            let option = option_name("advertise_address");
            let hint = format!("Set {option}, to 127.0.0.1 for a mesh within this machine.");
            return vec![Finding::error("address", error.to_string(), hint)];
        }
    };
    let found = address(&advertised, resolved, &config.peer_cidrs);
    // If the address belongs to another node, a check of each port would only repeat this error.
    let is_local = found.level < Level::Error;
    let mut findings = vec![found];
    if is_local {
        let listen = advertised.listen_addrs(&config.ports);
        findings.extend(ports(config, &listen).await);
    }
    findings
}

fn address(own: &Advertised, resolved: &Resolved, peer_cidrs: &[IpNet]) -> Finding {
    let option = option_name("advertise_address");
    let Advertised { address, source } = own;
    match absence(*address) {
        None => {}
        Some(Absence::Missing) => {
            return Finding::error(
                "address",
                format!(
                    "{address} ({source}) is not an address of this node: {}",
                    Absence::Missing
                ),
                format!("Set {option} to an address that `ip address` lists here."),
            );
        }
        Some(Absence::Tentative) => {
            return Finding::warning(
                "address",
                format!(
                    "{address} ({source}) cannot be used yet: {}",
                    Absence::Tentative
                ),
                "Check again in a few seconds. If this stays, its interface has no link.",
            );
        }
        Some(Absence::Duplicate) => {
            return Finding::error(
                "address",
                format!(
                    "{address} ({source}) cannot be used: {}",
                    Absence::Duplicate
                ),
                "Give each host an address of its own. `ip -6 address` shows the address as \
                 `dadfailed` until it is removed and added again.",
            );
        }
    }
    let is_given = *source == AddressSource::Given;
    let is_any_unknown = !resolved.failures.is_empty();
    let problem =
        AddressProblem::of_loopback(*address, is_given, &resolved.addresses, is_any_unknown);
    if problem.is_some() {
        return Finding::warning(
            "address",
            format!("{address} ({source}) cannot be reached from other machines"),
            format!("Set {option} to an address that the others can reach."),
        );
    }
    if !peer_cidrs.is_empty() && !peer_cidrs.iter().any(|network| network.contains(address)) {
        let peer_cidr = option_name("peer_cidr");
        return Finding::warning(
            "address",
            format!(
                "{address} ({source}) is outside the networks of {peer_cidr}: agents with the \
                 same setting refuse this node"
            ),
            format!("Add its network to {peer_cidr} on all nodes, or set {option} to another one."),
        );
    }
    Finding::ok("address", format!("{address} ({source})"))
}

/// Checks every port that the agent and its iperf3 open. All ports of a running agent make one
/// finding. The ports of its iperf3 are not probed, because a probe could disturb a meeting.
async fn ports(config: &Config, listen: &ListenAddrs) -> Vec<Finding> {
    let own = [
        Port::http(listen.http),
        Port::tcp(listen.control, "control_port"),
        Port::udp(listen.gossip, "gossip_port"),
    ];
    let in_use: Vec<&Port> = own.iter().filter(|port| port.is_in_use()).collect();
    let read_api = SocketAddr::new(listen.address, listen.http.port());
    let reader = running::reader(config);
    let running = match in_use.first() {
        Some(_) => running::ask(&reader, read_api).await.ok(),
        None => None,
    };
    match running {
        Some(running) => own
            .iter()
            .filter(|port| !port.is_in_use())
            .map(Port::finding)
            .chain([used_by(config, &running, &in_use)])
            .chain(
                running::refused(&reader, read_api)
                    .await
                    .as_ref()
                    .map(refused),
            )
            .chain(running::obstacle(read_api).await.as_deref().map(unready))
            .collect(),
        None => own
            .iter()
            .map(Port::finding)
            .chain([test_ports(config, listen.address)])
            .collect(),
    }
}

/// Returns the finding for the ports `in_use` while an agent runs here. This is normal in the
/// agent's own container.
fn used_by(config: &Config, running: &Running, in_use: &[&Port]) -> Finding {
    let Running { node, version, .. } = running;
    let subjects: Vec<_> = in_use.iter().map(|port| port.subject.as_str()).collect();
    let ports = subjects.join(", ");
    if *node != config.node_name {
        return Finding::error(
            "ports",
            format!("{ports} in use by the agent of another node name, {node}, version {version}"),
            format!(
                "Stop it, or set {} to {node} if this check is meant for it. Two agents on one \
                 address need different ports.",
                option_name("node_name")
            ),
        );
    }
    let detail = format!("{ports} in use by an agent of this name, version {version}");
    if running::is_own_container() {
        return Finding::ok("ports", detail);
    }
    Finding::warning(
        "ports",
        detail,
        "No action needed if this is the agent that should run here. Otherwise stop one of them: \
         two agents with the same node name refuse all tests.",
    )
}

fn refused(refused: &Refused) -> Finding {
    let named: Vec<String> = refused
        .first
        .iter()
        .take(NAMED)
        .map(|one| {
            format!(
                "{} at {} ({})",
                short(one.name.as_str()),
                one.address,
                short(&one.reason)
            )
        })
        .collect();
    let such_as = if refused.count > named.len() {
        ", such as"
    } else {
        ":"
    };
    Finding::warning(
        "members",
        format!(
            "the agent that runs here refuses {} members in gossip because of their \
             addresses{such_as} {}",
            refused.count,
            named.join(", ")
        ),
        format!(
            "If they are agents of this mesh, correct their {}, or add their networks to {}. \
             /api/v1/members lists them.",
            option_name("advertise_address"),
            option_name("peer_cidr")
        ),
    )
}

fn unready(obstacle: &str) -> Finding {
    let detail = format!("the agent that runs here is not ready: {obstacle}");
    let hint = "Its log tells since when. It is ready again when the reason is gone.";
    Finding::warning("agent", detail, hint)
}

/// Checks the ports of iperf3. A test uses any free port among them.
fn test_ports(config: &Config, address: IpAddr) -> Finding {
    let range = &config.ports.iperf;
    let subject = format!("ports {}-{} tcp+udp", range.start(), range.end());
    let (free, taken): (Vec<_>, Vec<_>) = range
        .clone()
        .map(|number| {
            let at = SocketAddr::new(address, number);
            Port {
                subject: subject.clone(),
                option: "iperf_port",
                failure: tcp(at).and_then(|()| udp(at)).err(),
                at,
            }
        })
        .partition(|port| port.failure.is_none());
    match taken.first() {
        Some(taken) if free.is_empty() => taken.finding(),
        Some(taken) => Finding {
            level: Level::Warning,
            ..taken.finding()
        },
        None => Finding::ok(subject, "free"),
    }
}

/// A port of this node that the check opens and closes again.
struct Port {
    subject: String,
    option: &'static str,
    at: SocketAddr,
    failure: Option<io::Error>,
}

impl Port {
    /// The port of HTTP, which is open in both address families.
    fn http(at: SocketAddr) -> Self {
        let failure = listener::open(at).err();
        Self {
            subject: format!("port {} tcp", at.port()),
            option: "listen_port",
            at: failure.as_ref().map_or(at, |failure| failure.address),
            failure: failure.map(|failure| failure.error),
        }
    }

    fn tcp(at: SocketAddr, option: &'static str) -> Self {
        Self {
            subject: format!("port {} tcp", at.port()),
            option,
            at,
            failure: tcp(at).err(),
        }
    }

    fn udp(at: SocketAddr, option: &'static str) -> Self {
        Self {
            subject: format!("port {} udp", at.port()),
            option,
            at,
            failure: udp(at).err(),
        }
    }

    fn is_in_use(&self) -> bool {
        let kind = self.failure.as_ref().map(io::Error::kind);
        kind == Some(io::ErrorKind::AddrInUse)
    }

    fn finding(&self) -> Finding {
        let Some(error) = &self.failure else {
            return Finding::ok(&self.subject, "free");
        };
        let option = option_name(self.option);
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "Stop the program that uses it (`ss -lntup` shows it), or set {option} to another \
                 port."
            ),
            io::ErrorKind::PermissionDenied if self.at.port() < PRIVILEGED_BELOW => format!(
                "Set {option} to a port from {PRIVILEGED_BELOW} on, or grant CAP_NET_BIND_SERVICE."
            ),
            io::ErrorKind::PermissionDenied => {
                "A security policy (SELinux, seccomp) forbids it: look into the audit log."
                    .to_owned()
            }
            _ => format!("Set {option} to a port that can be opened."),
        };
        Finding::error(
            &self.subject,
            format!("cannot open {}: {error}", self.at),
            hint,
        )
    }
}

fn tcp(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn udp(address: SocketAddr) -> io::Result<()> {
    UdpSocket::bind(address).map(drop)
}
