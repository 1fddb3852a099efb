//! Sealed requests and answers.

use iperf3_mesh_core::seal::{Envelopes, Purpose, Refusal, Target};

use crate::{MESH, keyring, life};

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
    let opened = b.open(&sealed, TARGET, |_| true).unwrap();
    assert_eq!((opened.from, &opened.body[..]), (life(1), &b"request"[..]));
    let reply = opened.answer.seal(200, b"answer");
    assert_eq!(answer.clone().open(403, &reply), None);
    assert_eq!(answer.open(200, &reply).as_deref(), Some(&b"answer"[..]));
    let again = b.open(&sealed, TARGET, |_| true);
    assert_eq!(again.err(), Some(Refusal::Replayed));
}

#[test]
fn a_request_opens_only_where_it_is_meant_to() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(3, &[7]));
    let accepted: Vec<_> = keyring(&[7]).wire_ids().collect();
    let (sealed, _) = a.seal(life(2), &accepted, TARGET, b"").unwrap();
    assert_eq!(
        b.open(&sealed, TARGET, |_| true).err(),
        Some(Refusal::OtherLife)
    );
    let mut b = envelopes(2, &[7]);
    let elsewhere = Target {
        path: "/other",
        ..TARGET
    };
    assert_eq!(
        b.open(&sealed, elsewhere, |_| true).err(),
        Some(Refusal::Forged)
    );
    assert!(b.open(&sealed, TARGET, |_| true).is_ok());
}

fn envelopes(number: u8, keys: &[u8]) -> Envelopes {
    Envelopes::new(life(number), MESH.to_owned(), keyring(keys))
}
