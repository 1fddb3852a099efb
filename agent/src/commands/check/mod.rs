//! What would stop this node from taking part in the mesh, each with its hint.
//!
//! It looks and changes nothing: a port is opened and closed at once, a file is made and removed.
//! It asks no other node's agent: whether a firewall lets the mesh through only a test can tell.

mod finding;
mod running;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::output::print;
use crate::cli::{self, CheckArgs, OutputFormat, Protocols, option_name};
use crate::config::{Config, Discovery};
use crate::discovery;
use crate::discovery::addresses::{self, Resolved};
use crate::iperf::{Iperf, LEAST, Version};
use crate::net::{self, Advertised, ListenAddrs, NoAddress};
use crate::runtime::preflight;

pub use finding::{Finding, Findings, Level};

/// How long names may take to resolve.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
/// The kernel's own limit of a socket's buffers, in bytes. With less, datagrams that arrived are
/// lost in the node.
const BUFFER_MIN: u64 = 212_992;
/// What two HTTP ports with all their connections, the log and an iperf3 need.
const FILES_MIN: u64 = 1024;

/// The `check` command: prints the findings; the exit code is 1 if one is an error.
///
/// # Errors
/// If the configuration cannot be used, or stdout cannot be written to.
pub(crate) async fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let config = Config::try_from(args.agent)?;
    let findings = findings(&config).await;
    match args.output {
        OutputFormat::Table => print(&findings.to_string())?,
        OutputFormat::Json => print(&format!("{}\n", serde_json::to_string_pretty(&findings)?))?,
    }
    Ok(if findings.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Looks at everything that `config` needs.
pub async fn findings(config: &Config) -> Findings {
    let mut findings = variables();
    findings.extend(iperf3(config).await);
    let resolved = addresses::resolve(&config.join, config.ports.gossip, RESOLVE_WITHIN).await;
    findings.extend(join(config, &resolved));
    let advertised = net::advertise_address(
        config.advertise_address,
        config.ip_family,
        &resolved.addresses,
    );
    findings.extend(pods(config, advertised.as_ref().ok()).await);
    findings.extend(addresses(config, advertised, &resolved).await);
    findings.push(temporary_directory(&std::env::temp_dir()));
    if config.settings.protocol != Protocols::Tcp {
        findings.extend(["rmem_max", "wmem_max"].map(buffer));
    }
    findings.push(open_files());
    findings.push(clock());
    Findings::new(findings)
}

/// Who misspells a variable gets the default of the option that was meant.
fn variables() -> Vec<Finding> {
    let unread = cli::unread_variables().into_iter();
    let hint = "Correct its name (iperf3-mesh agent --help has them all), or remove it.";
    unread
        .map(|name| Finding::warning("variable", format!("no option reads {name}"), hint))
        .collect()
}

/// Names that do not resolve do not stop an agent: it tries again. But a node that finds nobody is
/// alone.
fn join(config: &Config, resolved: &Resolved) -> Vec<Finding> {
    if config.join.is_empty() && config.discovery == Discovery::Kubernetes {
        return Vec::new();
    }
    if config.join.is_empty() {
        let hint = format!(
            "Set {}, unless this is the first node of its mesh.",
            option_name("join")
        );
        return vec![Finding::warning(
            "join",
            "nobody to join: this node waits for others to join it",
            hint,
        )];
    }
    let alone = resolved.addresses.is_empty();
    let level = if alone { Level::Error } else { Level::Warning };
    let hint = "Correct the name, or see to it that this node's resolver knows it.";
    let failed = resolved
        .failures
        .iter()
        .map(|failure| Finding::new("join", level, failure.to_string(), Some(hint.to_owned())));
    let mut findings: Vec<Finding> = failed.collect();
    if !alone {
        findings.push(Finding::ok(
            "join",
            format!("addresses to join: {}", resolved.addresses.len()),
        ));
    }
    findings
}

/// The other agents' pods. An agent that is not told of them goes on with the names to join.
async fn pods(config: &Config, advertised: Option<&Advertised>) -> Option<Finding> {
    let advertised = advertised.filter(|_| config.discovery == Discovery::Kubernetes)?;
    let own = ListenAddrs::new(advertised.address, &config.ports).gossip;
    let found = match discovery::watcher(config, own) {
        Ok(watcher) => watcher.count_peers().await,
        Err(error) => Err(error),
    };
    Some(match found {
        Ok(count) => Finding::ok("kubernetes", format!("other agents' pods: {count}")),
        Err(error) => Finding::warning("kubernetes", error.to_string(), error.hint()),
    })
}

/// The advertised address, and the ports on it.
async fn addresses(
    config: &Config,
    advertised: Result<Advertised, NoAddress>,
    resolved: &Resolved,
) -> Vec<Finding> {
    let advertised = match advertised {
        Ok(advertised) => advertised,
        Err(error) => {
            let option = option_name("advertise_address");
            let hint = format!("Set {option}; 127.0.0.1 will do for a mesh within this machine.");
            return vec![Finding::error("address", error.to_string(), hint)];
        }
    };
    let found = address(advertised.address, &advertised.source.to_string(), resolved);
    // On an address that is not this node's, each port would only say so again.
    let is_local = found.level < Level::Error;
    let mut findings = vec![found];
    if is_local {
        let listen = ListenAddrs::new(advertised.address, &config.ports);
        match running::agent(config, &listen).await {
            Some(running) => findings.push(running),
            None => findings.extend(ports(config, &listen)),
        }
    }
    findings
}

fn address(address: IpAddr, source: &str, resolved: &Resolved) -> Finding {
    let option = option_name("advertise_address");
    if let Err(error) = UdpSocket::bind((address, 0)) {
        let detail = format!("{address} ({source}) is not an address of this node: {error}");
        return Finding::error(
            "address",
            detail,
            format!("Set {option} to one that `ip address` shows here."),
        );
    }
    let mut seeds = resolved.addresses.iter();
    if address.is_loopback() && seeds.any(|seed| !seed.ip().is_loopback()) {
        let detail = format!("{address} ({source}) cannot be reached from other machines");
        return Finding::warning(
            "address",
            detail,
            format!("Set {option} to an address that the others can reach."),
        );
    }
    Finding::ok("address", format!("{address} ({source})"))
}

/// Every port that the agent and its iperf3 open.
fn ports(config: &Config, listen: &ListenAddrs) -> Vec<Finding> {
    vec![
        port(
            format!("port {} tcp", listen.http.port()),
            "listen_port",
            &[(listen.http, tcp)],
        ),
        port(
            format!("port {} tcp", listen.control.port()),
            "control_port",
            &[(listen.control, tcp)],
        ),
        port(
            format!("port {} udp", listen.gossip.port()),
            "gossip_port",
            &[(listen.gossip, udp)],
        ),
        test_ports(config, listen.address),
    ]
}

/// The ports of iperf3. A test takes any that is free.
fn test_ports(config: &Config, address: IpAddr) -> Finding {
    let ports = &config.ports.iperf;
    let subject = format!("ports {}-{} tcp+udp", ports.start(), ports.end());
    let sockets = |number| {
        let at = SocketAddr::new(address, number);
        [(at, tcp as Bind), (at, udp)]
    };
    let found = ports
        .clone()
        .map(|number| port(subject.clone(), "iperf_port", &sockets(number)));
    let (free, taken): (Vec<_>, Vec<_>) = found.partition(|finding| finding.level == Level::Ok);
    match taken.into_iter().next() {
        Some(taken) if free.is_empty() => taken,
        Some(taken) => Finding {
            level: Level::Warning,
            ..taken
        },
        None => Finding::ok(subject, "free"),
    }
}

type Bind = fn(SocketAddr) -> io::Result<()>;

fn tcp(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

fn udp(address: SocketAddr) -> io::Result<()> {
    UdpSocket::bind(address).map(drop)
}

/// Opens each of `sockets`, which belong to `option`, and tells of the first that cannot be opened.
fn port(subject: String, option: &str, sockets: &[(SocketAddr, Bind)]) -> Finding {
    let failed = sockets
        .iter()
        .find_map(|(at, bind)| bind(*at).err().map(|error| (at, error)));
    let Some((at, error)) = failed else {
        return Finding::ok(subject, "free");
    };
    let option = option_name(option);
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "Stop what has it (`ss -lntup` tells; it may be another agent), or set {option} to another port."
            )
        }
        io::ErrorKind::PermissionDenied => format!("Set {option} to a port from 1024 on."),
        _ => format!("Set {option} to a port that can be opened."),
    };
    Finding::error(subject, format!("{at} cannot be opened: {error}"), hint)
}

/// iperf3 makes a file for each stream; without a place for it a test fails with an obscure
/// message.
fn temporary_directory(directory: &Path) -> Finding {
    match preflight::temporary_directory(directory) {
        Ok(()) => Finding::ok(
            "temporary directory",
            format!("{} is writable", directory.display()),
        ),
        Err(error) => Finding::error("temporary directory", error.to_string(), error.hint()),
    }
}

fn buffer(name: &str) -> Finding {
    let path = format!("/proc/sys/net/core/{name}");
    let size = std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    match size {
        Some(size) if size >= BUFFER_MIN => Finding::ok(name, format!("{size} bytes")),
        Some(size) => Finding::warning(
            name,
            format!(
                "{size} bytes: UDP tests may lose datagrams in this node rather than in the network"
            ),
            format!("On the node: `sysctl -w net.core.{name}={BUFFER_MIN}`."),
        ),
        // Some sandboxes hide it.
        None => Finding::ok(name, "unknown"),
    }
}

fn open_files() -> Finding {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next());
    match soft.map(str::parse::<u64>) {
        Some(Ok(limit)) if limit < FILES_MIN => Finding::warning(
            "open files",
            format!("at most {limit}: in a large mesh, connections may be refused"),
            format!("Raise the limit to {FILES_MIN} (`ulimit -n`, LimitNOFILE)."),
        ),
        _ => Finding::ok(
            "open files",
            format!("at most {}", soft.unwrap_or("unknown")),
        ),
    }
}

fn clock() -> Finding {
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(_) => Finding::ok("clock", "CLOCK_BOOTTIME is there"),
        Err(error) => Finding::error(
            "clock",
            format!("CLOCK_BOOTTIME cannot be read: {error}"),
            "Run on Linux, in a sandbox that permits clock_gettime.",
        ),
    }
}

/// iperf3 as it is installed, and what its version lacks.
async fn iperf3(config: &Config) -> Vec<Finding> {
    match Iperf::probe(&config.iperf3).await {
        Ok(iperf) => versions(config, iperf.program(), iperf.version()),
        Err(error) => {
            let hint = format!(
                "Install iperf3 {LEAST} or newer, or set {} to it.",
                option_name("iperf3")
            );
            vec![Finding::error("iperf3", error.to_string(), hint)]
        }
    }
}

fn versions(config: &Config, program: &Path, version: Version) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(
        "iperf3",
        format!("{}, version {version}", program.display()),
    )];
    if config.settings.bidir && !version.names_bidir() {
        let hint = format!(
            "Install iperf3 3.11 or newer, or leave {} out.",
            option_name("bidir")
        );
        findings.push(Finding::error(
            "iperf3",
            format!("{version} cannot tell the directions of --bidir apart"),
            hint,
        ));
    }
    let lost = version.lost_without().into_iter();
    findings
        .extend(lost.map(|loss| Finding::warning("iperf3", loss, "Install iperf3 3.12 or newer.")));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_cannot_be_written_is_an_error_with_its_mend() {
        let finding = temporary_directory(Path::new("/nowhere"));
        assert_eq!(finding.level, Level::Error);
        assert!(
            finding
                .detail
                .starts_with("/nowhere is not writable, and iperf3 needs it: "),
            "{}",
            finding.detail
        );
        assert_eq!(
            finding.hint.as_deref(),
            Some("Set TMPDIR to a writable directory, or mount an emptyDir on /tmp.")
        );
    }
}
