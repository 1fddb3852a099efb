//! The log. It goes to stderr, as text or as one JSON object per line. That of an agent is written
//! by a thread of its own, so that no reader of the log can stop the agent.

mod limit;
mod throttle;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::prelude::*;

use crate::cli::ColorChoice;
use crate::config::LogFormat;
use crate::render::screen::has_colour;
use limit::LineLimit;
use writer::LogWriter;

pub(crate) use limit::report_left_out;
pub(crate) use throttle::{MINUTE, Throttle, Throttles};

/// The environment variable that sets the log level.
const VARIABLE: &str = "RUST_LOG";

/// How long the end of the agent waits for its last lines to be read.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// The writer of the log of an agent.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// Starts the log of an agent, which is written by a thread of its own. See [`start`].
///
/// # Errors
/// Returns an error if stderr cannot be used, or if the thread cannot be started.
pub(crate) fn start_agent(format: LogFormat) -> anyhow::Result<()> {
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let stderr = stderr.context("cannot open stderr once more; raise the limit on open files")?;
    let log = LogWriter::start(BlockingFile(stderr.into()), |_, count| {
        tracing::warn!("{count} log lines were dropped while nobody read the log");
    })
    .context(
        "cannot start the thread that writes the log; raise the limit on processes and threads \
         (`ulimit -u`, pids.max of the cgroup)",
    )?;
    let log = WRITER.get_or_init(|| log);
    let writer = BoxMakeWriter::new(move || log.clone());
    start_with(
        format,
        LevelFilter::INFO,
        ColorChoice::Auto,
        writer,
        Some(LineLimit),
    );
    log_panics();
    Ok(())
}

/// Returns the number of lines of the agent's log that were dropped.
pub(crate) fn dropped_lines() -> u64 {
    WRITER.get().map_or(0, LogWriter::dropped)
}

/// Writes a line that is no event to stderr, behind the events, and waits a moment until the log
/// has been read.
pub(crate) fn write_last(line: &str) {
    match WRITER.get().cloned() {
        Some(mut log) => {
            let _ = log.write_all(format!("{line}\n").as_bytes());
            flush();
        }
        None => {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

/// Waits a moment until the agent's log has been read.
pub(crate) fn flush() {
    if let Some(log) = WRITER.get() {
        log.flush(FLUSH_WITHIN);
    }
}

/// Logs a panic instead of writing it to stderr, which could block.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let panic = panic.to_string().replace('\n', " ");
        let backtrace = Backtrace::capture();
        if !tracing::enabled!(tracing::Level::ERROR) {
            write_last(&panic);
        } else if backtrace.status() == BacktraceStatus::Captured {
            tracing::error!(%backtrace, "{panic}");
        } else {
            tracing::error!("{panic}");
        }
        flush();
    }));
}

/// A file whose writes block even if another program has made the file non-blocking.
struct BlockingFile(File);

impl Write for BlockingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut file = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut file, PollTimeout::NONE) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Sends the log to stderr. `RUST_LOG` sets the level. `level` is the default, and also applies if
/// `RUST_LOG` is invalid, which is logged as an error.
pub(crate) fn start(format: LogFormat, level: LevelFilter, color: ColorChoice) {
    start_with(format, level, color, BoxMakeWriter::new(io::stderr), None);
}

fn start_with(
    format: LogFormat,
    level: LevelFilter,
    color: ColorChoice,
    writer: BoxMakeWriter,
    limit: Option<LineLimit>,
) {
    let given = std::env::var_os(VARIABLE)
        .map(|value| value.to_string_lossy().into_owned())
        .filter(|value| !value.trim().is_empty());
    let filter = given.as_deref().and_then(filter);
    let invalid = given.filter(|_| filter.is_none());
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(has_colour(color, &io::stderr()))
        .with_writer(writer)
        .with_target(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(lines.with_filter(limit))
        .with(filter.unwrap_or_else(|| default_filter(level)))
        .init();
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
