//! What the configuration takes from the machine.

use std::path::Path;

/// What the configuration takes from the machine rather than from the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The host name.
    pub host_name: String,
    /// This process runs in a pod.
    pub in_pod: bool,
    /// The pod has a token to ask the Kubernetes API with.
    pub has_token: bool,
}

/// Where a pod has the token of its ServiceAccount.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Environment {
    /// Reads it from the machine.
    pub fn look() -> Self {
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            host_name: host_name.trim().to_owned(),
            in_pod: std::env::var_os("KUBERNETES_SERVICE_HOST")
                .is_some_and(|host| !host.is_empty()),
            has_token: Path::new(TOKEN).exists(),
        }
    }

    pub(super) fn discovery(&self) -> &'static str {
        if self.in_pod && self.has_token {
            "kubernetes"
        } else {
            "static"
        }
    }
}
