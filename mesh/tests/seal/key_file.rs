//! The text of a key file.

use iperf3_mesh_core::seal::{KeyFileProblem, Keyring, Role};

use crate::key;

#[test]
fn a_key_file_lists_the_newest_key_first() {
    let line = |number, role| key(number, role).to_line().to_string();
    let file = format!(
        "# the newest\n{}\n\n{}\n{}\n",
        line(2, Role::Member),
        line(3, Role::Operator),
        line(1, Role::Member)
    );
    let keyring = Keyring::read(file.as_bytes()).unwrap();
    let ids: Vec<_> = keyring.member_keys().map(|key| key.id.as_str()).collect();
    assert_eq!(ids, ["key-2", "key-1"]);
}

#[test]
fn all_problems_of_a_key_file_are_told_at_once() {
    let good = key(1, Role::Member).to_line().to_string();
    let zeros = "A".repeat(43) + "=";
    let file =
        format!("{good}\nno colon\nBAD:member:x\nb:boss:x\nc:member:x\nd:member:{zeros}\n{good}");
    let problems = Keyring::read(file.as_bytes()).unwrap_err();
    assert!(
        matches!(
            problems[..],
            [
                KeyFileProblem::Form(2),
                KeyFileProblem::Id(3),
                KeyFileProblem::Role(4),
                KeyFileProblem::Key(5),
                KeyFileProblem::NotRandom(6),
                KeyFileProblem::DuplicateId { line: 7, .. }
            ]
        ),
        "{problems:?}"
    );
    let told = format!("{problems:?}");
    assert!(!told.contains(good.rsplit(':').next().unwrap()), "{told}");
}
