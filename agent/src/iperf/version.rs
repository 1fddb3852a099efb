//! The version of iperf3, and the features that depend on it.
//!
//! Each feature has a named method, so that no other file compares version numbers.

use std::fmt;

/// The oldest supported version.
pub const LEAST: Version = Version::new(3, 9, 0);

/// A version of iperf3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The major version, which is 3 for every iperf3.
    pub major: u32,
    /// The minor version: 12 in "3.12" and in "3.12.1".
    pub minor: u32,
    /// The patch version: 1 in "3.12.1", 0 in "3.12".
    pub patch: u32,
}

impl Version {
    /// Creates a version from its numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Reads the output of `iperf3 --version`, which has a line such as `iperf 3.12 (cJSON
    /// 1.7.15)`. A wrapper may write other lines before it. Suffixes (`3.17.1+`, `3.21-dev`) are
    /// ignored. Returns `None` if `output` comes from another program.
    pub fn parse(output: &str) -> Option<Self> {
        output.lines().find_map(Self::parse_line)
    }

    fn parse_line(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        if words.next()? != "iperf" {
            return None;
        }
        let mut numbers = words.next()?.split(|c: char| !c.is_ascii_digit());
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
            patch: numbers
                .next()
                .and_then(|number| number.parse().ok())
                .unwrap_or(0),
        })
    }

    const fn is_from(self, minor: u32) -> bool {
        self.major > 3 || (self.major == 3 && self.minor >= minor)
    }

    /// Returns whether `--rcv-timeout` exists: it ends a receiver that no longer receives anything.
    pub const fn has_rcv_timeout(self) -> bool {
        self.is_from(10)
    }

    /// Returns whether `--idle-timeout` exists: it ends a server that gets no client.
    pub const fn has_idle_timeout(self) -> bool {
        self.is_from(10)
    }

    /// Returns whether `--snd-timeout` exists: it ends a sender whose bytes are not acknowledged.
    pub const fn has_snd_timeout(self) -> bool {
        self.is_from(12)
    }

    /// Returns whether the report has separate names for the two directions of `--bidir`. Older
    /// versions use the same keys twice, so the directions cannot be told apart.
    pub const fn names_bidir(self) -> bool {
        self.is_from(11)
    }

    /// Returns whether the report of a UDP test contains the number of bytes that arrived.
    pub const fn tells_received(self) -> bool {
        self.is_from(11)
    }

    /// Returns the drawbacks of this version, one sentence each. The list is empty if there are
    /// none.
    pub fn drawbacks(self) -> Vec<&'static str> {
        let checks = [
            (
                self.has_rcv_timeout(),
                "no --rcv-timeout (3.10): a receiver that is cut off ends only at the test's timeout",
            ),
            (
                self.has_idle_timeout(),
                "no --idle-timeout (3.10): a server without a client ends only at the test's timeout",
            ),
            (
                self.tells_received(),
                "UDP tests do not report received bytes (3.11): loss is computed from gaps in the \
                 sequence numbers, so datagrams lost at the very end are missed",
            ),
            (
                self.names_bidir(),
                "--bidir cannot be used (3.11): its two directions cannot be told apart",
            ),
            (
                self.has_snd_timeout(),
                "no --snd-timeout (3.12): a sender that is cut off ends only at the test's timeout",
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
        write!(f, "{}.{}", self.major, self.minor)?;
        match self.patch {
            0 => Ok(()),
            patch => write!(f, ".{patch}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_version_is_read() {
        let version = |major, minor, patch| Some(Version::new(major, minor, patch));
        for (output, expected) in [
            (
                "iperf 3.12 (cJSON 1.7.15)\nLinux vm 6.18",
                version(3, 12, 0),
            ),
            ("iperf 3.9 (cJSON 1.7.13)", version(3, 9, 0)),
            ("warning: slow disk\niperf 3.9", version(3, 9, 0)),
            ("iperf 3.17.1+ (cJSON 1.7.15)", version(3, 17, 1)),
            ("iperf 3.21-dev", version(3, 21, 0)),
            ("iperf 3.0.11", version(3, 0, 11)),
            ("iperf 4.0", version(4, 0, 0)),
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
        assert!(Version::new(3, 9, 0) < Version::new(3, 10, 0));
        assert!(Version::new(3, 19, 0) < Version::new(3, 19, 1));
        assert!(Version::new(3, 7, 0) < LEAST);
        assert!(Version::new(4, 0, 0) > LEAST);
    }

    #[test]
    fn a_version_is_written_as_iperf3_writes_it() {
        assert_eq!(Version::new(3, 12, 0).to_string(), "3.12");
        assert_eq!(Version::new(3, 17, 1).to_string(), "3.17.1");
    }

    #[test]
    fn an_old_version_has_drawbacks_and_a_new_one_has_none() {
        let drawbacks = |minor| Version::new(3, minor, 0).drawbacks();
        assert_eq!(drawbacks(9).len(), 5);
        let [only] = drawbacks(11).try_into().expect("3.11 has one drawback");
        assert!(only.contains("--snd-timeout"), "{only}");
        assert!(drawbacks(12).is_empty());
        assert!(Version::new(4, 0, 0).drawbacks().is_empty());
    }
}
