//! The iperf3 server. It serves exactly one client, the peer.
//!
//! The server's report is not read, because its measurements are sent to the client. This module
//! watches what only the server side can see: when the server listens, and which client connects.
//! Without the filter, it also looks at the sockets of the server, because iperf3 reports a client
//! only once its test runs.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use iperf3_mesh_core::wire::{Complaint, WORDS_MAX};
use iperf3_mesh_core::{Reason, TestSpec};
use thiserror::Error;
use tokio::sync::watch;

use super::filter::Gate;
use super::lookout::Lookout;
use super::plan::{Plan, Request};
use super::process::{Cause, Ending, Kill, Process, Watch};
use super::reason;
use super::report::{DETAIL_MAX, error_message, own_message};
use crate::text::excerpt;

/// How long to wait for a server to listen, which takes about 3 ms on an idle machine.
const READY: Duration = Duration::from_secs(2);

/// The pause between two looks at the sockets of a server without the filter.
const LOOKS: Duration = Duration::from_millis(50);

/// The length in bytes of the mark at which an excerpt leaves something out.
const GAP_LEN: usize = 3;

/// The maximum number of bytes that are read of one line. The relevant lines are shorter.
const LINE_MAX: usize = 256;

/// A running iperf3 server. Dropping it kills the process.
#[derive(Debug)]
pub struct Server {
    process: Process,
    seen: watch::Receiver<Seen>,
    gate: Option<Gate>,
    lookout: Lookout,
    /// The address of a stranger that a look at the sockets has shown.
    stranger: Option<IpAddr>,
}

/// The reason why a server does not listen. The server is dead or dying.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotReady {
    /// Another program uses the port.
    #[error("the port is in use by another program")]
    PortTaken,
    /// The server ended before it listened.
    #[error("iperf3 ended before it listened: {0}")]
    Ended(String),
    /// The server ended before it listened, because this node lacks something.
    #[error("iperf3 ended before it listened: {0}")]
    Starved(String),
    /// A client of this address came before the peer was told of the port.
    #[error("{0} connected, which is not the peer of the meeting")]
    Stranger(IpAddr),
    /// The server neither listened nor ended in time.
    #[error("iperf3 did not listen within {READY:?}")]
    Slow,
}

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEnd {
    /// Whether the peer connected as the client, and the server ran long enough to report this (a
    /// tenth of a second). Never true of a server that was killed because of another client.
    pub accepted: bool,
    /// The address of another client, if one connected. It was turned away by the filter, or the
    /// server was killed because of it.
    pub unexpected_client: Option<IpAddr>,
    /// The number of connections and datagrams of other addresses that the filter turned away, or
    /// 1 for the client that the server was killed for.
    pub strangers: u64,
    /// The request of the client for more than agreed; the server was killed because of it.
    pub breach: Option<String>,
    /// Whether the server was killed early through its [`Kill`].
    pub cancelled: bool,
    /// Whether the server was killed at its deadline.
    pub timed_out: bool,
    /// Whether the server crashed, that is, whether a signal of its own fault ended it.
    pub crashed: bool,
    /// The reason of a failure that iperf3 itself has reported; `None` if it reported none.
    pub failure: Option<Reason>,
    /// Text for the log: iperf3's error message, empty if there is none.
    pub detail: String,
}

impl ServerEnd {
    /// Returns what went wrong at the server, for the node of the client; `None` if nothing did.
    pub fn complaint(&self) -> Option<Complaint> {
        if let Some(breach) = &self.breach {
            let words = format!("its client asked for {breach}");
            return Some(Complaint::new(Reason::Iperf, &words));
        }
        if let Some(reason) = self.failure {
            let words = excerpt(&self.detail, WORDS_MAX - GAP_LEN);
            return Some(Complaint::new(reason, &words));
        }
        let client = self.unexpected_client.filter(|_| !self.accepted)?;
        let words = format!("an unexpected client came instead, {client}");
        Some(Complaint::new(Reason::Busy, &words))
    }
}

/// The facts that the output of a server has shown so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    listening: bool,
    accepted: bool,
    unexpected_client: Option<IpAddr>,
    request: Request,
    /// The request of the client for more than agreed.
    breach: Option<String>,
    /// iperf3's last error message, if it went to standard output.
    message: Option<String>,
}

/// Watches the output of a server that may serve only `peer`, and kills the server as soon as the
/// output shows an unexpected client, or a client that asks for more than `spec`.
pub(super) fn watch_output(peer: IpAddr, spec: &TestSpec) -> (watch::Receiver<Seen>, Watch) {
    let (show, seen) = watch::channel(Seen::default());
    let (mut line, plan) = (Vec::new(), Plan::new(spec));
    let watch = move |piece: &[u8], kill: &Kill| {
        for_each_line(&mut line, piece, |line| {
            show.send_if_modified(|seen| seen.parse_line(line, peer, &plan));
        });
        if show.borrow().is_over() {
            kill.kill();
        }
    };
    (seen, Box::new(watch))
}

/// Appends `piece` to `line`, and passes every completed line to `take`.
fn for_each_line(line: &mut Vec<u8>, piece: &[u8], mut take: impl FnMut(&str)) {
    for &byte in piece {
        if byte != b'\n' {
            if line.len() < LINE_MAX {
                line.push(byte);
            }
            continue;
        }
        take(&String::from_utf8_lossy(line));
        line.clear();
    }
}

/// Returns what is detected when a server for `peer` writes `output` in pieces of `size` bytes:
/// whether it listens and has accepted the peer, another client, and a breach of `spec`.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_output(
    output: &[u8],
    size: usize,
    peer: IpAddr,
    spec: &TestSpec,
) -> (bool, bool, Option<IpAddr>, Option<String>) {
    let (mut line, mut seen) = (Vec::new(), Seen::default());
    let plan = Plan::new(spec);
    for piece in output.chunks(size.max(1)) {
        for_each_line(&mut line, piece, |line| {
            seen.parse_line(line, peer, &plan);
        });
    }
    (
        seen.listening,
        seen.accepted,
        seen.unexpected_client,
        seen.breach,
    )
}

impl Seen {
    /// Returns whether the server has served a client that it should not.
    fn is_over(&self) -> bool {
        self.unexpected_client.is_some() || self.breach.is_some()
    }

    /// Reads a line of output, and returns whether it showed something new.
    fn parse_line(&mut self, line: &str, peer: IpAddr, plan: &Plan) -> bool {
        if line.starts_with("Server listening on ") {
            self.listening = true;
        } else if let Some(rest) = line.strip_prefix("Accepted connection from ") {
            let from = rest
                .split([',', '%'])
                .next()
                .and_then(|from| from.parse::<IpAddr>().ok());
            // An unreadable address cannot be the peer's address.
            let from = from.unwrap_or(Ipv6Addr::UNSPECIFIED.into()).to_canonical();
            if from == peer.to_canonical() {
                self.accepted = true;
            } else {
                self.unexpected_client = Some(from);
            }
        } else if let Some(message) = own_message(line) {
            self.message = Some(excerpt(message, DETAIL_MAX));
        } else if let Some(breach) = plan.breach(&mut self.request, line) {
            self.breach.get_or_insert(breach);
        } else {
            return false;
        }
        true
    }
}

impl Server {
    pub(super) fn new(
        process: Process,
        seen: watch::Receiver<Seen>,
        gate: Option<Gate>,
        lookout: Lookout,
    ) -> Self {
        Self {
            process,
            seen,
            gate,
            lookout,
            stranger: None,
        }
    }

    /// Returns whether the filter works in this server, once it listens.
    pub fn is_filtered(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.tally().armed)
    }

    /// Returns the process id, which is also the id of the process group.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns a handle that kills the server early.
    pub fn killer(&self) -> Kill {
        self.process.killer()
    }

    /// Waits until the server listens. A server that does not listen within two seconds is killed.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not listen. It is then dead or dying.
    pub async fn ready(&mut self) -> Result<(), NotReady> {
        let listening = self.seen.wait_for(|seen| seen.listening);
        let listening = tokio::time::timeout(READY, listening).await;
        match listening.map(|seen| seen.map(drop)) {
            Ok(Ok(())) => return self.find_no_stranger().await,
            // The task that watched the output is gone, so the process has ended or is about to
            // end.
            Ok(Err(_)) => {}
            Err(_) => {
                self.process.killer().kill();
                return Err(NotReady::Slow);
            }
        }
        let ending = self.process.wait().await;
        if String::from_utf8_lossy(&ending.stderr).contains("Address already in use") {
            return Err(NotReady::PortTaken);
        }
        let message = self.seen.borrow().message.clone();
        Err(match failure(ending, message, false) {
            Some((Reason::Resources, words)) => NotReady::Starved(words),
            _ => NotReady::Ended(detail(ending)),
        })
    }

    /// Looks at the sockets of a server without the filter, and kills it if a stranger is there.
    async fn find_no_stranger(&mut self) -> Result<(), NotReady> {
        if self.is_filtered() {
            return Ok(());
        }
        let not_ready = match tokio::time::timeout(READY, look(self.lookout, false)).await {
            Ok(Ok(Some(stranger))) => NotReady::Stranger(stranger),
            Ok(_) => return Ok(()),
            Err(_) => NotReady::Slow,
        };
        self.process.killer().kill();
        self.process.wait().await;
        Err(not_ready)
    }

    /// Waits until the process has ended and has been reaped, at the latest at its deadline.
    /// Dropping the future loses nothing: call this function again.
    pub async fn wait(&mut self) -> ServerEnd {
        if !self.is_filtered() && self.stranger.is_none() {
            let look = look_for_strangers(self.lookout, self.seen.clone());
            tokio::select! {
                _ = self.process.wait() => {}
                stranger = look => {
                    self.stranger = Some(stranger);
                    self.process.killer().kill();
                }
            }
        }
        let ending = self.process.wait().await;
        let mut seen = self.seen.borrow().clone();
        if self.stranger.is_some() {
            // Whatever the guest has begun is no test.
            seen.unexpected_client = self.stranger;
            seen.accepted = false;
        }
        let is_over = seen.is_over();
        let tally = self.gate.as_ref().map(Gate::tally).unwrap_or_default();
        let data = tally.breach.then(|| "data from the server".to_owned());
        let failure = failure(ending, seen.message, seen.accepted);
        ServerEnd {
            accepted: seen.accepted,
            unexpected_client: seen.unexpected_client.or(tally.last),
            strangers: tally.strangers + u64::from(seen.unexpected_client.is_some()),
            breach: seen.breach.or(data),
            cancelled: ending.cause == Cause::Killed && !is_over,
            timed_out: ending.cause == Cause::Deadline,
            crashed: crashed(ending),
            failure: failure.as_ref().map(|(reason, _)| *reason),
            detail: failure.map_or_else(|| detail(ending), |(_, message)| message),
        }
    }
}

/// Returns the address of a stranger that has a connection to the server before the peer's test
/// runs, or that has a stream of its own. Later on, iperf3 itself refuses connections.
async fn look_for_strangers(lookout: Lookout, seen: watch::Receiver<Seen>) -> IpAddr {
    loop {
        let is_running = seen.borrow().accepted;
        match look(lookout, is_running).await {
            Ok(Some(stranger)) => return stranger,
            Ok(None) => tokio::time::sleep(LOOKS).await,
            // The kernel lists no sockets here. Only the output remains.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Looks once, on another thread: the kernel may walk all connections of the machine.
async fn look(lookout: Lookout, is_running: bool) -> io::Result<Option<IpAddr>> {
    tokio::task::spawn_blocking(move || lookout.stranger(is_running)).await?
}

/// Returns the failure that iperf3 has reported, and its message. The exit code is not used: it is
/// often 0 after a failure.
fn failure(ending: &Ending, printed: Option<String>, accepted: bool) -> Option<(Reason, String)> {
    if let Cause::Exited(status) = ending.cause
        && let Some(number) = status.signal()
    {
        return Some(reason::of_signal(number));
    }
    let stderr = String::from_utf8_lossy(&ending.stderr);
    let message = own_message(&stderr).map(|message| excerpt(message, DETAIL_MAX));
    let message = message.or(printed)?;
    let reason = reason::of(&message, accepted);
    // iperf3 also writes notes with its name in front, such as one for each datagram out of order.
    let is_failure = reason != Reason::Iperf || message.starts_with("error - ");
    is_failure.then_some((reason, message))
}

/// A full directory for temporary files ends iperf3 by SIGBUS, which is no crash.
fn crashed(ending: &Ending) -> bool {
    let faults = [libc::SIGSEGV, libc::SIGABRT, libc::SIGILL, libc::SIGFPE];
    matches!(ending.cause, Cause::Exited(status)
        if status.signal().is_some_and(|number| faults.contains(&number)))
}

fn detail(ending: &Ending) -> String {
    let stderr = String::from_utf8_lossy(&ending.stderr);
    excerpt(error_message(&stderr), DETAIL_MAX)
}

#[cfg(test)]
mod tests {
    use iperf3_mesh_core::Protocol;

    use super::*;

    fn spec() -> TestSpec {
        TestSpec {
            protocol: Protocol::Tcp,
            duration: Duration::from_secs(1),
            omit: Duration::ZERO,
            timeout: Duration::from_secs(5),
            bitrate: None,
            streams: 1,
            bidir: false,
        }
    }

    fn seen(peer: &str, lines: &[&str]) -> Seen {
        let (mut seen, plan) = (Seen::default(), Plan::new(&spec()));
        for line in lines {
            seen.parse_line(line, peer.parse().expect("an address"), &plan);
        }
        seen
    }

    #[test]
    fn the_listening_line_of_every_version_is_recognized() {
        for line in [
            "Server listening on 5201",
            "Server listening on 5201 (test #1)",
        ] {
            assert!(seen("10.0.0.1", &[line]).listening, "{line}");
        }
        assert!(!seen("10.0.0.1", &["-----------", ""]).listening);
    }

    #[test]
    fn the_peer_is_recognized_in_every_notation() {
        for (peer, from) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "::ffff:10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("fd77::1", "fd77:0:0:0:0:0:0:1"),
            ("fe80::1", "fe80::1%eth0"),
        ] {
            let seen = seen(
                peer,
                &[&format!("Accepted connection from {from}, port 51686")],
            );
            assert!(
                seen.accepted && seen.unexpected_client.is_none(),
                "{peer} {from}"
            );
        }
    }

    #[test]
    fn a_note_of_iperf3_is_no_failure() {
        let ending = |stderr: &str| Ending {
            cause: Cause::Exited(std::process::ExitStatus::default()),
            stdout: Vec::new(),
            stderr: stderr.as_bytes().to_vec(),
        };
        for note in [
            "iperf3: OUT OF ORDER - incoming packet = 17 and received packet = 18 AND SP = 5",
            "warning: this system does not seem to support IPv6 - trying IPv4",
        ] {
            assert_eq!(failure(&ending(note), None, true), None, "{note}");
        }
        for error in [
            "iperf3: error - something new",
            "iperf3: the client has terminated",
        ] {
            assert!(failure(&ending(error), None, true).is_some(), "{error}");
        }
    }

    #[test]
    fn any_other_address_is_an_unexpected_client() {
        for (from, unexpected_client) in [
            ("10.0.0.2", "10.0.0.2"),
            ("::ffff:10.0.0.2", "10.0.0.2"),
            ("10.0.0.11", "10.0.0.11"),
            ("nobody", "::"),
            ("", "::"),
        ] {
            let seen = seen(
                "10.0.0.1",
                &[&format!("Accepted connection from {from}, port 51686")],
            );
            let unexpected_client: IpAddr = unexpected_client.parse().expect("an address");
            assert!(
                !seen.accepted && seen.unexpected_client == Some(unexpected_client),
                "{from}"
            );
        }
    }
}
