//! Log lines: to stderr, as text or as one JSON object a line.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::LogFormat;

/// Sends the log to stderr. `RUST_LOG` sets the level; without it, `level` does. What chitchat
/// warns of, and what kube says at all, is for gossip and discovery to judge.
pub fn start(format: LogFormat, level: LevelFilter) {
    let default = format!("{level},chitchat=error,kube_client=off");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
