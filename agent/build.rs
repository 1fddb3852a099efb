//! Compiles the filter that the agent loads into its iperf3 servers, a shared object of its own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: &str = "src/iperf/filter";

/// The processors for which the filter has the numbers of the system calls.
const PROCESSORS: [&str; 3] = ["x86_64", "aarch64", "riscv64"];

fn main() {
    println!("cargo::rerun-if-changed={SOURCES}");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let output = PathBuf::from(variable("OUT_DIR")).join("filter.so");
    let processor = variable("CARGO_CFG_TARGET_ARCH");
    if variable("CARGO_CFG_TARGET_OS") == "linux" && PROCESSORS.contains(&processor.as_str()) {
        compile(&output);
    } else {
        // The agent takes an empty file for "no filter".
        fs::write(&output, "").expect("OUT_DIR is writable");
    }
}

fn compile(output: &Path) {
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args([
            "--crate-name=filter",
            "--crate-type=cdylib",
            "--edition=2024",
        ])
        .args(["--target", &variable("TARGET")])
        .args([
            "-Copt-level=2",
            "-Cpanic=abort",
            "-Cstrip=symbols",
            "-Coverflow-checks=off",
        ])
        .args(["-Clink-arg=-nostdlib", "-Clink-arg=-nostartfiles"])
        .args(linker())
        .arg("-o")
        .arg(output)
        .arg(Path::new(SOURCES).join("preload/lib.rs"));
    if variable("CARGO_CFG_TARGET_ENV") == "musl" {
        // Otherwise, a target that links statically has no shared objects.
        rustc.args(["-Ctarget-feature=-crt-static", "-Clink-self-contained=no"]);
    }
    let status = rustc.status().expect("cargo names a rustc that runs");
    assert!(
        status.success(),
        "the filter for iperf3 servers does not compile: {rustc:?}"
    );
}

/// Returns the options of this build that choose a linker. The others, such as those for
/// sanitizers or coverage, need libraries that the filter does not have.
fn linker() -> Vec<String> {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let mut words = flags.split('\x1f');
    let mut chosen = Vec::new();
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        chosen.push(format!("-Clinker={linker}"));
    }
    while let Some(word) = words.next() {
        let option = match word {
            "-C" | "--codegen" => words.next().unwrap_or_default(),
            _ => word.strip_prefix("-C").unwrap_or_default(),
        };
        if option.starts_with("linker") || option.starts_with("link-arg=-fuse-ld") {
            chosen.push(format!("-C{option}"));
        }
    }
    chosen
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
