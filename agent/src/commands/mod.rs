//! The commands, one file for each. Results go to stdout, everything else to stderr.
//!
//! Exit codes: 0 for success, 1 for a command that failed or a bad result, 2 for an unusable
//! command line or configuration.

mod agent;
pub mod check;
mod key;
mod local;
pub mod matrix;
mod output;
mod plan;

use std::process::ExitCode;

use anyhow::Context;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{Cli, Command, EXIT_USAGE};
use crate::config::{Config, ConfigErrors, LogFormat};
use crate::iperf;
use crate::telemetry;
use matrix::FetchError;

/// Runs the command.
///
/// # Errors
/// Returns an error if the command failed; [`report_error`] prints it.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    iperf::reap_orphans().context("cannot install a signal handler")?;
    match cli.command {
        Command::Agent(args) => {
            let config = Config::try_from(*args)?;
            telemetry::start_agent(config.log_format)?;
            agent::run(config).await?;
            telemetry::flush();
            Ok(ExitCode::SUCCESS)
        }
        Command::Local(args) => {
            telemetry::start(LogFormat::Text, LevelFilter::ERROR, args.color.color);
            local::run(*args).await
        }
        Command::Matrix(args) => matrix::run(args).await,
        Command::Plan(args) => plan::run(&args),
        Command::Check(args) => check::run(*args).await,
        Command::Key(args) => key::run(args),
    }
}

/// Prints why a command failed, and returns its exit code.
pub fn report_error(error: &anyhow::Error) -> ExitCode {
    telemetry::write_last(&format!("iperf3-mesh: {error:#}"));
    let is_usage = error.is::<ConfigErrors>()
        || matches!(error.downcast_ref(), Some(FetchError::Address { .. }));
    ExitCode::from(if is_usage { EXIT_USAGE } else { 1 })
}
