//! The places of a port: how many connections may be open at once, who may take the last ones, and
//! which connection makes room for a newcomer.
//!
//! At the limit, a connection that waits makes room first: for a request, or for a reader that
//! takes long. Among these, it is one of the client with the most places, and among its own, the
//! oldest idle one. A client with many places also loses requests in progress. So a client that
//! opens connections without end costs the others nothing, and a newcomer finds a place whatever
//! the others do. This node itself and its kubelet come before members, and members before
//! strangers; but any user of this machine can call from it, so it comes first only for a share of
//! the places. All its loopback addresses are one client.
//!
//! The memory of answers has the same order: the reader of a client's first large answer is served
//! in place of the one that has taken the longest for such an answer.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use iperf3_mesh_core::unknown_host;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The maximum number of connections of one client.
pub(super) const PER_CLIENT: usize = 32;
/// The share of the places that only this node and its host may take.
const HOME_SHARE: usize = 32;
/// The share of the places for which this node and its host come before all others.
const HOME_SHARE_MAX: usize = 4;
/// The time after which a request that is still in progress counts as waiting for its client.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(2);
/// The maximum size of the answers in memory, of one client and of all.
const BYTES_PER_CLIENT: usize = 4 << 20;
const BYTES: usize = 16 << 20;
/// The maximum size for a client that has no other large answer, so that the many answers of one
/// client do not keep others from theirs. The last part is for clients that the agent knows.
const BYTES_WITH_FIRST: usize = 24 << 20;
const BYTES_WITH_FIRST_KNOWN: usize = 32 << 20;
/// The client that stands for all loopback addresses.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The standing of a client. A higher one displaces a lower one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::http) enum Standing {
    /// The agent does not know the client.
    Stranger,
    /// A member of the mesh.
    Member,
    /// This node, or the host of this pod.
    Home,
}

/// The number of places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    /// All places.
    pub(super) total: usize,
    /// The places that clients may take that this agent does not know.
    pub(super) strangers: usize,
}

/// The connections that hold places.
#[derive(Default)]
pub(super) struct Table {
    last: u64,
    /// By age: the oldest connection comes first.
    pub(super) guests: BTreeMap<u64, Guest>,
    counts: BTreeMap<IpAddr, usize>,
    strangers: usize,
    home: usize,
}

/// A connection.
pub(super) struct Guest {
    /// The address of the client; the network of an IPv6 client that is not known.
    pub(super) client: IpAddr,
    pub(super) standing: Standing,
    pub(super) is_idle: bool,
    /// The time since which the connection is idle or not.
    pub(super) since: Instant,
    /// The size of the answer in progress.
    pub(super) bytes: usize,
    pub(super) task: Option<AbortHandle>,
}

impl Guest {
    /// Returns whether the connection waits for its client.
    fn waits(&self) -> bool {
        self.is_idle || self.since.elapsed() >= SLOW_AFTER
    }
}

impl Table {
    pub(super) fn count(&self, client: IpAddr) -> usize {
        self.counts.get(&client).copied().unwrap_or_default()
    }

    pub(super) fn insert(&mut self, guest: Guest) -> u64 {
        self.last += 1;
        *self.counts.entry(guest.client).or_default() += 1;
        self.strangers += usize::from(guest.standing == Standing::Stranger);
        self.home += usize::from(guest.standing == Standing::Home);
        self.guests.insert(self.last, guest);
        self.last
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Guest> {
        let guest = self.guests.remove(&id)?;
        self.strangers -= usize::from(guest.standing == Standing::Stranger);
        self.home -= usize::from(guest.standing == Standing::Home);
        let left = self.count(guest.client).saturating_sub(1);
        match left {
            0 => self.counts.remove(&guest.client),
            _ => self.counts.insert(guest.client, left),
        };
        Some(guest)
    }

    pub(super) fn cut_off(&mut self, id: u64) {
        if let Some(task) = self.remove(id).and_then(|guest| guest.task) {
            task.abort();
        }
    }

    pub(super) fn is_full(&self, capacity: Capacity, standing: Standing) -> bool {
        let Capacity { total, strangers } = capacity;
        let others = self.guests.len() - self.home;
        let kept = total.div_ceil(HOME_SHARE);
        self.guests.len() >= total
            || (standing == Standing::Stranger && self.strangers >= strangers)
            || (standing != Standing::Home && others >= total.saturating_sub(kept))
    }

    pub(super) fn oldest_waiting_of(&self, client: IpAddr) -> Option<u64> {
        let its = self.guests.iter().filter(|(_, it)| it.client == client);
        let waiting = its.filter(|(_, it)| it.waits());
        waiting
            .min_by_key(|(_, it)| (!it.is_idle, it.since))
            .map(|(id, _)| *id)
    }

    /// Returns the connection that makes room for a client that has `own` connections: one of the
    /// lowest standing that gives one up.
    pub(super) fn displaceable(
        &self,
        own: usize,
        standing: Standing,
        capacity: Capacity,
    ) -> Option<u64> {
        let of = |other: Standing| {
            let guests = self.guests.iter().filter(|(_, it)| it.standing == other);
            let ranked = guests.filter_map(|(id, it)| {
                let (count, waits) = (self.count(it.client), it.waits());
                // A request in progress ends only for this node itself, or for a client that has
                // fewer places afterwards, too.
                let comes_first = standing == Standing::Home && other < standing;
                let makes_room = comes_first || count > own + usize::from(!waits);
                let rank = (waits, count, it.is_idle, Reverse(it.since), Reverse(*id));
                makes_room.then_some((rank, *id))
            });
            ranked.max().map(|(_, id)| id)
        };
        let standings = [Standing::Stranger, Standing::Member, Standing::Home];
        let is_over = self.is_home_over(standing, capacity);
        let gives_way = |other: &Standing| match is_over {
            true => *other == Standing::Home,
            false => *other <= standing,
        };
        standings.into_iter().filter(gives_way).find_map(of)
    }

    /// Returns whether this machine has more than its share after the arrival of a newcomer that
    /// another connection must make room for.
    fn is_home_over(&self, newcomer: Standing, capacity: Capacity) -> bool {
        let home = self.home + usize::from(newcomer == Standing::Home);
        let is_one_of_too_many_strangers =
            newcomer == Standing::Stranger && self.strangers >= capacity.strangers;
        self.guests.len() >= capacity.total
            && home > capacity.total.div_ceil(HOME_SHARE_MAX)
            && !is_one_of_too_many_strangers
    }

    /// Reserves memory for an answer of `bytes` on the connection `id`, and returns the number of
    /// slow readers that were cut off for it. Returns `None` if there is not enough.
    pub(super) fn reserve(&mut self, id: u64, bytes: usize) -> Option<usize> {
        let guest = self.guests.get(&id)?;
        let (client, standing) = (guest.client, guest.standing);
        let its = self.guests.values().filter(|it| it.client == client);
        let own: usize = its.map(|it| it.bytes).sum();
        let (limit, slow) = match standing {
            _ if own > 0 && own + bytes > BYTES_PER_CLIENT => return None,
            _ if own > 0 => (BYTES, Vec::new()),
            Standing::Stranger => (BYTES_WITH_FIRST, self.slow_answers(standing)),
            _ => (BYTES_WITH_FIRST_KNOWN, self.slow_answers(standing)),
        };
        let all = bytes + self.guests.values().map(|it| it.bytes).sum::<usize>();
        let mut missing = all.saturating_sub(limit);
        let mut ended = Vec::new();
        for (id, freed) in slow {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(freed);
            ended.push(id);
        }
        if missing > 0 {
            return None;
        }
        ended.iter().for_each(|id| self.cut_off(*id));
        self.guests.get_mut(&id)?.bytes = bytes;
        Some(ended.len())
    }

    /// Returns the large answers that wait for readers of no higher standing, and their sizes: the
    /// lowest standing and the oldest answer come first.
    fn slow_answers(&self, standing: Standing) -> Vec<(u64, usize)> {
        let guests = self.guests.iter().filter(|(_, it)| it.standing <= standing);
        let mut slow: Vec<_> = guests
            .filter(|(_, it)| it.bytes > 0 && it.waits())
            .collect();
        slow.sort_by_key(|(_, it)| (it.standing, it.since));
        slow.into_iter().map(|(id, it)| (*id, it.bytes)).collect()
    }
}

/// Returns what counts as one client: an address, or the network of one that is not known; and all
/// of loopback, because any user of this machine may have all of its addresses.
pub(super) fn client(address: IpAddr, standing: Standing) -> IpAddr {
    match standing {
        Standing::Stranger => unknown_host(address),
        Standing::Home if address.to_canonical().is_loopback() => LOOPBACK,
        _ => address.to_canonical(),
    }
}
