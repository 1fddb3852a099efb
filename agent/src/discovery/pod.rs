//! The few fields of a pod that discovery needs: its node, its gossip address and its readiness.
//! All other fields are skipped while parsing.

use std::net::{IpAddr, SocketAddr};

use iperf3_mesh_core::NodeName;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, GroupVersionKind};
use serde::Deserialize;

/// The name of the gossip port in the manifests.
const GOSSIP_PORT: &str = "gossip";

/// A pod with only the fields that discovery needs.
pub(super) type Pod = kube::core::Object<Spec, Status>;

/// The desired state of a pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    node_name: Option<String>,
    #[serde(default)]
    containers: Vec<Container>,
}

/// The observed state of a pod.
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

/// Returns the API resource of pods.
pub(super) fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"))
}

/// Returns the node that the pod is bound to.
pub(super) fn node(pod: &Pod) -> Option<NodeName> {
    NodeName::new(pod.spec.node_name.as_deref()?).ok()
}

/// Returns the time since which the pod has not been ready. Kubernetes marks the pods of a dead
/// node as not ready after about 40 s.
pub(super) fn unready_since(pod: &Pod) -> Option<Timestamp> {
    let mut conditions = pod.status.as_ref()?.conditions.iter();
    let ready = conditions.find(|condition| condition.name == "Ready")?;
    if ready.status == "True" {
        None
    } else {
        ready.last_transition_time
    }
}

/// Returns the gossip address of the pod's agent, if the pod is running and has an IP address of
/// the same family as `own`, the gossip address of this agent. The port is the named gossip port of
/// the pod, or the port of `own` if the pod has none.
pub(super) fn gossip_address(pod: &Pod, own: SocketAddr) -> Option<SocketAddr> {
    let status = pod
        .status
        .as_ref()
        .filter(|status| status.phase == "Running")?;
    let address = status
        .pod_ips
        .iter()
        .filter_map(|pod_ip| Some(pod_ip.ip.parse::<IpAddr>().ok()?.to_canonical()))
        .find(|address| address.is_ipv4() == own.is_ipv4())?;
    let port = pod
        .spec
        .containers
        .iter()
        .flat_map(|container| &container.ports)
        .find(|port| port.name == GOSSIP_PORT)
        .map_or(own.port(), |port| port.container_port);
    Some(SocketAddr::new(address, port))
}
