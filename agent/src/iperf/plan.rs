//! The agreed plan of a test, as the limits of its server: a client that asks iperf3 for more than
//! that is disconnected.
//!
//! iperf3 obeys whatever its client asks, and `-V` makes the server print it before the first
//! interval. A request that cannot be read is a request for less: the other limits of the server
//! (its deadline, its bitrate limit and its filter) hold whatever it prints.

use std::time::Duration;

use iperf3_mesh_core::{Protocol, TestSpec};

/// The bitrate of a UDP test without a bitrate, in bit/s: iperf3's default.
const UDP_DEFAULT: u64 = 1 << 20;

/// The longest time over which iperf3 averages a bitrate, in seconds.
const WINDOW_MAX: u64 = 60;

/// The number of blocks that each stream may send beyond its bitrate, such as its first ones.
const BLOCKS_BEYOND: u64 = 4;

/// The plan of one test, in the units of iperf3.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    protocol: Protocol,
    streams: u64,
    seconds: u64,
    omit: u64,
    /// The bitrate of each stream and direction, in bit/s; `None` is unlimited.
    bitrate: Option<u64>,
    is_two_way: bool,
}

/// The part of the client's request that is known so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    bitrate: Option<u64>,
}

impl Plan {
    pub(super) fn new(spec: &TestSpec) -> Self {
        Self {
            protocol: spec.protocol,
            streams: spec.streams.into(),
            seconds: seconds(spec.duration),
            omit: if spec.omit.is_zero() {
                0
            } else {
                seconds(spec.omit)
            },
            bitrate: spec
                .bitrate
                .or((spec.protocol == Protocol::Udp).then_some(UDP_DEFAULT)),
            is_two_way: spec.bidir,
        }
    }

    /// Returns the value of `--server-bitrate-limit`: the limit in bit/s for all streams together,
    /// and the time in seconds over which iperf3 averages. `block` is the size of a block in bytes.
    ///
    /// A sender that was held up may catch up, so that the average over a part of the test can
    /// exceed the bitrate. The traffic of the whole test cannot, and is the limit for each half.
    pub(super) fn bitrate_limit(&self, block: u64) -> Option<String> {
        let flows = self.streams * if self.is_two_way { 2 } else { 1 };
        let window = self.seconds.div_ceil(2).min(WINDOW_MAX);
        let bits = self.bitrate?.saturating_mul(self.seconds + self.omit);
        let bits = bits.saturating_add(bits / 10 + BLOCKS_BEYOND * block * 8);
        let limit = bits.saturating_mul(flows).div_ceil(window);
        Some(format!("{limit}/{window}"))
    }

    /// Returns in which way a line of the server's output shows that its client asks for more.
    pub(super) fn breach(&self, request: &mut Request, line: &str) -> Option<String> {
        let line = line.trim_start();
        if let Some(rate) = line.strip_prefix("Target Bitrate: ") {
            let rate = rate.parse::<u64>().ok()?;
            request.bitrate = Some(rate);
            let agreed = self.bitrate.filter(|agreed| rate > *agreed)?;
            return Some(format!("{rate} bit/s instead of {agreed}"));
        }
        if let Some(test) = line.strip_prefix("Starting Test: ") {
            let agreed = self.bitrate.filter(|_| request.bitrate.is_none());
            // As the sender, the server would send as fast as it can.
            let unlimited = agreed.filter(|_| self.is_two_way);
            let unlimited = unlimited.map(|agreed| format!("any bitrate instead of {agreed}"));
            return unlimited.or_else(|| self.breach_of_test(test));
        }
        // The columns of a server that sends.
        let sends = line.starts_with("[ ID]")
            && (line.contains(" Retr ")
                || line.contains("[Role]")
                || line.ends_with(" Total Datagrams") && !line.contains("/Total"));
        (sends && !self.is_two_way).then(|| "data from the server".to_owned())
    }

    /// Reads a test such as "protocol: UDP, 1 streams, 1200 byte blocks, omitting 0 seconds, 5 second
    /// test, tos 0".
    fn breach_of_test(&self, test: &str) -> Option<String> {
        for part in test.split(", ") {
            let more = |value: &str, agreed: u64| {
                let value: u64 = value.trim().parse().ok()?;
                (value > agreed).then(|| format!("{part} instead of {agreed}"))
            };
            let found = if let Some(protocol) = part.strip_prefix("protocol: ") {
                let agreed = self.protocol.to_string();
                (!protocol.eq_ignore_ascii_case(&agreed))
                    .then(|| format!("{protocol} instead of {agreed}"))
            } else if let Some(streams) = part.strip_suffix(" streams") {
                more(streams, self.streams)
            } else if let Some(omit) = part.strip_prefix("omitting ") {
                more(omit.trim_end_matches(" seconds"), self.omit)
            } else if let Some(seconds) = part.strip_suffix(" second test") {
                more(seconds, self.seconds)
            } else if let Some(tos) = part.strip_prefix("tos ") {
                more(tos, 0)
            } else {
                // A test of so many bytes or blocks has no duration.
                part.ends_with(" to send")
                    .then(|| format!("{part} instead of {} seconds", self.seconds))
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

/// Rounds a duration up to whole seconds. The result is at least 1, because 0 means "without end"
/// to iperf3.
pub(super) fn seconds(duration: Duration) -> u64 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    whole.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "Starting Test: protocol: UDP, 1 streams, 1200 byte blocks, \
                           omitting 0 seconds, 5 second test, tos 0";

    fn udp() -> Plan {
        Plan::new(&TestSpec {
            protocol: Protocol::Udp,
            duration: Duration::from_secs(5),
            omit: Duration::ZERO,
            timeout: Duration::from_secs(10),
            bitrate: Some(2_000_000),
            streams: 1,
            bidir: false,
        })
    }

    fn breach(plan: &Plan, line: &str) -> Option<String> {
        plan.breach(&mut Request::default(), line)
    }

    #[test]
    fn request_within_the_plan_is_no_breach() {
        for line in [
            REQUEST,
            "      Target Bitrate: 2000000",
            "      Target Bitrate: strange",
            "[ ID] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams",
            "[  5]   0.00-0.10   sec  64.0 KBytes  5.22 Mbits/sec  2  ",
        ] {
            assert_eq!(breach(&udp(), line), None, "{line}");
        }
        let two_way = Plan {
            is_two_way: true,
            ..udp()
        };
        let line = "[ ID][Role] Interval           Transfer     Bitrate         Total Datagrams";
        assert_eq!(breach(&two_way, line), None);
        let unlimited = breach(&two_way, REQUEST);
        assert_eq!(unlimited.as_deref(), Some("any bitrate instead of 2000000"));
        let mut request = Request::default();
        two_way.breach(&mut request, "      Target Bitrate: 2000000");
        assert_eq!(two_way.breach(&mut request, REQUEST), None);
    }

    #[test]
    fn request_beyond_the_plan_is_a_breach() {
        let swapped = |from: &str, to: &str| REQUEST.replace(from, to);
        for (line, words) in [
            (swapped("UDP", "SCTP"), "SCTP instead of udp"),
            (
                swapped("1 streams", "16 streams"),
                "16 streams instead of 1",
            ),
            (
                swapped("5 second", "60 second"),
                "60 second test instead of 5",
            ),
            (
                swapped("omitting 0", "omitting 9"),
                "omitting 9 seconds instead of 0",
            ),
            (swapped("tos 0", "tos 184"), "tos 184 instead of 0"),
            (
                swapped("5 second test", "1000 bytes to send"),
                "1000 bytes to send instead of 5 seconds",
            ),
            (
                "      Target Bitrate: 10000000000".to_owned(),
                "10000000000 bit/s instead of 2000000",
            ),
            (
                "[ ID] Interval           Transfer     Bitrate         Total Datagrams".to_owned(),
                "data from the server",
            ),
            (
                "[ ID] Interval           Transfer     Bitrate         Retr  Cwnd".to_owned(),
                "data from the server",
            ),
        ] {
            assert_eq!(breach(&udp(), &line).as_deref(), Some(words), "{line}");
        }
    }

    #[test]
    fn bitrate_limit_is_that_of_all_streams_and_directions() {
        assert_eq!(udp().bitrate_limit(0).as_deref(), Some("3666667/3"));
        let many = Plan {
            streams: 3,
            is_two_way: true,
            omit: 5,
            ..udp()
        };
        assert_eq!(many.bitrate_limit(0).as_deref(), Some("44000000/3"));
        let unlimited = Plan {
            bitrate: None,
            ..udp()
        };
        assert_eq!(unlimited.bitrate_limit(0), None);
    }
}
