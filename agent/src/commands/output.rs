//! Output of results to stdout.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Prints to stdout. A reader that has closed the pipe is no error.
///
/// # Errors
/// If stdout cannot be written to for another reason.
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
