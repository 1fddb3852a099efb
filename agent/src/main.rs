//! `iperf3-mesh`: reads the command line, runs the command, and prints its error.

#![expect(
    unsafe_code,
    reason = "a signal is ignored before any other thread exists"
)]

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use iperf3_mesh::cli::Cli;
use iperf3_mesh::memory;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};

/// How long the end of the process may wait for a name lookup, which cannot be cancelled.
const LAST_LOOKUPS_WITHIN: Duration = Duration::from_millis(100);

/// The maximum number of threads for work that blocks: name lookups, and answers of megabytes.
const BLOCKING_THREADS: usize = 8;

fn main() -> ExitCode {
    harden();
    memory::keep_little();
    // At a limit on the size of files, this signal would end the agent for a line of its log.
    // SAFETY: no handler is installed.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    let cli = Cli::get();
    // A supervisor may pass a signal mask on. Blocked signals would hide the end of every iperf3,
    // and the request to stop.
    let unblocked = SigSet::empty().thread_set_mask();
    // The runtime has a single thread, because iperf3 dies together with the thread that started
    // it, and the main thread lives as long as the process.
    // A thread for blocking work stays: at a limit on processes, tokio panics if it has none.
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_keep_alive(Duration::MAX)
            .build()
    };
    let code = match unblocked.map_err(io::Error::from).and_then(|()| runtime()) {
        Ok(runtime) => {
            let code = runtime.block_on(iperf3_mesh::commands::run(cli));
            runtime.shutdown_timeout(LAST_LOOKUPS_WITHIN);
            code
        }
        Err(error) => Err(error.into()),
    };
    code.unwrap_or_else(|error| iperf3_mesh::commands::report_error(&error))
}

/// Closes this process to the other processes of its user, iperf3 among them: they cannot read its
/// memory, and no crash writes it to a file. This process and its children gain no privileges.
fn harden() {
    // Each of the three is good without the others, and no later step depends on one.
    let _ = prctl::set_dumpable(false);
    let _ = prctl::set_no_new_privs();
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}
