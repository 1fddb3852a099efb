//! A pod, as little of it as is needed: where its agent gossips, and on which node. Everything else
//! that the API server tells of it is skipped while reading.

use std::net::{IpAddr, SocketAddr};

use iperf3_mesh_core::NodeName;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, GroupVersionKind};
use serde::Deserialize;

/// What the manifests call the port of the gossip.
const GOSSIP_PORT: &str = "gossip";

/// A pod.
pub(super) type Pod = kube::core::Object<Spec, Status>;

/// What it shall be.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    node_name: Option<String>,
    #[serde(default)]
    containers: Vec<Container>,
}

/// What it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(default)]
    phase: String,
    #[serde(default, rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    name: String,
    status: String,
    last_transition_time: Option<Timestamp>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct PodIp {
    #[serde(default)]
    ip: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Container {
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    #[serde(default)]
    name: String,
    container_port: u16,
}

/// How the API server is asked for pods.
pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"))
}

/// The node that the pod is bound to. On a node of another name its agent cannot be.
pub(super) fn node(pod: &Pod) -> Option<NodeName> {
    NodeName::new(pod.spec.node_name.as_deref()?).ok()
}

/// Since when the pod has not been ready. Of a node that is dead Kubernetes says so after some 40
/// s.
pub(super) fn unready_since(pod: &Pod) -> Option<Timestamp> {
    let mut conditions = pod.status.as_ref()?.conditions.iter();
    let ready = conditions.find(|condition| condition.name == "Ready")?;
    if ready.status == "True" {
        None
    } else {
        ready.last_transition_time
    }
}

/// Where the pod's agent gossips, if it runs and has an address of the family of `own`, this
/// agent's. Its port is the one that the pod names, else that of `own`.
pub(super) fn gossip_address(pod: &Pod, own: SocketAddr) -> Option<SocketAddr> {
    let status = pod
        .status
        .as_ref()
        .filter(|status| status.phase == "Running")?;
    let mut addresses = status
        .pod_ips
        .iter()
        .filter_map(|pod_ip| pod_ip.ip.parse::<IpAddr>().ok());
    let address = addresses.find(|address| address.is_ipv4() == own.is_ipv4())?;
    let mut ports = pod
        .spec
        .containers
        .iter()
        .flat_map(|container| &container.ports);
    let named = ports
        .find(|port| port.name == GOSSIP_PORT)
        .map(|port| port.container_port);
    Some(SocketAddr::new(address, named.unwrap_or(own.port())))
}
