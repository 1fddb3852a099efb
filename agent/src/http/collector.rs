//! Assembles the whole matrix from the rows of the peers.
//!
//! No agent stores the matrix. It is assembled on request, within bounds of time and memory. A
//! failing peer affects only its own row: that row is marked, and the other rows remain valid.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iperf3_mesh_core::{NodeName, Protocol};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::VERSION;
use crate::api::{CellReport, CellResult, Matrix, Member, NodeReport, NodeState, RowReport, Since};
use crate::http::client::{Client, Limits};
use crate::state::AgentState;

/// The bounds for one row. A row of a thousand destinations with long names fits.
const ROW: Limits = Limits {
    within: Duration::from_millis(1500),
    bytes: 2 << 20,
};
/// How long to wait for all rows together.
const ALL_ROWS_WITHIN: Duration = Duration::from_secs(3);
/// The maximum number of peers that are queried at once. It bounds the memory for their answers.
const CONCURRENT_REQUESTS: usize = 32;
/// How long a matrix is reused for further requests, so that many readers cause no more requests to
/// the peers than a single reader.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// A row, and the time at which it arrived.
type Received = (RowReport, Since);

/// The zone, the state and the iperf3 version of a node.
type Described<'a> = (&'a String, NodeState, Option<&'a String>);

/// The latest matrix, and the time at which it was assembled.
type Latest = (Instant, Arc<Matrix>);

/// Assembles the matrix for all readers of this agent. It is cheap to clone.
#[derive(Clone)]
pub struct Collector {
    state: AgentState,
    client: Client,
    latest: Arc<Mutex<Option<Latest>>>,
}

impl Collector {
    /// Creates a collector for this agent's view of the mesh.
    pub fn new(state: AgentState, client: Client) -> Self {
        Self {
            state,
            client,
            latest: Arc::default(),
        }
    }

    /// Returns the latest matrix if it is fresh, otherwise a new one. This takes at most 3 s.
    /// Readers that arrive while a matrix is being assembled all get that matrix.
    pub async fn matrix(&self) -> Arc<Matrix> {
        let mut latest = self.latest.lock().await;
        if let Some((at, matrix)) = latest.as_ref()
            && at.elapsed() < FRESH_FOR
        {
            return matrix.clone();
        }
        let matrix = Arc::new(collect(&self.state, &self.client).await);
        *latest = Some((Instant::now(), matrix.clone()));
        matrix
    }
}

/// Queries every reachable peer, for at most 1.5 s each and 3 s in all, and assembles the matrix.
async fn collect(state: &AgentState, client: &Client) -> Matrix {
    let identity = state.identity();
    let (members, own_state) = {
        let snapshot = state.snapshot();
        (snapshot.members.clone(), snapshot.own_state())
    };
    let mut rows = request_rows(&members, client).await;
    rows.insert(identity.name.clone(), Ok((state.row(), Since::now())));

    let own = (&identity.zone, own_state, Some(&identity.iperf3));
    let nodes = nodes(&members, &rows, (&identity.name, own));
    let rows = rows.into_values().flatten().map(|(row, _)| row);
    Matrix {
        version: VERSION.to_owned(),
        cells: cells(&nodes, &identity.protocols, rows),
        nodes,
        sweep: None,
    }
}

/// Returns this node and the members, sorted by name, with the state of their rows.
fn nodes(
    members: &[Member],
    rows: &HashMap<NodeName, Result<Received, String>>,
    own: (&NodeName, Described),
) -> Vec<NodeReport> {
    let nodes: BTreeMap<_, _> = members
        .iter()
        .map(|member| {
            let described = (&member.zone, member.state, member.iperf3.as_ref());
            (&member.name, described)
        })
        .chain([own])
        .collect();
    nodes
        .into_iter()
        .map(|(name, (zone, state, iperf3))| {
            let row = rows.get(name);
            NodeReport {
                name: name.clone(),
                zone: zone.clone(),
                state,
                row_age_seconds: row
                    .and_then(|row| row.as_ref().ok())
                    .map(|(_, received)| received.seconds()),
                row_error: match row {
                    Some(Ok(_)) => None,
                    Some(Err(error)) => Some(error.clone()),
                    None => Some(format!("not asked within {ALL_ROWS_WITHIN:?}")),
                },
                iperf3: iperf3.cloned(),
            }
        })
        .collect()
}

/// Requests the row of each member. The result contains the row or the reason why there is none;
/// members that could not be queried in time are left out.
async fn request_rows(
    members: &[Member],
    client: &Client,
) -> HashMap<NodeName, Result<Received, String>> {
    let deadline = tokio::time::Instant::now() + ALL_ROWS_WITHIN;
    let mut rows = HashMap::with_capacity(members.len() + 1);
    let mut waiting = Vec::new();
    for member in members.iter().rev() {
        match row_url(member) {
            Ok(url) => waiting.push((member.name.clone(), url)),
            Err(why) => drop(rows.insert(member.name.clone(), Err(why.to_owned()))),
        }
    }
    let mut requests = JoinSet::new();
    loop {
        while requests.len() < CONCURRENT_REQUESTS
            && let Some((name, url)) = waiting.pop()
        {
            rows.insert(
                name.clone(),
                Err(format!("no answer within {ALL_ROWS_WITHIN:?}")),
            );
            requests.spawn(request_row(client.clone(), name, url));
        }
        match timeout_at(deadline, requests.join_next()).await {
            Ok(Some(Ok((name, row)))) => drop(rows.insert(name, row)),
            // A request that panicked keeps the error that was set above.
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => return rows,
        }
    }
}

/// Returns the URL of a member's row, or the reason why the row cannot be requested.
fn row_url(member: &Member) -> Result<String, &'static str> {
    match (member.state, member.http) {
        (NodeState::Silent, _) => Err("silent"),
        (NodeState::Missing, _) => Err("missing"),
        (NodeState::Incompatible, _) => Err("incompatible version"),
        (_, None) => Err("address unknown"),
        (_, Some(http)) => Ok(format!("http://{http}/api/v1/row")),
    }
}

async fn request_row(
    client: Client,
    name: NodeName,
    url: String,
) -> (NodeName, Result<Received, String>) {
    let row = match client.get::<RowReport>(&url, ROW).await {
        Ok(row) if row.node == name => Ok((row, Since::now())),
        Ok(row) => Err(format!("the node {} answered in its place", row.node)),
        Err(error) => Err(error.to_string()),
    };
    (name, row)
}

/// Returns one cell for every combination of an ordered pair and a protocol. A cell that is in no
/// row has no result; a cell with a node outside the mesh is left out.
fn cells(
    nodes: &[NodeReport],
    protocols: &[Protocol],
    rows: impl Iterator<Item = RowReport>,
) -> Vec<CellReport> {
    let mut results: HashMap<(NodeName, NodeName, Protocol), CellResult> = HashMap::new();
    for row in rows {
        for cell in row.cells {
            let key = (row.node.clone(), cell.destination_node, cell.protocol);
            results.insert(key, cell.result.plausible());
        }
    }
    let mut protocols = protocols.to_vec();
    protocols.sort_unstable();
    let mut cells = Vec::with_capacity(nodes.len() * nodes.len() * protocols.len());
    for source in nodes {
        for destination in nodes
            .iter()
            .filter(|destination| destination.name != source.name)
        {
            for protocol in &protocols {
                let key = (source.name.clone(), destination.name.clone(), *protocol);
                let result = results.remove(&key).unwrap_or_default();
                let (source_node, destination_node, protocol) = key;
                cells.push(CellReport {
                    source_node,
                    destination_node,
                    protocol,
                    result,
                });
            }
        }
    }
    cells
}
