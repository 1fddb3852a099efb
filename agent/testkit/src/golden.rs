//! Golden files: each holds the whole text that a test expects.

use std::path::PathBuf;
use std::{env, fs};

/// Compares `text` with `tests/golden/FILE` of the package under test. With `UPDATE_GOLDEN=1`,
/// writes `text` to that file instead.
#[track_caller]
pub fn assert_golden(file: &str, text: &str) {
    let path = golden_path(file);
    let golden = fs::read_to_string(&path).unwrap_or_default();
    if text == golden {
        return;
    }
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    panic!(
        "{} differs (UPDATE_GOLDEN=1 rewrites it) from:\n{text}",
        path.display()
    );
}

/// Returns the path of the golden file of this name.
pub fn golden_path(file: &str) -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap();
    PathBuf::from(package).join("tests/golden").join(file)
}
