//! What must hold in every state.

use std::collections::BTreeSet;

use super::processes::Stage;
use super::steps::Step;
use super::world::{Sightings, World};
use super::{Model, NOW, UNIT};
use crate::wire::MeetingId;

/// If all messages are lost from now on, every slot is free after so many units: twice the timeout
/// and the margin. One less is not enough.
const SILENCE_MAX: u32 = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A node is touched by the processes of one meeting at most, and by one client at most.
    Alone,
    /// Whatever touches a node, its slot is taken by that meeting.
    Taken,
    /// No slot stays taken when nobody says anything any more.
    Freed,
}

impl Rule {
    pub(super) const ALL: [Self; 3] = [Self::Alone, Self::Taken, Self::Freed];

    /// How the state breaks the rule.
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
        let stranger = meetings.find(|&meeting| node.meeting_id() != Some(meeting))?;
        // A restarted agent has forgotten its meeting, and is quiet for that reason.
        let is_excused = node.is_free() && !node.quiet_for(NOW).is_zero();
        (!is_excused)
            .then(|| format!("n{number}'s slot is not taken by {stranger} that touches it"))
    }

    /// Processes live to their deadlines, and agents do what is due in time.
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
        Some(format!("n{taken} is stuck when all falls silent"))
    }

    fn do_what_is_due(&mut self, model: &Model) {
        let mut unseen = Sightings::new();
        while let Some(dead) = self.processes.iter().position(|p| p.stage == Stage::Dead) {
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
