//! A session: the keys by which two lives seal datagrams for each other, from one address to one
//! address.

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
/// The maximum number of fragments of a message.
pub(super) const FRAGMENTS_MAX: u8 = 64;

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
        if index >= count || count > FRAGMENTS_MAX || counter < u64::from(index) {
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

/// One end of a session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The life of the other end.
    pub(super) life: Life,
    pub(super) key: WireId,
    /// When something of the other end last opened, or the session was made.
    pub(super) heard: Time,
    /// Repeated as long as the other end may not know the session.
    opening: Option<Opening>,
    seals: Secret,
    opens: Secret,
    next: u64,
    window: Window,
}

impl Session {
    /// Returns the end of the initiator.
    pub(super) fn initiated(
        handshake: Handshake<'_>,
        (wire, key): (WireId, &Key),
        mesh: &str,
        now: Time,
    ) -> Self {
        let (id, forth, back) = keys(handshake, key, mesh);
        Self {
            id,
            life: handshake.responder,
            key: wire,
            heard: now,
            opening: Some(Opening {
                key: wire,
                life: handshake.initiator,
                nonce: *handshake.nonce,
            }),
            seals: forth,
            opens: back,
            next: 0,
            window: Window::default(),
        }
    }

    /// Returns the end of the responder.
    pub(super) fn accepted(
        handshake: Handshake<'_>,
        (wire, key): (WireId, &Key),
        mesh: &str,
        now: Time,
    ) -> Self {
        let (id, forth, back) = keys(handshake, key, mesh);
        Self {
            id,
            life: handshake.initiator,
            key: wire,
            heard: now,
            opening: None,
            seals: back,
            opens: forth,
            next: 0,
            window: Window::default(),
        }
    }

    /// Returns whether the other end is known to have the session.
    pub(super) fn is_confirmed(&self) -> bool {
        self.opening.is_none()
    }

    /// Returns the datagrams of a message; none if it is too long.
    pub(super) fn seal(&mut self, message: &[u8]) -> Vec<Vec<u8>> {
        let header = if self.opening.is_some() {
            OPEN_HEADER
        } else {
            DATA_HEADER
        };
        let room = DATAGRAM_MAX - header - TAG_LEN;
        let count = message.len().div_ceil(room).max(1);
        let Some(count) = u8::try_from(count)
            .ok()
            .filter(|count| *count <= FRAGMENTS_MAX)
        else {
            return Vec::new();
        };
        let first = self.next;
        self.next += u64::from(count);
        (0..count)
            .map(|index| {
                let start = usize::from(index) * room;
                let fragment = &message[start..message.len().min(start + room)];
                let counter = first + u64::from(index);
                let header = Header {
                    session: self.id,
                    counter,
                    place: Place {
                        first,
                        index,
                        count,
                    },
                    opening: self.opening,
                };
                let header = header.write();
                let mut datagram = header.clone();
                aead::seal(&self.seals, counter, &header, fragment, &mut datagram);
                datagram
            })
            .collect()
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
        let opened = aead::open(&self.opens, header.counter, written, sealed);
        let opened = opened.ok_or(Refusal::Forged)?;
        self.window.take(header.counter);
        self.heard = now;
        self.opening = None;
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
