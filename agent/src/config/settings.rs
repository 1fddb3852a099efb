//! The settings of the tests, and the pause between sweeps. The commands `agent`, `local` and
//! `plan` share this part of the configuration.

use std::time::Duration;

use iperf3_mesh_core::{Protocol, TIMEOUT_MAX, TestSpec};

use super::{choice, switch};
use crate::cli::{Protocols, TestArgs, option_name};
use crate::config::error::{ConfigErrors, OptionErrors};
use crate::units::{self, InvalidValue, number};

/// The maximum length of the measured part, and also of the unmeasured part before it. A test
/// occupies both nodes, and the longest timeout of the wire protocol must leave time for the set-up
/// of the test.
const PART_MAX: Duration = Duration::from_secs(50);
/// The minimum time that a timeout must leave for connecting, exchanging results and ending.
const SETUP_MIN: Duration = Duration::from_secs(1);
/// The time that the default timeout leaves for these steps. It is long enough for a slow
/// connection to end by itself.
const SETUP_DEFAULT: Duration = Duration::from_secs(5);
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The maximum number of parallel streams that iperf3 accepts.
const STREAMS_MAX: u8 = 128;

/// The settings of the tests, and the pause between sweeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestSettings {
    /// The protocols to test.
    pub protocol: Protocols,
    /// The length of the measured part of a test, in whole seconds.
    pub duration: Duration,
    /// The length of the unmeasured part before the measured part, in whole seconds.
    pub omit: Duration,
    /// The pause after a sweep.
    pub interval: Duration,
    /// The maximum time from the request for a test until its iperf3 is dead.
    pub timeout: Duration,
    /// The TCP bitrate of each stream and direction, in bit/s; `None` is unlimited.
    pub bitrate: Option<u64>,
    /// The UDP bitrate of each stream and direction, in bit/s.
    pub udp_bitrate: u64,
    /// The number of parallel streams of a test.
    pub streams: u8,
    /// Whether to test both directions at the same time.
    pub bidir: bool,
}

impl TestSettings {
    /// Returns the tests of one direction, TCP before UDP.
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

    /// Returns the limits of the tests that this node takes part in only because another node asks:
    /// the settings of the protocols that it does not test itself.
    pub fn guest_specs(&self) -> Vec<TestSpec> {
        let own = self.specs();
        Protocol::ALL
            .iter()
            .filter(|protocol| own.iter().all(|spec| spec.protocol != **protocol))
            .map(|protocol| self.spec(*protocol))
            .collect()
    }

    fn spec(&self, protocol: Protocol) -> TestSpec {
        TestSpec {
            protocol,
            duration: self.duration,
            // UDP has no slow start that would have to be omitted.
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
        let mut errors = OptionErrors::default();
        let protocol = errors.read("protocol", &args.protocol, choice);
        let duration = errors.read("duration", &args.duration, |text| {
            part(text, Duration::from_secs(1))
        });
        let omit = errors.read("omit", &args.omit, |text| part(text, Duration::ZERO));
        let interval = errors.read("interval", &args.interval, interval);
        let timeout = timeout(&mut errors, args, omit, duration);
        let bitrate = errors.read("bitrate", &args.bitrate, units::bitrate);
        let udp_bitrate = errors.read("udp_bitrate", &args.udp_bitrate, udp_bitrate);
        let streams = errors.read("streams", &args.streams, |text| {
            number(text, 1..=STREAMS_MAX)
        });
        let bidir = errors.read("bidir", &args.bidir, switch);
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
        errors.finish(settings())
    }
}

/// Reads the length of a part of a test, in whole seconds, because iperf3 accepts no fractions.
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
        "iperf3 counts in whole seconds, and a longer test would occupy both nodes for too long.",
    ))
}

fn interval(text: &str) -> Result<Duration, InvalidValue> {
    let pause = units::duration(text)?;
    if pause <= INTERVAL_MAX {
        return Ok(pause);
    }
    Err(InvalidValue::new(
        format!("a duration of at most {}", units::show(INTERVAL_MAX)),
        format!(
            "To test even less, shorten {} instead.",
            option_name("duration")
        ),
    ))
}

/// Returns the given timeout, or one that is long enough for the parts of the test. An error about
/// these parts mentions what the user typed, never the default timeout.
fn timeout(
    errors: &mut OptionErrors,
    args: &TestArgs,
    omit: Option<Duration>,
    duration: Option<Duration>,
) -> Option<Duration> {
    let (known_omit, known_duration) = (omit.unwrap_or_default(), duration.unwrap_or_default());
    let length = known_omit + known_duration;
    if length + SETUP_MIN > TIMEOUT_MAX {
        let most = TIMEOUT_MAX - SETUP_MIN - known_omit;
        let error = too_long(most, &args.omit);
        errors.add("duration", &args.duration, error);
        return None;
    }
    errors
        .read_if_given("timeout", args.timeout.as_deref(), |text| {
            given_timeout(text, length)
        })
        .map(|given| given.unwrap_or((length + SETUP_DEFAULT).min(TIMEOUT_MAX)))
}

/// Returns the error for a test that is longer than any timeout allows.
fn too_long(most: Duration, omit: &str) -> InvalidValue {
    InvalidValue::new(
        format!(
            "at most {} with {} {omit:?}, since a test ends within {}",
            units::show(most),
            option_name("omit"),
            units::show(TIMEOUT_MAX)
        ),
        "Shorten one of them.",
    )
}

/// Reads a timeout that must leave enough time for a test of the given `length`.
fn given_timeout(text: &str, length: Duration) -> Result<Duration, InvalidValue> {
    let timeout = units::duration(text)?;
    let least = length + SETUP_MIN;
    if (least..=TIMEOUT_MAX).contains(&timeout) {
        return Ok(timeout);
    }
    let (least, most) = (units::show(least), units::show(TIMEOUT_MAX));
    Err(InvalidValue::new(
        format!("a duration from {least} (omit + duration + 1s) to {most}"),
        "Leave it out for omit + duration + 5s: a slow connection then ends by itself.",
    ))
}

fn udp_bitrate(text: &str) -> Result<u64, InvalidValue> {
    match units::bitrate(text)? {
        0 => Err(InvalidValue::new(
            "a bitrate above 0",
            "Unlimited UDP measures the sender's processor, not the network; 2M is enough for \
             jitter and loss.",
        )),
        rate => Ok(rate),
    }
}
