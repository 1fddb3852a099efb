//! The budget of decoding.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::super::budget::DecodeBudget;

#[test]
fn strangers_of_one_ipv6_network_share_a_budget() {
    let now = Instant::now();
    let mut budget = DecodeBudget::new(now);
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let all = 1 << 20;
    let most = all - 2048;
    assert!(budget.take(ip("2001:db8::1"), false, most, now));
    assert!(!budget.take(ip("2001:db8::2"), false, most, now));
    assert!(budget.take(ip("2001:db8:0:1::1"), false, most, now));
    assert!(budget.take(ip("2001:db8::2"), true, most, now), "a member");
}

#[test]
fn forged_large_messages_leave_room_for_small_ones() {
    let mut now = Instant::now();
    let mut budget = DecodeBudget::new(now);
    let member: IpAddr = "198.18.0.2".parse().unwrap();
    let (mut large, mut small) = (0, 0);
    for millisecond in 0..60_000 {
        large += u32::from(budget.take(member, true, 40_000, now));
        if millisecond % 500 == 0 {
            small += u32::from(budget.take(member, true, 500, now));
        }
        now += Duration::from_millis(1);
    }
    assert!(large < 350, "{large}");
    assert!(small > 100, "{small} of 120");
}

#[test]
fn forged_small_messages_leave_room_for_a_large_one() {
    let mut now = Instant::now();
    let mut budget = DecodeBudget::new(now);
    let mut large = 0;
    for wave in 0..3000 {
        for host in 0..100 {
            budget.take([198, 18, 1, host].into(), true, 500, now);
            if wave % 20 == 0 && u32::from(host) == wave / 20 * 37 % 100 {
                large += u32::from(budget.take([198, 18, 0, 2].into(), true, 90_000, now));
            }
        }
        now += Duration::from_millis(10);
    }
    assert!(large > 30, "{large} of 150");
}
