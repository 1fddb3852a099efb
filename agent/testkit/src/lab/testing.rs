//! `lab_test!`: a test that gets a laboratory.

use std::sync::{PoisonError, RwLock};

use super::hosts::Lab;
use super::privilege::privileged;

/// How a test uses the machine while other tests of its binary run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// The test runs beside other tests.
    Shared,
    /// The test runs alone. A busy processor would distort the rates that such a test judges.
    Exclusive,
}

/// The lock that an exclusive test takes for writing, and every other test for reading.
static MACHINE: RwLock<()> = RwLock::new(());

/// Defines a test of a laboratory: its name, its [`Machine`], the rates of the links of hosts n1,
/// n2 … in Mbit/s, and its body.
///
/// ```text
/// lab_test!(killed_agent_is_unreachable, Shared, [50; 4], |lab| { … });
/// ```
#[macro_export]
macro_rules! lab_test {
    ($name:ident, $machine:ident, $mbps:expr, $body:expr $(,)?) => {
        #[test]
        fn $name() {
            let path = concat!(module_path!(), "::", stringify!($name));
            $crate::lab::testing::run(path, $crate::lab::testing::Machine::$machine, &$mbps, $body);
        }
    };
}

/// Runs `body` in a laboratory. If this process may not make namespaces, a child that may make them
/// runs the test `path` (with the name of its crate) once more.
pub fn run(path: &str, machine: Machine, mbps: &[u64], body: impl FnOnce(&Lab)) {
    let _shared = (machine == Machine::Shared)
        .then(|| MACHINE.read().unwrap_or_else(PoisonError::into_inner));
    let _exclusive = (machine == Machine::Exclusive)
        .then(|| MACHINE.write().unwrap_or_else(PoisonError::into_inner));
    let (_, name) = path.split_once("::").unwrap();
    privileged(&["--exact", name, "--nocapture"], || {
        body(&Lab::with_mbps(mbps));
    });
}
