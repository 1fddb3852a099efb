//! A small HTTP client with bounds. It sends GET and POST requests with JSON, each with a deadline
//! and with a limit on the size of the answer.
//!
//! It does not follow redirects and does not retry: only the caller knows whether a second request
//! is safe.

use std::error::Error;
use std::io::{self, Read};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue,
};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::GZIP;
use crate::resolver;
use crate::text::{excerpt, root_cause};

/// How long an idle connection stays open. This is shorter than the server's own limit (`server`),
/// so that no request is sent on a connection that the server is just closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection attempt may take. It may continue after the deadline of its request.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The maximum size of the buffer of a connection. By default it grows to 400 KiB for a long row.
const BUFFER: usize = 64 << 10;
/// The maximum number of characters that are kept of a text from outside.
const TEXT_MAX: usize = 200;

/// The bounds of a single request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The time from the request until the answer is complete.
    pub within: Duration,
    /// The maximum length of the answer, in bytes.
    pub bytes: usize,
}

/// The reason why there is no answer. The messages do not name the server, because the caller does.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not valid.
    #[error("not an address: {0}")]
    Address(String),
    /// The request body cannot be written as JSON.
    #[error("the request cannot be encoded: {0}")]
    Request(#[source] serde_json::Error),
    /// No server accepts connections at the address.
    #[error("no connection: {0}")]
    Connect(String, io::ErrorKind),
    /// The connection broke before the answer was complete.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The deadline passed before the answer was complete.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The status of the answer is not a success.
    #[error("answered {0}{1}")]
    Status(StatusCode, String),
    /// The answer is too long.
    #[error("answered with more than {0} bytes")]
    TooLong(usize),
    /// The answer is not the expected JSON.
    #[error("the answer is not what was expected: {0}")]
    Answer(String),
}

impl ClientError {
    /// Returns one sentence that says how to fix the error.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Address(_) => "Write HOST, HOST:PORT or http://HOST:PORT.",
            Self::Request(_) => "Report this as a fault of this program.",
            Self::Connect(text, kind) => connect_hint(text, *kind),
            Self::Broken(_) => {
                "That port speaks another protocol, such as TLS or that of iperf3: name the port \
                 of an agent's read API, by default 9876."
            }
            Self::Timeout(_) => {
                "A firewall may drop the packets, that port may speak another protocol, or the \
                 agent is overloaded."
            }
            Self::Status(status, _) => status_hint(*status),
            Self::TooLong(_) => "The mesh is too large for one answer, or that is not an agent.",
            Self::Answer(_) => {
                "Another program listens there, or an agent of another version: use the \
                 iperf3-mesh of that version."
            }
        }
    }
}

fn connect_hint(text: &str, kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::{
        ConnectionRefused, HostUnreachable, NetworkUnreachable, PermissionDenied, TimedOut,
    };
    match kind {
        ConnectionRefused => {
            "No program listens there: start the agent, or name the port of its read API, by \
             default 9876."
        }
        HostUnreachable | NetworkUnreachable => {
            "Check the address, and this machine's routes to it."
        }
        PermissionDenied => "A firewall or a security policy of this machine forbids it.",
        TimedOut => "The host is down, or a firewall drops the packets.",
        _ if resolver::is_resolver_error(text) => resolver::hint(text),
        _ => "Name the host of an agent and the port of its read API, by default 9876.",
    }
}

fn status_hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => "Another server redirects from there: name an agent itself.",
        401 | 403 | 407 => "Another server or a proxy wants a login: name an agent itself.",
        503 => "The agent is busy or stops: try again.",
        _ => {
            "That is not the read API of an agent: name its port, by default 9876, or start a \
             newer agent."
        }
    }
}

/// Returns the beginning and the end of the text of an error, after a colon. The text of a page for
/// a browser is left out.
fn explanation(body: &[u8]) -> String {
    let text = excerpt(&String::from_utf8_lossy(body), TEXT_MAX);
    if text.is_empty() {
        text
    } else if text.starts_with('<') {
        " with a web page".to_owned()
    } else {
        format!(": {text}")
    }
}

/// Returns the decompressed body, if it has at most `bytes_max` bytes.
fn inflated(body: &[u8], bytes_max: usize) -> Result<Bytes, ClientError> {
    let mut inflated = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    GzDecoder::new(body)
        .take(most.saturating_add(1))
        .read_to_end(&mut inflated)
        .map_err(|error| ClientError::Broken(error.to_string()))?;
    if inflated.len() > bytes_max {
        return Err(ClientError::TooLong(bytes_max));
    }
    Ok(inflated.into())
}

/// Returns the kind of the operating system's error that caused `error`.
fn io_kind(error: &(dyn Error + 'static)) -> io::ErrorKind {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind();
        }
        cause = error.source();
    }
    io::ErrorKind::Other
}

/// The HTTP client. It is cheap to clone: all clones share one pool of connections, with at most
/// one idle connection per peer.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Arc<Mutex<Connections>>,
}

type Connections = Pool<HttpConnector, Full<Bytes>>;

impl Default for Client {
    fn default() -> Self {
        Self {
            pool: Arc::new(Mutex::new(connections(None))),
        }
    }
}

fn connections(from: Option<IpAddr>) -> Connections {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_WITHIN));
    connector.set_local_address(from);
    Pool::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(1)
        .http1_max_buf_size(BUFFER)
        .build(connector)
}

impl Client {
    /// Makes all later connections of this client and its clones come from `address`: the peers
    /// believe a message only if it comes from the address of its sender, and a host with several
    /// addresses would take the one of the route.
    pub fn connect_from(&self, address: IpAddr) {
        *self.lock() = connections(Some(address));
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        // No holder of this lock can panic.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets JSON from `url`.
    ///
    /// # Errors
    /// Returns an error if there is no valid answer within the limits.
    pub async fn get<A: DeserializeOwned>(
        &self,
        url: &str,
        limits: Limits,
    ) -> Result<A, ClientError> {
        self.request(Method::GET, url, Bytes::new(), limits).await
    }

    /// Posts `body` as JSON to `url`, and reads the answer as JSON.
    ///
    /// # Errors
    /// Returns an error if there is no valid answer within the limits. The request may nevertheless
    /// have arrived.
    pub async fn post<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        url: &str,
        body: &B,
        limits: Limits,
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Request)?;
        self.request(Method::POST, url, body.into(), limits).await
    }

    /// Gets `url`, as it is, on a connection that ends with the answer. An agent asks a thousand
    /// peers for their rows, and the buffers of as many idle connections take 100 MiB.
    ///
    /// # Errors
    /// Returns an error if there is no successful answer within the limits.
    pub(super) async fn fetch(&self, url: &str, limits: Limits) -> Result<Bytes, ClientError> {
        let mut request = request(Method::GET, url, Bytes::new())?;
        let close = HeaderValue::from_static("close");
        request.headers_mut().insert(CONNECTION, close);
        self.ask(request, limits).await
    }

    async fn request<A: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        body: Bytes,
        limits: Limits,
    ) -> Result<A, ClientError> {
        let answer = self.ask(request(method, url, body)?, limits).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| ClientError::Answer(excerpt(&error.to_string(), TEXT_MAX)))
    }

    async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        limits: Limits,
    ) -> Result<Bytes, ClientError> {
        let exchange = self.exchange(request, limits.bytes);
        let (status, answer) = tokio::time::timeout(limits.within, exchange)
            .await
            .map_err(|_| ClientError::Timeout(limits.within))??;
        if status.is_success() {
            return Ok(answer);
        }
        Err(ClientError::Status(status, explanation(&answer)))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let connections = self.lock().clone();
        let response = connections.request(request).await.map_err(|error| {
            let text = root_cause(&error);
            if error.is_connect() {
                ClientError::Connect(text, io_kind(&error))
            } else {
                ClientError::Broken(text)
            }
        })?;
        let status = response.status();
        let encoding = response.headers().get(CONTENT_ENCODING);
        let is_compressed = encoding.is_some_and(|encoding| encoding == GZIP);
        match Limited::new(response.into_body(), bytes_max)
            .collect()
            .await
        {
            Ok(body) if is_compressed => Ok((status, inflated(&body.to_bytes(), bytes_max)?)),
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLong(bytes_max)),
            Err(error) => Err(ClientError::Broken(root_cause(error.as_ref()))),
        }
    }
}

fn request(method: Method, url: &str, body: Bytes) -> Result<Request<Full<Bytes>>, ClientError> {
    let uri: Uri = url
        .parse()
        .map_err(|error| ClientError::Address(format!("{error}")))?;
    Request::builder()
        .method(method)
        .uri(uri)
        .header(ACCEPT, "application/json")
        .header(ACCEPT_ENCODING, GZIP)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| ClientError::Address(error.to_string()))
}
