//! The limit on repeated log lines: at most [`LINES_MAX`] of one kind within a minute. The others
//! are counted, and one line a minute tells how many of which kind were left out. A kind is a place
//! in the source, so nobody can invent kinds. The events of tests are never left out: their rate is
//! bounded by the slot, and programs read them.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

/// The maximum number of lines of one kind within a [`WINDOW`]: enough to name the nodes of a rack.
const LINES_MAX: u32 = 10;

/// The time within which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// The maximum length of the words that name a kind, in characters.
const WORDS_MAX: usize = 80;

/// The field that only the events of tests have.
const EVENT: &str = "event";

/// The kinds of lines that were written of late.
static KINDS: Mutex<BTreeMap<Place, Kind>> = Mutex::new(BTreeMap::new());

/// A place in the source.
type Place = (Option<&'static str>, Option<u32>);

/// The lines of one kind within the present window.
#[derive(Debug)]
struct Kind {
    began: Instant,
    lines: u32,
    left_out: u64,
    /// The words of the first line that was left out.
    words: String,
}

/// A filter of the log that applies the limit to lines from [`Level::INFO`] up. Whoever asks for
/// more lines than that gets all of them.
pub(super) struct LineLimit;

impl<S: Subscriber> Filter<S> for LineLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let is_limited =
            *metadata.level() <= Level::INFO && metadata.fields().field(EVENT).is_none();
        if !is_limited {
            return true;
        }
        let mut words = Words::default();
        event.record(&mut words);
        admits((metadata.file(), metadata.line()), &words.0, Instant::now())
    }
}

/// Returns whether a line from `place` is to be written at `now`, and counts it.
fn admits(place: Place, words: &str, now: Instant) -> bool {
    let mut kinds = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
    let kind = kinds.entry(place).or_insert_with(|| Kind {
        began: now,
        lines: 0,
        left_out: 0,
        words: String::new(),
    });
    if kind.left_out == 0 && now.saturating_duration_since(kind.began) >= WINDOW {
        (kind.began, kind.lines) = (now, 0);
    }
    kind.lines = kind.lines.saturating_add(1);
    if kind.lines <= LINES_MAX {
        return true;
    }
    if kind.left_out == 0 {
        words.clone_into(&mut kind.words);
    }
    kind.left_out += 1;
    false
}

/// Returns the number of lines that were left out in windows that are over at `now`, with the words
/// of each kind, and forgets those windows.
fn take_left_out(now: Instant) -> Vec<(u64, String)> {
    let mut kinds = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut left_out = Vec::new();
    kinds.retain(|_, kind| {
        let is_over = now.saturating_duration_since(kind.began) >= WINDOW;
        if is_over && kind.left_out > 0 {
            left_out.push((kind.left_out, mem::take(&mut kind.words)));
        }
        !is_over
    });
    left_out
}

/// Logs once a minute how many lines were left out. Never returns.
pub(crate) async fn report_left_out() {
    loop {
        tokio::time::sleep(WINDOW / 4).await;
        for (lines, words) in take_left_out(Instant::now()) {
            tracing::warn!(lines, "left out more lines like this one: {words}");
        }
    }
}

/// The message of an event, shortened.
#[derive(Default)]
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}").chars().take(WORDS_MAX).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, MutexGuard};

    use tracing_subscriber::prelude::*;

    use super::*;

    #[test]
    fn lines_of_a_kind_are_limited_and_those_of_tests_are_not() {
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(lines.with_filter(Some(LineLimit)));
        tracing::subscriber::with_default(subscriber, || {
            for node in 0..100 {
                tracing::info!(node, "a node has departed");
                tracing::info!(event = "test_started", node);
            }
        });
        assert_eq!(log.count("a node has departed"), 10);
        assert_eq!(log.count("test_started"), 100);

        assert_eq!(take_left_out(Instant::now()), []);
        let later = Instant::now() + WINDOW;
        assert_eq!(
            take_left_out(later),
            [(90, "a node has departed".to_owned())]
        );
        assert_eq!(take_left_out(later), []);
    }

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn count(&self, words: &str) -> usize {
            String::from_utf8_lossy(&self.bytes())
                .matches(words)
                .count()
        }

        fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.bytes().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
