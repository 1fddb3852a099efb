//! The log. It goes to stderr, as text or as one JSON object per line.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::ColorChoice;
use crate::config::LogFormat;
use crate::render::screen::has_colour;

/// The environment variable that sets the log level.
const VARIABLE: &str = "RUST_LOG";

/// Sends the log to stderr. `RUST_LOG` sets the level. `level` is the default, and also applies if
/// `RUST_LOG` is invalid, which is logged as an error.
pub(crate) fn start(format: LogFormat, level: LevelFilter, color: ColorChoice) {
    let given = std::env::var_os(VARIABLE)
        .map(|value| value.to_string_lossy().into_owned())
        .filter(|value| !value.trim().is_empty());
    let filter = given.as_deref().and_then(filter);
    let invalid = given.filter(|_| filter.is_none());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|| default_filter(level)))
        .with_ansi(has_colour(color, &io::stderr()))
        .with_writer(io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    if let Some(value) = invalid {
        tracing::error!(
            "{VARIABLE} is {value:?}: expected error, warn, info, debug, trace, off, or one for \
             each part of the program (info,iperf3_mesh=debug). The level is {level}."
        );
    }
}

/// Returns the filter for `level`. It leaves out events that gossip and discovery handle
/// themselves: warnings of chitchat, and all events of kube.
fn default_filter(level: LevelFilter) -> EnvFilter {
    EnvFilter::new(format!("{level},chitchat=error,kube_client=off"))
}

/// Returns the filter of `RUST_LOG`, or `None` if it is invalid. tracing interprets an unknown
/// level, such as `verbose`, as the name of a part of the program, and silences all other parts.
fn filter(value: &str) -> Option<EnvFilter> {
    let is_level = |word: &str| word.trim().parse::<LevelFilter>().is_ok();
    let is_valid = |directive: &str| directive.contains(['=', '[']) || is_level(directive);
    value
        .split(',')
        .filter(|directive| !directive.trim().is_empty())
        .all(is_valid)
        .then(|| EnvFilter::try_new(value).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::filter;

    #[test]
    fn a_level_or_a_level_for_a_part_is_a_valid_rust_log() {
        for value in [
            "debug",
            "WARN",
            "off",
            "info,iperf3_mesh=debug",
            "iperf3_mesh=trace,",
        ] {
            assert!(filter(value).is_some(), "{value}");
        }
    }

    #[test]
    fn an_unknown_level_is_an_invalid_rust_log() {
        for value in ["verbose", "info,loud", "iperf3_mesh=verbose", "iperf3_mesh"] {
            assert!(filter(value).is_none(), "{value}");
        }
    }
}
