//! Known vulnerabilities of iperf3, and the versions that fixed them.
//!
//! Sources: the CVE records, and iperf3's release notes up to 3.22.1. Distributions backport fixes
//! without changing the version: see `package`.

use super::version::Version;

/// A vulnerability that can be exploited over the network.
#[derive(Clone, Copy)]
struct Vulnerability {
    id: &'static str,
    /// The first affected version; `None` if all older versions are affected.
    since: Option<Version>,
    /// The first version with the fix.
    fixed: Version,
    /// Whether the vulnerability affects only servers that use iperf3's own authentication. The
    /// agent starts no such server.
    needs_authentication: bool,
}

const fn in_all(id: &'static str, fixed: Version) -> Vulnerability {
    Vulnerability {
        id,
        since: None,
        fixed,
        needs_authentication: false,
    }
}

const fn in_authentication(id: &'static str, fixed: Version) -> Vulnerability {
    Vulnerability {
        needs_authentication: true,
        ..in_all(id, fixed)
    }
}

const fn since(since: Version, vulnerability: Vulnerability) -> Vulnerability {
    Vulnerability {
        since: Some(since),
        ..vulnerability
    }
}

const V3_18: Version = Version::new(3, 18, 0);
const V3_19: Version = Version::new(3, 19, 0);
const V3_19_1: Version = Version::new(3, 19, 1);
const V3_20: Version = Version::new(3, 20, 0);
const V3_21: Version = Version::new(3, 21, 0);
const V3_22: Version = Version::new(3, 22, 0);

/// All known vulnerabilities, oldest fix first.
const ALL: [Vulnerability; 12] = [
    // A crafted length causes an overflow: a crash or memory corruption.
    in_all("CVE-2023-38403", Version::new(3, 14, 0)),
    // An incomplete control message blocks the server.
    in_all("CVE-2023-7250", Version::new(3, 15, 0)),
    // The RSA padding has a timing side channel.
    in_authentication("CVE-2024-26306", Version::new(3, 17, 0)),
    // Parameters of the wrong type crash the server.
    in_all("CVE-2024-53580", V3_18),
    // The size of a control message is not limited.
    in_all("CVE-2026-71218", V3_18),
    // Heap overflow by one byte, and a failed assertion.
    in_authentication("CVE-2025-54349", V3_19_1),
    in_authentication("CVE-2025-54350", V3_19_1),
    // Buffer overflow with --skip-rx-copy, which 3.19 introduced.
    since(V3_19, in_all("CVE-2025-54351", V3_19_1)),
    // Oversized parameters exhaust threads and memory.
    in_all("CVE-2026-71217", V3_22),
    // One datagram sends the UDP receiver into an endless loop.
    in_all("CVE-2026-102253", V3_22),
    // The watchdog of a test frees streams that are still in use.
    since(V3_21, in_all("CVE-2026-101276", V3_22)),
    // An oversized token overflows the heap.
    since(V3_20, in_authentication("CVE-2026-101283", V3_22)),
];

/// The first version without a known vulnerability.
pub const FIRST_SAFE: Version = V3_22;

impl Version {
    /// Returns the vulnerabilities of this version that an attacker can use against an agent.
    pub fn vulnerabilities(self) -> Vec<&'static str> {
        self.affected_by(false)
    }

    /// Returns the vulnerabilities of this version that are in iperf3's own authentication, which
    /// the agent does not use.
    pub fn vulnerabilities_in_authentication(self) -> Vec<&'static str> {
        self.affected_by(true)
    }

    fn affected_by(self, needs_authentication: bool) -> Vec<&'static str> {
        ALL.iter()
            .filter(|v| v.needs_authentication == needs_authentication)
            .filter(|v| v.since.is_none_or(|since| self >= since) && self < v.fixed)
            .map(|v| v.id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(version: Version) -> usize {
        version.vulnerabilities().len() + version.vulnerabilities_in_authentication().len()
    }

    #[test]
    fn a_version_has_the_vulnerabilities_that_later_ones_fixed() {
        let old = Version::new(3, 12, 0);
        assert_eq!(
            old.vulnerabilities(),
            [
                "CVE-2023-38403",
                "CVE-2023-7250",
                "CVE-2024-53580",
                "CVE-2026-71218",
                "CVE-2026-71217",
                "CVE-2026-102253"
            ]
        );
        assert_eq!(
            old.vulnerabilities_in_authentication(),
            ["CVE-2024-26306", "CVE-2025-54349", "CVE-2025-54350"]
        );
        assert!(!V3_18.vulnerabilities().contains(&"CVE-2024-53580"));
        assert!(V3_19.vulnerabilities().contains(&"CVE-2025-54351"));
        assert!(!V3_19_1.vulnerabilities().contains(&"CVE-2025-54351"));
        assert!(V3_21.vulnerabilities().contains(&"CVE-2026-101276"));
    }

    #[test]
    fn the_first_safe_version_has_no_known_vulnerability() {
        assert_eq!(all_of(FIRST_SAFE), 0);
        assert!(ALL.iter().all(|v| v.fixed <= FIRST_SAFE));
    }
}
