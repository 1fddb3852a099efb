//! The whole matrix: asks the peers for their rows and puts them together.
//!
//! Nobody keeps the matrix. It is made when somebody asks, within bounds of time and memory, and
//! one sick peer costs its own row only: the row is marked, and the view stands.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iperf3_mesh_core::{NodeName, Protocol};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::VERSION;
use crate::api::{CellReport, CellResult, Matrix, NodeReport, NodeState, RowReport};
use crate::http::client::{Client, Limits};
use crate::state::row::age;
use crate::state::{AgentState, MemberStatus};

/// What one row may cost: the row of a thousand destinations with long names fits.
const ROW: Limits = Limits {
    within: Duration::from_millis(1500),
    bytes: 2 << 20,
};
/// The longest that all rows together take.
const ALL_ROWS_WITHIN: Duration = Duration::from_secs(3);
/// How many peers are asked at once: bounds the memory that their answers take.
const ASKED_AT_ONCE: usize = 32;
/// A matrix serves everybody who asks within this time, so that many readers cost the peers no more
/// than one.
const FRESH: Duration = Duration::from_secs(1);

/// A row, and when it came.
type Received = (RowReport, Instant);

/// The latest matrix, and when it was made.
type Latest = (Instant, Arc<Matrix>);

/// Makes the matrix for everybody who asks this agent. Cheap to clone.
#[derive(Clone)]
pub struct Collector {
    state: AgentState,
    client: Client,
    latest: Arc<Mutex<Option<Latest>>>,
}

impl Collector {
    /// A collector for this agent's view of the mesh.
    pub fn new(state: AgentState, client: Client) -> Self {
        Self {
            state,
            client,
            latest: Arc::default(),
        }
    }

    /// The matrix: the latest one if it is fresh, else a new one. Takes 3 s at most; whoever comes
    /// while it is in the making gets the same one.
    pub async fn matrix(&self) -> Arc<Matrix> {
        let mut latest = self.latest.lock().await;
        if let Some((at, matrix)) = latest.as_ref()
            && at.elapsed() < FRESH
        {
            return matrix.clone();
        }
        let matrix = Arc::new(collect(&self.state, &self.client).await);
        *latest = Some((Instant::now(), matrix.clone()));
        matrix
    }
}

/// Asks every peer that can be asked, at most 1.5 s each and 3 s in all, and puts the matrix
/// together.
async fn collect(state: &AgentState, client: &Client) -> Matrix {
    let (members, name_taken) = state.members();
    let mut rows = ask(&members, client).await;
    let identity = state.identity();
    rows.insert(identity.name.clone(), Ok((state.row(), Instant::now())));

    let own_state = if name_taken {
        NodeState::Conflict
    } else {
        NodeState::Live
    };
    let mut nodes = BTreeMap::from([(&identity.name, (&identity.zone, own_state))]);
    nodes.extend(
        members
            .iter()
            .map(|member| (&member.name, (&member.zone, member.state))),
    );

    let now = Instant::now();
    let report = |(name, (zone, state)): (&&NodeName, &(&String, NodeState))| {
        let row = rows.get(*name);
        NodeReport {
            name: (*name).clone(),
            zone: (*zone).clone(),
            state: state.as_str().to_owned(),
            row_age_seconds: row
                .and_then(|row| row.as_ref().ok())
                .map(|(_, at)| age(*at, now)),
            row_error: match row {
                Some(Ok(_)) => None,
                Some(Err(error)) => Some(error.clone()),
                None => Some(format!("not asked within {ALL_ROWS_WITHIN:?}")),
            },
        }
    };
    let nodes: Vec<_> = nodes.iter().map(report).collect();
    let rows = rows.into_values().flatten().map(|(row, _)| row);
    Matrix {
        version: VERSION.to_owned(),
        cells: cells(&nodes, &identity.protocols, rows),
        nodes,
        sweep: None,
    }
}

/// The rows of `members`, or why there is none. Whoever could not be asked in time is not in the
/// answer.
async fn ask(
    members: &[MemberStatus],
    client: &Client,
) -> HashMap<NodeName, Result<Received, String>> {
    let deadline = tokio::time::Instant::now() + ALL_ROWS_WITHIN;
    let mut rows = HashMap::with_capacity(members.len() + 1);
    let mut waiting = Vec::new();
    for member in members.iter().rev() {
        match askable(member) {
            Ok(url) => waiting.push((member.name.clone(), url)),
            Err(why) => drop(rows.insert(member.name.clone(), Err(why.to_owned()))),
        }
    }
    let mut asked = JoinSet::new();
    loop {
        while asked.len() < ASKED_AT_ONCE
            && let Some((name, url)) = waiting.pop()
        {
            rows.insert(
                name.clone(),
                Err(format!("no answer within {ALL_ROWS_WITHIN:?}")),
            );
            asked.spawn(ask_one(client.clone(), name, url));
        }
        match timeout_at(deadline, asked.join_next()).await {
            Ok(Some(Ok((name, row)))) => drop(rows.insert(name, row)),
            // A request that panicked has left its mark above.
            Ok(Some(Err(_))) => {}
            Ok(None) | Err(_) => return rows,
        }
    }
}

/// Where `member` can be asked for its row, or why it cannot.
fn askable(member: &MemberStatus) -> Result<String, &'static str> {
    match (member.state, member.http) {
        (NodeState::Silent, _) => Err("silent"),
        (NodeState::Missing, _) => Err("missing"),
        (NodeState::Incompatible, _) => Err("incompatible version"),
        (_, None) => Err("address unknown"),
        (_, Some(http)) => Ok(format!("http://{http}/api/v1/row")),
    }
}

async fn ask_one(
    client: Client,
    name: NodeName,
    url: String,
) -> (NodeName, Result<Received, String>) {
    let row = match client.get::<RowReport>(&url, ROW).await {
        Ok(row) if row.node == name => Ok((row, Instant::now())),
        Ok(row) => Err(format!("the node {} answered in its place", row.node)),
        Err(error) => Err(error.to_string()),
    };
    (name, row)
}

/// Every ordered pair × protocol. What no row tells is a cell without a result; what a row tells of
/// nodes that are not in the mesh is left out.
fn cells(
    nodes: &[NodeReport],
    protocols: &[Protocol],
    rows: impl Iterator<Item = RowReport>,
) -> Vec<CellReport> {
    let mut results: HashMap<(NodeName, NodeName, Protocol), CellResult> = HashMap::new();
    for row in rows {
        for cell in row.cells {
            let key = (row.node.clone(), cell.destination_node, cell.protocol);
            results.insert(key, cell.result);
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
