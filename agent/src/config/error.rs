//! What is wrong with a configuration: everything at once, and each with its hint.

use std::fmt;

use crate::cli;

/// Why a text is not a value of its option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}. {hint}")]
pub struct InvalidValue {
    /// What would have been right, as the object of "expected".
    pub expected: String,
    /// What to do, one sentence.
    pub hint: String,
}

impl InvalidValue {
    /// Something else was expected; `hint` says what to do.
    pub(crate) fn new(expected: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            hint: hint.into(),
        }
    }
}

/// One option that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} is {value:?}: {wrong}")]
pub struct OptionError {
    /// Its flag and its variable.
    pub option: String,
    /// Its value, as given or as by default.
    pub value: String,
    /// What is wrong with the value.
    pub wrong: InvalidValue,
}

/// All that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<OptionError>);

impl ConfigErrors {
    /// The problems, in the order of the documentation.
    pub fn problems(&self) -> &[OptionError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has a problem:")?,
            count => write!(f, "the configuration has {count} problems:")?,
        }
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// The problems found so far.
#[derive(Debug, Default)]
pub(super) struct OptionErrors(Vec<OptionError>);

impl OptionErrors {
    /// Reads `text`, the value of option `id`; what is wrong with it is kept.
    pub(super) fn read<T>(
        &mut self,
        id: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        parse(text).map_err(|wrong| self.add(id, text, wrong)).ok()
    }

    /// The same for an option that need not be given: `Some(None)` if it is not.
    pub(super) fn read_if_given<T>(
        &mut self,
        id: &str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
    ) -> Option<Option<T>> {
        match text {
            Some(text) => self.read(id, text, parse).map(Some),
            None => Some(None),
        }
    }

    /// Keeps a problem with option `id`.
    pub(super) fn add(&mut self, id: &str, value: &str, wrong: InvalidValue) {
        self.0.push(OptionError {
            option: cli::option_name(id),
            value: value.to_owned(),
            wrong,
        });
    }

    /// Adds what `part` found, and hands on what it made.
    pub(super) fn merge<T>(&mut self, part: Result<T, ConfigErrors>) -> Option<T> {
        part.map_err(|errors| self.0.extend(errors.0)).ok()
    }

    /// `made` if there was no problem. It is `None` only if there was one.
    pub(super) fn finish<T>(self, made: Option<T>) -> Result<T, ConfigErrors> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(ConfigErrors(self.0)),
        }
    }
}
