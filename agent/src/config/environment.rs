//! The part of the configuration that comes from the machine, not from the user.

use std::path::Path;

use nix::unistd::gethostname;

/// Facts about the machine that the configuration needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The host name; `None` if the machine has none, or one that is not UTF-8.
    pub host_name: Option<String>,
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
        let host_name = gethostname().ok().and_then(|name| name.into_string().ok());
        Self {
            host_name: host_name.filter(|name| !name.is_empty()),
            in_pod: std::env::var_os("KUBERNETES_SERVICE_HOST")
                .is_some_and(|host| !host.is_empty()),
            has_token: Path::new(TOKEN).exists(),
        }
    }

    /// Returns the default of `--node-name`: the host name in lower case, because upper and lower
    /// case are equivalent in it (RFC 4343).
    pub(super) fn node_name(&self) -> Option<String> {
        self.host_name.as_deref().map(str::to_ascii_lowercase)
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
