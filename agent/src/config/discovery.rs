//! How an agent finds its peers. The search itself is in [`crate::discovery`].

use clap::ValueEnum;

use super::{Environment, choice};
use crate::cli::option_name;
use crate::units::InvalidValue;

/// How an agent finds its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// From the pods of the Kubernetes API; names to join are resolved as for [`Self::Static`].
    Kubernetes,
    /// From the names to join, resolved often since their addresses change.
    Dns,
    /// From the names to join, resolved often until one answers and rarely afterwards; gossip does
    /// the rest.
    Static,
}

/// Reads the kind of discovery, and checks that it can work here and with the names to `join`.
pub(super) fn discovery(
    text: &str,
    env: &Environment,
    join: &[String],
) -> Result<Discovery, InvalidValue> {
    match choice(text)? {
        DiscoveryArg::Static => Ok(Discovery::Static),
        DiscoveryArg::Dns if join.iter().all(|name| name.trim().is_empty()) => {
            Err(InvalidValue::new(
                "a name to resolve",
                format!(
                    "Set {} to a DNS name with the addresses of the agents.",
                    option_name("join")
                ),
            ))
        }
        DiscoveryArg::Dns => Ok(Discovery::Dns),
        DiscoveryArg::Kubernetes => kubernetes_discovery(env),
    }
}

/// Requests to the API need its address and a token. Both come with the pod or never.
fn kubernetes_discovery(env: &Environment) -> Result<Discovery, InvalidValue> {
    if !env.in_pod {
        return Err(InvalidValue::new(
            "dns or static outside of a pod, where KUBERNETES_SERVICE_HOST is not set",
            format!(
                "Use static, and name the agents to join with {}.",
                option_name("join")
            ),
        ));
    }
    if !env.has_token {
        return Err(InvalidValue::new(
            "dns or static in a pod without the token of a ServiceAccount",
            format!(
                "Set automountServiceAccountToken: true, or use dns and set {} to a headless \
                 Service of the agents.",
                option_name("join")
            ),
        ));
    }
    Ok(Discovery::Kubernetes)
}

/// The values of `--discovery`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum DiscoveryArg {
    Kubernetes,
    Dns,
    Static,
}
