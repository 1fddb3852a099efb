//! How `local` shows that it works: a bar with the present meetings on a terminal, else a line now
//! and then.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use iperf3_mesh_core::schedule::Tournament;

use crate::cli::LocalArgs;
use crate::config::TestSettings;
use crate::state::{AgentState, SweepStatus};
use crate::units;

/// Between two lines when stderr is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// As many as fit on a line of 80 columns.
const MEETINGS_SHOWN: usize = 2;

/// How often the bar is redrawn at most, in a second.
const REDRAWN_HZ: u8 = 5;

pub(super) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    last_line: Option<Instant>,
}

impl Progress {
    /// Says what is about to happen.
    pub(super) fn new(args: &LocalArgs, settings: &TestSettings, first: SocketAddr) -> Self {
        let mut text = format!(
            "{} nodes on loopback, every pair in both directions, {} each.",
            args.nodes,
            units::show(settings.duration),
        );
        if let Some(bitrate) = settings.bitrate {
            let _ = write!(
                text,
                "\nTCP is capped at {} Mbit/s, so that this machine carries it: --bitrate 0 takes the cap off.",
                bitrate as f64 / 1e6
            );
        }
        let _ = writeln!(
            io::stderr(),
            "{text}\nLook at http://{first}/ while it works."
        );
        let is_terminal = io::stderr().is_terminal();
        let target = if is_terminal {
            ProgressDrawTarget::stderr_with_hz(REDRAWN_HZ)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let style =
            ProgressStyle::with_template("{prefix} [{bar:12}] {pos}/{len} pairs  {wide_msg}");
        bar.set_style(
            style
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> "),
        );
        Self {
            bar,
            is_terminal,
            last_line: None,
        }
    }

    /// Shows how far that sweep is.
    pub(super) fn show(&mut self, number: u64, states: &[AgentState], sweeps: &[SweepStatus]) {
        let all = states.len() * (states.len() - 1) / 2;
        let present = sweeps.iter().filter(|sweep| sweep.number == number);
        let met = present.map(|sweep| sweep.met).sum::<usize>() / 2;
        let rounds = Tournament::new(states.len()).rounds();
        let round = sweeps
            .iter()
            .map(|sweep| sweep.met + 1)
            .max()
            .unwrap_or(1)
            .min(rounds);
        let message = if sweeps.iter().all(|sweep| sweep.number < number) {
            if number == 1 {
                "the nodes are finding each other".to_owned()
            } else {
                "pause".to_owned()
            }
        } else {
            format!("round {round}/{rounds}  {}", meetings(states))
        };
        if self.is_terminal {
            self.bar.set_length(all as u64);
            self.bar.set_position(met as u64);
            self.bar.set_prefix(format!("sweep {number}"));
            self.bar.set_message(message);
        } else if self
            .last_line
            .is_none_or(|last| last.elapsed() >= LINE_EVERY)
        {
            self.last_line = Some(Instant::now());
            let _ = writeln!(io::stderr(), "sweep {number}: {met}/{all} pairs  {message}");
        }
    }

    /// Makes room for what is printed.
    pub(super) fn clear(&mut self) {
        self.bar.finish_and_clear();
        self.bar.reset();
        self.last_line = None;
    }
}

/// The present meetings, each named once; the first ones of many.
fn meetings(states: &[AgentState]) -> String {
    let mut pairs: Vec<_> = states
        .iter()
        .filter_map(|state| {
            let name = state.identity().name.clone();
            let peer = state.schedule_report().meeting?.peer;
            Some(if name < peer {
                (name, peer)
            } else {
                (peer, name)
            })
        })
        .collect();
    pairs.sort();
    pairs.dedup();
    let shown = pairs
        .iter()
        .take(MEETINGS_SHOWN)
        .map(|(a, b)| format!("{a} <-> {b}"));
    let more = pairs.len().saturating_sub(MEETINGS_SHOWN);
    shown
        .chain((more > 0).then(|| format!("+{more}")))
        .collect::<Vec<_>>()
        .join("  ")
}
