//! Sealed requests and answers.

use std::net::{IpAddr, Ipv4Addr};

use iperf3_mesh_core::seal::{
    AnswerKey, Envelopes, HELLO_LEN, Keyring, Life, Purpose, Refusal, Role, Standing, Target,
    WELCOME_LEN, WireId,
};

use crate::net::life_of_run;
use crate::{MESH, address, channel, key, keyring, life, seconds};

const TARGET: Target<'_> = Target {
    purpose: Purpose::Control,
    method: "POST",
    path: "/control/v1/message",
};
const ROW: Target<'_> = Target {
    purpose: Purpose::Rows,
    method: "GET",
    path: "/api/v1/row",
};
/// The address of node 1, and that of another host.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
const OTHER_HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 9));
/// How many lives and purposes are remembered.
const LIVES_MAX: u64 = 8192;

#[test]
fn request_and_its_answer_open_once() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[8, 7]));
    let (sealed, answer) = ask(&mut a, 2, &[8, 7], TARGET);
    let opened = b.open(&sealed, TARGET, HOST, member).unwrap();
    assert_eq!((opened.from, &opened.body[..]), (life(1), &b"request"[..]));
    let reply = opened.answer.seal(200, b"answer");
    assert_eq!(answer.open(403, &reply), None);
    assert_eq!(answer.open(200, &reply).as_deref(), Some(&b"answer"[..]));
    assert_eq!(refusal(&mut b, &sealed, TARGET), Refusal::Replayed);
}

#[test]
fn requests_open_in_any_order_within_the_window() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[7]));
    let sealed: Vec<_> = (0..1500).map(|_| ask(&mut a, 2, &[7], TARGET).0).collect();
    for request in sealed.iter().rev().take(1024) {
        b.open(request, TARGET, HOST, member).unwrap();
    }
    for request in &sealed {
        assert_eq!(refusal(&mut b, request, TARGET), Refusal::Replayed);
    }
}

#[test]
fn each_forged_request_is_refused_for_its_reason() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[7]));
    let (sealed, _) = ask(&mut a, 2, &[7], TARGET);
    let elsewhere = |_| Standing::Elsewhere;
    let refused = b.open(&sealed, TARGET, HOST, elsewhere).unwrap_err();
    assert_eq!(refused, Refusal::OtherAddress);
    assert_eq!(refusal(&mut b, b"{}", TARGET), Refusal::Unsealed);
    assert_eq!(refusal(&mut b, b"", TARGET), Refusal::Unsealed);
    assert_eq!(refusal(&mut b, &sealed[..60], TARGET), Refusal::Malformed);
    for other in [
        Target {
            path: "/other",
            ..TARGET
        },
        Target {
            method: "GET",
            ..TARGET
        },
        ROW,
    ] {
        assert_eq!(
            refusal(&mut b, &sealed, other),
            Refusal::Forged,
            "{other:?}"
        );
    }
    let (of_other_key, _) = ask(&mut envelopes(1, &[8]), 2, &[8], TARGET);
    assert_eq!(refusal(&mut b, &of_other_key, TARGET), Refusal::UnknownKey);
    let (own, _) = ask(&mut envelopes(2, &[7]), 2, &[7], TARGET);
    assert_eq!(refusal(&mut b, &own, TARGET), Refusal::Reflected);
    let mut other_mesh = Envelopes::new(life(1), "other".to_owned(), keyring(&[7]));
    let (of_other_mesh, _) = ask(&mut other_mesh, 2, &[7], TARGET);
    assert_eq!(refusal(&mut b, &of_other_mesh, TARGET), Refusal::Forged);
    let mut rotated = envelopes(2, &[7]);
    rotated.replace_keys(keyring(&[8]));
    assert_eq!(refusal(&mut rotated, &sealed, TARGET), Refusal::RemovedKey);
    // None of them has used up the counter.
    assert!(b.open(&sealed, TARGET, HOST, member).is_ok());
}

#[test]
fn each_flipped_bit_of_a_request_is_refused() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[7]));
    let (sealed, answer) = ask(&mut a, 2, &[7], TARGET);
    for_each_change(&sealed, |forged| {
        assert!(b.open(forged, TARGET, HOST, member).is_err(), "{forged:?}");
    });
    let reply = b
        .open(&sealed, TARGET, HOST, member)
        .unwrap()
        .answer
        .seal(200, b"answer");
    for_each_change(&reply, |forged| {
        assert_eq!(answer.open(200, forged), None, "{forged:?}");
    });
    assert!(answer.open(200, &reply).is_some());
}

#[test]
fn request_opens_at_no_other_node_and_no_other_life() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[7]));
    let (sealed, answer) = ask(&mut a, 2, &[7], TARGET);
    b.open(&sealed, TARGET, HOST, member).unwrap();
    for run in 1..=10 {
        let mut next = Envelopes::new(life_of_run(2, run), MESH.to_owned(), keyring(&[7]));
        assert_eq!(refusal(&mut next, &sealed, TARGET), Refusal::OtherLife);
        // Nor does it if its receiver is written over.
        let mut forged = sealed.clone();
        forged[21..37].copy_from_slice(life_of_run(2, run).bytes());
        assert_eq!(refusal(&mut next, &forged, TARGET), Refusal::Forged);
    }
    assert_eq!(
        refusal(&mut envelopes(3, &[7]), &sealed, TARGET),
        Refusal::OtherLife
    );
    // The request is no answer to itself, and the other direction has keys of its own.
    assert_eq!(answer.open(200, &sealed), None);
    let (back, _) = ask(&mut b, 1, &[7], TARGET);
    assert_ne!(back[45..], sealed[45..]);
}

#[test]
fn holder_of_a_key_uses_up_no_counters_of_a_member() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[7]));
    let mut insider = envelopes(1, &[7]);
    let claimed: Vec<_> = (0..3000)
        .map(|_| ask(&mut insider, 2, &[7], TARGET).0)
        .collect();
    for request in &claimed {
        let refused = b
            .open(request, TARGET, HOST, |_| Standing::Elsewhere)
            .unwrap_err();
        assert_eq!(refused, Refusal::OtherAddress);
    }
    let (sealed, _) = ask(&mut a, 2, &[7], TARGET);
    assert!(b.open(&sealed, TARGET, HOST, member).is_ok());
}

#[test]
fn holder_of_a_key_uses_up_no_counters_of_a_new_life() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[7]));
    let stranger = |_| Standing::Stranger;
    let mut insider = envelopes(1, &[7]);
    let claimed: Vec<_> = (0..3000)
        .map(|_| ask(&mut insider, 2, &[7], ROW).0)
        .collect();
    // Before the life is heard at its own address, and afterwards.
    b.open(&claimed[2000], ROW, OTHER_HOST, stranger).unwrap();
    let (first, _) = ask(&mut a, 2, &[7], ROW);
    let refused = b.open(&first, ROW, HOST, stranger).unwrap_err();
    assert_eq!(refused, Refusal::OtherAddress);
    let second = ask(&mut a, 2, &[7], ROW).0;
    b.open(&second, ROW, HOST, member).unwrap();
    for standing in [Standing::Stranger, Standing::Elsewhere] {
        let refused = b.open(&claimed[2999], ROW, OTHER_HOST, |_| standing);
        assert_eq!(refused.unwrap_err(), Refusal::OtherAddress);
    }
    // The window of a member is the same wherever it moves, and whoever forgets it.
    for (from, standing) in [
        (OTHER_HOST, Standing::Member),
        (HOST, Standing::Stranger),
        (HOST, Standing::Member),
    ] {
        let refused = b.open(&second, ROW, from, |_| standing).unwrap_err();
        assert_eq!(refused, Refusal::Replayed);
    }
}

#[test]
fn windows_of_strangers_displace_none_of_a_member() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[7]));
    let (sealed, _) = ask(&mut a, 2, &[7], TARGET);
    let standing = |of: Life| match of == life(1) {
        true => Standing::Member,
        false => Standing::Stranger,
    };
    b.open(&sealed, TARGET, HOST, standing).unwrap();
    for number in 0..2 * LIVES_MAX {
        let (request, _) = ask(&mut stranger(number), 2, &[7], TARGET);
        b.open(&request, TARGET, HOST, standing).unwrap();
    }
    let refused = b.open(&sealed, TARGET, HOST, standing).unwrap_err();
    assert_eq!(refused, Refusal::Replayed);
}

#[test]
fn forgotten_request_is_answered_under_another_nonce() {
    let mut b = envelopes(2, &[7]);
    let (sealed, answer) = ask(&mut stranger(0), 2, &[7], ROW);
    let reply = |b: &mut Envelopes, body: &[u8]| {
        let opened = b.open(&sealed, ROW, HOST, |_| Standing::Stranger).unwrap();
        opened.answer.seal(200, body)
    };
    let first = reply(&mut b, b"one row");
    for number in 1..=LIVES_MAX {
        let (request, _) = ask(&mut stranger(number), 2, &[7], ROW);
        b.open(&request, ROW, HOST, |_| Standing::Stranger).unwrap();
    }
    let second = reply(&mut b, b"one row");
    assert_ne!(first[8..], second[8..], "the same nonce");
    assert_eq!(answer.open(200, &second).as_deref(), Some(&b"one row"[..]));
}

#[test]
fn counters_rise_even_if_lives_are_forgotten() {
    let mut a = envelopes(1, &[7]);
    let counter = |sealed: &[u8]| u64::from_be_bytes(sealed[37..45].try_into().unwrap());
    let mut last = None;
    for number in 0..3 * LIVES_MAX {
        if number % 1000 == 0 {
            let next = counter(&ask(&mut a, 2, &[7], TARGET).0);
            assert!(last.is_none_or(|last| last < next), "{last:?}, {next}");
            last = Some(next);
        }
        let mut other = [3; 16];
        other[..8].copy_from_slice(&number.to_be_bytes());
        a.seal(Life::new(other), &accepted(&[7]), TARGET, b"")
            .unwrap();
    }
}

#[test]
fn request_is_sealed_with_the_newest_common_key() {
    let mut a = envelopes(1, &[9, 8, 7]);
    for (theirs, expected) in [(&[7, 8][..], 8), (&[7], 7), (&[9, 7], 9)] {
        let (sealed, _) = ask(&mut a, 2, theirs, TARGET);
        assert_eq!(sealed[1..5], accepted(&[expected])[0]);
    }
    assert!(a.seal(life(2), &accepted(&[6]), TARGET, b"").is_none());
}

#[test]
fn answer_opens_only_as_a_whole_and_in_order() {
    let (mut a, mut b) = (envelopes(1, &[7]), envelopes(2, &[7]));
    let mut asked = || ask(&mut a, 2, &[7], TARGET);
    let ((sealed, answer), (_, other)) = (asked(), asked());
    let mut opened = b.open(&sealed, TARGET, HOST, member).unwrap();
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
fn operator_asks_for_rows_but_sends_no_control_message() {
    let mut agent = agent_with_operator();
    let mut program = operator();
    let (sealed, _) = ask(&mut program, 2, &[9], ROW);
    let opened = agent
        .open(&sealed, ROW, HOST, |_| Standing::Stranger)
        .unwrap();
    assert_eq!(opened.role, Role::Operator);
    assert!(
        program
            .seal(life(2), &accepted(&[9]), TARGET, b"")
            .is_none()
    );
    // An operator that takes its key for one of a member gets no further.
    let (sealed, _) = ask(&mut envelopes(1, &[9]), 2, &[9], TARGET);
    assert_eq!(refusal(&mut agent, &sealed, TARGET), Refusal::Role);
    let line = key(9, Role::Operator).to_line();
    assert!(
        Keyring::read(line.as_bytes()).is_err(),
        "no agent has only that key"
    );
}

#[test]
fn program_learns_the_life_of_an_agent() {
    let (agent, program, nonce) = (agent_with_operator(), operator(), [5; 16]);
    let hello = program.hello(&nonce);
    let welcome = agent.welcome(&hello).unwrap();
    assert_eq!([hello.len(), welcome.len()], [HELLO_LEN, WELCOME_LEN]);
    assert_eq!(
        program.meet(&welcome, &nonce),
        Ok((life(2), accepted(&[9])[0]))
    );
    assert_eq!(program.meet(&welcome, &[6; 16]), Err(Refusal::Unsolicited));
    for_each_change(&welcome, |forged| {
        assert!(program.meet(forged, &nonce).is_err());
    });
    let unused_macs = 85..181;
    for bit in (0..hello.len() * 8).filter(|bit| !unused_macs.contains(&(bit / 8))) {
        let mut forged = hello.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(agent.welcome(&forged).is_err(), "bit {bit}");
    }
    let refused = envelopes(3, &[7]).welcome(&hello);
    assert_eq!(refused, Err(Refusal::UnknownKey));
}

#[test]
fn hello_of_gossip_is_none_of_a_program_nor_the_reverse() {
    let now = seconds(100);
    let of_gossip = channel(1, &[7]).send(address(2), b"message", now).remove(0);
    assert_eq!(envelopes(2, &[7]).welcome(&of_gossip), Err(Refusal::Forged));
    let of_program = envelopes(1, &[7]).hello(&[5; 16]);
    let refused = channel(2, &[7]).receive(&of_program, address(1), true, now);
    assert_eq!(refused, Err(Refusal::Forged));
}

/// Calls `check` with each single flipped bit, each shorter form, and a longer one.
fn for_each_change(bytes: &[u8], mut check: impl FnMut(&[u8])) {
    for bit in 0..bytes.len() * 8 {
        let mut forged = bytes.to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        check(&forged);
    }
    for length in 0..bytes.len() {
        check(&bytes[..length]);
    }
    check(&[bytes, b"x"].concat());
}

fn member(_: Life) -> Standing {
    Standing::Member
}

fn ask(from: &mut Envelopes, to: u8, theirs: &[u8], target: Target<'_>) -> (Vec<u8>, AnswerKey) {
    from.seal(life(to), &accepted(theirs), target, b"request")
        .unwrap()
}

fn refusal(at: &mut Envelopes, sealed: &[u8], target: Target<'_>) -> Refusal {
    at.open(sealed, target, HOST, member).unwrap_err()
}

fn accepted(keys: &[u8]) -> Vec<WireId> {
    keyring(keys).wire_ids().collect()
}

fn envelopes(node: u8, keys: &[u8]) -> Envelopes {
    Envelopes::new(life(node), MESH.to_owned(), keyring(keys))
}

/// A program with the key of an operator only.
fn operator() -> Envelopes {
    let line = key(9, Role::Operator).to_line();
    let keyring = Keyring::read_any(line.as_bytes()).unwrap();
    Envelopes::new(life(1), MESH.to_owned(), keyring)
}

/// Node 2, which accepts the key of an operator.
fn agent_with_operator() -> Envelopes {
    let lines = [key(7, Role::Member), key(9, Role::Operator)];
    let lines = lines.map(|key| key.to_line().to_string()).join("\n");
    let keyring = Keyring::read(lines.as_bytes()).unwrap();
    Envelopes::new(life(2), MESH.to_owned(), keyring)
}

/// The life of no member.
fn stranger(number: u64) -> Envelopes {
    let mut bytes = [9; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Envelopes::new(Life::new(bytes), MESH.to_owned(), keyring(&[7]))
}
