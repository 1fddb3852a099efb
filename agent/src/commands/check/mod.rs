//! The `check` command: finds the problems that would keep this node out of the mesh, each with a
//! hint.
//!
//! The command leaves nothing changed: it opens and closes ports, and creates and removes a file.
//! It asks the agents to join for their names, but it runs no test: only a test can tell whether a
//! firewall lets the traffic of the mesh through.

mod finding;
mod iperf3;
mod join;
mod key;
mod neighbours;
mod network;
mod running;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::output::print;
use crate::cli::{self, CheckArgs, OutputFormat, Protocols};
use crate::config::Config;
use crate::discovery::addresses;
use crate::iperf::{self, BufferLimit, DEFAULT_BUFFER_LIMIT, Needs, buffer_limits, needs};
use crate::own_address::{AddressPolicy, ThisHost};
use crate::runtime::preflight;

pub use finding::{Finding, Level, can_take_part, json, table};

/// How long to wait for all names to resolve.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
/// The minimum limit on open files: enough for two HTTP ports with all their connections, the log
/// and one iperf3.
const FILES_MIN: u64 = 1024;

/// Prints the findings. The exit code is 1 if at least one finding is an error.
///
/// # Errors
/// Returns an error if the configuration cannot be used, or if stdout cannot be written to.
pub(crate) async fn run(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let config = Config::try_from(args.agent)?;
    let findings = findings(&config).await;
    print(&match args.format.output {
        OutputFormat::Table => table(&findings),
        OutputFormat::Json => json(&findings)?,
    })?;
    Ok(if can_take_part(&findings) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Checks everything that an agent with this `config` needs.
pub async fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = variables();
    findings.push(key::check(&config.security.security));
    findings.extend(iperf3::check(config).await);
    let resolved = addresses::resolve(&config.join, config.ports.gossip, RESOLVE_WITHIN).await;
    let policy = AddressPolicy {
        given: config.advertise_address,
        family: config.ip_family,
    };
    let advertised = policy.choose(&resolved.addresses, &ThisHost);
    let own = advertised.as_ref().ok().map(|own| own.address);
    findings.extend(join::check(config, &resolved, own).await);
    findings.extend(join::pods(config, own).await);
    findings.extend(network::check(config, advertised, &resolved).await);
    findings.push(neighbours::check(config, own, &resolved).await);
    let needs = needs(&config.tests());
    findings.push(temporary_directory(&std::env::temp_dir(), needs));
    if config.settings.protocol != Protocols::Tcp {
        findings.extend(buffer_limits().map(buffer));
    }
    findings.push(open_files(needs));
    findings.push(clock());
    findings
}

/// Finds misspelt variables. A misspelt variable leaves its option at the default.
fn variables() -> Vec<Finding> {
    let hint = "Correct its name (`iperf3-mesh agent --help` lists all), or remove it.";
    cli::unread_variables()
        .into_iter()
        .map(|unread| Finding::warning("variable", unread.to_string(), hint))
        .collect()
}

/// Checks that iperf3 can create and fill a file for each stream. If it cannot, a test fails with
/// an obscure message.
fn temporary_directory(directory: &Path, needs: Needs) -> Finding {
    match iperf::try_filling(directory, needs) {
        Ok(()) => Finding::ok(
            "temporary directory",
            format!("{} is writable", directory.display()),
        ),
        Err(error) => Finding::error("temporary directory", error.to_string(), error.hint()),
    }
}

/// A node with a lower limit than the default one loses datagrams that have already arrived. So do
/// its peers in tests with it, because both ends of a test have the same buffer.
fn buffer(BufferLimit { name, bytes }: BufferLimit) -> Finding {
    match bytes {
        Some(size) if size >= DEFAULT_BUFFER_LIMIT => Finding::ok(name, format!("{size} bytes")),
        Some(size) => Finding::warning(
            name,
            format!(
                "{size} bytes: UDP tests may lose datagrams in this node instead of the network"
            ),
            format!("On the node: `sysctl -w net.core.{name}={DEFAULT_BUFFER_LIMIT}`."),
        ),
        // Some sandboxes hide the limit.
        None => Finding::ok(name, "unknown"),
    }
}

fn open_files(needs: Needs) -> Finding {
    let subject = "open files";
    match preflight::open_files(needs) {
        Err(error) => Finding::error(subject, error.to_string(), error.hint()),
        Ok(Some(soft)) if soft < FILES_MIN => Finding::warning(
            subject,
            format!("at most {soft}: a large mesh may exceed it and have connections refused"),
            format!("Raise the limit to {FILES_MIN} (`ulimit -n`, LimitNOFILE)."),
        ),
        Ok(Some(soft)) => Finding::ok(subject, format!("at most {soft}")),
        Ok(None) => Finding::ok(subject, "unknown limit"),
    }
}

fn clock() -> Finding {
    match clock_gettime(ClockId::CLOCK_BOOTTIME) {
        Ok(_) => Finding::ok("clock", "CLOCK_BOOTTIME is readable"),
        Err(error) => Finding::error(
            "clock",
            format!("CLOCK_BOOTTIME cannot be read: {error}"),
            "Run on Linux, in a sandbox that permits clock_gettime.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwritable_temporary_directory_is_an_error_with_a_hint() {
        let needs = Needs {
            files: 1,
            file_size: 1200,
            open_files: 12,
        };
        let finding = temporary_directory(Path::new("/nowhere"), needs);
        assert_eq!(finding.level, Level::Error);
        assert!(
            finding
                .detail
                .starts_with("TMPDIR /nowhere is not writable, but iperf3 needs it: "),
            "{}",
            finding.detail
        );
        assert_eq!(
            finding.hint.as_deref(),
            Some("Set TMPDIR to a writable directory, or mount an emptyDir on /tmp.")
        );
    }
}
