//! Colours on a scale that is relative to the values of the matrix.

use owo_colors::{Style, XtermColors};

use crate::api::CellResult;
use crate::render::format::bandwidth;

/// The colours from slow to fast, based on viridis. The luminance rises steadily, so the scale is
/// readable in greyscale and with every kind of colour blindness. The colours are among xterm's
/// 256.
const RAMP: [u8; 7] = [54, 24, 30, 36, 77, 148, 227];
/// The first step of the ramp on which black letters are more readable than white ones.
const BRIGHT_FROM: usize = 2;
const BLACK: u8 = 16;
const WHITE: u8 = 231;
const RED: u8 = 124;
const GREY: u8 = 244;
/// The minimum span of the scale, as a share of the greatest bandwidth. It makes a uniform mesh
/// look uniform, and prevents noise from looking like a difference.
const LEAST_SPAN: f64 = 0.5;

/// The bandwidths of a table, and their colours.
pub(super) struct Scale {
    sorted: Vec<f64>,
}

impl Scale {
    pub(super) fn of(bandwidths: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = bandwidths.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { sorted }
    }

    /// Returns the least, the median and the greatest bandwidth, or `None` if there is no
    /// bandwidth.
    fn ends(&self) -> Option<(f64, f64, f64)> {
        let (least, greatest) = (*self.sorted.first()?, *self.sorted.last()?);
        let upper = *self.sorted.get(self.sorted.len() / 2)?;
        let lower = *self.sorted.get((self.sorted.len() - 1) / 2)?;
        Some((least, f64::midpoint(lower, upper), greatest))
    }

    /// Returns the bandwidths at the two ends of the ramp.
    fn span(&self) -> Option<(f64, f64)> {
        let (least, _, greatest) = self.ends()?;
        Some((least.min(greatest * (1.0 - LEAST_SPAN)), greatest))
    }

    fn step(&self, mbps: f64) -> usize {
        let (from, to) = self.span().unwrap_or_default();
        let share = if to > from {
            (mbps - from) / (to - from)
        } else {
            1.0
        };
        let steps = RAMP.len();
        // The cast saturates, so a share that is out of range becomes one of the ends.
        ((share * steps as f64) as usize).min(steps - 1)
    }

    /// Returns `text` in the colours of `cell`.
    pub(super) fn paint(&self, cell: &CellResult, text: &str) -> String {
        let style = match (cell.success, cell.bandwidth_mbps) {
            (Some(true), Some(mbps)) => self.style(self.step(mbps)),
            (Some(false), _) => colours(WHITE, RED).bold(),
            _ => Style::new().color(XtermColors::from(GREY)),
        };
        style.style(text).to_string()
    }

    fn style(&self, step: usize) -> Style {
        let ink = if step >= BRIGHT_FROM { BLACK } else { WHITE };
        colours(ink, RAMP.get(step).copied().unwrap_or(BLACK))
    }

    /// Returns the ramp, with the bandwidths at its two ends.
    pub(super) fn ramp(&self) -> Option<String> {
        let (from, to) = self.span()?;
        let steps: String = (0..RAMP.len())
            .map(|step| self.style(step).style("   ").to_string())
            .collect();
        Some(format!("{} {steps} {}", bandwidth(from), bandwidth(to)))
    }

    /// Returns the least, the median and the greatest bandwidth as text.
    pub(super) fn summary(&self) -> Option<String> {
        let (least, median, greatest) = self.ends()?;
        let [least, median, greatest] = [least, median, greatest].map(bandwidth);
        Some(format!(
            "bit/s: min {least}, median {median}, max {greatest}"
        ))
    }
}

fn colours(ink: u8, paper: u8) -> Style {
    Style::new()
        .color(XtermColors::from(ink))
        .on_color(XtermColors::from(paper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_mesh_looks_uniform_and_a_slow_link_stands_out() {
        let uniform = Scale::of([93.0, 94.0, 95.0].into_iter());
        assert_eq!(uniform.step(93.0), uniform.step(95.0));
        let slow = Scale::of([19.0, 94.0, 95.0].into_iter());
        assert_eq!(slow.step(19.0), 0);
        assert_eq!(slow.step(95.0), RAMP.len() - 1);
    }

    /// Returns the relative luminance, as defined by WCAG, of a colour in xterm's cube.
    fn luminance(colour: u8) -> f64 {
        let level = |n: u8| {
            if n == 0 {
                0.0
            } else {
                (55.0 + 40.0 * f64::from(n)) / 255.0
            }
        };
        let linear = |c: f64| {
            if c <= 0.040_45 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        };
        let cube = colour - 16;
        let [r, g, b] = [cube / 36, cube / 6 % 6, cube % 6].map(|n| linear(level(n)));
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    #[test]
    fn the_ramp_grows_lighter_and_its_letters_can_be_read() {
        let lights = RAMP.map(luminance);
        assert!(lights.is_sorted_by(|a, b| a < b), "{lights:?}");
        for (step, light) in lights.into_iter().enumerate() {
            let ink = if step >= BRIGHT_FROM { 0.0 } else { 1.0 };
            let contrast = (f64::max(light, ink) + 0.05) / (f64::min(light, ink) + 0.05);
            assert!(contrast >= 4.5, "step {step}: contrast {contrast:.1}");
        }
    }
}
