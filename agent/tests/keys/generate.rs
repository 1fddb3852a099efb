//! The command `key generate`.

use std::time::{Duration, SystemTime};

use iperf3_mesh::keys;
use iperf3_mesh_core::seal::Keyring;
use iperf3_mesh_testkit::{Program, STOP};

#[test]
fn generated_keys_are_a_key_file() {
    let lines = [
        printed(&[]),
        printed(&[]),
        printed(&["--id=spare.2", "--role=member"]),
        printed(&["--id", "ops", "--role", "operator"]),
    ];
    let keyring = Keyring::read(lines.concat().as_bytes()).unwrap();
    let ids: Vec<_> = keyring.member_keys().map(|key| key.id.as_str()).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert_eq!(ids[2], "spare.2");
    for id in &ids[..2] {
        let shape = id.replace(|c: char| c.is_ascii_hexdigit(), "0");
        assert_eq!(shape, "0000-00-00-0000", "{id}");
    }
    assert!(lines[3].starts_with("ops:operator:"), "{}", lines[3]);
}

#[test]
fn id_without_a_name_is_the_day() {
    let id = |seconds, digits| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        keys::id_of_today(now, digits).map(|id| id.to_string())
    };
    assert_eq!(id(1_796_083_199, 0xab).unwrap(), "2026-11-30-00ab");
    assert_eq!(id(1_796_083_200, 0xffff).unwrap(), "2026-12-01-ffff");
    assert_eq!(id(1 << 40, 0), None);
}

#[test]
fn invalid_id_or_role_is_a_usage_error() {
    for (word, expected) in [
        ("--id=A", "--id is \"A\": expected 1 to 32 lower-case"),
        (
            "--role=guest",
            "--role is \"guest\": expected one of member, operator",
        ),
    ] {
        let ended = Program::run(&["key", "generate", word], STOP);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
}

fn printed(args: &[&str]) -> String {
    let ended = Program::run(&[&["key", "generate"], args].concat(), STOP);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "");
    ended.stdout
}
