//! The rule of the lesser settings: it treats both ends alike, and never exceeds either.

use std::time::Duration;

use iperf3_mesh_core::{Protocol, TestSpec};
use iperf3_mesh_core_testkit::cases;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn agreed_test_is_the_same_whoever_asks(one in spec(), other in spec()) {
        prop_assert_eq!(one.within(&other), other.within(&one));
    }

    #[test]
    fn agreed_test_stays_as_it_is_within_either_end(one in spec(), other in spec()) {
        let agreed = one.within(&other);
        for end in [&one, &other, &agreed] {
            prop_assert_eq!(&agreed.within(end), &agreed);
        }
    }

    #[test]
    fn agreed_test_is_above_neither_end(one in spec(), other in spec()) {
        let agreed = one.within(&other);
        for end in [&one, &other] {
            prop_assert!(agreed.duration <= end.duration);
            prop_assert!(agreed.omit <= end.omit);
            prop_assert!(agreed.timeout <= end.timeout);
            prop_assert!(agreed.streams <= end.streams);
            prop_assert!(rate(&agreed) <= rate(end));
            prop_assert!(bits(&agreed) <= bits(end));
        }
    }

    #[test]
    fn agreed_test_can_be_run(one in spec(), other in spec()) {
        let agreed = one.within(&other);
        prop_assert!(agreed.duration >= Duration::from_secs(1));
        prop_assert!(agreed.length() < agreed.timeout);
        prop_assert!(agreed.streams >= 1 && agreed.bitrate != Some(0));
        prop_assert_eq!(agreed.length().subsec_nanos(), 0);
    }

    #[test]
    fn one_setting_for_all_nodes_is_agreed_on_as_it_is(spec in whole_seconds()) {
        let agreed = spec.within(&spec);
        prop_assert!(!agreed.is_less_than(&spec));
        prop_assert_eq!(agreed, spec);
    }

    #[test]
    fn lesser_test_is_told_from_an_equal_one(one in whole_seconds(), other in whole_seconds()) {
        let agreed = one.within(&other);
        let is_cut = (agreed.duration, agreed.omit, agreed.streams, agreed.bitrate)
            != (one.duration, one.omit, one.streams, one.bitrate);
        prop_assert_eq!(agreed.is_less_than(&one), is_cut);
    }
}

fn rate(spec: &TestSpec) -> u64 {
    spec.bitrate.unwrap_or(u64::MAX)
}

/// The most bits that a test sends in one direction.
fn bits(spec: &TestSpec) -> u128 {
    u128::from(rate(spec)) * u128::from(spec.streams) * spec.length().as_millis()
}

/// A test that the wire lets pass: iperf3 takes whole seconds only, but a message has milliseconds.
fn spec() -> impl Strategy<Value = TestSpec> {
    let rate = prop_oneof![Just(None), (1..u64::MAX).prop_map(Some)];
    (1000u64..30_000, 0u64..20_000, 1u64..10_000, rate, 1u8..=128).prop_map(
        |(duration, omit, beyond, bitrate, streams)| TestSpec {
            protocol: Protocol::Tcp,
            duration: Duration::from_millis(duration),
            omit: Duration::from_millis(omit),
            timeout: Duration::from_millis(duration + omit + beyond),
            bitrate,
            streams,
            bidir: false,
        },
    )
}

fn whole_seconds() -> impl Strategy<Value = TestSpec> {
    let whole = |duration: Duration| Duration::from_secs(duration.as_secs());
    spec().prop_map(move |spec| TestSpec {
        duration: whole(spec.duration),
        omit: whole(spec.omit),
        ..spec
    })
}
