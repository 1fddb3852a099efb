//! What may be wrong with the API server, each with its mend, and how it is told: in the log once until it is over,
//! in the metrics each time.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::cli::option_name;
use crate::metrics::Metrics;

/// The longest excerpt of what the API server says.
const WORDS_MAX: usize = 300;

/// Why the API server did not tell of the pods.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// There is nothing to ask with.
    #[error("this pod has no access to the API server ({0})")]
    NoAccess(String),
    /// Nobody answers there.
    #[error("the API server cannot be reached ({0})")]
    Unreachable(String),
    /// It takes too long.
    #[error("the API server has not answered within {0:?}")]
    Slow(Duration),
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
    Garbled(String),
    /// No mesh has so many nodes.
    #[error("more than {0} pods have these labels")]
    Crowd(usize),
    /// What happened since the last event is forgotten there. Part of normal operation: it takes a new list.
    #[error("the API server has forgotten what happened since")]
    Expired,
}

impl Trouble {
    /// What to do, one sentence.
    pub fn mend(&self) -> String {
        match self {
            Self::NoAccess(_) | Self::Unauthorized(_) => {
                "See that the pod's ServiceAccount exists and that its token is mounted.".to_owned()
            }
            Self::Forbidden(_) => {
                "Bind a Role with the verbs get, list and watch of pods in that namespace to the pod's ServiceAccount."
                    .to_owned()
            }
            Self::Crowd(_) => format!("Narrow {}.", option_name("label_selector")),
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
            Self::NoAccess(_) => "no_access",
            Self::Unreachable(_) => "unreachable",
            Self::Slow(_) => "slow",
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::Refused(_) => "refused",
            Self::Garbled(_) => "garbled",
            Self::Crowd(_) => "crowd",
            Self::Expired => "expired",
        }
    }

    /// Whether a watch may go on where it ended. It spares a server that was away the lists of all agents at once.
    pub(super) fn is_resumable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Slow(_))
    }
}

impl From<kube::config::InClusterError> for Trouble {
    fn from(error: kube::config::InClusterError) -> Self {
        Self::NoAccess(excerpt(&error.to_string()))
    }
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        use kube::Error;
        match error {
            Error::Api(status) => (*status).into(),
            Error::Auth(error) => Self::Unauthorized(cause(error)),
            Error::SerdeError(_) | Error::FromUtf8(_) | Error::LinesCodecMaxLineLengthExceeded => {
                Self::Garbled(cause(error))
            }
            error => Self::Unreachable(cause(error)),
        }
    }
}

impl From<kube::core::Status> for Trouble {
    fn from(status: kube::core::Status) -> Self {
        let said = excerpt(&format!("{} {}: {}", status.code, status.reason, status.message));
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

/// Tells of trouble.
pub(super) struct Teller {
    metrics: Metrics,
    /// What was said since it last went well.
    said: BTreeSet<&'static str>,
}

impl Teller {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, said: BTreeSet::new() }
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
    pub(super) fn trouble(&mut self, trouble: &Trouble) {
        self.metrics.discovery_failed(trouble.reason());
        if !matches!(trouble, Trouble::Expired) && self.said.insert(trouble.reason()) {
            tracing::warn!(
                "the agents' pods cannot be found: {trouble}; the mesh does without meanwhile. {}",
                trouble.mend()
            );
        }
    }
}
