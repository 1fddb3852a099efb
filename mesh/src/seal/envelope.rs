//! Sealed requests and answers over HTTP: control messages, and rows.
//!
//! A request names the life that it is for, and is sealed with a key of its own for each pair of
//! lives, use and direction. So a copy opens nowhere else, and not after a restart of either end;
//! a window refuses a second copy. The method and the path are authenticated, too. The answer is
//! sealed with a key of its own, for the same two lives and the counter of its request.

use std::collections::BTreeMap;

use super::aead::{self, TAG_LEN};
use super::answer::AnswerKey;
use super::derive::{Use, WireId, derive_key};
use super::hello::first;
use super::key::{Key, Role, Secret};
use super::keyring::Keyring;
use super::life::{LIFE_LEN, Life};
use super::refusal::Refusal;
use super::window::Window;

/// The first byte of a sealed request.
const REQUEST: u8 = 0xe5;
/// The length of the header of a request, in bytes: kind, key, the two lives, and the counter.
const HEADER_LEN: usize = 1 + 4 + 2 * LIFE_LEN + 8;
/// The length that sealing adds to a request, in bytes.
pub const REQUEST_OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// The maximum number of lives and purposes of which anything is kept.
const LIVES_MAX: usize = 8192;

/// The purpose of a request. Each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A control message.
    Control,
    /// A row, or another report.
    Rows,
}

impl Purpose {
    const fn use_(self) -> Use {
        match self {
            Self::Control => Use::Control,
            Self::Rows => Use::Rows,
        }
    }
}

/// The part of a request that is not secret.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The purpose.
    pub purpose: Purpose,
    /// The method of HTTP.
    pub method: &'a str,
    /// The path, with the query if there is one.
    pub path: &'a str,
}

impl Target<'_> {
    /// Returns what is authenticated besides `header`. No path contains a line feed.
    fn bind(self, header: &[u8]) -> Vec<u8> {
        [header, self.method.as_bytes(), b"\n", self.path.as_bytes()].concat()
    }
}

/// A request that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The life that has sealed it.
    pub from: Life,
    /// The role of the key.
    pub role: Role,
    /// The body.
    pub body: Vec<u8>,
    /// Seals the answer.
    pub answer: AnswerKey,
}

/// The requests of another life.
#[derive(Debug, Default)]
struct Heard {
    window: Window,
    /// The number of the request that last used it.
    used: u64,
}

/// The sealed side of the HTTP ports of an agent, or of a program that asks one.
#[derive(Debug)]
pub struct Envelopes {
    life: Life,
    mesh: String,
    keyring: Keyring,
    /// The counter of the next request to a life.
    next: BTreeMap<(Life, Purpose), u64>,
    /// The first counter of a life that is not in `next`: no counter repeats, even if lives were
    /// forgotten.
    floor: u64,
    heard: BTreeMap<(Life, Purpose), Heard>,
    requests: u64,
}

impl Envelopes {
    /// Creates the sealed side of the agent with this life.
    pub fn new(life: Life, mesh: String, keyring: Keyring) -> Self {
        Self {
            life,
            mesh,
            keyring,
            next: BTreeMap::new(),
            floor: 0,
            heard: BTreeMap::new(),
            requests: 0,
        }
    }

    /// Takes the keys of a newer key file.
    pub fn replace_keys(&mut self, newer: Keyring) {
        self.keyring.replace(newer);
    }

    /// Returns the own life.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Returns the names of all keys that open a request, the newest first.
    pub fn accepted(&self) -> Vec<WireId> {
        self.keyring.all().map(|(wire, _)| wire).collect()
    }

    /// Seals a request to the life `to`, with the newest key that it accepts. `accepted` are the
    /// names of those keys, as the life has published them. Only a key with [`Role::Member`] seals
    /// a control message. Returns `None` if there is no such key.
    pub fn seal(
        &mut self,
        to: Life,
        accepted: &[WireId],
        target: Target<'_>,
        body: &[u8],
    ) -> Option<(Vec<u8>, AnswerKey)> {
        let may_seal = |key: &Key| target.purpose == Purpose::Rows || key.role == Role::Member;
        let common = self
            .keyring
            .all()
            .find(|(wire, key)| accepted.contains(wire) && may_seal(key));
        let (wire, key) = common.map(|(wire, key)| (wire, key.clone()))?;
        let counter = self.count(to, target.purpose);
        let mut sealed = Vec::with_capacity(HEADER_LEN + body.len() + TAG_LEN);
        sealed.push(REQUEST);
        sealed.extend_from_slice(&wire);
        sealed.extend_from_slice(self.life.bytes());
        sealed.extend_from_slice(to.bytes());
        sealed.extend_from_slice(&counter.to_be_bytes());
        let lives = (self.life, to);
        let (request, answer) = self.keys(&key, target.purpose, lives, counter);
        let header = target.bind(&sealed);
        aead::seal(&request, counter, &header, body, &mut sealed);
        Some((sealed, answer))
    }

    /// Opens a request. `is_member` is whether a life is that of a member: what is kept of others
    /// goes first, so nothing may act on a request of theirs that must not be repeated.
    ///
    /// # Errors
    /// Returns why the request is not believed.
    pub fn open(
        &mut self,
        sealed: &[u8],
        target: Target<'_>,
        is_member: impl Fn(Life) -> bool,
    ) -> Result<Opened, Refusal> {
        if sealed.first() != Some(&REQUEST) {
            return Err(Refusal::Unsealed);
        }
        if sealed.len() < REQUEST_OVERHEAD {
            return Err(Refusal::Malformed);
        }
        let (header, sealed) = sealed.split_at(HEADER_LEN);
        let wire: WireId = first(&header[1..]);
        let from = Life::new(first(&header[5..]));
        let to = Life::new(first(&header[5 + LIFE_LEN..]));
        let counter = u64::from_be_bytes(first(&header[5 + 2 * LIFE_LEN..]));
        if from == self.life {
            return Err(Refusal::Reflected);
        }
        if to != self.life {
            return Err(Refusal::OtherLife);
        }
        let key = match self.keyring.find(wire) {
            Some(key) => key.clone(),
            None if self.keyring.was_removed(wire) => return Err(Refusal::RemovedKey),
            None => return Err(Refusal::UnknownKey),
        };
        let heard = self.heard.get(&(from, target.purpose));
        if heard.is_some_and(|heard| !heard.window.admits(counter)) {
            return Err(Refusal::Replayed);
        }
        let (request, answer) = self.keys(&key, target.purpose, (from, to), counter);
        let body = aead::open(&request, counter, &target.bind(header), sealed);
        let body = body.ok_or(Refusal::Forged)?;
        let heard = self.heard(from, target.purpose, is_member);
        if !heard.window.take(counter) {
            return Err(Refusal::Replayed);
        }
        Ok(Opened {
            from,
            role: key.role,
            body,
            answer,
        })
    }

    /// Returns the keys of a request between two lives, and of its answer.
    fn keys(
        &self,
        key: &Key,
        purpose: Purpose,
        (from, to): (Life, Life),
        counter: u64,
    ) -> (Secret, AnswerKey) {
        let of = |direction: &[u8], counter: &[u8]| {
            let context = [from.bytes(), to.bytes(), direction, counter];
            derive_key(&key.secret, purpose.use_(), &self.mesh, &context)
        };
        let answer = AnswerKey::new(of(b"answer", &counter.to_be_bytes()));
        (of(b"request", &[]), answer)
    }

    /// Returns the counter of another request to a life.
    fn count(&mut self, to: Life, purpose: Purpose) -> u64 {
        let at = (to, purpose);
        if self.next.len() >= LIVES_MAX && !self.next.contains_key(&at) {
            self.floor = self.next.values().copied().fold(self.floor, u64::max);
            self.next.clear();
        }
        let next = self.next.entry(at).or_insert(self.floor);
        let counter = *next;
        *next += 1;
        counter
    }

    /// Returns what has arrived of a life. If there is no room, the life that was not heard for the
    /// longest time goes, and one of a member only if there is no other.
    fn heard(
        &mut self,
        from: Life,
        purpose: Purpose,
        is_member: impl Fn(Life) -> bool,
    ) -> &mut Heard {
        let at = (from, purpose);
        if self.heard.len() >= LIVES_MAX && !self.heard.contains_key(&at) {
            let least = self
                .heard
                .iter()
                .min_by_key(|(at, heard)| (is_member(at.0), heard.used));
            let least = least.map(|(at, _)| *at);
            least.and_then(|least| self.heard.remove(&least));
        }
        self.requests += 1;
        let heard = self.heard.entry(at).or_default();
        heard.used = self.requests;
        heard
    }
}
