//! The kernel's neighbour table (ARP, NDP), which has an entry for each peer on the same network.
//!
//! The table has a limit for the whole machine, whatever the number of its network namespaces.
//! Beyond it, datagrams to further peers are lost without an error. Many kernels show the limit
//! only in the first network namespace.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use nix::ifaddrs::getifaddrs;

use crate::net::ip_of;

/// The kernel's default limit.
pub(crate) const DEFAULT_LIMIT: u64 = 1024;

/// The neighbour table of one address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeighbourTable {
    family: &'static str,
    /// The maximum number of entries.
    limit: u64,
    /// The present number of entries, and how often the table was full since the machine started.
    used: Option<Used>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Used {
    entries: u64,
    overflows: u64,
}

impl NeighbourTable {
    /// Reads the table of the family of `address`. Returns `None` if the kernel does not show the
    /// limit here.
    pub(crate) fn read(address: IpAddr) -> Option<Self> {
        Self::read_from(Path::new("/proc"), address)
    }

    fn read_from(proc: &Path, address: IpAddr) -> Option<Self> {
        let (family, statistics) = match address {
            IpAddr::V4(_) => ("ipv4", "arp_cache"),
            IpAddr::V6(_) => ("ipv6", "ndisc_cache"),
        };
        let limit = proc.join(format!("sys/net/{family}/neigh/default/gc_thresh3"));
        let statistics = fs::read_to_string(proc.join("net/stat").join(statistics));
        Some(Self {
            family,
            limit: fs::read_to_string(limit).ok()?.trim().parse().ok()?,
            used: statistics.ok().and_then(|text| used(&text)),
        })
    }

    /// Returns whether the table is too small for a mesh of `nodes` on this network: whether they
    /// or the present entries fill more than half of it. A mesh without a network, that is, within
    /// this host, needs no entry.
    pub(crate) fn is_small_for(&self, nodes: u64) -> bool {
        if nodes == 0 {
            return false;
        }
        let was_full = self.used.is_some_and(|used| used.overflows > 0);
        self.entries_with(nodes) > self.limit / 2 || (was_full && self.limit <= DEFAULT_LIMIT)
    }

    /// Returns the number of entries that a mesh of `nodes` needs at least.
    fn entries_with(&self, nodes: u64) -> u64 {
        nodes.max(self.used.map_or(0, |used| used.entries))
    }

    /// Describes a table that is too small for `nodes`.
    pub(crate) fn problem(&self, nodes: u64) -> String {
        format!(
            "{self}; on this network, the mesh has up to {nodes} nodes. Beyond the limit \
             (net.{}.neigh.default.gc_thresh3, for all network namespaces of the machine), \
             datagrams are lost without an error, and nodes seem silent",
            self.family
        )
    }

    /// Returns the command that makes the table large enough for `nodes`.
    pub(crate) fn hint(&self, nodes: u64) -> String {
        let limit = (4 * self.entries_with(nodes))
            .next_power_of_two()
            .max(4 * DEFAULT_LIMIT);
        let settings: String = [(3, limit), (2, limit / 2), (1, limit / 4)]
            .map(|(at, size)| format!(" net.{}.neigh.default.gc_thresh{at}={size}", self.family))
            .concat();
        format!("On the machine, not in a container: `sysctl -w{settings}`.")
    }
}

impl fmt::Display for NeighbourTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit;
        let Some(Used { entries, overflows }) = self.used else {
            return write!(f, "at most {limit} entries");
        };
        write!(f, "{entries} of at most {limit} entries")?;
        match overflows {
            0 => Ok(()),
            times => write!(f, ", full {times} times since the machine started"),
        }
    }
}

/// Reads a file of /proc/net/stat: a line of names, and a line of hexadecimal numbers for each
/// processor. All lines have the same number of entries; the other numbers add up.
fn used(text: &str) -> Option<Used> {
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split_whitespace().collect();
    let rows: Vec<Vec<u64>> = lines
        .map(|line| {
            line.split_whitespace()
                .filter_map(|number| u64::from_str_radix(number, 16).ok())
                .collect()
        })
        .collect();
    let column = |name: &str| {
        let at = names.iter().position(|column| *column == name)?;
        Some(rows.iter().filter_map(move |row| row.get(at).copied()))
    };
    Some(Used {
        entries: column("entries")?.next()?,
        overflows: column("table_fulls").map_or(0, Iterator::sum),
    })
}

/// Returns how many of `nodes` can have an entry: no more than the network of `address` has
/// addresses. Peers behind a router share the entry of the router.
pub(crate) fn on_network(address: IpAddr, nodes: u64) -> u64 {
    if address.is_loopback() {
        return 0;
    }
    let Ok(interfaces) = getifaddrs() else {
        return nodes;
    };
    let mask = interfaces
        .filter(|interface| interface.address.as_ref().and_then(ip_of) == Some(address))
        .find_map(|interface| ip_of(&interface.netmask?));
    let host_bits = match mask {
        Some(IpAddr::V4(mask)) => mask.to_bits().trailing_zeros(),
        Some(IpAddr::V6(mask)) => mask.to_bits().trailing_zeros(),
        None => return nodes,
    };
    nodes.min(1_u64.checked_shl(host_bits).unwrap_or(u64::MAX))
}

/// Tells once that the mesh grows towards the limit.
#[derive(Debug)]
pub(crate) struct NeighbourWatch {
    address: IpAddr,
    largest: u64,
    told: bool,
}

impl NeighbourWatch {
    /// Creates the watch of a node with this `address`.
    pub(crate) fn new(address: IpAddr) -> Self {
        Self {
            address,
            largest: 0,
            told: false,
        }
    }

    /// Logs a warning if the mesh has grown to `nodes` and the table is too small for it.
    pub(crate) fn see(&mut self, nodes: usize) {
        let address = self.address;
        let nodes = u64::try_from(nodes).unwrap_or(u64::MAX);
        let nodes_here = || on_network(address, nodes);
        if let Some(text) = self.news(nodes, nodes_here, || NeighbourTable::read(address)) {
            tracing::warn!("{text}");
        }
    }

    fn news(
        &mut self,
        nodes: u64,
        nodes_here: impl FnOnce() -> u64,
        read: impl FnOnce() -> Option<NeighbourTable>,
    ) -> Option<String> {
        if self.told || nodes <= self.largest {
            return None;
        }
        self.largest = nodes;
        let nodes = nodes_here();
        let table = read().filter(|table| table.is_small_for(nodes))?;
        self.told = true;
        let (problem, hint) = (table.problem(nodes), table.hint(nodes));
        Some(format!(
            "the kernel's neighbour table has {problem}. {hint}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATISTICS: &str = "entries  allocs   table_fulls\n\
                              0000000f 0000034e 00000002\n\
                              0000000f 000003d2 00000001\n";

    #[test]
    fn a_table_is_small_from_half_of_its_limit_on() {
        let table = table(1024, None);
        assert!(!table.is_small_for(512));
        assert!(table.is_small_for(513));
        let crowded = self::table(1024, Some((600, 0)));
        assert!(crowded.is_small_for(2));
    }

    #[test]
    fn a_table_that_was_full_is_small_until_it_is_enlarged() {
        assert!(table(1024, Some((15, 3))).is_small_for(2));
        assert!(!table(1024, Some((15, 3))).is_small_for(0));
        assert!(!table(4096, Some((15, 3))).is_small_for(2));
    }

    #[test]
    fn a_table_enlarged_as_hinted_is_not_small() {
        for (limit, nodes, entries) in [(128, 100, 0), (1024, 1000, 0), (1024, 250, 62_500)] {
            let small = table(limit, Some((entries, 1)));
            assert!(small.is_small_for(nodes), "{small}");
            let hint = small.hint(nodes);
            let (_, set) = hint.split_once("gc_thresh3=").expect("the limit");
            let set = set.split(' ').next().and_then(|set| set.parse().ok());
            let enlarged = NeighbourTable {
                limit: set.expect("a number"),
                ..small
            };
            assert!(!enlarged.is_small_for(nodes), "{enlarged}");
        }
    }

    #[test]
    fn a_table_is_read_with_its_entries_and_overflows() {
        let proc = tempfile::tempdir().expect("a directory");
        let path = proc.path().join("sys/net/ipv4/neigh/default");
        fs::create_dir_all(&path).expect("a directory");
        fs::create_dir_all(proc.path().join("net/stat")).expect("a directory");
        let address = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(NeighbourTable::read_from(proc.path(), address), None);
        fs::write(path.join("gc_thresh3"), "1024\n").expect("a file");
        let read = || NeighbourTable::read_from(proc.path(), address).expect("a limit");
        assert_eq!(read().to_string(), "at most 1024 entries");
        fs::write(proc.path().join("net/stat/arp_cache"), STATISTICS).expect("a file");
        assert_eq!(
            read().to_string(),
            "15 of at most 1024 entries, full 3 times since the machine started"
        );
    }

    #[test]
    fn a_mesh_within_this_machine_needs_no_entries() {
        assert_eq!(on_network(IpAddr::from([127, 0, 0, 1]), 1000), 0);
        assert_eq!(on_network(IpAddr::from([192, 0, 2, 1]), 1000), 1000);
    }

    #[test]
    fn a_growing_mesh_is_told_once_that_the_table_is_small() {
        let mut watch = NeighbourWatch::new(IpAddr::from([10, 0, 0, 1]));
        let mut see = |nodes| watch.news(nodes, || nodes, || Some(table(1024, None)));
        assert_eq!(see(500), None);
        let text = see(600).expect("a warning");
        assert!(text.contains("up to 600 nodes"), "{text}");
        assert!(
            text.contains("sysctl -w net.ipv4.neigh.default.gc_thresh3=4096"),
            "{text}"
        );
        assert_eq!(see(700), None);
    }

    fn table(limit: u64, used: Option<(u64, u64)>) -> NeighbourTable {
        NeighbourTable {
            family: "ipv4",
            limit,
            used: used.map(|(entries, overflows)| Used { entries, overflows }),
        }
    }
}
