//! Assembles the whole matrix from the rows of the peers.
//!
//! No agent stores the matrix. It is assembled on request, within bounds of time and memory. A
//! failing peer affects only its own row: that row is marked, and the other rows remain valid.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore};

use crate::api::{Matrix, Member, Since};
use crate::http::client::Client;
use crate::http::matrix::{BUDGET, Edition, Forms, Node, Packed, Shelf, workshop};
use crate::http::rows;
use crate::memory;
use crate::state::AgentState;

/// The pause between two looks for matrices that nobody reads.
const DROPPED_WITHIN: Duration = Duration::from_secs(5);

/// The reason why there is no matrix.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The matrix is larger than an agent keeps in memory.
    #[error(
        "the matrix of {0} nodes is larger than an agent assembles: ask each agent for its row, or \
         let Prometheus collect the metrics"
    )]
    TooLarge(usize),
    /// A fault of this program.
    #[error("the matrix could not be collected, because of a fault of this program")]
    Fault,
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
    /// Returns an error if the matrix is too large, or because of a fault of this program.
    pub async fn matrix(&self) -> Result<Matrix, CollectError> {
        let forms = self.edition().await?.forms();
        Ok(forms.map_or_else(Matrix::default, |forms| forms.packed.expand()))
    }

    /// Returns the permits of the threads that write matrices.
    pub(super) fn workshop(&self) -> Arc<Semaphore> {
        self.workshop.clone()
    }

    /// Returns the latest matrix if it is fresh, otherwise a new one. Readers that arrive while a
    /// matrix is being assembled all get that matrix.
    pub(super) async fn edition(&self) -> Result<Arc<Edition>, CollectError> {
        let mut shelf = self.shelf.clone().lock_owned().await;
        let members = self.state.snapshot().members.clone();
        let nodes = self.nodes(&members).count() + 1;
        let bytes = self.bytes(nodes);
        if bytes > BUDGET {
            return Err(CollectError::TooLarge(nodes));
        }
        if let Some(edition) = shelf.latest(bytes) {
            return Ok(edition);
        }
        let this = self.clone();
        // Readers that go away do not end this task. Otherwise they could make this agent ask its
        // peers again and again.
        let collected = tokio::spawn(async move {
            let began = Instant::now();
            let edition = Edition::new(this.collect(&members).await, began.elapsed());
            if shelf.add(edition.clone()) {
                tokio::spawn(drop_unread(Arc::downgrade(&this.shelf)));
            }
            edition
        });
        collected.await.map_err(|error| {
            tracing::error!(%error, "the matrix could not be collected");
            CollectError::Fault
        })
    }

    /// Returns the other nodes of the matrix. If there are too many, it leaves out those that have
    /// never answered this agent, because perhaps they do not exist.
    fn nodes<'a>(&self, members: &'a [Member]) -> impl Iterator<Item = &'a Member> + use<'a> {
        let is_too_large = self.bytes(members.len() + 1) > BUDGET;
        members
            .iter()
            .filter(move |member| member.answered || !is_too_large)
    }

    /// Returns the memory that a matrix of this many nodes and its forms may need.
    fn bytes(&self, nodes: usize) -> usize {
        Forms::bytes(nodes, self.state.identity().protocols.len())
    }

    /// Requests the row of each of `members` that is reachable, and assembles the matrix. Members
    /// that have never answered are asked last, and have no time of their own.
    async fn collect(&self, members: &[Member]) -> Packed {
        let identity = self.state.identity();
        let own_state = self.state.snapshot().own_state();
        let answered = members.iter().filter(|member| member.answered).count();
        let within = rows::all_within(answered + 1);
        let not_asked = format!("not asked within {within:?}");
        let mut nodes = BTreeMap::new();
        for member in self.nodes(members) {
            let node = Node {
                name: member.name.clone(),
                zone: member.zone.clone(),
                state: member.state,
                iperf3: member.iperf3.clone(),
                row: Err(not_asked.clone()),
                is_unsealed: false,
            };
            nodes.insert(member.name.clone(), (node, Some(member.clone())));
        }
        let own = Node {
            name: identity.name.clone(),
            zone: identity.zone.clone(),
            state: own_state,
            iperf3: Some(identity.iperf3.clone()),
            row: Ok(Since::now()),
            is_unsealed: false,
        };
        nodes.insert(identity.name.clone(), (own, None));

        let own = nodes.values().position(|(_, member)| member.is_none());
        let (nodes, asked): (Vec<_>, Vec<_>) = nodes.into_values().unzip();
        let asked = (0..).zip(asked).filter_map(|(at, it)| Some((at, it?)));
        let mut asked: Vec<_> = asked.collect();
        asked.sort_by_key(|(_, member)| !member.answered);
        let names = nodes.iter().map(|node| &node.name);
        let bytes = rows::bytes_max(names, &identity.protocols);
        let mut packed = Packed::new(nodes, identity.protocols.clone());
        packed.is_insecure = self.state.sealing().is_insecure();
        rows::request(
            &asked,
            &mut packed,
            (&self.client, self.state.sealing()),
            within,
            bytes,
            &self.workshop,
        )
        .await;
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
