//! The seal around gossip: what passes between the socket and the screen.
//!
//! The channel of [`crate::seal`] decides. It outlives chitchat, which is started again from time
//! to time, because its sessions belong to the run of the agent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::config::{SealMode, Security};
use crate::seal::{Channel, KeyId, Keyring, Life, Received, Refusal};
use crate::{MeshName, Time};

/// The seal of this node's gossip. It is shared by the supervisor, the socket and the reader of the
/// status. Without a channel, all gossip is plain.
#[derive(Debug, Default)]
pub(super) struct Sealed(Mutex<Option<Inner>>);

#[derive(Debug)]
struct Inner {
    channel: Channel,
    mode: SealMode,
    /// The origin of the channel's time.
    started: Instant,
}

/// The result of a datagram.
#[derive(Debug)]
pub(super) enum Opened<'a> {
    /// A message, and the life that has sealed it; `None` if it is plain.
    Message(Cow<'a, [u8]>, Option<Life>),
    /// Datagrams to send back.
    Answer(Vec<Vec<u8>>),
    /// Nothing that the screen has to see.
    Nothing,
}

/// How many members this node sends sealed gossip to.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) unsealed: usize,
    pub(super) by_key: BTreeMap<KeyId, usize>,
}

impl Sealed {
    /// Sets how gossip is secured, before any of it is sent.
    pub(super) fn set(&self, mesh: &MeshName, life: Life, security: Security, now: Instant) {
        *self.lock() = match security {
            Security::Insecure => None,
            Security::Sealed {
                secret,
                keyring,
                mode,
            } => Some(Inner {
                channel: Channel::new(life, secret, mesh.to_string(), keyring),
                mode,
                started: now,
            }),
        };
    }

    pub(super) fn replace_keys(&self, keyring: Keyring) {
        if let Some(inner) = &mut *self.lock() {
            inner.channel.replace_keys(keyring);
        }
    }

    pub(super) fn set_mode(&self, mode: SealMode) {
        if let Some(inner) = &mut *self.lock() {
            inner.mode = mode;
        }
    }

    /// Returns whether gossip that is not sealed is read.
    pub(super) fn admits_unsealed(&self) -> bool {
        let inner = self.lock();
        inner
            .as_ref()
            .is_none_or(|inner| inner.mode == SealMode::Permissive)
    }

    /// Takes note that this node has another address.
    pub(super) fn moved(&self) {
        if let Some(inner) = &mut *self.lock() {
            inner.channel.moved();
        }
    }

    /// Opens a datagram. `is_known` is whether its source is the address of a member.
    pub(super) fn open<'a>(
        &self,
        datagram: &'a [u8],
        from: SocketAddr,
        is_known: bool,
        now: Instant,
    ) -> Result<Opened<'a>, Refusal> {
        let mut inner = self.lock();
        let Some(inner) = &mut *inner else {
            return Ok(Opened::Message(datagram.into(), None));
        };
        let now = inner.time(now);
        match inner.channel.receive(datagram, from, is_known, now) {
            Ok(Received::Message(message, life)) => Ok(Opened::Message(message.into(), Some(life))),
            Ok(Received::Answer(datagrams)) => Ok(Opened::Answer(datagrams)),
            Ok(Received::Nothing) => Ok(Opened::Nothing),
            Err(Refusal::Unsealed) if inner.mode == SealMode::Permissive => {
                Ok(Opened::Message(datagram.into(), None))
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Returns the datagrams to send for a message.
    pub(super) fn seal(&self, message: Vec<u8>, to: SocketAddr, now: Instant) -> Vec<Vec<u8>> {
        let mut inner = self.lock();
        let Some(inner) = &mut *inner else {
            return vec![message];
        };
        let now = inner.time(now);
        if inner.mode == SealMode::Permissive && !inner.channel.is_met(to, now) {
            let hello = inner.channel.greet(to, now);
            return [message].into_iter().chain(hello).collect();
        }
        inner.channel.send(to, &message, now)
    }

    /// Returns how the gossip to these members is secured.
    pub(super) fn usage(&self, members: &[SocketAddr], now: Instant) -> Usage {
        let inner = self.lock();
        let Some(inner) = &*inner else {
            return Usage {
                unsealed: members.len(),
                ..Usage::default()
            };
        };
        let by_key = inner.channel.keys_in_use(members, inner.time(now));
        let sealed = by_key.values().sum::<usize>();
        Usage {
            unsealed: members.len() - sealed,
            by_key,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Inner>> {
        // No holder of this lock can panic, and its values have no broken state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn time(&self, now: Instant) -> Time {
        Time::default() + now.saturating_duration_since(self.started)
    }
}
