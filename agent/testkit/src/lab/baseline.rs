//! Two ways to measure a mesh without this project, in the same laboratory, for comparison.
//!
//! The serial way runs one test after the other, started from one place, as an orchestrator does.
//! In the uncoordinated way, every host works through its own list, all at the same time. Both ways
//! use a persistent `iperf3 -s` on each host.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::IPERF_PORTS;
use super::hosts::{Host, Lab};
use super::matrix::{all_cells, deviation, tcp_goodput};
use super::samples::Observer;
use crate::events::Cell;
use crate::wait_until;

/// The result of one way to measure the mesh.
#[derive(Clone, Copy, Debug, Default)]
pub struct Baseline {
    /// The number of tests.
    pub tests: usize,
    /// The number of failed tests.
    pub failed: usize,
    /// The number of tests that deviate by more than 3 %.
    pub off_3: usize,
    /// The number of tests that deviate by more than 10 %.
    pub off_10: usize,
    /// The duration of the whole run, in seconds.
    pub seconds: f64,
}

/// Tests every ordered pair, one pair after the other.
pub fn serial(lab: &Lab, seconds: u32) -> Baseline {
    let _servers = Servers::start(lab);
    let started = Instant::now();
    let results = all_cells(lab, &["tcp"])
        .into_iter()
        .map(|cell| measure(lab, cell, seconds))
        .collect();
    judge(lab, results, started.elapsed())
}

/// Tests every ordered pair. All sources test at the same time, each with its own list.
pub fn uncoordinated(lab: &Lab, seconds: u32) -> Baseline {
    let _servers = Servers::start(lab);
    let started = Instant::now();
    let mut lists: BTreeMap<String, Vec<Cell>> = BTreeMap::new();
    for cell in all_cells(lab, &["tcp"]) {
        lists.entry(cell.source.clone()).or_default().push(cell);
    }
    let results = thread::scope(|scope| {
        let measure_all = |list: Vec<Cell>| -> Vec<Measured> {
            list.into_iter()
                .map(|cell| measure(lab, cell, seconds))
                .collect()
        };
        // This starts all threads before the first one is joined.
        let threads: Vec<_> = lists
            .into_values()
            .map(|list| scope.spawn(move || measure_all(list)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    judge(lab, results, started.elapsed())
}

/// A cell and its bandwidth in megabits per second; `None` if the test failed.
type Measured = (Cell, Option<f64>);

fn measure(lab: &Lab, cell: Cell, seconds: u32) -> Measured {
    let to = lab.host(&cell.destination).address.to_string();
    // `timeout` is needed because iperf3 has no option that ends it in every state.
    let mut command = lab.host(&cell.source).namespace.command("timeout");
    command
        .args(["-s", "KILL", &(seconds + 10).to_string()])
        .args(["iperf3", "-J", "-c", &to, "-t", &seconds.to_string()])
        .args(["--connect-timeout", "3000"]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    (cell, received_mbps(&output.stdout))
}

fn received_mbps(report: &[u8]) -> Option<f64> {
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
        match mbps.map(|mbps| deviation(mbps, tcp_goodput(lab, &cell))) {
            None => sum.failed += 1,
            Some(deviation) => {
                sum.off_3 += usize::from(deviation > 0.03);
                sum.off_10 += usize::from(deviation > 0.10);
            }
        }
    }
    sum
}

/// One persistent server on each host. The servers are killed when this is dropped.
struct Servers(Vec<Child>);

impl Servers {
    fn start(lab: &Lab) -> Self {
        let start = |host: &Host| {
            let mut command = host.namespace.command("iperf3");
            command.arg("-s").stdin(Stdio::null()).stdout(Stdio::null());
            command.spawn().unwrap()
        };
        let servers = Self(lab.hosts().iter().map(start).collect());
        let mut observer = Observer::new(lab);
        let all_listen = || {
            let listeners = observer.sample().listeners.into_iter();
            let listening = listeners.filter(|it| it.port == *IPERF_PORTS.start());
            listening.count() == lab.hosts().len()
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
            // An error means that the server has already ended.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
