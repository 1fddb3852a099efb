//! Serves warp routes on a listener, within bounds: whatever comes in, the port stays usable for
//! others.
//!
//! warp's own server knows no limits: neither to connections, nor to the time that a head, an
//! answer or a stop takes, nor to what a body is kept in. This one has a limit to each. What is
//! answered is the routes' business.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use warp::Reply;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

/// Connections at once, and those of one address: a single visitor cannot keep the others out.
const CONNECTIONS: usize = 256;
const CONNECTIONS_PER_ADDRESS: usize = 32;
/// The longest wait for a request's head, the idle time before it included.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const HEADERS: usize = 64;
const HEAD_BYTES: usize = 16 * 1024;
/// The longest body that is read, and the longest wait for it.
const BODY_BYTES: usize = 16 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection lives. Then it ends after the present answer, which gets
/// [`LAST_ANSWER_WITHIN`].
const LIFETIME: Duration = Duration::from_secs(60);
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The pause when no connection can be accepted, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a visitor was turned away for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// Too many connections, in all or from this address.
    TooMany,
    /// Not HTTP, or a head beyond the limits.
    BadHead,
    /// A body that is too long, too slow, or broken off.
    BadBody,
}

impl Rejection {
    /// The name as it stands in labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "too_many_connections",
            Self::BadHead => "bad_http",
            Self::BadBody => "bad_body",
        }
    }
}

/// Serves `routes` on `listener` until `stop`, and then for as long as the present answers need,
/// but no longer than 2 s. `on_rejection` is told of every visitor that gets no answer from the
/// routes.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: BoxedFilter<(Response,)>,
    on_rejection: impl Fn(Rejection) + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let guests = ConnectionLimiter::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Takes away what has ended, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, from)) => match guests.admit(from.ip()) {
                Some(guest) => {
                    let (routes, on_rejection) = (routes.clone(), on_rejection.clone());
                    let stop = stop.clone();
                    connections.spawn(async move {
                        let _guest = guest;
                        serve_connection(stream, routes, on_rejection, stop).await;
                    });
                }
                None => on_rejection(Rejection::TooMany),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    // What has not ended by then is cut off when the set is dropped.
    let _ = timeout(LAST_ANSWER_WITHIN, ended).await;
}

async fn serve_connection(
    stream: TcpStream,
    routes: BoxedFilter<(Response,)>,
    on_rejection: impl Fn(Rejection),
    stop: CancellationToken,
) {
    // Answers are written whole; without this the last segment of each could wait for an
    // acknowledgement.
    let _ = stream.set_nodelay(true);
    let routes = TowerToHyperService::new(warp::service(routes));
    let service = service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let Ok(Some(body)) = timeout(BODY_WITHIN, whole(body)).await else {
            on_rejection(Rejection::BadBody);
            return Ok(StatusCode::REQUEST_TIMEOUT.into_response());
        };
        routes
            .call(Request::from_parts(head, Full::new(body)))
            .await
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = sleep(LIFETIME) => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER_WITHIN, connection).await
        }
    };
    if let Ok(Err(error)) = ended
        && error.is_parse()
    {
        on_rejection(Rejection::BadHead);
    }
}

/// The body in one piece, `None` if it cannot be had. Each piece as it comes keeps a buffer of
/// kilobytes alive, be it but a byte long: whoever sends byte by byte must not fill the memory.
async fn whole(mut body: Incoming) -> Option<Bytes> {
    let mut whole = Vec::new();
    // What calls itself too long is for the routes to refuse, by its head.
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Some(Bytes::new());
    }
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.ok()?.into_data() {
            if whole.len() + piece.len() > BODY_BYTES {
                return None;
            }
            whole.extend_from_slice(&piece);
        }
    }
    Some(whole.into())
}

/// Who is here, and how often.
#[derive(Clone, Default)]
struct ConnectionLimiter(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl ConnectionLimiter {
    /// Lets a visitor in, unless there are too many.
    fn admit(&self, address: IpAddr) -> Option<ConnectionPermit> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = guests.values().sum();
        let its = guests.get(&address).copied().unwrap_or_default();
        if all >= CONNECTIONS || its >= CONNECTIONS_PER_ADDRESS {
            return None;
        }
        guests.insert(address, its + 1);
        Some(ConnectionPermit {
            address,
            guests: self.clone(),
        })
    }
}

/// One connection's place; given back when dropped, also by a panic.
struct ConnectionPermit {
    address: IpAddr,
    guests: ConnectionLimiter,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut guests = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(its) = guests.get_mut(&self.address) {
            *its -= 1;
            if *its == 0 {
                guests.remove(&self.address);
            }
        }
    }
}
