//! An HTTP GET from the namespace of the calling thread, and the lines of `/metrics`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Returns the body of `http://to/path`.
///
/// # Errors
/// If there is no answer within some seconds, or its status is not 200.
pub fn get(to: SocketAddr, path: &str) -> io::Result<String> {
    match ask(to, path)? {
        (200, body) => Ok(body),
        (status, body) => Err(io::Error::other(format!(
            "{path} answered {status}: {body:.300}"
        ))),
    }
}

/// Returns the status and the body of `http://to/path`.
///
/// # Errors
/// If there is no answer within some seconds, or it is not HTTP.
pub fn ask(to: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    const LIMIT: Duration = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    // HTTP/1.0 has no chunks, and the answer ends when the connection ends.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {to}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let bad = || io::Error::other(format!("{path} answered {:?}", answer.lines().next()));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(bad)?;
    Ok((status, body.to_owned()))
}

/// One line of `/metrics`.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The name of the metric.
    pub name: String,
    /// The labels of the series.
    pub labels: BTreeMap<String, String>,
    /// The value of the series.
    pub value: f64,
}

impl Series {
    /// Returns whether the series has this label with this value.
    pub fn has(&self, label: &str, value: &str) -> bool {
        self.labels.get(label).is_some_and(|found| found == value)
    }
}

/// Returns the series in an answer of `/metrics`. Label values must have neither commas nor quotes.
/// The names of the tests' nodes have none.
pub fn series(metrics: &str) -> Vec<Series> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(one_series).collect()
}

fn one_series(line: &str) -> Option<Series> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = head.split_once('{').unwrap_or((head, "}"));
    let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| {
        let (label, value) = pair.split_once('=')?;
        Some((label.to_owned(), value.trim_matches('"').to_owned()))
    });
    Some(Series {
        name: name.to_owned(),
        labels: pairs.collect(),
        value: value.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_have_names_labels_and_values() {
        let text =
            "# HELP a b\n# TYPE a gauge\na{source_node=\"n1\",protocol=\"tcp\"} 95.6\nup 1\n";
        let found = series(text);
        assert_eq!(found.len(), 2);
        assert!(found[0].has("source_node", "n1") && found[0].has("protocol", "tcp"));
        assert_eq!(
            (found[0].value, found[1].name.as_str(), found[1].value),
            (95.6, "up", 1.0)
        );
    }
}
