//! The HTTP endpoints of an agent: metrics, probes, the read API and the matrix as text.
//!
//! All endpoints are read-only, and open to everybody unless `--protect-read` closes them; holders
//! of a key get sealed answers (`seal`). A scrape neither runs a test nor waits for one. Only the
//! matrix waits, for the rows of the peers, and this wait is bounded. Control messages have a port
//! of their own.
//!
//! warp is deliberately used only for routes and replies. Its own server has no limits on
//! connections, heads, bodies or times, and cannot be wrapped, because its `Accept` trait is
//! private. Therefore this crate has its own server (`server`).

pub mod client;
pub mod collector;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hosts;
pub(crate) mod listener;
mod matrix;
pub mod reader;
mod reports;
mod rows;
pub(crate) mod seal;
pub(crate) mod server;
pub mod visitors;

use std::time::Instant;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;
use warp::http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, IF_NONE_MATCH, RETRY_AFTER, VARY,
};
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::http::client::Client;
use crate::http::collector::{CollectError, Collector};
use crate::http::matrix::Form;
use crate::http::reports::{Report, Reports};
use crate::http::seal::Reader;
use crate::http::server::{Audience, ClientAddress, Port};
use crate::http::visitors::Visitors;
use crate::metrics;
use crate::state::AgentState;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
/// The encoding of compressed answers.
const GZIP: &str = "gzip";
/// The length from which on an answer is worth compressing, in bytes.
const COMPRESSED_FROM: usize = 16 << 10;
/// The pause before another attempt: as long as an answer waits for its reader.
const RETRY_AFTER_SECONDS: &str = "5";

/// Serves all of `listeners` until `stop`, and then takes at most 2 s to finish the answers in
/// progress.
pub async fn serve(
    listeners: Vec<TcpListener>,
    state: AgentState,
    client: Client,
    visitors: Visitors,
    stop: CancellationToken,
) {
    let metrics = state.metrics().clone();
    let on_rejection =
        move |rejection: server::Rejection| metrics.rejected_message(rejection.into());
    let port = Port {
        routes: routes(state, client),
        audience: Audience::Everybody,
        visitors,
    };
    server::serve(listeners, port, on_rejection, stop).await;
}

/// Returns one filter with one table of paths rather than a filter for each path. This
/// distinguishes a wrong method from a wrong path without warp's rejections.
fn routes(state: AgentState, client: Client) -> BoxedFilter<(Response,)> {
    let collector = Collector::new(state.clone(), client);
    let pages = Pages {
        reports: Reports::new(state.clone(), collector.workshop()),
        state,
        collector,
    };
    warp::method()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and(warp::body::bytes())
        .and(warp::ext::get::<ClientAddress>())
        .then(
            move |method: Method, path: FullPath, headers: HeaderMap, body: Bytes, from| {
                let pages = pages.clone();
                async move {
                    if path.as_str() == seal::HELLO_PATH && method == Method::POST {
                        return seal::welcome(&pages.state, &body, from);
                    }
                    pages.answer(&method, path.as_str(), headers, from).await
                }
            },
        )
        .boxed()
}

/// The paths that can be read.
enum Route {
    Page,
    Metrics,
    Health,
    Readiness,
    Row,
    Matrix,
    CompactMatrix,
    Members,
    Schedule,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Readiness,
            "/api/v1/row" => Self::Row,
            "/api/v1/matrix" => Self::Matrix,
            "/api/v1/matrix.bin" => Self::CompactMatrix,
            "/api/v1/members" => Self::Members,
            "/api/v1/schedule" => Self::Schedule,
            _ => return None,
        })
    }

    /// Returns whether `--protect-read` closes the path to those without a key. Prometheus and the
    /// kubelet have none.
    fn is_protected(&self) -> bool {
        !matches!(self, Self::Metrics | Self::Health | Self::Readiness)
    }
}

/// All answers. It is cheap to clone.
#[derive(Clone)]
struct Pages {
    state: AgentState,
    collector: Collector,
    reports: Reports,
}

impl Pages {
    async fn answer(
        &self,
        method: &Method,
        path: &str,
        mut headers: HeaderMap,
        from: ClientAddress,
    ) -> Response {
        let Some(route) = Route::of(path) else {
            return failure(StatusCode::NOT_FOUND, "no such path");
        };
        if method != Method::GET && method != Method::HEAD {
            return wrong_method();
        }
        let is_protected = route.is_protected();
        match seal::admit(&self.state, (method, path), &headers, from, is_protected) {
            Ok(Reader::Anybody) => self.read(route, &headers).await,
            Ok(Reader::Holder(key)) => {
                // An answer without a body cannot be sealed.
                headers.remove(IF_NONE_MATCH);
                seal::seal(self.read(route, &headers).await, key).await
            }
            Err(refused) => *refused,
        }
    }

    async fn read(&self, route: Route, headers: &HeaderMap) -> Response {
        let Self {
            state,
            collector,
            reports,
        } = self;
        let is_compressed = accepts_gzip(headers);
        match route {
            Route::Page => matrix_answer(collector, Form::Page, headers).await,
            Route::Metrics => report_answer(reports, Report::Metrics),
            Route::Health => probe(state.health(Instant::now()), &[]),
            Route::Readiness => probe(state.readiness(), &state.remarks()),
            Route::Row if is_compressed => compressed_row_answer(reports).await,
            Route::Row => report_answer(reports, Report::Row),
            Route::Matrix if is_compressed => {
                matrix_answer(collector, Form::JsonGzip, headers).await
            }
            Route::Matrix => matrix_answer(collector, Form::Json, headers).await,
            Route::CompactMatrix if is_compressed => {
                matrix_answer(collector, Form::CompactGzip, headers).await
            }
            Route::CompactMatrix => matrix_answer(collector, Form::Compact, headers).await,
            Route::Members => report_answer(reports, Report::Members),
            Route::Schedule => report_answer(reports, Report::Schedule),
        }
    }
}

/// Answers with the matrix in one of its forms.
async fn matrix_answer(collector: &Collector, form: Form, asked: &HeaderMap) -> Response {
    let edition = match collector.edition().await {
        Ok(edition) => edition,
        Err(error @ CollectError::TooLarge(_)) => return retry_later(&error.to_string()),
        Err(error @ CollectError::Fault) => {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string());
        }
    };
    let tag = format!("\"{:016x}-{form}\"", edition.id);
    let is_known = asked.get(IF_NONE_MATCH).is_some_and(|known| known == &*tag);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        match matrix::answer(edition, collector.workshop(), form).await {
            Ok(response) => response,
            Err(error) => return retry_later(&error.to_string()),
        }
    };
    let headers = response.headers_mut();
    let content_type = match form {
        Form::Page => TEXT,
        Form::Json | Form::JsonGzip => JSON,
        Form::Compact | Form::CompactGzip => BYTES,
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
    if form.is_compressed() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(GZIP));
    }
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
        // A browser may keep the answer, but asks whether it is still the latest.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// Answers with a report.
fn report_answer(reports: &Reports, report: Report) -> Response {
    let content_type = match report {
        Report::Metrics => metrics::CONTENT_TYPE,
        Report::Row | Report::Members | Report::Schedule => JSON,
    };
    match reports.plain(report) {
        Ok(bytes) => body(
            StatusCode::OK,
            content_type,
            warp::http::Response::new(bytes),
        ),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

/// Answers with this node's row compressed, if it is large.
async fn compressed_row_answer(reports: &Reports) -> Response {
    let compressed = match reports.plain(Report::Row) {
        Ok(plain) if plain.len() > COMPRESSED_FROM => reports.compressed(Report::Row, plain).await,
        _ => return report_answer(reports, Report::Row),
    };
    match compressed {
        Ok(bytes) => {
            let mut response = body(StatusCode::OK, JSON, warp::http::Response::new(bytes));
            let headers = response.headers_mut();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(GZIP));
            response
        }
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

/// Returns whether a client that sent `headers` can read compressed answers.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    let codings = values.filter_map(|value| value.to_str().ok());
    codings.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let quality = quality.trim().strip_prefix("q=").map(str::parse);
        name.trim().eq_ignore_ascii_case(GZIP) && quality.is_some_and(|it| it != Ok(0.0))
    })
}

/// Returns the answer of a probe. The remarks are faults that the agent may overcome; they do not
/// make the probe fail.
fn probe(result: Result<(), String>, remarks: &[String]) -> Response {
    match result {
        Ok(()) => {
            let lines = ["ok"].into_iter().chain(remarks.iter().map(String::as_str));
            let text: String = lines.map(|line| format!("{line}\n")).collect();
            body(StatusCode::OK, TEXT, text)
        }
        Err(why) => failure(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn wrong_method() -> Response {
    let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// Returns an answer that says that there is none at present, and when to ask again.
fn retry_later(why: &str) -> Response {
    let mut response = failure(StatusCode::SERVICE_UNAVAILABLE, why);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    response
}

fn failure(status: StatusCode, why: &str) -> Response {
    body(
        status,
        JSON,
        serde_json::json!({ "error": why }).to_string(),
    )
}

fn body(status: StatusCode, content_type: &'static str, text: impl Reply) -> Response {
    let text = warp::reply::with_header(text, CONTENT_TYPE, content_type);
    warp::reply::with_status(text, status).into_response()
}
