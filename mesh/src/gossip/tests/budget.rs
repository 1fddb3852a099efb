//! The budget of decoding.

use std::net::IpAddr;

use tokio::time::Instant;

use super::super::budget::DecodeBudget;

#[test]
fn strangers_of_one_ipv6_network_share_a_budget() {
    let now = Instant::now();
    let mut budget = DecodeBudget::new(now);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    budget.spend(ip("2001:db8::1"), false, 2 << 20, now);
    assert!(!budget.has_room(ip("2001:db8::2"), false, now));
    assert!(budget.has_room(ip("2001:db8:0:1::1"), false, now));
    assert!(budget.has_room(ip("2001:db8::2"), true, now), "a member");
}
