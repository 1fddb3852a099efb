//! One machine: its clock, its agent, and the reasons why either of them stands still.

use super::clock::Clock;
use super::process_table::Start;
use crate::sim::ids::Incarnation;
use crate::{Input, Node, Settings, Time};

/// A machine with at most one agent.
pub struct Host {
    pub(in crate::sim) settings: Settings,
    pub(in crate::sim) clock: Clock,
    /// How much the agent's wire version exceeds that of the code.
    pub(in crate::sim) wire: i8,
    pub(in crate::sim) incarnation: Incarnation,
    /// The agent, while one runs.
    pub(in crate::sim) agent: Option<Node>,
    /// When to wake the agent, in true time.
    pub(super) wake: Option<Time>,
    /// The number of power cuts that the machine suffers at present.
    pub(super) dark: u32,
    /// The number of faults that freeze the agent, and of faults that suspend the whole machine.
    pub(super) frozen: u32,
    pub(super) suspended: u32,
    /// The number of faults that will freeze the agent when it next starts an iperf3.
    pub(super) freezes_at_spawn: u32,
    /// When the last standstill ended.
    pub(in crate::sim) awake_since: Time,
    /// Inputs and starts that wait for the end of the agent's standstill.
    pub(super) backlog: Vec<Waiting>,
    /// The time at which a slow agent has handled everything that it was given so far.
    pub(super) busy_until: Time,
}

/// Something that an agent handles when its standstill ends.
pub(super) enum Waiting {
    Input(Input),
    Spawn(Start),
}

impl Host {
    /// Creates a machine on which no agent runs yet.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        Self {
            settings,
            clock,
            wire: 0,
            incarnation: 0,
            agent: None,
            wake: None,
            dark: 0,
            frozen: 0,
            suspended: 0,
            freezes_at_spawn: 0,
            awake_since: Time::default(),
            backlog: Vec::new(),
            busy_until: Time::default(),
        }
    }

    /// Returns the settings of the agent's present or next run.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the coordinator of the agent, while one runs.
    pub fn agent(&self) -> Option<&Node> {
        self.agent.as_ref()
    }

    /// Works like [`Self::agent`], but allows inputs without the kernel.
    pub fn agent_mut(&mut self) -> Option<&mut Node> {
        self.agent.as_mut()
    }

    /// Ends the agent and returns its coordinator.
    pub fn take_agent(&mut self) -> Option<Node> {
        self.agent.take()
    }

    /// Returns whether an agent runs on the machine and does not stand still.
    pub fn is_up(&self) -> bool {
        self.agent.is_some() && !self.stands_still()
    }

    pub(super) fn stands_still(&self) -> bool {
        self.frozen > 0 || self.suspended > 0
    }
}
