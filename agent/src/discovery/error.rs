//! What may be wrong with the API server, each with its hint, and how it is told: in the log once
//! until it is over, in the metrics each time.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::cli::option_name;
use crate::metrics::Metrics;

/// The longest excerpt of what the API server says.
const WORDS_MAX: usize = 300;

/// Why the API server did not tell of the pods.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// There is nothing to ask with.
    #[error("this pod has no access to the API server ({0})")]
    NoCredentials(String),
    /// Nobody answers there.
    #[error("the API server cannot be reached ({0})")]
    Unreachable(String),
    /// It takes too long.
    #[error("the API server has not answered within {0:?}")]
    Timeout(Duration),
    /// It does not know who asks.
    #[error("the API server does not accept this agent's token ({0})")]
    Unauthorized(String),
    /// It knows, and refuses.
    #[error("the API server forbids it ({0})")]
    Forbidden(String),
    /// It has another problem, perhaps with the question.
    #[error("the API server answers with an error ({0})")]
    Refused(String),
    /// It says what no API server says.
    #[error("the API server's answer makes no sense ({0})")]
    InvalidResponse(String),
    /// No mesh has so many nodes.
    #[error("more than {0} pods have these labels")]
    TooManyPods(usize),
    /// What happened since the last event is forgotten there. Part of normal operation: it takes a
    /// new list.
    #[error("the API server has forgotten what happened since")]
    Expired,
}

impl DiscoveryError {
    /// What to do, one sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::NoCredentials(_) | Self::Unauthorized(_) => {
                "See that the pod's ServiceAccount exists and that its token is mounted.".to_owned()
            }
            Self::Forbidden(_) => {
                "Bind a Role with the verbs get, list and watch of pods in that namespace to the pod's ServiceAccount."
                    .to_owned()
            }
            Self::TooManyPods(_) => format!("Narrow {}.", option_name("label_selector")),
            _ => format!(
                "See that the API server is well and can be reached from here; \
                 {} with a headless Service of the agents does without it.",
                option_name("join")
            ),
        }
    }

    /// The reason in the metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoCredentials(_) => "no_credentials",
            Self::Unreachable(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::Refused(_) => "refused",
            Self::InvalidResponse(_) => "invalid_response",
            Self::TooManyPods(_) => "too_many_pods",
            Self::Expired => "expired",
        }
    }

    /// Whether a watch may go on where it ended. It spares a server that was away the lists of all
    /// agents at once.
    pub(super) fn is_resumable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout(_))
    }
}

impl From<kube::config::InClusterError> for DiscoveryError {
    fn from(error: kube::config::InClusterError) -> Self {
        Self::NoCredentials(excerpt(&error.to_string()))
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
        let said = excerpt(&format!(
            "{} {}: {}",
            status.code, status.reason, status.message
        ));
        match status.code {
            401 => Self::Unauthorized(said),
            403 => Self::Forbidden(said),
            410 => Self::Expired,
            _ => Self::Refused(said),
        }
    }
}

/// The innermost reason says what happened; what is around it only says where.
fn cause(error: impl std::error::Error + Send + Sync + 'static) -> String {
    excerpt(&anyhow::Error::new(error).root_cause().to_string())
}

fn excerpt(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}

/// Tells of error.
pub(super) struct Reporter {
    metrics: Metrics,
    /// What was said since it last went well.
    said: BTreeSet<&'static str>,
}

impl Reporter {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            said: BTreeSet::new(),
        }
    }

    /// It goes well.
    pub(super) fn well(&mut self) {
        self.metrics.discovery_succeeded(SystemTime::now());
        if !self.said.is_empty() {
            tracing::info!("the API server tells of the agents' pods again");
            self.said.clear();
        }
    }

    /// It does not.
    pub(super) fn error(&mut self, error: &DiscoveryError) {
        self.metrics.discovery_failed(error.reason());
        if !matches!(error, DiscoveryError::Expired) && self.said.insert(error.reason()) {
            tracing::warn!(
                "the agents' pods cannot be found: {error}; the mesh does without meanwhile. {}",
                error.hint()
            );
        }
    }
}
