//! Agents whose log nobody reads: the log may suffer, the agent must not.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::http::ask;
use iperf3_mesh_testkit::{Network, SOON, await_that};

#[test]
fn agent_answers_and_ends_while_nobody_reads_its_log() {
    let (mut agent, _log) = start(Reader::Stuck);
    await_answer(&agent);
    assert_eq!(agent.terminate().code, Some(0));
}

#[test]
fn log_of_an_agent_is_complete_once_it_is_read_again() {
    let (mut agent, log) = start(Reader::Stuck);
    await_answer(&agent);
    let reader = std::thread::spawn(|| lines(log));
    assert_eq!(agent.terminate().code, Some(0));
    let lines = reader.join().unwrap();
    for line in ["the agent starts", "agent stopped after leaving the mesh"] {
        assert!(lines.iter().any(|found| found.contains(line)), "{lines:?}");
    }
}

#[test]
fn agent_outlives_the_reader_of_its_log_and_counts_the_lines() {
    let (mut agent, log) = start(Reader::Present);
    drop(log);
    await_answer(&agent);
    let dropped = || agent.metric("iperf_mesh_log_lines_dropped_total");
    await_that(
        "a line is dropped",
        SOON,
        || dropped() > Some(0.0),
        String::new,
    );
    assert_eq!(agent.terminate().code, Some(0));
}

#[derive(Clone, Copy)]
enum Reader {
    Present,
    Stuck,
}

/// Starts an agent, and returns the end from which its log can be read.
fn start(reader: Reader) -> (Agent, UnixStream) {
    let (mut log, other_end) = UnixStream::pair().unwrap();
    if let Reader::Stuck = reader {
        log.set_nonblocking(true).unwrap();
        let full = loop {
            if let Err(error) = log.write(b"older lines\n") {
                break error.kind();
            }
        };
        assert_eq!(full, ErrorKind::WouldBlock);
        log.set_nonblocking(false).unwrap();
    }
    let agent = Agent::start_logging_to(Network::draw(), "n1", OwnedFd::from(log));
    (agent, other_end)
}

fn lines(log: UnixStream) -> Vec<String> {
    BufReader::new(log).lines().map_while(Result::ok).collect()
}

#[track_caller]
fn await_answer(agent: &Agent) {
    let answers = || ask(agent.http(), "/healthz").is_ok_and(|(status, _)| status == 200);
    await_that("the agent answers", SOON, answers, String::new);
}
