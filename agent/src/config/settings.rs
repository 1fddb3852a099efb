//! What is measured and how often: the part of the configuration that `agent`, `local` and `plan`
//! share.

use std::time::Duration;

use iperf3_mesh_core::{Protocol, TestSpec};

use super::{choice, number, switch};
use crate::cli::{self, Protocols, TestArgs};
use crate::config::error::{ConfigErrors, InvalidValue, OptionErrors};
use crate::units;

/// The longest measured part, and the longest part before it. Both nodes are held by a test, and
/// the longest one that the wire protocol permits must leave time for its set-up.
const PART_MAX: Duration = Duration::from_secs(50);
/// What a test takes beside its traffic: connecting, exchanging results, ending.
const SETUP: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The most parallel streams that iperf3 takes.
const STREAMS_MAX: u8 = 128;

/// Tests, and the pause between sweeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSettings {
    /// What to test.
    pub protocol: Protocols,
    /// The measured part of a test, whole seconds.
    pub duration: Duration,
    /// The part before it that is not measured, whole seconds.
    pub omit: Duration,
    /// The pause after a sweep.
    pub interval: Duration,
    /// From asking for a test until its iperf3 is dead at the latest.
    pub timeout: Duration,
    /// Bit/s of TCP, for each stream and direction; `None` is unlimited.
    pub bitrate: Option<u64>,
    /// Bit/s of UDP, for each stream and direction.
    pub udp_bitrate: u64,
    /// Parallel streams of a test.
    pub streams: u8,
    /// Both directions at the same time.
    pub bidir: bool,
}

impl TestSettings {
    /// The tests of one direction, TCP before UDP.
    pub fn specs(&self) -> Vec<TestSpec> {
        let protocols: &[Protocol] = match self.protocol {
            Protocols::Tcp => &[Protocol::Tcp],
            Protocols::Udp => &[Protocol::Udp],
            Protocols::Both => &[Protocol::Tcp, Protocol::Udp],
        };
        protocols
            .iter()
            .map(|protocol| self.spec(*protocol))
            .collect()
    }

    fn spec(&self, protocol: Protocol) -> TestSpec {
        TestSpec {
            protocol,
            duration: self.duration,
            // UDP has no slow start that it could leave out.
            omit: match protocol {
                Protocol::Tcp => self.omit,
                Protocol::Udp => Duration::ZERO,
            },
            timeout: self.timeout,
            bitrate: match protocol {
                Protocol::Tcp => self.bitrate,
                Protocol::Udp => Some(self.udp_bitrate),
            },
            streams: self.streams,
            bidir: self.bidir,
        }
    }
}

impl TryFrom<&TestArgs> for TestSettings {
    type Error = ConfigErrors;

    fn try_from(args: &TestArgs) -> Result<Self, ConfigErrors> {
        let mut problems = OptionErrors::default();
        let protocol = problems.read("protocol", &args.protocol, choice);
        let duration = problems.read("duration", &args.duration, |text| {
            part(text, Duration::from_secs(1))
        });
        let omit = problems.read("omit", &args.omit, |text| part(text, Duration::ZERO));
        let interval = problems.read("interval", &args.interval, interval);
        let timeout = problems.read("timeout", &args.timeout, |text| {
            timeout(text, omit, duration)
        });
        let bitrate = problems.read("bitrate", &args.bitrate, units::bitrate);
        let udp_bitrate = problems.read("udp_bitrate", &args.udp_bitrate, udp_bitrate);
        let streams = problems.read("streams", &args.streams, |text| {
            number(text, 1..=STREAMS_MAX)
        });
        let bidir = problems.read("bidir", &args.bidir, switch);
        let settings = || {
            Some(Self {
                protocol: protocol?,
                duration: duration?,
                omit: omit?,
                interval: interval?,
                timeout: timeout?,
                bitrate: bitrate.map(|rate| (rate > 0).then_some(rate))?,
                udp_bitrate: udp_bitrate?,
                streams: streams?,
                bidir: bidir?,
            })
        };
        problems.finish(settings())
    }
}

/// Reads the length of a part of a test. iperf3 takes whole seconds only.
fn part(text: &str, least: Duration) -> Result<Duration, InvalidValue> {
    let length = units::duration(text)?;
    if length.subsec_nanos() == 0 && (least..=PART_MAX).contains(&length) {
        return Ok(length);
    }
    Err(InvalidValue::new(
        format!(
            "whole seconds from {} to {}",
            units::show(least),
            units::show(PART_MAX)
        ),
        "iperf3 counts in whole seconds, and a longer test would hold both nodes for too long.",
    ))
}

fn interval(text: &str) -> Result<Duration, InvalidValue> {
    let pause = units::duration(text)?;
    if pause <= INTERVAL_MAX {
        return Ok(pause);
    }
    Err(InvalidValue::new(
        format!("at most {}", units::show(INTERVAL_MAX)),
        "For fewer tests raise it up to that, or shorten --duration.",
    ))
}

/// Reads the timeout, which must hold the parts of the test if these are known.
fn timeout(
    text: &str,
    omit: Option<Duration>,
    duration: Option<Duration>,
) -> Result<Duration, InvalidValue> {
    let timeout = units::duration(text)?;
    let least = omit.unwrap_or_default() + duration.unwrap_or_default() + SETUP;
    if (least..=iperf3_mesh_core::TIMEOUT_MAX).contains(&timeout) {
        return Ok(timeout);
    }
    let most = units::show(iperf3_mesh_core::TIMEOUT_MAX);
    if least > iperf3_mesh_core::TIMEOUT_MAX {
        return Err(InvalidValue::new(
            format!(
                "omit + duration + 1s, which is {}, to be at most {most}",
                units::show(least)
            ),
            format!(
                "Shorten {} or {}.",
                cli::option_name("omit"),
                cli::option_name("duration")
            ),
        ));
    }
    let least = units::show(least);
    Err(InvalidValue::new(
        format!("from {least} (omit + duration + 1s) to {most}"),
        format!(
            "Set it to {least} at least; some seconds more let a slow connection end by itself."
        ),
    ))
}

fn udp_bitrate(text: &str) -> Result<u64, InvalidValue> {
    match units::bitrate(text)? {
        0 => Err(InvalidValue::new(
            "more than 0",
            "Unlimited UDP measures the sender's processor, not the network: 2M is enough for jitter and loss.",
        )),
        rate => Ok(rate),
    }
}
