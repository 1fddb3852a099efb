//! The words that an agent and the preload filter of one server share, in a file in memory.
//!
//! `build.rs` compiles this file a second time, into the filter.

/// The number of words. The file has this size for good.
pub(super) const WORDS: usize = 9;

/// The address of the guest, an IPv6 address or a mapped IPv4 address, in two words.
pub(super) const GUEST: usize = 0;

/// 1 if the plan lets the server send data, else 0.
pub(super) const MAY_SEND: usize = 2;

/// 1 once the filter watches a port.
pub(super) const ARMED: usize = 3;

/// The number of connections from other addresses, all closed unread.
pub(super) const CONNECTIONS: usize = 4;

/// The number of datagrams from other addresses, all dropped unread.
pub(super) const DATAGRAMS: usize = 5;

/// The address of the last stranger, in two words.
pub(super) const STRANGER: usize = 6;

/// 1 if the filter has ended the server because it was about to send data against the plan.
pub(super) const BREACH: usize = 8;
