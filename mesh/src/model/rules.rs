//! The rules that hold in every state.

use std::collections::BTreeSet;

use super::processes::Phase;
use super::steps::Step;
use super::world::{Outcomes, World};
use super::{Model, NOW, UNIT};
use crate::wire::MeetingId;

/// The number of units of silence after which every slot is free: twice the timeout, plus the
/// margin. One unit less is not enough.
const SILENCE_MAX: u32 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The processes of at most one meeting touch a node, and at most one client.
    Alone,
    /// While a process touches a node, its meeting occupies the node's slot.
    Taken,
    /// If all messages are lost from now on, every slot becomes free.
    Freed,
}

impl Rule {
    pub(super) const ALL: [Self; 3] = [Self::Alone, Self::Taken, Self::Freed];

    /// Describes, in words, how the state breaks the rule.
    pub(super) fn broken_in(self, world: &World, model: &Model) -> Option<String> {
        let mut nodes = 0..world.nodes.len();
        match self {
            Self::Alone => nodes.find_map(|number| world.double_booked_at(number)),
            Self::Taken => nodes.find_map(|number| world.unheld_process_at(number)),
            Self::Freed => world.stuck(model),
        }
    }
}

impl World {
    fn double_booked_at(&self, number: usize) -> Option<String> {
        let touching = self
            .processes
            .iter()
            .filter(|process| process.touches(number));
        let clients = touching
            .clone()
            .filter(|process| process.is_client())
            .count();
        let meetings: BTreeSet<&MeetingId> = touching.map(|process| &process.meeting).collect();
        if meetings.len() > 1 {
            return Some(format!("n{number} is in two meetings at once"));
        }
        (clients > 1).then(|| format!("n{number} is in two tests at once"))
    }

    fn unheld_process_at(&self, number: usize) -> Option<String> {
        let node = &self.nodes[number];
        let touching = self
            .processes
            .iter()
            .filter(|process| process.touches(number));
        let mut meetings = touching.map(|process| &process.meeting);
        let unheld = meetings.find(|&meeting| node.meeting_id() != Some(meeting))?;
        // A restarted agent has forgotten its meeting. That is the reason for its quiet time.
        let is_exempt = node.is_free() && !node.quiet_for(NOW).is_zero();
        (!is_exempt).then(|| format!("{unheld} touches n{number} without occupying its slot"))
    }

    /// Returns the node that is still in a meeting after a long silence. During the silence,
    /// processes run up to their deadlines and agents act in time.
    fn stuck(&self, model: &Model) -> Option<String> {
        let mut world = self.clone();
        for _ in 0..=SILENCE_MAX {
            world.do_what_is_due(model);
            if world.nodes.iter().all(|node| node.is_free()) {
                return None;
            }
            world.pass(UNIT);
        }
        let taken = world.nodes.iter().position(|node| !node.is_free())?;
        Some(format!("n{taken} is stuck after a long silence"))
    }

    fn do_what_is_due(&mut self, model: &Model) {
        let mut unseen = Outcomes::new();
        while let Some(dead) = self.processes.iter().position(|p| p.phase == Phase::Dead) {
            *self = self.after(model, Step::End(dead), &mut unseen);
        }
        for number in 0..self.nodes.len() {
            if self.nodes[number]
                .slot_deadline()
                .is_some_and(|deadline| deadline <= NOW)
            {
                *self = self.after(model, Step::Tick(number), &mut unseen);
            }
        }
    }
}
