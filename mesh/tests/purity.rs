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
    // The cryptography of the seal links a source, for callers other than this crate; so `rand` may
    // have none.
    let listed = tree(&["--no-default-features", "--features", "sim"]);
    let rand = listed.lines().find(|line| line.starts_with("rand v"));
    assert!(rand.unwrap().ends_with(" std_rng"), "{listed}");
}

/// The names of the packages that a build with these features links, direct and indirect.
fn dependencies(features: &[&str]) -> BTreeSet<String> {
    let listed = tree(features);
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// The packages that a build with these features links, each with its version and its features.
fn tree(features: &[&str]) -> String {
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
        "{p} {f}",
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
    String::from_utf8(output.stdout).unwrap()
}
