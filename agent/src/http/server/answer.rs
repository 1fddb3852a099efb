//! The answers on their way: the body that returns its memory when it has been written, and the
//! headers of every answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame, SizeHint};
use warp::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};

use super::places::Place;

/// A body. Its place becomes idle when it is dropped, that is, when it has been written or cannot
/// be written any more.
pub(super) struct Answer<B> {
    body: B,
    place: Arc<Place>,
    has_begun: bool,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, place: Arc<Place>) -> Self {
        Self {
            body,
            place,
            has_begun: false,
        }
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.has_begun = true;
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        // hyper drops a body as soon as it has ended, even while it still has to write the last
        // frame, which may be all of it. It asks a body that has not ended for another frame only
        // when less than `HEAD_BYTES` are left to write, and then drops it.
        !self.has_begun && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Answer<B> {
    fn drop(&mut self) {
        self.place.end();
    }
}

/// Adds the headers that forbid a browser to do anything with an answer but to show it.
pub(super) fn harden(headers: &mut HeaderMap) {
    const CROSS_ORIGIN: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    let fixed = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "no-referrer"),
        (CROSS_ORIGIN, "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}
