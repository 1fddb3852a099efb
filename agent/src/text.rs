//! Makes text from outside safe for a log line, a message or a terminal.

use std::error::Error;

/// The maximum length of the name of a node in a log line, in characters.
const NAME_MAX: usize = 64;

/// The mark at the place where an excerpt leaves something out.
const GAP: char = '…';

/// Returns at most `most` characters of `text` on one line, without anything that a terminal would
/// interpret: printable ASCII, letters and digits of any script, and the usual quotation marks and
/// dashes. All other characters become blanks, also those that are invisible or change the
/// direction of the text around them. A longer text loses its middle: messages often begin with
/// the subject and end with the cause.
pub(crate) fn excerpt(text: &str, most: usize) -> String {
    let text = text.trim();
    let count = text.chars().count();
    let clean = |c: char| if is_shown(c) { c } else { ' ' };
    if count <= most {
        return text.chars().map(clean).collect();
    }
    let tail = most / 2;
    let head = most.saturating_sub(tail + 1);
    let end = text.chars().skip(count - tail);
    text.chars()
        .take(head)
        .chain([GAP])
        .chain(end)
        .map(clean)
        .collect()
}

fn is_shown(c: char) -> bool {
    matches!(c, ' '..='~' | '‘' | '’' | '“' | '”' | '–' | '—' | GAP)
        || (!c.is_ascii() && c.is_alphanumeric())
}

/// Returns the name of a node for a log line: at most [`NAME_MAX`] characters.
pub(crate) fn short(name: &str) -> String {
    excerpt(name, NAME_MAX)
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
    fn an_excerpt_has_no_control_characters() {
        assert_eq!(
            excerpt(" one\ntwo\x1b[31m three ", 99),
            "one two [31m three"
        );
        assert_eq!(excerpt("äöü", 3), "äöü");
    }

    #[test]
    fn an_excerpt_has_nothing_invisible_and_no_change_of_direction() {
        for c in "\u{ad}\u{61c}\u{200b}\u{200d}\u{202e}\u{2066}\u{feff}\u{e0041}\u{9b}".chars() {
            assert_eq!(excerpt(&format!("a{c}b"), 99), "a b", "{c:?}");
        }
        assert_eq!(excerpt("‘a’ – “b”", 99), "‘a’ – “b”");
    }

    #[test]
    fn a_long_name_is_cut_for_the_log() {
        let name = format!("node-{}.example", "x".repeat(200));
        let cut = short(&name);
        assert_eq!(cut.chars().count(), 64);
        assert!(
            cut.starts_with("node-x") && cut.ends_with(".example"),
            "{cut}"
        );
        assert_eq!(short("node-1"), "node-1");
    }

    #[test]
    fn a_long_excerpt_keeps_the_beginning_and_the_end() {
        let message = format!("iperf3: {}: no such file", "x".repeat(900));
        let short = excerpt(&message, 40);
        assert_eq!(short.chars().count(), 40);
        assert!(short.starts_with("iperf3: xx"), "{short}");
        assert!(short.ends_with("x: no such file"), "{short}");
        assert_eq!(excerpt("äöüß", 3), "ä…ß");
    }

    #[test]
    fn the_root_cause_is_the_innermost_error() {
        let error = anyhow::anyhow!("inner").context("middle").context("outer");
        assert_eq!(root_cause(error.as_ref()), "inner");
    }
}
