//! Tests of the messages' encoding: a message survives it, one beyond a limit is refused, a distant
//! version is distinguished from garbage, and no bytes make the decoder panic.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use iperf3_mesh_core::wire::{
    Body, Complaint, Complaints, Handover, MESSAGE_LEN_MAX, MeetingId, MeetingKind, Message,
    PlannedTest, Refusal, Role, SWEEP_MAX, TESTS_MAX, WORDS_MAX, WireError,
};
use iperf3_mesh_core::{
    Epoch, Figure, Figures, NAME_LEN_MAX, NodeName, Protocol, Reason, TIMEOUT_MAX, TestSpec,
    WIRE_VERSION, plausible,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use strum::VariantArray;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

#[test]
fn message_survives_encoding_and_decoding() {
    for message in all() {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn message_encoding_is_as_documented() {
    let grant = Body::Grant {
        test: 0,
        address: [10, 0, 0, 2].into(),
        port: 5203,
        buffer: Some(425_984),
        agreed: Vec::new(),
    };
    let expected = json!({
        "wire": 4, "from": "a", "from_epoch": u64::MAX, "to": "b", "to_epoch": 2, "sweep": 9,
        "meeting": {"asker": "a", "epoch": u64::MAX, "number": 7},
        "body": {"grant": {"test": 0, "address": "10.0.0.2", "port": 5203, "buffer": 425_984}},
    });
    assert_eq!(serde_json::to_value(message(grant)).unwrap(), expected);
    assert_eq!(
        serde_json::to_value(message(Body::Sweep)).unwrap()["body"],
        json!("sweep")
    );
}

#[test]
fn truncated_message_is_malformed() {
    for message in all() {
        let bytes = message.encode();
        for length in 0..bytes.len() {
            let read = Message::decode(&bytes[..length]);
            assert!(is_malformed(&read), "{length} bytes: {read:?}");
        }
        assert!(is_malformed(&Message::decode(&[&bytes[..], b"x"].concat())));
    }
}

#[test]
fn longest_message_fits_the_length_limit() {
    let long = |c: &str| name(&c.repeat(NAME_LEN_MAX));
    let (one, two) = (long("a"), long("b"));
    let full = Figures {
        bandwidth_mbps: f64::MAX,
        rtt_ms: Some(f64::MIN_POSITIVE),
        ..figures()
    };
    let results = vec![
        Handover {
            protocol: Protocol::Udp,
            outcome: Ok(full)
        };
        TESTS_MAX
    ];
    for body in [
        Body::Request {
            plan: longest_plan(),
            kind: MeetingKind::Scheduled,
        },
        Body::Grant {
            test: u8::MAX,
            address: [0xffff; 8].into(),
            port: u16::MAX,
            buffer: Some(u64::MAX),
            agreed: vec![spec(); TESTS_MAX],
        },
        Body::Go { handover: results },
    ] {
        let mut message = message(body);
        message.meeting.as_mut().unwrap().asker = one.clone();
        let message = Message {
            from: one.clone(),
            to: two.clone(),
            sweep: SWEEP_MAX,
            complaints: complaints(&"\\".repeat(WORDS_MAX)),
            ..message
        };
        assert!(message.encode().len() <= MESSAGE_LEN_MAX);
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn message_over_the_length_limit_is_not_parsed() {
    let mut bytes = message(Body::Sweep).encode();
    bytes.resize(MESSAGE_LEN_MAX, b' ');
    assert!(Message::decode(&bytes).is_ok());
    bytes.push(b' ');
    assert_eq!(
        Message::decode(&bytes),
        Err(WireError::TooLong(MESSAGE_LEN_MAX + 1))
    );
}

#[test]
fn decode_accepts_adjacent_wire_versions_only() {
    for (wire, fits) in [
        (1, false),
        (2, false),
        (3, true),
        (4, true),
        (5, true),
        (6, false),
        (u16::MAX, false),
    ] {
        let read = changed(&message(Body::Sweep), |value| value["wire"] = json!(wire));
        let expected = if fits {
            Ok(())
        } else {
            Err(WireError::Incompatible(wire))
        };
        assert_eq!(read.map(|_| ()), expected);
    }
}

#[test]
fn distant_version_is_incompatible_whatever_follows() {
    for foreign in [
        json!({"wire": 6}),
        json!({"wire": 9, "body": {"dance": [1, {"x": null}]}, "y": {}}),
    ] {
        assert!(
            matches!(decode(&foreign), Err(WireError::Incompatible(_))),
            "{foreign}"
        );
    }
    for garbage in [
        json!({}),
        json!([]),
        json!(1),
        json!({"wire": "4"}),
        json!({"wire": -1}),
        json!({"wire": 4}),
        json!({"wire": 70000}),
    ] {
        assert!(is_malformed(&decode(&garbage)), "{garbage}");
    }
    assert!(is_malformed(&Message::decode(br#"{"wire": 6, "wire": 4}"#)));
}

#[test]
fn unknown_field_or_value_is_malformed() {
    let changes: [fn(&mut Value); 7] = [
        |value| value["more"] = json!(1),
        |value| value["meeting"]["more"] = json!(1),
        |value| value["body"]["next"]["more"] = json!(1),
        |value| value["body"] = json!({"dance": {}}),
        |value| value["body"] = json!({"next": {"test": 256}}),
        |value| value["from"] = json!("two words"),
        |value| value["from"] = json!(""),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let read = changed(&message(Body::Next { test: 1 }), change);
        assert!(is_malformed(&read), "change {at}: {read:?}");
    }
}

#[test]
fn message_beyond_any_limit_is_refused() {
    let good = request(vec![planned(Role::Asker), planned(Role::Granter)]);
    assert!(Message::decode(&good.encode()).is_ok());

    let of_a_meeting = Message {
        meeting: good.meeting.clone(),
        ..message(Body::Sweep)
    };
    assert!(is_limit(&of_a_meeting));
    let changes: [fn(&mut Message); 3] = [
        |message| message.sweep = SWEEP_MAX + 1,
        |message| message.meeting = None,
        |message| message.to = name("a"),
    ];
    for change in changes {
        let mut changed = good.clone();
        change(&mut changed);
        assert!(is_limit(&changed), "{changed:?}");
    }
    let of_a_third_node = good.meeting.clone().map(|id| MeetingId {
        asker: name("c"),
        ..id
    });
    assert!(is_limit(&Message {
        meeting: of_a_third_node,
        ..good
    }));

    for plan in [
        Vec::new(),
        vec![planned(Role::Asker); TESTS_MAX + 1],
        vec![planned(Role::Granter)],
        vec![planned(Role::Asker); 2],
        [Role::Asker, Role::Granter, Role::Asker]
            .map(planned)
            .into(),
        two_way_and_back(),
    ] {
        assert!(is_limit(&request(plan.clone())), "{plan:?}");
    }

    let too_many = vec![handover()[0].clone(); TESTS_MAX + 1];
    assert!(is_limit(&message(Body::Go {
        handover: too_many.clone()
    })));
    assert!(is_limit(&message(end(too_many))));
}

#[test]
fn test_spec_beyond_any_limit_is_refused() {
    let is_refused = |change: fn(&mut TestSpec)| {
        let mut test = planned(Role::Asker);
        change(&mut test.spec);
        is_limit(&request(vec![test]))
    };
    let within: [fn(&mut TestSpec); 3] = [
        |_| {},
        |spec| spec.timeout = TIMEOUT_MAX,
        |spec| spec.duration = SECOND,
    ];
    let beyond: [fn(&mut TestSpec); 9] = [
        |spec| spec.timeout = TIMEOUT_MAX + MILLI,
        |spec| spec.duration = SECOND - MILLI,
        |spec| spec.duration = Duration::ZERO,
        |spec| spec.timeout = spec.length(),
        |spec| spec.omit = MILLI * u32::MAX,
        |spec| spec.duration = MILLI * u32::MAX,
        |spec| spec.streams = 0,
        |spec| spec.streams = 129,
        |spec| spec.bitrate = Some(0),
    ];
    assert_eq!(within.map(is_refused), [false; 3]);
    assert_eq!(beyond.map(is_refused), [true; 9]);
}

#[test]
fn odd_complaint_costs_neither_the_message_nor_another_one() {
    let long = "x".repeat(WORDS_MAX + 1);
    let read = |reason, words| Some(Complaint::new(reason, words));
    for (reason, words, read) in [
        (json!("new"), json!("a"), read(Reason::Iperf, "a")),
        (
            json!("busy"),
            json!("a\nb\u{1b}c"),
            read(Reason::Busy, "a b c"),
        ),
        (json!("busy"), json!(&long), read(Reason::Busy, &long[1..])),
        (json!("busy"), json!(1), None),
        (json!([]), json!("a"), None),
    ] {
        let odd = json!({"reason": reason, "words": words, "more": 1});
        let sound = json!({"reason": "resources", "words": ""});
        let received = with_complaints(&json!({"0": odd, "1": sound, "256": sound, "x": sound}));
        let mut expected = Complaints::from([(1, Complaint::new(Reason::Resources, ""))]);
        expected.extend(read.map(|read| (0, read)));
        assert_eq!(received.unwrap().complaints, expected, "{odd}");
    }
    for odd in [json!(null), json!([1]), json!("many")] {
        assert_eq!(with_complaints(&odd).unwrap().complaints, Complaints::new());
    }
}

#[test]
fn more_complaints_than_tests_are_refused() {
    let one = json!({"reason": "resources", "words": ""});
    let nine = (0..=TESTS_MAX).map(|test| (test.to_string(), one.clone()));
    let received = with_complaints(&Value::Object(nine.collect()));
    assert!(matches!(received, Err(WireError::Limit(_))));
}

#[test]
fn reason_that_no_server_can_know_becomes_iperf() {
    for &reason in Reason::ALL {
        let received = with_complaints(&json!({"0": {"reason": reason, "words": ""}})).unwrap();
        let expected = match reason {
            Reason::Unreachable
            | Reason::NotMet
            | Reason::Incompatible
            | Reason::NameConflict
            | Reason::ResultLost => Reason::Iperf,
            other => other,
        };
        assert_eq!(received.complaints[&0].reason(), expected, "{reason}");
    }
}

#[test]
fn complaint_is_a_short_line_of_ascii() {
    let words = Complaint::new(Reason::Iperf, "a\nb\u{1b}c\u{202e}d\u{e9}");
    assert_eq!(words.words(), "a b c?d?");
    let long = Complaint::new(Reason::Iperf, &format!("x{}", "é".repeat(WORDS_MAX)));
    assert!(long.words().len() <= WORDS_MAX && long.words().is_ascii());
}

#[test]
fn odd_figure_in_a_handover_costs_only_itself() {
    let received = |key: &str, value: Value| {
        let mut sent = serde_json::to_value(message(end(handover()))).unwrap();
        sent["body"]["end"]["handover"][0]["outcome"]["Ok"][key] = value;
        let received = Message::decode(sent.to_string().as_bytes()).unwrap();
        let Body::End { handover, .. } = received.body else {
            panic!("another message");
        };
        let spec = planned(Role::Asker).spec;
        plausible(handover[0].outcome.clone(), &spec)
    };
    for key in ["retransmits", "rtt_ms"] {
        for value in [json!(-1), json!("many"), json!(1e300), json!([])] {
            let (outcome, removed) = received(key, value.clone());
            let figures = outcome.unwrap();
            assert_eq!(figures.bandwidth_mbps, 94.25, "{key} = {value}");
            assert!(
                removed
                    .iter()
                    .any(|figure| key.starts_with(figure.as_str())),
                "{key} = {value}: {removed:?}"
            );
        }
    }
    for value in [json!(-1), json!(null), json!("fast"), json!(1e300)] {
        let (outcome, removed) = received("bandwidth_mbps", value);
        assert_eq!(outcome, Err(Reason::BadReport));
        assert_eq!(removed, [Figure::Bandwidth]);
    }
    // A figure of a newer version.
    let (outcome, _) = received("delay_ms", json!(1));
    assert_eq!(outcome, Err(Reason::BadReport));
}

#[test]
fn deeply_nested_message_is_malformed() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let depth = MESSAGE_LEN_MAX / 2 / (open.len() + close.len());
        let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(is_malformed(&Message::decode(deep.as_bytes())));
        let inside = format!(r#"{{"wire":4,"x":{deep}}}"#);
        assert!(is_malformed(&Message::decode(inside.as_bytes())));
    }
}

#[test]
fn wire_error_has_a_label_and_says_what_was_expected() {
    let long = Message::decode(&[b' '; MESSAGE_LEN_MAX + 1]).unwrap_err();
    assert_eq!(
        (long.as_str(), long.to_string().contains("8192")),
        ("too_long", true)
    );
    let foreign = decode(&json!({"wire": 6})).unwrap_err();
    assert_eq!(foreign.as_str(), "incompatible");
    assert_eq!(
        foreign.to_string(),
        "wire version 6, and this agent speaks 4"
    );
    assert_eq!(Message::decode(b"hello").unwrap_err().as_str(), "malformed");
    assert_eq!(
        Message::decode(&request(Vec::new()).encode())
            .unwrap_err()
            .as_str(),
        "limit"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_malformed(bytes in prop::collection::vec(any::<u8>(), 0..1000)) {
        prop_assert!(is_malformed(&Message::decode(&bytes)));
    }

    /// A message that is accepted keeps all limits, so that it survives another round.
    #[test]
    fn mutated_message_is_refused_or_within_all_limits(
        which in 0usize..20,
        flaws in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let all = all();
        let mut bytes = all[which % all.len()].encode();
        for (at, byte) in flaws {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }
}

fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn message(body: Body) -> Message {
    let meeting = MeetingId {
        asker: name("a"),
        epoch: Epoch(u64::MAX),
        number: 7,
    };
    Message {
        wire: WIRE_VERSION,
        from: name("a"),
        from_epoch: Epoch(u64::MAX),
        to: name("b"),
        to_epoch: Epoch(2),
        sweep: 9,
        meeting: (body != Body::Sweep).then_some(meeting),
        complaints: Complaints::new(),
        body,
    }
}

fn spec() -> TestSpec {
    TestSpec {
        protocol: Protocol::Udp,
        duration: 5 * SECOND,
        omit: Duration::from_millis(1500),
        timeout: 10 * SECOND,
        bitrate: Some(u64::MAX),
        streams: 128,
        bidir: false,
    }
}

/// A two-way test, and a second test for one of its cells.
fn two_way_and_back() -> Vec<PlannedTest> {
    let mut plan = vec![planned(Role::Asker), planned(Role::Granter)];
    plan[0].spec.bidir = true;
    plan
}

/// One test for each cell of a pair.
fn longest_plan() -> Vec<PlannedTest> {
    let of = |client| {
        Protocol::ALL.iter().map(move |&protocol| PlannedTest {
            client,
            spec: TestSpec { protocol, ..spec() },
        })
    };
    of(Role::Asker).chain(of(Role::Granter)).collect()
}

fn planned(client: Role) -> PlannedTest {
    PlannedTest {
        client,
        spec: spec(),
    }
}

fn request(plan: Vec<PlannedTest>) -> Message {
    message(Body::Request {
        plan,
        kind: MeetingKind::MakeUp,
    })
}

fn figures() -> Figures {
    Figures {
        bandwidth_mbps: 94.25,
        jitter_ms: Some(0.125),
        packets: Some(1000),
        lost_packets: Some(3),
        retransmits: Some(0),
        rtt_ms: Some(0.5),
    }
}

fn handover() -> Vec<Handover> {
    let outcomes = [Ok(figures()), Err(Reason::ResultLost)];
    outcomes
        .map(|outcome| Handover {
            protocol: Protocol::Tcp,
            outcome,
        })
        .into()
}

/// The most complaints that a message may have, each with these words.
fn complaints(words: &str) -> Complaints {
    (0..u8::try_from(TESTS_MAX).unwrap())
        .map(|test| (test, Complaint::new(Reason::Interrupted, words)))
        .collect()
}

/// A message as it is read if its complaints are written like this.
fn with_complaints(complaints: &Value) -> Result<Message, WireError> {
    changed(&message(Body::Next { test: 1 }), |value| {
        value["complaints"] = complaints.clone();
    })
}

fn end(handover: Vec<Handover>) -> Body {
    Body::End {
        handover,
        confirm: false,
    }
}

/// One message of each kind.
fn all() -> Vec<Message> {
    let refusals = Refusal::VARIANTS.iter().map(|&refusal| Body::Refuse {
        refusal,
        free_in_ms: Some(u64::MAX),
    });
    let bodies = [
        Body::Sweep,
        Body::Request {
            plan: vec![planned(Role::Asker), planned(Role::Granter)],
            kind: MeetingKind::MakeUp,
        },
        Body::Next { test: 1 },
        Body::Grant {
            test: 0,
            address: [10, 0, 0, 2].into(),
            port: 5201,
            buffer: None,
            agreed: vec![spec()],
        },
        Body::Grant {
            test: 7,
            address: [0xfd00, 0, 0, 0, 0, 0, 0, 2].into(),
            port: 65535,
            buffer: Some(u64::MAX),
            agreed: Vec::new(),
        },
        Body::Refuse {
            refusal: Refusal::Busy,
            free_in_ms: None,
        },
        Body::Go {
            handover: handover(),
        },
        Body::bare_end(),
        Body::End {
            handover: handover(),
            confirm: true,
        },
    ];
    bodies.into_iter().chain(refusals).map(message).collect()
}

fn decode(value: &Value) -> Result<Message, WireError> {
    Message::decode(&serde_json::to_vec(value).unwrap())
}

fn changed(message: &Message, change: impl FnOnce(&mut Value)) -> Result<Message, WireError> {
    let mut value = serde_json::to_value(message).unwrap();
    change(&mut value);
    decode(&value)
}

fn is_limit(message: &Message) -> bool {
    matches!(Message::decode(&message.encode()), Err(WireError::Limit(_)))
}

fn is_malformed(read: &Result<Message, WireError>) -> bool {
    matches!(read, Err(WireError::Malformed(_)))
}
