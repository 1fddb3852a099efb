//! An iperf3, real or fake, with addresses to run it on, and the fate of its processes.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use iperf3_mesh::clock::boot_now;
use iperf3_mesh::iperf::{Client, ClientRun, Iperf, Limits, Server, ServerRun};
use iperf3_mesh_core::{Protocol, TestSpec};
use tempfile::TempDir;

/// A deadline that a test waits for.
pub(crate) const SHORT: Duration = Duration::from_millis(600);

/// Longer than anything here takes, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An iperf3, the address of the client, and a free port on the address of the server.
pub(crate) struct Fixture {
    pub(crate) iperf: Iperf,
    pub(crate) local: IpAddr,
    pub(crate) remote: SocketAddr,
    /// The directory of a fake.
    pub(crate) _dir: TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let iperf = Iperf::probe(Path::new("iperf3")).await;
        Self::with(iperf.unwrap_or_else(|error| panic!("{error}; `make setup` installs it")))
    }

    /// With the program of tests/fake under `name`.
    pub(crate) async fn fake(name: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let iperf = Iperf::probe(&link(&dir, name)).await.unwrap();
        Self {
            _dir: dir,
            ..Self::with(iperf)
        }
    }

    pub(crate) fn with(iperf: Iperf) -> Self {
        let listener = TcpListener::bind((address(), 0)).unwrap();
        Self {
            iperf,
            local: address(),
            remote: listener.local_addr().unwrap(),
            _dir: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn client_run(&self, spec: TestSpec, within: Duration) -> ClientRun {
        ClientRun {
            spec,
            local: self.local,
            remote: self.remote,
            buffer: None,
            limits: limits(within),
        }
    }

    pub(crate) fn client(&self, spec: TestSpec, within: Duration) -> Client {
        self.iperf.client(self.client_run(spec, within)).unwrap()
    }

    pub(crate) fn server(&self, peer: IpAddr, within: Duration) -> Server {
        let run = self.server_run(tcp(), peer, within);
        self.iperf.server(&run).unwrap()
    }

    /// A server for a client of this fixture, which may ask for no more than `spec`.
    pub(crate) async fn server_of(&self, spec: TestSpec) -> Server {
        let run = self.server_run(spec, self.local, PATIENCE);
        let mut server = self.iperf.server(&run).unwrap();
        server.ready().await.unwrap();
        server
    }

    fn server_run(&self, spec: TestSpec, peer: IpAddr, within: Duration) -> ServerRun {
        ServerRun {
            spec,
            local: self.remote.ip(),
            port: self.remote.port(),
            peer,
            limits: limits(within),
        }
    }

    /// The server of this program, at the address of another fixture.
    pub(crate) fn server_for(&self, other: &Self) -> Server {
        let run = other.server_run(tcp(), other.local, PATIENCE);
        self.iperf.server(&run).unwrap()
    }

    pub(crate) async fn meet(
        &self,
        spec: TestSpec,
    ) -> (iperf3_mesh::iperf::ClientEnd, iperf3_mesh::iperf::ServerEnd) {
        let mut server = self.server_of(spec.clone()).await;
        let mut client = self.client(spec, PATIENCE);
        (client.wait().await, server.wait().await)
    }
}

pub(crate) fn limits(within: Duration) -> Limits {
    let now = boot_now();
    Limits {
        start_by: now + within,
        deadline: now + within,
    }
}

pub(crate) fn tcp() -> TestSpec {
    TestSpec {
        protocol: Protocol::Tcp,
        duration: Duration::from_secs(1),
        omit: Duration::ZERO,
        timeout: PATIENCE,
        bitrate: None,
        streams: 1,
        bidir: false,
    }
}

pub(crate) fn udp() -> TestSpec {
    TestSpec {
        protocol: Protocol::Udp,
        ..tcp()
    }
}

/// A loopback address that no other test uses, in this process or in another.
pub(crate) fn address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id().to_be_bytes();
    let last = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, 64 | pid[2] & 63, pid[3], last).into()
}

/// A link and not a copy: a file that was written a moment ago cannot be executed while a child
/// that another test forks still has it open.
pub(crate) fn link(dir: &TempDir, name: &str) -> std::path::PathBuf {
    let path = dir.path().join(name);
    symlink(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake/iperf3"),
        &path,
    )
    .unwrap();
    path
}

/// Whether the process runs no more; it may still be a zombie.
pub(crate) fn is_dead(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(") ").next().unwrap().starts_with(['Z', 'X']),
        Err(error) => {
            matches!(error.kind(), ErrorKind::NotFound) || error.raw_os_error() == Some(3)
        }
    }
}

pub(crate) fn is_reaped(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Blocks the thread, and with it all of this test's agent.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(2));
    }
}

/// Alive until shortly before `deadline`, dead soon after.
pub(crate) fn assert_dies_at(pid: u32, deadline: iperf3_mesh_core::Time) {
    assert!(!is_dead(pid), "it has just been started");
    until("the kernel's timer has ended it", || is_dead(pid));
    assert!(
        boot_now() >= deadline - Duration::from_millis(100),
        "it was ended too early"
    );
}
