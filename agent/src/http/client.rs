//! A small HTTP client with bounds. It sends GET and POST requests with JSON, sealed or not, each
//! with a deadline and with a limit on the size of the answer.
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
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use iperf3_mesh_core::seal::AnswerKey;
use serde::de::DeserializeOwned;

use crate::http::{GZIP, seal};
use crate::resolver;
use crate::sealing;
use crate::text::{excerpt, root_cause};

/// How long an idle connection stays open. This is shorter than the server's own limit (`server`),
/// so that no request is sent on a connection that the server is just closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection attempt may take. It may continue after the deadline of its request.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The maximum size of the buffer of a connection. By default it grows to 400 KiB for a long row.
const BUFFER: usize = 64 << 10;
/// The maximum length that sealing adds to an answer: 20 bytes to each piece, which is larger.
const SEALED_EXTRA: usize = 64 << 10;
/// The maximum length of the answer to a HELLO, in bytes.
const HELLO_ANSWER_MAX: usize = 1024;
/// The first bytes of compressed data.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
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
    /// The answer is not sealed, or not for this request.
    #[error("answered without the seal of an agent of this mesh")]
    Unsealed,
    /// The answer is not the expected JSON.
    #[error("the answer is not what was expected: {0}")]
    Answer(String),
}

impl ClientError {
    /// Returns one sentence that says how to fix the error.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Address(_) => "Write HOST, HOST:PORT or http://HOST:PORT.",
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
            Self::Unsealed => {
                "The agent has no key (--insecure) or an older version, or another program \
                 listens there."
            }
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
        401 | 403 => {
            "The agent may want a key of its mesh (--key-file), or another server or a proxy wants a \
             login."
        }
        407 => "A proxy wants a login: name an agent itself.",
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
        let request = request(Method::GET, url, Bytes::new())?;
        read_json(&self.ask(request, None, limits).await?)
    }

    /// Posts `body`, which is JSON, to `url`.
    ///
    /// # Errors
    /// Returns an error if there is no successful answer within the limits. The request may
    /// nevertheless have arrived.
    pub async fn post(
        &self,
        url: &str,
        body: Vec<u8>,
        limits: Limits,
    ) -> Result<Bytes, ClientError> {
        let request = request(Method::POST, url, body.into())?;
        self.ask(request, None, limits).await
    }

    /// Posts `body`, which is sealed, to `url`, and opens the answer.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub(crate) async fn post_sealed(
        &self,
        url: &str,
        body: Vec<u8>,
        key: AnswerKey,
        limits: Limits,
    ) -> Result<Bytes, ClientError> {
        let mut request = request(Method::POST, url, body.into())?;
        let sealed = HeaderValue::from_static(sealing::CONTENT_TYPE);
        request.headers_mut().insert(CONTENT_TYPE, sealed);
        self.ask(request, Some(key), limits).await
    }

    /// Gets `url`, as it is, on a connection that ends with the answer. An agent asks a thousand
    /// peers for their rows, and the buffers of as many idle connections take 100 MiB. With
    /// `seal`, which is a sealed request and the key for its answer, opens the answer.
    ///
    /// # Errors
    /// Returns an error if there is no successful answer within the limits.
    pub(crate) async fn fetch(
        &self,
        url: &str,
        seal: Option<(Vec<u8>, AnswerKey)>,
        limits: Limits,
    ) -> Result<Bytes, ClientError> {
        let mut request = request(Method::GET, url, Bytes::new())?;
        let close = HeaderValue::from_static("close");
        request.headers_mut().insert(CONNECTION, close);
        let key = seal.map(|(sealed, key)| {
            let sealed = HeaderValue::try_from(seal::header(&sealed));
            let sealed = sealed.map(|sealed| request.headers_mut().insert(seal::HEADER, sealed));
            // Base64 is always the value of a header.
            sealed.map(|_| key)
        });
        let key = key
            .transpose()
            .map_err(|error| ClientError::Address(error.to_string()))?;
        self.ask(request, key, limits).await
    }

    /// Posts a HELLO to `url`, and returns the WELCOME.
    ///
    /// # Errors
    /// Returns an error if there is no answer of an agent with keys within the limits.
    pub(crate) async fn hello(
        &self,
        url: &str,
        hello: Vec<u8>,
        within: Duration,
    ) -> Result<Bytes, ClientError> {
        let bytes = HELLO_ANSWER_MAX;
        match self.post(url, hello, Limits { within, bytes }).await {
            // An agent without a key, or of an older version.
            Err(ClientError::Status(StatusCode::NOT_FOUND, _)) => Err(ClientError::Unsealed),
            answer => answer,
        }
    }

    /// Sends `request`, and opens the answer with `key` if there is one.
    async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        key: Option<AnswerKey>,
        limits: Limits,
    ) -> Result<Bytes, ClientError> {
        let answer = self.exchange_within(request, limits).await?;
        let status = answer.status;
        let body = match key {
            // Nothing is decompressed before it was opened.
            Some(key) if answer.is_sealed() => opened(&key, &answer, limits.bytes)?,
            // An agent that cannot open the request does not seal its answer.
            Some(_) if status.is_success() => return Err(ClientError::Unsealed),
            Some(_) if answer.is_compressed() => Bytes::new(),
            None if answer.is_compressed() => inflated(&answer.body, limits.bytes)?,
            _ => answer.body,
        };
        if status.is_success() {
            return Ok(body);
        }
        Err(ClientError::Status(status, explanation(&body)))
    }

    async fn exchange_within(
        &self,
        request: Request<Full<Bytes>>,
        limits: Limits,
    ) -> Result<Answer, ClientError> {
        let exchange = self.exchange(request, limits.bytes);
        tokio::time::timeout(limits.within, exchange)
            .await
            .map_err(|_| ClientError::Timeout(limits.within))?
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Answer, ClientError> {
        let connections = self.lock().clone();
        let response = connections.request(request).await.map_err(|error| {
            let text = root_cause(&error);
            if error.is_connect() {
                ClientError::Connect(text, io_kind(&error))
            } else {
                ClientError::Broken(text)
            }
        })?;
        let (head, body) = response.into_parts();
        let mut answer = Answer {
            status: head.status,
            headers: head.headers,
            body: Bytes::new(),
        };
        let sealed = if answer.is_sealed() { SEALED_EXTRA } else { 0 };
        let received = Limited::new(body, bytes_max + sealed).collect().await;
        answer.body = match received {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(ClientError::TooLong(bytes_max));
            }
            Err(error) => return Err(ClientError::Broken(root_cause(error.as_ref()))),
        };
        Ok(answer)
    }
}

/// An answer, complete and as it came.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn is_compressed(&self) -> bool {
        let encoding = self.headers.get(CONTENT_ENCODING);
        encoding.is_some_and(|it| it == GZIP)
    }

    fn is_sealed(&self) -> bool {
        let content_type = self.headers.get(CONTENT_TYPE);
        content_type.is_some_and(|it| it == sealing::CONTENT_TYPE)
    }
}

/// Reads an answer as JSON.
///
/// # Errors
/// Returns an error if it is not what is expected.
pub(crate) fn read_json<A: DeserializeOwned>(answer: &[u8]) -> Result<A, ClientError> {
    let read = serde_json::from_slice(answer);
    read.map_err(|error| ClientError::Answer(excerpt(&error.to_string(), TEXT_MAX)))
}

/// Opens a sealed answer, which may be compressed inside.
fn opened(key: &AnswerKey, answer: &Answer, bytes_max: usize) -> Result<Bytes, ClientError> {
    let opened = key.open(answer.status.as_u16(), &answer.body);
    let opened = opened.ok_or(ClientError::Unsealed)?;
    if opened.starts_with(&GZIP_MAGIC) {
        return inflated(&opened, bytes_max);
    }
    Ok(opened.into())
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::Write;
    use std::net::Ipv4Addr;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use iperf3_mesh_core::seal::{
        Envelopes, Key, KeyId, Keyring, Life, Role, Secret, Standing, Target,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const TARGET: Target<'_> = seal::target("/");
    const LIMITS: Limits = Limits {
        within: Duration::from_secs(30),
        bytes: 1024,
    };

    #[tokio::test]
    async fn nothing_is_decompressed_before_it_was_opened() {
        for (is_compressed, status, expected) in [
            (false, "200 OK", Ok(())),
            (
                true,
                "200 OK",
                Err("answered without the seal of an agent of this mesh"),
            ),
            (true, "401 Unauthorized", Err("answered 401 Unauthorized")),
        ] {
            let (request, key, mut sealed) = request_and_answer();
            let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
            if status == "200 OK" {
                head.push_str(&format!("Content-Type: {}\r\n", sealing::CONTENT_TYPE));
            }
            if is_compressed {
                head.push_str("Content-Encoding: gzip\r\n");
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&sealed).unwrap();
                sealed = encoder.finish().unwrap();
            }
            let answer = [head.as_bytes(), b"\r\n", &sealed].concat();
            let url = serve_once(answer).await;
            let fetched = Client::default()
                .fetch(&url, Some((request, key)), LIMITS)
                .await;
            let fetched = fetched.map(|_| ()).map_err(|error| error.to_string());
            assert_eq!(fetched, expected.map_err(str::to_owned));
        }
    }

    /// Returns a sealed request, the key for its answer, and the answer.
    fn request_and_answer() -> (Vec<u8>, AnswerKey, Vec<u8>) {
        let of = |life| {
            let secret = Secret::new(std::array::from_fn(|at| at as u8));
            let key = Key::new(KeyId::new("key").unwrap(), Role::Member, secret);
            let keyring = Keyring::read(key.to_line().as_bytes()).unwrap();
            Envelopes::new(Life::new([life; 16]), "test".to_owned(), keyring)
        };
        let (mut asker, mut asked) = (of(1), of(2));
        let sealed = asker.seal(asked.life(), &asked.accepted(), TARGET, &[]);
        let (request, key) = sealed.unwrap();
        let stranger = |_| Standing::Stranger;
        let opened = asked.open(&request, TARGET, Ipv4Addr::LOCALHOST.into(), stranger);
        (request, key, opened.unwrap().answer.seal(200, b"{}"))
    }

    /// Gives this answer to one request, and returns its URL.
    async fn serve_once(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&answer).await;
        });
        url
    }
}
