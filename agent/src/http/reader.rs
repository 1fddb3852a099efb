//! A program that reads the API of agents, with a key of the mesh or without one.

use std::fmt::Display;

use hyper::StatusCode;
use iperf3_mesh_core::MeshName;
use iperf3_mesh_core::seal::{Envelopes, Keyring, Life};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::client::{Client, ClientError, Limits, read_json};
use super::seal;

/// Reads the API of agents. It is cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    client: Client,
    keys: Option<(MeshName, Keyring)>,
}

impl Reader {
    /// Creates a reader with the keys of a mesh.
    pub fn with_keys(mesh: MeshName, keyring: Keyring) -> Self {
        Self {
            client: Client::default(),
            keys: Some((mesh, keyring)),
        }
    }

    /// Gets JSON from an agent. With keys, only an agent of the mesh can give it, and only this
    /// program can read it.
    ///
    /// # Errors
    /// Returns an error if there is no valid answer within the limits.
    pub async fn get<A: DeserializeOwned>(
        &self,
        authority: impl Display,
        path: &str,
        limits: Limits,
    ) -> Result<A, ClientError> {
        let url = |path: &str| format!("http://{authority}{path}");
        let Some((mesh, keyring)) = &self.keys else {
            return self.client.get(&url(path), limits).await;
        };
        let exchange = async {
            let life = Life::new(rand::random());
            let mut envelopes = Envelopes::new(life, mesh.to_string(), keyring.clone());
            let nonce = rand::random();
            let (hello_url, hello) = (url(seal::HELLO_PATH), envelopes.hello(&nonce));
            let welcome = self.client.hello(&hello_url, hello, limits.within).await?;
            let met = envelopes.meet(&welcome, &nonce);
            let (agent, key) = met.map_err(|_| ClientError::Unsealed)?;
            let sealed = envelopes.seal(agent, &[key], seal::target(path), &[]);
            let sealed = sealed.ok_or(ClientError::Unsealed)?;
            let answer = self.client.fetch(&url(path), Some(sealed), limits).await?;
            read_json(&answer)
        };
        let answer = timeout(limits.within, exchange).await;
        answer.map_err(|_| ClientError::Timeout(limits.within))?
    }

    /// Gets JSON from an agent of any mesh, with the keys only if it wants one.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn get_if_open<A: DeserializeOwned>(
        &self,
        authority: impl Display,
        path: &str,
        limits: Limits,
    ) -> Result<A, ClientError> {
        let url = format!("http://{authority}{path}");
        match self.client.get(&url, limits).await {
            Err(ClientError::Status(StatusCode::UNAUTHORIZED, _)) if self.keys.is_some() => {
                self.get(authority, path, limits).await
            }
            answer => answer,
        }
    }
}
