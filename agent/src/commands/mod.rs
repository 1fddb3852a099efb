//! The commands, a file for each. Results go to stdout, everything else to stderr.
//!
//! Exit codes: 0 is success, 1 a result that is not good or a command that could not be carried
//! out, 2 a command line or configuration that cannot be used.

mod agent;
pub mod check;
mod local;
pub mod matrix;
mod output;
mod plan;

use std::io::{self, Write};
use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

use crate::cli::{Cli, Command, EXIT_USAGE};
use crate::config::{Config, ConfigErrors, LogFormat};
use crate::telemetry;

/// Runs the command.
///
/// # Errors
/// If the command could not be carried out; [`report_error`] prints the error.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Agent(args) => {
            let config = Config::try_from(*args)?;
            telemetry::start(config.log_format, LevelFilter::INFO);
            agent::run(config).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Local(args) => {
            telemetry::start(LogFormat::Text, LevelFilter::ERROR);
            local::run(*args).await
        }
        Command::Matrix(args) => matrix::run(args).await,
        Command::Plan(args) => plan::run(&args),
        Command::Check(args) => check::run(*args).await,
    }
}

/// Prints why a command failed; returns the exit code for it.
pub fn report_error(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "iperf3-mesh: {error:#}");
    let is_usage = error.downcast_ref::<ConfigErrors>().is_some();
    ExitCode::from(if is_usage { EXIT_USAGE } else { 1 })
}
