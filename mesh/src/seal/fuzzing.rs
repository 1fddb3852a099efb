//! The seal's share of [`crate::fuzzing`].
//!
//! Node 1 is this node, and node 2 another one with the same key. All lives, secrets and keys are
//! fixed, so that a seed can be an authentic frame.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::fragment::Place;
use super::session::Session;
use super::{
    Channel, Envelopes, Key, KeyId, Keyring, Life, MESSAGE_MAX, Purpose, Received, Role, Secret,
    Standing, Target,
};
use crate::Time;

const START: Time = Time::from_nanos(1_000_000_000_000);
const TARGET: Target<'_> = Target {
    purpose: Purpose::Control,
    method: "POST",
    path: "/control/v1/message",
};

/// Gives a node a row of datagrams, each with a byte that tells its kind and two with its length in
/// front. One kind comes as it is, from a node with a session or from a stranger. The other comes
/// from the node with the session, which seals whatever the bytes say. No answer is as long as the
/// datagram that it answers, and no message longer than one may be.
///
/// # Panics
/// If that does not hold.
#[allow(clippy::unwrap_used, reason = "an assertion of the fuzz target")]
pub fn sealed_datagrams(mut bytes: &[u8]) {
    let (mut node, mut other, mut now) = (channel(1, 0), channel(2, 0), START);
    meet(&mut node, (2, &mut other), now);
    // A WELCOME from the node without a session is awaited.
    node.send(address(3), b"waits", now);
    while let [kind, low, high, rest @ ..] = bytes {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (datagram, next) = rest.split_at(length);
        bytes = next;
        now = now + Duration::from_millis(u64::from(kind >> 4) * 20);
        let from = address(2 + (kind & 1));
        let sealed = (kind & 2 != 0).then(|| seal_anything(&mut other, datagram, now));
        let datagram = sealed.flatten().unwrap_or_else(|| datagram.to_vec());
        match node.receive(&datagram, from, kind & 4 != 0, now) {
            // A message that has waited for the session may follow.
            Ok(Received::Answer(answer)) => assert!(answer[0].len() < datagram.len()),
            Ok(Received::Message(message, _)) => assert!(message.len() <= MESSAGE_MAX),
            Ok(Received::Nothing) | Err(_) => {}
        }
    }
    // Whatever came, the node still meets others.
    now = now + Duration::from_secs(10);
    meet(&mut node, (4, &mut channel(4, 0)), now);
}

/// Seals a fragment whose place the first ten bytes tell.
fn seal_anything(other: &mut Channel, bytes: &[u8], now: Time) -> Option<Vec<u8>> {
    let ([first @ .., index, count], fragment) = bytes.split_first_chunk::<10>()?;
    let first = first
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte));
    let place = Place {
        first: first.min(u64::MAX - u64::from(*index)),
        index: *index,
        count: *count,
    };
    let session: &mut Session = other.session_with(address(1), now)?;
    Some(session.seal_fragment(place, fragment))
}

/// Two nodes talk as the bytes say: they send, restart, move and change keys, and their datagrams
/// are delivered, lost, repeated and changed. No message arrives more often than it was sent, a
/// changed datagram never opens, and in the end both directions work.
///
/// # Panics
/// If that does not hold.
pub fn seal_handshake(bytes: &[u8]) {
    let mut pair = Pair::new();
    for byte in bytes.iter().take(4096) {
        pair.step(*byte);
    }
    pair.recover();
}

/// Two nodes and the datagrams between them.
struct Pair {
    nodes: [Channel; 2],
    runs: [u8; 2],
    flights: VecDeque<(usize, Vec<u8>)>,
    now: Time,
    /// Each message is a number, and its last one; those that have arrived are marked.
    arrived: Vec<bool>,
}

impl Pair {
    fn new() -> Self {
        Self {
            nodes: [channel(1, 0), channel(2, 0)],
            runs: [0; 2],
            flights: VecDeque::new(),
            now: START,
            arrived: Vec::new(),
        }
    }

    fn step(&mut self, byte: u8) {
        let node = usize::from(byte & 1);
        match byte >> 1 & 15 {
            0..=3 => self.send(node),
            4..=7 => self.deliver(),
            8 => drop(self.flights.pop_front()),
            9 => {
                let first = self.flights.front().cloned();
                self.flights.extend(first);
            }
            10 => self
                .flights
                .rotate_left(usize::from(self.flights.len() > 1)),
            11 => self.spoil(byte),
            12 => self.now = self.now + Duration::from_millis(700) * u32::from(byte >> 5),
            // Each run has a life of its own.
            13 if self.runs[node] < u8::MAX => {
                self.runs[node] += 1;
                self.nodes[node] = channel(1 + byte % 2, self.runs[node]);
            }
            13 => {}
            14 => self.nodes[node].moved(),
            _ => self.nodes[node].replace_keys(keyring(&[2, 1][usize::from(byte >> 7)..])),
        }
    }

    fn send(&mut self, from: usize) {
        let number = self.arrived.len();
        self.arrived.push(false);
        // Every third message takes two datagrams.
        let length = [8, 1500][usize::from(number.is_multiple_of(3))];
        let mut message = vec![0; length];
        message[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let to = address(2 - from as u8);
        let datagrams = self.nodes[from].send(to, &message, self.now);
        self.flights
            .extend(datagrams.into_iter().map(|datagram| (1 - from, datagram)));
    }

    fn deliver(&mut self) {
        let Some((to, datagram)) = self.flights.pop_front() else {
            return;
        };
        match self.nodes[to].receive(&datagram, address(2 - to as u8), true, self.now) {
            Ok(Received::Message(message, life)) => {
                assert_eq!(life.bytes()[0], 2 - to as u8);
                let number = message[..8]
                    .iter()
                    .fold(0, |number, byte| number << 8 | usize::from(*byte));
                let had_arrived = std::mem::replace(&mut self.arrived[number], true);
                assert!(!had_arrived, "message {number} arrives twice");
            }
            Ok(Received::Answer(datagrams)) => {
                self.flights
                    .extend(datagrams.into_iter().map(|datagram| (1 - to, datagram)));
            }
            Ok(Received::Nothing) | Err(_) => {}
        }
    }

    /// Changes the next datagram, and delivers it.
    fn spoil(&mut self, byte: u8) {
        let Some((to, mut datagram)) = self.flights.pop_front() else {
            return;
        };
        // The MACs of a HELLO that the receiver does not choose tell it nothing.
        let length = datagram
            .len()
            .min(if datagram[0] == 0xe1 { 53 } else { usize::MAX });
        datagram[usize::from(byte) * 31 % length] ^= 1 << (byte >> 5);
        let received = self.nodes[to].receive(&datagram, address(2 - to as u8), true, self.now);
        assert!(received.is_err(), "{received:?}");
    }

    /// Checks that both directions work within seconds once nothing is lost.
    fn recover(&mut self) {
        self.flights.clear();
        for node in &mut self.nodes {
            node.replace_keys(keyring(&[1]));
        }
        for round in 0..12 {
            for from in [0, 1] {
                self.now = self.now + Duration::from_millis(500);
                self.send(from);
                while !self.flights.is_empty() {
                    self.deliver();
                }
                let has_arrived = self.arrived.last() == Some(&true);
                assert!(has_arrived || round < 9, "node {from} is not heard");
            }
        }
    }
}

/// Checks a request, an answer, a HELLO and a WELCOME over HTTP that are these bytes, or that a
/// holder of the key has sealed around them.
///
/// # Panics
/// If one of them is longer inside than outside, or opens twice.
#[allow(clippy::unwrap_used, reason = "an assertion of the fuzz target")]
pub fn sealed_request(bytes: &[u8]) {
    let envelopes = |number| Envelopes::new(life(number, 0), "fuzz".to_owned(), keyring(&[1]));
    let (mut node, mut other) = (envelopes(1), envelopes(3));
    let member = |_| Standing::Member;
    if let Ok(opened) = node.open(bytes, TARGET, address(1).ip(), member) {
        assert!(opened.from != life(1, 0) && opened.body.len() < bytes.len());
        assert!(node.open(bytes, TARGET, address(1).ip(), member).is_err());
    }
    let nonce = [0; 16];
    if let Ok(welcome) = node.welcome(bytes) {
        assert!(welcome.len() < bytes.len());
    }
    let _ = node.meet(bytes, &nonce);
    let accepted = node.accepted();
    let (request, key) = other.seal(life(1, 0), &accepted, TARGET, bytes).unwrap();
    if let Some(body) = key.open(200, bytes) {
        assert!(body.len() < bytes.len());
    }
    let opened = node
        .open(&request, TARGET, address(1).ip(), member)
        .unwrap();
    assert_eq!(opened.body, bytes);
    let answer = opened.answer.seal(200, bytes);
    assert_eq!(key.open(200, &answer).as_deref(), Some(bytes));
}

/// Lets two nodes meet; the second one begins.
#[allow(clippy::unwrap_used, reason = "an assertion of the fuzz target")]
fn meet(node: &mut Channel, (from, other): (u8, &mut Channel), now: Time) {
    let mut to_node: VecDeque<_> = other.send(address(1), b"first", now).into();
    let mut arrived = 0;
    while let Some(datagram) = to_node.pop_front() {
        match node.receive(&datagram, address(from), true, now).unwrap() {
            Received::Answer(answers) => {
                for answer in answers {
                    if let Ok(Received::Answer(more)) =
                        other.receive(&answer, address(1), true, now)
                    {
                        to_node.extend(more);
                    }
                }
            }
            Received::Message(..) => arrived += 1,
            Received::Nothing => {}
        }
    }
    assert_eq!(arrived, 1);
}

fn channel(number: u8, run: u8) -> Channel {
    let mut secret = [number; 32];
    secret[0] = run;
    let keyring = keyring(&[1]);
    Channel::new(
        life(number, run),
        Secret::new(secret),
        "fuzz".to_owned(),
        keyring,
    )
}

fn life(number: u8, run: u8) -> Life {
    let mut life = [number; 16];
    life[1] = run;
    Life::new(life)
}

#[allow(clippy::unwrap_used, reason = "a constant of the fuzz target")]
fn keyring(numbers: &[u8]) -> Keyring {
    let line = |number: &u8| {
        let bytes = std::array::from_fn(|at| at as u8 ^ number);
        let id = KeyId::new(&number.to_string()).unwrap();
        Key::new(id, Role::Member, Secret::new(bytes))
            .to_line()
            .to_string()
    };
    let lines: Vec<String> = numbers.iter().map(line).collect();
    Keyring::read(lines.join("\n").as_bytes()).unwrap()
}

fn address(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 9877).into()
}
