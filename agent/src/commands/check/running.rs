//! The agent that runs here already: for whoever checks from within its pod the ports are not free,
//! and that is as it should be.

use std::fs::read_link;
use std::net::SocketAddr;
use std::time::Duration;

use iperf3_mesh_core::NodeName;
use serde::Deserialize;

use super::Finding;
use crate::config::Config;
use crate::http::client::{Client, Limits};
use crate::net::ListenAddrs;

/// What is asked is near, and its answer short.
const LIMITS: Limits = Limits {
    within: Duration::from_secs(2),
    bytes: 64 * 1024,
};

/// Who answers there.
#[derive(Deserialize)]
struct Running {
    node: NodeName,
    version: String,
}

/// The agent that goes by this node's name and answers on its port, if there is one.
pub(super) async fn agent(config: &Config, listen: &ListenAddrs) -> Option<Finding> {
    let http = SocketAddr::new(listen.address, listen.http.port());
    let url = format!("http://{http}/api/v1/schedule");
    let running: Running = Client::default().get(&url, LIMITS).await.ok()?;
    (running.node == config.node_name).then(|| {
        let detail = format!("in use by an agent of this name, version {}", running.version);
        if is_own_container() {
            return Finding::ok("ports", detail);
        }
        let hint = "Nothing, if it is the one that is to run here. Of two under one name neither would be tested: stop one.";
        Finding::warning("ports", detail, hint)
    })
}

/// Whether this is the agent's own container, of which it is the first process.
fn is_own_container() -> bool {
    let [first, this] = ["/proc/1/exe", "/proc/self/exe"].map(|link| read_link(link).ok());
    this.is_some() && first == this
}
