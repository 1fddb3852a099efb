//! The bytes that a node remembers of each peer as its mesh grows.
//!
//! `cargo bench -p iperf3-mesh-core --no-default-features --bench memory`
//!
//! The figures are the requested sizes of what is allocated and not yet freed. The allocator itself
//! needs some more.

#![allow(clippy::print_stdout, reason = "a program that prints")]

use iperf3_mesh_core_testkit::{CountingAllocator, MockMesh, live_view};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

fn main() {
    println!("{:>6}  {:>10}  {:>10}", "nodes", "view", "node");
    for nodes in [10, 100, 1000, 10_000] {
        let before = ALLOCATOR.allocated();
        let view = live_view(nodes);
        let of_view = ALLOCATOR.allocated() - before;
        let node = MockMesh::waiting(nodes, &view).into_node();
        let with_node = ALLOCATOR.allocated();
        drop(node);
        let of_node = with_node - ALLOCATOR.allocated();
        let [of_view, of_node] = [of_view, of_node].map(|bytes| bytes / (nodes - 1));
        println!("{nodes:>6}  {of_view:>4} B/peer  {of_node:>4} B/peer");
    }
}
