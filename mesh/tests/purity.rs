//! The purity of the core: without its features it depends on nothing that could do IO, keep time
//! or draw random numbers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn the_core_alone_links_no_io_and_no_randomness() {
    let core = dependencies(&["--no-default-features"]);
    for library in [
        "tokio",
        "chitchat",
        "socket2",
        "mio",
        "libc",
        "rand",
        "getrandom",
    ] {
        assert!(
            !core.contains(library),
            "the core needs {library}: {core:?}"
        );
    }
    // The check can fail: with the gossip layer these libraries are there.
    assert!(dependencies(&[]).is_superset(&["tokio", "chitchat"].map(str::to_owned).into()));
}

#[test]
fn the_simulator_links_no_randomness_but_its_seed() {
    let simulator = dependencies(&["--no-default-features", "--features", "sim"]);
    assert!(
        simulator.contains("rand") && !simulator.contains("getrandom"),
        "{simulator:?}"
    );
}

/// The names of the packages that a build with these features links, direct and indirect.
fn dependencies(features: &[&str]) -> BTreeSet<String> {
    let tree = [
        "tree",
        "--locked",
        "-p",
        "iperf3-mesh-core",
        "-e",
        "normal",
        "--prefix",
        "none",
        "-f",
        "{p}",
    ];
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(tree)
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{cargo:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listed = String::from_utf8(output.stdout).unwrap();
    listed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}
