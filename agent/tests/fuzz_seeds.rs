//! Runs the seed corpora of the fuzz targets on the stable compiler. An input that once broke a
//! parser is added to its corpus, so this is also the regression test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use iperf3_mesh::fuzzing::{
    api_answer, config_value, http_request, iperf_output, iperf_report, pod_list,
};

#[test]
fn api_answer_holds_for_every_seed() {
    run_seeds("fuzz/seeds/api_answer", api_answer);
}

#[test]
fn config_value_holds_for_every_seed() {
    run_seeds("fuzz/seeds/config_value", config_value);
}

#[test]
fn http_request_holds_for_every_seed() {
    run_seeds("fuzz/seeds/http_request", http_request);
}

#[test]
fn iperf_output_holds_for_every_seed() {
    run_seeds("fuzz/seeds/iperf_output", iperf_output);
}

#[test]
fn iperf_report_holds_for_every_seed() {
    run_seeds("fuzz/seeds/iperf_report", iperf_report);
    run_seeds("agent/tests/samples", iperf_report);
}

#[test]
fn pod_list_holds_for_every_seed() {
    run_seeds("fuzz/seeds/pod_list", pod_list);
}

/// Gives `target` each file of a folder of the repository, and each file cut short.
fn run_seeds(folder: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder);
    let seeds: Vec<_> = fs::read_dir(&folder).unwrap().collect();
    assert!(!seeds.is_empty(), "no seed in {}", folder.display());
    for seed in seeds {
        let bytes = fs::read(seed.unwrap().path()).unwrap();
        target(&bytes);
        target(&bytes[..bytes.len() / 2]);
    }
}
