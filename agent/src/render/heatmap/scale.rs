//! How figures look: as numbers of three digits, and as colours on a scale relative to the matrix.

use owo_colors::{Style, XtermColors};

use crate::api::CellResult;

/// From slow to fast, after viridis: the luminance rises all the way, so that it reads in every
/// kind of colour blindness and in grey. Colours of xterm's 256, which every terminal has.
const RAMP: [u8; 7] = [54, 24, 30, 36, 77, 148, 227];
/// From this step of the ramp on, black letters read better than white ones.
const BRIGHT_FROM: usize = 2;
const BLACK: u8 = 16;
const WHITE: u8 = 231;
const RED: u8 = 124;
const GREY: u8 = 244;
/// The scale spans at least this share of the greatest bandwidth: a uniform mesh looks uniform, and
/// noise is not dressed up as a difference.
const LEAST_SPAN: f64 = 0.5;

/// The bandwidths of a table, and the colours that they have.
pub(super) struct Scale {
    sorted: Vec<f64>,
}

impl Scale {
    pub(super) fn of(bandwidths: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = bandwidths.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Self { sorted }
    }

    /// The least, the median and the greatest bandwidth; `None` if there is none.
    fn ends(&self) -> Option<(f64, f64, f64)> {
        let (least, greatest) = (*self.sorted.first()?, *self.sorted.last()?);
        let upper = *self.sorted.get(self.sorted.len() / 2)?;
        let lower = *self.sorted.get((self.sorted.len() - 1) / 2)?;
        Some((least, f64::midpoint(lower, upper), greatest))
    }

    /// Where the ramp begins and ends.
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
        // The cast saturates, so that a share out of range is one of the ends.
        ((share * steps as f64) as usize).min(steps - 1)
    }

    /// `text` in the colours of `cell`.
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

    /// The ramp between the bandwidths at its ends.
    pub(super) fn ramp(&self) -> Option<String> {
        let (from, to) = self.span()?;
        let steps: String = (0..RAMP.len())
            .map(|step| self.style(step).style("   ").to_string())
            .collect();
        Some(format!("{} {steps} {}", bandwidth(from), bandwidth(to)))
    }

    /// The least, the median and the greatest bandwidth in words.
    pub(super) fn summary(&self) -> Option<String> {
        let (least, median, greatest) = self.ends()?;
        let [least, median, greatest] = [least, median, greatest].map(bandwidth);
        Some(format!(
            "min {least}, median {median}, max {greatest} (bit/s)"
        ))
    }
}

fn colours(ink: u8, paper: u8) -> Style {
    Style::new()
        .color(XtermColors::from(ink))
        .on_color(XtermColors::from(paper))
}

/// A bandwidth with three digits and the prefix of its unit, which is bit/s.
pub(crate) fn bandwidth(mbps: f64) -> String {
    if mbps <= 0.0 {
        return "0".to_owned();
    }
    let prefixes = [("k", 1e-3), ("M", 1.0), ("G", 1e3)];
    // 999.5 would be rounded to a fourth digit.
    let fitting = prefixes
        .into_iter()
        .find(|(_, factor)| mbps / factor < 999.5);
    let (prefix, factor) = fitting.unwrap_or(("T", 1e6));
    let value = mbps / factor;
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$}{prefix}")
}

/// A share of lost datagrams in percent. Some loss never looks like none, nor like all.
pub(crate) fn loss(ratio: f64) -> String {
    let percent = ratio * 100.0;
    if percent <= 0.0 {
        "0%".to_owned()
    } else if percent < 0.05 {
        "<.1%".to_owned()
    } else if percent < 9.95 {
        format!("{percent:.1}%")
    } else if (99.5..100.0).contains(&percent) {
        ">99%".to_owned()
    } else {
        format!("{percent:.0}%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bandwidths_have_three_digits() {
        for (mbps, text) in [
            (0.0, "0"),
            (0.05, "50.0k"),
            (0.9994, "999k"),
            (0.9996, "1.00M"),
            (9.994, "9.99M"),
            (9.996, "10.0M"),
            (94.14, "94.1M"),
            (941.4, "941M"),
            (999.6, "1.00G"),
            (98_765.0, "98.8G"),
            (1_234_567.0, "1.23T"),
        ] {
            assert_eq!(bandwidth(mbps), text, "{mbps}");
        }
    }

    #[test]
    fn some_loss_looks_neither_like_none_nor_like_all() {
        for (ratio, text) in [
            (0.0, "0%"),
            (0.000_01, "<.1%"),
            (0.012, "1.2%"),
            (0.0999, "10%"),
            (0.5, "50%"),
            (0.9999, ">99%"),
            (1.0, "100%"),
        ] {
            assert_eq!(loss(ratio), text, "{ratio}");
        }
    }

    #[test]
    fn a_uniform_mesh_looks_uniform_and_a_slow_link_stands_out() {
        let uniform = Scale::of([93.0, 94.0, 95.0].into_iter());
        assert_eq!(uniform.step(93.0), uniform.step(95.0));
        let slow = Scale::of([19.0, 94.0, 95.0].into_iter());
        assert_eq!(slow.step(19.0), 0);
        assert_eq!(slow.step(95.0), RAMP.len() - 1);
    }

    /// Relative luminance as WCAG defines it, of a colour of xterm's cube.
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
