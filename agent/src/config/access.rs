//! The names by which clients may call the agent, and the addresses of the host that probes it.

use std::net::IpAddr;

use crate::units::InvalidValue;

/// The maximum number of names in `--allowed-hosts`.
const ALLOWED_MAX: usize = 64;
/// The maximum length of a DNS name.
const HOST_LEN_MAX: usize = 253;

/// The facts about their clients that the HTTP ports need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// The names that the user allows.
    pub allowed_hosts: AllowedHosts,
    /// The names of this host and of the agents to join, in lower case.
    pub names: Vec<String>,
    /// The addresses of the host on which this pod runs.
    pub host_addresses: Vec<IpAddr>,
}

/// The names in `--allowed-hosts`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    has_all: bool,
    /// In lower case. One that begins with a dot stands for all names below it.
    names: Vec<String>,
}

impl AllowedHosts {
    /// Reads names, separated by commas.
    ///
    /// # Errors
    /// Returns an error if there are too many names, or if one is no host name.
    pub fn read(text: &str) -> Result<Self, InvalidValue> {
        let hint = "Write host names such as mesh.example.com, .example.com for all names below \
                    it, or * for any name.";
        let mut allowed = Self::default();
        for text in text
            .split(',')
            .map(|text| text.trim().trim_end_matches('.'))
        {
            match text {
                "" => {}
                "*" => allowed.has_all = true,
                name if is_host(name) => allowed.names.push(name.to_ascii_lowercase()),
                _ => return Err(InvalidValue::new("host names without port or scheme", hint)),
            }
        }
        if allowed.names.len() > ALLOWED_MAX {
            let expected = format!("at most {ALLOWED_MAX} names");
            return Err(InvalidValue::new(expected, hint));
        }
        Ok(allowed)
    }

    /// Returns whether the list contains `name`, which is in lower case.
    pub fn admits(&self, name: &str) -> bool {
        let mut names = self.names.iter();
        self.has_all
            || names.any(|allowed| match allowed.strip_prefix('.') {
                Some(_) => name.ends_with(allowed.as_str()),
                None => name == allowed,
            })
    }
}

fn is_host(name: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    name.len() <= HOST_LEN_MAX && name.bytes().all(is_sign) && name != "."
}

/// Reads the addresses of the host, separated by commas. An empty text means none.
pub(super) fn host_addresses(text: &str) -> Result<Vec<IpAddr>, InvalidValue> {
    let texts = text
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let addresses = texts.map(|text| text.parse().map(|it: IpAddr| it.to_canonical()));
    addresses.collect::<Result<_, _>>().map_err(|_| {
        let hint = "Take it from the field status.hostIP of the pod, or leave it out.";
        InvalidValue::new("IPv4 or IPv6 addresses without a port", hint)
    })
}
