//! The places of a port: how many connections may be open at once, who may take the last ones, and
//! which connection makes room for a newcomer.
//!
//! At the limit, the client with the most places gives one up, and its oldest connection that waits
//! first: for a request, or for a reader that takes long. So a client that opens connections
//! without end costs the others nothing, and a newcomer finds a place whatever the others do. This
//! node itself and its kubelet come before members, and members before strangers.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The maximum number of connections of one client.
const PER_CLIENT: usize = 32;
/// The share of the places that only this node and its host may take.
const HOME_SHARE: usize = 32;
/// The time after which a request that is still in progress counts as waiting for its client.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// Answers up to this size count nothing: there is at most one for each connection.
const SMALL_ANSWER: usize = 16 << 10;
/// The maximum size of the answers in memory, of one client and of all.
const BYTES_PER_CLIENT: usize = 4 << 20;
const BYTES: usize = 16 << 20;
/// The maximum size for a client that has no other large answer: a slow reader cannot keep a
/// client of another address from its answer.
const BYTES_WITH_FIRST: usize = 32 << 20;
/// The part of an IPv6 address that a network assigns. Its hosts choose the rest themselves.
const IPV6_NETWORK: u128 = !0 << 64;

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

/// The places of a port. It is cheap to clone: all clones share the same places.
#[derive(Clone)]
pub(super) struct Places {
    capacity: Capacity,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    last: u64,
    /// By age: the oldest connection comes first.
    guests: BTreeMap<u64, Guest>,
    counts: BTreeMap<IpAddr, usize>,
    strangers: usize,
    home: usize,
}

/// A connection.
struct Guest {
    /// The address of the client; the network of an IPv6 client that is not known.
    client: IpAddr,
    standing: Standing,
    is_idle: bool,
    /// The time since which the connection is idle or not.
    since: Instant,
    /// The size of the answer in progress.
    bytes: usize,
    task: Option<AbortHandle>,
}

impl Guest {
    /// Returns whether the connection waits for its client.
    fn waits(&self) -> bool {
        self.is_idle || self.since.elapsed() >= SLOW_AFTER
    }
}

impl Places {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            table: Arc::default(),
        }
    }

    /// Admits one more connection. Returns its place, and whether another connection was closed
    /// for it; `None` if no connection can be closed for it.
    pub(super) fn admit(&self, address: IpAddr, standing: Standing) -> Option<(Place, bool)> {
        let client = client(address, standing);
        let mut table = self.lock();
        let own = table.count(client);
        let displaced = if own >= PER_CLIENT {
            Some(table.oldest_waiting_of(client)?)
        } else if table.is_full(self.capacity, standing) {
            Some(table.displaceable(own, standing)?)
        } else {
            None
        };
        if let Some(task) = displaced.and_then(|id| table.remove(id)?.task) {
            task.abort();
        }
        let id = table.insert(Guest {
            client,
            standing,
            is_idle: true,
            since: Instant::now(),
            bytes: 0,
            task: None,
        });
        drop(table);
        let places = self.clone();
        Some((Place { id, places }, displaced.is_some()))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn count(&self, client: IpAddr) -> usize {
        self.counts.get(&client).copied().unwrap_or_default()
    }

    fn insert(&mut self, guest: Guest) -> u64 {
        self.last += 1;
        *self.counts.entry(guest.client).or_default() += 1;
        self.strangers += usize::from(guest.standing == Standing::Stranger);
        self.home += usize::from(guest.standing == Standing::Home);
        self.guests.insert(self.last, guest);
        self.last
    }

    fn remove(&mut self, id: u64) -> Option<Guest> {
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

    fn is_full(&self, capacity: Capacity, standing: Standing) -> bool {
        let Capacity { total, strangers } = capacity;
        let others = self.guests.len() - self.home;
        let kept = total.div_ceil(HOME_SHARE);
        self.guests.len() >= total
            || (standing == Standing::Stranger && self.strangers >= strangers)
            || (standing != Standing::Home && others >= total.saturating_sub(kept))
    }

    fn oldest_waiting_of(&self, client: IpAddr) -> Option<u64> {
        let its = self.guests.iter().filter(|(_, it)| it.client == client);
        let waiting = its.filter(|(_, it)| it.waits());
        waiting
            .min_by_key(|(_, it)| (!it.is_idle, it.since))
            .map(|(id, _)| *id)
    }

    /// Returns the connection that makes room for a client that has `own` connections: one of the
    /// lowest standing that gives one up.
    fn displaceable(&self, own: usize, standing: Standing) -> Option<u64> {
        let of = |lower: Standing| {
            let guests = self.guests.iter().filter(|(_, it)| it.standing == lower);
            let ranked = guests.filter_map(|(id, it)| {
                let (count, waits) = (self.count(it.client), it.waits());
                // A request in progress ends only for this node itself, or for a client that has
                // fewer places afterwards, too.
                let comes_first = standing == Standing::Home && lower < standing;
                let makes_room = comes_first || count > own + usize::from(!waits);
                let rank = (it.is_idle, waits, count, Reverse(it.since), Reverse(*id));
                makes_room.then_some((rank, *id))
            });
            ranked.max().map(|(_, id)| id)
        };
        let standings = [Standing::Stranger, Standing::Member, Standing::Home];
        let lower = standings.into_iter().filter(|it| *it <= standing);
        lower.map(of).find_map(|found| found)
    }
}

/// The place of one connection. Dropping it returns the place, even during a panic.
pub(super) struct Place {
    id: u64,
    places: Places,
}

impl Place {
    /// Sets the task that ends when the place is needed for another connection.
    pub(super) fn set_task(&self, task: AbortHandle) {
        if let Some(guest) = self.places.lock().guests.get_mut(&self.id) {
            guest.task = Some(task);
        }
    }

    /// Records that a request has begun.
    pub(super) fn begin(&self) {
        if let Some(guest) = self.places.lock().guests.get_mut(&self.id) {
            (guest.is_idle, guest.since) = (false, Instant::now());
        }
    }

    /// Records that the answer has been written, as far as it concerns this program.
    pub(super) fn end(&self) {
        if let Some(guest) = self.places.lock().guests.get_mut(&self.id) {
            (guest.is_idle, guest.since) = (true, Instant::now());
            guest.bytes = 0;
        }
    }

    /// Reserves memory for an answer of `bytes` until [`Self::end`]. Returns whether there is
    /// enough.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        if bytes <= SMALL_ANSWER {
            return true;
        }
        let mut table = self.places.lock();
        let Some(client) = table.guests.get(&self.id).map(|guest| guest.client) else {
            return false;
        };
        let all = bytes + table.guests.values().map(|it| it.bytes).sum::<usize>();
        let its = table.guests.values().filter(|it| it.client == client);
        let own: usize = its.map(|it| it.bytes).sum();
        let is_first = own == 0 && all <= BYTES_WITH_FIRST;
        let fits = is_first || (own + bytes <= BYTES_PER_CLIENT && all <= BYTES);
        if fits && let Some(guest) = table.guests.get_mut(&self.id) {
            guest.bytes = bytes;
        }
        fits
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.id);
    }
}

/// Returns what counts as one client: an address, or the network of an IPv6 address that is not
/// known, because a single host may have all of its addresses.
fn client(address: IpAddr, standing: Standing) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if standing == Standing::Stranger => {
            Ipv6Addr::from_bits(v6.to_bits() & IPV6_NETWORK).into()
        }
        address => address,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const CAPACITY: Capacity = Capacity {
        total: 256,
        strangers: 192,
    };

    #[test]
    fn newcomer_finds_a_place_whatever_others_hold() {
        for is_busy in [false, true] {
            let places = Places::new(CAPACITY);
            let mut held = Vec::new();
            for client in 0..16 {
                held.extend((0..100).filter_map(|_| admit(&places, stranger(client), is_busy)));
            }
            assert!(admit(&places, stranger(200), false).is_some(), "{is_busy}");
            assert!(places.lock().guests.len() <= CAPACITY.total);
        }
    }

    #[test]
    fn strangers_leave_a_quarter_to_known_clients() {
        let places = Places::new(CAPACITY);
        let mut held: Vec<_> = (0..250)
            .filter_map(|n| admit(&places, stranger(n), true))
            .collect();
        assert_eq!(places.lock().guests.len(), CAPACITY.strangers);
        held.extend((0..56).map(|n| {
            let (place, displaced) = places.admit(known(n), Standing::Member).unwrap();
            assert!(!displaced);
            place.begin();
            place
        }));
        // The last places are for this node and its host.
        assert!(places.admit(known(99), Standing::Member).is_none());
        held.extend((0..8).map(|_| {
            let (place, displaced) = places.admit(home(), Standing::Home).unwrap();
            assert!(!displaced);
            place
        }));
        assert_eq!(places.lock().guests.len(), CAPACITY.total);
        assert!(
            places.admit(home(), Standing::Home).is_some(),
            "before all others"
        );
    }

    #[test]
    fn request_that_waits_for_its_client_makes_room_in_the_end() {
        let places = Places::new(CAPACITY);
        let held: Vec<_> = (0..200)
            .filter_map(|n| admit(&places, stranger(n), true))
            .collect();
        assert!(admit(&places, stranger(201), false).is_none());
        if let Some(guest) = places.lock().guests.get_mut(&held[7].id) {
            guest.since -= SLOW_AFTER;
        }
        assert!(admit(&places, stranger(201), false).is_some());
        assert!(!places.lock().guests.contains_key(&held[7].id));
    }

    #[test]
    fn client_with_few_places_loses_none_to_one_with_many() {
        let places = Places::new(Capacity {
            total: 34,
            strangers: 34,
        });
        let modest: Vec<_> = (0..2)
            .filter_map(|_| admit(&places, stranger(1), false))
            .collect();
        let flood: Vec<_> = (0..500)
            .filter_map(|_| admit(&places, stranger(2), false))
            .collect();
        assert!(!flood.is_empty());
        let table = places.lock();
        for place in &modest {
            assert!(table.guests.contains_key(&place.id));
        }
    }

    #[test]
    fn the_oldest_idle_connection_makes_room() {
        let places = Places::new(CAPACITY);
        let mut held: Vec<_> = (0..PER_CLIENT)
            .map(|_| admit(&places, stranger(1), true).unwrap())
            .collect();
        assert!(admit(&places, stranger(1), false).is_none(), "all are busy");
        held[7].end();
        held[3].end();
        held.push(admit(&places, stranger(1), true).unwrap());
        let table = places.lock();
        assert!(!table.guests.contains_key(&held[7].id), "idle for longer");
        assert!(table.guests.contains_key(&held[3].id));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let places = Places::new(CAPACITY);
        let address = |n: u16| format!("2001:db8::{n:x}").parse::<IpAddr>().unwrap();
        let strangers: Vec<_> = (1..100)
            .filter_map(|n| admit(&places, address(n), true))
            .collect();
        assert_eq!(strangers.len(), PER_CLIENT);
        let members: Vec<_> = (1..60)
            .filter_map(|n| places.admit(address(n), Standing::Member))
            .collect();
        assert_eq!(members.len(), 59, "members count one by one");
    }

    #[test]
    fn large_answers_are_bounded_for_each_client_and_in_all() {
        let places = Places::new(CAPACITY);
        let mut held = Vec::new();
        let mut granted = |n: u8, bytes: usize| {
            let place = admit(&places, stranger(n), true).unwrap();
            let fits = place.reserve(bytes);
            held.push(place);
            fits
        };
        let of_one: Vec<_> = (0..6).map(|_| granted(1, 1 << 20)).collect();
        assert_eq!(of_one, [true, true, true, true, false, false]);
        let of_many = (2..60).filter(|n| granted(*n, 1 << 20)).count();
        assert_eq!(of_many, 28, "the first answer of a client has more room");
        assert!(granted(1, SMALL_ANSWER));
    }

    fn admit(places: &Places, address: IpAddr, is_busy: bool) -> Option<Place> {
        let (place, _) = places.admit(address, Standing::Stranger)?;
        if is_busy {
            place.begin();
        }
        Some(place)
    }

    fn stranger(n: u8) -> IpAddr {
        IpAddr::from([198, 51, 100, n])
    }

    fn home() -> IpAddr {
        IpAddr::from([127, 0, 0, 1])
    }

    fn known(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }
}
