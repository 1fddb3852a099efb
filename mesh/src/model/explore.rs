//! Visits every reachable state in the order of distance, so the path to a violation is a shortest
//! one.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::num::NonZero;
use std::time::Duration;

use super::Model;
use super::steps::Step;
use super::world::{Outcomes, World};

/// The result of an exploration.
pub(super) struct Report {
    /// The number of states.
    pub(super) states: usize,
    /// The number of steps that lead to the farthest state.
    pub(super) depth: usize,
    /// How reservations ended.
    pub(super) seen: Outcomes,
    /// The rule that was broken, and the path to it: one line for each step.
    pub(super) violation: Option<String>,
}

type Hashing = BuildHasherDefault<DefaultHasher>;

/// For each state, its predecessor and the index of the step that led from there.
type Paths = HashMap<u64, Option<(u64, u16)>, Hashing>;

/// A successor of a state.
struct Found {
    fingerprint: u64,
    from: (u64, u16),
    world: World,
    broken_rule: Option<String>,
}

pub(super) fn explore(model: &Model) -> Report {
    model.flawed(|| visit_all(model))
}

fn visit_all(model: &Model) -> Report {
    let start = World::new(model);
    let mut paths = Paths::default();
    paths.insert(start.fingerprint(), None);
    let mut report = Report {
        states: 1,
        depth: 0,
        seen: Outcomes::new(),
        violation: None,
    };
    let mut frontier = vec![start];
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for batch in frontier.chunks(BATCH) {
            for found in successors(model, &paths, batch, &mut report.seen) {
                if paths.contains_key(&found.fingerprint) {
                    continue;
                }
                paths.insert(found.fingerprint, Some(found.from));
                report.states += 1;
                if let Some(rule) = found.broken_rule {
                    report.depth += 1;
                    report.violation =
                        Some(rule + &path_in_words(model, &paths, found.fingerprint));
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

/// The maximum number of states that are expanded before their successors are deduplicated. It
/// bounds the memory.
const BATCH: usize = 1 << 14;

/// Returns the new successors of a batch of states. Uses all processors.
fn successors(model: &Model, paths: &Paths, batch: &[World], seen: &mut Outcomes) -> Vec<Found> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = batch.len().div_ceil(threads);
    let parts: Vec<_> = std::thread::scope(|scope| {
        let parts = batch
            .chunks(share)
            .map(|part| scope.spawn(|| model.flawed(|| expand(model, paths, part))))
            // This starts all threads before the first one is joined.
            .collect::<Vec<_>>();
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

fn expand(model: &Model, paths: &Paths, part: &[World]) -> (Vec<Found>, Outcomes) {
    let (mut all, mut seen) = (Vec::new(), Outcomes::new());
    let mut met: HashSet<u64, Hashing> = HashSet::default();
    for from in part {
        let here = from.fingerprint();
        for (at, step) in (0..).zip(from.steps(model)) {
            let world = from.after(model, step, &mut seen);
            let fingerprint = world.fingerprint();
            if !paths.contains_key(&fingerprint) && met.insert(fingerprint) {
                let broken_rule = model
                    .rules
                    .iter()
                    .find_map(|rule| rule.broken_in(&world, model));
                all.push(Found {
                    fingerprint,
                    from: (here, at),
                    world,
                    broken_rule,
                });
            }
        }
    }
    (all, seen)
}

/// Returns the path from the start to a state, in words.
fn path_in_words(model: &Model, paths: &Paths, mut to: u64) -> String {
    let mut steps = Vec::new();
    while let Some(Some((from, step))) = paths.get(&to) {
        steps.push(*step);
        to = *from;
    }
    let (mut world, mut now, mut text) = (World::new(model), Duration::ZERO, String::new());
    for step in steps.into_iter().rev() {
        let step = world.steps(model)[usize::from(step)];
        let _ = write!(
            text,
            "\n{:6.1} s  {}",
            now.as_secs_f64(),
            world.describe(step)
        );
        if matches!(step, Step::Pass) {
            now += world.next_instant();
        }
        world = world.after(model, step, &mut Outcomes::new());
    }
    text
}
