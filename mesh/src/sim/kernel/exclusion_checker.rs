//! Checks rule 1 from outside: which tests really touch which node, whatever the nodes believe.
//!
//! The checker knows neither leases nor slots. A running iperf3 process touches its own node and
//! the node that it sends to. If the processes of two tests touch one node at the same time, that
//! is an overlap.

use std::collections::BTreeMap;
use std::fmt;

use super::process_table::{Pid, TestKey};
use crate::Time;

/// A process that touches a node.
#[derive(Clone, Debug)]
struct Touch {
    pid: Pid,
    test: TestKey,
    role: Role,
}

/// Which end of its test a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

impl fmt::Display for TestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            meeting,
            client,
            protocol,
        } = self;
        write!(
            f,
            "{} of meeting {meeting} with the client on n{client}",
            protocol.as_str()
        )
    }
}

/// Two tests that touched one node at the same time.
#[derive(Clone, Debug)]
pub struct Overlap {
    /// When the second test began to touch the node.
    pub at: Time,
    /// The number of the node.
    pub node: usize,
    /// The two tests that overlapped, in words.
    pub tests: [String; 2],
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = &self.tests;
        let at = self.at.since(Time::default());
        write!(
            f,
            "at {at:.3?} n{} was touched by {one} and by {other}",
            self.node
        )
    }
}

#[derive(Debug)]
pub(in crate::sim) struct ExclusionChecker {
    /// The processes that touch each node.
    touching: Vec<Vec<Touch>>,
    touched: BTreeMap<Pid, Vec<usize>>,
    overlaps: Vec<Overlap>,
}

impl ExclusionChecker {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            touching: vec![Vec::new(); nodes],
            touched: BTreeMap::new(),
            overlaps: Vec::new(),
        }
    }

    /// Records that the process touches the node from now on.
    pub(super) fn touch(&mut self, at: Time, node: usize, pid: Pid, test: &TestKey, role: Role) {
        let touching = &mut self.touching[node];
        if touching.iter().any(|present| present.pid == pid) {
            return;
        }
        let is_foreign = |other: &&Touch| other.test != *test || other.role == role;
        if let Some(other) = touching.iter().find(is_foreign) {
            let tests = [other.test.to_string(), test.to_string()];
            self.overlaps.push(Overlap { at, node, tests });
        }
        touching.push(Touch {
            pid,
            test: test.clone(),
            role,
        });
        self.touched.entry(pid).or_default().push(node);
    }

    /// Records that the process no longer touches any node.
    pub(super) fn release(&mut self, pid: Pid) {
        for node in self.touched.remove(&pid).into_iter().flatten() {
            self.touching[node].retain(|present| present.pid != pid);
        }
    }

    /// Records that the process no longer touches this node.
    pub(super) fn leave(&mut self, pid: Pid, node: usize) {
        self.touching[node].retain(|present| present.pid != pid);
    }

    /// Returns the tests that touch the node.
    pub(super) fn touching(&self, node: usize) -> impl Iterator<Item = &TestKey> {
        self.touching[node].iter().map(|touch| &touch.test)
    }

    pub(in crate::sim) fn into_overlaps(self) -> Vec<Overlap> {
        self.overlaps
    }

    pub(in crate::sim) fn overlaps(&self) -> &[Overlap] {
        &self.overlaps
    }
}
