//! Draws a matrix as a heatmap: one table for each protocol, row = source, column = destination.
//!
//! Everything that is shown by colour is also shown as text, for colour-blind readers and for
//! files. This module only draws; the matrix itself contains what is stale, failed or missing.

mod labels;
mod notes;
mod scale;

use std::collections::HashMap;
use std::fmt::Write;

use iperf3_mesh_core::{NodeName, Protocol, Reason};

use crate::api::{CellResult, Matrix};
use crate::render::format::{bandwidth, loss};
use labels::Labels;
use scale::Scale;

pub use crate::render::screen::Screen;

/// The table of one protocol.
struct ProtocolTable<'a> {
    matrix: &'a Matrix,
    protocol: Protocol,
    cells: HashMap<(&'a NodeName, &'a NodeName), &'a CellResult>,
}

/// Draws `matrix`: the tables, their legends, the failures with their reasons, and footnotes.
pub fn render(matrix: &Matrix, screen: Screen) -> String {
    let mut out = String::new();
    if matrix.nodes.len() < 2 {
        let _ = writeln!(
            out,
            "No pairs yet: {} node in the mesh.",
            matrix.nodes.len()
        );
    }
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        if let Some(table) = ProtocolTable::of(matrix, protocol) {
            table.draw(screen, &mut out);
        }
    }
    notes::write(matrix, screen.width, &mut out);
    out
}

impl<'a> ProtocolTable<'a> {
    fn of(matrix: &'a Matrix, protocol: Protocol) -> Option<Self> {
        let cells: HashMap<_, _> = matrix
            .cells
            .iter()
            .filter(|cell| cell.protocol == protocol)
            .map(|cell| ((&cell.source_node, &cell.destination_node), &cell.result))
            .collect();
        (!cells.is_empty()).then_some(Self {
            matrix,
            protocol,
            cells,
        })
    }

    fn draw(&self, screen: Screen, out: &mut String) {
        let names: Vec<_> = self
            .matrix
            .nodes
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        let widest = self
            .texts()
            .map(|text| text.chars().count())
            .max()
            .unwrap_or(1);
        let labels = Labels::new(&names, widest);
        let width = widest.max(labels.column_width());
        let scale = Scale::of(self.cells.values().filter_map(|cell| cell.bandwidth_mbps));

        let title = match self.protocol {
            Protocol::Tcp => "TCP: bandwidth",
            Protocol::Udp => "UDP: bandwidth and loss",
        };
        let _ = writeln!(out, "{title} (row: source, column: destination)\n");
        // Each cell has a space on both sides.
        let room = screen
            .width
            .unwrap_or(usize::MAX)
            .saturating_sub(labels.row_width());
        let at_once = (room / (width + 2)).max(1);
        for first in (0..names.len()).step_by(at_once) {
            let columns = first..names.len().min(first + at_once);
            self.draw_columns(&labels, &scale, width, columns, screen.colour, out);
            out.push('\n');
        }
        self.draw_legend(&labels, &scale, screen, out);
        out.push('\n');
    }

    fn draw_columns(
        &self,
        labels: &Labels,
        scale: &Scale,
        width: usize,
        columns: std::ops::Range<usize>,
        colour: bool,
        out: &mut String,
    ) {
        let mut line = " ".repeat(labels.row_width());
        for column in columns.clone() {
            let _ = write!(line, " {:>width$} ", labels.column(column));
        }
        let _ = writeln!(out, "{}", line.trim_end());
        for source in 0..self.matrix.nodes.len() {
            line.clear();
            line.push_str(&labels.row(source));
            for destination in columns.clone() {
                let text = format!(" {:>width$} ", self.text(source, destination));
                match self.cell(source, destination) {
                    Some(cell) if colour => line.push_str(&scale.paint(cell, &text)),
                    _ => line.push_str(&text),
                }
            }
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }

    fn draw_legend(&self, labels: &Labels, scale: &Scale, screen: Screen, out: &mut String) {
        if let Some(key) = labels.key() {
            let _ = writeln!(out, "{}", notes::wrapped(key, screen.width, ""));
        }
        if screen.colour
            && let Some(ramp) = scale.ramp()
        {
            let _ = writeln!(out, "{ramp}");
        }
        let count = |success| {
            self.cells
                .values()
                .filter(|cell| cell.success == success)
                .count()
        };
        let _ = writeln!(
            out,
            "{} cells: {} succeeded, {} failed, {} without a result",
            self.cells.len(),
            count(Some(true)),
            count(Some(false)),
            count(None)
        );
        if let Some(summary) = scale.summary() {
            let _ = writeln!(out, "{summary}");
        }
        let texts: Vec<_> = self.texts().collect();
        let shown = |sign: char| texts.iter().any(|text| text.starts_with(sign));
        let signs = [
            ('!', "!… failed, see below"),
            ('·', "· not tested yet (new agents wait 61 s)"),
            ('?', "? row missing"),
        ];
        let meanings: Vec<_> = signs
            .iter()
            .filter(|(sign, _)| shown(*sign))
            .map(|(_, meaning)| *meaning)
            .collect();
        if !meanings.is_empty() {
            let _ = writeln!(out, "{}", meanings.join("   "));
        }
    }

    fn cell(&self, source: usize, destination: usize) -> Option<&'a CellResult> {
        let name = |at: usize| self.matrix.nodes.get(at).map(|node| &node.name);
        self.cells
            .get(&(name(source)?, name(destination)?))
            .copied()
    }

    /// Returns the texts of all positions in the table.
    fn texts(&self) -> impl Iterator<Item = String> {
        let all = 0..self.matrix.nodes.len();
        all.clone().flat_map(move |source| {
            all.clone()
                .map(move |destination| self.text(source, destination))
        })
    }

    fn text(&self, source: usize, destination: usize) -> String {
        let Some(cell) = self.cell(source, destination) else {
            return "-".to_owned();
        };
        match (cell.success, cell.reason, cell.bandwidth_mbps) {
            (Some(true), _, Some(mbps)) => match cell.loss_ratio {
                Some(ratio) => format!("{} {:>4}", bandwidth(mbps), loss(ratio)),
                None => bandwidth(mbps),
            },
            (Some(false), reason, _) => format!("!{}", short(reason.unwrap_or(Reason::Iperf))),
            _ if self
                .matrix
                .nodes
                .get(source)
                .is_some_and(|node| node.row_error.is_some()) =>
            {
                "?".to_owned()
            }
            _ => "·".to_owned(),
        }
    }
}

/// Returns a reason in at most five letters, so that a failure is not wider than a bandwidth.
const fn short(reason: Reason) -> &'static str {
    match reason {
        Reason::Unreachable => "unrch",
        Reason::NotMet => "unmet",
        Reason::Incompatible => "vers",
        Reason::NameConflict => "name",
        Reason::Connect => "conn",
        Reason::Timeout => "time",
        Reason::Busy => "busy",
        Reason::Interrupted => "cut",
        Reason::NoData => "nodat",
        Reason::BadReport => "rept",
        Reason::Spawn => "spawn",
        Reason::ResultLost => "lost",
        Reason::Resources => "resrc",
        Reason::Iperf => "iperf",
    }
}
