//! The rotation of iperf3 ports. Each server gets the next port of a small range, so a late client
//! of a forgotten reservation finds its port closed.

/// A range of ports for iperf3 servers. One of them is open at a time, and only during a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The number of ports, at least 1. If there is only one port, nothing rotates, and only the
    /// leases keep a late client away.
    pub count: u16,
}

/// Hands out the ports of a range in turn.
#[derive(Clone, Debug, Hash)]
pub(super) struct PortRotation {
    range: PortRange,
    next: u16,
}

impl PortRotation {
    /// Starts at a position that differs from run to run, so that a restarted agent seldom repeats
    /// the port of its previous run.
    pub(super) fn new(range: PortRange, start: u64) -> Self {
        let count = range.count.max(1);
        let next = u16::try_from(start % u64::from(count)).unwrap_or(0);
        Self {
            range: PortRange { count, ..range },
            next,
        }
    }

    pub(super) fn next(&mut self) -> u16 {
        let port = self.range.first.saturating_add(self.next);
        self.next = (self.next + 1) % self.range.count;
        port
    }

    pub(super) fn count(&self) -> u16 {
        self.range.count
    }
}
