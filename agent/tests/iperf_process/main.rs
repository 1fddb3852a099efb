//! Real iperf3 on loopback: its results, and the limits of its processes.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod fence;
mod fixture;
mod guests;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use iperf3_mesh::clock::boot_now;
use iperf3_mesh::iperf::{ClientRun, Limits, NotReady, SpawnError};
use iperf3_mesh_core::{Reason, TestSpec};
use tempfile::TempDir;

use fixture::{Fixture, PATIENCE, SHORT, assert_dies_at, is_dead, is_reaped, tcp, udp, until};

/// The environment that the fake iperf3 tells: that of this process, except that its
/// messages are in English.
const ENVIRONMENT: &str = concat!("LC_ALL=C CARGO_MANIFEST_DIR=", env!("CARGO_MANIFEST_DIR"));

// ---- results ----

#[tokio::test]
async fn a_tcp_test_yields_bandwidth_rtt_and_retransmits() {
    let fixture = Fixture::new().await;
    let spec = TestSpec {
        bitrate: Some(20_000_000),
        omit: Duration::from_secs(1),
        ..tcp()
    };
    let (client, server) = fixture.meet(spec).await;
    let figures = client.report.forward.unwrap();
    assert!(
        (15.0..25.0).contains(&figures.bandwidth_mbps),
        "{figures:?}"
    );
    assert!(
        figures.rtt_ms.is_some() && figures.retransmits.is_some(),
        "{figures:?}"
    );
    assert_eq!(
        (figures.jitter_ms, figures.packets, figures.lost_packets),
        (None, None, None)
    );
    assert_eq!((client.report.reverse, client.cancelled), (None, false));
    assert!(
        server.accepted && !server.cancelled && !server.timed_out,
        "{server:?}"
    );
    assert_eq!(
        (server.unexpected_client, server.detail.as_str()),
        (None, "")
    );
}

#[tokio::test]
async fn a_udp_test_yields_jitter_and_packets() {
    let fixture = Fixture::new().await;
    let (client, _) = fixture
        .meet(TestSpec {
            bitrate: Some(2_000_000),
            ..udp()
        })
        .await;
    let figures = client.report.forward.unwrap();
    assert!((1.5..2.5).contains(&figures.bandwidth_mbps), "{figures:?}");
    assert!(
        (150..260).contains(&figures.packets.unwrap()),
        "{figures:?}"
    );
    assert!(figures.jitter_ms.is_some(), "{figures:?}");
    assert_eq!(figures.lost_packets, Some(0));
    assert_eq!((figures.retransmits, figures.rtt_ms), (None, None));
}

#[tokio::test]
async fn a_two_way_test_yields_both_directions() {
    for spec in [tcp(), udp()] {
        let fixture = Fixture::new().await;
        let spec = TestSpec {
            bitrate: Some(10_000_000),
            bidir: true,
            streams: 2,
            ..spec
        };
        let (client, _) = fixture.meet(spec).await;
        for outcome in [client.report.forward, client.report.reverse.unwrap()] {
            // Two streams at that rate each.
            let figures = outcome.unwrap();
            assert!(
                (15.0..25.0).contains(&figures.bandwidth_mbps),
                "{figures:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_without_a_server_fails_to_connect() {
    let fixture = Fixture::new().await;
    let end = fixture.client(tcp(), PATIENCE).wait().await;
    assert_eq!(end.report.forward, Err(Reason::Connect));
    assert!(
        end.report.detail.ends_with("Connection refused"),
        "{}",
        end.report.detail
    );
}

#[tokio::test]
async fn a_crash_is_a_failure_of_iperf() {
    let fixture = Fixture::fake("crash").await;
    let end = fixture.client(tcp(), PATIENCE).wait().await;
    assert_eq!(end.report.forward, Err(Reason::Iperf));
    assert_eq!(end.report.detail, "ended by SIGSEGV");
}

// ---- the deadline ----

#[tokio::test]
async fn a_hanging_client_is_dead_at_its_deadline() {
    let mut fixture = Fixture::new().await;
    let silent = TcpListener::bind((fixture.local, 0)).unwrap();
    fixture.remote = silent.local_addr().unwrap();
    let mut client = fixture.client(
        TestSpec {
            bidir: true,
            ..tcp()
        },
        SHORT,
    );
    let end = client.wait().await;
    assert_eq!(end.report.forward, Err(Reason::Timeout));
    assert_eq!(end.report.reverse, Some(Err(Reason::Timeout)));
    assert!(!end.cancelled);
    assert!(is_reaped(client.pid()));
}

#[tokio::test]
async fn a_server_without_a_client_frees_its_port_at_its_deadline() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(fixture.local, SHORT);
    server.ready().await.unwrap();
    let end = server.wait().await;
    assert!(end.timed_out && !end.accepted && !end.cancelled, "{end:?}");
    assert!(is_reaped(server.pid()));
    TcpListener::bind(fixture.remote).unwrap();
}

#[tokio::test]
async fn a_silent_client_does_not_keep_the_server_alive() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(fixture.local, SHORT);
    server.ready().await.unwrap();
    let _silent = TcpStream::connect(fixture.remote).unwrap();
    let end = server.wait().await;
    assert!(end.timed_out && !end.accepted, "{end:?}");
}

#[tokio::test]
async fn an_iperf3_that_ignores_the_timer_is_killed() {
    let fixture = Fixture::fake("deaf").await;
    let mut client = fixture.client(tcp(), SHORT);
    assert_eq!(client.wait().await.report.forward, Err(Reason::Timeout));
    assert!(is_reaped(client.pid()));
}

/// This thread is the agent: while it sleeps, no code of the agent runs.
#[tokio::test]
async fn the_kernel_ends_the_iperf3_of_a_frozen_agent() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(fixture.local, SHORT);
    assert_dies_at(server.pid(), boot_now() + SHORT);
    assert!(server.wait().await.timed_out);

    let _silent = TcpListener::bind(fixture.remote).unwrap();
    let mut client = fixture.client(tcp(), SHORT);
    assert_dies_at(client.pid(), boot_now() + SHORT);
    assert_eq!(client.wait().await.report.forward, Err(Reason::Timeout));
}

#[tokio::test]
async fn an_iperf3_that_is_too_late_is_never_started() {
    let fixture = Fixture::fake("mark").await;
    let now = boot_now();
    let past = now - Duration::from_millis(1);
    for limits in [
        Limits {
            start_by: past,
            deadline: now + PATIENCE,
        },
        Limits {
            start_by: now + PATIENCE,
            deadline: past,
        },
    ] {
        let run = ClientRun {
            limits,
            ..fixture.client_run(tcp(), PATIENCE)
        };
        assert!(matches!(
            fixture.iperf.client(run),
            Err(SpawnError::TooLate)
        ));
    }
    let end = fixture.client(tcp(), PATIENCE).wait().await;
    assert_eq!(end.report.detail, "started", "in time it is started");
}

// ---- the end of the agent, and early ends ----

#[tokio::test]
async fn the_iperf3_of_a_killed_agent_dies_with_it() {
    let dir = TempDir::new().unwrap();
    let mut agent = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "an_agent_to_be_killed"])
        .env(HELPER_DIR, dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let file = dir.path().join("pid");
    until("the agent's iperf3 listens", || file.exists());
    let pid = fs::read_to_string(file).unwrap().parse().unwrap();
    assert!(!is_dead(pid));
    agent.kill().unwrap();
    agent.wait().unwrap();
    until("its iperf3 is dead", || is_dead(pid));
}

const HELPER_DIR: &str = "IPERF_TEST_DIR";

#[tokio::test]
#[ignore = "is run by the_iperf3_of_a_killed_agent_dies_with_it, in a process of its own"]
async fn an_agent_to_be_killed() {
    let Some(dir) = std::env::var_os(HELPER_DIR) else {
        return;
    };
    let fixture = Fixture::new().await;
    let mut server = fixture.server(fixture.local, PATIENCE);
    server.ready().await.unwrap();
    let draft = Path::new(&dir).join("draft");
    fs::write(&draft, server.pid().to_string()).unwrap();
    fs::rename(draft, Path::new(&dir).join("pid")).unwrap();
    server.wait().await;
}

#[tokio::test]
async fn a_client_can_be_killed_early() {
    let fixture = Fixture::new().await;
    let _silent = TcpListener::bind(fixture.remote).unwrap();
    let mut client = fixture.client(tcp(), PATIENCE);
    let killer = client.killer();
    killer.kill();
    assert!(client.wait().await.cancelled);
    assert!(is_reaped(client.pid()));
    // A second kill is harmless.
    killer.kill();
}

#[tokio::test]
async fn a_server_can_be_killed_early() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(fixture.local, PATIENCE);
    server.ready().await.unwrap();
    server.killer().kill();
    let end = server.wait().await;
    assert!(end.cancelled && !end.timed_out, "{end:?}");
    assert!(is_reaped(server.pid()));
}

#[tokio::test]
async fn a_dropped_server_is_killed_and_reaped() {
    let fixture = Fixture::new().await;
    let server = fixture.server(fixture.local, PATIENCE);
    let pid = server.pid();
    drop(server);
    let reaped = async {
        while !is_reaped(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reaped).await.unwrap();
}

#[test]
fn the_end_of_the_runtime_kills_and_reaps() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fixture = runtime.block_on(Fixture::new());
    let mut server = runtime.block_on(async { fixture.server(fixture.local, PATIENCE) });
    runtime.block_on(server.ready()).unwrap();
    drop(runtime);
    assert!(is_reaped(server.pid()));
}

#[tokio::test]
async fn processes_left_in_the_group_of_iperf3_are_killed() {
    let fixture = Fixture::fake("litter").await;
    let end = fixture.client(tcp(), PATIENCE).wait().await;
    let pid = end.report.detail.parse().unwrap();
    until("the process left behind is dead", || is_dead(pid));
}

#[tokio::test]
async fn a_pipe_that_stays_open_does_not_delay_the_end() {
    let fixture = Fixture::fake("detach").await;
    let end = fixture.client(tcp(), PATIENCE).wait().await;
    assert_eq!(end.report.forward, Err(Reason::BadReport));
}

#[tokio::test]
async fn endless_output_is_read_and_discarded() {
    let fixture = Fixture::fake("flood").await;
    let end = fixture.client(tcp(), PATIENCE).wait().await;
    assert_eq!(end.report.forward, Err(Reason::Iperf));
}

#[tokio::test]
async fn iperf3_has_the_environment_of_the_agent() {
    let fixture = Fixture::fake("environment").await;
    let end = fixture.client(tcp(), PATIENCE).wait().await;
    assert_eq!(end.report.detail, ENVIRONMENT);
}

// ---- the server ----

#[tokio::test]
async fn a_server_without_room_for_a_stream_says_so() {
    let fixture = Fixture::new().await;
    let fake = Fixture::fake("starved").await;
    let mut server = fake.server_for(&fixture);
    server.ready().await.unwrap();
    let client = fixture.client(tcp(), PATIENCE).wait().await;
    assert!(client.report.forward.is_err(), "{client:?}");
    let end = server.wait().await;
    assert_eq!(end.failure, Some(Reason::Resources), "{end:?}");
    let complaint = end.complaint().unwrap();
    assert_eq!(complaint.reason(), Reason::Resources);
    assert!(complaint.words().starts_with("error - "), "{complaint:?}");
}

#[tokio::test]
async fn a_successful_server_behind_a_wrapper_complains_of_nothing() {
    let fixture = Fixture::new().await;
    let fake = Fixture::fake("chatty").await;
    let mut server = fake.server_for(&fixture);
    server.ready().await.unwrap();
    let spec = TestSpec {
        bitrate: Some(20_000_000),
        ..tcp()
    };
    let client = fixture.client(spec, PATIENCE).wait().await;
    assert!(client.report.forward.is_ok(), "{client:?}");
    let end = server.wait().await;
    assert_eq!((end.failure, end.complaint()), (None, None), "{end:?}");
}

#[tokio::test]
async fn a_server_that_is_killed_or_prints_its_error_complains() {
    for (name, reason, words) in [
        ("victim", Reason::Iperf, "ended by SIGKILL"),
        ("printer", Reason::Resources, "No space left on device"),
    ] {
        let fixture = Fixture::fake(name).await;
        let complaint = fixture
            .server(fixture.local, PATIENCE)
            .wait()
            .await
            .complaint();
        let complaint = complaint.unwrap_or_else(|| panic!("{name} complains of nothing"));
        assert_eq!(complaint.reason(), reason, "{name}");
        assert!(complaint.words().contains(words), "{name}: {complaint:?}");
    }
}

#[tokio::test]
async fn the_smaller_buffer_of_the_two_ends_is_used() {
    let fixture = Fixture::fake("arguments").await;
    let small = 2 * 90_112;
    let run = ClientRun {
        buffer: Some(small),
        ..fixture.client_run(udp(), PATIENCE)
    };
    let end = fixture.iperf.client(run).unwrap().wait().await;
    let wanted = format!("-w {small}");
    assert!(end.report.detail.contains(&wanted), "{}", end.report.detail);
}

#[tokio::test]
async fn a_taken_port_is_distinguished_from_other_failures() {
    let fixture = Fixture::new().await;
    let _taken = TcpListener::bind(fixture.remote).unwrap();
    let mut server = fixture.server(fixture.local, PATIENCE);
    assert_eq!(server.ready().await, Err(NotReady::PortTaken));
    assert!(is_reaped(server.pid()));

    let fixture = Fixture::fake("environment").await;
    let mut server = fixture.server(fixture.local, PATIENCE);
    let expected = NotReady::Ended(ENVIRONMENT.to_owned());
    assert_eq!(server.ready().await, Err(expected));

    let fixture = Fixture::fake("needy").await;
    let mut server = fixture.server(fixture.local, PATIENCE);
    let ended = server.ready().await;
    assert!(matches!(ended, Err(NotReady::Starved(_))), "{ended:?}");
}

#[tokio::test]
async fn a_server_that_never_listens_is_killed() {
    let fixture = Fixture::fake("deaf").await;
    let mut server = fixture.server(fixture.local, PATIENCE);
    assert_eq!(server.ready().await, Err(NotReady::Slow));
    assert!(server.wait().await.cancelled);
}

#[tokio::test]
async fn one_port_serves_consecutive_tests() {
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        let (client, _) = fixture
            .meet(TestSpec {
                bitrate: Some(10_000_000),
                ..tcp()
            })
            .await;
        assert!(client.report.forward.is_ok(), "{client:?}");
    }
}
