//! The two messages with which two lives meet. A HELLO asks an address for its life, and a WELCOME
//! answers it.
//!
//! Both are authenticated with a key of the mesh. A WELCOME repeats the nonce of its HELLO, so it
//! is as fresh as that. The answering side keeps nothing: its token, which both sides derive the
//! keys of their session from, is a keyed hash of what it was sent, of where that came from, and of
//! the time. A WELCOME is shorter than its HELLO, so that nobody gains by a forged source.
//!
//! A HELLO offers all keys of the sender, and the receiver takes the newest that it has as well.
//! Each MAC covers the whole offer, so that nobody can shorten it.

use std::net::{IpAddr, SocketAddr};

use ring::hmac;

use super::derive::{Use, WireId, derive_key};
use super::key::{Key, Role, Secret};
use super::keyring::{KEYS_MAX, Keyring};
use super::life::{LIFE_LEN, Life};
use super::refusal::Refusal;

/// The first byte of each kind of datagram. No message of chitchat begins with one of them.
pub(super) const HELLO: u8 = 0xe1;
pub(super) const WELCOME: u8 = 0xe2;

/// The length of a HELLO, in bytes: kind, mesh, life, nonce, and the offered keys with their MACs.
pub const HELLO_LEN: usize = OFFER_LEN + KEYS_MAX * MAC_LEN;
/// The length of a HELLO without its MACs, in bytes.
const OFFER_LEN: usize = 1 + MESH_LEN + LIFE_LEN + NONCE_LEN + KEYS_MAX * 4;
/// The length of a WELCOME, in bytes: kind, key, nonce, life, token and MAC.
pub const WELCOME_LEN: usize = 1 + 4 + NONCE_LEN + LIFE_LEN + TOKEN_LEN + MAC_LEN;
const _: () = assert!(WELCOME_LEN < HELLO_LEN);

const MESH_LEN: usize = 4;
pub(super) const NONCE_LEN: usize = 16;
const TOKEN_LEN: usize = 16;
const MAC_LEN: usize = 32;

/// A number that is used once, by the side that begins.
pub type Nonce = [u8; NONCE_LEN];
/// A number by which the answering side recognises what it has answered.
pub(super) type Token = [u8; TOKEN_LEN];

/// Tells this mesh from others in a HELLO. It is a label, not a secret.
pub(super) type MeshTag = [u8; MESH_LEN];

/// Returns the tag of the mesh with this name.
pub(super) fn mesh_tag(mesh: &str) -> MeshTag {
    let digest = ring::digest::digest(&ring::digest::SHA256, mesh.as_bytes());
    first(digest.as_ref())
}

/// The way on which two lives meet. The messages of one are worth nothing on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Members meet for a session of datagrams.
    Datagrams,
    /// A program asks an agent for its life, to seal requests to it.
    Requests,
}

impl Way {
    const fn labels(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Datagrams => (b"hello", b"welcome"),
            Self::Requests => (b"http hello", b"http welcome"),
        }
    }

    /// Returns the keys that are offered or accepted, the newest first.
    fn keys(self, keyring: &Keyring) -> impl Iterator<Item = (WireId, &Key)> {
        let may_meet = move |key: &Key| self == Self::Requests || key.role == Role::Member;
        keyring.all().filter(move |(_, key)| may_meet(key))
    }

    /// Returns the key that `wire` stands for, if it permits to meet.
    pub(super) fn key(self, keyring: &Keyring, wire: WireId) -> Result<&Key, Refusal> {
        match keyring.find(wire) {
            Some(key) if self == Self::Requests || key.role == Role::Member => Ok(key),
            Some(_) => Err(Refusal::Role),
            None if keyring.was_removed(wire) => Err(Refusal::RemovedKey),
            None => Err(Refusal::UnknownKey),
        }
    }
}

/// A HELLO that has been read and is authentic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) life: Life,
    pub(super) nonce: Nonce,
    /// The key for everything that follows: the receiver's newest of those on offer.
    pub(super) key: WireId,
}

/// A WELCOME that has been read and is authentic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) life: Life,
    pub(super) token: Token,
    pub(super) key: WireId,
}

/// Returns a HELLO of `life`.
pub(super) fn write_hello(
    way: Way,
    keyring: &Keyring,
    (mesh, tag): (&str, MeshTag),
    life: Life,
    nonce: &Nonce,
) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HELLO_LEN);
    frame.push(HELLO);
    frame.extend_from_slice(&tag);
    frame.extend_from_slice(life.bytes());
    frame.extend_from_slice(nonce);
    let keys = || way.keys(keyring).take(KEYS_MAX);
    for (wire, _) in keys() {
        frame.extend_from_slice(&wire);
    }
    frame.resize(OFFER_LEN, 0);
    let offer = frame.clone();
    for (_, key) in keys() {
        frame.extend_from_slice(&mac(key, mesh, &[way.labels().0, &offer]));
    }
    frame.resize(HELLO_LEN, 0);
    frame
}

/// A HELLO that has been read, but may be forged.
#[derive(Debug)]
pub(super) struct Offer<'a> {
    way: Way,
    hello: Hello,
    /// The part of the frame that the MACs cover.
    covered: &'a [u8],
    /// The MAC of the chosen key.
    mac: &'a [u8],
}

impl<'a> Offer<'a> {
    /// Reads a HELLO to the life `own`. It takes no cryptography.
    pub(super) fn read(
        way: Way,
        frame: &'a [u8],
        tag: MeshTag,
        keyring: &Keyring,
        own: Life,
    ) -> Result<Self, Refusal> {
        let (covered, macs) = split(frame, HELLO_LEN, OFFER_LEN)?;
        let (told, rest) = covered[1..].split_at(MESH_LEN);
        if told != tag {
            return Err(Refusal::OtherMesh);
        }
        let (life, rest) = rest.split_at(LIFE_LEN);
        let life = Life::new(first(life));
        if life == own {
            return Err(Refusal::Reflected);
        }
        let (nonce, offered) = rest.split_at(NONCE_LEN);
        let offered: Vec<WireId> = offered.chunks_exact(4).map(first).collect();
        let common = way.keys(keyring).find_map(|(wire, _)| {
            let slot = offered.iter().position(|other| *other == wire)?;
            Some((slot, wire))
        });
        let (slot, key) = common.ok_or_else(|| why_none(way, &offered, keyring))?;
        let hello = Hello {
            life,
            nonce: first(nonce),
            key,
        };
        let mac = &macs[slot * MAC_LEN..][..MAC_LEN];
        Ok(Self {
            way,
            hello,
            covered,
            mac,
        })
    }

    /// Returns the HELLO if the holder of the chosen key has made it. No other key is tried, so
    /// that nobody can spoil a MAC to make both ends use an older key.
    pub(super) fn verify(self, keyring: &Keyring, mesh: &str) -> Result<Hello, Refusal> {
        let key = self.way.key(keyring, self.hello.key)?;
        let label = self.way.labels().0;
        verify(key, mesh, &[label, self.covered], self.mac)?;
        Ok(self.hello)
    }
}

/// Returns why none of these keys is one to meet with.
fn why_none(way: Way, offered: &[WireId], keyring: &Keyring) -> Refusal {
    let refusals = offered
        .iter()
        .filter_map(|wire| way.key(keyring, *wire).err());
    let known = refusals.filter(|refusal| *refusal != Refusal::UnknownKey);
    known.min().unwrap_or(Refusal::UnknownKey)
}

/// Returns the WELCOME of `life` to a HELLO.
pub(super) fn write_welcome(
    way: Way,
    hello: &Hello,
    key: &Key,
    mesh: &str,
    life: Life,
    token: &Token,
) -> Vec<u8> {
    let mut frame = Vec::with_capacity(WELCOME_LEN);
    frame.push(WELCOME);
    frame.extend_from_slice(&hello.key);
    frame.extend_from_slice(&hello.nonce);
    frame.extend_from_slice(life.bytes());
    frame.extend_from_slice(token);
    let mac = mac(key, mesh, &[way.labels().1, &frame, hello.life.bytes()]);
    frame.extend_from_slice(&mac);
    frame
}

/// Reads the WELCOME to the HELLO with this nonce of the life `own`. `has_room` takes the trial of
/// one MAC from a budget.
pub(super) fn read_welcome(
    way: Way,
    frame: &[u8],
    keyring: &Keyring,
    mesh: &str,
    (own, nonce): (Life, &Nonce),
    has_room: impl FnOnce() -> bool,
) -> Result<Welcome, Refusal> {
    let (told, mac) = split(frame, WELCOME_LEN, WELCOME_LEN - MAC_LEN)?;
    let (wire, rest) = told[1..].split_at(4);
    let (echo, rest) = rest.split_at(NONCE_LEN);
    if echo != nonce {
        return Err(Refusal::Unsolicited);
    }
    let (life, token) = rest.split_at(LIFE_LEN);
    let life = Life::new(first(life));
    if life == own {
        return Err(Refusal::Reflected);
    }
    let wire = first(wire);
    let key = way.key(keyring, wire)?;
    if !has_room() {
        return Err(Refusal::Budget);
    }
    verify(key, mesh, &[way.labels().1, told, own.bytes()], mac)?;
    Ok(Welcome {
        life,
        token: first(token),
        key: wire,
    })
}

/// Returns the token for a HELLO from `from` in this turn of the run that has `secret`.
pub(super) fn token(secret: &Secret, hello: (Life, &Nonce), from: SocketAddr, turn: u64) -> Token {
    let (life, nonce) = hello;
    let ip = match from.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(b"token");
    context.update(life.bytes());
    context.update(nonce);
    context.update(&ip.octets());
    context.update(&from.port().to_be_bytes());
    context.update(&turn.to_be_bytes());
    first(context.sign().as_ref())
}

/// Returns the nonce number `count` of the run that has `secret`. Nobody else can tell it before.
pub(super) fn nonce(secret: &Secret, count: u64) -> Nonce {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(b"nonce");
    context.update(&count.to_be_bytes());
    first(context.sign().as_ref())
}

fn mac(key: &Key, mesh: &str, parts: &[&[u8]]) -> [u8; MAC_LEN] {
    first(hmac::sign(&mac_key(key, mesh), &parts.concat()).as_ref())
}

fn verify(key: &Key, mesh: &str, parts: &[&[u8]], mac: &[u8]) -> Result<(), Refusal> {
    hmac::verify(&mac_key(key, mesh), &parts.concat(), mac).map_err(|_| Refusal::Forged)
}

fn mac_key(key: &Key, mesh: &str) -> hmac::Key {
    let key = derive_key(&key.secret, Use::Hello, mesh, &[]);
    hmac::Key::new(hmac::HMAC_SHA256, key.bytes())
}

/// Splits a frame of `length` bytes at `at`.
fn split(frame: &[u8], length: usize, at: usize) -> Result<(&[u8], &[u8]), Refusal> {
    if frame.len() > length {
        return Err(Refusal::Oversize);
    }
    if frame.len() < length {
        return Err(Refusal::Malformed);
    }
    Ok(frame.split_at(at))
}

/// Returns the first bytes of `bytes`, which has at least as many.
pub(super) fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[..N]);
    array
}
