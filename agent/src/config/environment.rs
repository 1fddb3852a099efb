//! The part of the configuration that comes from the machine, not from the user.

use std::path::Path;

use nix::unistd::gethostname;

/// Facts about the machine that the configuration needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The host name; empty if it is unknown.
    pub host_name: String,
    /// Whether this process runs in a pod.
    pub in_pod: bool,
    /// Whether the pod has a token for the Kubernetes API.
    pub has_token: bool,
}

/// The path at which Kubernetes mounts the token of a pod's ServiceAccount.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Environment {
    /// Reads the facts from the machine.
    pub fn detect() -> Self {
        let host_name = gethostname().unwrap_or_default();
        Self {
            host_name: host_name.to_string_lossy().into_owned(),
            in_pod: std::env::var_os("KUBERNETES_SERVICE_HOST")
                .is_some_and(|host| !host.is_empty()),
            has_token: Path::new(TOKEN).exists(),
        }
    }

    /// Returns the default of `--discovery`.
    pub(super) fn discovery(&self) -> &'static str {
        if self.in_pod && self.has_token {
            "kubernetes"
        } else {
            "static"
        }
    }
}
