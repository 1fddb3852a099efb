//! The agents to join: hosts or addresses, with or without a port. [`crate::discovery`] resolves
//! the names.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU16;

use crate::units::InvalidValue;

/// The maximum number of agents to join. One agent that answers is enough, and one DNS name may
/// stand for all agents.
pub(super) const JOIN_MAX: usize = 64;

/// An agent to join, or a name that stands for the addresses of several agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinTarget {
    /// A DNS name, or an IP address without brackets.
    pub host: String,
    /// The gossip port of the agent; `None` selects the gossip port of this node.
    pub port: Option<NonZeroU16>,
}

impl fmt::Display for JoinTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// Reads `host`, `host:port`, an IPv4 or IPv6 address, `[v6]` or `[v6]:port`.
pub(super) fn join_target(text: &str) -> Result<JoinTarget, InvalidValue> {
    target(text.trim()).ok_or_else(|| {
        InvalidValue::new(
            "HOST or HOST:PORT",
            "Write node-1, node-1:9877, 10.0.0.1:9877, fd00::1 or [fd00::1]:9877, and commas between \
             several.",
        )
    })
}

fn target(text: &str) -> Option<JoinTarget> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some(JoinTarget {
            host: text.to_owned(),
            port: None,
        });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        let port = if port.is_empty() {
            None
        } else {
            Some(port.strip_prefix(':')?.parse().ok()?)
        };
        return Some(JoinTarget {
            host: host.to_owned(),
            port,
        });
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text, None),
    };
    (host.parse::<IpAddr>().is_ok() || is_dns_name(host)).then(|| JoinTarget {
        host: host.to_owned(),
        port,
    })
}

/// Returns whether `name` is a DNS name. Underscores are accepted, because such names exist and
/// resolvers accept them. A name that has only digits and dots is a mistyped address.
fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let number = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    name.len() <= 253 && name.split('.').all(is_label) && !number
}
