//! Checks the other agents: the agents to join, and the agents in the pods of the Kubernetes API.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use tokio::task::JoinSet;

use super::running::{self, Running};
use super::{Finding, Level};
use crate::cli::option_name;
use crate::config::{Config, Discovery};
use crate::discovery;
use crate::discovery::addresses::{Resolved, reachable};
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
    let own = own.map(|own| ListenAddrs::new(own, &config.ports).gossip);
    let reachable = match own {
        Some(own) => reachable(&resolved.addresses, own),
        None => resolved.addresses.clone(),
    };
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
            findings.push(other_family(own.ip()));
        }
        _ if is_alone => {}
        _ => findings.extend(agents(config, &reachable, own).await),
    }
    findings
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
    addresses: &[SocketAddr],
    own: Option<SocketAddr>,
) -> Vec<Finding> {
    let is_here = |address: &SocketAddr| own.is_some_and(|own| own.ip() == address.ip());
    let (here, elsewhere): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| is_here(address));
    // Two gossip ports of one host are one host to ask.
    let others: BTreeSet<IpAddr> = elsewhere.iter().map(SocketAddr::ip).collect();
    let mut findings: Vec<Finding> = here
        .into_iter()
        .filter(|address| Some(*address) != own)
        .map(neighbour)
        .collect();
    if others.is_empty() {
        if findings.is_empty() {
            let detail = "the only address to join is that of this node";
            findings.push(Finding::ok(SUBJECT, detail));
        }
        return findings;
    }
    let reader = running::reader(config);
    let mut requests = JoinSet::new();
    for address in others.iter().take(ASKED_MAX) {
        let http = SocketAddr::new(*address, config.ports.listen);
        let reader = reader.clone();
        requests.spawn(async move { (http, running::ask(&reader, http).await) });
    }
    let mut answers: Vec<(SocketAddr, Result<Running, ClientError>)> = requests.join_all().await;
    answers.sort_by_key(|(http, _)| *http);
    let silent: Vec<Finding> = answers
        .iter()
        .filter_map(|(http, answer)| answer.as_ref().err().map(|cause| silent(*http, cause)))
        .collect();
    let found = answers.len() - silent.len();
    findings.extend(silent);
    if found > 0 {
        let mut detail = format!("agents found: {found} of {}", answers.len());
        if others.len() > answers.len() {
            detail += &format!(" (asked {} of {} addresses)", answers.len(), others.len());
        }
        findings.push(Finding::ok(SUBJECT, detail));
    }
    findings
}

/// Returns the finding about another agent of this host. It has a read API of its own, at a port
/// that is not known here.
fn neighbour(address: SocketAddr) -> Finding {
    let detail = format!(
        "{address} is another agent on this node; it was not asked, because its {} is not known",
        option_name("listen_port")
    );
    Finding::ok(SUBJECT, detail)
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
