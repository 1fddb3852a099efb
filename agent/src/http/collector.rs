//! Assembles the whole matrix from the rows of the peers.
//!
//! No agent stores the matrix. It is assembled on request, within bounds of time and memory. A
//! failing peer affects only its own row: that row is marked, and the other rows remain valid.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore};

use crate::api::{Matrix, Since};
use crate::http::client::Client;
use crate::http::matrix::{BUDGET, Edition, Node, Packed, Shelf, workshop};
use crate::http::rows;
use crate::memory;
use crate::state::AgentState;

/// The pause between two looks for matrices that nobody reads.
const DROPPED_WITHIN: Duration = Duration::from_secs(5);

/// The matrix is larger than an agent keeps in memory.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "the matrix of {nodes} nodes is larger than an agent assembles: ask each agent for its row, or \
     let Prometheus collect the metrics"
)]
pub struct TooLarge {
    nodes: usize,
}

/// Assembles the matrix for all readers of this agent. It is cheap to clone.
#[derive(Clone)]
pub struct Collector {
    state: AgentState,
    client: Client,
    shelf: Arc<Mutex<Shelf>>,
    workshop: Arc<Semaphore>,
}

impl Collector {
    /// Creates a collector for this agent's view of the mesh.
    pub fn new(state: AgentState, client: Client) -> Self {
        Self {
            state,
            client,
            shelf: Arc::default(),
            workshop: workshop(),
        }
    }

    /// Returns the matrix in the form of the API.
    ///
    /// # Errors
    /// Returns an error if the matrix is too large.
    pub async fn matrix(&self) -> Result<Matrix, TooLarge> {
        let forms = self.edition().await?.forms();
        Ok(forms.map_or_else(Matrix::default, |forms| forms.packed.expand()))
    }

    /// Returns the permits of the threads that write matrices.
    pub(super) fn workshop(&self) -> Arc<Semaphore> {
        self.workshop.clone()
    }

    /// Returns the latest matrix if it is fresh, otherwise a new one. Readers that arrive while a
    /// matrix is being assembled all get that matrix.
    pub(super) async fn edition(&self) -> Result<Arc<Edition>, TooLarge> {
        let mut shelf = self.shelf.clone().lock_owned().await;
        let nodes = self.state.snapshot().members.len() + 1;
        let bytes = Packed::bytes(nodes, self.state.identity().protocols.len());
        if bytes > BUDGET {
            return Err(TooLarge { nodes });
        }
        if let Some(edition) = shelf.latest(bytes) {
            return Ok(edition);
        }
        let this = self.clone();
        // Readers that go away do not end this task. Otherwise they could make this agent ask its
        // peers again and again.
        let collected = tokio::spawn(async move {
            let began = Instant::now();
            let edition = Edition::new(this.collect().await, began.elapsed());
            if shelf.add(edition.clone()) {
                tokio::spawn(drop_unread(Arc::downgrade(&this.shelf)));
            }
            edition
        });
        collected.await.map_err(|_| TooLarge { nodes })
    }

    /// Requests the row of every reachable peer, and assembles the matrix.
    async fn collect(&self) -> Packed {
        let identity = self.state.identity();
        let (members, own_state) = {
            let snapshot = self.state.snapshot();
            (snapshot.members.clone(), snapshot.own_state())
        };
        let not_asked = rows::all_within(members.len() + 1);
        let not_asked = format!("not asked within {not_asked:?}");
        let mut nodes = BTreeMap::new();
        for member in members.iter() {
            let node = Node {
                name: member.name.clone(),
                zone: member.zone.clone(),
                state: member.state,
                iperf3: member.iperf3.clone(),
                row: Err(not_asked.clone()),
            };
            nodes.insert(member.name.clone(), (node, Some(member.clone())));
        }
        let own = Node {
            name: identity.name.clone(),
            zone: identity.zone.clone(),
            state: own_state,
            iperf3: Some(identity.iperf3.clone()),
            row: Ok(Since::now()),
        };
        nodes.insert(identity.name.clone(), (own, None));

        let own = nodes.values().position(|(_, member)| member.is_none());
        let (nodes, asked): (Vec<_>, Vec<_>) = nodes.into_values().unzip();
        let asked = (0..).zip(asked).filter_map(|(at, it)| Some((at, it?)));
        let asked: Vec<_> = asked.collect();
        let names = nodes.iter().map(|node| &node.name);
        let bytes = rows::bytes_max(names, &identity.protocols);
        let mut packed = Packed::new(nodes, identity.protocols.clone());
        rows::request(&asked, &mut packed, &self.client, bytes, &self.workshop).await;
        if let Some(own) = own {
            let row = packed.columns().pack(self.state.row().cells);
            packed.set_row(own, row);
        }
        packed
    }
}

/// Drops matrices when nobody reads them any more, and gives their memory back.
async fn drop_unread(shelf: Weak<Mutex<Shelf>>) {
    loop {
        tokio::time::sleep(DROPPED_WITHIN).await;
        let Some(shelf) = shelf.upgrade() else { return };
        if !shelf.lock().await.drop_unread() {
            // This fails only when the agent ends.
            let _ = tokio::task::spawn_blocking(memory::give_back).await;
            return;
        }
    }
}
