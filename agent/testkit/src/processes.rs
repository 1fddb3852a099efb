//! What `/proc` says of the programs and of what they start.

use std::fs;

/// A process, told from a later one with the same number by its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pid: u32,
    /// Clock ticks since boot.
    start: u64,
    parent: u32,
    name: String,
    state: char,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name is in parentheses and may hold blanks and parentheses.
        let (head, tail) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let (state, parent, start) = (fields.first()?, fields.get(1)?, fields.get(19)?);
        Some(Self {
            pid,
            start: start.parse().ok()?,
            parent: parent.parse().ok()?,
            name,
            state: state.chars().next()?,
        })
    }

    /// Whether it still runs. One that waits to be reaped does not.
    pub fn lives(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.start == self.start && !"ZX".contains(now.state))
    }
}

/// The iperf3 that `parent` has started and that run.
pub fn iperf3_of(parent: u32) -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Processes come and go while they are looked at; one that went is not there.
    let all = pids.filter_map(Process::read);
    all.filter(|it| it.parent == parent && it.name == "iperf3" && !"ZX".contains(it.state))
        .collect()
}

/// The most memory that the process has ever had resident, in bytes.
pub fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kilobytes * 1024
}
