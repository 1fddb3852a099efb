//! Serves warp routes on a listener, within bounds that prevent any client from making the port
//! unusable for others.
//!
//! warp's own server has no limits. This server limits the number of connections, the size of heads
//! and bodies, and the time that a head, a body, a connection and the shutdown may take. The routes
//! decide how requests are answered.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit};
use strum::IntoStaticStr;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use warp::Reply;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

/// The maximum number of open connections, in total and per address: a single client cannot keep
/// the others out.
const CONNECTIONS: usize = 256;
const CONNECTIONS_PER_ADDRESS: usize = 32;
/// The share of this process's file descriptors that the connections of one port may take. The
/// agent has two ports, and the other half is for iperf3 and gossip.
const DESCRIPTORS_SHARE: u64 = 4;
/// How long to wait for the head of a request, including the idle time before it.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const HEADERS: usize = 64;
const HEAD_BYTES: usize = 16 * 1024;
/// The maximum size of a body, and how long to wait for it.
const BODY_BYTES: usize = 16 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// The lifetime of a connection. When it is over, the connection ends after the answer in progress,
/// which gets [`LAST_ANSWER_WITHIN`].
const LIFETIME: Duration = Duration::from_secs(60);
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The pause after a failed accept. The usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The pause between two log lines about failed accepts.
const ACCEPT_LOGGED_EVERY: Duration = Duration::from_secs(60);

/// The reason why a client got no answer from the routes. It is a label in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Rejection {
    /// There are too many connections, in total or from this address.
    TooManyConnections,
    /// The system could not accept the connection, for example for lack of file descriptors.
    AcceptFailed,
    /// The request is not HTTP, or its head exceeds the limits.
    BadHttp,
    /// The body is too large, too slow or incomplete.
    BadBody,
}

/// Serves `routes` on all of `listeners` until `stop`, and then waits at most 2 s for the answers
/// in progress. The limits apply to all listeners together. `on_rejection` is called for every
/// client that gets no answer from the routes.
pub(crate) async fn serve(
    mut listeners: Vec<TcpListener>,
    routes: BoxedFilter<(Response,)>,
    on_rejection: impl Fn(Rejection) + Clone + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let limiter = ConnectionLimiter::new(connections_max());
    let mut connections = JoinSet::new();
    let mut last_logged = None;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&mut listeners) => accepted,
            // Removes connections that have ended, so that the set does not grow.
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
                on_rejection(Rejection::AcceptFailed);
                if last_logged.is_none_or(|at: Instant| at.elapsed() >= ACCEPT_LOGGED_EVERY) {
                    last_logged = Some(Instant::now());
                    tracing::warn!(%error, "cannot accept a connection");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listeners);
    let ended = async { while connections.join_next().await.is_some() {} };
    // A connection that is still open afterwards is cut off when the set is dropped.
    let _ = timeout(LAST_ANSWER_WITHIN, ended).await;
}

/// Accepts a connection on any of `listeners`. The listener that had one goes to the end of the
/// list, so that a flood on one listener does not keep the others from their turn.
async fn accept(listeners: &mut Vec<TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|context| {
        let ready = listeners.iter().enumerate().find_map(|(at, listener)| {
            match listener.poll_accept(context) {
                Poll::Ready(accepted) => Some((at, accepted)),
                Poll::Pending => None,
            }
        });
        match ready {
            Some((at, accepted)) => {
                let listener = listeners.remove(at);
                listeners.push(listener);
                Poll::Ready(accepted)
            }
            None => Poll::Pending,
        }
    })
    .await
}

async fn serve_connection(
    stream: TcpStream,
    routes: BoxedFilter<(Response,)>,
    on_rejection: impl Fn(Rejection),
    stop: CancellationToken,
) {
    // Answers are written as a whole. Without this option, the last segment of each answer could
    // wait for an acknowledgement.
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

/// Copies the body into one buffer. Returns `None` if the body is too large or breaks off. Every
/// received frame holds on to a buffer of several kilobytes, even for a single byte, so a client
/// that sends byte by byte could otherwise exhaust the memory.
async fn collect_body(mut body: Incoming) -> Option<Bytes> {
    let mut collected = Vec::new();
    // If the declared size exceeds the limit, the routes refuse the request because of its head.
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

/// Returns the maximum number of open connections in total.
fn connections_max() -> usize {
    getrlimit(Resource::RLIMIT_NOFILE)
        .ok()
        .and_then(|(soft, _)| usize::try_from(soft / DESCRIPTORS_SHARE).ok())
        .map_or(CONNECTIONS, |share| share.min(CONNECTIONS))
}

/// The number of open connections of each address.
#[derive(Clone)]
struct ConnectionLimiter {
    max: usize,
    connections: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl ConnectionLimiter {
    fn new(max: usize) -> Self {
        Self {
            max,
            connections: Arc::default(),
        }
    }

    /// Admits one more connection, unless there are already too many.
    fn admit(&self, address: IpAddr) -> Option<ConnectionPermit> {
        let mut connections = self.lock();
        let total: usize = connections.values().sum();
        let count = connections.get(&address).copied().unwrap_or_default();
        if total >= self.max || count >= CONNECTIONS_PER_ADDRESS {
            return None;
        }
        connections.insert(address, count + 1);
        Some(ConnectionPermit {
            address,
            limiter: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The permit of one connection. Dropping it returns the permit, even during a panic.
struct ConnectionPermit {
    address: IpAddr,
    limiter: ConnectionLimiter,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut connections = self.limiter.lock();
        if let Some(count) = connections.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&self.address);
            }
        }
    }
}
