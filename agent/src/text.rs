//! Makes text from outside safe for a log line, a message or a terminal.

use std::error::Error;

/// Returns the first `most` characters of `text` on one line, without anything that a terminal
/// would interpret.
pub(crate) fn excerpt(text: &str, most: usize) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most)
        .collect()
}

/// Returns the text of the innermost cause. The outer errors only say that something failed.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_has_no_control_characters() {
        assert_eq!(excerpt(" one\ntwo\x1b[31m three ", 12), "one two [31m");
        assert_eq!(excerpt("äöü", 2), "äö");
    }

    #[test]
    fn the_root_cause_is_the_innermost_error() {
        let error = anyhow::anyhow!("inner").context("middle").context("outer");
        assert_eq!(root_cause(error.as_ref()), "inner");
    }
}
