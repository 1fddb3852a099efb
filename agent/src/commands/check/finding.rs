//! The findings of a check, as a table for people and as JSON for programs.

use std::fmt::Write;

use serde::Serialize;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Level {
    /// Nothing is wrong.
    Ok,
    /// The node takes part, but with a drawback.
    Warning,
    /// The node cannot take part.
    Error,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The thing that was checked.
    pub subject: String,
    /// The severity.
    pub level: Level,
    /// The result, as one sentence.
    pub detail: String,
    /// The fix; absent if nothing needs to be fixed.
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

/// Returns whether the node can take part in the mesh: none of the findings is an error.
pub fn can_take_part(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level < Level::Error)
}

/// Formats the findings as a table, with each hint below its finding and a conclusion at the end.
pub fn table(findings: &[Finding]) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.subject.len())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for Finding {
        subject,
        level,
        detail,
        hint,
    } in findings
    {
        let _ = writeln!(out, "{level:8} {subject:width$}  {detail}");
        if let Some(hint) = hint {
            let _ = writeln!(out, "{:8} {:width$}  -> {hint}", "", "");
        }
    }
    let count = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let _ = match (count(Level::Error), count(Level::Warning)) {
        (0, 0) => writeln!(out, "This node can take part."),
        (0, warnings) => writeln!(out, "This node can take part; warnings: {warnings}."),
        (errors, warnings) => writeln!(
            out,
            "This node cannot take part; errors: {errors}, warnings: {warnings}."
        ),
    };
    out
}

/// Formats the findings as one JSON document.
///
/// # Errors
/// Never fails in practice, because all values are text.
pub fn json(findings: &[Finding]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Document<'a> {
        findings: &'a [Finding],
    }
    serde_json::to_string_pretty(&Document { findings }).map(|text| text + "\n")
}
