//! The seal of requests and answers over HTTP. A request without a body has its seal in a header.
//! A program without gossip first sends a HELLO, to learn the life that it seals for.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use http_body::Body as _;
use http_body_util::BodyExt;
use iperf3_mesh_core::seal::{AnswerKey, Opened, Purpose, REQUEST_OVERHEAD, Refusal, Target};
use warp::Reply;
use warp::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::failure;
use super::server::ClientAddress;
use crate::sealing;
use crate::state::AgentState;

/// The header of a request that has its seal, in base64.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-iperf3-mesh");
/// The length of that header, in bytes.
const HEADER_LEN: usize = REQUEST_OVERHEAD.div_ceil(3) * 4;

/// The path of a HELLO, and of the WELCOME that answers it.
pub(crate) const HELLO_PATH: &str = "/api/v1/hello";

/// A reader whose request is answered.
pub(super) enum Reader {
    /// Anybody.
    Anybody,
    /// The holder of a key, and the key for its answer.
    Holder(AnswerKey),
}

/// Returns how a GET request to `path` is sealed.
pub(crate) const fn target(path: &str) -> Target<'_> {
    Target {
        purpose: Purpose::Rows,
        method: "GET",
        path,
    }
}

/// Returns the header of a sealed request.
pub(super) fn header(sealed: &[u8]) -> String {
    STANDARD.encode(sealed)
}

/// Decides whether the request of a reader is answered. `is_protected` is whether its path may be
/// closed.
///
/// # Errors
/// Returns the answer to a reader that gets no other.
pub(super) fn admit(
    state: &AgentState,
    (method, path): (&Method, &str),
    headers: &HeaderMap,
    ClientAddress(from): ClientAddress,
    is_protected: bool,
) -> Result<Reader, Box<Response>> {
    let sealing = state.sealing();
    let is_closed = is_protected && state.protects_reads();
    if sealing.is_insecure() {
        // There is no key that a reader could have.
        let is_admitted = !is_closed || from.is_loopback();
        let closed = || Box::new(closed("its reads are for programs on its own host"));
        return is_admitted.then_some(Reader::Anybody).ok_or_else(closed);
    }
    let Some(value) = headers.get(HEADER) else {
        if !is_closed {
            return Ok(Reader::Anybody);
        }
        refuse(state, Refusal::Unsealed, from);
        let how = "its reads are for holders of a key: iperf3-mesh matrix --key-file FILE ADDRESS";
        return Err(Box::new(closed(how)));
    };
    let target = Target {
        method: method.as_str(),
        ..target(path)
    };
    let sealed = sealed_of(value).map_err(|refusal| refuse(state, refusal, from));
    let opened = sealed.and_then(|sealed| open(state, &sealed, target, from));
    match opened {
        Ok(opened) => Ok(Reader::Holder(opened.answer)),
        Err(status) => Err(Box::new(status.into_response())),
    }
}

/// Answers a HELLO with a WELCOME.
pub(super) fn welcome(state: &AgentState, hello: &[u8], from: ClientAddress) -> Response {
    let ClientAddress(from) = from;
    if state.sealing().is_insecure() {
        return failure(StatusCode::NOT_FOUND, "this agent has no key");
    }
    match state.sealing().welcome(hello) {
        Ok(welcome) => sealed_response(StatusCode::OK, welcome),
        Err(refusal) => refuse(state, refusal, from).into_response(),
    }
}

/// Opens a request that came from `from`, or counts why not.
///
/// # Errors
/// Returns the status that is the whole answer.
pub(crate) fn open(
    state: &AgentState,
    sealed: &[u8],
    target: Target<'_>,
    from: IpAddr,
) -> Result<Opened, StatusCode> {
    let standing = |life| state.standing(life, from);
    let opened = state.sealing().open(sealed, target, from, standing);
    opened.map_err(|refusal| refuse(state, refusal, from))
}

/// Counts a request that does not open, and returns the status that is the whole answer.
pub(crate) fn refuse(state: &AgentState, refusal: Refusal, from: IpAddr) -> StatusCode {
    state.refuse(refusal, from);
    match refusal {
        Refusal::Role | Refusal::OtherAddress => StatusCode::FORBIDDEN,
        Refusal::OtherLife => StatusCode::MISDIRECTED_REQUEST,
        _ => StatusCode::UNAUTHORIZED,
    }
}

fn sealed_of(value: &HeaderValue) -> Result<Vec<u8>, Refusal> {
    if value.len() > HEADER_LEN {
        return Err(Refusal::Oversize);
    }
    let sealed = STANDARD.decode(value);
    sealed.map_err(|_| Refusal::Malformed)
}

fn closed(how: &str) -> Response {
    let why = format!("this agent has protected reads: {how}");
    failure(StatusCode::UNAUTHORIZED, &why)
}

/// Returns an answer with a sealed body.
pub(crate) fn sealed_response(status: StatusCode, sealed: Vec<u8>) -> Response {
    let typed = warp::reply::with_header(sealed, CONTENT_TYPE, sealing::CONTENT_TYPE);
    warp::reply::with_status(typed, status).into_response()
}

/// Seals an answer: one that is at hand as a whole, any other piece by piece. An encoding of the
/// body stays, but is not named.
pub(super) async fn seal(response: Response, key: AnswerKey) -> Response {
    let status = response.status();
    let body = response.into_body();
    if body.size_hint().exact().is_some() {
        return match body.collect().await {
            Ok(body) => sealed_response(status, key.seal(status.as_u16(), &body.to_bytes())),
            Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        };
    }
    let pieces = stream::unfold(Some((body, key)), move |rest| async move {
        let (mut body, mut key) = rest?;
        let mut sealed = Vec::new();
        let mut seal = |piece: &[u8], is_last| {
            key.seal_piece(status.as_u16(), piece, is_last, &mut sealed);
        };
        match body.frame().await {
            Some(Ok(frame)) => {
                // No answer here has trailers.
                seal(&frame.into_data().unwrap_or_default(), false);
                Some((Ok(sealed), Some((body, key))))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None => {
                seal(&[], true);
                Some((Ok(sealed), None))
            }
        }
    });
    let mut response = warp::reply::stream(pieces).into_response();
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(sealing::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
