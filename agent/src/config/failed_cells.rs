//! The exported values of a failed cell.

use clap::ValueEnum;

/// The bandwidth and jitter of a cell after a failed test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FailedCells {
    /// Both values are 0. Only `iperf_test_success` distinguishes them from a measurement.
    #[default]
    Zero,
    /// Both values are absent until the next success.
    Absent,
}
