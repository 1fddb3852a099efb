//! The errors of discovery through the Kubernetes API, each with a hint, and the reporter of these
//! errors. The log gets each kind of error once until discovery succeeds again; the metrics count
//! every error.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::pods::UnreadablePod;
use crate::cli::option_name;
use crate::metrics::Metrics;
use crate::text::{excerpt, root_cause};

/// The maximum length of an excerpt from a message of the API server, in characters.
const WORDS_MAX: usize = 300;

/// The directory of the pod's credentials.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The reason why the list of pods could not be read or kept up to date.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum DiscoveryError {
    /// The pod has no token or certificate.
    #[error("this pod has no credentials for the API server ({0})")]
    NoCredentials(String),
    /// The connection failed.
    #[error("the API server cannot be reached ({0})")]
    Unreachable(String),
    /// The API server did not begin to answer in time.
    #[error("the API server has not answered within {0:?}")]
    Timeout(Duration),
    /// The API server does not accept the token (401).
    #[error("the API server does not accept this agent's token ({0})")]
    Unauthorized(String),
    /// The token lacks the right to read the pods (403).
    #[error("the API server does not permit the request ({0})")]
    Forbidden(String),
    /// The API server answered with another error status.
    #[error("the API server answered with an error ({0})")]
    Refused(String),
    /// The answer cannot be parsed.
    #[error("the API server sent an invalid response ({0})")]
    InvalidResponse(String),
    /// More pods match than a mesh can have nodes.
    #[error("more than {0} pods match the label selector")]
    TooManyPods(usize),
    /// The API server no longer has the events since the last one that was received (410). This is
    /// part of normal operation: the pods are listed again.
    #[error("the API server no longer has the events since the last one received")]
    Expired,
}

impl DiscoveryError {
    /// Returns one sentence that says how to fix the error.
    pub fn hint(&self) -> String {
        match self {
            Self::NoCredentials(_) | Self::Unauthorized(_) => {
                "Check that the pod's ServiceAccount exists and that its token is mounted."
                    .to_owned()
            }
            Self::Forbidden(_) => {
                "Bind a Role with the verbs get, list and watch on pods in that namespace to the \
                 pod's ServiceAccount, or correct the namespace."
                    .to_owned()
            }
            Self::Unreachable(cause) if cause.contains("certificate") => format!(
                "Check that {SERVICE_ACCOUNT}/ca.crt is the certificate authority of the API \
                 server, that this node's clock is right, and that no other server answers in its \
                 place."
            ),
            Self::Refused(_) => "See the log of the API server, or of a proxy in front of it. The \
                 agent tries again."
                .to_owned(),
            Self::InvalidResponse(_) => "Check that KUBERNETES_SERVICE_HOST and \
                 KUBERNETES_SERVICE_PORT name the API server, not another server."
                .to_owned(),
            Self::TooManyPods(_) => format!("Narrow {}.", option_name("label_selector")),
            _ => format!(
                "Check that the API server is healthy and reachable from this pod, or set {} to a \
                 headless Service of the agents, which needs no API server.",
                option_name("join")
            ),
        }
    }

    /// Returns the value of the label `reason` in the metrics.
    pub(super) fn reason(&self) -> &'static str {
        self.into()
    }

    /// Returns whether a watch may resume where it ended. If it may, an API server that comes back
    /// does not have to send the whole list to all agents at once.
    pub(super) fn is_resumable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout(_))
    }
}

impl From<kube::config::InClusterError> for DiscoveryError {
    fn from(error: kube::config::InClusterError) -> Self {
        Self::NoCredentials(excerpt(&error.to_string(), WORDS_MAX))
    }
}

impl From<kube::Error> for DiscoveryError {
    fn from(error: kube::Error) -> Self {
        use kube::Error;
        match error {
            Error::Api(status) => (*status).into(),
            Error::Auth(error) => Self::Unauthorized(cause(error)),
            Error::SerdeError(_) | Error::FromUtf8(_) | Error::LinesCodecMaxLineLengthExceeded => {
                Self::InvalidResponse(cause(error))
            }
            error => Self::Unreachable(cause(error)),
        }
    }
}

impl From<kube::core::Status> for DiscoveryError {
    fn from(status: kube::core::Status) -> Self {
        let said = excerpt(
            &format!("{} {}: {}", status.code, status.reason, status.message),
            WORDS_MAX,
        );
        match status.code {
            401 => Self::Unauthorized(said),
            403 => Self::Forbidden(said),
            410 => Self::Expired,
            // kube reads an event that is of no known kind as an error without content.
            0 => Self::InvalidResponse("an event of an unknown kind".to_owned()),
            _ => Self::Refused(said),
        }
    }
}

/// Returns the innermost cause, which says what happened. The outer errors only say where.
fn cause(error: impl std::error::Error + 'static) -> String {
    excerpt(&root_cause(&error), WORDS_MAX)
}

/// The label of a pod that cannot be read, among the reasons of failure.
const UNREADABLE_POD: &str = "unreadable_pod";

/// The maximum number of unreadable pods that the log names. The metrics count all of them.
const UNREADABLE_LOGGED_MAX: usize = 20;

/// Reports the errors of discovery, and the recovery from them.
pub(super) struct Reporter {
    metrics: Metrics,
    /// The reasons that have been logged since the last success.
    logged: BTreeSet<&'static str>,
    /// The unreadable pods that have been logged.
    unreadable: BTreeSet<String>,
}

impl Reporter {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            logged: BTreeSet::new(),
            unreadable: BTreeSet::new(),
        }
    }

    /// Records a success.
    pub(super) fn succeeded(&mut self) {
        self.metrics.discovery_succeeded(SystemTime::now());
        if !self.logged.is_empty() {
            tracing::info!(
                "the API server answers again; the list of the agents' pods is up to date"
            );
            self.logged.clear();
        }
    }

    /// Records pods that cannot be read. Each is logged once.
    pub(super) fn unreadable(&mut self, pods: &[UnreadablePod]) {
        for UnreadablePod { name, reason } in pods {
            self.metrics.discovery_failed(UNREADABLE_POD);
            let has_room = self.unreadable.len() < UNREADABLE_LOGGED_MAX;
            if has_room && self.unreadable.insert(name.clone()) {
                let pod = excerpt(name, WORDS_MAX);
                tracing::warn!(
                    "one of the agents' pods, {pod:?}, cannot be read and is left out: {reason}"
                );
            }
        }
    }

    /// Records an error.
    pub(super) fn failed(&mut self, error: &DiscoveryError) {
        self.metrics.discovery_failed(error.reason());
        if !matches!(error, DiscoveryError::Expired) && self.logged.insert(error.reason()) {
            tracing::warn!(
                "cannot keep the list of the agents' pods up to date: {error}; a running mesh is \
                 not affected. {}",
                error.hint()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_of_an_unknown_kind_is_an_invalid_response() {
        let error = DiscoveryError::from(kube::core::Status::default());
        assert!(
            matches!(error, DiscoveryError::InvalidResponse(_)),
            "{error}"
        );
    }
}
