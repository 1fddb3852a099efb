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
use super::key::{Key, Secret};
use super::keyring::{KEYS_MAX, Keyring};
use super::life::{LIFE_LEN, Life};
use super::refusal::Refusal;

/// The first byte of each kind of datagram. No message of chitchat begins with one of them.
pub(super) const HELLO: u8 = 0xe1;
pub(super) const WELCOME: u8 = 0xe2;

/// The length of a HELLO, in bytes: kind, mesh, life, nonce, and the offered keys with their MACs.
pub(super) const HELLO_LEN: usize = OFFER_LEN + KEYS_MAX * MAC_LEN;
/// The length of a HELLO without its MACs, in bytes.
const OFFER_LEN: usize = 1 + MESH_LEN + LIFE_LEN + NONCE_LEN + KEYS_MAX * 4;
/// The length of a WELCOME, in bytes: kind, key, nonce, life, token and MAC.
pub(super) const WELCOME_LEN: usize = 1 + 4 + NONCE_LEN + LIFE_LEN + TOKEN_LEN + MAC_LEN;
const _: () = assert!(WELCOME_LEN < HELLO_LEN);

const MESH_LEN: usize = 4;
pub(super) const NONCE_LEN: usize = 16;
const TOKEN_LEN: usize = 16;
const MAC_LEN: usize = 32;

/// A number that is used once, by the side that begins.
pub(super) type Nonce = [u8; NONCE_LEN];
/// A number by which the answering side recognises what it has answered.
pub(super) type Token = [u8; TOKEN_LEN];

/// Returns a tag that tells this mesh from others in a HELLO. It is a label, not a secret.
pub(super) fn mesh_tag(mesh: &str) -> [u8; MESH_LEN] {
    let digest = ring::digest::digest(&ring::digest::SHA256, mesh.as_bytes());
    first(digest.as_ref())
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
pub(super) fn write_hello(keyring: &Keyring, mesh: &str, life: Life, nonce: &Nonce) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HELLO_LEN);
    frame.push(HELLO);
    frame.extend_from_slice(&mesh_tag(mesh));
    frame.extend_from_slice(life.bytes());
    frame.extend_from_slice(nonce);
    for (wire, _) in keyring.members() {
        frame.extend_from_slice(&wire);
    }
    frame.resize(OFFER_LEN, 0);
    let offer = frame.clone();
    for (_, key) in keyring.members() {
        frame.extend_from_slice(&mac(key, mesh, &[b"hello", &offer]));
    }
    frame.resize(HELLO_LEN, 0);
    frame
}

/// Reads a HELLO.
pub(super) fn read_hello(
    frame: &[u8],
    keyring: &Keyring,
    mesh: &str,
    own: Life,
) -> Result<Hello, Refusal> {
    let (offer, macs) = split(frame, HELLO_LEN, OFFER_LEN)?;
    let rest = &offer[1..];
    let (tag, rest) = rest.split_at(MESH_LEN);
    if tag != mesh_tag(mesh) {
        return Err(Refusal::OtherMesh);
    }
    let (life, rest) = rest.split_at(LIFE_LEN);
    let life = Life::new(first(life));
    if life == own {
        return Err(Refusal::Reflected);
    }
    let (nonce, offered) = rest.split_at(NONCE_LEN);
    let offered: Vec<WireId> = offered.chunks_exact(4).map(first).collect();
    let offers = |wire: WireId| offered.iter().position(|other| *other == wire);
    let common = keyring
        .members()
        .find_map(|(wire, key)| Some((offers(wire)?, wire, key)));
    let Some((slot, wire, key)) = common else {
        let was_removed = offered.iter().any(|wire| keyring.was_removed(*wire));
        return Err(if was_removed {
            Refusal::RemovedKey
        } else {
            Refusal::UnknownKey
        });
    };
    let mac = &macs[slot * MAC_LEN..][..MAC_LEN];
    verify(key, mesh, &[b"hello", offer], mac)?;
    Ok(Hello {
        life,
        nonce: first(nonce),
        key: wire,
    })
}

/// Returns the WELCOME of `life` to a HELLO.
pub(super) fn write_welcome(
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
    let mac = mac(key, mesh, &[b"welcome", &frame, hello.life.bytes()]);
    frame.extend_from_slice(&mac);
    frame
}

/// Reads the WELCOME to the HELLO with `nonce` of the life `own`.
pub(super) fn read_welcome(
    frame: &[u8],
    keyring: &Keyring,
    mesh: &str,
    own: Life,
    nonce: &Nonce,
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
    let key = member_key(keyring, wire)?;
    verify(key, mesh, &[b"welcome", told, own.bytes()], mac)?;
    Ok(Welcome {
        life,
        token: first(token),
        key: wire,
    })
}

/// Returns the key that `wire` stands for, if it permits to be a member.
pub(super) fn member_key(keyring: &Keyring, wire: WireId) -> Result<&Key, Refusal> {
    match keyring.find(wire) {
        Some(key) if key.role == super::Role::Member => Ok(key),
        Some(_) => Err(Refusal::Role),
        None if keyring.was_removed(wire) => Err(Refusal::RemovedKey),
        None => Err(Refusal::UnknownKey),
    }
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
