//! The seal of the HTTP ports: which requests to other agents are sealed, and what opens here.
//!
//! Agents seal their requests for the life of the other agent, which gossip tells them. Other
//! programs with a key, such as the `matrix` command, ask an agent for its life with a HELLO.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iperf3_mesh_core::MeshName;
use iperf3_mesh_core::gossip::SealMode;
use iperf3_mesh_core::seal::{
    AnswerKey, Envelopes, Keyring, Life, Opened, Refusal, Standing, Target, WireId,
};

/// The content type of sealed messages and answers. A web page cannot send it to another site
/// without a permission that no agent gives.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.iperf3-mesh";

/// The part of an agent's published state that a request to it is sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSeal {
    /// Its life.
    pub life: Life,
    /// The names of the keys that it accepts.
    pub accepted: Arc<[WireId]>,
}

/// A request on its way to another agent.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// It is not sealed.
    Plain,
    /// It is sealed, and so will be its answer.
    Sealed(Vec<u8>, AnswerKey),
}

/// The sealed side of an agent's HTTP ports. It is cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sealing {
    /// `None` if the agent never has keys (`--insecure`).
    sealed: Option<Arc<Sealed>>,
}

#[derive(Debug)]
struct Sealed {
    life: Life,
    mesh: MeshName,
    /// `None` until the key file has been read. Nothing is sealed or opened until then.
    envelopes: Mutex<Option<Envelopes>>,
    is_permissive: AtomicBool,
}

impl Sealing {
    /// Creates the sealed side of the agent with this life, which has no keys yet. A life has one:
    /// a second one would seal with the same counters.
    pub fn new(life: Life, mesh: MeshName) -> Self {
        let sealed = Sealed {
            life,
            mesh,
            envelopes: Mutex::new(None),
            is_permissive: AtomicBool::new(false),
        };
        Self {
            sealed: Some(Arc::new(sealed)),
        }
    }

    /// Takes the keys of the key file, in place of those of an earlier one.
    pub fn set_keys(&self, keyring: &Keyring) {
        let Some(sealed) = &self.sealed else { return };
        let mut envelopes = sealed.envelopes();
        match &mut *envelopes {
            Some(envelopes) => envelopes.replace_keys(keyring.clone()),
            None => {
                let mesh = sealed.mesh.to_string();
                *envelopes = Some(Envelopes::new(sealed.life, mesh, keyring.clone()));
            }
        }
    }

    /// Sets whether requests and answers of agents without a common key count as well.
    pub fn set_mode(&self, mode: SealMode) {
        if let Some(sealed) = &self.sealed {
            let is_permissive = mode == SealMode::Permissive;
            sealed.is_permissive.store(is_permissive, Ordering::Relaxed);
        }
    }

    /// Returns whether nothing is ever sealed.
    pub(crate) fn is_insecure(&self) -> bool {
        self.sealed.is_none()
    }

    /// Returns whether requests and answers count that are not sealed.
    pub(crate) fn admits_plain(&self) -> bool {
        let is_permissive = |sealed: &Arc<Sealed>| sealed.is_permissive.load(Ordering::Relaxed);
        self.sealed.as_ref().is_none_or(is_permissive)
    }

    /// Seals a request to another agent if possible. Returns `None` if the request must be sealed,
    /// and there is no common key.
    pub(crate) fn seal(
        &self,
        to: Option<&PeerSeal>,
        target: Target<'_>,
        body: &[u8],
    ) -> Option<Outgoing> {
        let sealed = self.sealed.as_ref().zip(to).and_then(|(sealed, to)| {
            let mut envelopes = sealed.envelopes();
            envelopes
                .as_mut()?
                .seal(to.life, &to.accepted, target, body)
        });
        match sealed {
            Some((request, answer)) => Some(Outgoing::Sealed(request, answer)),
            None => self.admits_plain().then_some(Outgoing::Plain),
        }
    }

    /// Opens a request from `from`. `standing` tells what is known of a life.
    ///
    /// # Errors
    /// Returns why the request is not believed.
    pub(crate) fn open(
        &self,
        sealed: &[u8],
        target: Target<'_>,
        from: IpAddr,
        standing: impl Fn(Life) -> Standing,
    ) -> Result<Opened, Refusal> {
        self.with_keys(|envelopes| envelopes.open(sealed, target, from, standing))
    }

    /// Answers the HELLO of a program that asks for the life of this agent.
    ///
    /// # Errors
    /// Returns why the HELLO is not believed.
    pub(crate) fn welcome(&self, hello: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.with_keys(|envelopes| envelopes.welcome(hello))
    }

    fn with_keys<T>(
        &self,
        act: impl FnOnce(&mut Envelopes) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let sealed = self.sealed.as_ref().ok_or(Refusal::UnknownKey)?;
        sealed
            .envelopes()
            .as_mut()
            .map_or(Err(Refusal::UnknownKey), act)
    }
}

impl Sealed {
    fn envelopes(&self) -> MutexGuard<'_, Option<Envelopes>> {
        // No holder of this lock can panic.
        self.envelopes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
