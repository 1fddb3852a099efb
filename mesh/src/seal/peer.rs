//! The state of one address in a channel: its sessions, and when to say HELLO.
//!
//! Each side may begin a session, and may lose one: it restarts, moves, has no more room, or its
//! keys change. So a side sends by the newest session that the other one has shown to have, or has
//! just begun. If its messages have no echo, it falls back to the one before, and if there is none,
//! it says HELLO.

use std::time::Duration;

use super::derive::WireId;
use super::hello::Nonce;
use super::life::Life;
use super::refusal::Refusal;
use super::session::{Header, Session, SessionId};
use crate::Time;

/// The maximum number of sessions with one address: each side may begin one at the same time, and
/// the ones before still serve.
const SESSIONS_MAX: usize = 4;
/// The shortest pause between two HELLOs: without a session, with one, and to an address that may
/// not seal.
const HELLO_EVERY: Duration = Duration::from_millis(500);
const HELLO_AGAIN_EVERY: Duration = Duration::from_secs(5);
const GREET_EVERY: Duration = Duration::from_secs(10);
/// How long a HELLO is repeated as it is, and how long a WELCOME to it is taken.
const REPEATED_FOR: Duration = Duration::from_secs(5);
const WELCOME_WITHIN: Duration = Duration::from_secs(10);

/// A HELLO that awaits its WELCOME.
#[derive(Debug)]
struct Hello {
    nonce: Nonce,
    /// When it was first sent.
    since: Time,
    /// When it was last sent.
    sent: Time,
}

#[derive(Debug, Default)]
pub(super) struct Peer {
    /// The oldest first.
    sessions: Vec<Session>,
    hello: Option<Hello>,
    /// Whether the keys have changed since the newest session was made.
    is_outdated: bool,
    /// Whether it was the address of a member when it was last heard.
    is_known: bool,
    /// When the address was last heard or written to.
    used: Time,
}

impl Peer {
    /// Returns the worth of keeping what is known of the address.
    pub(super) fn worth(&self) -> impl Ord + use<> {
        (self.is_known, !self.sessions.is_empty(), self.used)
    }

    pub(super) fn has_session(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Returns whether the other side certainly has a session and answers in it.
    pub(super) fn is_met(&self, now: Time) -> bool {
        self.sessions.iter().any(|session| is_sure(session, now))
    }

    /// Returns the session by which messages are sent.
    pub(super) fn best(&self, now: Time) -> Option<&Session> {
        self.best_at(now).map(|at| &self.sessions[at])
    }

    /// Like [`Self::best`].
    pub(super) fn best_mut(&mut self, now: Time) -> Option<&mut Session> {
        self.best_at(now).map(|at| &mut self.sessions[at])
    }

    fn best_at(&self, now: Time) -> Option<usize> {
        let newest =
            |may_serve: &dyn Fn(&Session) -> bool| self.sessions.iter().rposition(may_serve);
        newest(&|session| is_sure(session, now))
            .or_else(|| newest(&|session| session.is_offered() && session.is_fresh(now)))
            .or_else(|| newest(&Session::is_settled))
    }

    /// Returns the session with this id.
    pub(super) fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    /// Takes note of a message to send, and returns whether a HELLO is due.
    pub(super) fn sends(&mut self, now: Time) -> bool {
        self.used = now;
        let is_served = self
            .sessions
            .iter()
            .any(|session| is_sure(session, now) || session.is_offered() && session.is_fresh(now));
        let pause = match self.best_at(now) {
            None => HELLO_EVERY,
            Some(_) => HELLO_AGAIN_EVERY,
        };
        (!is_served || self.is_outdated) && !self.has_greeted_within(pause, now)
    }

    /// Returns whether a HELLO may be sent to an address that may not seal.
    pub(super) fn may_greet(&self, now: Time) -> bool {
        !self.has_greeted_within(GREET_EVERY, now)
    }

    fn has_greeted_within(&self, pause: Duration, now: Time) -> bool {
        let hello = self.hello.as_ref();
        hello.is_some_and(|hello| now.since(hello.sent) < pause)
    }

    /// Takes note of a HELLO that is sent, and returns its nonce: that of the one before, if its
    /// WELCOME may still be on its way, else `fresh`.
    pub(super) fn says_hello(&mut self, fresh: Nonce, now: Time) -> Nonce {
        let again = self.hello.take();
        let again = again.filter(|hello| now.since(hello.since) < REPEATED_FOR);
        let (nonce, since) = again.map_or((fresh, now), |hello| (hello.nonce, hello.since));
        self.hello = Some(Hello {
            nonce,
            since,
            sent: now,
        });
        nonce
    }

    /// Returns the nonce of the HELLO that awaits a WELCOME.
    pub(super) fn awaits(&self, now: Time) -> Option<Nonce> {
        let hello = self.hello.as_ref();
        let awaited = hello.filter(|hello| now.since(hello.since) < WELCOME_WITHIN);
        awaited.map(|hello| hello.nonce)
    }

    /// Adds a session that this side has offered. The HELLO is used up, because no two sessions
    /// may come from one.
    pub(super) fn offer(&mut self, session: Session) {
        self.hello = None;
        self.add(session);
    }

    /// Adds a session that the other side has begun. It has shown that it is at this address now,
    /// so the sessions of other lives are over.
    pub(super) fn accept(&mut self, session: Session, newest: Option<WireId>) {
        self.keep_life(session.life);
        if Some(session.key) == newest {
            self.is_outdated = false;
        }
        self.add(session);
    }

    fn add(&mut self, session: Session) {
        if self.sessions.len() >= SESSIONS_MAX {
            let unsettled = self
                .sessions
                .iter()
                .position(|session| !session.is_settled());
            self.sessions.remove(unsettled.unwrap_or(0));
        }
        // Most addresses have one session, and there may be thousands of them.
        self.sessions.reserve_exact(1);
        self.sessions.push(session);
    }

    fn keep_life(&mut self, life: Life) {
        self.sessions.retain(|session| session.life == life);
    }

    /// Opens a datagram of one of the sessions; `None` if it belongs to no one of them. `newest` is
    /// the newest key.
    pub(super) fn open(
        &mut self,
        (header, written, sealed): (&Header, &[u8], &[u8]),
        newest: Option<WireId>,
        now: Time,
    ) -> Option<Result<(Vec<u8>, Life), Refusal>> {
        let session = self.session(header.session)?;
        let was_offered = session.is_offered();
        let opened = match session.open(header, written, sealed, now) {
            Ok(opened) => opened,
            Err(refusal) => return Some(Err(refusal)),
        };
        let (life, key) = (session.life, session.key);
        if was_offered || Some(key) == newest {
            self.is_outdated = false;
        }
        if was_offered {
            self.keep_life(life);
        }
        Some(Ok((opened, life)))
    }

    /// Takes note that something of the address has opened, and whether it is that of a member.
    pub(super) fn was_heard(&mut self, is_known: bool, now: Time) {
        self.is_known = is_known;
        self.used = now;
    }

    /// Takes note that the keys have changed. Nothing that was begun before is waited for.
    pub(super) fn keys_changed(&mut self, is_accepted: impl Fn(&Session) -> bool) {
        self.hello = None;
        self.sessions
            .retain(|session| is_accepted(session) && !session.is_offered());
        self.is_outdated = !self.sessions.is_empty();
    }
}

/// Returns whether the other side has the session, as far as this one can tell.
fn is_sure(session: &Session, now: Time) -> bool {
    if session.is_settled() {
        !session.is_doubted(now)
    } else {
        !session.is_offered() && session.is_fresh(now)
    }
}
