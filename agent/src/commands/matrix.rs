//! The `matrix` command: requests the whole matrix from one agent.

use std::net::Ipv6Addr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use iperf3_mesh_core::Protocol;

use super::output::print;
use crate::api::Matrix;
use crate::cli::{ColorChoice, MatrixArgs, MatrixFormat, Protocols};
use crate::http::client::{ClientError, Limits};
use crate::http::reader::Reader;
use crate::keys;
use crate::render::heatmap::{self, Screen};
use crate::render::table;

/// The port of the read API if the address has no port.
const DEFAULT_PORT: u16 = 9876;
/// The path of the matrix.
const PATH: &str = "/api/v1/matrix";
/// The maximum size of a matrix that [`fetch`] accepts. It is the size of a matrix of about 600
/// nodes.
const MATRIX_BYTES: usize = 256 << 20;

/// Prints the matrix of the agent at `args.address`.
///
/// # Errors
/// Returns an error if the agent returns no matrix, or if stdout cannot be written to.
pub(crate) async fn run(args: MatrixArgs) -> anyhow::Result<ExitCode> {
    let reader = match &args.key_file {
        None => Reader::default(),
        Some(path) => {
            let keyring = keys::read_any(path).map_err(|it| anyhow!("{it}. {}", it.hint()))?;
            Reader::with_keys(args.mesh, keyring)
        }
    };
    let mut matrix = fetch(&args.address, DEFAULT_PORT, args.timeout, &reader).await?;
    match args.protocol {
        Protocols::Tcp => matrix.cells.retain(|cell| cell.protocol == Protocol::Tcp),
        Protocols::Udp => matrix.cells.retain(|cell| cell.protocol == Protocol::Udp),
        Protocols::Both => {}
    }
    print(&rendered(&matrix, args.output, args.color.color)?)?;
    Ok(ExitCode::SUCCESS)
}

fn rendered(matrix: &Matrix, format: MatrixFormat, color: ColorChoice) -> anyhow::Result<String> {
    Ok(match format {
        MatrixFormat::Heatmap => heatmap::render(matrix, Screen::of_stdout(color)),
        MatrixFormat::Table => table::table(matrix),
        MatrixFormat::Json => table::json(matrix)?,
        MatrixFormat::Csv => table::csv(matrix),
    })
}

/// The reason why there is no matrix.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address cannot be an address of the read API.
    #[error("ADDRESS is {address:?}: expected {expected}. {hint}")]
    Address {
        /// The address as the user gave it.
        address: String,
        /// A valid address, as the object of "expected".
        expected: &'static str,
        /// The fix, as one sentence.
        hint: &'static str,
    },
    /// The agent gave no valid answer.
    #[error("cannot get the matrix from {authority}: {cause}. {}", cause.hint())]
    NoAnswer {
        /// The host and port that were queried.
        authority: String,
        /// The reason why there is no valid answer.
        cause: ClientError,
    },
}

/// Requests the whole matrix from the agent at `address` (`HOST`, `HOST:PORT` or
/// `http://HOST:PORT`).
///
/// # Errors
/// Returns an error if `address` has another form, or if there is no valid answer in time. The
/// message says how to fix it.
pub async fn fetch(
    address: &str,
    default_port: u16,
    within: Duration,
    reader: &Reader,
) -> Result<Matrix, FetchError> {
    let authority = authority(address, default_port)?;
    let limits = Limits {
        within,
        bytes: MATRIX_BYTES,
    };
    let matrix = reader.get(&authority, PATH, limits).await;
    matrix.map_err(|cause| FetchError::NoAnswer { authority, cause })
}

/// Returns the host and port of `address`.
fn authority(address: &str, default_port: u16) -> Result<String, FetchError> {
    let invalid = |expected, hint| FetchError::Address {
        address: address.to_owned(),
        expected,
        hint,
    };
    let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(invalid(
            "a plain HTTP address",
            "The read API has no TLS: write http://HOST:PORT, or HOST:PORT.",
        ));
    }
    let host = rest.trim_end_matches('/');
    if host.is_empty() || host.contains('/') {
        return Err(invalid(
            "HOST, HOST:PORT or http://HOST:PORT",
            "Name an agent, without a path.",
        ));
    }
    if let Ok(bare) = host.parse::<Ipv6Addr>() {
        return Ok(format!("[{bare}]:{default_port}"));
    }
    // Colons inside brackets belong to the address.
    let after_address = host.rfind(']').map_or(host, |bracket| &host[bracket..]);
    Ok(if after_address.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{default_port}")
    })
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn an_address_may_leave_out_its_port() {
        for (given, asked) in [
            ("node-a", "node-a:9876"),
            ("node-a:80", "node-a:80"),
            ("http://node-a:80/", "node-a:80"),
            ("10.0.0.1", "10.0.0.1:9876"),
            ("::1", "[::1]:9876"),
            ("[::1]", "[::1]:9876"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(authority(given, 9876).expect(given), asked);
        }
    }

    #[test]
    fn an_https_address_is_refused_because_the_api_has_no_tls() {
        let error = authority("https://node-a", 9876).expect_err("https is not spoken");
        assert_eq!(
            error.to_string(),
            "ADDRESS is \"https://node-a\": expected a plain HTTP address. The read API has no TLS: \
             write http://HOST:PORT, or HOST:PORT."
        );
    }

    #[test]
    fn an_address_without_a_host_or_with_a_path_is_refused() {
        for address in ["", "http://", "node-a:9876/metrics", "http://node-a/api/v1"] {
            assert!(authority(address, 9876).is_err(), "{address}");
        }
    }
}
