//! Finds agents that already run, at the addresses to join or on the ports of this node.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use iperf3_mesh_core::NodeName;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::api::Refused;
use crate::http::client::{Client, ClientError, Limits};

/// The limits of a query. The answer is short, but the agent may be at the far end of the mesh.
const LIMITS: Limits = Limits {
    within: Duration::from_secs(2),
    bytes: 64 * 1024,
};

/// The limits of a query for members. The longest list, of 2,048 members, has about 1 MB.
const MEMBERS_LIMITS: Limits = Limits {
    bytes: 4 << 20,
    ..LIMITS
};

/// An agent that has answered.
#[derive(Debug, Deserialize)]
pub(super) struct Running {
    pub(super) node: NodeName,
    pub(super) version: String,
    #[serde(default)]
    sweep: Sweep,
}

#[derive(Debug, Default, Deserialize)]
struct Sweep {
    /// The number of the node's pairs.
    #[serde(default)]
    total: usize,
}

impl Running {
    /// Returns the number of nodes in the mesh of this agent.
    pub(super) fn nodes(&self) -> usize {
        self.sweep.total.saturating_add(1)
    }
}

/// The answer of the readiness probe of an agent that is not ready.
#[derive(Debug, Deserialize)]
struct Unready {
    error: String,
}

/// Asks the agent with this read API for its name.
pub(super) async fn ask(http: SocketAddr) -> Result<Running, ClientError> {
    let url = format!("http://{http}/api/v1/schedule");
    Client::default().get(&url, LIMITS).await
}

/// Asks the agent which members it refuses; `None` if there are none, or if it does not answer.
pub(super) async fn refused(http: SocketAddr) -> Option<Refused> {
    let url = format!("http://{http}/api/v1/members");
    let answer = Client::default().get::<Refused>(&url, MEMBERS_LIMITS).await;
    answer.ok().filter(|refused| refused.count > 0)
}

/// Asks the agent why it is not ready; `None` if it is, or if it does not answer.
pub(super) async fn obstacle(http: SocketAddr) -> Option<String> {
    let url = format!("http://{http}/readyz");
    // A ready agent answers with a text.
    match Client::default().get::<IgnoredAny>(&url, LIMITS).await {
        Err(ClientError::Status(StatusCode::SERVICE_UNAVAILABLE, text)) => {
            let body = text.trim_start_matches([':', ' ']);
            let answer = serde_json::from_str(body);
            Some(answer.map_or_else(|_| body.to_owned(), |Unready { error }| error))
        }
        _ => None,
    }
}

/// Returns whether this process runs in the agent's own container, where the agent is the first
/// process.
pub(super) fn is_own_container() -> bool {
    // The agent forbids the other processes of its user to look at its executable.
    let [first, this] = ["/proc/1/comm", "/proc/self/comm"].map(|name| fs::read(name).ok());
    this.is_some() && first == this
}
