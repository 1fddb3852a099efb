//! A small HTTP client with bounds: JSON over GET and POST, with a deadline and a limit to the
//! answer.
//!
//! Neither follows redirects nor tries again: whoever asks knows whether asking twice is safe.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An idle connection is closed after this long: sooner than the server does it (`serve`), so that
/// no request is sent into a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(5);
/// The longest that a connection attempt goes on behind a request whose deadline has passed.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How much is kept of a text from outside.
const TEXT_MAX: usize = 200;

/// What a single request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From asking until the whole answer is there.
    pub within: Duration,
    /// The longest answer, in bytes.
    pub bytes: usize,
}

/// Why there is no answer. None of the texts names whom was asked: the caller knows.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("not an address: {0}")]
    Address(String),
    /// The question cannot be put into JSON.
    #[error("the question cannot be encoded: {0}")]
    Question(#[source] serde_json::Error),
    /// Nobody answers there.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke before the whole answer was there.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The deadline passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer says that there is none.
    #[error("answered {0}: {1}")]
    Status(StatusCode, String),
    /// The answer is too long.
    #[error("answered with more than {0} bytes")]
    TooLong(usize),
    /// The answer is not of the expected form.
    #[error("the answer is not what was expected: {0}")]
    Answer(String),
}

/// The client. Cheap to clone; all clones share one pool of connections, at most one idle for each
/// peer.
#[derive(Clone, Debug)]
pub struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
}

impl Default for Client {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .build(connector);
        Self { pool }
    }
}

impl Client {
    /// Gets JSON from `url`.
    ///
    /// # Errors
    /// If there is no good answer within the limits.
    pub async fn get<A: DeserializeOwned>(
        &self,
        url: &str,
        limits: Limits,
    ) -> Result<A, ClientError> {
        self.ask(Method::GET, url, Bytes::new(), limits).await
    }

    /// Posts `question` as JSON to `url`, and takes the answer as JSON.
    ///
    /// # Errors
    /// If there is no good answer within the limits. The question may have arrived all the same.
    pub async fn post<Q: Serialize + Sync, A: DeserializeOwned>(
        &self,
        url: &str,
        question: &Q,
        limits: Limits,
    ) -> Result<A, ClientError> {
        let question = serde_json::to_vec(question).map_err(ClientError::Question)?;
        self.ask(Method::POST, url, question.into(), limits).await
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        question: Bytes,
        limits: Limits,
    ) -> Result<A, ClientError> {
        let exchange = self.exchange(method, url, question, limits.bytes);
        let (status, answer) = tokio::time::timeout(limits.within, exchange)
            .await
            .map_err(|_| ClientError::Timeout(limits.within))??;
        if !status.is_success() {
            return Err(ClientError::Status(
                status,
                one_line(&String::from_utf8_lossy(&answer)),
            ));
        }
        serde_json::from_slice(&answer)
            .map_err(|error| ClientError::Answer(one_line(&error.to_string())))
    }

    async fn exchange(
        &self,
        method: Method,
        url: &str,
        question: Bytes,
        most: usize,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let uri: Uri = url
            .parse()
            .map_err(|error| ClientError::Address(format!("{error}")))?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(question))
            .map_err(|error| ClientError::Address(error.to_string()))?;
        let response = self.pool.request(request).await.map_err(|error| {
            let text = innermost(&error);
            if error.is_connect() {
                ClientError::Connect(text)
            } else {
                ClientError::Broken(text)
            }
        })?;
        let status = response.status();
        match Limited::new(response.into_body(), most).collect().await {
            Ok(body) => Ok((status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(ClientError::TooLong(most)),
            Err(error) => Err(ClientError::Broken(innermost(error.as_ref()))),
        }
    }
}

/// The text of the first cause: the layers above it only say that something failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The beginning of a text from outside, without what a terminal would obey.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TEXT_MAX)
        .collect()
}
