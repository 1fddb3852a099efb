//! Sealed datagrams: what passes through a socket on its way out and in.
//!
//! Two lives meet by a HELLO and a WELCOME (`hello`), and then share a *session* (`session`). Each
//! side may begin, so two lives may have two sessions; either serves.
//!
//! A message to an address without a session waits for the WELCOME. Nothing else is repeated here:
//! gossip repeats itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::budget::Budget;
use super::fragment::{MESSAGE_MAX, Reassembly};
use super::hello::{
    HELLO, WELCOME, member_key, nonce, read_hello, read_welcome, token, write_hello, write_welcome,
};
use super::key::{KeyId, Secret};
use super::keyring::Keyring;
use super::life::Life;
use super::peer::Peer;
use super::refusal::Refusal;
use super::session::{Handshake, Header, Opening, Session, SessionId};
use crate::Time;

/// The maximum number of addresses of which anything is kept.
const PEERS_MAX: usize = 4096;
/// The maximum number of sessions that others may begin while a token lasts.
const ACCEPTED_MAX: usize = 4096;
/// The maximum number of messages that wait for a session.
const WAITING_MAX: usize = 16;
/// How long a token is the same. It is accepted for as long again.
const TURN: Duration = Duration::from_secs(10);

/// The result of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of this life.
    Message(Vec<u8>, Life),
    /// Datagrams to send back.
    Answer(Vec<Vec<u8>>),
    /// A part of a message.
    Part,
}

/// The sealed side of a socket.
#[derive(Debug)]
pub struct Channel {
    life: Life,
    secret: Secret,
    mesh: String,
    keyring: Keyring,
    peers: BTreeMap<SocketAddr, Peer>,
    waiting: BTreeMap<SocketAddr, Vec<u8>>,
    /// The sessions that others have begun, as long as their tokens last: a session that is over
    /// must not begin again.
    accepted: BTreeMap<SessionId, Time>,
    reassembly: Reassembly,
    budget: Budget,
    hellos: u64,
}

impl Channel {
    /// Creates a channel of the agent with this life. `secret` is random, and this run's alone.
    pub fn new(life: Life, secret: Secret, mesh: String, keyring: Keyring) -> Self {
        Self {
            life,
            secret,
            mesh,
            keyring,
            peers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            accepted: BTreeMap::new(),
            reassembly: Reassembly::default(),
            budget: Budget::default(),
            hellos: 0,
        }
    }

    /// Takes the keys of a newer key file. Sessions of removed keys end at once; all others serve
    /// until there is one with the newest key that both ends have.
    pub fn replace_keys(&mut self, newer: Keyring) {
        self.keyring.replace(newer);
        let keyring = &self.keyring;
        let is_accepted = |session: &Session| member_key(keyring, session.key).is_ok();
        for peer in self.peers.values_mut() {
            peer.keys_changed(is_accepted);
        }
    }

    /// Ends all sessions, because this node has another address from now on.
    pub fn moved(&mut self) {
        self.peers.clear();
        self.waiting.clear();
        self.reassembly = Reassembly::default();
    }

    /// Returns the number of addresses to which messages are sealed with each of the keys.
    pub fn keys_in_use(&self) -> BTreeMap<KeyId, usize> {
        let keys = self.keyring.member_keys();
        let mut in_use: BTreeMap<KeyId, usize> = keys.map(|key| (key.id.clone(), 0)).collect();
        let best = self
            .peers
            .values()
            .filter_map(|peer| peer.best(&self.keyring));
        for key in best.filter_map(|session| self.keyring.find(session.key)) {
            *in_use.entry(key.id.clone()).or_default() += 1;
        }
        in_use
    }

    /// Returns whether there is a session with `address`.
    pub fn has_session(&self, address: SocketAddr) -> bool {
        let peer = self.peers.get(&address);
        peer.is_some_and(|peer| !peer.sessions().is_empty())
    }

    /// Returns the datagrams to send for a message; none if it is longer than [`MESSAGE_MAX`].
    /// Without a session it waits, in place of an earlier one.
    pub fn send(&mut self, to: SocketAddr, message: &[u8], now: Time) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        if message.len() > MESSAGE_MAX {
            return datagrams;
        }
        self.make_room(to);
        let peer = self.peers.entry(to).or_default();
        if peer.sends(now) {
            self.hellos += 1;
            let nonce = nonce(&self.secret, self.hellos);
            peer.says_hello(nonce, now);
            datagrams.push(write_hello(&self.keyring, &self.mesh, self.life, &nonce));
        }
        if let Some(session) = peer.best_mut(&self.keyring) {
            datagrams.extend(session.seal(message));
        } else if self.waiting.len() < WAITING_MAX || self.waiting.contains_key(&to) {
            self.waiting.insert(to, message.to_vec());
        }
        datagrams
    }

    /// Reads a datagram. `is_known` is whether its source is the address of a member.
    ///
    /// # Errors
    /// Returns why the datagram is not believed.
    pub fn receive(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        is_known: bool,
        now: Time,
    ) -> Result<Received, Refusal> {
        match datagram.first() {
            Some(&HELLO) => self.answer(datagram, from, is_known, now),
            Some(&WELCOME) => self.meet(datagram, from, now),
            _ => self.open(datagram, from, is_known, now),
        }
    }

    /// Answers a HELLO.
    fn answer(
        &mut self,
        frame: &[u8],
        from: SocketAddr,
        is_known: bool,
        now: Time,
    ) -> Result<Received, Refusal> {
        self.spend(from, is_known, now)?;
        let hello = read_hello(frame, &self.keyring, &self.mesh, self.life)?;
        let key = member_key(&self.keyring, hello.key)?;
        let token = token(&self.secret, (hello.life, &hello.nonce), from, turn(now));
        let welcome = write_welcome(&hello, key, &self.mesh, self.life, &token);
        Ok(Received::Answer(vec![welcome]))
    }

    /// Makes a session of a WELCOME, and sends what has waited for it.
    fn meet(&mut self, frame: &[u8], from: SocketAddr, now: Time) -> Result<Received, Refusal> {
        let peer = self.peers.get_mut(&from).ok_or(Refusal::Unsolicited)?;
        let nonce = peer.hello().ok_or(Refusal::Unsolicited)?;
        let welcome = read_welcome(frame, &self.keyring, &self.mesh, self.life, &nonce)?;
        let key = member_key(&self.keyring, welcome.key)?;
        let handshake = Handshake {
            initiator: self.life,
            responder: welcome.life,
            nonce: &nonce,
            token: &welcome.token,
        };
        peer.add(Session::initiated(
            handshake,
            (welcome.key, key),
            &self.mesh,
            now,
        ));
        peer.was_welcomed();
        let message = self.waiting.remove(&from);
        let datagrams = message.map(|message| self.send(from, &message, now));
        Ok(Received::Answer(datagrams.unwrap_or_default()))
    }

    /// Opens a datagram of a session, and accepts the session if this node has offered it.
    fn open(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        is_known: bool,
        now: Time,
    ) -> Result<Received, Refusal> {
        let (header, written, sealed) = Header::read(datagram)?;
        let peer = self.peers.get_mut(&from);
        let (fragment, life) = match peer.and_then(|peer| peer.session(header.session)) {
            Some(session) => (session.open(&header, written, sealed, now)?, session.life),
            None => {
                let opening = header.opening.ok_or(Refusal::UnknownSession)?;
                self.spend(from, is_known, now)?;
                let mut session = self.accept(header.session, &opening, from, now)?;
                let fragment = session.open(&header, written, sealed, now)?;
                let life = session.life;
                self.accepted.insert(session.id, now);
                self.make_room(from);
                self.peers.entry(from).or_default().add(session);
                (fragment, life)
            }
        };
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.was_heard(now);
        }
        let message = self
            .reassembly
            .add(header.session, header.place, fragment, now);
        Ok(message.map_or(Received::Part, |message| Received::Message(message, life)))
    }

    /// Makes a session that this node has offered by a WELCOME. It has kept nothing of it: the
    /// present token, or the one before it, yields the id again.
    fn accept(
        &mut self,
        id: SessionId,
        opening: &Opening,
        from: SocketAddr,
        now: Time,
    ) -> Result<Session, Refusal> {
        if opening.life == self.life {
            return Err(Refusal::Reflected);
        }
        self.accepted.retain(|_, at| now.since(*at) < 2 * TURN);
        if self.accepted.contains_key(&id) {
            return Err(Refusal::Replayed);
        }
        if self.accepted.len() >= ACCEPTED_MAX {
            return Err(Refusal::Budget);
        }
        let key = member_key(&self.keyring, opening.key)?;
        let of_turn = |turn| {
            let token = token(&self.secret, (opening.life, &opening.nonce), from, turn);
            let handshake = Handshake {
                initiator: opening.life,
                responder: self.life,
                nonce: &opening.nonce,
                token: &token,
            };
            Session::accepted(handshake, (opening.key, key), &self.mesh, now)
        };
        let turns = [turn(now), turn(now).saturating_sub(1)];
        let mut offered = turns.into_iter().map(of_turn);
        let session = offered.find(|session| session.id == id);
        session.ok_or(Refusal::UnknownSession)
    }

    /// Makes room for another address, if there is none for this one.
    fn make_room(&mut self, address: SocketAddr) {
        if self.peers.len() < PEERS_MAX || self.peers.contains_key(&address) {
            return;
        }
        let value = |peer: &Peer| (!peer.sessions().is_empty(), peer.used);
        let least = self.peers.iter().min_by_key(|(_, peer)| value(peer));
        if let Some(least) = least.map(|(address, _)| *address) {
            self.peers.remove(&least);
        }
    }

    fn spend(&mut self, from: SocketAddr, is_known: bool, now: Time) -> Result<(), Refusal> {
        let is_known = is_known || self.has_session(from);
        let has_room = self.budget.take(from.ip(), is_known, now);
        has_room.then_some(()).ok_or(Refusal::Budget)
    }
}

/// Returns the number of the turn that `now` lies in.
fn turn(now: Time) -> u64 {
    now.since(Time::default()).as_secs() / TURN.as_secs()
}
