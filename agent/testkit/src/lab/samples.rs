//! Samples of what actually runs: the iperf3 processes and the listening sockets of every host,
//! many times a second.
//!
//! The samples come from the kernel, never from an agent. [`super::evidence`] checks them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use procfs::process::Stat;

use super::IPERF_PORTS;
use super::hosts::Lab;
use super::sockdiag::SockDiag;
use crate::boot_ns;
use crate::events::Role;
use crate::processes;

/// The pause between two samples.
const PAUSE: Duration = Duration::from_millis(30);

/// An iperf3 client or server (not one that only prints its version).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// The host in whose namespace the process runs.
    pub host: String,
    /// The id and the start of the process.
    pub(crate) id: processes::Process,
    /// The role of the process, client or server.
    pub(crate) role: Role,
    /// The address of the server; only a client has one.
    pub(crate) target: Option<Ipv4Addr>,
}

impl Process {
    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.id.pid
    }
}

/// A socket that listens on one of iperf3's ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listener {
    /// The host in whose namespace the socket is.
    pub(crate) host: String,
    /// The port that the socket listens on.
    pub(crate) port: u16,
    /// The inode of the socket.
    pub(crate) inode: u32,
}

/// One sample of all hosts. It takes a moment, so its parts need not have existed all at once.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The time after the last read, on the clock of the events.
    pub(crate) end_ns: u64,
    /// The processes that run.
    pub processes: BTreeSet<Process>,
    /// The processes that are stopped by a signal.
    pub(crate) stopped: BTreeSet<Process>,
    /// The listening sockets.
    pub(crate) listeners: BTreeSet<Listener>,
}

/// Takes samples of the hosts of one laboratory.
#[derive(Debug)]
pub struct Observer {
    /// The names of the hosts, by the inodes of their namespaces.
    names: BTreeMap<u64, String>,
    sockets: Vec<(String, SockDiag)>,
}

impl Observer {
    /// Observes all hosts of `lab`.
    pub fn new(lab: &Lab) -> Self {
        let hosts = lab.hosts().iter();
        Self {
            names: hosts
                .clone()
                .map(|host| (host.namespace.inode(), host.name.clone()))
                .collect(),
            sockets: hosts
                .map(|host| (host.name.clone(), SockDiag::open(&host.namespace)))
                .collect(),
        }
    }

    /// Takes a sample.
    pub fn sample(&mut self) -> Sample {
        let mut sample = Sample::default();
        for stat in processes::all().filter(|stat| stat.comm == "iperf3") {
            let kind = if stat.state == 'T' {
                &mut sample.stopped
            } else {
                &mut sample.processes
            };
            kind.extend(self.process(&stat));
        }
        sample.listeners = self.listeners();
        sample.end_ns = boot_ns();
        sample
    }

    /// Returns the process; `None` if it belongs to no host, or is a zombie, which has no namespace
    /// and no command line.
    fn process(&self, stat: &Stat) -> Option<Process> {
        let pid = stat.pid;
        let namespace = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino();
        let host = self.names.get(&namespace)?.clone();
        let process = procfs::process::Process::new(pid).ok()?;
        let (role, target) = role(&process.cmdline().ok()?)?;
        Some(Process {
            host,
            id: processes::Process::new(stat),
            role,
            target,
        })
    }

    fn listeners(&mut self) -> BTreeSet<Listener> {
        let mut found = BTreeSet::new();
        for (host, sockets) in &mut self.sockets {
            for (inode, port) in sockets.listeners().unwrap() {
                if IPERF_PORTS.contains(&port) {
                    let host = host.clone();
                    found.insert(Listener { host, port, inode });
                }
            }
        }
        found
    }
}

/// Returns the role of an iperf3 with these arguments, and the address that it connects to; `None`
/// for one that runs no test, such as the server on loopback with which an agent tries its filter.
fn role(arguments: &[String]) -> Option<(Role, Option<Ipv4Addr>)> {
    let position = |names: [&str; 2]| {
        let mut arguments = arguments.iter();
        arguments.position(|argument| names.contains(&argument.as_str()))
    };
    if position(["-s", "--server"]).is_some() {
        let at = position(["-B", "--bind"]);
        let address = at.and_then(|at| arguments.get(at + 1)?.parse::<IpAddr>().ok());
        let is_trial = address.is_some_and(|address| address.is_loopback());
        return (!is_trial).then_some((Role::Server, None));
    }
    let at = position(["-c", "--client"])?;
    let target = arguments.get(at + 1)?.parse().ok();
    Some((Role::Client, target))
}

/// Takes samples on a thread of its own until it is stopped.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// Starts to sample all hosts of `lab`.
    pub fn start(lab: &Lab) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stop);
        let mut observer = Observer::new(lab);
        let thread = thread::spawn(move || {
            let mut samples = Vec::new();
            while !is_stopped.load(Ordering::Relaxed) {
                samples.push(observer.sample());
                thread::sleep(PAUSE);
            }
            samples
        });
        Self { stop, thread }
    }

    /// Stops the sampler; returns all samples in the order of time.
    pub fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_comes_from_the_command_line() {
        let target = Some(Ipv4Addr::new(198, 18, 0, 2));
        for (line, expected) in [
            ("iperf3 -c 198.18.0.2 -p 5201", Some((Role::Client, target))),
            ("iperf3 -s -1 -B 198.18.0.2", Some((Role::Server, None))),
            ("iperf3 -s -1 -B 127.0.0.1", None),
            ("iperf3 --version", None),
            ("", None),
        ] {
            let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(role(&arguments), expected, "{line}");
        }
    }
}
