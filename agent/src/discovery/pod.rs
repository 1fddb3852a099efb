//! The few fields of a pod that discovery needs: its node, its gossip address and its readiness.
//! All other fields are skipped while parsing.

use std::net::{IpAddr, SocketAddr};

use iperf3_mesh_core::NodeName;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::text::excerpt;

/// The maximum length of an excerpt from an address or an error, in characters.
const WORDS_MAX: usize = 120;

/// The maximum number of addresses of a pod that count: one of each family.
const POD_IPS_MAX: usize = 2;

/// The name of the gossip port in the manifests.
const GOSSIP_PORT: &str = "gossip";

/// A pod with only the fields that discovery needs.
pub(super) type Pod = kube::core::Object<Spec, Status>;

/// One object of a list or of a watch. An object that cannot be read as a pod does not make the
/// others unreadable.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The name of the pod; empty if it has none.
    pub(super) name: String,
    pub(super) resource_version: Option<String>,
    /// The pod, or the reason why it cannot be read.
    pub(super) pod: Result<Pod, String>,
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Value::deserialize(deserializer)?;
        let text = |place| Some(object.pointer(place)?.as_str()?.to_owned());
        let name = text("/metadata/name").unwrap_or_default();
        let resource_version = text("/metadata/resourceVersion");
        let pod = match serde_json::from_value(object) {
            Ok(_) if name.is_empty() => Err("it has no name".to_owned()),
            Ok(pod) => checked(pod),
            Err(error) => Err(excerpt(&error.to_string(), WORDS_MAX)),
        };
        Ok(Self {
            name,
            resource_version,
            pod,
        })
    }
}

/// Returns the pod, unless it has a node or an address that cannot be used.
fn checked(pod: Pod) -> Result<Pod, String> {
    if let Some(node) = pod.spec.node_name.as_deref()
        && let Err(error) = NodeName::new(node)
    {
        return Err(format!("its node name is invalid: {error}"));
    }
    let mut addresses = pod.status.iter().flat_map(|status| &status.pod_ips);
    let is_usable = |pod_ip: &PodIp| pod_ip.address().is_some();
    if let Some(first) = addresses.next()
        && !is_usable(first)
        && !addresses.any(is_usable)
    {
        let ip = excerpt(&first.ip, WORDS_MAX);
        return Err(format!("its IP address is invalid: {ip:?}"));
    }
    Ok(pod)
}

/// Reads null as the default: a Go program may write an empty list as null.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The desired state of a pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    node_name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    containers: Vec<Container>,
}

/// The observed state of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(default, deserialize_with = "or_default")]
    phase: String,
    #[serde(default, rename = "podIPs", deserialize_with = "or_default")]
    pod_ips: Vec<PodIp>,
    #[serde(default, deserialize_with = "or_default")]
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
    #[serde(default, deserialize_with = "or_default")]
    ip: String,
}

impl PodIp {
    /// Returns the address, if it is that of a single host.
    fn address(&self) -> Option<IpAddr> {
        let address = self.ip.parse::<IpAddr>().ok()?.to_canonical();
        (!address.is_unspecified() && !address.is_multicast()).then_some(address)
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Container {
    #[serde(default, deserialize_with = "or_default")]
    ports: Vec<Port>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    container_port: u16,
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

/// Returns the addresses that the pod has at present, of both families. A pod that has ended may
/// have left its address to another one.
pub(super) fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let status = pod
        .status
        .iter()
        .filter(|status| !matches!(status.phase.as_str(), "Succeeded" | "Failed"));
    status
        .flat_map(|status| &status.pod_ips)
        .filter_map(PodIp::address)
        .take(POD_IPS_MAX)
        .collect()
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
        .filter_map(PodIp::address)
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
