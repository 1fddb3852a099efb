//! The errors of the resolver of the C library, which only differ by their texts (glibc, musl).

/// The texts for name servers that cannot be reached, or that have failed.
const NO_ANSWER: [&str; 3] = [
    "Temporary failure in name resolution",
    "Try again",
    "did not answer within",
];

/// The texts for a name that exists, but has no address.
const WITHOUT_ADDRESS: [&str; 2] = ["has no address", "No address associated with hostname"];

/// Returns whether `text` is an error of the resolver.
pub(crate) fn is_resolver_error(text: &str) -> bool {
    text.contains("failed to lookup address information")
}

/// Returns one sentence that says how to fix the error with this text.
pub(crate) fn hint(text: &str) -> &'static str {
    if WITHOUT_ADDRESS.iter().any(|part| text.contains(part)) {
        return "Give the name an address. A headless Service has one as soon as its selector \
                matches a running pod, if it has `publishNotReadyAddresses: true`.";
    }
    if !NO_ANSWER.iter().any(|part| text.contains(part)) {
        return "Correct the name, or make it known to this node's resolver. In a pod on the host \
                network, names of Services need `dnsPolicy: ClusterFirstWithHostNet`.";
    }
    let servers = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if servers
        .lines()
        .any(|line| line.trim_start().starts_with("nameserver"))
    {
        "Check that this node reaches a name server of /etc/resolv.conf (port 53, UDP and TCP), or \
         write an IP address instead of the name."
    } else {
        "Add a name server to /etc/resolv.conf, which has none, or write an IP address instead of \
         the name."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_name_server_is_not_a_wrong_name() {
        for text in [
            "failed to lookup address information: Temporary failure in name resolution",
            "failed to lookup address information: Try again",
            "the resolver did not answer within 5s",
        ] {
            assert!(hint(text).contains("/etc/resolv.conf"), "{text}");
        }
        for text in [
            "failed to lookup address information: Name or service not known",
            "failed to lookup address information: Name does not resolve",
        ] {
            assert!(hint(text).starts_with("Correct the name"), "{text}");
        }
    }
}
