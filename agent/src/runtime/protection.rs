//! The protection of an agent against strangers: the keys and the mode of its gossip and of its
//! HTTP ports, as they change.

use std::future::pending;
use std::io;

use iperf3_mesh_core::AuthMode;
use iperf3_mesh_core::gossip::{self, Gossip};
use iperf3_mesh_core::seal::Secret;

use super::keys::Keys;
use crate::config::Security;
use crate::keys;
use crate::state::AgentState;

/// The protection of an agent that runs.
pub(super) struct Protection {
    state: AgentState,
    /// `None` if the agent has none (`--insecure`).
    keys: Option<Keys>,
}

impl Protection {
    /// Waits until this agent has keys, if it needs any, and shows what it accepts.
    pub(super) async fn await_keys(security: &Security, state: AgentState) -> Self {
        let keys = match security {
            Security::Insecure => {
                state.metrics().show_auth_mode(AuthMode::Insecure);
                None
            }
            Security::Sealed { key_file, auth } => {
                let mut keys = Keys::watch(key_file.clone(), *auth, state.clone());
                keys.until_there(&state).await;
                Some(keys)
            }
        };
        Self { state, keys }
    }

    /// Returns the protection with which gossip starts.
    ///
    /// # Errors
    /// Returns an error if the operating system has no random bytes.
    pub(super) fn of_gossip(&mut self) -> io::Result<gossip::Security> {
        let Some(keys) = &mut self.keys else {
            return Ok(gossip::Security::Insecure);
        };
        let Some(keyring) = keys.keyring.borrow_and_update().clone() else {
            return Err(io::Error::other("the keys have not been read yet"));
        };
        let mode = *keys.mode.borrow_and_update();
        self.state.sealing().set_keys(&keyring);
        self.state.sealing().set_mode(mode);
        Ok(gossip::Security::Sealed {
            secret: Secret::new(keys::random()?),
            keyring,
            mode,
        })
    }

    /// Passes on all changes, and never ends.
    pub(super) async fn follow(self, gossip: &Gossip) {
        let Self { state, keys } = self;
        let Some(mut keys) = keys else {
            return pending().await;
        };
        loop {
            tokio::select! {
                Ok(()) = keys.keyring.changed() => {
                    let keyring = keys.keyring.borrow_and_update().clone();
                    if let Some(keyring) = keyring {
                        state.sealing().set_keys(&keyring);
                        gossip.replace_keys(keyring);
                    }
                }
                Ok(()) = keys.mode.changed() => {
                    let mode = *keys.mode.borrow_and_update();
                    state.sealing().set_mode(mode);
                    gossip.set_mode(mode);
                }
                // The agent is about to end.
                else => pending().await,
            }
        }
    }
}
