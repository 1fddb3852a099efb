//! The two ways to measure a mesh without this project, in the same laboratory, to be set beside
//! it.
//!
//! Serial: one test after the other, from one place, as an orchestrator does it. Uncoordinated:
//! every host goes through its list at the same time as all others. Both use a persistent `iperf3
//! -s` on each host.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::IPERF_PORTS;
use super::hosts::Lab;
use super::matrix::{all_cells, off, tcp_goodput};
use crate::events::Cell;
use crate::wait_until;

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Baseline {
    /// Tests that were run.
    pub tests: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that were off by more than 3 %.
    pub off_3: usize,
    /// Those that were off by more than 10 %.
    pub off_10: usize,
    /// How long it took.
    pub seconds: f64,
}

/// Every ordered pair, one test after the other.
pub fn serial(lab: &Lab, seconds: u32) -> Baseline {
    let _servers = Servers::start(lab);
    let started = Instant::now();
    let cells = all_cells(lab, &["tcp"]);
    let results = cells
        .into_iter()
        .map(|cell| measure(lab, cell, seconds))
        .collect();
    judge(lab, results, started.elapsed())
}

/// Every ordered pair, all sources at the same time, each through its own list.
pub fn uncoordinated(lab: &Lab, seconds: u32) -> Baseline {
    let _servers = Servers::start(lab);
    let started = Instant::now();
    let mut lists: BTreeMap<String, BTreeSet<Cell>> = BTreeMap::new();
    for cell in all_cells(lab, &["tcp"]) {
        lists.entry(cell.source.clone()).or_default().insert(cell);
    }
    let results = thread::scope(|scope| {
        let walk = |list: BTreeSet<Cell>| {
            list.into_iter()
                .map(|cell| measure(lab, cell, seconds))
                .collect::<Vec<_>>()
        };
        let walks: Vec<_> = lists
            .into_values()
            .map(|list| scope.spawn(move || walk(list)))
            .collect();
        walks
            .into_iter()
            .flat_map(|walk| walk.join().unwrap())
            .collect()
    });
    judge(lab, results, started.elapsed())
}

/// A cell, and what arrived, megabits per second, unless the test failed.
type Measured = (Cell, Option<f64>);

fn measure(lab: &Lab, cell: Cell, seconds: u32) -> Measured {
    let to = lab.host(&cell.destination).address.to_string();
    // iperf3 has no option that ends it in every state.
    let mut command = lab.host(&cell.source).namespace.command("timeout");
    command.args([
        "-s",
        "KILL",
        &(seconds + 10).to_string(),
        "iperf3",
        "-J",
        "-c",
        &to,
    ]);
    command.args(["-t", &seconds.to_string(), "--connect-timeout", "3000"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    (cell, arrived(&output.stdout))
}

fn arrived(report: &[u8]) -> Option<f64> {
    let report: Value = serde_json::from_slice(report).ok()?;
    if report.get("error").is_some() {
        return None;
    }
    let rate = report
        .pointer("/end/sum_received/bits_per_second")?
        .as_f64()?;
    (rate > 0.0).then_some(rate / 1e6)
}

fn judge(lab: &Lab, results: Vec<Measured>, took: Duration) -> Baseline {
    let mut sum = Baseline {
        seconds: took.as_secs_f64(),
        ..Baseline::default()
    };
    for (cell, mbps) in results {
        sum.tests += 1;
        match mbps.map(|mbps| off(mbps, tcp_goodput(lab, &cell))) {
            None => sum.failed += 1,
            Some(off) => {
                sum.off_3 += usize::from(off > 0.03);
                sum.off_10 += usize::from(off > 0.10);
            }
        }
    }
    sum
}

/// One standing server on each host; ended when dropped.
struct Servers(Vec<Child>);

impl Servers {
    fn start(lab: &Lab) -> Self {
        let start = |host: &super::hosts::Host| {
            let mut command = host.namespace.command("iperf3");
            command.arg("-s").stdin(Stdio::null()).stdout(Stdio::null());
            command.spawn().unwrap()
        };
        let servers = Self(lab.hosts().iter().map(start).collect());
        let mut eye = super::samples::Eye::new(lab);
        let all_listen = || {
            let look = eye.look();
            look.listeners
                .iter()
                .filter(|it| it.port == *IPERF_PORTS.start())
                .count()
                == lab.hosts().len()
        };
        assert!(
            wait_until(Duration::from_secs(10), all_listen),
            "the servers do not listen"
        );
        servers
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.0 {
            // Errors only if it has ended already.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
