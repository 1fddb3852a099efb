//! The clock of the Kubernetes API server, read from the dates of its answers.
//!
//! Pods have timestamps of the cluster. They are compared with this clock and never with that of
//! the node, which may be weeks off.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::Response;
use hyper::header::DATE;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::fmt::rfc2822;

/// The clock; all clones are the same clock.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerClock(Arc<Mutex<Option<Reading>>>);

#[derive(Clone, Copy, Debug)]
struct Reading {
    shown: Timestamp,
    read: Instant,
}

impl ServerClock {
    /// Reads the date of an answer, if it has one.
    pub(super) fn read<B>(&self, answer: &Response<B>) {
        let date = answer
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok());
        if let Some(shown) = date.and_then(|date| rfc2822::parse(date).ok()) {
            let (shown, read) = (shown.timestamp(), Instant::now());
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Reading { shown, read });
        }
    }

    /// Returns the instant at which the clock showed `time`; the present one if that is in the
    /// future, or if no answer had a date yet.
    pub(super) fn instant(&self, time: Timestamp) -> Instant {
        let now = Instant::now();
        let reading = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let instant = reading.and_then(|Reading { shown, read }| {
            let before = Duration::try_from(shown.duration_since(time)).ok()?;
            read.checked_sub(before)
        });
        instant.unwrap_or(now)
    }
}
