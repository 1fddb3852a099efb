//! Reads the JSON document in the output of iperf3, also if some of its values are not JSON.

use serde_json::{Deserializer, Value};

/// The characters between values.
const STRUCTURE: [char; 6] = ['{', '}', '[', ']', ':', ','];

/// Returns the first JSON document in the output. Warnings may precede it. Values that are not JSON
/// are null.
///
/// # Errors
/// Returns the reason why there is no document.
pub(super) fn document(stdout: &[u8]) -> Result<Value, String> {
    let start = (0..stdout.len())
        .find(|&at| stdout[at] == b'{' && (at == 0 || stdout[at - 1] == b'\n'))
        .ok_or("no report was written")?;
    let text = String::from_utf8_lossy(&stdout[start..]);
    first_value(&text)
        .or_else(|_| first_value(&without_foreign_values(&text)))
        .map_err(|error| format!("the report is not complete JSON: {error}"))
}

fn first_value(text: &str) -> serde_json::Result<Value> {
    let mut values = Deserializer::from_str(text).into_iter();
    values.next().unwrap_or(Ok(Value::Null))
}

/// Replaces each value that is not JSON by null: `-nan` and `inf`, which C prints for a division by
/// zero, and numbers that no double can hold or that were written in the way of another language.
fn without_foreign_values(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            _ if STRUCTURE.contains(&first) || first.is_whitespace() => first.len_utf8(),
            _ => value_length(rest),
        };
        let (token, after) = rest.split_at(length);
        let is_space = token.trim().is_empty() || STRUCTURE.contains(&first);
        if is_space || serde_json::from_str::<Value>(token).is_ok() {
            result.push_str(token);
        } else {
            result.push_str("null");
        }
        rest = after;
    }
    result
}

/// Returns the length of the string at the beginning of `text`, with its quotation marks.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, character)| {
        let ends = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// Returns the length of the value at the beginning of `text`, which is no string. A comma with a
/// digit behind it belongs to the value: iperf3 writes a blank between two values.
fn value_length(text: &str) -> usize {
    let end = text.char_indices().find(|&(at, character)| {
        let is_in_number = text[at..].starts_with(',')
            && text[at + 1..].starts_with(|next: char| next.is_ascii_digit());
        character == '"' || (STRUCTURE.contains(&character) && !is_in_number)
    });
    let length = end.map_or(text.len(), |(at, _)| at);
    text[..length].trim_end().len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn value_that_is_not_json_is_null() {
        for foreign in [
            "nan", "-nan", "inf", "-inf", "Infinity", "1e400", "5.9e 06", "0,017", "017",
        ] {
            let text = format!("{{\n\t\"a\":\t{foreign},\n\t\"b\":\t[{foreign}, 2]\n}}\n");
            let expected = json!({"a": null, "b": [null, 2]});
            assert_eq!(document(text.as_bytes()), Ok(expected), "{foreign}");
        }
    }

    #[test]
    fn strings_are_kept_although_a_value_is_not_json() {
        let text = br#"{"a\": nan,": "x \\", "b": "inf, {nan}", "c": nan}"#;
        let expected = json!({"a\": nan,": "x \\", "b": "inf, {nan}", "c": null});
        assert_eq!(document(text), Ok(expected));
    }

    #[test]
    fn report_that_breaks_off_is_no_document() {
        for text in ["", "{", "{\"a\": 1", "{\"a\": nan", "{\"a"] {
            assert!(document(text.as_bytes()).is_err(), "{text}");
        }
    }
}
