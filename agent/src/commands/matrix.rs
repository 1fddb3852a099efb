//! The `matrix` command: asks one agent for the whole matrix.

use std::process::ExitCode;
use std::time::Duration;

use iperf3_mesh_core::Protocol;

use super::output::print;
use crate::api::Matrix;
use crate::cli::{MatrixArgs, MatrixFormat, Protocols};
use crate::http::client::{Client, ClientError, Limits};
use crate::render::heatmap::{self, Screen};
use crate::render::table;

/// The port of the read API, where an address names none.
const DEFAULT_PORT: u16 = 9876;
/// The longest matrix that [`fetch`] takes: that of some 600 nodes.
const MATRIX_BYTES: usize = 256 << 20;

/// Prints the matrix of the agent at `args.address`.
///
/// # Errors
/// If the agent gives no matrix, or stdout cannot be written to.
pub(crate) async fn run(args: MatrixArgs) -> anyhow::Result<ExitCode> {
    let mut matrix = fetch(&args.address, DEFAULT_PORT, args.timeout).await?;
    match args.protocol {
        Protocols::Tcp => matrix.cells.retain(|cell| cell.protocol == Protocol::Tcp),
        Protocols::Udp => matrix.cells.retain(|cell| cell.protocol == Protocol::Udp),
        Protocols::Both => {}
    }
    print(&rendered(&matrix, args.output)?)?;
    Ok(ExitCode::SUCCESS)
}

fn rendered(matrix: &Matrix, format: MatrixFormat) -> anyhow::Result<String> {
    Ok(match format {
        MatrixFormat::Heatmap => heatmap::render(matrix, Screen::of_stdout()),
        MatrixFormat::Table => table::table(matrix),
        MatrixFormat::Json => table::json(matrix)?,
        MatrixFormat::Csv => table::csv(matrix),
    })
}

/// Why an agent could not be asked for the matrix.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot get the matrix from {address}: {cause}; name an agent's host and the port of its read API, \
     such as node-a:{default_port}"
)]
pub struct FetchError {
    address: String,
    default_port: u16,
    cause: ClientError,
}

/// Asks the agent at `address` (`HOST`, `HOST:PORT` or `http://HOST:PORT`) for the whole matrix.
///
/// # Errors
/// If the address is none, or there is no good answer within the time; the text says how to hint
/// it.
pub async fn fetch(
    address: &str,
    default_port: u16,
    within: Duration,
) -> Result<Matrix, FetchError> {
    let url = format!("http://{}/api/v1/matrix", with_port(address, default_port));
    let limits = Limits {
        within,
        bytes: MATRIX_BYTES,
    };
    Client::default()
        .get(&url, limits)
        .await
        .map_err(|cause| FetchError {
            address: address.to_owned(),
            default_port,
            cause,
        })
}

/// `address` without a scheme and with a port.
fn with_port(address: &str, default_port: u16) -> String {
    let host = address
        .strip_prefix("http://")
        .unwrap_or(address)
        .trim_end_matches('/');
    if let Ok(bare) = host.parse::<std::net::Ipv6Addr>() {
        return format!("[{bare}]:{default_port}");
    }
    // Within brackets the colons belong to the address.
    let after_address = host.rfind(']').map_or(host, |bracket| &host[bracket..]);
    if after_address.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{default_port}")
    }
}

#[cfg(test)]
mod tests {
    use super::with_port;

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
            assert_eq!(with_port(given, 9876), asked, "{given}");
        }
    }
}
