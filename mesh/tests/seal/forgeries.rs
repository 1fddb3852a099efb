//! Datagrams that are not believed: each is refused for its reason, answered by nothing, and
//! changes nothing.

use iperf3_mesh_core::Time;
use iperf3_mesh_core::seal::{Channel, Received, Refusal, Secret};

use crate::handshake::answer;
use crate::net::{Net, met_pair};
use crate::{Dice, MESH, address, channel, keyring, life, run, seconds};

/// One authentic datagram of each kind, at a receiver that has not received it yet.
struct Specimen {
    name: &'static str,
    datagram: Vec<u8>,
    receiver: fn() -> (Channel, Vec<Vec<u8>>, Time),
}

/// A stage of a handshake: what node 2 or node 1 would receive next.
fn specimens() -> Vec<Specimen> {
    type Stage = fn() -> (Channel, Vec<Vec<u8>>, Time);
    let hello: Stage = || {
        let now = seconds(100);
        let hello = channel(1, &[7]).send(address(2), b"message", now);
        (channel(2, &[7]), hello, now)
    };
    let welcome: Stage = || {
        let (mut a, mut b, now) = (channel(1, &[7]), channel(2, &[7]), seconds(100));
        let hello = a.send(address(2), b"message", now);
        let welcome = answer(b.receive(&hello[0], address(1), true, now));
        (a, welcome, now)
    };
    let open: Stage = || {
        let (mut a, mut b, now) = (channel(1, &[7]), channel(2, &[7]), seconds(100));
        let hello = a.send(address(2), b"message", now);
        let welcome = answer(b.receive(&hello[0], address(1), true, now));
        (
            b,
            answer(a.receive(&welcome[0], address(2), true, now)),
            now,
        )
    };
    let data: Stage = || {
        let (mut a, b, now) = met_pair();
        (b, a.send(address(2), b"message", now), now)
    };
    let stages = [
        ("hello", hello),
        ("welcome", welcome),
        ("open", open),
        ("data", data),
    ];
    stages
        .map(|(name, receiver)| Specimen {
            name,
            datagram: receiver().1.remove(0),
            receiver,
        })
        .into()
}

#[test]
fn each_flipped_bit_is_refused_and_changes_nothing() {
    for specimen in specimens() {
        for bit in 0..specimen.datagram.len() * 8 {
            let mut forged = specimen.datagram.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            // The MACs of keys that the receiver does not choose tell it nothing.
            if specimen.name != "hello" || !(85..181).contains(&(bit / 8)) {
                refuses_and_stays(&specimen, &forged);
            }
        }
    }
}

#[test]
fn each_other_length_is_refused_and_changes_nothing() {
    for specimen in specimens() {
        for length in (0..1300).filter(|length| *length != specimen.datagram.len()) {
            let mut forged = specimen.datagram.clone();
            forged.resize(length, 0);
            refuses_and_stays(&specimen, &forged);
        }
    }
}

/// Checks that a forgery is refused, and that the genuine datagram is taken after it.
fn refuses_and_stays(specimen: &Specimen, forged: &[u8]) {
    let (mut receiver, genuine, now) = (specimen.receiver)();
    let from = address(if specimen.name == "welcome" { 2 } else { 1 });
    let received = receiver.receive(forged, from, true, now);
    assert!(
        received.is_err(),
        "{}: {forged:?}: {received:?}",
        specimen.name
    );
    let received = receiver.receive(&genuine[0], from, true, now);
    assert!(received.is_ok(), "{}: {received:?}", specimen.name);
}

#[test]
fn each_forgery_is_refused_for_its_reason() {
    let now = seconds(100);
    let hello_of = |mut of: Channel| of.send(address(2), b"message", now).remove(0);
    let other_mesh = Channel::new(life(1), Secret::new([1; 32]), "other".into(), keyring(&[7]));
    let mut forged = hello_of(channel(1, &[7]));
    forged[53] ^= 1;
    let mut removed = channel(2, &[7]);
    removed.replace_keys(keyring(&[8]));
    let plain = [0x53, 0xb0, 1, 0, 0];
    let data = |length: usize| [&[0xe4][..], &[0; 17], &[1], &vec![0; length]].concat();
    let cases = [
        ("plain", channel(2, &[7]), plain.to_vec(), Refusal::Unsealed),
        ("empty", channel(2, &[7]), Vec::new(), Refusal::Unsealed),
        (
            "other mesh",
            channel(2, &[7]),
            hello_of(other_mesh),
            Refusal::OtherMesh,
        ),
        (
            "wrong key",
            channel(2, &[8]),
            hello_of(channel(1, &[7])),
            Refusal::UnknownKey,
        ),
        (
            "removed key",
            removed,
            hello_of(channel(1, &[7])),
            Refusal::RemovedKey,
        ),
        ("forged", channel(2, &[7]), forged, Refusal::Forged),
        (
            "own",
            channel(2, &[7]),
            hello_of(channel(2, &[7])),
            Refusal::Reflected,
        ),
        ("short", channel(2, &[7]), data(15), Refusal::Malformed),
        ("long", channel(2, &[7]), data(1214), Refusal::Oversize),
        (
            "no session",
            channel(2, &[7]),
            data(16),
            Refusal::UnknownSession,
        ),
        (
            "not asked",
            channel(2, &[7]),
            [&[0xe2][..], &[0; 84]].concat(),
            Refusal::Unsolicited,
        ),
    ];
    for (name, mut receiver, datagram, expected) in cases {
        let received = receiver.receive(&datagram, address(1), false, now);
        assert_eq!(received, Err(expected), "{name}");
        assert!(!receiver.is_met(address(1), now), "{name}");
    }
}

#[test]
fn operator_cannot_join() {
    use iperf3_mesh_core::seal::{Keyring, Role};
    let line = |number, role| crate::key(number, role).to_line().to_string();
    let agent = [line(7, Role::Member), line(9, Role::Operator)].join("\n");
    let agent = Keyring::read(agent.as_bytes()).unwrap();
    let mut agent = Channel::new(life(2), Secret::new([2; 32]), MESH.to_owned(), agent);
    // The operator takes its key for one of a member.
    let mut operator = channel(1, &[9]);
    let hello = operator.send(address(2), b"message", seconds(100));
    let refused = agent.receive(&hello[0], address(1), false, seconds(100));
    assert_eq!(refused, Err(Refusal::Role));
}

#[test]
fn spoilt_mac_of_the_newest_key_leads_to_no_older_one() {
    let (mut a, mut b, now) = (channel(1, &[8, 7]), channel(2, &[8, 7]), seconds(100));
    let mut hello = a.send(address(2), b"message", now).remove(0);
    hello[53] ^= 1;
    assert_eq!(
        b.receive(&hello, address(1), true, now),
        Err(Refusal::Forged)
    );
}

#[test]
fn recorded_traffic_opens_nowhere_else_and_at_no_other_time() {
    let mut net = Net::of(3);
    for step in 0..60_u32 {
        net.send(1, 2, &step.to_be_bytes().repeat(500));
        net.send(2, 1, b"back");
        net.run_until(net.now + std::time::Duration::from_millis(200));
    }
    let tape = std::mem::take(&mut net.tape);
    let now = net.now;
    // To the same life.
    let mut refused = 0;
    for (from, to, datagram) in &tape {
        refused += replay(net.channel(*to), datagram, *from, now);
    }
    // A HELLO is answered again, to the address that it names, and with less than its length.
    let hellos = tape
        .iter()
        .filter(|(.., datagram)| datagram[0] == 0xe1)
        .count();
    assert_eq!(refused, tape.len() - hellos);
    // To another node, and to the next lives within a second.
    let others = (1..=10)
        .map(|number| run(2, number, &[7]))
        .chain([channel(3, &[7])]);
    for mut other in others {
        for (from, to, datagram) in &tape {
            let from = if *to == 2 { *from } else { 2 };
            replay(&mut other, datagram, from, now);
        }
    }
}

/// Replays a datagram, and returns whether it was refused. It opens in no case.
fn replay(to: &mut Channel, datagram: &[u8], from: u8, now: Time) -> usize {
    match to.receive(datagram, address(from), true, now) {
        Ok(Received::Answer(answer)) => {
            assert!(datagram[0] == 0xe1 && answer.concat().len() < datagram.len());
            0
        }
        Ok(received) => panic!("{received:?}"),
        Err(_) => 1,
    }
}

#[test]
fn sender_without_a_key_gets_no_byte_back() {
    let (_, mut b, now) = met_pair();
    let tape = {
        let mut net = Net::of(2);
        net.send(1, 2, &[1; 3000]);
        net.settle();
        net.tape
    };
    let mut dice = Dice(5);
    for trial in 0..20_000_u64 {
        let mut datagram = tape[dice.below(tape.len() as u64) as usize].2.clone();
        match dice.below(3) {
            0 => datagram
                .iter_mut()
                .skip(1)
                .for_each(|byte| *byte = dice.next() as u8),
            1 => {
                // A HELLO that differs only in MACs that are not looked at is authentic.
                let end = if datagram[0] == 0xe1 {
                    85
                } else {
                    datagram.len()
                };
                let at = dice.below(end as u64) as usize;
                datagram[at] ^= 1 << dice.below(8);
            }
            _ => datagram.truncate(dice.below(datagram.len() as u64) as usize),
        }
        let now = now + std::time::Duration::from_millis(trial);
        let from = address(dice.below(4) as u8);
        let received = b.receive(&datagram, from, dice.below(2) == 0, now);
        assert!(received.is_err(), "trial {trial}: {received:?}");
    }
    assert_eq!(b.keys_in_use(&[address(1)], now).values().sum::<usize>(), 1);
}
