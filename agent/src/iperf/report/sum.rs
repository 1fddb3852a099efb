//! One JSON object with figures in the report, and the figures that cannot be read.

use iperf3_mesh_core::{BANDWIDTH_MAX_MBPS, Figure, Reason, TestSpec};
use serde_json::{Map, Value};

/// The highest plausible count: up to here a double holds every whole number.
const COUNT_MAX: f64 = (1_u64 << 53) as f64;

/// The ratio by which the bitrate of a sum may differ from its bytes per second. The two ends
/// measure the time separately, and a sum has only one of the two times.
const RATE_RATIO: f64 = 1.5;

/// The figures that were removed because they cannot be.
#[derive(Debug, Default)]
pub(super) struct Removed(Vec<Figure>);

impl Removed {
    pub(super) fn add(&mut self, figure: Figure) {
        self.0.push(figure);
    }

    pub(super) fn extend(&mut self, figures: Vec<Figure>) {
        self.0.extend(figures);
    }

    /// Returns each of the figures once.
    pub(super) fn into_figures(mut self) -> Vec<Figure> {
        self.0.sort_unstable();
        self.0.dedup();
        self.0
    }
}

/// One JSON object with figures in the report.
#[derive(Clone, Copy)]
pub(super) struct Sum<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Sum<'a> {
    /// Returns the sum `name` of one direction.
    pub(super) fn of(end: &'a Map<String, Value>, name: &str, reverse: bool) -> Option<Self> {
        let key = if reverse {
            format!("{name}_bidir_reverse")
        } else {
            name.to_owned()
        };
        end.get(&key)?.as_object().map(Self)
    }

    /// Returns whether the sum has a value of this name, be it readable or not.
    pub(super) fn has(self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns a number that is not negative; `None` if it is absent or something else.
    pub(super) fn number(self, name: &str) -> Option<f64> {
        self.0
            .get(name)?
            .as_f64()
            .filter(|number| (0.0..=COUNT_MAX).contains(number))
    }

    /// Returns the number of this name as `figure`. If it is there and cannot be, `figure` counts
    /// as removed.
    pub(super) fn figure(self, name: &str, figure: Figure, removed: &mut Removed) -> Option<f64> {
        let number = self.number(name);
        if number.is_none() && self.has(name) {
            removed.add(figure);
        }
        number
    }

    /// Returns the bandwidth. The bytes count, which are what was measured: the bitrate is computed
    /// from them, and is replaced if it contradicts them or cannot be read.
    ///
    /// # Errors
    /// Returns [`Reason::NoData`] if nothing arrived, and [`Reason::BadReport`] if neither figure
    /// is possible.
    pub(super) fn bandwidth_mbps(
        self,
        spec: &TestSpec,
        removed: &mut Removed,
    ) -> Result<f64, Reason> {
        let is_possible = |mbps: &f64| *mbps <= BANDWIDTH_MAX_MBPS;
        let reported = self.number("bits_per_second").map(|bits| bits / 1e6);
        let reported = reported.filter(is_possible);
        let Some(bytes) = self.number("bytes") else {
            return match reported {
                Some(mbps) if mbps > 0.0 => Ok(mbps),
                _ => Err(Reason::BadReport),
            };
        };
        if bytes == 0.0 {
            return Err(Reason::NoData);
        }
        let computed = bytes * 8.0 / 1e6 / self.seconds(spec);
        let agrees = |mbps: &f64| {
            let ratio = mbps / computed;
            (1.0 / RATE_RATIO..=RATE_RATIO).contains(&ratio)
        };
        if let Some(mbps) = reported.filter(agrees) {
            return Ok(mbps);
        }
        removed.add(Figure::Bandwidth);
        Some(computed).filter(is_possible).ok_or(Reason::BadReport)
    }

    /// Returns the time that the sum covers, or the duration of the test if that time cannot be.
    fn seconds(self, spec: &TestSpec) -> f64 {
        let duration = spec.duration.as_secs_f64();
        let possible = duration / 2.0..=spec.timeout.as_secs_f64().max(duration);
        self.number("seconds")
            .filter(|seconds| possible.contains(seconds))
            .unwrap_or(duration)
    }
}
