//! The cost of one decision of a node as its mesh grows. (`memory` measures how much a node
//! remembers of its peers.)
//!
//! `cargo bench -p iperf3-mesh-core --no-default-features --bench decision`
//!
//! Each measurement is one call of [`iperf3_mesh_core::Node::handle`], so that each figure includes
//! one reading of the clock.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(
    clippy::disallowed_methods,
    reason = "a bench reads the clock; the core does not"
)]

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use iperf3_mesh_core::wire::Refusal;
use iperf3_mesh_core::{Input, View};
use iperf3_mesh_core_testkit::{MockMesh, live_view};

const NODES: [usize; 4] = [10, 100, 1000, 10_000];

/// How long a busy peer claims to be busy: the longest time that a node believes.
const BUSY: Duration = Duration::from_secs(10);

/// Makes one kind of decision so many times, and returns the total time.
type Decision = fn(nodes: usize, view: &View, times: u64) -> Duration;

fn bench_decisions(criterion: &mut Criterion) {
    let decisions: [(&str, Decision); 6] = [
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
    for (name, decide) in decisions {
        let mut group = criterion.benchmark_group(name);
        group
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1));
        group.sample_size(20);
        for nodes in NODES {
            let view = live_view(nodes);
            group.bench_with_input(
                BenchmarkId::from_parameter(nodes),
                &nodes,
                |bencher, &nodes| {
                    bencher.iter_custom(|times| decide(nodes, &view, times));
                },
            );
        }
        group.finish();
    }
}

fn timed(mesh: &mut MockMesh, input: Input) -> Duration {
    let start = Instant::now();
    mesh.handle(input);
    start.elapsed()
}

/// A node that waits for a request is woken too early.
fn nothing_is_due(nodes: usize, view: &View, times: u64) -> Duration {
    let mut mesh = MockMesh::waiting(nodes, view);
    (0..times).map(|_| timed(&mut mesh, Input::Tick)).sum()
}

/// The same node is asked by a peer that is not due.
fn request_refused(nodes: usize, view: &View, times: u64) -> Duration {
    let mut mesh = MockMesh::waiting(nodes, view);
    let turn = |_| {
        let request = mesh.request(1);
        let time = timed(&mut mesh, request);
        mesh.drain();
        time
    };
    (0..times).map(turn).sum()
}

/// The same node is asked by the peer that is due.
fn request_granted(nodes: usize, view: &View, times: u64) -> Duration {
    let mut mesh = MockMesh::waiting(nodes, view);
    let turn = |_| {
        let request = mesh.request(0);
        let time = timed(&mut mesh, request);
        mesh.drain();
        mesh.abort_meeting();
        time
    };
    (0..times).map(turn).sum()
}

/// Sweeps in order. A decision counts if it ends a meeting and asks for the next one.
fn next_in_order(nodes: usize, view: &View, times: u64) -> Duration {
    let mut mesh = MockMesh::new(nodes, view);
    let (mut total, mut counted) = (Duration::ZERO, 0);
    while counted < times {
        let Some(answer) = mesh.next_answer() else {
            mesh.wake();
            continue;
        };
        let time = timed(&mut mesh, answer);
        mesh.drain();
        if mesh.is_asking() {
            total += time;
            counted += 1;
        }
    }
    total
}

/// Half of the peers are met, and all others are busy: the node decides whether to wait or whom to
/// ask instead. In this worst case, the peers that have refused precede those that were not asked
/// yet. Decisions count from when half of the others have refused.
fn refused_by_the_busy(nodes: usize, view: &View, times: u64) -> Duration {
    let mut mesh = MockMesh::waiting(nodes, view);
    let mut turn = || {
        while !mesh.is_asking() {
            mesh.step();
        }
        let refusal = mesh.refusal(Refusal::Busy, BUSY);
        let time = timed(&mut mesh, refusal);
        mesh.drain();
        time
    };
    for _ in 0..nodes / 4 {
        turn();
    }
    (0..times).map(|_| turn()).sum()
}

/// A view that repeats what the node knows. The node compares each member, so the cost is linear.
fn view_without_change(nodes: usize, view: &View, times: u64) -> Duration {
    let mut mesh = MockMesh::waiting(nodes, view);
    (0..times)
        .map(|_| timed(&mut mesh, Input::View(view.clone())))
        .sum()
}

criterion_group!(benches, bench_decisions);
criterion_main!(benches);
