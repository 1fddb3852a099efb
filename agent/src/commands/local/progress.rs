//! Shows the progress of `local` on stderr: on a terminal, a bar with the present meetings;
//! otherwise, a line every few seconds. Lines of this module are at most 80 columns long.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use iperf3_mesh_core::NodeName;
use iperf3_mesh_core::schedule::Tournament;

use crate::api::{Schedule, Since, Sweep};
use crate::cli::{LocalArgs, OutputFormat};
use crate::config::TestSettings;
use crate::render::screen::can_redraw;
use crate::units;

/// The interval between two lines if stderr is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// The maximum number of times per second that the bar is redrawn.
const REDRAW_HZ: u8 = 5;

/// The template of the bar. The bar is as wide as the rest of its line allows, and the line of
/// meetings is cut off at the edge of the terminal.
const TEMPLATE: &str = "{prefix} [{wide_bar}] {pos}/{len} pairs\n{wide_msg}";

/// The maximum number of meetings on a line that is not cut off at the edge.
const MEETINGS_SHOWN: usize = 2;

pub(super) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    last_line: Option<Instant>,
    estimate: Estimate,
    page: SocketAddr,
    is_for_people: bool,
}

impl Progress {
    /// Announces the run that is about to start.
    pub(super) fn new(args: &LocalArgs, settings: &TestSettings, page: SocketAddr) -> Self {
        let connection = std::env::var("SSH_CONNECTION").ok();
        let user = std::env::var("USER").ok();
        let ssh = ssh_hint(page, connection.as_deref(), user.as_deref());
        let _ = write!(
            io::stderr(),
            "{}{}",
            introduction(args.nodes, settings, page),
            ssh.unwrap_or_default()
        );
        let is_terminal = can_redraw(&io::stderr());
        let target = if is_terminal {
            ProgressDrawTarget::stderr_with_hz(REDRAW_HZ)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template(TEMPLATE)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        bar.set_style(style);
        Self {
            bar,
            is_terminal,
            last_line: None,
            estimate: Estimate::default(),
            page,
            is_for_people: args.format.output == OutputFormat::Table,
        }
    }

    /// Shows the progress of sweep `number`.
    pub(super) fn show(&mut self, number: u64, schedules: &[(NodeName, Schedule)]) {
        let nodes = schedules.len();
        let all = nodes * (nodes - 1) / 2;
        let sweeps: Vec<&Sweep> = schedules
            .iter()
            .map(|(_, schedule)| &schedule.sweep)
            .filter(|sweep| sweep.number == number)
            .collect();
        let met = sweeps.iter().map(|sweep| sweep.met).sum::<usize>() / 2;
        let rounds = Tournament::new(nodes).rounds();
        let share = (met / (nodes / 2)) as f64 / rounds as f64;
        let prefix = match self.estimate.left(number, share, &sweeps) {
            Some(left) => format!("sweep {number}, {} left", units::show(left)),
            None => format!("sweep {number}"),
        };
        let shown = if self.is_terminal {
            usize::MAX
        } else {
            MEETINGS_SHOWN
        };
        let message = match sweeps.iter().map(|sweep| sweep.met + 1).max() {
            Some(round) => format!(
                "round {}/{rounds}  {}",
                round.min(rounds),
                meetings(schedules, shown)
            ),
            None if number == 1 => "the nodes are finding each other".to_owned(),
            None => "pause".to_owned(),
        };
        if self.is_terminal {
            self.bar.set_length(all as u64);
            self.bar.set_position(met as u64);
            self.bar.set_prefix(prefix);
            self.bar.set_message(message);
        } else if self
            .last_line
            .is_none_or(|last| last.elapsed() >= LINE_INTERVAL)
        {
            self.last_line = Some(Instant::now());
            let _ = writeln!(io::stderr(), "{prefix}: {met}/{all} pairs, {message}");
        }
    }

    /// Removes the progress from the screen before results are printed.
    pub(super) fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.bar.reset();
        self.last_line = None;
    }

    /// Tells the user that the page is gone after the last sweep, and how to keep it.
    pub(super) fn say_how_to_keep_the_page(&self) {
        if self.is_for_people {
            let _ = writeln!(
                io::stderr(),
                "The page http://{}/ is gone with this command.\n\
                 To keep it, leave out --sweeps: iperf3-mesh local runs until ctrl-c.",
                self.page
            );
        }
    }
}

fn introduction(nodes: usize, settings: &TestSettings, page: SocketAddr) -> String {
    let mut text = format!(
        "{nodes} nodes on loopback. Every pair runs tests of {} in both directions.\n",
        units::show(settings.duration),
    );
    if let Some(bitrate) = settings.bitrate {
        let _ = writeln!(
            text,
            "TCP is capped at {} Mbit/s to spare this machine (--bitrate 0: no cap).",
            bitrate as f64 / 1e6
        );
    }
    let _ = writeln!(text, "Page: http://{page}/ (as long as this command runs)");
    text
}

/// Returns a hint on how to open the page in a browser on the machine from which the user has
/// logged in. `connection` is `SSH_CONNECTION`: the address and port of the client, followed by
/// those of the server.
fn ssh_hint(page: SocketAddr, connection: Option<&str>, user: Option<&str>) -> Option<String> {
    let server = connection?.split_whitespace().nth(2)?;
    let user = user.map_or_else(String::new, |user| format!("{user}@"));
    let port = page.port();
    Some(format!(
        "To open it on your own machine, run there\n  \
         ssh -N -L {port}:{page} {user}{server}\n\
         and open http://localhost:{port}/\n"
    ))
}

/// Lists the present meetings, each of them once. After `shown` meetings, only the number of the
/// remaining ones follows.
fn meetings(schedules: &[(NodeName, Schedule)], shown: usize) -> String {
    let mut pairs: Vec<_> = schedules
        .iter()
        .filter_map(|(name, schedule)| {
            let peer = &schedule.meeting.as_ref()?.peer;
            Some((name.min(peer), name.max(peer)))
        })
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    let more = pairs.len().saturating_sub(shown);
    pairs
        .iter()
        .take(shown)
        .map(|(a, b)| format!("{a} <-> {b}"))
        .chain((more > 0).then(|| format!("+{more}")))
        .collect::<Vec<_>>()
        .join("  ")
}

/// An estimate of the time left in a sweep: the rest of the lower bound, multiplied by the slowdown
/// so far.
#[derive(Default)]
struct Estimate {
    sweep: u64,
    share: f64,
    stretch: f64,
}

impl Estimate {
    /// Returns the time left when `share` of the rounds of a sweep are over, in whole seconds and
    /// at least one second. Returns `None` between sweeps.
    fn left(&mut self, number: u64, share: f64, sweeps: &[&Sweep]) -> Option<Duration> {
        let elapsed = sweeps
            .iter()
            .filter_map(|sweep| sweep.began.map(Since::seconds))
            .reduce(f64::max)?;
        let bound = sweeps.iter().map(|sweep| sweep.bound).max()?;
        let left = self.seconds_left(number, share, elapsed, bound.as_secs_f64());
        Duration::try_from_secs_f64(left.max(1.0).ceil()).ok()
    }

    fn seconds_left(&mut self, sweep: u64, share: f64, elapsed: f64, bound: f64) -> f64 {
        if self.sweep != sweep {
            *self = Self {
                sweep,
                share: 0.0,
                stretch: 1.0,
            };
        }
        // The pace is updated only when a round ends.
        if share > self.share && bound > 0.0 {
            self.share = share;
            self.stretch = (elapsed / (share * bound)).max(1.0);
        }
        bound * self.stretch - elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_the_pace_of_the_rounds() {
        let mut estimate = Estimate::default();
        // Each entry is (sweep, share of the rounds, seconds elapsed) and the seconds left, for a
        // lower bound of 60 s.
        for ((sweep, share, elapsed), left) in [
            ((1, 0.0, 0.0), 60.0),
            ((1, 0.0, 15.0), 45.0),
            ((1, 0.5, 45.0), 45.0),
            ((1, 0.5, 55.0), 35.0),
            ((2, 0.0, 1.0), 59.0),
        ] {
            let seconds = estimate.seconds_left(sweep, share, elapsed, 60.0);
            assert_eq!(seconds, left, "{elapsed} s into sweep {sweep}");
        }
    }

    #[test]
    fn the_ssh_command_forwards_the_port_of_the_page() {
        let page = "127.12.34.1:9876".parse().expect("an address");
        let connection = Some("192.0.2.7 51234 192.0.2.1 22");
        let hint = ssh_hint(page, connection, Some("root")).expect("a hint");
        assert!(
            hint.contains("\n  ssh -N -L 9876:127.12.34.1:9876 root@192.0.2.1\n"),
            "{hint}"
        );
        assert_eq!(ssh_hint(page, None, Some("root")), None);
    }
}
