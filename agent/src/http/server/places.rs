//! The places of a port, and the memory of its answers. `table` decides who gets them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::table::{Capacity, Guest, PER_CLIENT, Standing, Table, client};

/// Answers up to this size count nothing: there is at most one for each connection.
const SMALL_ANSWER: usize = 16 << 10;

/// The places of a port. It is cheap to clone: all clones share the same places.
#[derive(Clone)]
pub(super) struct Places {
    capacity: Capacity,
    table: Arc<Mutex<Table>>,
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
            Some(table.displaceable(own, standing, self.capacity)?)
        } else {
            None
        };
        if let Some(id) = displaced {
            table.cut_off(id);
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

    /// Reserves memory for an answer of `bytes` until [`Self::end`]. Returns the number of slow
    /// readers that were cut off for it; `None` if there is not enough.
    pub(super) fn reserve(&self, bytes: usize) -> Option<usize> {
        if bytes <= SMALL_ANSWER {
            return Some(0);
        }
        self.places.lock().reserve(self.id, bytes)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use super::super::table::SLOW_AFTER;
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
        age(&places, &held[7], SLOW_AFTER);
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
            let fits = place.reserve(bytes).is_some();
            held.push(place);
            fits
        };
        let of_one: Vec<_> = (0..6).map(|_| granted(1, 1 << 20)).collect();
        assert_eq!(of_one, [true, true, true, true, false, false]);
        let of_many = (2..60).filter(|n| granted(*n, 1 << 20)).count();
        assert_eq!(of_many, 20, "the first answer of a client has more room");
        assert!(granted(1, SMALL_ANSWER));
    }

    #[test]
    fn known_clients_get_answers_whatever_strangers_read() {
        let places = Places::new(CAPACITY);
        let slow: Vec<_> = (0..24).map(|n| answered(&places, stranger(n)).0).collect();
        assert_eq!(answered(&places, stranger(99)).1, None, "no memory is left");
        let (member, _) = places.admit(known(1), Standing::Member).unwrap();
        assert_eq!(
            member.reserve(1 << 20),
            Some(0),
            "for known clients there is"
        );
        for place in [&slow[7], &slow[8], &member] {
            age(&places, place, SLOW_AFTER);
        }
        let (_newcomer, cut_off) = answered(&places, stranger(99));
        assert_eq!(cut_off, Some(2), "slow strangers give theirs up");
        assert!(places.lock().guests.contains_key(&member.id));
    }

    #[test]
    fn only_as_many_readers_as_needed_are_cut_off() {
        let places = Places::new(CAPACITY);
        let slow: Vec<_> = (0..24).map(|n| answered(&places, stranger(n)).0).collect();
        for (place, age_of) in slow.iter().zip(2..) {
            age(&places, place, Duration::from_secs(age_of));
        }
        let newcomer = admit(&places, stranger(99), true).unwrap();
        assert_eq!(newcomer.reserve(25 << 20), None, "more than there ever is");
        assert_eq!(places.lock().guests.len(), 25, "nobody was cut off for it");
        assert_eq!(newcomer.reserve(3 << 20), Some(3));
        let table = places.lock();
        let is_left = |place: &Place| table.guests.contains_key(&place.id);
        assert_eq!(slow.iter().filter(|it| is_left(it)).count(), 21);
        assert!(slow.iter().take(21).all(is_left), "the oldest go first");
    }

    #[test]
    fn this_machine_has_no_more_than_its_share() {
        let places = Places::new(CAPACITY);
        let held: Vec<_> = (0..256_usize)
            .map(|n| places.admit(own(n % 8), Standing::Home).unwrap().0)
            .collect();
        let (member, displaced) = places.admit(known(1), Standing::Member).unwrap();
        assert!(displaced);
        let (_host, displaced) = places.admit(own(99), Standing::Home).unwrap();
        assert!(displaced);
        let table = places.lock();
        assert!(table.guests.contains_key(&member.id), "not in its place");
        let left = held.iter().filter(|it| table.guests.contains_key(&it.id));
        assert_eq!(left.count(), 254);
    }

    #[test]
    fn addresses_of_loopback_are_one_client() {
        let places = Places::new(CAPACITY);
        let address = |n: u8| IpAddr::from([127, 0, 0, n]);
        let busy = (1..100).filter_map(|n| {
            let (place, _) = places.admit(address(n), Standing::Home)?;
            place.begin();
            Some(place)
        });
        assert_eq!(busy.collect::<Vec<_>>().len(), PER_CLIENT);
        let ours: Vec<_> = (1..60)
            .filter_map(|n| places.admit(address(n), Standing::Member))
            .collect();
        assert_eq!(
            ours.len(),
            59,
            "the members of a mesh on one machine are not"
        );
    }

    #[test]
    fn client_with_most_places_gives_one_up_before_idle_ones() {
        let places = Places::new(Capacity {
            total: 35,
            strangers: 35,
        });
        let modest = admit(&places, stranger(1), false).unwrap();
        let greedy: Vec<_> = (0..32)
            .filter_map(|_| admit(&places, stranger(2), true))
            .collect();
        for place in &greedy {
            age(&places, place, SLOW_AFTER);
        }
        assert!(admit(&places, stranger(3), false).is_some());
        let table = places.lock();
        assert!(table.guests.contains_key(&modest.id));
        assert_eq!(table.count(stranger(2)), 31);
    }

    /// A client that reads a large answer, and the number of readers cut off for it.
    fn answered(places: &Places, address: IpAddr) -> (Place, Option<usize>) {
        let place = admit(places, address, true).unwrap();
        let cut_off = place.reserve(1 << 20);
        (place, cut_off)
    }

    /// Lets a request have begun some time ago.
    fn age(places: &Places, place: &Place, by: Duration) {
        if let Some(guest) = places.lock().guests.get_mut(&place.id) {
            guest.since -= by;
        }
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

    /// An address of this machine.
    fn own(n: usize) -> IpAddr {
        IpAddr::from([192, 0, 2, u8::try_from(n).unwrap()])
    }

    fn known(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }
}
