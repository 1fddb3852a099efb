//! The errors of a configuration. All of them are reported at once, each with its hint.

use std::fmt;

use crate::cli;
use crate::units::InvalidValue;

/// An option with an unusable value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError {
    /// The name of the option's field in [`crate::cli`].
    pub id: &'static str,
    /// The value, as given or by default.
    pub value: String,
    /// The reason why the value cannot be used.
    pub error: InvalidValue,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, value, error } = self;
        write!(f, "{} is {value:?}: {error}", cli::option_name(id))
    }
}

impl std::error::Error for OptionError {}

/// All errors of a configuration. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<OptionError>);

impl ConfigErrors {
    /// Returns the errors, in the order of the documentation.
    pub fn errors(&self) -> &[OptionError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("the configuration has an error:")?,
            count => write!(f, "the configuration has {count} errors:")?,
        }
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects the errors of a configuration while its options are read.
#[derive(Debug, Default)]
pub(super) struct OptionErrors(Vec<OptionError>);

impl OptionErrors {
    /// Reads `text`, the value of option `id`, without the blanks and line ends around it, which
    /// editors and block scalars of YAML add. If that fails, records the error.
    pub(super) fn read<T>(
        &mut self,
        id: &'static str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
    ) -> Option<T> {
        let bare = text.trim();
        let value = match foreign(bare) {
            Some(error) => Err(error),
            None => parse(bare),
        };
        value.map_err(|error| self.add(id, text, error)).ok()
    }

    /// Reads the value of an option that may be left out. Returns `Some(None)` if it is left out.
    pub(super) fn read_if_given<T>(
        &mut self,
        id: &'static str,
        text: Option<&str>,
        parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
    ) -> Option<Option<T>> {
        match text {
            Some(text) => self.read(id, text, parse).map(Some),
            None => Some(None),
        }
    }

    /// Records an error of option `id`.
    pub(super) fn add(&mut self, id: &'static str, value: &str, error: InvalidValue) {
        self.0.push(OptionError {
            id,
            value: value.to_owned(),
            error,
        });
    }

    /// Returns the value of `part`, or records its errors.
    pub(super) fn merge<T>(&mut self, part: Result<T, ConfigErrors>) -> Option<T> {
        part.map_err(|errors| self.0.extend(errors.0)).ok()
    }

    /// Returns `made` if there was no error. `made` may be `None` only if there was one.
    pub(super) fn finish<T>(self, made: Option<T>) -> Result<T, ConfigErrors> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => Err(ConfigErrors(self.0)),
        }
    }
}

/// Returns the error for a value that another program has put in another form than its author
/// meant.
fn foreign(text: &str) -> Option<InvalidValue> {
    let is_quoted = |quote: char| {
        let inner = text.strip_prefix(quote);
        inner.is_some_and(|rest| rest.ends_with(quote))
    };
    if is_quoted('"') || is_quoted('\'') {
        return Some(InvalidValue::new(
            "a value without quotation marks",
            "Remove them: `docker --env-file`, for example, makes them part of the value.",
        ));
    }
    (text.starts_with("tcp://") || text.starts_with("udp://")).then(|| {
        InvalidValue::new(
            "a value of this program",
            "This one comes from Kubernetes, for a Service of that name: set enableServiceLinks: \
             false in the pod, or set the variable yourself.",
        )
    })
}
