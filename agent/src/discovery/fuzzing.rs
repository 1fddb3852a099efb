//! The entry point of [`crate::fuzzing`] for the answers of the Kubernetes API.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use iperf3_mesh_core::NodeName;
use kube::api::{ObjectList, WatchEvent};

use super::pod::Item;
use super::pods::{PodStore, pod_entry};
use super::server_clock::ServerClock;

/// Reads `bytes` as a list of pods, and as an event of a watch. This agent's own address must not
/// be among those to gossip with, and the cluster must only have valid names.
///
/// # Panics
/// Panics if one of these properties does not hold.
pub fn pod_list(bytes: &[u8]) {
    let _ = serde_json::from_slice::<WatchEvent<Item>>(bytes);
    let Ok(page) = serde_json::from_slice::<ObjectList<Item>>(bytes) else {
        return;
    };
    let own = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 9877));
    let clock = ServerClock::default();
    let entries = page.items.into_iter().filter_map(|item| {
        let pod = item.pod.ok()?;
        Some((item.name, pod_entry(&pod, own, &clock)))
    });
    let entries: BTreeMap<_, _> = entries.collect();
    let nodes: Vec<NodeName> = entries
        .values()
        .filter_map(|pod| pod.node.clone())
        .collect();
    let mut store = PodStore::default();
    store.replace(entries, &[]);
    assert!(!store.addresses().contains(&own));
    for own in nodes {
        let cluster = store.cluster(&own).unwrap_or_default();
        assert!(
            cluster
                .keys()
                .all(|name| NodeName::new(name.as_str()).is_ok())
        );
    }
}
