//! Output of results to stdout.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Prints `text` to stdout. It is not an error if the reader has closed the pipe.
///
/// # Errors
/// Returns an error if stdout cannot be written to for another reason.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}
