//! What really runs: the iperf3 processes and the listening sockets of every host, looked at many
//! times a second.
//!
//! It asks the kernel only, never an agent, and judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::IPERF_PORTS;
use super::hosts::Lab;
use super::sockdiag::SockDiag;
use crate::boot_ns;
use crate::events::Role;
use crate::procfs::{self, Stat};

/// From the end of one look to the beginning of the next.
const PAUSE: Duration = Duration::from_millis(30);

/// A running iperf3 that serves or connects (not one that only says its version).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// The host whose namespace it is in.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// When it began, in ticks: with its id, what tells it from every other process.
    pub began: u64,
    /// Whether it serves or connects.
    pub role: Role,
    /// Where it connects to.
    pub target: Option<Ipv4Addr>,
}

/// A socket that listens on one of iperf3's ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// The host whose namespace it is in.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Which socket.
    pub inode: u32,
}

/// One look at everything. It takes a moment: what it shows need not have been there all at once.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// When the look began, on the clock of the events.
    pub begin_ns: u64,
    /// When it was done.
    pub end_ns: u64,
    /// What ran.
    pub processes: BTreeSet<Process>,
    /// What is stopped, and does nothing until it goes on.
    pub stopped: BTreeSet<Process>,
    /// What listened.
    pub listeners: BTreeSet<Listener>,
}

/// Looks at the hosts of one laboratory.
#[derive(Debug)]
pub struct Eye {
    /// By the inode of the host's namespace.
    names: BTreeMap<u64, String>,
    sockets: Vec<(String, SockDiag)>,
}

impl Eye {
    /// An eye on all hosts of `lab`.
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

    /// One look.
    pub fn look(&mut self) -> Sample {
        let begin_ns = boot_ns();
        let (mut processes, mut stopped) = (BTreeSet::new(), BTreeSet::new());
        for stat in procfs::all().filter(|stat| stat.name == "iperf3") {
            let found = if stat.state == 'T' {
                &mut stopped
            } else {
                &mut processes
            };
            found.extend(self.process(&stat));
        }
        let listeners = self.listeners();
        Sample {
            begin_ns,
            end_ns: boot_ns(),
            processes,
            stopped,
            listeners,
        }
    }

    fn process(&self, stat: &Stat) -> Option<Process> {
        let &Stat { pid, began, .. } = stat;
        // A zombie has no namespace and no command line: it is dead, and only waits to be reaped.
        let namespace = fs::metadata(format!("/proc/{pid}/ns/net")).ok()?.ino();
        let host = self.names.get(&namespace)?.clone();
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let (role, target) = part(&line)?;
        Some(Process {
            host,
            pid,
            began,
            role,
            target,
        })
    }

    fn listeners(&mut self) -> BTreeSet<Listener> {
        let mut found = BTreeSet::new();
        for (host, sockets) in &mut self.sockets {
            for (inode, port) in sockets.listeners().unwrap() {
                if IPERF_PORTS.contains(&port) {
                    found.insert(Listener {
                        host: host.clone(),
                        port,
                        inode,
                    });
                }
            }
        }
        found
    }
}

/// What a command line (words parted by NUL) makes of an iperf3.
fn part(line: &str) -> Option<(Role, Option<Ipv4Addr>)> {
    let words: Vec<&str> = line.split('\0').collect();
    if words.iter().any(|word| ["-s", "--server"].contains(word)) {
        return Some((Role::Server, None));
    }
    let at = words
        .iter()
        .position(|word| ["-c", "--client"].contains(word))?;
    let target = words.get(at + 1)?.parse().ok();
    Some((Role::Client, target))
}

/// Keeps looking, on a thread of its own, until it is told to stop.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

impl Sampler {
    /// Begins to look at all hosts of `lab`.
    pub fn start(lab: &Lab) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let mut eye = Eye::new(lab);
        let thread = thread::spawn(move || {
            let mut samples = Vec::new();
            while !told.load(Ordering::Relaxed) {
                samples.push(eye.look());
                thread::sleep(PAUSE);
            }
            samples
        });
        Self { stop, thread }
    }

    /// Ends it; everything that was seen, in the order of time.
    pub fn stop(self) -> Vec<Sample> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_tells_the_part() {
        let part = |line: &str| super::part(&line.replace(' ', "\0"));
        let target = Some(Ipv4Addr::new(198, 18, 0, 2));
        assert_eq!(
            part("iperf3 -c 198.18.0.2 -p 5201"),
            Some((Role::Client, target))
        );
        assert_eq!(
            part("iperf3 -s -1 -B 198.18.0.2"),
            Some((Role::Server, None))
        );
        assert_eq!(part("iperf3 --version"), None);
        assert_eq!(part(""), None);
    }
}
