//! What a check found, as a table for people and as JSON for programs.

use std::fmt::{self, Display};

use serde::Serialize;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// The node takes part, but something is lost.
    Warning,
    /// The node cannot take part.
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// How grave it is.
    pub level: Level,
    /// What was found.
    pub detail: String,
    /// What to do; absent if there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    pub(super) fn new(
        subject: impl Into<String>,
        level: Level,
        detail: impl Into<String>,
        hint: Option<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            level,
            detail: detail.into(),
            hint,
        }
    }

    pub(super) fn ok(subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(subject, Level::Ok, detail, None)
    }

    pub(super) fn warning(
        subject: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(subject, Level::Warning, detail, Some(hint.into()))
    }

    pub(super) fn error(
        subject: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::new(subject, Level::Error, detail, Some(hint.into()))
    }
}

/// All findings, in the order in which they were made.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    findings: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// The findings.
    pub fn all(&self) -> &[Finding] {
        &self.findings
    }

    /// Nothing stops the node from taking part.
    pub fn is_ok(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.level < Level::Error)
    }
}

/// A table for people, the hint below what it hints. Programs take the serialised form.
impl Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .findings
            .iter()
            .map(|finding| finding.subject.len())
            .max()
            .unwrap_or(0);
        for Finding {
            subject,
            level,
            detail,
            hint,
        } in &self.findings
        {
            writeln!(f, "{:8} {subject:width$}  {detail}", level.as_str())?;
            if let Some(hint) = hint {
                writeln!(f, "{:8} {:width$}  -> {hint}", "", "")?;
            }
        }
        let count = |level| {
            self.findings
                .iter()
                .filter(|finding| finding.level == level)
                .count()
        };
        match (count(Level::Error), count(Level::Warning)) {
            (0, 0) => writeln!(f, "This node can take part."),
            (0, warnings) => writeln!(f, "This node can take part; warnings: {warnings}."),
            (errors, warnings) => {
                writeln!(
                    f,
                    "This node cannot take part; errors: {errors}, warnings: {warnings}."
                )
            }
        }
    }
}
