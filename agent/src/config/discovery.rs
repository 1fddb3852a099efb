//! The ways in which an agent can find its peers. The search itself is in [`crate::discovery`].

use clap::ValueEnum;

use super::{Environment, choice};
use crate::cli::option_name;
use crate::units::InvalidValue;

/// The way in which an agent finds its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// The agent finds the pods through the Kubernetes API, and resolves the names to join as for
    /// [`Self::Static`].
    Kubernetes,
    /// The agent resolves the names to join often, because their addresses change.
    Dns,
    /// The agent resolves the names to join often until one of them answers, and rarely afterwards.
    /// Gossip finds all other peers.
    Static,
}

/// Reads the kind of discovery, and checks that it can work in this environment and with the names
/// to `join`.
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

/// Checks that the Kubernetes API can be used. Requests need its address and a token. A pod has
/// both from its start, or never gets them.
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
