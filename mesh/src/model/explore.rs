//! Visits every state that can be reached, the nearest first, so that a broken rule is shown by a
//! shortest way.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::num::NonZero;
use std::time::Duration;

use super::Model;
use super::steps::Step;
use super::world::{Sightings, World};

/// What came of it.
pub(super) struct Report {
    /// How many different states there are.
    pub(super) states: usize,
    /// How many steps the farthest of them is away.
    pub(super) depth: usize,
    pub(super) seen: Sightings,
    /// The rule that was broken, and how it came to that: one line for each step.
    pub(super) violation: Option<String>,
}

type Hashing = BuildHasherDefault<DefaultHasher>;

/// Of each state that was reached, the one that it was reached from, and by which of its steps.
type Ways = HashMap<u64, Option<(u64, u16)>, Hashing>;

/// A state that was reached in another one's next step.
struct Found {
    fingerprint: u64,
    way: (u64, u16),
    world: World,
    broken_rule: Option<String>,
}

pub(super) fn explore(model: &Model) -> Report {
    model.flawed(|| visit_all(model))
}

fn visit_all(model: &Model) -> Report {
    let start = World::new(model);
    let mut ways = Ways::default();
    ways.insert(start.fingerprint(), None);
    let mut report = Report {
        states: 1,
        depth: 0,
        seen: Sightings::new(),
        violation: None,
    };
    let mut frontier = vec![start];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for batch in frontier.chunks(BATCH) {
            for found in successors(model, &ways, batch, &mut report.seen) {
                if ways.contains_key(&found.fingerprint) {
                    continue;
                }
                ways.insert(found.fingerprint, Some(found.way));
                report.states += 1;
                if let Some(rule) = found.broken_rule {
                    report.depth += 1;
                    report.violation = Some(rule + &account(model, &ways, found.fingerprint));
                    return report;
                }
                next.push(found.world);
            }
        }
        report.depth += usize::from(!next.is_empty());
        frontier = next;
    }
    report
}

/// How many states are looked at between two looks at what is known: it bounds the memory.
const BATCH: usize = 1 << 14;

/// The states after those of the batch that were not reached before, by all processors.
fn successors(model: &Model, ways: &Ways, batch: &[World], seen: &mut Sightings) -> Vec<Found> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = batch.len().div_ceil(threads);
    let parts: Vec<_> = std::thread::scope(|scope| {
        let parts = batch
            .chunks(share)
            .map(|part| scope.spawn(|| model.flawed(|| part_of(model, ways, part))));
        let parts: Vec<_> = parts.collect();
        parts
            .into_iter()
            .map(|part| part.join().expect("no state makes a node panic"))
            .collect()
    });
    let mut all = Vec::new();
    for (found, sightings) in parts {
        all.extend(found);
        seen.extend(sightings);
    }
    all
}

fn part_of(model: &Model, ways: &Ways, part: &[World]) -> (Vec<Found>, Sightings) {
    let (mut all, mut seen) = (Vec::new(), Sightings::new());
    let mut met: HashSet<u64, Hashing> = HashSet::default();
    for from in part {
        let here = from.fingerprint();
        for (at, step) in (0..).zip(from.steps(model)) {
            let world = from.after(model, step, &mut seen);
            let fingerprint = world.fingerprint();
            if !ways.contains_key(&fingerprint) && met.insert(fingerprint) {
                let broken_rule = model
                    .rules
                    .iter()
                    .find_map(|rule| rule.broken_in(&world, model));
                all.push(Found {
                    fingerprint,
                    way: (here, at),
                    world,
                    broken_rule,
                });
            }
        }
    }
    (all, seen)
}

/// How that state is reached from the beginning.
fn account(model: &Model, ways: &Ways, mut to: u64) -> String {
    let mut way = Vec::new();
    while let Some(Some((from, step))) = ways.get(&to) {
        way.push(*step);
        to = *from;
    }
    let (mut world, mut now, mut text) = (World::new(model), Duration::ZERO, String::new());
    for step in way.into_iter().rev() {
        let step = world.steps(model)[usize::from(step)];
        let _ = write!(
            text,
            "\n{:6.1} s  {}",
            now.as_secs_f64(),
            world.tell_step(step)
        );
        if matches!(step, Step::Pass) {
            now += world.next_instant();
        }
        world = world.after(model, step, &mut Sightings::new());
    }
    text
}
