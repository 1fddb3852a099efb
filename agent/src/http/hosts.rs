//! The names by which clients may call this agent. A web page of a stranger could otherwise read
//! an agent through the browser of its visitor: the page's own name leads to the agent at its
//! second lookup (DNS rebinding), and only the header `Host` tells.
//!
//! An attacker needs a name that he controls in public DNS. Addresses, names without a dot, names
//! inside the cluster and in the search domains of this host are none.

use std::fs;
use std::net::IpAddr;

use hyper::header::HOST;
use hyper::{Request, Version};
use warp::http::StatusCode;

use crate::config::Access;

/// The configuration of the resolver.
const RESOLVER: &str = "/etc/resolv.conf";
/// Names that are never in public DNS: RFC 6761, and Services of Kubernetes.
const LOCAL_DOMAINS: [&str; 2] = ["localhost", "svc"];

/// The names of this agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    access: Access,
    /// The search domains of the resolver.
    domains: Vec<String>,
}

/// The reason why a request names no host of this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHost {
    /// There is not exactly one host.
    Unreadable,
    /// The host is another one.
    NotThisHost,
}

impl BadHost {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::NotThisHost => StatusCode::MISDIRECTED_REQUEST,
        }
    }

    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Unreadable => "a request of HTTP/1.1 has exactly one header Host",
            Self::NotThisHost => {
                "the header Host names another host: call the agent by its address or the name of \
                 its node, or add the name to --allowed-hosts (MESH_ALLOWED_HOSTS)"
            }
        }
    }
}

/// Returns the hosts that a request names: in its header and, if it has one, in its target.
pub(super) fn requested<B>(request: &Request<B>) -> Result<Vec<&str>, BadHost> {
    let headers = request.headers().get_all(HOST).iter();
    let hosts: Vec<_> = headers
        .map(|host| host.to_str().map_err(|_| BadHost::Unreadable))
        .collect::<Result<_, _>>()?;
    let needed = usize::from(request.version() >= Version::HTTP_11);
    if hosts.len() > 1 || hosts.len() < needed {
        return Err(BadHost::Unreadable);
    }
    let target = request.uri().authority().map(|target| target.as_str());
    Ok(hosts.into_iter().chain(target).collect())
}

/// Returns the name in `host`, without the port and in lower case; `None` if it is an address.
pub(super) fn name(host: &str) -> Option<String> {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if is_port(port) && !bare.ends_with(':') => bare,
        _ => host,
    };
    let address = bare.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() {
        return None;
    }
    let name = bare.strip_suffix('.').unwrap_or(bare);
    Some(name.to_ascii_lowercase())
}

impl Hosts {
    /// Returns the names of this host as it is configured at present.
    pub(super) fn new(access: &Access) -> Self {
        let resolver = fs::read_to_string(RESOLVER).unwrap_or_default();
        Self {
            access: access.clone(),
            domains: search_domains(&resolver),
        }
    }

    /// Returns the names of a host without search domains.
    #[cfg(feature = "fuzzing")]
    pub(super) fn with(access: Access) -> Self {
        Self {
            access,
            domains: Vec::new(),
        }
    }

    /// Returns whether `name`, in lower case, is one of this agent's, whatever the mesh is.
    pub(super) fn has(&self, name: &str) -> bool {
        let is_in = |domain: &str| is_below(name, domain);
        !name.contains('.')
            || LOCAL_DOMAINS.into_iter().any(is_in)
            || self.domains.iter().any(|domain| is_in(domain))
            || self.access.names.iter().any(|own| own == name)
            || self.is_service(name)
            || self.access.allowed_hosts.admits(name)
    }

    /// Returns whether `name` is that of a Service, followed by the namespace of the pod. The first
    /// search domain of a pod is `NAMESPACE.svc.CLUSTER`.
    fn is_service(&self, name: &str) -> bool {
        let namespaces = self.domains.iter().filter_map(|domain| {
            let (namespace, _) = domain.split_once(".svc.")?;
            Some(namespace)
        });
        let Some((service, namespace)) = name.split_once('.') else {
            return false;
        };
        let has_name = self.access.names.iter().any(|own| own == service);
        has_name && namespaces.into_iter().any(|own| own == namespace)
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    let rest = name.strip_suffix(domain);
    rest.is_some_and(|rest| rest.ends_with('.'))
}

/// Returns the search domains in the text of a `resolv.conf`: those of its last line, as the
/// resolver reads it.
fn search_domains(text: &str) -> Vec<String> {
    let mut domains = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        matches!(words.next(), Some("search" | "domain")).then_some(words)
    });
    let domains = domains.next_back().into_iter().flatten();
    domains
        .map(|domain| domain.trim_matches('.').to_ascii_lowercase())
        .filter(|domain| !domain.is_empty())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::config::AllowedHosts;

    #[test]
    fn names_that_no_stranger_controls_are_admitted() {
        let hosts = in_a_pod("");
        for name in [
            "localhost",
            "app.localhost",
            "iperf3-mesh",
            "iperf3-mesh.measuring",
            "iperf3-mesh.measuring.svc",
            "iperf3-mesh.measuring.svc.cluster.local",
            "any.other.svc.cluster.local",
            "node-1.example.org",
            "worker.corp.example",
        ] {
            assert!(hosts.has(name), "{name}");
        }
    }

    #[test]
    fn names_in_public_dns_are_refused() {
        let hosts = in_a_pod("");
        for name in [
            "evil.example",
            "iperf3-mesh.measuring.svc.evil.example",
            "other.measuring",
            "node-1.example.org.evil.example",
            "corp.example",
            "xcorp.example",
            "1.2.3",
        ] {
            assert!(!hosts.has(name), "{name}");
        }
    }

    #[test]
    fn listed_names_suffixes_and_the_star_are_admitted() {
        let hosts = in_a_pod("mesh.example.com, .apps.example.net");
        assert!(hosts.has("mesh.example.com") && hosts.has("a.b.apps.example.net"));
        assert!(!hosts.has("apps.example.net") && !hosts.has("x.mesh.example.com"));
        assert!(in_a_pod("*").has("evil.example"));
    }

    #[test]
    fn host_loses_its_port_and_an_address_is_no_name() {
        for (host, expected) in [
            ("Node-1.example:9876", Some("node-1.example")),
            ("node-1.example.", Some("node-1.example")),
            ("10.0.0.1:9876", None),
            ("10.0.0.1", None),
            ("[fd00::1]:9876", None),
            ("[fd00::1]", None),
            ("fd00::1", None),
            ("", Some("")),
        ] {
            assert_eq!(name(host).as_deref(), expected, "{host}");
        }
    }

    fn in_a_pod(allowed: &str) -> Hosts {
        let resolver = "nameserver 10.96.0.10\nsearch measuring.svc.cluster.local \
                        svc.cluster.local cluster.local corp.example\noptions ndots:5\n";
        Hosts {
            access: Access {
                allowed_hosts: AllowedHosts::read(allowed).unwrap(),
                names: vec!["iperf3-mesh".to_owned(), "node-1.example.org".to_owned()],
                host_addresses: Vec::new(),
            },
            domains: search_domains(resolver),
        }
    }
}
