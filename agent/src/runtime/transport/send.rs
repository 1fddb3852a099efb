//! Outgoing messages, each in a task of its own, so that a slow peer does not delay other messages.
//! A message that could not be delivered is reported to the driver.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use iperf3_mesh_core::Input;
use iperf3_mesh_core::wire::Message;
use serde::de::IgnoredAny;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::{PATH, TARGET};
use crate::http::client::{Client, Limits};
use crate::sealing::Outgoing;
use crate::state::AgentState;

/// How long to wait until the peer confirms a message. After that, the message may have been lost.
const DELIVERED_WITHIN: Duration = Duration::from_secs(2);

/// The maximum length of the answer to a message, in bytes.
const ANSWER_LEN_MAX: usize = 1024;

/// The maximum number of outgoing messages in progress.
const SENDING_MAX: usize = 256;

/// Sends messages. It is cheap to clone.
#[derive(Clone)]
pub(in crate::runtime) struct MessageSender {
    client: Client,
    inputs: mpsc::Sender<Input>,
    state: AgentState,
    sending: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl MessageSender {
    /// Creates a sender that reports every message that it could not deliver to `inputs`.
    pub(in crate::runtime) fn new(
        client: Client,
        inputs: mpsc::Sender<Input>,
        state: AgentState,
    ) -> Self {
        let sending = Arc::new(Semaphore::new(SENDING_MAX));
        Self {
            client,
            inputs,
            state,
            sending,
            tasks: TaskTracker::new(),
        }
    }

    /// Sends all later messages, and makes all other requests of the same client, from `address`.
    pub(in crate::runtime) fn connect_from(&self, address: IpAddr) {
        self.client.connect_from(address);
    }

    /// Sends `message` to the control address `to`.
    pub(in crate::runtime) fn send(&self, to: SocketAddr, message: Message) {
        let this = self.clone();
        self.tasks.spawn(async move {
            let sent = this.post(to, &message, DELIVERED_WITHIN);
            let sent = tokio::time::timeout(DELIVERED_WITHIN, sent).await;
            let error = match sent {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => "too many messages at once".to_owned(),
            };
            let (peer, kind) = (&message.to, message.body.kind());
            tracing::debug!(%peer, kind, error, "a message was not delivered");
            if let Some(meeting) = message.meeting {
                let _ = this
                    .inputs
                    .send(Input::Undelivered {
                        to: message.to,
                        meeting,
                    })
                    .await;
            }
        });
    }

    /// Sends a ping to the control address `to`, and reports it if it is accepted within the time.
    /// The coordinator bounds the number of pings.
    pub(in crate::runtime) fn ping(&self, to: SocketAddr, message: Message, within: Duration) {
        let this = self.clone();
        self.tasks.spawn(async move {
            let answered = tokio::time::timeout(within, this.post(to, &message, within)).await;
            if matches!(answered, Ok(Ok(()))) {
                let (node, epoch) = (message.to, message.to_epoch);
                let _ = this.inputs.send(Input::Answered { node, epoch }).await;
            }
        });
    }

    async fn post(
        &self,
        to: SocketAddr,
        message: &Message,
        within: Duration,
    ) -> Result<(), String> {
        let _permit = self
            .sending
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        let limits = Limits {
            within,
            bytes: ANSWER_LEN_MAX,
        };
        let url = format!("http://{to}{PATH}");
        let body = message.encode();
        let peer = self.state.seal_of(&message.to);
        // Only the run that is meant can open it.
        let peer = peer.filter(|peer| peer.life.epoch() == message.to_epoch);
        let answer = match self.state.sealing().seal(peer.as_ref(), TARGET, &body) {
            Some(Outgoing::Plain) => self.client.post(&url, body, limits).await,
            Some(Outgoing::Sealed(body, key)) => {
                self.client.post_sealed(&url, body, key, limits).await
            }
            None => return Err("the peer has none of this node's keys".to_owned()),
        };
        let answer = answer.map_err(|error| error.to_string())?;
        let answer = serde_json::from_slice::<IgnoredAny>(&answer);
        answer.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Waits until every message has been sent, but at most for `within`.
    pub(in crate::runtime) async fn flush(&self, within: Duration) {
        self.tasks.close();
        let _ = tokio::time::timeout(within, self.tasks.wait()).await;
    }
}
