//! Durations and bitrates as people write them.

use std::fmt;
use std::time::Duration;

use crate::config::error::InvalidValue;

/// Reads `5s`, `2m`, `500ms`, `1h 30m`, or plain seconds (`300`).
///
/// # Errors
/// If `text` is none of these.
pub fn duration(text: &str) -> Result<Duration, InvalidValue> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| {
        InvalidValue::new(
            "a duration",
            "Write it as 500ms, 5s, 2m or 1h, or as plain seconds.",
        )
    })
}

/// Writes a duration so that [`duration`] reads it.
pub fn show(duration: Duration) -> impl fmt::Display {
    humantime::format_duration(duration)
}

/// The letters of a bitrate. They count in thousands, as those of iperf3's `-b` do.
const PREFIXES: [(char, f64); 4] = [('k', 1e3), ('m', 1e6), ('g', 1e9), ('t', 1e12)];

/// The greatest bitrate: beyond any wire, and still exact as a float.
const BITRATE_MAX: f64 = 1e15;

/// Reads `500k`, `10M`, `2.5G`, or plain bit/s.
///
/// # Errors
/// If `text` is none of these, or comes to more than 1000 Tbit/s.
pub fn bitrate(text: &str) -> Result<u64, InvalidValue> {
    let text = text.trim();
    let prefix = PREFIXES
        .iter()
        .find(|(letter, _)| text.ends_with([*letter, letter.to_ascii_uppercase()]));
    let (number, factor) = match prefix {
        Some((_, factor)) => (&text[..text.len() - 1], *factor),
        None => (text, 1.0),
    };
    let plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let rate = number
        .parse::<f64>()
        .ok()
        .filter(|_| plain)
        .map(|n| (n * factor).round());
    match rate {
        Some(rate) if rate <= BITRATE_MAX => Ok(rate as u64),
        _ => Err(InvalidValue::new(
            "a bitrate",
            "Write it as 500k, 10M or 1G, or as plain bit/s.",
        )),
    }
}
