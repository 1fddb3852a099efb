//! The budget of decoding.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::time::Instant;

use super::super::budget::DecodeBudget;

const MEMBER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2));

/// Returns how many of 120 messages of a member that cost `own` bytes are decoded, while others of
/// `forged` bytes come in its name, 1,700 a second. The mesh has ten nodes.
fn decoded(own: usize, forged: usize) -> u32 {
    let mut now = Instant::now();
    let mut budget = DecodeBudget::new(now);
    let mut decoded = 0;
    for turn in 0..120_000u32 {
        budget.take_known(MEMBER, forged, 10, now);
        now += Duration::from_micros(294);
        // The first seconds use up the burst.
        if turn % 170 == 0 && turn >= 99_600 {
            decoded += u32::from(budget.take_known(MEMBER, own, 10, now));
        }
        now += Duration::from_micros(294);
    }
    decoded
}

#[test]
fn strangers_of_one_ipv6_network_share_a_budget() {
    let now = Instant::now();
    let mut budget = DecodeBudget::new(now);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(budget.take_strange(ip("2001:db8::1"), 2 << 20, now));
    assert!(!budget.take_strange(ip("2001:db8::2"), 0, now));
    assert!(budget.take_strange(ip("2001:db8:0:1::1"), 0, now));
    assert!(budget.take_known(ip("2001:db8::2"), 0, 10, now), "a member");
}

#[test]
fn forged_large_messages_leave_room_for_usual_ones() {
    assert_eq!(decoded(500, 40_000), 120);
}

#[test]
fn forged_usual_messages_leave_room_for_those_of_the_member() {
    for (own, forged) in [(500, 0), (500, 500), (500, 3000), (2000, 0)] {
        let decoded = decoded(own, forged);
        assert!(decoded > 5, "{own} and {forged} bytes: {decoded} of 120");
    }
}
