//! Agents whose supervisor starts them in an unusual way.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use iperf3_mesh_testkit::agents::{Agent, QUICK};
use iperf3_mesh_testkit::{Network, SWEEP, await_that};
use nix::sys::prctl::set_child_subreaper;
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
fn an_init_process_reaps_orphans_and_its_own_iperf3() {
    let network = Network::draw();
    let dir = tempfile::tempdir().unwrap();
    let (wrapper, orphan) = (dir.path().join("iperf3"), dir.path().join("orphan"));
    // The inner shell ends at once, so that its child is an orphan.
    let script = format!(
        "#!/bin/sh\n(setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}' &)\nexec iperf3 \"$@\"\n",
        orphan.display()
    );
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
            prepare(command, || Ok(set_child_subreaper(true)?));
        },
    );
    let second = Agent::start_with(network, 2, "n2", &args);
    await_that(
        "the end of the orphan",
        SWEEP,
        || fs::read_to_string(&orphan).is_ok_and(|pid| !proc_of(&pid).exists()),
        || format!("{:?}", fs::read_to_string(&orphan)),
    );
    await_whole(&[&first, &second], SWEEP);
}

/// Runs `step` in the child before it becomes the agent. `step` must be safe after a fork.
fn prepare(command: &mut Command, step: fn() -> io::Result<()>) {
    // SAFETY: `step` makes one system call, allocates nothing and takes no lock.
    unsafe { command.pre_exec(step) };
}

fn proc_of(pid: &str) -> PathBuf {
    Path::new("/proc").join(pid.trim())
}
