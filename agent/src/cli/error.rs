//! Formats the errors of single values in the same form as those of the configuration: `OPTION is
//! "VALUE": expected …. Fix.`

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::units;

/// Rewrites `error` if it is about the value of an option; other errors stay as clap writes them.
pub(super) fn in_house_form(error: clap::Error) -> clap::Error {
    match sentence(&error) {
        Some(sentence) => clap::Error::raw(error.kind(), format!("{sentence}\n")),
        None => error,
    }
}

fn sentence(error: &clap::Error) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // clap names the option together with its value, such as `--nodes <COUNT>`.
    let option = text(ContextKind::InvalidArg)?.split(' ').next()?;
    let value = text(ContextKind::InvalidValue)?;
    let invalid = match error.kind() {
        ErrorKind::ValueValidation => error.source()?.to_string(),
        ErrorKind::InvalidValue => match error.get(ContextKind::ValidValue)? {
            ContextValue::Strings(names) if !names.is_empty() => {
                units::not_one_of(names).to_string()
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(format!("{option} is {value:?}: {invalid}"))
}

/// Attaches values such as `-5s` to the preceding option, so that the option's own check reports
/// them. This is safe because no option of this program begins with a digit.
pub(super) fn with_negative_values(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    for word in words {
        match joined.last_mut() {
            Some(option) if is_flag_without_value(option) && is_negative(&word) => {
                option.push("=");
                option.push(word);
            }
            _ => joined.push(word),
        }
    }
    joined
}

fn is_flag_without_value(word: &OsString) -> bool {
    word.to_str()
        .and_then(|word| word.strip_prefix("--"))
        .is_some_and(|flag| !flag.is_empty() && !flag.contains('='))
}

fn is_negative(word: &OsString) -> bool {
    word.to_str()
        .and_then(|word| word.strip_prefix('-'))
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
}
