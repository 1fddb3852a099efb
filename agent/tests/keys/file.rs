//! The files that are accepted as key files, and the messages for the others.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use iperf3_mesh::keys::{self, KeyFileError};
use iperf3_mesh_core::seal::Keyring;
use iperf3_mesh_testkit::STOP;
use tempfile::TempDir;

use super::{NEW, OLD};

#[test]
fn key_file_is_read_with_the_permissions_of_owner_and_group() {
    for mode in [0o400, 0o600, 0o440, 0o640, 0o700] {
        let keyring = read_with(mode, &format!("# comment\n\n{NEW}\n{OLD}\n")).unwrap();
        let ids: Vec<_> = keyring.member_keys().map(|key| key.id.as_str()).collect();
        assert_eq!(ids, ["new", "old"], "{mode:o}");
    }
}

#[test]
fn key_file_that_others_read_or_change_is_refused() {
    for mode in [0o404, 0o402, 0o444, 0o420, 0o460, 0o644, 0o666] {
        let error = read_with(mode, NEW).unwrap_err();
        let expected = format!("is open to other users (mode {mode:04o})");
        assert!(error.to_string().ends_with(&expected), "{error}");
        assert_eq!(error.reason().as_str(), "permissions");
        assert!(error.hint().contains("chmod 600 "), "{}", error.hint());
    }
}

#[test]
fn all_errors_of_a_key_file_are_one_message_without_keys() {
    let secret = NEW.rsplit(':').next().unwrap();
    let content = format!("{NEW}\nold:guest:{secret}\nnew:member:x{secret}\nA:member:{secret}\n");
    let error = read_with(0o600, &content).unwrap_err();
    assert_eq!(error.reason().as_str(), "invalid");
    let text = error.to_string();
    for line in ["line 2: a role is", "line 3: a key is", "line 4: an id has"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains(&secret[..6]), "{text}");
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let mode = nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR;
    nix::unistd::mkfifo(&pipe, mode).unwrap();
    for (path, reason) in [
        (pipe.as_path(), "unreadable"),
        (dir.path(), "unreadable"),
        (Path::new("/dev/zero"), "unreadable"),
        (&dir.path().join("absent"), "missing"),
        (&dir.path().join("absent/keys"), "missing"),
    ] {
        let (done_in, done) = mpsc::channel();
        let path = path.to_owned();
        thread::spawn(move || done_in.send(keys::read(&path)));
        let read = done.recv_timeout(STOP).expect("nobody waits");
        let error = read.unwrap_err();
        assert_eq!(error.reason().as_str(), reason, "{error}");
    }
}

#[test]
fn large_file_is_refused() {
    let error = read_with(0o600, &"#\n".repeat(1 << 20)).unwrap_err();
    assert_eq!(error.reason().as_str(), "invalid");
    assert!(error.to_string().contains("at most 4096 bytes"), "{error}");
}

fn read_with(mode: u32, content: &str) -> Result<Keyring, KeyFileError> {
    let dir = file_with(mode, content);
    keys::read(&dir.path().join("keys"))
}

fn file_with(mode: u32, content: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    dir
}
