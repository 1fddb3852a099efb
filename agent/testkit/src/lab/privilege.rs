//! The right to make network namespaces: as this user, through `sudo -n`, or in a user namespace.
//!
//! A process with several threads cannot enter a user namespace, and a process cannot become root
//! in place. Where this process lacks the right, it therefore starts its own program again as a
//! child that has it.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// The variable that is set in the child, so that a child without the right does not start another
/// child.
const MARK: &str = "IPERF3_MESH_LAB_CHILD";

/// The programs that the laboratory runs.
const PROGRAMS: [&str; 4] = ["ip", "tc", "nft", "iperf3"];

/// Runs `body` here if this process may make network namespaces. Otherwise starts this program
/// again, with the arguments `rerun`, as a child that may make them.
///
/// # Panics
/// If neither is possible (the message names what is missing), or if the child fails.
pub fn privileged(rerun: &[&str], body: impl FnOnce()) {
    require_programs();
    if may_unshare() {
        return body();
    }
    assert!(
        env::var_os(MARK).is_none(),
        "the child may not make network namespaces either"
    );
    let mut child = wrapper();
    child
        .arg("env")
        .arg(format!("{MARK}=1"))
        .arg(env::current_exe().unwrap())
        .args(rerun);
    let status = child.status().unwrap();
    assert!(
        status.success(),
        "the child that may make network namespaces failed: {status}"
    );
}

/// Returns the PATH of the laboratory's commands. Distributions install ip, tc and nft in
/// directories that are not in the PATH of an ordinary user.
pub(crate) fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default())
}

fn wrapper() -> Command {
    for (program, args) in [("sudo", ["-n", "--"]), ("unshare", ["-Urn", "--"])] {
        let mut probe = Command::new(program);
        probe
            .args(args)
            .arg("true")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if probe.status().is_ok_and(|status| status.success()) {
            let mut command = Command::new(program);
            command.args(args);
            return command;
        }
    }
    panic!(
        "no right to make network namespaces: run this test as root, or make `sudo -n true` or \
         `unshare -Urn true` succeed (sysctl user.max_user_namespaces, \
         kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
    );
}

fn may_unshare() -> bool {
    thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok())
        .join()
        .unwrap()
}

fn require_programs() {
    let path = search_path();
    let found = |name: &str| {
        path.split(':')
            .any(|dir| Path::new(dir).join(name).exists())
    };
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|name| !found(name)).collect();
    assert!(
        missing.is_empty(),
        "not installed: {} (packages iproute2, nftables and iperf3)",
        missing.join(", ")
    );
}
