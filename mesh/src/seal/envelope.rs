//! Sealed requests and answers over HTTP: control messages, and rows.
//!
//! A request names the life that it is for, and is sealed with a key of its own for each pair of
//! lives, use and direction. So a copy opens nowhere else, and not after a restart of either end;
//! a window refuses a second copy. The method and the path are authenticated, too. The answer is
//! sealed with a key of its own, for the same two lives and the counter of its request.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::aead::{self, TAG_LEN};
use super::answer::AnswerKey;
use super::derive::{Use, WireId, derive_key};
use super::hello::{
    Nonce, Offer, Token, Way, first, mesh_tag, read_welcome, write_hello, write_welcome,
};
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
    /// The path, without a query: no answer depends on one.
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

/// The standing, at an agent, of the life that a request is said to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is that of a member, and the request comes from the address of that member.
    Member,
    /// It is that of a member, but the request comes from another address. It is refused, so that
    /// no other holder of the key uses up the counters of the member.
    Elsewhere,
    /// It is that of no member, or of one whose address is not known.
    Stranger,
}

/// The requests of another life.
#[derive(Debug)]
struct Heard {
    window: Window,
    /// The address that they come from.
    from: IpAddr,
    /// Whether the life was that of a member.
    of_member: bool,
    /// The number of the request that last used it.
    used: u64,
}

impl Heard {
    fn new(from: IpAddr) -> Self {
        Self {
            window: Window::default(),
            from,
            of_member: false,
            used: 0,
        }
    }

    /// Returns whether a request for this standing from this address has another window: another
    /// holder of the key has used the life before it was known to be that of a member.
    fn is_of_another(&self, standing: Standing, from: IpAddr) -> bool {
        standing == Standing::Member && !self.of_member && self.from != from
    }
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
    /// Creates the sealed side of the agent with this life. A life has one: a second one would seal
    /// with the same keys and counters.
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

    /// Returns a HELLO with which a program that hears no gossip asks an agent for its life.
    /// `nonce` is random and used once.
    pub fn hello(&self, nonce: &Nonce) -> Vec<u8> {
        let mesh = (self.mesh.as_str(), mesh_tag(&self.mesh));
        write_hello(Way::Requests, &self.keyring, mesh, self.life, nonce)
    }

    /// Answers a HELLO of a program.
    ///
    /// # Errors
    /// Returns why the HELLO is not believed.
    pub fn welcome(&self, hello: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (mesh, way) = (self.mesh.as_str(), Way::Requests);
        let offer = Offer::read(way, hello, mesh_tag(mesh), &self.keyring, self.life)?;
        let hello = offer.verify(&self.keyring, mesh)?;
        let key = way.key(&self.keyring, hello.key)?;
        let token = Token::default();
        Ok(write_welcome(way, &hello, key, mesh, self.life, &token))
    }

    /// Reads the WELCOME of an agent to the HELLO with this nonce. Returns the life of the agent,
    /// and the name of the newest key that it accepts and this program has.
    ///
    /// # Errors
    /// Returns why the WELCOME is not believed.
    pub fn meet(&self, welcome: &[u8], nonce: &Nonce) -> Result<(Life, WireId), Refusal> {
        let (mesh, to) = (self.mesh.as_str(), (self.life, nonce));
        let welcome = read_welcome(Way::Requests, welcome, &self.keyring, mesh, to, || true)?;
        Ok((welcome.life, welcome.key))
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
        let (wire, key) = self.common(accepted, target.purpose)?;
        let counter = self.count(to, target.purpose)?;
        let mut sealed = Vec::with_capacity(HEADER_LEN + body.len() + TAG_LEN);
        sealed.push(REQUEST);
        sealed.extend_from_slice(&wire);
        sealed.extend_from_slice(self.life.bytes());
        sealed.extend_from_slice(to.bytes());
        sealed.extend_from_slice(&counter.to_be_bytes());
        let lives = (self.life, to);
        let request = self.request_key(&key, target.purpose, lives);
        let answer = self.answer_key(&key, target.purpose, lives, counter);
        let header = target.bind(&sealed);
        aead::seal(&request, (0, counter), &header, body, &mut sealed);
        Some((sealed, AnswerKey::new(answer, 0)))
    }

    /// Returns the newest of these keys that this side has and may use.
    fn common(&self, accepted: &[WireId], purpose: Purpose) -> Option<(WireId, Key)> {
        let usable = self.keyring.all().filter(|(_, key)| may_seal(key, purpose));
        let mut common = usable.filter(|(wire, _)| accepted.contains(wire));
        common.next().map(|(wire, key)| (wire, key.clone()))
    }

    /// Opens a request that came from the address `from`. `standing` tells what is known of a life.
    /// Nothing may act on a request of a stranger that must not be repeated: what is kept of
    /// strangers goes first. A life that nobody knows belongs to the address that it is first heard
    /// from, until it is known to be that of a member.
    ///
    /// # Errors
    /// Returns why the request is not believed.
    pub fn open(
        &mut self,
        sealed: &[u8],
        target: Target<'_>,
        from: IpAddr,
        standing: impl Fn(Life) -> Standing,
    ) -> Result<Opened, Refusal> {
        let header = Header::read(sealed)?;
        if header.from == self.life {
            return Err(Refusal::Reflected);
        }
        if header.to != self.life {
            return Err(Refusal::OtherLife);
        }
        let from = from.to_canonical();
        let present = standing(header.from);
        let heard = self.heard.get(&(header.from, target.purpose));
        let heard = heard.filter(|heard| !heard.is_of_another(present, from));
        let is_elsewhere = match present {
            Standing::Member => false,
            Standing::Elsewhere => true,
            Standing::Stranger => heard.is_some_and(|heard| heard.from != from),
        };
        if is_elsewhere {
            return Err(Refusal::OtherAddress);
        }
        let key = match self.keyring.find(header.key) {
            Some(key) if may_seal(key, target.purpose) => key.clone(),
            Some(_) => return Err(Refusal::Role),
            None if self.keyring.was_removed(header.key) => return Err(Refusal::RemovedKey),
            None => return Err(Refusal::UnknownKey),
        };
        let counter = header.counter;
        if heard.is_some_and(|heard| !heard.window.admits(counter)) {
            return Err(Refusal::Replayed);
        }
        let lives = (header.from, header.to);
        let request = self.request_key(&key, target.purpose, lives);
        let (written, sealed) = sealed.split_at(HEADER_LEN);
        let body = aead::open(&request, (0, counter), &target.bind(written), sealed);
        let body = body.ok_or(Refusal::Forged)?;
        let heard = self.heard((header.from, target.purpose), from, standing);
        if !heard.window.take(counter) {
            return Err(Refusal::Replayed);
        }
        let answer = self.answer_key(&key, target.purpose, lives, counter);
        Ok(Opened {
            from: header.from,
            role: key.role,
            body,
            answer: AnswerKey::new(answer, self.requests),
        })
    }

    fn request_key(&self, key: &Key, purpose: Purpose, (from, to): (Life, Life)) -> Secret {
        let context: [&[u8]; 3] = [from.bytes(), to.bytes(), b"request"];
        derive_key(&key.secret, purpose.use_(), &self.mesh, &context)
    }

    fn answer_key(
        &self,
        key: &Key,
        purpose: Purpose,
        (from, to): (Life, Life),
        counter: u64,
    ) -> Secret {
        let counter = counter.to_be_bytes();
        let context: [&[u8]; 4] = [from.bytes(), to.bytes(), b"answer", &counter];
        derive_key(&key.secret, purpose.use_(), &self.mesh, &context)
    }

    /// Returns the counter of another request to a life; `None` once all are used up.
    fn count(&mut self, to: Life, purpose: Purpose) -> Option<u64> {
        let at = (to, purpose);
        if self.next.len() >= LIVES_MAX && !self.next.contains_key(&at) {
            self.floor = self.next.values().copied().fold(self.floor, u64::max);
            self.next.clear();
        }
        let next = self.next.entry(at).or_insert(self.floor);
        let counter = *next;
        *next = counter.checked_add(1)?;
        Some(counter)
    }

    /// Returns what has arrived of a life. If there is no room, a quarter of the lives goes: those
    /// that were not heard for the longest time, and those of members only if there are no others.
    fn heard(
        &mut self,
        at: (Life, Purpose),
        from: IpAddr,
        standing: impl Fn(Life) -> Standing,
    ) -> &mut Heard {
        let present = standing(at.0);
        if self.heard.len() >= LIVES_MAX && !self.heard.contains_key(&at) {
            let worth = |at: &(Life, Purpose), heard: &Heard| {
                let is_member = standing(at.0) != Standing::Stranger;
                (is_member, heard.used, *at)
            };
            let mut worths: Vec<_> = self
                .heard
                .iter()
                .map(|(at, heard)| worth(at, heard))
                .collect();
            worths.sort_unstable();
            for (_, _, least) in worths.iter().take(LIVES_MAX / 4) {
                self.heard.remove(least);
            }
        }
        self.requests += 1;
        let heard = self.heard.entry(at).or_insert_with(|| Heard::new(from));
        if heard.is_of_another(present, from) {
            *heard = Heard::new(from);
        }
        heard.from = from;
        heard.of_member |= present == Standing::Member;
        heard.used = self.requests;
        heard
    }
}

/// The header of a request.
struct Header {
    key: WireId,
    from: Life,
    to: Life,
    counter: u64,
}

impl Header {
    fn read(sealed: &[u8]) -> Result<Self, Refusal> {
        if sealed.first() != Some(&REQUEST) {
            return Err(Refusal::Unsealed);
        }
        if sealed.len() < REQUEST_OVERHEAD {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            key: first(&sealed[1..]),
            from: Life::new(first(&sealed[5..])),
            to: Life::new(first(&sealed[5 + LIFE_LEN..])),
            counter: u64::from_be_bytes(first(&sealed[5 + 2 * LIFE_LEN..])),
        })
    }
}

/// Returns whether the holder of a key may send requests of this purpose.
fn may_seal(key: &Key, purpose: Purpose) -> bool {
    purpose == Purpose::Rows || key.role == Role::Member
}
