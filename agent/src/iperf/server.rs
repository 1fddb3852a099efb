//! iperf3 as a server: it serves one client, the peer, and nobody else.
//!
//! Its own report is not read; what it measured travels to the client. Here is what only this end
//! sees: when it listens, and who came. It cannot see an unexpected client that connects and stays
//! silent, as iperf3 names a client only once its test runs: such a one costs the peer its test,
//! and is gone at the deadline.

use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

use super::process::{Cause, Ending, Kill, Process, Watch};
use super::report::{DETAIL_MAX, complaint};

/// For a server to listen, which takes some 3 ms on an idle machine.
const READY: Duration = Duration::from_secs(2);

/// Bytes of a line that are looked at; the lines that matter are shorter.
const LINE_MAX: usize = 256;

/// A server at work. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    process: Process,
    seen: watch::Receiver<Seen>,
}

/// Why a server does not listen. It is dead or dying then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotReady {
    /// Somebody else has its port.
    #[error("the port is in use by another program")]
    PortTaken,
    /// It ended before it listened.
    #[error("iperf3 ended before it listened: {0}")]
    Ended(String),
    /// It did nothing for too long.
    #[error("iperf3 did not listen within {READY:?}")]
    Slow,
}

/// What came of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEnd {
    /// The peer was accepted as its client, and the server lived long enough to say so (a tenth of
    /// a second).
    pub accepted: bool,
    /// Somebody else was, and the server was killed for it.
    pub unexpected_client: Option<IpAddr>,
    /// It was ended early through its [`Kill`].
    pub cancelled: bool,
    /// It was killed at its deadline.
    pub timed_out: bool,
    /// For the log: iperf3's own words if it complained, else empty.
    pub detail: String,
}

/// What the server's output has shown so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    listening: bool,
    accepted: bool,
    unexpected_client: Option<IpAddr>,
}

/// Watches the output of a server that is to serve `peer` only, and kills the server as soon as it
/// shows a unexpected client.
pub(super) fn watch_output(peer: IpAddr) -> (watch::Receiver<Seen>, Watch) {
    let (show, seen) = watch::channel(Seen::default());
    let mut line = Vec::new();
    let watch = move |piece: &[u8], kill: &Kill| {
        for &byte in piece {
            if byte != b'\n' {
                if line.len() < LINE_MAX {
                    line.push(byte);
                }
                continue;
            }
            show.send_if_modified(|seen| seen.look(&String::from_utf8_lossy(&line), peer));
            line.clear();
        }
        if show.borrow().unexpected_client.is_some() {
            kill.kill();
        }
    };
    (seen, Box::new(watch))
}

impl Seen {
    /// Whether `line` shows something new.
    fn look(&mut self, line: &str, peer: IpAddr) -> bool {
        if line.starts_with("Server listening on ") {
            self.listening = true;
        } else if let Some(rest) = line.strip_prefix("Accepted connection from ") {
            let from = rest
                .split([',', '%'])
                .next()
                .and_then(|from| from.parse::<IpAddr>().ok());
            // Whom nobody can name is not the peer.
            let from = from.unwrap_or(Ipv6Addr::UNSPECIFIED.into()).to_canonical();
            if from == peer.to_canonical() {
                self.accepted = true;
            } else {
                self.unexpected_client = Some(from);
            }
        } else {
            return false;
        }
        true
    }
}

impl Server {
    pub(super) fn new(process: Process, seen: watch::Receiver<Seen>) -> Self {
        Self { process, seen }
    }

    /// Its process id, which is also its group's.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// To end it early.
    pub fn killer(&self) -> Kill {
        self.process.killer()
    }

    /// Until it listens. Within two seconds it does or is killed.
    ///
    /// # Errors
    ///
    /// If it does not listen; it has been killed then.
    pub async fn ready(&mut self) -> Result<(), NotReady> {
        let listening = self.seen.wait_for(|seen| seen.listening);
        match tokio::time::timeout(READY, listening).await {
            Ok(Ok(_)) => return Ok(()),
            // The watch is gone, and so the process is at its end.
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
        Err(NotReady::Ended(detail(ending)))
    }

    /// Until it has ended and is reaped, which is at its deadline at the latest. Nothing is lost if
    /// the future is dropped and this is called again.
    pub async fn wait(&mut self) -> ServerEnd {
        let ending = self.process.wait().await;
        let seen = *self.seen.borrow();
        ServerEnd {
            accepted: seen.accepted,
            unexpected_client: seen.unexpected_client,
            cancelled: ending.cause == Cause::Killed && seen.unexpected_client.is_none(),
            timed_out: ending.cause == Cause::Deadline,
            detail: detail(ending),
        }
    }
}

fn detail(ending: &Ending) -> String {
    if let Cause::Exited(status) = ending.cause
        && let Some(number) = status.signal()
    {
        return format!("ended by signal {number}");
    }
    complaint(&String::from_utf8_lossy(&ending.stderr))
        .chars()
        .take(DETAIL_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, lines: &[&str]) -> Seen {
        let mut seen = Seen::default();
        for line in lines {
            seen.look(line, peer.parse().expect("an address"));
        }
        seen
    }

    #[test]
    fn every_version_says_that_it_listens() {
        for line in [
            "Server listening on 5201",
            "Server listening on 5201 (test #1)",
        ] {
            assert!(seen("10.0.0.1", &[line]).listening, "{line}");
        }
        assert!(!seen("10.0.0.1", &["-----------", ""]).listening);
    }

    #[test]
    fn the_peer_is_known_in_every_notation() {
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
    fn anybody_else_is_a_stranger() {
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
