//! Agents whose supervisor treats them in an unusual way.

#![expect(
    unsafe_code,
    reason = "limits are set on another process, and between fork and exec"
)]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::null_mut;
use std::time::Duration;

use iperf3_mesh_testkit::agents::{Agent, QUICK};
use iperf3_mesh_testkit::http::ask;
use iperf3_mesh_testkit::{Network, SOON, SWEEP, await_that};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use super::helpers::await_whole;

/// The longest time that a stop takes.
const STOP: Duration = Duration::from_secs(10);

#[test]
fn signals_that_were_blocked_at_the_start_work() {
    let network = Network::draw();
    let join = format!("--join={}", network.address(1));
    let args = [&QUICK[..], &["--skip-quiet-time", &join]].concat();
    let mut agents = [1, 2].map(|host| {
        let name = format!("n{host}");
        Agent::start_in(network, host, &name, &args, |command| {
            prepare(command, || Ok(SigSet::all().thread_block()?));
        })
    });
    await_whole(&agents.each_ref(), SWEEP);
    for agent in &mut agents {
        agent.program.signal(Signal::SIGTERM);
        assert_eq!(agent.program.ended(STOP).code, Some(0));
    }
}

#[test]
fn a_hangup_stops_an_agent_with_a_goodbye() {
    let mut agent = Agent::start(Network::draw(), 1, "n1", &[]);
    await_answer(&agent);
    agent.program.signal(Signal::SIGHUP);
    let ended = agent.program.ended(STOP);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("after leaving the mesh"));
}

#[test]
fn an_agent_outlives_the_limit_on_the_size_of_its_log() {
    let mut agent = Agent::start(Network::draw(), 1, "n1", &[]);
    await_answer(&agent);
    limit(agent.program.pid(), libc::RLIMIT_FSIZE, 0);
    // The agent logs its end.
    agent.program.signal(Signal::SIGTERM);
    assert_eq!(agent.program.ended(STOP).code, Some(0));
}

#[test]
fn a_matrix_is_served_although_no_thread_can_be_started() {
    let agent = Agent::start(Network::draw(), 1, "n1", &[]);
    await_answer(&agent);
    forbid_threads(agent.program.pid());
    let answer = ask(agent.http(), "/api/v1/matrix");
    assert_eq!(answer.map(|(status, _)| status).ok(), Some(200));
}

#[test]
fn connections_leave_file_descriptors_for_tests() {
    let agent = Agent::start_in(Network::draw(), 1, "n1", &QUICK, |command| {
        prepare(command, || Ok(setrlimit(Resource::RLIMIT_NOFILE, 64, 64)?));
    });
    await_answer(&agent);
    let mut clients: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(agent.http()).unwrap())
        .collect();
    let is_closed = |client: &mut TcpStream| {
        client.set_nonblocking(true).unwrap();
        let read = client.read(&mut [0]);
        read.map_or_else(
            |error| error.kind() != ErrorKind::WouldBlock,
            |count| count == 0,
        )
    };
    let last = clients.last_mut().unwrap();
    await_that(
        "the last client is rejected",
        SOON,
        || is_closed(last),
        String::new,
    );
    let admitted = clients
        .iter_mut()
        .filter_map(|client| (!is_closed(client)).then_some(()));
    assert_eq!(admitted.count(), 64 / 4);
}

#[test]
fn an_init_process_reaps_orphans_and_its_own_iperf3() {
    let network = Network::draw();
    let dir = tempfile::tempdir().unwrap();
    let wrapper = dir.path().join("iperf3");
    // The inner shell ends at once, so that its child is an orphan. A wrapper may write to TMPDIR
    // only.
    let script = "#!/bin/sh\n\
                  (setsid sh -c 'echo $$ > $TMPDIR/new; mv $TMPDIR/new $TMPDIR/orphan' &)\n\
                  exec iperf3 \"$@\"\n";
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, Permissions::from_mode(0o755)).unwrap();
    let option = format!("--iperf3={}", wrapper.display());
    let join = format!("--join={}", network.address(1));
    let args = [&QUICK[..], &["--skip-quiet-time", &join]].concat();
    let first = Agent::start_in(
        network,
        1,
        "n1",
        &[&args[..], &[&option]].concat(),
        |command| {
            command.env("TMPDIR", dir.path());
            prepare(command, || Ok(set_child_subreaper(true)?));
        },
    );
    let second = Agent::start_with(network, 2, "n2", &args);
    let mut orphans = BTreeSet::new();
    await_that(
        "the end of an orphan",
        SWEEP,
        || {
            orphans.extend(written_in_subdirectories(dir.path(), "orphan"));
            orphans.iter().any(|pid| !proc_of(pid).exists())
        },
        String::new,
    );
    await_whole(&[&first, &second], SWEEP);
}

/// The contents of the files `name` in the subdirectories of `parent`, as far as they still exist.
fn written_in_subdirectories(parent: &Path, name: &str) -> Vec<String> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let files = entries.map(|entry| entry.path().join(name));
    files
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect()
}

#[track_caller]
fn await_answer(agent: &Agent) {
    let answers = || ask(agent.http(), "/healthz").is_ok_and(|(status, _)| status == 200);
    await_that("the agent answers", SOON, answers, String::new);
}

/// Leaves the process less memory than the stack of a thread takes.
fn forbid_threads(pid: u32) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kilobytes: u64 = size
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    limit(pid, libc::RLIMIT_AS, kilobytes * 1024 + (1 << 20));
}

fn limit(pid: u32, resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit {
        rlim_cur: value,
        rlim_max: value,
    };
    let pid = i32::try_from(pid).unwrap();
    // SAFETY: `limit` outlives the call, and the old limit is not requested.
    let result = unsafe { libc::prlimit(pid, resource, &raw const limit, null_mut()) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Runs `step` in the child before it becomes the agent. `step` must be safe after a fork.
fn prepare(command: &mut Command, step: fn() -> io::Result<()>) {
    // SAFETY: `step` makes one system call, allocates nothing and takes no lock.
    unsafe { command.pre_exec(step) };
}

fn proc_of(pid: &str) -> PathBuf {
    Path::new("/proc").join(pid.trim())
}
