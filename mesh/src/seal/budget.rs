//! The budget for those that have not proven yet that they have a key.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::Time;

/// The maximum number of trials in a second: in all, of those in all of strangers, and of one
/// source.
const TRIALS_MAX: u32 = 500;
const STRANGERS_MAX: u32 = 250;
const SOURCE_MAX: u32 = 50;
const SECOND: Duration = Duration::from_secs(1);

/// The trials of the present second, by source: an IPv4 address, or an IPv6 network of 64 bits.
#[derive(Debug, Default)]
pub(super) struct Budget {
    began: Time,
    all: u32,
    strangers: u32,
    by_source: BTreeMap<IpAddr, u32>,
}

impl Budget {
    /// Takes one trial for `from`, if there is one left. Strangers leave half of them to addresses
    /// that are known.
    pub(super) fn take(&mut self, from: IpAddr, is_known: bool, now: Time) -> bool {
        if now.since(self.began) >= SECOND {
            *self = Self {
                began: now,
                ..Self::default()
            };
        }
        if self.all >= TRIALS_MAX || (!is_known && self.strangers >= STRANGERS_MAX) {
            return false;
        }
        let of_source = self.by_source.entry(network(from)).or_default();
        if *of_source >= SOURCE_MAX {
            return false;
        }
        *of_source += 1;
        self.all += 1;
        self.strangers += u32::from(!is_known);
        true
    }
}

fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
    }
}
