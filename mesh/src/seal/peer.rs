//! The state of one address in a channel: its sessions, and when to say HELLO.

use std::time::Duration;

use super::hello::Nonce;
use super::keyring::Keyring;
use super::session::{Session, SessionId};
use crate::Time;

/// The maximum number of sessions with one address: each side may begin one, and the keys may have
/// changed.
const SESSIONS_MAX: usize = 3;
/// The shortest pause between two HELLOs, without a session and with one.
const HELLO_EVERY: Duration = Duration::from_millis(500);
const HELLO_AGAIN_EVERY: Duration = Duration::from_secs(5);
/// A session is doubted once this many messages were sent for this long, and nothing was heard.
const UNHEARD_MESSAGES: u32 = 3;
const UNHEARD_FOR: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Peer {
    sessions: Vec<Session>,
    /// The HELLO that awaits its WELCOME, and when it was sent.
    hello: Option<(Nonce, Time)>,
    /// Whether the keys have changed since the last WELCOME.
    is_outdated: bool,
    /// The messages that were sent since something was heard.
    unheard: u32,
    /// When the first of them was sent.
    unheard_since: Time,
    /// When the address was last heard or written to.
    pub(super) used: Time,
}

impl Peer {
    /// Returns the session by which messages are sent: the one with the newest key; of several, one
    /// that both ends certainly have; of several, the same one at both ends.
    pub(super) fn best(&self, keyring: &Keyring) -> Option<&Session> {
        let rank = |session: &&Session| rank(session, keyring);
        self.sessions.iter().min_by_key(rank)
    }

    /// Like [`Self::best`].
    pub(super) fn best_mut(&mut self, keyring: &Keyring) -> Option<&mut Session> {
        let rank = |session: &&mut Session| rank(session, keyring);
        self.sessions.iter_mut().min_by_key(rank)
    }

    /// Returns the session with this id.
    pub(super) fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    pub(super) fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// Takes note of a message to send, and returns whether a HELLO is due.
    pub(super) fn sends(&mut self, now: Time) -> bool {
        self.used = now;
        if self.unheard == 0 {
            self.unheard_since = now;
        }
        self.unheard = self.unheard.saturating_add(1);
        let has_session = !self.sessions.is_empty();
        let is_doubted =
            self.unheard > UNHEARD_MESSAGES && now.since(self.unheard_since) >= UNHEARD_FOR;
        let pause = if has_session {
            HELLO_AGAIN_EVERY
        } else {
            HELLO_EVERY
        };
        let is_soon = self.hello.is_some_and(|(_, sent)| now.since(sent) < pause);
        (!has_session || self.is_outdated || is_doubted) && !is_soon
    }

    /// Takes note of a HELLO that is sent.
    pub(super) fn says_hello(&mut self, nonce: Nonce, now: Time) {
        self.hello = Some((nonce, now));
    }

    /// Returns the nonce of the HELLO that awaits a WELCOME.
    pub(super) fn hello(&self) -> Option<Nonce> {
        self.hello.map(|(nonce, _)| nonce)
    }

    /// Takes note that the HELLO was answered.
    pub(super) fn was_welcomed(&mut self) {
        self.hello = None;
        self.is_outdated = false;
        self.unheard = 0;
    }

    /// Takes note that something of the address has opened.
    pub(super) fn was_heard(&mut self, now: Time) {
        self.used = now;
        self.unheard = 0;
    }

    /// Takes note that the keys have changed.
    pub(super) fn keys_changed(&mut self, is_accepted: impl Fn(&Session) -> bool) {
        self.sessions.retain(is_accepted);
        self.is_outdated = true;
    }

    /// Adds a session. It proves that its life is at this address now, so the sessions of other
    /// lives are over.
    pub(super) fn add(&mut self, session: Session) {
        self.sessions.retain(|other| other.life == session.life);
        if self.sessions.len() >= SESSIONS_MAX {
            let oldest = (0..self.sessions.len()).min_by_key(|at| self.sessions[*at].heard);
            oldest.map(|at| self.sessions.remove(at));
        }
        self.sessions.push(session);
    }
}

fn rank(session: &Session, keyring: &Keyring) -> (usize, bool, SessionId) {
    let age = keyring
        .members()
        .take_while(|(wire, _)| *wire != session.key);
    (age.count(), !session.is_confirmed(), session.id)
}
