//! Checks the other agents: the agents to join, and the agents in the pods of the Kubernetes API.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use tokio::task::JoinSet;

use super::running::{self, Running};
use super::{Finding, Level};
use crate::cli::option_name;
use crate::config::{Config, Discovery};
use crate::discovery;
use crate::discovery::addresses::Resolved;
use crate::discovery::pods::UnreadablePod;
use crate::http::client::ClientError;
use crate::net::ListenAddrs;

/// The maximum number of addresses to query. A DNS name may stand for a whole cluster.
const ASKED_MAX: usize = 32;

const SUBJECT: &str = "join";

/// Checks the agents to join. A name that does not resolve does not keep the agent out of the mesh,
/// because the agent tries again; but an agent that finds no other agent stays alone.
pub(super) async fn check(
    config: &Config,
    resolved: &Resolved,
    own: Option<IpAddr>,
) -> Vec<Finding> {
    if config.join.is_empty() {
        return match config.discovery {
            Discovery::Kubernetes => Vec::new(),
            _ => vec![nobody()],
        };
    }
    let reachable = reachable(&resolved.addresses, own);
    let is_alone = reachable.is_empty();
    let level = if is_alone {
        Level::Error
    } else {
        Level::Warning
    };
    let mut findings: Vec<Finding> = resolved
        .failures
        .iter()
        .map(|failure| {
            let hint = Some(failure.hint().to_owned());
            Finding::new(SUBJECT, level, failure.to_string(), hint)
        })
        .collect();
    match own {
        Some(own) if is_alone && !resolved.addresses.is_empty() => {
            findings.push(other_family(own));
        }
        _ if is_alone => {}
        _ => findings.extend(agents(config, &reachable, own).await),
    }
    findings
}

/// Returns the addresses that the agent would join, each IP address once. The agent drops the
/// addresses of the other family than that of its `own` address. Loopback leads to this node
/// itself, so it counts as `own`: its name may stand for 127.0.1.1 here.
fn reachable(addresses: &[SocketAddr], own: Option<IpAddr>) -> BTreeSet<IpAddr> {
    addresses
        .iter()
        .map(SocketAddr::ip)
        .filter(|address| own.is_none_or(|own| own.is_ipv4() == address.is_ipv4()))
        .map(|address| match own {
            Some(own) if address.is_loopback() && !own.is_loopback() => own,
            _ => address,
        })
        .collect()
}

fn other_family(own: IpAddr) -> Finding {
    let family = if own.is_ipv4() { "IPv4" } else { "IPv6" };
    Finding::error(
        SUBJECT,
        format!("no address to join is {family}, the family of this node's address, {own}"),
        format!(
            "Set {} to {family} addresses, or {} to an address of the other family.",
            option_name("join"),
            option_name("advertise_address")
        ),
    )
}

fn nobody() -> Finding {
    Finding::warning(
        SUBJECT,
        "no agents to join: this node waits for others to join it",
        format!(
            "Set {}, unless this is the first node of its mesh.",
            option_name("join")
        ),
    )
}

/// Queries the read API at each address, because an address alone does not tell whether an agent
/// runs there.
async fn agents(
    config: &Config,
    addresses: &BTreeSet<IpAddr>,
    own: Option<IpAddr>,
) -> Vec<Finding> {
    let others: Vec<IpAddr> = addresses
        .iter()
        .copied()
        .filter(|address| Some(*address) != own)
        .collect();
    if others.is_empty() {
        let detail = "the only address to join is that of this node";
        return vec![Finding::ok(SUBJECT, detail)];
    }
    let mut requests = JoinSet::new();
    for address in others.iter().take(ASKED_MAX) {
        let http = SocketAddr::new(*address, config.ports.listen);
        requests.spawn(async move { (http, running::ask(http).await) });
    }
    let mut answers: Vec<(SocketAddr, Result<Running, ClientError>)> = requests.join_all().await;
    answers.sort_by_key(|(http, _)| *http);
    let mut findings: Vec<Finding> = answers
        .iter()
        .filter_map(|(http, answer)| answer.as_ref().err().map(|cause| silent(*http, cause)))
        .collect();
    let found = answers.len() - findings.len();
    if found > 0 {
        let mut detail = format!("agents found: {found} of {}", answers.len());
        if others.len() > answers.len() {
            detail += &format!(" (asked {} of {} addresses)", answers.len(), others.len());
        }
        findings.push(Finding::ok(SUBJECT, detail));
    }
    findings
}

fn silent(http: SocketAddr, cause: &ClientError) -> Finding {
    Finding::warning(
        SUBJECT,
        format!("no agent found at {http}: {cause}"),
        format!(
            "{} No action is needed if an agent there uses another {}.",
            cause.hint(),
            option_name("listen_port")
        ),
    )
}

/// Checks the pods of the other agents. An agent without access to the API uses the names to join
/// instead.
pub(super) async fn pods(config: &Config, own: Option<IpAddr>) -> Option<Finding> {
    let own = own.filter(|_| config.discovery == Discovery::Kubernetes)?;
    let gossip = ListenAddrs::new(own, &config.ports).gossip;
    let found = match discovery::watcher(config, gossip) {
        Ok(watcher) => watcher.count_peers().await,
        Err(error) => Err(error),
    };
    Some(match found {
        Ok((count, unreadable)) => pods_found(count, &unreadable),
        Err(error) => Finding::warning("kubernetes", error.to_string(), error.hint()),
    })
}

fn pods_found(count: usize, unreadable: &[UnreadablePod]) -> Finding {
    let found = format!("other agents' pods: {count}");
    match unreadable {
        [] => Finding::ok("kubernetes", found),
        [UnreadablePod { name, reason }, ..] => Finding::warning(
            "kubernetes",
            format!(
                "{found}; pods that cannot be read: {}, such as {name:?}: {reason}",
                unreadable.len()
            ),
            "Look at that pod with kubectl get pod -o yaml.",
        ),
    }
}
