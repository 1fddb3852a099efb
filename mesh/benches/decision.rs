//! What one decision of a node costs as its mesh grows. (What a node remembers of its peers:
//! `memory`.)
//!
//! `cargo bench -p iperf3-mesh-core --no-default-features --bench decision`
//!
//! Timed is [`iperf3_mesh_core::Node::handle`] alone, once each time, so that each figure has the
//! cost of a look at the clock in it.

#![allow(missing_docs, reason = "of what criterion's macros make")]
#![allow(
    clippy::disallowed_methods,
    reason = "a bench looks at the clock; the core does not"
)]

mod crowd;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use crowd::{Crowd, view};
use iperf3_mesh_core::wire::Refusal;
use iperf3_mesh_core::{Input, View};

const NODES: [usize; 4] = [10, 100, 1000, 10_000];

/// How long a busy peer says that it will be busy: as long as a node believes it.
const BUSY: Duration = Duration::from_secs(10);

/// Times one kind of decision `times` times.
type Course = fn(nodes: usize, view: &View, times: u64) -> Duration;

fn decisions(criterion: &mut Criterion) {
    let courses: [(&str, Course); 6] = [
        ("nothing is due", nothing_is_due),
        ("a request is refused", request_refused),
        ("a request is granted", request_granted),
        ("a meeting is over, the next is asked", next_in_order),
        (
            "the asked one is busy, as are all before it",
            refused_by_the_busy,
        ),
        ("a view without change", view_without_change),
    ];
    for (name, course) in courses {
        let mut group = criterion.benchmark_group(name);
        group
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        group.sample_size(20);
        for nodes in NODES {
            let view = view(nodes);
            group.bench_with_input(
                BenchmarkId::from_parameter(nodes),
                &nodes,
                |bencher, &nodes| {
                    bencher.iter_custom(|times| course(nodes, &view, times));
                },
            );
        }
        group.finish();
    }
}

fn timed(crowd: &mut Crowd, input: Input) -> Duration {
    let start = Instant::now();
    crowd.node.handle(crowd.now, input);
    start.elapsed()
}

/// A node that waits for its partner is woken too early.
fn nothing_is_due(nodes: usize, view: &View, times: u64) -> Duration {
    let mut crowd = Crowd::waiting(nodes, view);
    (0..times).map(|_| timed(&mut crowd, Input::Tick)).sum()
}

/// The same node is asked by one whose turn it is not.
fn request_refused(nodes: usize, view: &View, times: u64) -> Duration {
    let mut crowd = Crowd::waiting(nodes, view);
    let turn = |_| {
        let request = crowd.request(1);
        let time = timed(&mut crowd, request);
        crowd.answer_all();
        time
    };
    (0..times).map(turn).sum()
}

/// The same node is asked by the partner that it waits for.
fn request_granted(nodes: usize, view: &View, times: u64) -> Duration {
    let mut crowd = Crowd::waiting(nodes, view);
    let turn = |_| {
        let request = crowd.request(0);
        let time = timed(&mut crowd, request);
        crowd.answer_all();
        crowd.break_off();
        time
    };
    (0..times).map(turn).sum()
}

/// Sweep after sweep in order. Counted are the ends of meetings after which the node is the one to
/// ask.
fn next_in_order(nodes: usize, view: &View, times: u64) -> Duration {
    let mut crowd = Crowd::new(nodes, view);
    let (mut total, mut counted) = (Duration::ZERO, 0);
    while counted < times {
        let input = crowd.next_input();
        let may_count = !matches!(input, Input::Tick);
        let time = timed(&mut crowd, input);
        crowd.answer_all();
        if crowd.is_asking() && may_count {
            total += time;
            counted += 1;
        }
    }
    total
}

/// Half of the peers are met, and all others are busy: the node decides whether to wait or whom to
/// ask instead. That is the worst case: those that have refused stand in the order before those
/// that were not asked yet. Counted from when half of the others have refused.
fn refused_by_the_busy(nodes: usize, view: &View, times: u64) -> Duration {
    let mut crowd = Crowd::waiting(nodes, view);
    let mut turn = || {
        while !crowd.is_asking() {
            crowd.play();
        }
        let refusal = crowd.refusal(Refusal::Busy, BUSY);
        let time = timed(&mut crowd, refusal);
        crowd.answer_all();
        time
    };
    for _ in 0..nodes / 4 {
        turn();
    }
    (0..times).map(|_| turn()).sum()
}

/// Gossip says again what the node knows: it compares each member, which is linear by nature.
fn view_without_change(nodes: usize, view: &View, times: u64) -> Duration {
    let mut crowd = Crowd::waiting(nodes, view);
    (0..times)
        .map(|_| timed(&mut crowd, Input::View(view.clone())))
        .sum()
}

criterion_group!(benches, decisions);
criterion_main!(benches);
