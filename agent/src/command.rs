//! What each command does with the command line, and how it prints: results to stdout, everything else to stderr.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context;
use mesh::Protocol;
use tracing_subscriber::filter::LevelFilter;

use crate::api::Matrix;
use crate::cli::{CheckArgs, Cli, EXIT_USAGE, MatrixArgs, MatrixFormat, Protocols, Report, Task};
use crate::config::{Config, ConfigErrors, LogFormat};
use crate::heatmap::{self, Screen};
use crate::{app, check, listing, local, matrix, plan, telemetry};

/// The port of the read API, where an address names none.
const DEFAULT_PORT: u16 = 9876;

/// Runs the command.
///
/// # Errors
/// If it came to nothing; [`complain`] prints that.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Task::Agent(args) => {
            let config = Config::try_from(*args)?;
            telemetry::start(config.log_format, LevelFilter::INFO);
            app::run(config).await?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Local(args) => {
            telemetry::start(LogFormat::Text, LevelFilter::ERROR);
            local::run(*args).await
        }
        Task::Matrix(args) => show_matrix(args).await,
        Task::Plan(args) => plan::run(&args),
        Task::Check(args) => run_check(*args).await,
    }
}

/// Prints why a command came to nothing; returns the exit code for it.
pub fn complain(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "iperf3-mesh: {error:#}");
    let is_usage = error.downcast_ref::<ConfigErrors>().is_some();
    ExitCode::from(if is_usage { EXIT_USAGE } else { 1 })
}

/// Prints to stdout. Who reads may have read enough: that is no error.
///
/// # Errors
/// If stdout cannot be written to for another reason.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}

async fn show_matrix(args: MatrixArgs) -> anyhow::Result<ExitCode> {
    let mut matrix = matrix::fetch(&args.address, DEFAULT_PORT, args.timeout).await?;
    match args.protocol {
        Protocols::Tcp => matrix.cells.retain(|cell| cell.protocol == Protocol::Tcp),
        Protocols::Udp => matrix.cells.retain(|cell| cell.protocol == Protocol::Udp),
        Protocols::Both => {}
    }
    print(&rendered(&matrix, args.output)?)?;
    Ok(ExitCode::SUCCESS)
}

fn rendered(matrix: &Matrix, format: MatrixFormat) -> anyhow::Result<String> {
    Ok(match format {
        MatrixFormat::Heatmap => heatmap::render(matrix, Screen::of_stdout()),
        MatrixFormat::Table => listing::table(matrix),
        MatrixFormat::Json => listing::json(matrix)?,
        MatrixFormat::Csv => listing::csv(matrix),
    })
}

async fn run_check(args: CheckArgs) -> anyhow::Result<ExitCode> {
    let config = Config::try_from(args.agent)?;
    let findings = check::run(&config).await;
    match args.output {
        Report::Table => print(&findings.to_string())?,
        Report::Json => print(&format!("{}\n", serde_json::to_string_pretty(&findings)?))?,
    }
    Ok(if findings.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
