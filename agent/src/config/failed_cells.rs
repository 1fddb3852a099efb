//! The export of a failed cell.

use clap::ValueEnum;

/// The bandwidth and jitter of a cell after a failed test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FailedCells {
    /// They are 0; only `iperf_test_success` tells that from a measurement.
    #[default]
    Zero,
    /// They are absent until the next success.
    Absent,
}
