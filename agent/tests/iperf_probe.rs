//! Programs that cannot be used as iperf3: each problem is made for real, and the message names it
//! with the step that solves it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use iperf3_mesh::iperf::{Iperf, ProbeError, Version};
use tempfile::TempDir;

/// A script that answers like iperf3.
const GOOD: &str = "#!/bin/sh\necho 'iperf 3.16 (cJSON 1.7.15)'\n";

#[tokio::test]
async fn a_program_that_is_not_there_is_named_as_such() {
    let dir = TempDir::new().unwrap();
    let error = rejected(&dir.path().join("absent")).await;
    assert_problem(&error, "the file does not exist", "Set --iperf3 (IPERF3)");
    let error = rejected(Path::new("no-such-iperf3")).await;
    assert_problem(
        &error,
        "no directory of PATH has a program",
        "Install iperf3 3.9 or later",
    );
    let link = dir.path().join("link");
    symlink("/nowhere/iperf3", &link).unwrap();
    let error = rejected(&link).await;
    assert_problem(&error, "a link to \"/nowhere/iperf3\"", "Set --iperf3");
    let error = rejected(Path::new("sh -x")).await;
    assert_problem(&error, "seems to contain arguments", "`exec sh -x \"$@\"`");
    let error = rejected(dir.path()).await;
    assert_problem(&error, "it is not a file", "not to its directory");
}

#[tokio::test]
async fn the_command_in_a_hint_solves_the_problem() {
    let dir = TempDir::new().unwrap();
    let dos = script(&dir, "dos", &GOOD.replace('\n', "\r\n"));
    let plain = script(&dir, "plain", GOOD);
    run(&format!("chmod 644 {}", plain.display()));
    for (program, problem) in [
        (dos, "ends with a carriage return"),
        (plain, "its permissions, 0644, do not let user"),
    ] {
        let error = rejected(&program).await;
        assert_problem(&error, problem, "Run `");
        let hint = error.hint();
        run(hint.split('`').nth(1).unwrap());
        Iperf::probe(&program).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_cannot_run_is_explained_by_its_content() {
    let dir = TempDir::new().unwrap();
    let error = rejected(&script(&dir, "empty", "")).await;
    assert_problem(&error, "the file is empty", "Install it again");
    let error = rejected(&script(&dir, "script", "#!/nowhere/bash -e\n")).await;
    assert_problem(&error, "a script for \"/nowhere/bash\"", "Install that");

    let mut other = fs::read("/proc/self/exe").unwrap();
    other.truncate(20);
    other[18] ^= 0x55;
    let effect = dir.path().join("effect");
    other.extend(format!("\n:>{}\n", effect.display()).bytes());
    let error = rejected(&binary(&dir, "other", &other)).await;
    assert_problem(
        &error,
        "for a processor other than",
        "Install an iperf3 for",
    );
    assert!(!effect.exists(), "it was run as a shell script");
    let foreign = with_loader("/lib/ld-musl.so");
    let error = rejected(&binary(&dir, "foreign", &foreign)).await;
    assert_problem(
        &error,
        "its dynamic loader, /lib/ld-musl.so",
        "install the iperf3 of this distribution",
    );
}

#[tokio::test]
async fn a_message_of_the_loader_is_shown_to_its_end() {
    let dir = TempDir::new().unwrap();
    let path = "directory/".repeat(60);
    let says = |text: &str| format!("#!/bin/sh\necho '/{path}iperf3: {text}' >&2\nexit 127\n");
    let missing = "error while loading shared libraries: libiperf.so.0: no such file";
    let error = rejected(&script(&dir, "library", &says(missing))).await;
    assert_problem(&error, "libiperf.so.0: no such file", "LD_LIBRARY_PATH");
    let old = says("version `GLIBC_2.38\" not found (required by iperf3)");
    let error = rejected(&script(&dir, "old", &old)).await;
    assert_problem(&error, "GLIBC_2.38", "iperf3 of this distribution");
    let relocating = says("symbol lookup error: undefined symbol: iperf_get_mapped_v4");
    let error = rejected(&script(&dir, "symbol", &relocating)).await;
    assert_problem(&error, "symbol: iperf_get_mapped_v4", "ldconfig");
}

#[tokio::test]
async fn an_answer_that_is_not_from_iperf3_is_explained() {
    let dir = TempDir::new().unwrap();
    for (name, body, problem, hint) in [
        (
            "iperf2",
            "echo 'iperf version 2.1.8 (12 August 2022) pthreads'",
            "it is iperf 2",
            "its package is called iperf3, not iperf",
        ),
        (
            "old",
            "echo 'iperf 3.7 (cJSON 1.5.2)'",
            "it is version 3.7; expected 3.9 or later",
            "from its backports or build it",
        ),
        (
            "crash",
            "kill -ILL $$",
            "ended by signal 4",
            "newer processor",
        ),
        ("killed", "kill -KILL $$", "ended by signal 9", "memory"),
        (
            "usage",
            "echo 'unknown option' >&2; exit 3",
            "printed \"unknown option\" and ended with exit status: 3",
            "must begin with \"iperf 3.\"",
        ),
        ("hang", "sleep 60", "did not end within 5s", "overloaded"),
    ] {
        let program = script(&dir, name, &format!("#!/bin/sh\n{body}\n"));
        assert_problem(&rejected(&program).await, problem, hint);
    }
}

#[tokio::test]
async fn a_warning_before_the_version_does_no_harm() {
    let dir = TempDir::new().unwrap();
    let body = GOOD.replace("echo", "echo 'no tuned profile'; echo");
    let iperf = Iperf::probe(&script(&dir, "wrapper", &body)).await.unwrap();
    assert_eq!(iperf.version(), Version::new(3, 16, 0));
}

#[tokio::test]
async fn a_wrapper_script_has_the_environment_of_the_agent() {
    let dir = TempDir::new().unwrap();
    let body = GOOD.replace(
        "echo",
        "[ -n \"$PATH\" -a -n \"$CARGO_MANIFEST_DIR\" ] && echo",
    );
    Iperf::probe(&script(&dir, "wrapper", &body)).await.unwrap();
}

async fn rejected(program: &Path) -> ProbeError {
    Iperf::probe(program).await.unwrap_err()
}

fn assert_problem(error: &ProbeError, problem: &str, hint: &str) {
    let text = error.to_string();
    assert!(text.contains(error.program.to_str().unwrap()), "{text}");
    assert!(
        text.contains(problem),
        "{text:?} should contain {problem:?}"
    );
    let given = error.hint();
    assert!(given.contains(hint), "{given:?} should contain {hint:?}");
}

fn script(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    binary(dir, name, text.as_bytes())
}

/// An executable file. Another process writes it, since a file cannot be executed while a child
/// that another test forks still has it open.
fn binary(dir: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let [source, program] = ["source-", ""].map(|prefix| dir.path().join(prefix.to_owned() + name));
    fs::write(&source, content).unwrap();
    run(&format!(
        "cp {} {program} && chmod 755 {program}",
        source.display(),
        program = program.display()
    ));
    program
}

/// A program of this machine whose loader has been replaced by `loader`.
fn with_loader(loader: &str) -> Vec<u8> {
    let mut program = fs::read("/bin/sh").unwrap();
    let at = program.windows(4).position(|at| at == b"/lib").unwrap();
    let end = program[at..].iter().position(|byte| *byte == 0).unwrap();
    let padded = loader.bytes().chain(std::iter::repeat(0)).take(end);
    for (byte, new) in program[at..].iter_mut().zip(padded) {
        *byte = new;
    }
    program
}

fn run(command: &str) {
    let status = Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(status.success(), "{command}");
}
