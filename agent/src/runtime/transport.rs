//! The messages between agents, on a port of their own. Each message is one POST request, which is
//! answered as soon as it has been read.
//!
//! This module decides nothing. An incoming message is passed to the driver, or it is rejected and
//! counted: because it is too long, is not a message, has an incompatible wire version, does not
//! come from the address of its sender, or exceeds what the driver can take. An outgoing message
//! that could not be delivered is reported to the driver.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use iperf3_mesh_core::wire::{Body, MESSAGE_LEN_MAX, Message, WireError};
use iperf3_mesh_core::{Input, NodeName, WIRE_VERSION};
use serde::de::IgnoredAny;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::http::client::{Client, Limits};
use crate::http::server::{self, Audience, ClientAddress, Port};
use crate::http::visitors::Visitors;
use crate::state::AgentState;
use crate::text::short;

/// The path of messages. Its number is the version of the API; messages have their own wire
/// version.
const PATH: &str = "/control/v1/message";

/// How long to wait until the peer confirms a message. After that, the message may have been lost.
const DELIVERED_WITHIN: Duration = Duration::from_secs(2);

/// The maximum length of the answer to a message, in bytes.
const ANSWER_LEN_MAX: usize = 1024;

/// The maximum number of outgoing messages in progress.
const SENDING_MAX: usize = 256;

/// Receives messages on `listener` until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    inputs: mpsc::Sender<Input>,
    state: AgentState,
    visitors: Visitors,
    stop: CancellationToken,
) {
    let counted = state.metrics().clone();
    let on_rejection =
        move |rejection: server::Rejection| counted.rejected_message(rejection.into());
    let port = Port {
        routes: routes(inputs, state),
        audience: Audience::Members,
        visitors,
    };
    server::serve(vec![listener], port, on_rejection, stop).await;
}

/// Returns one filter for all requests, so that a request of another form is told what is wrong.
fn routes(inputs: mpsc::Sender<Input>, state: AgentState) -> BoxedFilter<(Response,)> {
    warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::body::bytes())
        .and(warp::ext::get::<ClientAddress>())
        .map(
            move |method: Method, path: FullPath, headers: HeaderMap, body: Bytes, from| {
                match check(&method, path.as_str(), &headers) {
                    Ok(()) => receive(&body, from, &inputs, &state),
                    Err(response) => {
                        state.metrics().rejected_message("bad_request");
                        *response
                    }
                }
            },
        )
        // There is none: every request has a method, a path, headers, a body and a client.
        .recover(|_| async { Ok::<_, Infallible>(StatusCode::BAD_REQUEST.into_response()) })
        .unify()
        .boxed()
}

/// Checks that a request has the form of a message. A web page can send a browser's user a form or
/// plain text to any port, but JSON only after a question (a preflight) that this port refuses.
fn check(method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let refuse = |status: StatusCode, why: String| {
        Err(Box::new(
            warp::reply::with_status(why + "\n", status).into_response(),
        ))
    };
    if path != PATH {
        return refuse(StatusCode::NOT_FOUND, format!("messages go to {PATH}"));
    }
    if method != Method::POST {
        let allow = HeaderValue::from_static("POST");
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "only POST".to_owned()).map_err(
            |mut response| {
                response.headers_mut().insert(ALLOW, allow);
                response
            },
        );
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media_type = content_type.and_then(|it| it.split(';').next());
    if !media_type.is_some_and(|it| it.trim().eq_ignore_ascii_case("application/json")) {
        let why = "a message has the content type application/json".to_owned();
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, why);
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok());
    let length = length.and_then(|it| it.parse::<usize>().ok());
    if length.is_none_or(|length| length > MESSAGE_LEN_MAX) {
        let why = format!("a message has at most {MESSAGE_LEN_MAX} bytes, and says how many");
        return refuse(StatusCode::BAD_REQUEST, why);
    }
    Ok(())
}

/// Returns whether a request has the form of a message.
#[cfg(feature = "fuzzing")]
pub(crate) fn is_message(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    check(method, path, headers).is_ok()
}

fn receive(
    body: &[u8],
    ClientAddress(from): ClientAddress,
    inputs: &mpsc::Sender<Input>,
    state: &AgentState,
) -> Response {
    let metrics = state.metrics();
    let (status, error) = match Message::decode(body) {
        Ok(message) if !comes_from(&message.from, from, state) => {
            metrics.rejected_message("foreign_source");
            (
                StatusCode::FORBIDDEN,
                "the sender of this message has another address".to_owned(),
            )
        }
        Ok(message) if is_misdirected(&message, state) => {
            metrics.rejected_message("misdirected");
            let error = "another agent, or another run of this one, is meant";
            (StatusCode::MISDIRECTED_REQUEST, error.to_owned())
        }
        Ok(message) => match inputs.try_send(Input::Message(message)) {
            Ok(()) => return warp::reply::json(&serde_json::json!({})).into_response(),
            Err(_) => {
                metrics.rejected_message("overload");
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many messages at once".to_owned(),
                )
            }
        },
        Err(error) => {
            metrics.rejected_message(error.as_str());
            let status = match error {
                WireError::Incompatible(_) => StatusCode::UPGRADE_REQUIRED,
                _ => StatusCode::BAD_REQUEST,
            };
            (status, error.to_string())
        }
    };
    let body = serde_json::json!({ "error": error, "wire": WIRE_VERSION });
    warp::reply::with_status(warp::reply::json(&body), status).into_response()
}

/// Returns whether a message from `address` can be one of the node `sender`. A connection proves
/// the address of its client, so nobody else can speak for a member. An unknown sender passes: the
/// coordinator does nothing for it.
///
/// Within one host, any program can have any loopback address, so that it proves nothing, and
/// agents of older versions use 127.0.0.1 for all messages.
fn comes_from(sender: &NodeName, address: IpAddr, state: &AgentState) -> bool {
    let Some(expected) = state.address_of(sender) else {
        return true;
    };
    let is_sender = address == expected || (address.is_loopback() && expected.is_loopback());
    if !is_sender {
        tracing::warn!(
            sender = short(sender.as_str()),
            %expected,
            %address,
            "a control message came from another address than that of its sender, and is dropped"
        );
    }
    is_sender
}

/// Returns whether a `sweep` message is not meant for this run of this agent. Such a message is
/// also a ping, and a node that is pinged at somebody else's address must not seem to be there.
fn is_misdirected(message: &Message, state: &AgentState) -> bool {
    let own = state.identity();
    message.body == Body::Sweep && (message.to != own.name || message.to_epoch != own.epoch)
}

/// Sends messages, each in a task of its own, so that a slow peer does not delay other messages.
#[derive(Clone)]
pub(super) struct MessageSender {
    client: Client,
    inputs: mpsc::Sender<Input>,
    sending: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl MessageSender {
    /// Creates a sender that reports every message that it could not deliver to `inputs`.
    pub(super) fn new(client: Client, inputs: mpsc::Sender<Input>) -> Self {
        let sending = Arc::new(Semaphore::new(SENDING_MAX));
        Self {
            client,
            inputs,
            sending,
            tasks: TaskTracker::new(),
        }
    }

    /// Sends all later messages, and makes all other requests of the same client, from `address`.
    pub(super) fn connect_from(&self, address: IpAddr) {
        self.client.connect_from(address);
    }

    /// Sends `message` to the control address `to`.
    pub(super) fn send(&self, to: SocketAddr, message: Message) {
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
    pub(super) fn ping(&self, to: SocketAddr, message: Message, within: Duration) {
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
        let answer = self
            .client
            .post(&format!("http://{to}{PATH}"), message, limits)
            .await;
        answer
            .map(|_: IgnoredAny| ())
            .map_err(|error| error.to_string())
    }

    /// Waits until every message has been sent, but at most for `within`.
    pub(super) async fn flush(&self, within: Duration) {
        self.tasks.close();
        let _ = tokio::time::timeout(within, self.tasks.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_posted_to_the_path_of_messages_is_read() {
        for (method, path, content_type, expected) in [
            (Method::POST, PATH, "application/json", None),
            (Method::POST, PATH, "Application/JSON; charset=utf-8", None),
            (Method::POST, PATH, "text/plain", Some(415)),
            (Method::POST, PATH, "application/json-patch+json", Some(415)),
            (
                Method::POST,
                PATH,
                "application/x-www-form-urlencoded",
                Some(415),
            ),
            (Method::POST, PATH, "", Some(415)),
            (Method::GET, PATH, "application/json", Some(405)),
            (Method::OPTIONS, PATH, "", Some(405)),
            (Method::POST, "/", "application/json", Some(404)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_LENGTH, HeaderValue::from(2));
            headers.extend([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            let refused = check(&method, path, &headers).err();
            let status = refused.map(|response| response.status().as_u16());
            assert_eq!(status, expected, "{method} {path} {content_type:?}");
        }
    }
}
