//! Serves warp routes on a listener, within bounds: no client can make the port unusable for
//! others.
//!
//! warp's own server has no limits. This one limits the number of connections, the size of heads
//! and bodies, and the time that a head, a body, a connection and a stop may take. The routes
//! decide what is answered.

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
use strum::IntoStaticStr;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use warp::Reply;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

/// Connections at once, in all and of one address: a single client cannot keep the others out.
const CONNECTIONS: usize = 256;
const CONNECTIONS_PER_ADDRESS: usize = 32;
/// The longest wait for the head of a request, including the idle time before it.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const HEADERS: usize = 64;
const HEAD_BYTES: usize = 16 * 1024;
/// The largest body that is read, and the longest wait for it.
const BODY_BYTES: usize = 16 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// The lifetime of a connection. After it the connection ends with the answer in progress, which
/// gets [`LAST_ANSWER_WITHIN`].
const LIFETIME: Duration = Duration::from_secs(60);
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The pause after a failure to accept, most likely for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a client got no answer from the routes; a label of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Rejection {
    /// Too many connections, in all or from this address.
    TooManyConnections,
    /// Not HTTP, or a head beyond the limits.
    BadHttp,
    /// A body that is too large, too slow, or incomplete.
    BadBody,
}

/// Serves `routes` on `listener` until `stop`, and then until the answers in progress are written,
/// but no longer than 2 s. `on_rejection` is called for every client that gets no answer from the
/// routes.
pub(crate) async fn serve(
    listener: TcpListener,
    routes: BoxedFilter<(Response,)>,
    on_rejection: impl Fn(Rejection) + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let limiter = ConnectionLimiter::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Removes what has ended, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, from)) => match limiter.admit(from.ip()) {
                Some(permit) => {
                    let (routes, on_rejection) = (routes.clone(), on_rejection.clone());
                    let stop = stop.clone();
                    connections.spawn(async move {
                        let _permit = permit;
                        serve_connection(stream, routes, on_rejection, stop).await;
                    });
                }
                None => on_rejection(Rejection::TooManyConnections),
            },
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    // A connection that is still open then is cut off when the set is dropped.
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
        let Ok(Some(body)) = timeout(BODY_WITHIN, collect_body(body)).await else {
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
        on_rejection(Rejection::BadHttp);
    }
}

/// Copies the body into one buffer; `None` if it is too large or breaks off. Every received frame
/// holds on to a buffer of kilobytes, even for one byte: a client that sends byte by byte must not
/// fill the memory.
async fn collect_body(mut body: Incoming) -> Option<Bytes> {
    let mut collected = Vec::new();
    // A body with a declared size beyond the limit is for the routes to refuse, by its head.
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Some(Bytes::new());
    }
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.ok()?.into_data() {
            if collected.len() + data.len() > BODY_BYTES {
                return None;
            }
            collected.extend_from_slice(&data);
        }
    }
    Some(collected.into())
}

/// The number of open connections of each address.
#[derive(Clone, Default)]
struct ConnectionLimiter(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl ConnectionLimiter {
    /// Admits one more connection, unless there are too many.
    fn admit(&self, address: IpAddr) -> Option<ConnectionPermit> {
        let mut connections = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = connections.values().sum();
        let count = connections.get(&address).copied().unwrap_or_default();
        if total >= CONNECTIONS || count >= CONNECTIONS_PER_ADDRESS {
            return None;
        }
        connections.insert(address, count + 1);
        Some(ConnectionPermit {
            address,
            limiter: self.clone(),
        })
    }
}

/// The permit of one connection; returned when dropped, also by a panic.
struct ConnectionPermit {
    address: IpAddr,
    limiter: ConnectionLimiter,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut connections = self
            .limiter
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = connections.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.address);
            }
        }
    }
}
