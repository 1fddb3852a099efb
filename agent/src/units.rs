//! Values in the form in which users write them: durations, bitrates, numbers and shares.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use iperf3_mesh_core::{MESH_NAME_LEN_MAX, MeshName};

/// The reason why a text is not a valid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}. {hint}")]
pub struct InvalidValue {
    /// A valid value, as the object of "expected".
    pub expected: String,
    /// The fix, as one sentence.
    pub hint: String,
}

impl InvalidValue {
    /// Creates an error for a value that should have been `expected`. `hint` says how to fix it.
    pub(crate) fn new(expected: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            hint: hint.into(),
        }
    }
}

/// The fix for a value that is too low or too high.
const WITHIN_RANGE: &str = "Set it within that range.";

/// The fix for a text that should have been a number.
const DIGITS: &str = "Write it in plain digits.";

/// The highest number up to which a float still represents every whole number.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads a whole number in any form that YAML and Helm give it: `2`, `2.0`, `1e+06`.
fn whole(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        text.parse()
            .ok()
            .filter(|number: &f64| number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(number))
            .map(|number| number as u64)
    })
}

/// Reads `5s`, `2m`, `500ms`, `1h 30m`, or plain seconds (`300`).
///
/// # Errors
/// Returns an error if `text` has none of these forms.
pub fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let text = text.trim();
    if let Some(seconds) = whole(text) {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| {
        InvalidValue::new(
            "a duration",
            "Write it as 500ms, 5s, 2m or 1h, or as whole seconds.",
        )
    })
}

/// Reads a duration that must be in `range`.
///
/// # Errors
/// Returns an error if `text` is not a duration or is outside of `range`.
pub(crate) fn duration_in(
    text: &str,
    range: RangeInclusive<Duration>,
) -> Result<Duration, InvalidValue> {
    let duration = duration(text)?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    let (least, most) = (show(*range.start()), show(*range.end()));
    Err(InvalidValue::new(
        format!("a duration from {least} to {most}"),
        WITHIN_RANGE,
    ))
}

/// Writes a duration in a form that [`duration`] can read.
pub fn show(duration: Duration) -> impl Display {
    humantime::format_duration(duration)
}

/// The prefixes of a bitrate. They are powers of 1000, as for iperf3's `-b`.
const PREFIXES: [(char, f64); 4] = [('k', 1e3), ('m', 1e6), ('g', 1e9), ('t', 1e12)];

/// The units of a bitrate, in lower case.
const BIT_UNITS: [&str; 7] = ["", "b", "bit", "bits", "bps", "bit/s", "bits/s"];

/// The maximum bitrate. It is higher than that of any link, and a float still represents it
/// exactly.
const BITRATE_MAX: f64 = 1e15;

/// Reads `500k`, `10M`, `2.5G`, `100 Mbit/s`, `10Gbps`, or plain bit/s.
///
/// Upper and lower case are equivalent, except that a capital B alone (`MB`, `MBps`) means bytes.
///
/// # Errors
/// Returns an error if `text` has none of these forms, or exceeds 1000 Tbit/s.
pub fn bitrate(text: &str) -> Result<u64, InvalidValue> {
    rate(text.trim())
        .filter(|rate| *rate <= BITRATE_MAX)
        .map(|rate| rate.round() as u64)
        .ok_or_else(|| {
            InvalidValue::new(
                "a bitrate",
                "Write it as 500k, 10M, 1G or 100Mbit/s (bits, not bytes), or as plain bit/s.",
            )
        })
}

fn rate(text: &str) -> Option<f64> {
    if let Some(rate) = whole(text) {
        return Some(rate as f64);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let unit = unit.trim_start();
    let prefix = PREFIXES
        .iter()
        .find(|(letter, _)| unit.starts_with([*letter, letter.to_ascii_uppercase()]));
    let (unit, factor) = prefix.map_or((unit, 1.0), |(_, factor)| (&unit[1..], *factor));
    let name = unit.to_ascii_lowercase();
    let is_bytes = unit.starts_with('B') && !name.starts_with("bit");
    let is_known = BIT_UNITS.contains(&name.as_str()) && !is_bytes;
    number
        .parse::<f64>()
        .ok()
        .filter(|_| is_known)
        .map(|number| number * factor)
}

/// Reads a whole number that must be in `range`.
///
/// # Errors
/// Returns an error if `text` is not a number or is outside of `range`.
pub(crate) fn number<T: TryFrom<u64> + PartialOrd + Display>(
    text: &str,
    range: RangeInclusive<T>,
) -> Result<T, InvalidValue> {
    let number = whole(text);
    number
        .and_then(|number| T::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let is_number = text.trim().parse::<f64>().is_ok();
            let hint = match number {
                None if is_number => "Set it to a whole number within that range.",
                None => DIGITS,
                Some(_) => WITHIN_RANGE,
            };
            let (least, most) = (range.start(), range.end());
            InvalidValue::new(format!("a number from {least} to {most}"), hint)
        })
}

/// The maximum share that [`share`] accepts.
const SHARE_MAX: f64 = 0.5;

/// Reads a share from 0 to 0.5.
///
/// # Errors
/// Returns an error if `text` is not a number or is outside of that range.
pub(crate) fn share(text: &str) -> Result<f64, InvalidValue> {
    text.trim()
        .parse()
        .ok()
        .filter(|share| (0.0..=SHARE_MAX).contains(share))
        .ok_or_else(|| {
            InvalidValue::new(
                format!("a share from 0 to {SHARE_MAX}"),
                "Write 5 % as 0.05.",
            )
        })
}

/// Returns the error for a text that is none of `names`.
pub(crate) fn not_one_of(names: &[String]) -> InvalidValue {
    InvalidValue::new(
        format!("one of {}", names.join(", ")),
        "Choose one of them.",
    )
}

/// Reads the name of a mesh.
///
/// # Errors
/// Returns an error if `text` is none.
pub fn mesh_name(text: &str) -> Result<MeshName, InvalidValue> {
    MeshName::new(text).ok_or_else(|| {
        InvalidValue::new(
            format!("1 to {MESH_NAME_LEN_MAX} lower-case letters, digits and '-'"),
            "Give all agents of the mesh the same name.",
        )
    })
}
