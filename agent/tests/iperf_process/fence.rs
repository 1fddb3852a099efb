//! An iperf3 that does what it should not: the fence stops it.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use iperf3_mesh::iperf::{Iperf, Landlock};
use iperf3_mesh_core::TestSpec;

use super::fixture::{Fixture, PATIENCE, link, tcp};

/// The prey of the burglar, which it reaches without a fence.
const PREY: [&str; 6] = ["key", "memory", "environment", "file", "signal", "core"];

#[tokio::test]
async fn a_fenced_iperf3_reaches_nothing_of_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), "secret").unwrap();
    let program = link(&dir, "burglar");
    let unfenced = Command::new(&program)
        .args(["-c", "127.0.0.1"])
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    let prey = String::from_utf8(unfenced.stderr).unwrap();
    for part in PREY.iter().filter(|part| **part != "core") {
        assert!(prey.contains(part), "the burglar works: {prey}");
    }

    let fixture = Fixture::with(Iperf::probe(&program).await.unwrap());
    let end = fixture.client(tcp(), PATIENCE).wait().await;
    let expected: &[&str] = match fixture.iperf.landlock() {
        Landlock::Version(6..) => &[],
        Landlock::Version(_) => &["signal"],
        // The fence is of limits only.
        _ => &["key", "memory", "environment", "file", "signal"],
    };
    let words = ["reached"].iter().chain(expected).copied();
    let expected = words.collect::<Vec<_>>().join(" ");
    assert_eq!(end.report.detail, expected);
}

#[tokio::test]
async fn a_fenced_client_connects_to_no_other_port() {
    let fixture = Fixture::fake("stray").await;
    if !matches!(fixture.iperf.landlock(), Landlock::Version(4..)) {
        return;
    }
    let other = TcpListener::bind((fixture.remote.ip(), 0)).unwrap();
    let spec = TestSpec {
        // The fake connects to this port instead of the one that it is told.
        bitrate: Some(other.local_addr().unwrap().port().into()),
        ..tcp()
    };
    let end = fixture.client(spec, PATIENCE).wait().await;
    assert!(
        end.report.detail.ends_with("Permission denied"),
        "{}",
        end.report.detail
    );
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "nobody has connected");
}

#[tokio::test]
async fn the_directory_of_an_iperf3_goes_with_it() {
    let fixture = Fixture::fake("directory").await;
    let end = fixture.client(tcp(), PATIENCE).wait().await;
    let directory = Path::new(&end.report.detail);
    assert_eq!(directory.parent(), Some(std::env::temp_dir().as_path()));
    assert!(!directory.exists(), "{directory:?}");
}

#[tokio::test]
async fn the_largest_test_stays_within_the_limits() {
    let fixture = Fixture::new().await;
    let spec = TestSpec {
        streams: 128,
        bidir: true,
        bitrate: Some(100_000),
        ..tcp()
    };
    let (client, _) = fixture.meet(spec).await;
    assert!(client.report.forward.is_ok(), "{client:?}");
}

#[tokio::test]
async fn an_iperf3_with_files_elsewhere_runs_without_landlock() {
    if !matches!(Landlock::of_kernel(), Landlock::Version(_)) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("library"), "").unwrap();
    let iperf = Iperf::probe(&link(&dir, "foreign")).await.unwrap();
    let landlock = iperf.landlock();
    assert!(matches!(landlock, Landlock::Unfit(_)), "{landlock:?}");
    assert!(
        landlock.to_string().contains("library"),
        "the problem is told: {landlock}"
    );
    assert!(landlock.hint().is_some_and(|hint| hint.contains("/usr")));
}
