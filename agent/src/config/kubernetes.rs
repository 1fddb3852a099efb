//! The syntax of Kubernetes namespaces and label selectors. This module does not check whether they
//! exist.

use crate::units::InvalidValue;

/// The maximum length of a label name, a label value or a namespace.
const LABEL_LEN_MAX: usize = 63;

/// Reads the name of a namespace (a DNS label, RFC 1123).
pub(super) fn namespace(text: &str) -> Result<String, InvalidValue> {
    let fits = (1..=LABEL_LEN_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if fits {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::new(
        "the name of a namespace: at most 63 lower-case letters, digits and hyphens",
        "`kubectl get namespaces` lists them.",
    ))
}

/// Reads a label selector: requirements separated by commas, such as
/// `app=x,tier!=y,zone in (a,b),!old`.
pub(super) fn label_selector(text: &str) -> Result<String, InvalidValue> {
    if requirements(text).is_some_and(|list| list.iter().all(|part| is_requirement(part.trim()))) {
        return Ok(text.to_owned());
    }
    Err(InvalidValue::new(
        "a label selector such as app=x,tier!=y or zone in (a,b)",
        "Try it with `kubectl get pods --selector`.",
    ))
}

/// Splits a selector at the commas outside of parentheses. Returns `None` if the parentheses do not
/// match.
fn requirements(text: &str) -> Option<Vec<&str>> {
    let mut open = false;
    let mut start = 0;
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '(' | ')' if open == (c == '(') => return None,
            '(' | ')' => open = !open,
            ',' if !open => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!open).then_some(parts)
}

fn is_requirement(text: &str) -> bool {
    if let Some((head, values)) = text.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        let mut words = head.split_whitespace();
        let key = words.next().is_some_and(is_key);
        let operator = matches!(words.next(), Some("in" | "notin"));
        return key
            && operator
            && words.next().is_none()
            && values.split(',').all(|v| is_value(v.trim()));
    }
    if let Some(key) = text.strip_prefix('!') {
        return is_key(key.trim());
    }
    match ["!=", "==", "="]
        .iter()
        .find_map(|operator| text.split_once(operator))
    {
        Some((key, value)) => is_key(key.trim()) && is_value(value.trim()),
        None => is_key(text),
    }
}

fn is_key(text: &str) -> bool {
    let (prefix, name) = text
        .split_once('/')
        .map_or((None, text), |(prefix, name)| (Some(prefix), name));
    !name.is_empty()
        && is_value(name)
        && prefix.is_none_or(|p| p.len() <= 253 && p.split('.').all(is_prefix_part))
}

fn is_prefix_part(text: &str) -> bool {
    namespace(text).is_ok()
}

/// Returns whether `text` is a label value. It may be empty; a label name has the same form, but
/// may not be empty.
fn is_value(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let end = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= LABEL_LEN_MAX
        && text.chars().all(inner)
        && end(text.chars().next())
        && end(text.chars().last())
}
