//! The server and its clients: the guest that it expects, and strangers that it must not notice.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use iperf3_mesh::iperf::{ClientRun, NotReady, ServerEnd};
use iperf3_mesh_core::{Reason, TestSpec};
use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
};

use crate::fixture::{Fixture, PATIENCE, is_reaped, tcp, udp, until};

/// An address that is no guest.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 255, 255, 1));

/// The bytes with which the known attacks begin: nothing, garbage, a cookie, and parameters of the
/// wrong type after it, which crash 3.12.
fn openings() -> Vec<Vec<u8>> {
    let mut crash = COOKIE.to_vec();
    crash.extend(message(r#"{"tcp":true,"congestion":1}"#));
    vec![Vec::new(), vec![0xff; 5000], COOKIE.to_vec(), crash]
}

/// A cookie of the length that iperf3 expects.
const COOKIE: [u8; 37] = *b"abcdefghijklmnopqrstuvwxyz0123456789\0";

/// The states in which a server tells a client to go on.
const PARAM_EXCHANGE: u8 = 9;
const CREATE_STREAMS: u8 = 10;

#[tokio::test]
async fn strangers_before_the_guest_do_no_harm() {
    for spec in [tcp(), udp()] {
        let fixture = Fixture::new().await;
        let mut server = fixture.server_of(spec.clone()).await;
        let mut strangers: Vec<TcpStream> = openings()
            .iter()
            .map(|bytes| dial(STRANGER, fixture.remote, bytes))
            .collect();
        let client = fixture.client(spec, PATIENCE).wait().await;
        assert!(client.report.forward.is_ok(), "{client:?}");
        let end = server.wait().await;
        assert!(end.accepted, "{end:?}");
        assert_eq!(end.complaint(), None, "{end:?}");
        assert_eq!((end.strangers, end.unexpected_client), (4, Some(STRANGER)));
        for stranger in &mut strangers {
            assert_eq!(answer(stranger), b"");
        }
    }
}

#[tokio::test]
async fn strangers_during_a_test_do_no_harm() {
    let fixture = Fixture::new().await;
    let spec = TestSpec {
        duration: Duration::from_secs(3),
        bitrate: Some(20_000_000),
        streams: 2,
        ..tcp()
    };
    let mut server = fixture.server_of(spec.clone()).await;
    let mut client = fixture.client(spec, PATIENCE);
    let remote = fixture.remote;
    let knocking = tokio::task::spawn_blocking(move || {
        let mut strangers = Vec::new();
        for bytes in openings().iter().cycle().take(60) {
            strangers.push(dial(STRANGER, remote, bytes));
            std::thread::sleep(Duration::from_millis(10));
        }
        strangers
    });
    let client = client.wait().await;
    let figures = client.report.forward.unwrap();
    assert!(figures.bandwidth_mbps > 30.0, "{figures:?}");
    let end = server.wait().await;
    assert_eq!((end.strangers, end.complaint()), (60, None), "{end:?}");
    for stranger in &mut knocking.await.unwrap() {
        assert_eq!(answer(stranger), b"");
    }
}

#[tokio::test]
async fn stranger_s_datagram_opens_no_stream() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server_of(udp()).await;
    let guest = Guest::enter(&fixture, r#"{"udp":true,"time":1,"parallel":1,"len":1200}"#);
    let stranger = UdpSocket::bind((STRANGER, 0)).unwrap();
    for _ in 0..3 {
        stranger.send_to(b"9876", fixture.remote).unwrap();
    }
    guest.open_stream();
    let mut bytes = [0; 64];
    stranger.set_nonblocking(true).unwrap();
    let none = stranger.recv(&mut bytes).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::WouldBlock);
    server.killer().kill();
    let end = server.wait().await;
    assert_eq!((end.strangers, end.unexpected_client), (3, Some(STRANGER)));
}

#[tokio::test]
async fn one_way_udp_server_sends_no_data() {
    for (request, streams) in [
        (
            r#"{"udp":true,"reverse":true,"time":60,"parallel":1,"len":1200,"bandwidth":1048576}"#,
            1,
        ),
        (
            r#"{"udp":true,"bidirectional":true,"time":1,"parallel":1,"len":1200}"#,
            2,
        ),
    ] {
        let fixture = Fixture::new().await;
        let mut server = fixture.server_of(udp()).await;
        let guest = Guest::enter(&fixture, request);
        let streams: Vec<_> = (0..streams).map(|_| guest.open_stream()).collect();
        assert_breach(&server.wait().await, request);
        assert_eq!(streams.iter().map(received).sum::<usize>(), 0, "{request}");
        assert!(is_reaped(server.pid()));
    }
}

#[tokio::test]
async fn one_way_tcp_server_sends_no_data() {
    // The second one has blocks as small as a message.
    for request in [
        r#"{"tcp":true,"reverse":true,"time":1,"parallel":1,"len":100000}"#,
        r#"{"tcp":true,"reverse":true,"time":1,"parallel":1,"len":4}"#,
    ] {
        let fixture = Fixture::new().await;
        let mut server = fixture.server_of(tcp()).await;
        let _guest = Guest::enter(&fixture, request);
        let mut stream = dial(fixture.local, fixture.remote, &COOKIE);
        assert_breach(&server.wait().await, request);
        let received = answer(&mut stream);
        assert!(
            received.len() <= 4,
            "{} bytes after {request}",
            received.len()
        );
    }
}

#[tokio::test]
async fn request_beyond_the_plan_ends_the_server() {
    let limited = TestSpec {
        bitrate: Some(1_000_000),
        ..udp()
    };
    for (request, words) in [
        (
            TestSpec {
                duration: Duration::from_secs(3),
                ..limited.clone()
            },
            "its client asked for 3 second test instead of 1",
        ),
        (
            TestSpec {
                bitrate: Some(1_050_000),
                ..limited.clone()
            },
            "its client asked for 1050000 bit/s instead of 1000000",
        ),
        (
            TestSpec {
                streams: 2,
                bitrate: Some(10_000),
                ..limited.clone()
            },
            "its client asked for 2 streams instead of 1",
        ),
    ] {
        let fixture = Fixture::new().await;
        let mut server = fixture.server_of(limited.clone()).await;
        let client = fixture.client(request, PATIENCE).wait().await;
        assert!(client.report.forward.is_err(), "{client:?}");
        let end = server.wait().await;
        let complaint = end
            .complaint()
            .unwrap_or_else(|| panic!("{words}: {end:?}"));
        assert_eq!(complaint.words(), words);
    }
}

#[tokio::test]
async fn traffic_beyond_the_plan_ends_the_server() {
    let fixture = Fixture::new().await;
    let unlimited = TestSpec {
        duration: Duration::from_secs(3),
        ..tcp()
    };
    let agreed = TestSpec {
        bitrate: Some(1_000_000),
        ..unlimited.clone()
    };
    let mut server = fixture.server_of(agreed).await;
    let client = fixture.client(unlimited, PATIENCE).wait().await;
    assert!(client.report.forward.is_err(), "{client:?}");
    let end = server.wait().await;
    assert!(end.failure.is_some() && !end.timed_out, "{end:?}");
}

#[tokio::test]
async fn crash_that_the_guest_causes_is_told_apart() {
    let fixture = Fixture::fake("crash").await;
    let mut server = fixture.server(fixture.local, PATIENCE);
    let end = server.wait().await;
    assert!(end.crashed && !end.accepted, "{end:?}");
    assert_eq!(end.failure, Some(Reason::Iperf));
    assert!(
        end.detail.is_empty() || end.detail.contains("SIGSEGV"),
        "{end:?}"
    );
}

#[tokio::test]
async fn peer_is_told_of_the_stranger_that_came_instead() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(STRANGER, PATIENCE);
    server.ready().await.unwrap();
    let client = fixture.client(tcp(), PATIENCE).wait().await;
    assert_eq!(client.report.forward, Err(Reason::Connect), "{client:?}");
    server.killer().kill();
    let end = server.wait().await;
    assert_eq!(end.unexpected_client, Some(fixture.local), "{end:?}");
    let complaint = end.complaint().unwrap();
    assert_eq!(complaint.reason(), Reason::Busy);
    let stranger = fixture.local.to_string();
    assert!(complaint.words().ends_with(&stranger), "{complaint:?}");
}

#[tokio::test]
async fn server_that_ignores_the_filter_ends_at_a_stranger() {
    let mut fixture = Fixture::new().await;
    let mut fake = Fixture::fake("unfiltered").await;
    let mut server = fake.server_for(&fixture);
    server.ready().await.unwrap();
    assert!(!server.is_filtered());
    assert!(fake.iperf.try_filter().await.is_err());
    assert!(fixture.iperf.try_filter().await.is_ok());
    server.killer().kill();
    server.wait().await;
    let peer = Fixture {
        local: STRANGER,
        ..Fixture::new().await
    };
    let mut server = fake.server_for(&peer);
    server.ready().await.unwrap();
    let run = ClientRun {
        remote: peer.remote,
        ..fixture.client_run(tcp(), PATIENCE)
    };
    let mut client = fixture.iperf.client(run).unwrap();
    let end = server.wait().await;
    assert_eq!(end.unexpected_client, Some(fixture.local), "{end:?}");
    assert!(!end.accepted && !end.cancelled && !end.timed_out, "{end:?}");
    assert!(client.wait().await.report.forward.is_err());
}

#[tokio::test]
async fn silent_stranger_ends_a_server_without_the_filter() {
    let fake = Fixture::fake("unfiltered").await;
    let mut server = fake.server_of(tcp()).await;
    let _stranger = dial(STRANGER, fake.remote, b"");
    assert_ended_for_stranger(&server.wait().await);
    assert!(is_reaped(server.pid()));
    let mut server = fake.server_of(udp()).await;
    let _guest = Guest::enter(&fake, r#"{"udp":true,"time":1,"parallel":1,"len":1200}"#);
    let stranger = UdpSocket::bind((STRANGER, 0)).unwrap();
    stranger.send_to(b"9876", fake.remote).unwrap();
    assert_ended_for_stranger(&server.wait().await);
}

#[tokio::test]
async fn stranger_before_the_grant_has_the_port_changed() {
    let fake = Fixture::fake("unfiltered").await;
    let mut server = fake.server(fake.local, PATIENCE);
    let remote = fake.remote;
    let knocking = tokio::task::spawn_blocking(move || {
        let stranger = Cell::new(None);
        until("the server listens", || {
            let connected = reach(STRANGER, remote).ok();
            let is_connected = connected.is_some();
            stranger.set(connected);
            is_connected
        });
        stranger
    });
    let _stranger = knocking.await.unwrap();
    let ready = server.ready().await;
    assert!(matches!(ready, Err(NotReady::Stranger(_))), "{ready:?}");
    assert!(is_reaped(server.pid()));
}

#[tokio::test]
async fn stranger_in_a_test_without_the_filter_does_no_harm() {
    let fake = Fixture::fake("unfiltered").await;
    let spec = TestSpec {
        duration: Duration::from_secs(3),
        bitrate: Some(20_000_000),
        ..tcp()
    };
    let mut server = fake.server_of(spec.clone()).await;
    let mut client = fake.client(spec, PATIENCE);
    let remote = fake.remote;
    let knocking = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_secs(1));
        dial(STRANGER, remote, b"")
    });
    let (end, client) = tokio::join!(server.wait(), client.wait());
    assert!(client.report.forward.is_ok(), "{client:?}");
    assert!(end.accepted && end.unexpected_client.is_none(), "{end:?}");
    drop(knocking.await.unwrap());
}

/// A client that speaks iperf3's protocol until the streams are to be opened.
struct Guest {
    _control: TcpStream,
    local: IpAddr,
    remote: SocketAddr,
}

impl Guest {
    fn enter(fixture: &Fixture, request: &str) -> Self {
        let mut control = dial(fixture.local, fixture.remote, &COOKIE);
        assert_eq!(state(&mut control), PARAM_EXCHANGE);
        control.write_all(&message(request)).unwrap();
        assert_eq!(state(&mut control), CREATE_STREAMS);
        Self {
            _control: control,
            local: fixture.local,
            remote: fixture.remote,
        }
    }

    /// Opens a UDP stream, which the server answers.
    fn open_stream(&self) -> UdpSocket {
        let socket = UdpSocket::bind((self.local, 0)).unwrap();
        socket.connect(self.remote).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(b"9876").unwrap();
        let mut answer = [0; 64];
        assert_eq!(socket.recv(&mut answer).unwrap(), 4);
        socket
    }
}

fn assert_ended_for_stranger(end: &ServerEnd) {
    assert_eq!(end.unexpected_client, Some(STRANGER), "{end:?}");
    assert_eq!(end.strangers, 1, "{end:?}");
    assert!(!end.timed_out && !end.cancelled, "{end:?}");
    assert_eq!(end.complaint().unwrap().reason(), Reason::Busy);
}

fn assert_breach(end: &ServerEnd, request: &str) {
    assert_eq!(
        end.breach.as_deref(),
        Some("data from the server"),
        "{request}: {end:?}"
    );
}

/// The number of bytes that a socket has received so far.
fn received(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).unwrap();
    let mut bytes = [0; 2000];
    std::iter::from_fn(|| socket.recv(&mut bytes).ok()).sum()
}

fn state(control: &mut TcpStream) -> u8 {
    let mut state = [0];
    control.read_exact(&mut state).unwrap();
    state[0]
}

fn message(json: &str) -> Vec<u8> {
    let len = u32::try_from(json.len()).unwrap();
    [&len.to_be_bytes(), json.as_bytes()].concat()
}

/// Connects from an address, and sends the first bytes.
fn dial(from: IpAddr, to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = reach(from, to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A stranger may have been turned away already.
    let _ = stream.write_all(bytes);
    stream
}

fn reach(from: IpAddr, to: SocketAddr) -> nix::Result<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    bind(fd, &SockaddrStorage::from(SocketAddr::new(from, 0)))?;
    connect(fd, &SockaddrStorage::from(to))?;
    Ok(TcpStream::from(socket))
}

/// All bytes that the other end sends before it closes the connection.
fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return bytes,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) => {
                let closed = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
                assert!(closed.contains(&error.kind()), "{error}");
                return bytes;
            }
        }
    }
}
