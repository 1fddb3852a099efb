//! Serves warp routes on a listener, within bounds that prevent any client from making the port
//! unusable for others.
//!
//! warp's own server has no limits. This server limits the number of connections, the size of heads
//! and bodies, the memory of answers, and the time that a head, a body, an answer, a connection and
//! the shutdown may take. It refuses requests to a host that is not this one. The routes decide how
//! requests are answered.

mod answer;
mod patience;
mod places;
mod refusals;
mod table;

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::resource::{Resource, getrlimit};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use warp::Reply;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::http::hosts::BadHost;
use crate::http::visitors::Visitors;
use crate::http::{failure, retry_later};
use answer::{Answer, harden};
use patience::PatientStream;
use places::{Place, Places};
use refusals::Refusals;
use table::Capacity;

pub(crate) use refusals::Rejection;
pub(super) use table::Standing;

/// The maximum number of open connections.
const CONNECTIONS: usize = 256;
/// The share of this process's file descriptors that the connections of one port may take. The
/// agent has two ports, and the other half is for iperf3 and gossip.
const DESCRIPTORS_SHARE: u64 = 4;
/// The bytes of an answer that the kernel keeps for a reader. By default it may keep megabytes.
const SEND_BUFFER: usize = 64 << 10;
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

/// The address of the client, among the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// The clients that a port is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Audience {
    /// Everybody: a quarter of the places is for known clients.
    Everybody,
    /// Known clients: a quarter of the places is for strangers.
    Members,
}

impl Audience {
    fn capacity(self, total: usize) -> Capacity {
        let quarter = total.div_ceil(4);
        let strangers = match self {
            Self::Everybody => total - quarter,
            Self::Members => quarter,
        };
        Capacity { total, strangers }
    }
}

/// The answers on a port, and the clients that they are for.
pub(crate) struct Port {
    /// The answers.
    pub(crate) routes: BoxedFilter<(Response,)>,
    /// The clients that the port is for.
    pub(crate) audience: Audience,
    /// The clients that this agent knows, and the names by which they may call it.
    pub(crate) visitors: Visitors,
}

/// Serves `port` on all of `listeners` until `stop`, and then waits at most 2 s for the answers
/// in progress. The limits apply to all listeners together. `on_rejection` is called for every
/// client that gets no answer from the routes.
pub(crate) async fn serve(
    mut listeners: Vec<TcpListener>,
    port: Port,
    on_rejection: impl Fn(Rejection) + Send + Sync + 'static,
    stop: CancellationToken,
) {
    let places = Places::new(port.audience.capacity(connections_max()));
    let refusals = Refusals::new(on_rejection);
    let port = Arc::new(port);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&mut listeners) => accepted,
            // Removes connections that have ended, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let (stream, from) = match accepted {
            Ok((stream, from)) => (stream, from.ip().to_canonical()),
            Err(error) => {
                refusals.add_failure(&error);
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let standing = port.visitors.standing(from, &stream);
        let Some((place, has_displaced)) = places.admit(from, standing) else {
            refusals.add(Rejection::TooManyConnections, from);
            continue;
        };
        if has_displaced {
            refusals.add(Rejection::Displaced, from);
        }
        let connection = Connection {
            port: port.clone(),
            place: Arc::new(place),
            refusals: refusals.clone(),
            from,
        };
        let place = connection.place.clone();
        let stop = stop.clone();
        let task = async move { connection.serve(stream, stop).await };
        place.set_task(connections.spawn(task));
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

/// One connection.
struct Connection {
    port: Arc<Port>,
    place: Arc<Place>,
    refusals: Refusals,
    from: IpAddr,
}

impl Connection {
    async fn serve(&self, stream: TcpStream, stop: CancellationToken) {
        // Answers are written as a whole. Without this option, the last segment of each answer
        // could wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let service = service_fn(|request| self.answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_headers(HEADERS)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(PatientStream::new(stream)), service);
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
        match ended {
            Ok(Err(error)) if error.is_parse() => self.refuse(Rejection::BadHttp),
            Ok(Err(error)) if is_stalled(&error) => self.refuse(Rejection::SlowReader),
            Ok(_) => {}
            Err(_) if !stop.is_cancelled() => self.refuse(Rejection::SlowReader),
            Err(_) => {}
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<hyper::Response<BoxBody<Bytes, warp::Error>>, Infallible> {
        self.place.begin();
        let mut response = self.respond(request).await;
        let bytes = response.body().size_hint().exact().unwrap_or_default();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        match self.place.reserve(bytes) {
            Some(slow) => (0..slow).for_each(|_| self.refuse(Rejection::SlowReader)),
            None => {
                self.refuse(Rejection::Memory);
                response = retry_later("too many answers wait for their readers");
            }
        }
        harden(response.headers_mut());
        Ok(response.map(|body| Answer::new(body, self.place.clone()).boxed()))
    }

    async fn respond(&self, request: Request<Incoming>) -> Response {
        if let Err(bad) = self.port.visitors.check_host(&request) {
            self.refuse(match bad {
                BadHost::Unreadable => Rejection::BadHttp,
                BadHost::NotThisHost => Rejection::BadHost,
            });
            return failure(bad.status(), bad.advice());
        }
        let (mut head, body) = request.into_parts();
        head.extensions.insert(ClientAddress(self.from));
        let Ok(Some(body)) = timeout(BODY_WITHIN, collect_body(body)).await else {
            self.refuse(Rejection::BadBody);
            return StatusCode::REQUEST_TIMEOUT.into_response();
        };
        let routes = TowerToHyperService::new(warp::service(self.port.routes.clone()));
        let request = Request::from_parts(head, Full::new(body));
        match routes.call(request).await {
            Ok(response) => response,
            Err(impossible) => match impossible {},
        }
    }

    fn refuse(&self, reason: Rejection) {
        self.refusals.add(reason, self.from);
    }
}

/// Returns whether the connection ended because its reader took nothing.
fn is_stalled(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
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
