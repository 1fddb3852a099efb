//! A session: the keys by which two lives seal datagrams for each other, from one address to one
//! address.

use std::time::Duration;

use zeroize::Zeroizing;

use super::aead;
use super::aead::TAG_LEN;
use super::derive::{Use, WireId, derive};
use super::fragment::Place;
use super::hello::{NONCE_LEN, Nonce, Token, first};
use super::key::{KEY_LEN, Key, Secret};
use super::life::{LIFE_LEN, Life};
use super::refusal::Refusal;
use super::window::Window;
use crate::Time;

/// The number by which datagrams name their session. Nobody can guess it, but it is no secret.
pub(super) type SessionId = [u8; 8];

/// The first byte of a datagram of a session that the receiver may not know yet, and of all others.
pub(super) const OPEN: u8 = 0xe3;
pub(super) const DATA: u8 = 0xe4;

/// The maximum length of a sealed datagram, in bytes: the least MTU of IPv6 without the headers of
/// IPv6 and UDP (RFC 8200, section 5).
pub const DATAGRAM_MAX: usize = 1232;
/// The lengths of the headers, in bytes: kind, session, counter, index and count; an OPEN also has
/// the key, and the life and the nonce of the initiator.
const DATA_HEADER: usize = 1 + 8 + 8 + 1 + 1;
const OPEN_HEADER: usize = DATA_HEADER + 4 + LIFE_LEN + NONCE_LEN;
/// The length of a sealed datagram besides the fragment in it, in bytes.
pub const DATAGRAM_OVERHEAD: usize = DATA_HEADER + TAG_LEN;
/// The maximum number of fragments of a message.
const FRAGMENTS_MAX: u8 = 64;
/// How long an end sends by a session that the other end has not shown to have. A token lasts for
/// at least twice as long.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// A session is doubted once this many messages were sent for this long, and nothing was heard.
const UNHEARD_MESSAGES: u32 = 3;
const UNHEARD_FOR: Duration = Duration::from_secs(5);

/// The values that both sides know once a HELLO was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handshake<'a> {
    pub(super) initiator: Life,
    pub(super) responder: Life,
    pub(super) nonce: &'a Nonce,
    pub(super) token: &'a Token,
}

/// The values that the initiator repeats until the other side has shown that it knows the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) key: WireId,
    pub(super) life: Life,
    pub(super) nonce: Nonce,
}

/// The header of a sealed datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) session: SessionId,
    pub(super) counter: u64,
    pub(super) place: Place,
    pub(super) opening: Option<Opening>,
}

impl Header {
    /// Reads the header of a datagram, and returns the rest as well.
    pub(super) fn read(datagram: &[u8]) -> Result<(Self, &[u8], &[u8]), Refusal> {
        let length = match datagram.first() {
            Some(&OPEN) => OPEN_HEADER,
            Some(&DATA) => DATA_HEADER,
            _ => return Err(Refusal::Unsealed),
        };
        if datagram.len() > DATAGRAM_MAX {
            return Err(Refusal::Oversize);
        }
        if datagram.len() < length + TAG_LEN {
            return Err(Refusal::Malformed);
        }
        let (header, sealed) = datagram.split_at(length);
        let counter = u64::from_be_bytes(first(&header[9..]));
        let (index, count) = (header[17], header[18]);
        let is_proof = (index, count) == (0, 0);
        let is_fragment = index < count && count <= FRAGMENTS_MAX && counter >= u64::from(index);
        if !is_proof && !is_fragment {
            return Err(Refusal::Malformed);
        }
        let opening = &header[DATA_HEADER..];
        let opening = (!opening.is_empty()).then(|| Opening {
            key: first(opening),
            life: Life::new(first(&opening[4..])),
            nonce: first(&opening[4 + LIFE_LEN..]),
        });
        let read = Self {
            session: first(&header[1..]),
            counter,
            place: Place {
                first: counter - u64::from(index),
                index,
                count,
            },
            opening,
        };
        Ok((read, header, sealed))
    }

    fn write(&self) -> Vec<u8> {
        let mut header = Vec::with_capacity(DATAGRAM_MAX);
        header.push(if self.opening.is_some() { OPEN } else { DATA });
        header.extend_from_slice(&self.session);
        header.extend_from_slice(&self.counter.to_be_bytes());
        header.extend_from_slice(&[self.place.index, self.place.count]);
        if let Some(opening) = &self.opening {
            header.extend_from_slice(&opening.key);
            header.extend_from_slice(opening.life.bytes());
            header.extend_from_slice(&opening.nonce);
        }
        header
    }
}

/// The knowledge of one end about the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// This end has begun the session and heard nothing in it: the other end may not have it.
    Offered(Opening),
    /// The other end has begun the session, and may not know that this end has it.
    Accepted,
    /// Both ends have the session, and each has shown that to the other.
    Settled,
}

/// One end of a session. With its two keys it takes less than 400 bytes.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The life of the other end.
    pub(super) life: Life,
    pub(super) key: WireId,
    stage: Stage,
    seals: Secret,
    opens: Secret,
    next: u64,
    window: Window,
    /// When something of the other end last opened, or the session was made.
    heard: Time,
    /// The messages that were sent since something was heard.
    unheard: u32,
    /// When the first of them was sent.
    unheard_since: Time,
}

const _: () = assert!(size_of::<Session>() + 2 * KEY_LEN < 400);

impl Session {
    /// Returns the end of the initiator.
    pub(super) fn offered(
        handshake: Handshake<'_>,
        (wire, key): (WireId, &Key),
        mesh: &str,
        now: Time,
    ) -> Self {
        let (id, forth, back) = keys(handshake, key, mesh);
        let stage = Stage::Offered(Opening {
            key: wire,
            life: handshake.initiator,
            nonce: *handshake.nonce,
        });
        Self::new(id, (handshake.responder, wire), stage, (forth, back), now)
    }

    /// Returns the end of the responder.
    pub(super) fn accepted(
        handshake: Handshake<'_>,
        (wire, key): (WireId, &Key),
        mesh: &str,
        now: Time,
    ) -> Self {
        let (id, forth, back) = keys(handshake, key, mesh);
        let stage = Stage::Accepted;
        Self::new(id, (handshake.initiator, wire), stage, (back, forth), now)
    }

    fn new(
        id: SessionId,
        (life, key): (Life, WireId),
        stage: Stage,
        (seals, opens): (Secret, Secret),
        now: Time,
    ) -> Self {
        Self {
            id,
            life,
            key,
            stage,
            seals,
            opens,
            next: 0,
            window: Window::default(),
            heard: now,
            unheard: 0,
            unheard_since: now,
        }
    }

    /// Returns whether this end has heard nothing in a session that it has begun.
    pub(super) fn is_offered(&self) -> bool {
        matches!(self.stage, Stage::Offered(_))
    }

    /// Returns whether both ends certainly have the session.
    pub(super) fn is_settled(&self) -> bool {
        self.stage == Stage::Settled
    }

    /// Returns whether the other end may be expected to have the session at `now`, without having
    /// shown it: it has offered the session lately, or lately offered to take it.
    pub(super) fn is_fresh(&self, now: Time) -> bool {
        now.since(self.heard) < FRESH_FOR
    }

    /// Returns whether messages of the session have had no echo for some time.
    pub(super) fn is_doubted(&self, now: Time) -> bool {
        self.unheard >= UNHEARD_MESSAGES && now.since(self.unheard_since) >= UNHEARD_FOR
    }

    /// Returns the datagrams of a message; none if it is too long.
    pub(super) fn seal(&mut self, message: &[u8], now: Time) -> Vec<Vec<u8>> {
        if self.unheard == 0 {
            self.unheard_since = now;
        }
        self.unheard = self.unheard.saturating_add(1);
        let room = DATAGRAM_MAX - self.header_len() - TAG_LEN;
        let count = message.len().div_ceil(room).max(1);
        let count = u8::try_from(count)
            .ok()
            .filter(|count| *count <= FRAGMENTS_MAX);
        let Some((count, first)) = count.and_then(|count| Some((count, self.number(count)?)))
        else {
            return Vec::new();
        };
        let fragment = |index: u8| {
            let start = usize::from(index) * room;
            let fragment = &message[start..message.len().min(start + room)];
            let place = Place {
                first,
                index,
                count,
            };
            self.seal_fragment(place, fragment)
        };
        (0..count).map(fragment).collect()
    }

    /// Returns a datagram without a message, which shows the other end that this one has the
    /// session.
    pub(super) fn prove(&mut self) -> Option<Vec<u8>> {
        let place = Place {
            first: self.number(1)?,
            index: 0,
            count: 0,
        };
        Some(self.seal_fragment(place, &[]))
    }

    pub(super) fn seal_fragment(&self, place: Place, fragment: &[u8]) -> Vec<u8> {
        let header = Header {
            session: self.id,
            counter: place.first + u64::from(place.index),
            place,
            opening: self.opening(),
        };
        let written = header.write();
        let mut datagram = written.clone();
        let nonce = (0, header.counter);
        aead::seal(&self.seals, nonce, &written, fragment, &mut datagram);
        datagram
    }

    /// Takes the next `count` counters, and returns the first one; `None` once all are used up.
    fn number(&mut self, count: u8) -> Option<u64> {
        let first = self.next;
        self.next = first.checked_add(u64::from(count))?;
        Some(first)
    }

    fn opening(&self) -> Option<Opening> {
        match self.stage {
            Stage::Offered(opening) => Some(opening),
            Stage::Accepted | Stage::Settled => None,
        }
    }

    fn header_len(&self) -> usize {
        match self.stage {
            Stage::Offered(_) => OPEN_HEADER,
            Stage::Accepted | Stage::Settled => DATA_HEADER,
        }
    }

    /// Opens a fragment.
    pub(super) fn open(
        &mut self,
        header: &Header,
        written: &[u8],
        sealed: &[u8],
        now: Time,
    ) -> Result<Vec<u8>, Refusal> {
        if !self.window.admits(header.counter) {
            return Err(Refusal::Replayed);
        }
        let opened = aead::open(&self.opens, (0, header.counter), written, sealed);
        let opened = opened.ok_or(Refusal::Forged)?;
        self.window.take(header.counter);
        self.heard = now;
        self.unheard = 0;
        // An initiator repeats its opening until it has heard something of the responder.
        if self.is_offered() || header.opening.is_none() {
            self.stage = Stage::Settled;
        }
        Ok(opened)
    }
}

/// Returns the id of the session, and the keys of the two directions: from the initiator, and
/// from the responder.
fn keys(handshake: Handshake<'_>, key: &Key, mesh: &str) -> (SessionId, Secret, Secret) {
    let context: [&[u8]; 4] = [
        handshake.initiator.bytes(),
        handshake.responder.bytes(),
        handshake.nonce,
        handshake.token,
    ];
    let mut derived = Zeroizing::new([0; 8 + 2 * KEY_LEN]);
    derive(&key.secret, Use::Gossip, mesh, &context, &mut derived[..]);
    let (id, keys) = derived.split_at(8);
    let (forth, back) = keys.split_at(KEY_LEN);
    (
        first(id),
        Secret::new(first(forth)),
        Secret::new(first(back)),
    )
}
