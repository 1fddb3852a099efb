//! The limits on the resources of an iperf3 process. None is higher than the agent's own limit.

use nix::libc::rlim_t;
use nix::sys::resource::{Resource, getrlimit};

use crate::iperf::command::BLOCK;

const MIB: u64 = 1 << 20;

/// The address space of an iperf3 without streams: its code, its libraries and what a preloaded
/// library or a wrapper script needs.
const ADDRESS_SPACE: u64 = 512 * MIB;

/// The address space of one stream. From 3.16 on, each stream has a thread with a stack of 8 MiB,
/// and 128 streams in both directions were measured to take 2.1 GiB.
const ADDRESS_SPACE_OF_STREAM: u64 = 16 * MIB;

/// The stack of a thread, unless the agent's own limit is lower.
const STACK: u64 = 8 * MIB;

/// The number of files that an iperf3 without streams may have open.
const OPEN_FILES: u64 = 64;

/// Returns the limits of an iperf3 with this number of streams.
pub(super) fn of(streams: u64) -> Vec<(Resource, u64)> {
    [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, OPEN_FILES + 2 * streams),
        // The file behind the buffer of a stream is the only file that iperf3 writes.
        (Resource::RLIMIT_FSIZE, BLOCK),
        (Resource::RLIMIT_STACK, STACK),
        (
            Resource::RLIMIT_AS,
            ADDRESS_SPACE + streams * ADDRESS_SPACE_OF_STREAM,
        ),
    ]
    .into_iter()
    .map(|(resource, limit)| (resource, limit.min(own(resource))))
    .collect()
}

/// Returns the agent's own limit.
fn own(resource: Resource) -> u64 {
    getrlimit(resource).map_or(rlim_t::MAX, |(soft, _)| soft)
}
