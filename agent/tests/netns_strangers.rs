//! Strangers at the iperf3 ports of a mesh, in network namespaces: silent, with garbage, with a
//! right-looking cookie, with the message that crashes iperf3 3.12, and with datagrams of a forged
//! source. The tests of the mesh go on, and no stranger gets a byte.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use iperf3_mesh_testkit::events::Role;
use iperf3_mesh_testkit::lab::IPERF_PORTS;
use iperf3_mesh_testkit::lab::hosts::Host;
use iperf3_mesh_testkit::lab::mesh::Mesh;
use iperf3_mesh_testkit::{boot_ns, lab_test, wait_until};
use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, connect, sendto,
    setsockopt, socket,
};

const MESH: [&str; 5] = [
    "--protocol=both",
    "--duration=1s",
    "--interval=1s",
    "--udp-bitrate=2M",
    "--iperf-ports=2",
];

/// The attacker's own address, on the host n4.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 99);

/// An address of the host n3 on which no agent listens.
const VICTIM: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 77);

/// The pause of an attacker after a connection and a datagram to each port of one node: at least
/// 100 a second reach the open one.
const PAUSE: Duration = Duration::from_millis(9);

/// The number of tests that the mesh must make meanwhile, and the time that it may take.
const TESTS: usize = 60;
const LIMIT: Duration = Duration::from_secs(150);

const COUNTER: &str = "iperf_mesh_unexpected_clients_total";

lab_test!(
    strangers_at_iperf3_cost_no_test_and_get_no_byte,
    Exclusive,
    [50; 4],
    |lab| {
        let mesh = Mesh::start(lab, &MESH);
        assert!(mesh.assembled(Duration::from_secs(30)));
        add(lab.host("n4"), ATTACKER);
        add(lab.host("n3"), VICTIM);
        let (began, stop) = (boot_ns(), AtomicBool::new(false));
        let (seen, reflected) = std::thread::scope(|scope| {
            let victim = scope.spawn(|| lab.host("n3").namespace.inside(|| listen(&stop)));
            let attacks: Vec<_> = lab
                .hosts()
                .iter()
                .map(|target| (target.address, &stop))
                .map(|(target, stop)| {
                    let attacker = &lab.host("n4").namespace;
                    scope.spawn(move || attacker.inside(|| attack(target, stop)))
                })
                .collect();
            wait_until(LIMIT, || finished(&mesh, began).0 >= TESTS);
            stop.store(true, Ordering::Relaxed);
            let seen: Vec<Seen> = attacks.into_iter().map(|it| it.join().unwrap()).collect();
            (seen, victim.join().unwrap())
        });
        let (all, good) = finished(&mesh, began);
        assert!(all >= TESTS, "{all} tests in {LIMIT:?}");
        assert!(good * 100 >= all * 95, "{good} of {all} succeeded");
        for (agent, seen) in mesh.agents().zip(&seen) {
            assert_eq!(seen.bytes, 0, "{} answered a stranger", agent.name);
            let counted = agent.metric(COUNTER).unwrap();
            // A server that ends resets what it has not seen yet.
            assert!(
                counted >= seen.connections as f64 * 0.95,
                "{}: {counted} of {seen:?}",
                agent.name
            );
        }
        assert_eq!(reflected, 0, "bytes at a host that never asked");
        let evidence = mesh.finish();
        assert!(evidence.overlaps.is_empty(), "{:?}", evidence.overlaps);
    }
);

/// The connections of the attacker of one node, and the bytes that they brought.
#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    bytes: usize,
}

/// The number of tests that began after `since` and are over, and of those that succeeded.
fn finished(mesh: &Mesh<'_>, since: u64) -> (usize, usize) {
    let tests = mesh.tests();
    let over = tests
        .iter()
        .filter(|test| test.role == Role::Client && test.start > since && test.outcome.is_some());
    over.fold((0, 0), |(all, good), test| {
        (all + 1, good + usize::from(test.succeeded()))
    })
}

fn add(host: &Host, address: Ipv4Addr) {
    host.namespace
        .run(&format!("ip addr add {address}/15 dev eth0"));
}

/// Connects to the iperf3 ports of `target` with all openings in turn, and sends datagrams in the
/// name of the victim, until told to stop.
fn attack(target: Ipv4Addr, stop: &AtomicBool) -> Seen {
    let openings = openings();
    let mut openings = openings.iter().cycle();
    let (mut seen, mut silent) = (Seen::default(), Vec::new());
    let forger = forger();
    while !stop.load(Ordering::Relaxed) {
        for port in IPERF_PORTS.take(2) {
            forge(&forger, SocketAddrV4::new(target, port));
            let Some(mut stream) = dial(SocketAddrV4::new(target, port)) else {
                continue;
            };
            seen.connections += 1;
            // The connection may be reset already.
            let _ = stream.write_all(openings.next().unwrap());
            silent.push(stream);
        }
        if silent.len() > 100 {
            let old = silent.drain(..50);
            seen.bytes += old.map(|stream| received(&stream)).sum::<usize>();
        }
        std::thread::sleep(PAUSE);
    }
    seen.bytes += silent.iter().map(received).sum::<usize>();
    seen
}

fn openings() -> [Vec<u8>; 4] {
    let cookie = *b"abcdefghijklmnopqrstuvwxyz0123456789\0";
    let crash = br#"{"tcp":true,"congestion":1}"#;
    let len = u32::try_from(crash.len()).unwrap();
    [
        Vec::new(),
        vec![0xff; 2000],
        cookie.to_vec(),
        [&cookie[..], &len.to_be_bytes(), crash].concat(),
    ]
}

/// Connects from the attacker's address; `None` if the port is closed.
fn dial(to: SocketAddrV4) -> Option<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    setsockopt(&socket, ReuseAddr, &true).unwrap();
    let from = SocketAddrV4::new(ATTACKER, 0);
    bind(socket.as_raw_fd(), &SockaddrIn::from(from)).unwrap();
    connect(socket.as_raw_fd(), &SockaddrIn::from(to)).ok()?;
    Some(TcpStream::from(socket))
}

fn received(mut stream: &TcpStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    std::iter::from_fn(|| stream.read(&mut bytes).ok().filter(|&count| count > 0)).sum()
}

fn forger() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let protocol = Some(SockProtocol::Raw);
    socket(AddressFamily::Inet, SockType::Raw, flags, protocol).unwrap()
}

/// Sends the datagram that opens a stream, as if it came from port 9 of the victim.
fn forge(socket: &OwnedFd, to: SocketAddrV4) {
    // The kernel fills in the length, the identification and the checksum of the IP header; the
    // checksum of UDP may be left out.
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(VICTIM.octets());
    packet.extend(to.ip().octets());
    packet.extend(9_u16.to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend([0, 12, 0, 0]);
    packet.extend(b"9876");
    // The queue of the link may be full.
    let _ = sendto(
        socket.as_raw_fd(),
        &packet,
        &SockaddrIn::from(to),
        MsgFlags::empty(),
    );
}

/// Counts the bytes that arrive at port 9 of the victim until told to stop.
fn listen(stop: &AtomicBool) -> usize {
    let socket = UdpSocket::bind((VICTIM, 9)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let (mut bytes, mut count) = ([0; 2000], 0);
    while !stop.load(Ordering::Relaxed) {
        count += socket.recv(&mut bytes).unwrap_or(0);
    }
    count
}
