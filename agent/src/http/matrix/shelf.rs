//! The matrices in memory: the latest one for every reader, and at most one more that slow readers
//! have not finished with.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::packed::Packed;
use super::{compact, gzip};

/// The maximum memory of a matrix with all its forms: as many nodes as `--members-max` allows by
/// default, with one protocol.
pub(in crate::http) const BUDGET: usize = 120 << 20;
/// The maximum memory of two matrices together with all their forms. Larger ones are alone.
const BUDGET_OF_TWO: usize = 48 << 20;
/// The maximum size of a compressed piece of the JSON, by cell, so that small matrices count less.
const GZIP_CELL: usize = 64;
/// How long a matrix is reused at least.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// A matrix is reused for this many times as long as it took to collect, so that readers cause a
/// bounded load on the peers.
const REUSE_FACTOR: u32 = 4;
/// The time that a reader may take for a matrix when others wait for a new one. It is also the
/// greatest age of a matrix.
const HELD_FOR: Duration = Duration::from_secs(30);

/// A matrix and its forms.
#[derive(Debug)]
pub(in crate::http) struct Forms {
    pub(in crate::http) packed: Packed,
    pub(super) gzip: gzip::Pieces,
    pub(in crate::http) compact: OnceCell<Bytes>,
    pub(in crate::http) compact_gzip: OnceCell<Bytes>,
    pub(in crate::http) page: OnceCell<Bytes>,
}

impl Forms {
    /// Returns the memory that a matrix and all its forms may need, in bytes.
    pub(in crate::http) fn bytes(nodes: usize, protocols: usize) -> usize {
        let cells = nodes.saturating_mul(nodes).saturating_mul(protocols);
        // Compression does not make the compact form larger.
        let compact = compact::bytes(nodes, protocols).saturating_mul(2);
        let gzip = cells.saturating_mul(GZIP_CELL).min(gzip::KEPT_MAX);
        let forms = compact.saturating_add(gzip);
        Packed::bytes(nodes, protocols).saturating_add(forms)
    }

    fn new(packed: Packed) -> Self {
        Self {
            packed,
            gzip: gzip::Pieces::default(),
            compact: OnceCell::new(),
            compact_gzip: OnceCell::new(),
            page: OnceCell::new(),
        }
    }
}

/// A matrix that readers share.
#[derive(Debug)]
pub(in crate::http) struct Edition {
    /// Distinguishes the edition from all others.
    pub(in crate::http) id: u64,
    made: Instant,
    fresh_for: Duration,
    bytes: usize,
    /// Readers take this only for a moment at a time, so that it can be withdrawn from those that
    /// do not go on.
    forms: Mutex<Option<Arc<Forms>>>,
}

impl Edition {
    /// Creates an edition from a matrix that took `collecting` to collect.
    pub(in crate::http) fn new(packed: Packed, collecting: Duration) -> Arc<Self> {
        let bytes = Forms::bytes(packed.nodes.len(), packed.protocols.len());
        let fresh_for = (collecting * REUSE_FACTOR).clamp(FRESH_FOR, HELD_FOR);
        Arc::new(Self {
            id: rand::random(),
            made: Instant::now(),
            fresh_for,
            bytes,
            forms: Mutex::new(Some(Arc::new(Forms::new(packed)))),
        })
    }

    /// Returns the matrix; `None` if it has been withdrawn.
    pub(in crate::http) fn forms(&self) -> Option<Arc<Forms>> {
        self.lock().clone()
    }

    fn withdraw(&self) {
        self.lock().take();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Forms>>> {
        self.forms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The matrices in memory.
#[derive(Debug, Default)]
pub(in crate::http) struct Shelf {
    latest: Option<Arc<Edition>>,
    older: Option<Arc<Edition>>,
}

impl Shelf {
    /// Returns the latest matrix if it serves another reader, or makes room for a new one of
    /// `bytes`.
    pub(in crate::http) fn latest(&mut self, bytes: usize) -> Option<Arc<Edition>> {
        if self.latest.is_none() {
            self.latest = self.older.take();
        }
        let latest = self.latest.as_ref()?;
        if latest.made.elapsed() < latest.fresh_for {
            return Some(latest.clone());
        }
        // Two matrices are in memory while a new one is collected: the latest and the new one.
        let is_in_the_way = latest.bytes + bytes > BUDGET_OF_TWO;
        let in_the_way = self.older.iter().chain(is_in_the_way.then_some(latest));
        if in_the_way.clone().any(is_held) {
            return Some(latest.clone());
        }
        in_the_way.for_each(|edition| edition.withdraw());
        self.older = None;
        None
    }

    /// Adds a new matrix. Returns whether the shelf was empty.
    pub(in crate::http) fn add(&mut self, edition: Arc<Edition>) -> bool {
        let was_empty = self.latest.is_none() && self.older.is_none();
        self.older = self.latest.replace(edition);
        self.drop_unread();
        was_empty
    }

    /// Drops the matrices that nobody reads and that are too old for another reader. Returns
    /// whether any is left.
    pub(in crate::http) fn drop_unread(&mut self) -> bool {
        let older = self.older.take_if(|older| !is_read(older));
        let is_over = |latest: &mut Arc<Edition>| latest.made.elapsed() >= latest.fresh_for;
        let latest = self
            .latest
            .take_if(|latest| is_over(latest) && !is_read(latest));
        for edition in older.into_iter().chain(latest) {
            edition.withdraw();
        }
        self.older.is_some() || self.latest.is_some()
    }
}

fn is_read(edition: &Arc<Edition>) -> bool {
    Arc::strong_count(edition) > 1
}

/// Returns whether readers of `edition` may still go on.
fn is_held(edition: &Arc<Edition>) -> bool {
    is_read(edition) && edition.made.elapsed() < HELD_FOR && edition.forms().is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn readers_share_a_matrix_while_it_is_fresh() {
        let mut shelf = Shelf::default();
        assert!(shelf.latest(1).is_none());
        shelf.add(aged(Duration::ZERO, 1));
        assert!(shelf.latest(1).is_some());
        assert!(shelf.drop_unread(), "another reader may come");
        let mut shelf = Shelf::default();
        shelf.add(aged(Duration::from_secs(2), 1));
        assert!(shelf.latest(1).is_none());
    }

    #[test]
    fn slow_readers_keep_at_most_two_matrices() {
        let mut shelf = Shelf::default();
        let first = aged(Duration::from_secs(9), 1);
        shelf.add(first.clone());
        assert!(shelf.latest(1).is_none(), "a second one is made");
        let second = aged(Duration::from_secs(5), 1);
        shelf.add(second.clone());
        assert!(Arc::ptr_eq(&shelf.latest(1).unwrap(), &second));
        assert!(first.forms().is_some());
        drop(first);
        assert!(shelf.latest(1).is_none(), "nobody reads the first one");
    }

    #[test]
    fn a_matrix_is_withdrawn_from_readers_that_take_too_long() {
        let mut shelf = Shelf::default();
        let first = aged(HELD_FOR, 1);
        shelf.add(first.clone());
        let second = aged(Duration::from_secs(5), 1);
        shelf.add(second.clone());
        assert!(shelf.latest(1).is_none());
        assert!(first.forms().is_none());
        assert!(second.forms().is_some());
    }

    #[test]
    fn slow_readers_hold_no_third_matrix() {
        let mut shelf = Shelf::default();
        let first = aged(Duration::from_secs(9), 1);
        shelf.add(first.clone());
        assert!(shelf.latest(1).is_none());
        // Nobody reads the second one, so it goes at once.
        shelf.add(aged(Duration::from_secs(9), 1));
        assert!(shelf.latest(1).is_none());
        let third = aged(Duration::from_secs(5), 1);
        shelf.add(third.clone());
        assert!(Arc::ptr_eq(&shelf.latest(1).unwrap(), &third));
        assert!(first.forms().is_some(), "it is still on the shelf");
    }

    #[test]
    fn matrices_never_exceed_the_budget_together() {
        let mut shelf = Shelf::default();
        let first = aged(Duration::from_secs(9), BUDGET_OF_TWO / 2 + 1);
        shelf.add(first.clone());
        let latest = shelf.latest(BUDGET_OF_TWO / 2 + 1).unwrap();
        assert!(Arc::ptr_eq(&latest, &first), "it is being read");
        drop((latest, first));
        assert!(shelf.latest(BUDGET_OF_TWO / 2 + 1).is_none());
        assert!(shelf.latest.as_ref().unwrap().forms().is_none());
    }

    #[test]
    fn all_forms_of_a_matrix_count() {
        assert!(Forms::bytes(500, 1) <= BUDGET_OF_TWO / 2);
        assert!(Forms::bytes(1000, 1) > BUDGET_OF_TWO / 2);
        assert!(Forms::bytes(2049, 1) <= BUDGET);
        assert!(Forms::bytes(usize::MAX, 2) > BUDGET);
    }

    #[test]
    fn a_matrix_goes_when_it_has_been_read() {
        let mut shelf = Shelf::default();
        let first = aged(Duration::from_secs(9), 1);
        shelf.add(first.clone());
        assert!(shelf.latest.is_some());
        drop(first);
        assert!(!shelf.drop_unread());
    }

    /// A matrix of `bytes` that was made some time ago.
    fn aged(age: Duration, bytes: usize) -> Arc<Edition> {
        let packed = Packed::new(Vec::new(), Vec::new());
        Arc::new(Edition {
            id: 0,
            made: Instant::now().checked_sub(age).unwrap(),
            fresh_for: FRESH_FOR,
            bytes,
            forms: Mutex::new(Some(Arc::new(Forms::new(packed)))),
        })
    }
}
