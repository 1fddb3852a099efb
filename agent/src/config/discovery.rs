//! How agents are found. Finding them is done elsewhere.

use clap::ValueEnum;

use super::{Environment, choice};
use crate::cli::option_name;
use crate::config::error::InvalidValue;

/// How agents are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// The Kubernetes API tells of their pods; names to join are resolved as for [`Self::Static`].
    Kubernetes,
    /// The names to join are resolved often, since their addresses change.
    Dns,
    /// The names to join are resolved often until one answers, and then seldom; gossip does the
    /// rest.
    Static,
}

/// Reads the way to find agents, and checks that it can work with what there is to `join`.
pub(super) fn discovery(
    text: &str,
    env: &Environment,
    join: &[String],
) -> Result<Discovery, InvalidValue> {
    match choice(text)? {
        Way::Static => Ok(Discovery::Static),
        Way::Dns if join.iter().all(|name| name.trim().is_empty()) => Err(InvalidValue::new(
            "a name to resolve",
            format!(
                "Set {} to a DNS name whose addresses are those of the agents.",
                option_name("join")
            ),
        )),
        Way::Dns => Ok(Discovery::Dns),
        Way::Kubernetes => kubernetes_discovery(env),
    }
}

/// Without the API's address and a token there is nothing to ask with, and both come with the pod
/// or never.
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
                "Set automountServiceAccountToken: true, or use dns and set {} to a headless Service of the agents.",
                option_name("join")
            ),
        ));
    }
    Ok(Discovery::Kubernetes)
}

/// The words of `--discovery`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    Kubernetes,
    Dns,
    Static,
}
