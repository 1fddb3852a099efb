//! Incoming messages. A message is passed to the driver, or it is rejected and counted: because it
//! is not sealed for this run of this agent, is too long, is not a message, has an incompatible
//! wire version, does not come from its sender, or exceeds what the driver can take.

use std::convert::Infallible;
use std::net::IpAddr;

use bytes::Bytes;
use iperf3_mesh_core::seal::{Life, REQUEST_OVERHEAD, Refusal};
use iperf3_mesh_core::wire::{Body, MESSAGE_LEN_MAX, Message, WireError};
use iperf3_mesh_core::{Input, NodeName, WIRE_VERSION};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;
use warp::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::{PATH, TARGET};
use crate::http::seal;
use crate::http::server::{self, Audience, ClientAddress, Port};
use crate::http::visitors::Visitors;
use crate::sealing;
use crate::state::{AgentState, is_source};
use crate::text::short;

/// Receives messages on `listener` until `stop`.
pub(in crate::runtime) async fn serve(
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
                let port = ControlPort {
                    inputs: &inputs,
                    state: &state,
                };
                port.answer(&method, path.as_str(), &headers, &body, from)
            },
        )
        // There is none: every request has a method, a path, headers, a body and a client.
        .recover(|_| async { Ok::<_, Infallible>(StatusCode::BAD_REQUEST.into_response()) })
        .unify()
        .boxed()
}

/// The form of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Plain,
    Sealed,
}

/// Checks that a request has the form of a message. A web page can send a browser's user a form or
/// plain text to any port, but these content types only after a question (a preflight) that this
/// port refuses.
fn check(method: &Method, path: &str, headers: &HeaderMap) -> Result<Form, (StatusCode, String)> {
    if path != PATH {
        let why = format!("messages go to {PATH}");
        return Err((StatusCode::NOT_FOUND, why));
    }
    if method != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "only POST".to_owned()));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media_type = content_type.and_then(|it| it.split(';').next());
    let is = |expected: &str| media_type.is_some_and(|it| it.trim().eq_ignore_ascii_case(expected));
    let (form, length_max) = if is("application/json") {
        (Form::Plain, MESSAGE_LEN_MAX)
    } else if is(sealing::CONTENT_TYPE) {
        (Form::Sealed, MESSAGE_LEN_MAX + REQUEST_OVERHEAD)
    } else {
        let why = "a message has the content type application/json".to_owned();
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    };
    let length = headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok());
    let length = length.and_then(|it| it.parse::<usize>().ok());
    if length.is_none_or(|length| length > length_max) {
        let why = format!("a message has at most {length_max} bytes, and says how many");
        return Err((StatusCode::BAD_REQUEST, why));
    }
    Ok(form)
}

/// Returns whether a request has the form of a message.
#[cfg(feature = "fuzzing")]
pub(crate) fn is_message(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    check(method, path, headers).is_ok()
}

/// The receiving end of messages.
struct ControlPort<'a> {
    inputs: &'a mpsc::Sender<Input>,
    state: &'a AgentState,
}

impl ControlPort<'_> {
    fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
        ClientAddress(from): ClientAddress,
    ) -> Response {
        let sealing = self.state.sealing();
        match check(method, path, headers) {
            Ok(Form::Plain) if sealing.admits_plain() => {
                let (status, answer) = self.receive(body, from, None);
                warp::reply::with_status(warp::reply::json(&answer), status).into_response()
            }
            Ok(Form::Plain) => seal::refuse(self.state, Refusal::Unsealed, from).into_response(),
            Ok(Form::Sealed) if !sealing.is_insecure() => self.open(body, from),
            Ok(Form::Sealed) => {
                let why = "this agent has no key, and reads no sealed messages".to_owned();
                self.reject(StatusCode::UNSUPPORTED_MEDIA_TYPE, why)
            }
            Err((status, why)) => self.reject(status, why),
        }
    }

    /// Rejects what is no message. A stranger in a sealed mesh learns nothing but the status.
    fn reject(&self, status: StatusCode, why: String) -> Response {
        self.state.metrics().rejected_message("bad_request");
        let mut response = match self.state.sealing().admits_plain() {
            true => warp::reply::with_status(why + "\n", status).into_response(),
            false => status.into_response(),
        };
        if status == StatusCode::METHOD_NOT_ALLOWED {
            let allow = HeaderValue::from_static("POST");
            response.headers_mut().insert(ALLOW, allow);
        }
        response
    }

    fn open(&self, sealed: &[u8], from: IpAddr) -> Response {
        let opened = match seal::open(self.state, sealed, TARGET, from) {
            Ok(opened) => opened,
            Err(status) => return status.into_response(),
        };
        let (status, answer) = self.receive(&opened.body, from, Some(opened.from));
        let answer = opened
            .answer
            .seal(status.as_u16(), answer.to_string().as_bytes());
        seal::sealed_response(status, answer)
    }

    /// Passes a message to the driver. `life` is the one that has sealed it.
    fn receive(
        &self,
        body: &[u8],
        from: IpAddr,
        life: Option<Life>,
    ) -> (StatusCode, serde_json::Value) {
        let (status, reason, error) = match Message::decode(body) {
            Ok(message) => match self.check_parties(&message, from, life) {
                Ok(()) if self.inputs.try_send(Input::Message(message)).is_ok() => {
                    return (StatusCode::OK, serde_json::json!({}));
                }
                Ok(()) => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "overload",
                    "too many messages at once".to_owned(),
                ),
                Err(stranger) => stranger,
            },
            Err(error) => {
                let status = match error {
                    WireError::Incompatible(_) => StatusCode::UPGRADE_REQUIRED,
                    _ => StatusCode::BAD_REQUEST,
                };
                (status, error.as_str(), error.to_string())
            }
        };
        self.state.metrics().rejected_message(reason);
        let answer = serde_json::json!({ "error": error, "wire": WIRE_VERSION });
        (status, answer)
    }

    /// Checks who sends the message, and who is meant.
    fn check_parties(
        &self,
        message: &Message,
        from: IpAddr,
        life: Option<Life>,
    ) -> Result<(), (StatusCode, &'static str, String)> {
        if !self.comes_from(&message.from, from) {
            let error = "the sender of this message has another address".to_owned();
            return Err((StatusCode::FORBIDDEN, "foreign_source", error));
        }
        if life.is_some_and(|life| !self.is_life_of(message, life)) {
            let error = "another run, or another agent, has sealed this message".to_owned();
            return Err((StatusCode::FORBIDDEN, "foreign_life", error));
        }
        if self.is_misdirected(message) {
            let error = "another agent, or another run of this one, is meant".to_owned();
            return Err((StatusCode::MISDIRECTED_REQUEST, "misdirected", error));
        }
        Ok(())
    }

    /// Returns whether a message from `address` can be one of the node `sender`. An unknown sender
    /// passes: the coordinator does nothing for it.
    fn comes_from(&self, sender: &NodeName, address: IpAddr) -> bool {
        let Some(expected) = self.state.address_of(sender) else {
            return true;
        };
        let is_sender = is_source(address, expected);
        if !is_sender {
            tracing::warn!(
                sender = short(sender.as_str()),
                %expected,
                %address,
                "a control message came from another address than that of its sender, and is \
                 dropped"
            );
        }
        is_sender
    }

    /// Returns whether the run that the message speaks for has sealed it. Gossip may not know a new
    /// run yet: the message passes then, and the coordinator tells by the epoch, which is half of
    /// the life, that it is of a run that it does not know.
    fn is_life_of(&self, message: &Message, life: Life) -> bool {
        let (name, epoch) = (&message.from, message.from_epoch);
        let known = self.state.seal_of(name).map(|seal| seal.life);
        let is_other_run = known.is_some_and(|it| it != life && it.epoch() == epoch);
        life.epoch() == epoch && !is_other_run && !self.state.is_life_of_another(life, name)
    }

    /// Returns whether a `sweep` message is not meant for this run of this agent. Such a message
    /// is also a ping, and a node that is pinged at somebody else's address must not seem to be
    /// there.
    fn is_misdirected(&self, message: &Message) -> bool {
        let own = self.state.identity();
        message.body == Body::Sweep && (message.to != own.name || message.to_epoch != own.epoch)
    }
}
