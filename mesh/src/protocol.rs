//! The constants of the wire protocol: every agent of a mesh relies on them, whatever its settings.

use std::time::Duration;

/// The version of the control messages and of the gossiped state. Each version talks to the one
/// before it.
pub const WIRE_VERSION: u16 = 4;

/// The maximum timeout of one test, and so the longest promise that a node can forget in a restart.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// The maximum time from a client's request to the start of its iperf3. A grant that comes later is
/// void.
pub const START_WINDOW: Duration = Duration::from_secs(3);

/// The time between the death of the client's iperf3 and the end of the server's reservation. It is
/// 900 ms for the kill to take effect, and 100 ms for two clocks that drift apart by
/// [`DRIFT_PPM_MAX`] each during [`TIMEOUT_MAX`].
pub const MARGIN: Duration = Duration::from_secs(1);

/// The maximum drift of a boot-time clock that [`MARGIN`] covers, in parts per million (NTP's own
/// limit, RFC 5905).
pub const DRIFT_PPM_MAX: u32 = 500;

/// How long a node that has left a meeting waits for the peer to confirm it, if one of its cells
/// failed for a reason that the peer may know better. The answer takes two messages and perhaps a
/// kill; if it takes longer, the node's own reason stands.
pub const CONFIRMED_WITHIN: Duration = Duration::from_secs(2);

/// The quiet time: how long an agent stays out of all meetings after its start, because a previous
/// run may still hold a reservation. TCP has the same rule under the same name (RFC 9293, section
/// 3.4.3). It is a constant of the wire protocol, because the previous run may have had other
/// settings.
pub const QUIET_TIME: Duration = Duration::from_secs(TIMEOUT_MAX.as_secs() + MARGIN.as_secs());

/// How long a node whose address has changed stays out of all meetings, so that the others learn
/// its new address first: an iperf3 server accepts only the address that its node knows.
pub(crate) const MOVE_TIME: Duration = Duration::from_secs(15);

const _: () = assert!(2 * TIMEOUT_MAX.as_millis() * DRIFT_PPM_MAX as u128 <= 100 * 1_000_000);
