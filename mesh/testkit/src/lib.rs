//! The harness and the mocks that the tests and benches of the core share.
//!
//! [`Harness`] drives real coordinators through a scripted course of events: the test decides which
//! messages arrive and when, and how the iperf3 processes behave. [`MockMesh`] surrounds one real
//! node with mock peers, for benches of large meshes. Both are policies of the simulator's kernel.

mod allocator;
mod harness;
mod keys;
mod log;
mod messages;
mod mock_mesh;

use std::time::Duration;

pub use allocator::CountingAllocator;
pub use harness::Harness;
pub use iperf3_mesh_core::sim::defaults::test_spec;
pub use iperf3_mesh_core::sim::ids::name_of;
pub use iperf3_mesh_core::sim::kernel::{DELIVERY_TIMEOUT, Delivery};
pub use keys::{key, keyring};
pub use log::{CellResult, Entry, Event, Logged};
pub use messages::refusal;
pub use mock_mesh::{MockMesh, live_view};
use proptest::test_runner::Config as ProptestConfig;

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);

/// One millisecond.
pub const MILLI: Duration = Duration::from_millis(1);

/// Returns the configuration of a property test with this many cases. A failure prints its smallest
/// case and writes no file.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
