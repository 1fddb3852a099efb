//! The rows of the peers: requested within bounds, and packed as they arrive.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use crate::api::{Member, NodeState, RowReport, Since};
use crate::http::client::{Client, ClientError, Limits};
use crate::http::matrix::{Columns, Packed, PackedRow};
use crate::http::seal;
use crate::sealing::{Outgoing, Sealing};
use iperf3_mesh_core::seal::AnswerKey;
use iperf3_mesh_core::{NodeName, Protocol};

/// The path of a row.
const PATH: &str = "/api/v1/row";
/// How long to wait for one row.
const ROW_WITHIN: Duration = Duration::from_millis(1500);
/// How long to wait for all rows together, at least, and for each node of a large mesh.
const ALL_ROWS_WITHIN: Duration = Duration::from_secs(3);
const WITHIN_PER_NODE: Duration = Duration::from_millis(8);
/// The bytes of a row without its cells, and of a cell without its name: twice as much as any agent
/// writes.
const ROW_BYTES: usize = 1 << 10;
const CELL_BYTES: usize = 512;
/// The least maximum length of a row. The peer may know many more nodes than this one.
const BYTES_MIN: usize = 256 << 10;
/// The maximum memory for the rows that are being received, and the maximum number of these rows.
const RECEIVING_BYTES: usize = 8 << 20;
const RECEIVING: usize = 32;
const RECEIVING_MIN: usize = 4;

/// A row, or the reason why there is none.
type Outcome = Result<Arrived, String>;

/// A row that has arrived.
struct Arrived {
    row: PackedRow,
    at: Since,
    is_sealed: bool,
}

/// A request for a row.
struct RowRequest {
    url: String,
    /// The sealed request, and the key for its answer.
    seal: Option<(Vec<u8>, AnswerKey)>,
}

/// Returns the time that the rows of `nodes` nodes may take.
pub(super) fn all_within(nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    ALL_ROWS_WITHIN.max(WITHIN_PER_NODE.saturating_mul(nodes))
}

/// Returns the maximum length of a row to these destinations, in bytes.
pub(super) fn bytes_max<'a>(
    names: impl Iterator<Item = &'a NodeName>,
    protocols: &[Protocol],
) -> usize {
    // A name in JSON takes at most twice its length.
    let cells: usize = names.map(|name| CELL_BYTES + 2 * name.as_str().len()).sum();
    BYTES_MIN.max(ROW_BYTES + cells * protocols.len())
}

/// Requests the row of each of `members` in this order, all of them `within` this time, and puts it
/// into `packed`. A member without a row keeps the reason why; one that was not asked in time keeps
/// the reason that it has.
pub(super) async fn request(
    members: &[(usize, Member)],
    packed: &mut Packed,
    (client, sealing): (&Client, &Sealing),
    within: Duration,
    bytes: usize,
    workshop: &Arc<Semaphore>,
) {
    let deadline = Instant::now() + within;
    let columns = Arc::new(packed.columns());
    let limits = Limits {
        within: ROW_WITHIN,
        bytes,
    };
    let at_once = (RECEIVING_BYTES / bytes).clamp(RECEIVING_MIN, RECEIVING);
    let mut waiting = members.iter();
    let mut requests = JoinSet::new();
    loop {
        while requests.len() < at_once
            && let Some((at, member)) = waiting.next()
        {
            let request = match row_request(member, sealing) {
                Ok(request) => request,
                Err(why) => {
                    set(packed, *at, Err(why.to_owned()));
                    continue;
                }
            };
            set(packed, *at, Err(format!("no answer within {within:?}")));
            let (at, name) = (*at, member.name.clone());
            let (client, columns, workshop) = (client.clone(), columns.clone(), workshop.clone());
            requests.spawn(async move {
                let row = row(&client, request, limits, name, columns, &workshop).await;
                (at, row)
            });
        }
        match timeout_at(deadline, requests.join_next()).await {
            Ok(Some(Ok((at, row)))) => {
                if let (Ok(row), Some(node)) = (&row, packed.nodes.get_mut(at)) {
                    node.is_unsealed = !row.is_sealed && !sealing.is_insecure();
                }
                set(packed, at, row);
            }
            // A request that panicked keeps the error that was set above.
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

fn set(packed: &mut Packed, at: usize, outcome: Outcome) {
    let (row, arrived) = match outcome {
        Ok(Arrived { row, at, .. }) => (row, Ok(at)),
        Err(why) => (PackedRow::new(), Err(why)),
    };
    packed.set_row(at, row);
    if let Some(node) = packed.nodes.get_mut(at) {
        node.row = arrived;
    }
}

/// Returns the request for a member's row, or the reason why the row cannot be requested.
fn row_request(member: &Member, sealing: &Sealing) -> Result<RowRequest, &'static str> {
    let http = match (member.state, member.http) {
        (NodeState::Silent, _) => Err("silent"),
        (NodeState::Missing, _) => Err("missing"),
        (NodeState::Incompatible, _) => Err("incompatible version"),
        (_, None) => Err("address unknown"),
        (_, Some(http)) => Ok(http),
    }?;
    let seal = match sealing.seal(member.seal.as_ref(), seal::target(PATH), &[]) {
        Some(Outgoing::Plain) => None,
        Some(Outgoing::Sealed(request, key)) => Some((request, key)),
        None => return Err("no key in common"),
    };
    Ok(RowRequest {
        url: format!("http://{http}{PATH}"),
        seal,
    })
}

async fn row(
    client: &Client,
    request: RowRequest,
    limits: Limits,
    name: NodeName,
    columns: Arc<Columns>,
    workshop: &Semaphore,
) -> Outcome {
    let RowRequest { url, seal } = request;
    let is_sealed = seal.is_some();
    let answer = client.fetch(&url, seal, limits).await;
    let answer = answer.map_err(|error| row_error(&error))?;
    let at = Since::now();
    let _permit = workshop.acquire().await.map_err(|_| "the agent stops")?;
    let read = spawn_blocking(move || match serde_json::from_slice::<RowReport>(&answer) {
        Ok(row) if row.node == name => Ok(columns.pack(row.cells)),
        Ok(_) => Err("another node answered in its place"),
        Err(_) => Err("the answer is not a row"),
    });
    let read = read.await.unwrap_or(Err("the row could not be read"));
    Ok(Arrived {
        row: read?,
        at,
        is_sealed,
    })
}

/// Says why there is no row, in words of this program only. The matrix is open to every reader, and
/// the address of a member may be that of another service, so nothing of its answer may appear.
fn row_error(error: &ClientError) -> String {
    match error {
        ClientError::Timeout(within) => format!("no answer within {within:?}"),
        ClientError::Status(status, _) => format!("answered {}", status.as_u16()),
        ClientError::TooLong(bytes) => format!("answered with more than {bytes} bytes"),
        ClientError::Broken(_) => "the connection broke".to_owned(),
        ClientError::Connect(_, io::ErrorKind::Other) => "no connection".to_owned(),
        ClientError::Connect(_, kind) => format!("no connection: {kind}"),
        ClientError::Answer(_) => "the answer is not a row".to_owned(),
        ClientError::Unsealed => "answered without the seal of its node".to_owned(),
        ClientError::Address(_) => "no request is possible".to_owned(),
    }
}
