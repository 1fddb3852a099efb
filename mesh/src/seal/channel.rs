//! Sealed datagrams: what passes through a socket on its way out and in.
//!
//! Two lives meet by a HELLO and a WELCOME (`hello`), and then share a *session* (`session`). The
//! side that has begun it proves at once that it has it, and the other side does the same. Each
//! side may begin, so two lives may have two sessions; either serves.
//!
//! A message to an address without a session waits for the WELCOME. Nothing else is repeated here:
//! gossip repeats itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::budget::Budget;
use super::derive::WireId;
use super::fragment::{MESSAGE_MAX, Reassembly};
use super::hello::{
    HELLO, MeshTag, Offer, WELCOME, Way, mesh_tag, nonce, read_welcome, token, write_hello,
    write_welcome,
};
use super::key::{KeyId, Secret};
use super::keyring::Keyring;
use super::life::Life;
use super::peer::Peer;
use super::refusal::Refusal;
use super::session::{Handshake, Header, Opening, Session, SessionId};
use super::waiting::Waiting;
use crate::Time;

/// The maximum number of addresses of which anything is kept.
const PEERS_MAX: usize = 4096;
/// How long a token is the same. It is accepted for as long again.
const TURN: Duration = Duration::from_secs(10);

/// The result of a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of this life.
    Message(Vec<u8>, Life),
    /// Datagrams to send back.
    Answer(Vec<Vec<u8>>),
    /// Nothing to act on: a part of a message, or proof that the sender has the session.
    Nothing,
}

/// The sealed side of a socket.
#[derive(Debug)]
pub struct Channel {
    life: Life,
    secret: Secret,
    mesh: String,
    tag: MeshTag,
    keyring: Keyring,
    peers: BTreeMap<SocketAddr, Peer>,
    waiting: Waiting,
    /// The sessions that others have begun in the turns whose tokens are still accepted: a session
    /// that is over must not begin again, because its counters would repeat. The budget bounds it.
    begun: BTreeSet<(u64, SessionId)>,
    reassembly: Reassembly,
    trials: Budget,
    welcomes: Budget,
    greetings: Budget,
    hellos: u64,
}

impl Channel {
    /// Creates a channel of the agent with this life. `secret` is random and this channel's alone:
    /// two channels with one life and one secret would seal with the same keys and counters.
    pub fn new(life: Life, secret: Secret, mesh: String, keyring: Keyring) -> Self {
        Self {
            life,
            secret,
            tag: mesh_tag(&mesh),
            mesh,
            keyring,
            peers: BTreeMap::new(),
            waiting: Waiting::default(),
            begun: BTreeSet::new(),
            reassembly: Reassembly::default(),
            trials: Budget::default(),
            welcomes: Budget::default(),
            greetings: Budget::default(),
            hellos: 0,
        }
    }

    /// Takes the keys of a newer key file. Sessions of removed keys end at once; all others serve
    /// until there is one with the newest key that both ends have.
    pub fn replace_keys(&mut self, newer: Keyring) {
        let is_same = self.keyring.wire_ids().eq(newer.wire_ids());
        self.keyring.replace(newer);
        if is_same {
            return;
        }
        let keyring = &self.keyring;
        let is_accepted = |session: &Session| Way::Datagrams.key(keyring, session.key).is_ok();
        for peer in self.peers.values_mut() {
            peer.keys_changed(is_accepted);
        }
    }

    /// Ends all sessions, because this node has another address from now on.
    pub fn moved(&mut self) {
        self.peers.clear();
        self.waiting = Waiting::default();
        self.reassembly = Reassembly::default();
    }

    /// Returns the number of these addresses to which messages are sealed with each of the keys.
    pub fn keys_in_use(&self, addresses: &[SocketAddr], now: Time) -> BTreeMap<KeyId, usize> {
        let keys = self.keyring.member_keys();
        let mut in_use: BTreeMap<KeyId, usize> = keys.map(|key| (key.id.clone(), 0)).collect();
        let peers = addresses
            .iter()
            .filter_map(|at| self.peers.get(&canonical(*at)));
        let best = peers.filter_map(|peer| peer.best(now));
        for key in best.filter_map(|session| self.keyring.find(session.key)) {
            *in_use.entry(key.id.clone()).or_default() += 1;
        }
        in_use
    }

    /// Returns whether the agent at `address` has a session with this one, and is heard.
    pub fn is_met(&self, address: SocketAddr, now: Time) -> bool {
        let peer = self.peers.get(&canonical(address));
        peer.is_some_and(|peer| peer.is_met(now))
    }

    /// Returns a HELLO for an address that may not seal, unless it has lately been sent one, or too
    /// many others have: anybody can forge the source of what is not sealed.
    pub fn greet(&mut self, to: SocketAddr, now: Time) -> Option<Vec<u8>> {
        let to = canonical(to);
        let is_due = self.peers.get(&to).is_none_or(|peer| peer.may_greet(now));
        let may_greet = is_due && self.greetings.take(to.ip(), false, now);
        may_greet.then(|| self.hello(to, now))
    }

    /// Returns the datagrams to send for a message; none if it is longer than [`MESSAGE_MAX`].
    /// Without a session it waits, in place of an earlier one.
    pub fn send(&mut self, to: SocketAddr, message: &[u8], now: Time) -> Vec<Vec<u8>> {
        let to = canonical(to);
        let mut datagrams = Vec::new();
        if message.len() > MESSAGE_MAX {
            return datagrams;
        }
        if self.peer(to).sends(now) {
            datagrams.push(self.hello(to, now));
        }
        match self.peer(to).best_mut(now) {
            Some(session) => datagrams.extend(session.seal(message, now)),
            None => self.waiting.put(to, message, now),
        }
        datagrams
    }

    /// Returns a HELLO, whose WELCOME is expected from then on.
    fn hello(&mut self, to: SocketAddr, now: Time) -> Vec<u8> {
        self.hellos += 1;
        let fresh = nonce(&self.secret, self.hellos);
        let nonce = self.peer(to).says_hello(fresh, now);
        write_hello(
            Way::Datagrams,
            &self.keyring,
            (&self.mesh, self.tag),
            self.life,
            &nonce,
        )
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
        let from = canonical(from);
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
        let offer = Offer::read(Way::Datagrams, frame, self.tag, &self.keyring, self.life)?;
        self.spend(from, is_known, now)?;
        let hello = offer.verify(&self.keyring, &self.mesh)?;
        let key = Way::Datagrams.key(&self.keyring, hello.key)?;
        let token = token(&self.secret, (hello.life, &hello.nonce), from, turn(now));
        let welcome = write_welcome(Way::Datagrams, &hello, key, &self.mesh, self.life, &token);
        Ok(Received::Answer(vec![welcome]))
    }

    /// Makes a session of a WELCOME, proves at once that this side has it, and sends what has
    /// waited for it.
    fn meet(&mut self, frame: &[u8], from: SocketAddr, now: Time) -> Result<Received, Refusal> {
        let peer = self.peers.get_mut(&from).ok_or(Refusal::Unsolicited)?;
        let nonce = peer.awaits(now).ok_or(Refusal::Unsolicited)?;
        let mut has_room = || self.welcomes.take(from.ip(), true, now);
        let (keyring, mesh) = (&self.keyring, self.mesh.as_str());
        let welcome = read_welcome(
            Way::Datagrams,
            frame,
            keyring,
            mesh,
            (self.life, &nonce),
            &mut has_room,
        )?;
        let key = Way::Datagrams.key(&self.keyring, welcome.key)?;
        let handshake = Handshake {
            initiator: self.life,
            responder: welcome.life,
            nonce: &nonce,
            token: &welcome.token,
        };
        let mut session = Session::offered(handshake, (welcome.key, key), &self.mesh, now);
        let mut datagrams: Vec<Vec<u8>> = session.prove().into_iter().collect();
        peer.offer(session);
        datagrams.extend(self.send_waiting(from, now));
        Ok(Received::Answer(datagrams))
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
        let newest = self.keyring.wire_ids().next();
        let parts = (&header, written, sealed);
        let peer = self.peers.get_mut(&from);
        let (fragment, life) = match peer.and_then(|peer| peer.open(parts, newest, now)) {
            Some(opened) => opened?,
            None => self.accept(parts, (from, is_known), newest, now)?,
        };
        self.peer(from).was_heard(is_known, now);
        if header.place.count == 0 {
            return Ok(self.answer_proof(&header, from, now));
        }
        let message = self
            .reassembly
            .add(header.session, header.place, fragment, now);
        Ok(message.map_or(Received::Nothing, |message| {
            Received::Message(message, life)
        }))
    }

    /// Answers an initiator that has proven to have a session, and sends what has waited for it.
    fn answer_proof(&mut self, header: &Header, from: SocketAddr, now: Time) -> Received {
        if header.opening.is_none() {
            return Received::Nothing;
        }
        let session = self.peer(from).session(header.session);
        let mut datagrams: Vec<Vec<u8>> = session.and_then(Session::prove).into_iter().collect();
        datagrams.extend(self.send_waiting(from, now));
        Received::Answer(datagrams)
    }

    fn send_waiting(&mut self, to: SocketAddr, now: Time) -> Vec<Vec<u8>> {
        let message = self.waiting.take(to, now);
        message.map_or_else(Vec::new, |message| self.send(to, &message, now))
    }

    /// Accepts a session that this node has offered, with the first datagram that opens in it.
    fn accept(
        &mut self,
        (header, written, sealed): (&Header, &[u8], &[u8]),
        (from, is_known): (SocketAddr, bool),
        newest: Option<WireId>,
        now: Time,
    ) -> Result<(Vec<u8>, Life), Refusal> {
        let opening = header.opening.ok_or(Refusal::UnknownSession)?;
        if opening.life == self.life {
            return Err(Refusal::Reflected);
        }
        Way::Datagrams.key(&self.keyring, opening.key)?;
        let turns = [turn(now), turn(now).saturating_sub(1)];
        if turns
            .iter()
            .any(|turn| self.begun.contains(&(*turn, header.session)))
        {
            return Err(Refusal::Replayed);
        }
        self.spend(from, is_known, now)?;
        let offered = turns.into_iter().find_map(|turn| {
            let session = self.offered(&opening, from, turn, now)?;
            (session.id == header.session).then_some((turn, session))
        });
        let (turn, mut session) = offered.ok_or(Refusal::UnknownSession)?;
        let fragment = session.open(header, written, sealed, now)?;
        self.begun = self.begun.split_off(&(turns[1], SessionId::default()));
        self.begun.insert((turn, header.session));
        let life = session.life;
        self.peer(from).accept(session, newest);
        Ok((fragment, life))
    }

    /// Makes the session of a token of `turn`. Nothing of it was kept: the token yields it again.
    fn offered(
        &self,
        opening: &Opening,
        from: SocketAddr,
        turn: u64,
        now: Time,
    ) -> Option<Session> {
        let key = Way::Datagrams.key(&self.keyring, opening.key).ok()?;
        let token = token(&self.secret, (opening.life, &opening.nonce), from, turn);
        let handshake = Handshake {
            initiator: opening.life,
            responder: self.life,
            nonce: &opening.nonce,
            token: &token,
        };
        let session = Session::accepted(handshake, (opening.key, key), &self.mesh, now);
        Some(session)
    }

    /// Returns the session by which messages to an address are sealed.
    #[cfg(feature = "fuzzing")]
    pub(super) fn session_with(&mut self, address: SocketAddr, now: Time) -> Option<&mut Session> {
        self.peer(address).best_mut(now)
    }

    /// Returns what is kept of an address. If there is no room for another one, the least worth
    /// goes.
    fn peer(&mut self, address: SocketAddr) -> &mut Peer {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&address) {
            let least = self.peers.iter().min_by_key(|(_, peer)| peer.worth());
            let least = least.map(|(address, _)| *address);
            least.and_then(|least| self.peers.remove(&least));
        }
        self.peers.entry(address).or_default()
    }

    fn spend(&mut self, from: SocketAddr, is_known: bool, now: Time) -> Result<(), Refusal> {
        let has_session = self.peers.get(&from).is_some_and(Peer::has_session);
        let has_room = self.trials.take(from.ip(), is_known || has_session, now);
        has_room.then_some(()).ok_or(Refusal::Budget)
    }
}

/// Returns the number of the turn that `now` lies in.
fn turn(now: Time) -> u64 {
    now.since(Time::default()).as_secs() / TURN.as_secs()
}

/// Returns the address without what a second form of it could differ in.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
