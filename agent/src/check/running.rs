//! The agent that runs here already, as it does for whoever checks from within its pod: then its ports are not free,
//! and that is as it should be.

use std::net::SocketAddr;
use std::time::Duration;

use mesh::NodeName;
use serde::Deserialize;

use super::Finding;
use crate::client::{Client, Limits};
use crate::config::Config;
use crate::net::Listen;

/// What is asked is near, and its answer short.
const LIMITS: Limits = Limits { within: Duration::from_secs(2), bytes: 64 * 1024 };

/// Who answers there.
#[derive(Deserialize)]
struct Running {
    node: NodeName,
    version: String,
}

/// The agent that goes by this node's name and answers on its port, if there is one.
pub(super) async fn agent(config: &Config, listen: &Listen) -> Option<Finding> {
    let http = SocketAddr::new(listen.address, listen.http.port());
    let url = format!("http://{http}/api/v1/schedule");
    let running: Running = Client::default().get(&url, LIMITS).await.ok()?;
    let is_this = running.node == config.node_name;
    is_this.then(|| {
        Finding::ok(
            "ports",
            format!("in use by the agent that runs here, version {}", running.version),
        )
    })
}
