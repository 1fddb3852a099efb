//! Finds agents that already run, at the addresses to join or on the ports of this node.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::StatusCode;
use iperf3_mesh_core::NodeName;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::api::Refused;
use crate::config::{Config, Security};
use crate::http::client::{Client, ClientError, Limits};
use crate::http::reader::Reader;
use crate::keys;

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

/// Returns a reader with the keys of this `config`, if there are any.
pub(super) fn reader(config: &Config) -> Reader {
    let settings = &config.security;
    match &settings.security {
        Security::Sealed { key_file, .. } => keys::read_any(key_file).map_or_else(
            // The check of the key file tells why.
            |_| Reader::default(),
            |keyring| Reader::with_keys(settings.mesh.clone(), keyring),
        ),
        Security::Insecure => Reader::default(),
    }
}

/// Asks the agent with this read API for its name.
pub(super) async fn ask(reader: &Reader, http: SocketAddr) -> Result<Running, ClientError> {
    reader.get_if_open(http, "/api/v1/schedule", LIMITS).await
}

/// Asks the agent which members it refuses; `None` if there are none, or if it does not answer.
pub(super) async fn refused(reader: &Reader, http: SocketAddr) -> Option<Refused> {
    let answer = reader.get_if_open::<Refused>(http, "/api/v1/members", MEMBERS_LIMITS);
    answer.await.ok().filter(|refused| refused.count > 0)
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
