//! One machine: its clock, its agent, and whether either stands still.

use std::time::Duration;

use super::clock::Clock;
use super::iperf::Start;
use crate::{Input, Node, Settings, TestSpec, Time};

/// What a life of an agent is known by; unlike its epoch it tells which one came first.
pub(super) type Life = u32;

pub(super) struct Host {
    pub(super) settings: Settings,
    /// The tests of its mesh, whatever its own are at the moment.
    pub(super) usual_tests: Vec<TestSpec>,
    pub(super) clock: Clock,
    /// How much its wire version is above that of the code.
    pub(super) wire: i8,
    pub(super) life: Life,
    /// Its agent, if one runs.
    pub(super) agent: Option<Node>,
    /// When the agent is to be woken, in true time.
    pub(super) wake: Option<Time>,
    /// The last sweep that its agent has completed.
    pub(super) completed: u64,
    /// How many faults keep its agent from running, and how many of those keep the machine dark.
    pub(super) down: u32,
    pub(super) dark: u32,
    /// How many faults take most of its ports.
    pub(super) ports_taken: u32,
    /// How many faults make the agent stand still, and the whole machine.
    pub(super) frozen: u32,
    pub(super) suspended: u32,
    /// How many faults wait for the next start of an iperf3 to make the agent stand still.
    pub(super) freezes_at_spawn: u32,
    /// Since when nothing has made it stand still.
    pub(super) awake_since: Time,
    /// What waits for an agent that stands still.
    pub(super) backlog: Vec<Waiting>,
    /// How long the agent takes for what it hears, at most; and when it has heard the last of it.
    pub(super) slow: Duration,
    pub(super) busy_until: Time,
    /// How many faults keep its view from being brought up to date.
    pub(super) stale: u32,
    /// It said goodbye and ends when it is in no meeting.
    pub(super) leaving: bool,
}

/// What an agent does when it goes on after a standstill.
pub(super) enum Waiting {
    Input(Input),
    Spawn(Start),
}

impl Host {
    pub(super) fn new(settings: Settings, clock: Clock) -> Self {
        Self {
            usual_tests: settings.tests.clone(),
            settings,
            clock,
            wire: 0,
            life: 0,
            agent: None,
            wake: None,
            completed: 0,
            down: 0,
            dark: 0,
            ports_taken: 0,
            frozen: 0,
            suspended: 0,
            freezes_at_spawn: 0,
            awake_since: Time::default(),
            backlog: Vec::new(),
            slow: Duration::ZERO,
            busy_until: Time::default(),
            stale: 0,
            leaving: false,
        }
    }

    pub(super) fn stands_still(&self) -> bool {
        self.frozen > 0 || self.suspended > 0
    }

    /// Whether an agent runs there and does not stand still.
    pub(super) fn is_up(&self) -> bool {
        self.agent.is_some() && !self.stands_still()
    }
}
