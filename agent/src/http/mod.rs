//! The HTTP endpoints of an agent: metrics, probes, the read API and the matrix as text.
//!
//! All endpoints are read-only. A scrape neither runs a test nor waits for one. Only the matrix
//! waits, for the rows of the peers, and this wait is bounded. Control messages have a port of
//! their own.
//!
//! warp is deliberately used only for routes and replies. Its own server has no limits on
//! connections, heads, bodies or times, and cannot be wrapped, because its `Accept` trait is
//! private. Therefore this crate has its own server (`server`).

pub mod client;
pub mod collector;
pub(crate) mod listener;
pub(crate) mod server;

use std::time::Instant;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;
use warp::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Reply};

use crate::api::Matrix;
use crate::http::client::Client;
use crate::http::collector::Collector;
use crate::metrics;
use crate::render::heatmap::{self, Screen};
use crate::state::AgentState;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Serves all of `listeners` until `stop`, and then takes at most 2 s to finish the answers in
/// progress.
pub async fn serve(
    listeners: Vec<TcpListener>,
    state: AgentState,
    client: Client,
    stop: CancellationToken,
) {
    let metrics = state.metrics().clone();
    let on_rejection =
        move |rejection: server::Rejection| metrics.rejected_message(rejection.into());
    server::serve(listeners, routes(state, client), on_rejection, stop).await;
}

/// Returns one filter with one table of paths rather than a filter for each path. This
/// distinguishes a wrong method from a wrong path without warp's rejections.
fn routes(state: AgentState, client: Client) -> BoxedFilter<(Response,)> {
    let collector = Collector::new(state.clone(), client);
    warp::method()
        .and(warp::path::full())
        .then(move |method: Method, path: FullPath| {
            let (state, collector) = (state.clone(), collector.clone());
            async move {
                let mut response = answer(&method, path.as_str(), &state, &collector).await;
                let headers = response.headers_mut();
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
        })
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
            "/api/v1/members" => Self::Members,
            "/api/v1/schedule" => Self::Schedule,
            _ => return None,
        })
    }
}

async fn answer(
    method: &Method,
    path: &str,
    state: &AgentState,
    collector: &Collector,
) -> Response {
    let Some(route) = Route::of(path) else {
        return failure(StatusCode::NOT_FOUND, "no such path");
    };
    if method != Method::GET && method != Method::HEAD {
        return wrong_method();
    }
    match route {
        Route::Page => {
            matrix_answer(collector, TEXT, |matrix| {
                Ok(heatmap::render(matrix, Screen::PLAIN))
            })
            .await
        }
        Route::Metrics => match state.metrics().text() {
            Ok(text) => body(StatusCode::OK, metrics::CONTENT_TYPE, text),
            Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
        Route::Health => probe(state.health(Instant::now()), &[]),
        Route::Readiness => probe(state.readiness(), &state.remarks()),
        Route::Row => json(&state.row()),
        Route::Matrix => matrix_answer(collector, JSON, serde_json::to_string).await,
        Route::Members => json(&state.members()),
        Route::Schedule => json(&state.schedule()),
    }
}

/// Answers with a text made from the matrix. The text is written outside the event loop, which has
/// deadlines to meet and must not wait for megabytes of text.
async fn matrix_answer(
    collector: &Collector,
    content_type: &'static str,
    write: fn(&Matrix) -> serde_json::Result<String>,
) -> Response {
    let matrix = collector.matrix().await;
    match spawn_blocking(move || write(&matrix)).await {
        Ok(Ok(text)) => body(StatusCode::OK, content_type, text),
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_string(answer) {
        Ok(text) => body(StatusCode::OK, JSON, text),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Returns the answer of a probe. The remarks are faults that the agent may overcome; they do not
/// make the probe fail.
fn probe(result: Result<(), String>, remarks: &[String]) -> Response {
    match result {
        Ok(()) => {
            let lines = ["ok"].into_iter().chain(remarks.iter().map(String::as_str));
            let text = lines.map(|line| format!("{line}\n")).collect();
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

fn failure(status: StatusCode, why: &str) -> Response {
    body(
        status,
        JSON,
        serde_json::json!({ "error": why }).to_string(),
    )
}

fn body(status: StatusCode, content_type: &'static str, text: String) -> Response {
    let text = warp::reply::with_header(text, CONTENT_TYPE, content_type);
    warp::reply::with_status(text, status).into_response()
}
