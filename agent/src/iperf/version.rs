//! Which iperf3 is installed, and what that version can do.
//!
//! Asks questions by name, so that no other file compares version numbers. It does not run iperf3.

use std::fmt;

/// The oldest version that is supported.
pub const LEAST: Version = Version { major: 3, minor: 9 };

/// A version of iperf3. Patch levels change nothing that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 3 for every iperf3.
    pub major: u32,
    /// 12 in "3.12" and in "3.12.1".
    pub minor: u32,
}

impl Version {
    /// Reads the output of `iperf3 --version`, whose first line is like `iperf 3.12 (cJSON
    /// 1.7.15)`. Patch levels and suffixes (`3.17.1+`, `3.21-dev`) are ignored. `None` if it is
    /// something else's output.
    pub fn parse(output: &str) -> Option<Self> {
        let mut words = output.lines().next()?.split_whitespace();
        if words.next()? != "iperf" {
            return None;
        }
        let mut numbers = words.next()?.split(|c: char| !c.is_ascii_digit());
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
        })
    }

    const fn from(self, minor: u32) -> bool {
        self.major > 3 || (self.major == 3 && self.minor >= minor)
    }

    /// `--rcv-timeout`: ends a receiver that hears nothing any more.
    pub const fn has_rcv_timeout(self) -> bool {
        self.from(10)
    }

    /// `--idle-timeout`: ends a server that nobody talks to.
    pub const fn has_idle_timeout(self) -> bool {
        self.from(10)
    }

    /// `--snd-timeout`: ends a sender whose bytes nobody acknowledges.
    pub const fn has_snd_timeout(self) -> bool {
        self.from(12)
    }

    /// The report has the two directions of `--bidir` under names of their own. Older ones use the
    /// same keys twice, and which direction is which cannot be told.
    pub const fn names_bidir(self) -> bool {
        self.from(11)
    }

    /// The report of a UDP test says how many bytes arrived.
    pub const fn tells_received(self) -> bool {
        self.from(11)
    }

    /// What a node loses by having this version, one sentence each; empty for a version that has
    /// everything.
    pub fn lost_without(self) -> Vec<&'static str> {
        let checks = [
            (
                self.has_rcv_timeout(),
                "no --rcv-timeout (3.10): a receiver cut off in mid-test ends only at the test's timeout",
            ),
            (
                self.has_idle_timeout(),
                "no --idle-timeout (3.10): a server whose client never comes ends only at the test's timeout",
            ),
            (
                self.tells_received(),
                "UDP tests do not report what arrived (3.11): loss is taken from gaps in the sequence numbers, \
                 so datagrams lost at the very end are not seen",
            ),
            (
                self.names_bidir(),
                "--bidir cannot be used (3.11): its two directions cannot be told apart",
            ),
            (
                self.has_snd_timeout(),
                "no --snd-timeout (3.12): a sender cut off in mid-test ends only at the test's timeout",
            ),
        ];
        checks
            .into_iter()
            .filter(|(has, _)| !has)
            .map(|(_, sentence)| sentence)
            .collect()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32, minor: u32) -> Option<Version> {
        Some(Version { major, minor })
    }

    #[test]
    fn every_spelling_of_a_version_is_read() {
        for (output, expected) in [
            ("iperf 3.12 (cJSON 1.7.15)\nLinux vm 6.18", version(3, 12)),
            ("iperf 3.9 (cJSON 1.7.13)", version(3, 9)),
            ("iperf 3.17.1+ (cJSON 1.7.15)", version(3, 17)),
            ("iperf 3.21-dev", version(3, 21)),
            ("iperf 3.0.11", version(3, 0)),
            ("iperf 4.0", version(4, 0)),
            ("iperf version 2.1.8 (12 August 2022) pthreads", None),
            ("iperf 3", None),
            ("iperf 99999999999.1", None),
            ("bash: iperf3: command not found", None),
            ("", None),
        ] {
            assert_eq!(Version::parse(output), expected, "{output:?}");
        }
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        assert!(
            Version { major: 3, minor: 9 }
                < Version {
                    major: 3,
                    minor: 10
                }
        );
        assert!(Version { major: 3, minor: 7 } < LEAST);
        assert!(Version { major: 4, minor: 0 } > LEAST);
    }

    #[test]
    fn an_old_version_says_what_it_lacks_and_a_new_one_is_silent() {
        let lost = |minor| Version { major: 3, minor }.lost_without();
        assert_eq!(lost(9).len(), 5);
        assert_eq!(lost(11), [*lost(9).last().expect("3.9 lacks something")]);
        assert!(
            lost(11)
                .iter()
                .all(|sentence| sentence.contains("--snd-timeout"))
        );
        assert!(lost(12).is_empty());
        assert!(Version { major: 4, minor: 0 }.lost_without().is_empty());
    }
}
