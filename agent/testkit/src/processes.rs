//! The processes of this machine, read from `/proc`.

use std::time::Duration;

use procfs::process::{self, Stat, Status};

/// A process. Its start time distinguishes it from a later process with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// The id of the process; the kernel uses it again later.
    pub pid: u32,
    /// The start of the process, in clock ticks since boot.
    pub start: u64,
}

impl Process {
    /// Creates the process of one `/proc/<pid>/stat`.
    pub(crate) fn new(stat: &Stat) -> Self {
        let (pid, start) = (id(stat.pid), stat.starttime);
        Self { pid, start }
    }

    /// Returns whether the process still runs. A zombie does not run.
    pub fn is_running(&self) -> bool {
        let stat = process::Process::new(signed(self.pid)).and_then(|process| process.stat());
        stat.is_ok_and(|now| now.starttime == self.start && !is_dead(&now))
    }
}

/// Returns the stat of every process. A process that ends during the walk may be missing.
pub(crate) fn all() -> impl Iterator<Item = Stat> {
    process::all_processes()
        .unwrap()
        .filter_map(|process| process.ok()?.stat().ok())
}

/// Returns the running iperf3 children of `parent`.
pub fn iperf3_of(parent: u32) -> Vec<Process> {
    children(parent)
        .filter(|stat| stat.comm == "iperf3" && !is_dead(stat))
        .map(|stat| Process::new(&stat))
        .collect()
}

/// Returns the children of `parent` that have ended, but that it has not reaped.
pub fn zombies(parent: u32) -> Vec<u32> {
    children(parent)
        .filter(|stat| stat.state == 'Z')
        .map(|stat| id(stat.pid))
        .collect()
}

/// Returns the peak resident memory of the process, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    status(pid).vmhwm.unwrap() * 1024
}

/// Returns the resident memory of the process, in bytes.
pub fn resident_memory(pid: u32) -> u64 {
    status(pid).vmrss.unwrap() * 1024
}

/// Returns the user and system time that the process has used.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = process::Process::new(signed(pid)).unwrap().stat().unwrap();
    let ticks = (stat.utime + stat.stime) as f64;
    Duration::from_secs_f64(ticks / procfs::ticks_per_second() as f64)
}

fn children(parent: u32) -> impl Iterator<Item = Stat> {
    all().filter(move |stat| stat.ppid == signed(parent))
}

fn status(pid: u32) -> Status {
    let process = process::Process::new(signed(pid)).unwrap();
    process.status().unwrap()
}

fn is_dead(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X')
}

/// Converts a process id. The kernel's ids are positive and fit in 22 bits.
fn id(pid: i32) -> u32 {
    u32::try_from(pid).unwrap()
}

fn signed(pid: u32) -> i32 {
    i32::try_from(pid).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_all_and_runs() {
        let own = std::process::id();
        let found = all().map(|stat| Process::new(&stat));
        let this = found.into_iter().find(|process| process.pid == own);
        assert!(this.unwrap().is_running());
    }

    #[test]
    fn process_with_another_start_time_is_not_running() {
        let pid = std::process::id();
        assert!(!Process { pid, start: 0 }.is_running());
    }

    #[test]
    fn memory_of_this_process_is_some_megabytes() {
        let pid = std::process::id();
        for bytes in [resident_memory(pid), peak_memory(pid)] {
            assert!((1 << 20..1 << 30).contains(&bytes), "{bytes}");
        }
    }
}
