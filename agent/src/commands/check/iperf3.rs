//! The installed iperf3: its version, its drawbacks and its known vulnerabilities.

use super::Finding;
use crate::cli::option_name;
use crate::config::Config;
use crate::iperf::{FIRST_SAFE, Iperf, Landlock};

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    match Iperf::probe(&config.iperf3).await {
        Ok(mut iperf) => {
            let mut findings = versions(config, &iperf);
            findings.push(fence(iperf.landlock()));
            findings.push(filter(&mut iperf).await);
            findings
        }
        Err(error) => vec![Finding::error("iperf3", error.to_string(), error.hint())],
    }
}

fn versions(config: &Config, iperf: &Iperf) -> Vec<Finding> {
    let version = iperf.version();
    let mut detail = format!("{}, version {version}", iperf.program().display());
    if let Some(package) = iperf.package() {
        detail += &format!(" (package {})", package.as_str());
    }
    let mut findings = vec![Finding::ok("iperf3", detail)];
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
    let drawbacks = version.drawbacks().into_iter();
    findings.extend(
        drawbacks
            .map(|drawback| Finding::warning("iperf3", drawback, "Install iperf3 3.12 or newer.")),
    );
    findings.extend(vulnerabilities(iperf));
    findings
}

async fn filter(iperf: &mut Iperf) -> Finding {
    let subject = "iperf3 filter";
    match iperf.try_filter().await {
        Ok(()) => Finding::ok(subject, "servers are hidden from all but the peer"),
        Err(error) => Finding::warning(
            subject,
            format!("servers are not hidden from strangers, which are only noticed: {error}"),
            error.hint(),
        ),
    }
}

/// Tells what iperf3 is kept from. It parses bytes of strangers, as the user of the agent.
fn fence(landlock: &Landlock) -> Finding {
    let detail = format!("{landlock}; no new privileges, no core dump, limited memory and files");
    match landlock.hint() {
        None => Finding::ok("fence", detail),
        Some(hint) if matches!(landlock, Landlock::Version(_)) => {
            Finding::ok("fence", format!("{detail}. {hint}"))
        }
        Some(hint) => Finding::warning(
            "fence",
            format!("{detail}, but a hole in iperf3 opens all files of the agent's user"),
            hint,
        ),
    }
}

/// Returns a warning rather than an error, because the version does not tell whether a
/// distribution's package contains the fixes.
fn vulnerabilities(iperf: &Iperf) -> Option<Finding> {
    let version = iperf.version();
    let exposed = iperf.vulnerabilities();
    let unused = iperf.vulnerabilities_in_authentication();
    if exposed.is_empty() && unused.is_empty() {
        return None;
    }
    let mut detail = format!(
        "{version} has known vulnerabilities: {}",
        exposed.join(", ")
    );
    if !unused.is_empty() {
        detail += &format!(
            " (and in its authentication, which the agent does not use: {})",
            unused.join(", ")
        );
    }
    let hint = format!(
        "Install iperf3 {FIRST_SAFE} or newer. Distributions backport fixes without changing the \
         version: look for these CVEs in the changelog of the package."
    );
    Some(Finding::warning("iperf3", detail, hint))
}
