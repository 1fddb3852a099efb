//! What keeps the core pure: without its features it needs nothing that could do IO or draw a
//! random number. (Clocks and hash order, which the standard library has, are `clippy.toml`'s
//! part.)

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn the_core_alone_needs_no_runtime_no_gossip_library_and_no_randomness() {
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
    // The look is a real one: with the gossip layer they are there.
    assert!(dependencies(&[]).is_superset(&["tokio", "chitchat"].map(str::to_owned).into()));
}

#[test]
fn the_simulator_needs_no_randomness_but_its_seed() {
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
