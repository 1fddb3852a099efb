//! Sealed requests and answers.

use iperf3_mesh_core::seal::{Envelopes, Keyring, Purpose, Refusal, Role, Standing, Target};

use crate::{MESH, key, keyring, life};

const TARGET: Target<'_> = Target {
    purpose: Purpose::Control,
    method: "POST",
    path: "/control/v1/message",
};

#[test]
fn a_request_and_its_answer_open_once() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[8, 7]));
    let accepted: Vec<_> = keyring(&[8, 7]).wire_ids().collect();
    let (sealed, answer) = a.seal(life(2), &accepted, TARGET, b"request").unwrap();
    let opened = b.open(&sealed, TARGET, |_| Standing::Member).unwrap();
    assert_eq!((opened.from, &opened.body[..]), (life(1), &b"request"[..]));
    let reply = opened.answer.seal(200, b"answer");
    assert_eq!(answer.open(403, &reply), None);
    assert_eq!(answer.open(200, &reply).as_deref(), Some(&b"answer"[..]));
    let again = b.open(&sealed, TARGET, |_| Standing::Member);
    assert_eq!(again.err(), Some(Refusal::Replayed));
}

#[test]
fn a_request_opens_only_where_it_is_meant_to() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(3, &[7]));
    let accepted: Vec<_> = keyring(&[7]).wire_ids().collect();
    let (sealed, _) = a.seal(life(2), &accepted, TARGET, b"").unwrap();
    assert_eq!(
        b.open(&sealed, TARGET, |_| Standing::Member).err(),
        Some(Refusal::OtherLife)
    );
    let mut b = envelopes(2, &[7]);
    let elsewhere = Target {
        path: "/other",
        ..TARGET
    };
    assert_eq!(
        b.open(&sealed, elsewhere, |_| Standing::Member).err(),
        Some(Refusal::Forged)
    );
    assert!(b.open(&sealed, TARGET, |_| Standing::Member).is_ok());
}

#[test]
fn an_answer_opens_only_as_a_whole_and_in_order() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[7]));
    let accepted = b.accepted();
    let mut asked = || a.seal(life(2), &accepted, TARGET, b"").unwrap();
    let ((sealed, answer), (_, other)) = (asked(), asked());
    let mut opened = b.open(&sealed, TARGET, |_| Standing::Member).unwrap();
    let pieces: Vec<Vec<u8>> = [(&b"one "[..], false), (b"two", false), (b"", true)]
        .map(|(piece, is_last)| {
            let mut sealed = Vec::new();
            opened.answer.seal_piece(200, piece, is_last, &mut sealed);
            sealed
        })
        .into();
    let whole = pieces.concat();
    assert_eq!(answer.open(200, &whole).as_deref(), Some(&b"one two"[..]));
    assert_eq!(other.open(200, &whole), None, "of another request");
    for wrong in [[0, 1, 1], [1, 0, 2], [0, 2, 2], [2, 0, 1]] {
        let wrong = wrong.map(|at: usize| pieces[at].as_slice()).concat();
        assert_eq!(answer.open(200, &wrong), None);
    }
    for length in 0..whole.len() {
        assert_eq!(answer.open(200, &whole[..length]), None, "{length} bytes");
    }
    assert_eq!(answer.open(200, &[&whole[..], b"x"].concat()), None);
}

#[test]
fn an_operator_asks_for_rows_but_sends_no_control_message() {
    let operator = key(9, Role::Operator).to_line().to_string();
    let both = [operator.as_str(), &key(7, Role::Member).to_line()].join("\n");
    let mut agent = Envelopes::new(
        life(2),
        MESH.to_owned(),
        Keyring::read(both.as_bytes()).unwrap(),
    );
    assert!(Keyring::read(operator.as_bytes()).is_err(), "joins nothing");
    let only_reads = Keyring::read_any(operator.as_bytes()).unwrap();
    let mut program = Envelopes::new(life(1), MESH.to_owned(), only_reads);
    let rows = Target {
        purpose: Purpose::Rows,
        ..TARGET
    };
    let accepted = agent.accepted();
    let (sealed, _) = program.seal(life(2), &accepted, rows, b"").unwrap();
    let opened = agent.open(&sealed, rows, |_| Standing::Stranger).unwrap();
    assert_eq!(opened.role, Role::Operator);
    assert!(program.seal(life(2), &accepted, TARGET, b"").is_none());
}

fn envelopes(number: u8, keys: &[u8]) -> Envelopes {
    Envelopes::new(life(number), MESH.to_owned(), keyring(keys))
}
