//! The writer of the log: a thread of its own behind a bounded queue.
//!
//! The program that reads the log may stop reading, such as a stuck log driver or a paused
//! terminal. A write then blocks until it reads again, and the event loop must not: it has
//! deadlines to meet and probes to answer. So the loop only puts lines into a queue. Lines that do
//! not fit are dropped and counted, and the log says so once it can be written again.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// The maximum size of the queue: thousands of lines, far more than any burst has.
const QUEUE_BYTES: usize = 1024 * 1024;
/// The memory that a line takes in addition to its text.
const LINE_OVERHEAD: usize = 64;

/// A handle that puts lines into the queue. Each write is one line. It never blocks, and never
/// fails.
#[derive(Clone)]
pub(super) struct LogWriter(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when the queue or [`Queue::is_writing`] has changed.
    changed: Condvar,
    thread: OnceLock<ThreadId>,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// The size of the lines in the queue and of the line that is being written.
    bytes: usize,
    is_writing: bool,
}

enum Entry {
    Line(Vec<u8>),
    /// This many lines were dropped here.
    Dropped(u64),
}

impl LogWriter {
    /// Starts the thread that writes to `sink`. It calls `on_dropped` with the number of lines that
    /// were dropped; what `on_dropped` writes is the next line.
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started.
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        on_dropped: impl Fn(&mut Self, u64) + Send + 'static,
    ) -> io::Result<Self> {
        let log = Self(Arc::default());
        let writer = log.clone();
        let run = move || writer.run(sink, on_dropped);
        let thread = thread::Builder::new().name("log".to_owned()).spawn(run)?;
        // Nothing is dropped before the first line, so the thread does not need this value yet.
        let _ = log.0.thread.set(thread.thread().id());
        Ok(log)
    }

    /// Returns the number of lines that were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines are written, but no longer than `within`.
    pub(super) fn flush(&self, within: Duration) {
        let is_busy = |queue: &mut Queue| queue.is_writing || !queue.entries.is_empty();
        let queue = self.lock();
        // Whether the lines are written makes no difference to the caller.
        let _ = self.0.changed.wait_timeout_while(queue, within, is_busy);
    }

    fn push(&self, line: &[u8]) {
        let bytes = line.len() + LINE_OVERHEAD;
        let mut queue = self.lock();
        if self.0.thread.get() == Some(&thread::current().id()) {
            // The thread itself writes one line about dropped ones, in the place of these.
            queue.entries.push_front(Entry::Line(line.to_vec()));
            queue.bytes += bytes;
        } else if queue.bytes + bytes <= QUEUE_BYTES {
            queue.entries.push_back(Entry::Line(line.to_vec()));
            queue.bytes += bytes;
        } else {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            match queue.entries.back_mut() {
                Some(Entry::Dropped(count)) => *count += 1,
                _ => queue.entries.push_back(Entry::Dropped(1)),
            }
        }
        drop(queue);
        self.0.changed.notify_all();
    }

    fn run(mut self, mut sink: impl Write, on_dropped: impl Fn(&mut Self, u64)) {
        let mut failed = 0;
        loop {
            match self.next() {
                Entry::Dropped(count) => {
                    on_dropped(&mut self, count);
                    self.done(0);
                }
                Entry::Line(line) => {
                    if sink.write_all(&line).is_err() {
                        self.0.dropped.fetch_add(1, Ordering::Relaxed);
                        failed += 1;
                    } else if failed > 0 {
                        on_dropped(&mut self, failed);
                        failed = 0;
                    }
                    self.done(line.len() + LINE_OVERHEAD);
                }
            }
        }
    }

    /// Waits for the next entry, and takes it out of the queue.
    fn next(&self) -> Entry {
        let mut queue = self.lock();
        loop {
            if let Some(entry) = queue.entries.pop_front() {
                queue.is_writing = true;
                return entry;
            }
            queue = self
                .0
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Marks the entry of [`Self::next`] as done.
    fn done(&self, bytes: usize) {
        let mut queue = self.lock();
        queue.bytes -= bytes;
        queue.is_writing = false;
        drop(queue);
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No holder of this lock can panic halfway through a change.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::{BufRead, BufReader, PipeReader, pipe};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const LINE: &[u8] = b"a line of forty characters, with its end\n";

    #[test]
    fn lines_are_written_in_order_before_the_flush_returns() {
        let (log, reader) = start();
        for number in 0..100 {
            log.push(format!("{number}\n").as_bytes());
        }
        log.flush(SOON);
        let lines: Vec<String> = BufReader::new(reader)
            .lines()
            .take(100)
            .map(Result::unwrap)
            .collect();
        let expected: Vec<String> = (0..100).map(|number: u8| number.to_string()).collect();
        assert_eq!(lines, expected);
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_counted_and_reported() {
        let (mut log, reader) = start();
        let mut written = 0;
        while log.dropped() < 7 {
            log.write_all(LINE).unwrap();
            written += 1;
            assert!(log.lock().bytes <= QUEUE_BYTES);
        }
        // The reader is back. The thread may have taken lines between two of those dropped, so
        // there may be several reports.
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        let (mut kept, mut reported) = (0, 0);
        while reported < 7 {
            let line = lines.next().unwrap();
            match line.split_once(" dropped") {
                Some((count, _)) => reported += count.parse::<u64>().unwrap(),
                None => kept += 1,
            }
        }
        assert_eq!(
            (kept, reported),
            (written - 7, 7),
            "the other lines are kept"
        );
        log.write_all(b"later\n").unwrap();
        assert_eq!(lines.next().unwrap(), "later");
    }

    #[test]
    fn flush_ends_although_nobody_reads() {
        let (mut log, _reader) = start();
        while log.dropped() == 0 {
            log.write_all(LINE).unwrap();
        }
        log.flush(Duration::from_millis(10));
    }

    #[test]
    fn lines_for_a_reader_that_is_gone_are_counted() {
        let (mut log, reader) = start();
        drop(reader);
        log.write_all(LINE).unwrap();
        log.flush(SOON);
        assert_eq!(log.dropped(), 1);
    }

    fn start() -> (LogWriter, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        let on_dropped =
            |log: &mut LogWriter, count| log.push(format!("{count} dropped\n").as_bytes());
        (LogWriter::start(writer, on_dropped).unwrap(), reader)
    }
}
