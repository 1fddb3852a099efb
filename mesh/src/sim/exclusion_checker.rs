//! The god's-eye view: which tests really touch which node, whatever the nodes believe.
//!
//! It knows no lease and no slot. An iperf3 process touches nodes while it lives; if processes of
//! two tests touch one node at once, that is an overlap.

use std::collections::BTreeMap;
use std::fmt;

use crate::wire::MeetingId;
use crate::{Protocol, Time};

/// One iperf3 process of the whole mesh.
pub(super) type Pid = u64;

/// A test: one client and one server with the same key belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestKey {
    pub(super) meeting: MeetingId,
    pub(super) client: usize,
    pub(super) protocol: Protocol,
}

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

/// Two tests that touched a node at once.
#[derive(Clone, Debug)]
pub struct Overlap {
    /// When the second one began to.
    pub at: Time,
    /// The number of the node.
    pub node: usize,
    /// The two tests, in words.
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
pub(super) struct ExclusionChecker {
    /// For each node the processes that touch it.
    touching: Vec<Vec<Touch>>,
    touched: BTreeMap<Pid, Vec<usize>>,
    overlaps: Vec<Overlap>,
}

impl ExclusionChecker {
    pub(super) fn new(nodes: usize) -> Self {
        let touching = vec![Vec::new(); nodes];
        Self {
            touching,
            touched: BTreeMap::new(),
            overlaps: Vec::new(),
        }
    }

    /// From now on that process touches that node.
    pub(super) fn touch(&mut self, at: Time, node: usize, pid: Pid, test: &TestKey, role: Role) {
        let touching = &mut self.touching[node];
        if touching.iter().any(|present| present.pid == pid) {
            return;
        }
        let is_alien = |other: &&Touch| other.test != *test || other.role == role;
        if let Some(other) = touching.iter().find(is_alien) {
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

    /// That process touches nobody any more.
    pub(super) fn release(&mut self, pid: Pid) {
        for node in self.touched.remove(&pid).into_iter().flatten() {
            self.touching[node].retain(|present| present.pid != pid);
        }
    }

    /// That process touches that node no more.
    pub(super) fn leave(&mut self, pid: Pid, node: usize) {
        self.touching[node].retain(|present| present.pid != pid);
    }

    pub(super) fn into_overlaps(self) -> Vec<Overlap> {
        self.overlaps
    }

    pub(super) fn overlaps(&self) -> &[Overlap] {
        &self.overlaps
    }
}
