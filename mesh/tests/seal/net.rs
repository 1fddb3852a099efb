//! A network of channels in virtual time, which loses, delays and repeats datagrams by a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use iperf3_mesh_core::Time;
use iperf3_mesh_core::seal::{Channel, DATAGRAM_MAX, Life, Received, Refusal};

use crate::{Dice, address, channel, keyring, run, seconds};

/// A datagram on its way.
struct Flight {
    from: u8,
    to: u8,
    datagram: Vec<u8>,
}

/// Nodes with the numbers 1, 2 …, each with a channel.
pub(crate) struct Net {
    pub(crate) now: Time,
    nodes: BTreeMap<u8, Channel>,
    flights: BTreeMap<(Time, usize), Flight>,
    sent: usize,
    /// The messages that have arrived at each node, with the senders.
    inboxes: BTreeMap<u8, Vec<(u8, Vec<u8>)>>,
    pub(crate) refusals: BTreeMap<Refusal, usize>,
    pub(crate) dice: Dice,
    /// The share of datagrams that is lost, and of those that come twice, in percent.
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// The maximum delay of a datagram.
    pub(crate) delay: Duration,
    runs: BTreeMap<u8, u8>,
    /// All datagrams that were sent, with the numbers of their senders and receivers.
    pub(crate) tape: Vec<(u8, u8, Vec<u8>)>,
}

impl Net {
    pub(crate) fn of(nodes: u8) -> Self {
        Self {
            now: seconds(1000),
            nodes: (1..=nodes)
                .map(|node| (node, channel(node, &[7])))
                .collect(),
            flights: BTreeMap::new(),
            sent: 0,
            inboxes: BTreeMap::new(),
            refusals: BTreeMap::new(),
            dice: Dice(1),
            lost: 0,
            repeated: 0,
            delay: Duration::from_micros(200),
            runs: BTreeMap::new(),
            tape: Vec::new(),
        }
    }

    pub(crate) fn channel(&mut self, node: u8) -> &mut Channel {
        self.nodes.get_mut(&node).unwrap()
    }

    /// Starts a node again, with another life and these keys.
    pub(crate) fn restart(&mut self, node: u8, keys: &[u8]) {
        let number = self.runs.entry(node).or_default();
        *number += 1;
        self.nodes.insert(node, run(node, *number, keys));
    }

    /// Returns how often nodes have started again.
    pub(crate) fn restarts(&self) -> usize {
        self.runs.values().map(|runs| usize::from(*runs)).sum()
    }

    pub(crate) fn replace_keys(&mut self, node: u8, keys: &[u8]) {
        self.channel(node).replace_keys(keyring(keys));
    }

    pub(crate) fn send(&mut self, from: u8, to: u8, message: &[u8]) {
        let now = self.now;
        let datagrams = self.channel(from).send(address(to), message, now);
        self.fly(from, to, datagrams);
    }

    fn fly(&mut self, from: u8, to: u8, datagrams: Vec<Vec<u8>>) {
        for datagram in datagrams {
            assert!(datagram.len() <= DATAGRAM_MAX, "{}", datagram.len());
            self.tape.push((from, to, datagram.clone()));
            let copies = u64::from(self.dice.below(100) >= self.lost)
                + u64::from(self.dice.below(100) < self.repeated);
            for _ in 0..copies {
                let delay = self.dice.below(self.delay.as_nanos() as u64 + 1);
                let at = self.now + Duration::from_nanos(delay);
                let datagram = datagram.clone();
                self.sent += 1;
                self.flights
                    .insert((at, self.sent), Flight { from, to, datagram });
            }
        }
    }

    /// Carries all datagrams that arrive until `until`, and lets time pass to then.
    pub(crate) fn run_until(&mut self, until: Time) {
        while let Some(entry) = self.flights.first_entry()
            && entry.key().0 <= until
        {
            let ((at, _), flight) = entry.remove_entry();
            self.now = at;
            let Flight { from, to, datagram } = flight;
            let result = self.channel(to).receive(&datagram, address(from), true, at);
            match result {
                Ok(Received::Message(message, life)) => {
                    assert_eq!(life.bytes()[0], from, "{life:?}");
                    self.inboxes.entry(to).or_default().push((from, message));
                }
                Ok(Received::Answer(datagrams)) => self.fly(to, from, datagrams),
                Ok(Received::Nothing) => {}
                Err(refusal) => *self.refusals.entry(refusal).or_default() += 1,
            }
        }
        self.now = until;
    }

    /// Carries all datagrams that are on their way.
    pub(crate) fn settle(&mut self) {
        self.run_until(self.now + Duration::from_millis(100));
    }

    /// Returns the messages that have arrived at a node since the last call, with their senders.
    pub(crate) fn take(&mut self, node: u8) -> Vec<(u8, Vec<u8>)> {
        self.inboxes.remove(&node).unwrap_or_default()
    }
}

/// Returns nodes 1 and 2 with a session, and the time.
pub(crate) fn met_pair() -> (Channel, Channel, Time) {
    let mut net = Net::of(2);
    net.send(1, 2, b"first");
    net.settle();
    assert_eq!(net.take(2).len(), 1);
    let now = net.now;
    let mut take = |node| net.nodes.remove(&node).unwrap();
    (take(1), take(2), now)
}

/// Returns a life that shows its node in its first byte, and the number of its run in its second.
pub(crate) fn life_of_run(node: u8, run: u8) -> Life {
    let mut bytes = [node; 16];
    bytes[1] = bytes[1].wrapping_add(run);
    Life::new(bytes)
}
