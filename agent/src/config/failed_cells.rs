//! What is exported of a failed cell.

use clap::ValueEnum;

/// What bandwidth and jitter say after a failed test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FailedCells {
    /// They say 0, and only `iperf_test_success` tells it from a measurement.
    #[default]
    Zero,
    /// They say nothing: the series is absent until the next success.
    Absent,
}
