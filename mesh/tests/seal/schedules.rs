//! Random schedules: starts, restarts, new keys and a bad network, in any order.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Dice;
use crate::net::Net;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn both_directions_work_after_any_schedule_of_two_sides() {
    for seed in 0..400 {
        let mut net = Net::of(2);
        net.dice = Dice(seed);
        (net.lost, net.repeated) = (net.dice.below(60), net.dice.below(30));
        net.delay = Duration::from_millis(net.dice.below(1500));
        for _ in 0..net.dice.below(120) {
            disturb(&mut net);
            let pause = Duration::from_millis(net.dice.below(3000));
            net.run_until(net.now + pause);
        }
        recover(&mut net, seed);
    }
}

#[test]
fn sides_that_start_at_once_meet_within_a_round_trip() {
    for seed in 0..50 {
        let mut net = Net::of(2);
        net.dice = Dice(seed);
        net.send(1, 2, b"from 1");
        net.send(2, 1, b"from 2");
        net.settle();
        assert_eq!(net.take(1), [(2, b"from 2".to_vec())], "seed {seed}");
        assert_eq!(net.take(2), [(1, b"from 1".to_vec())], "seed {seed}");
    }
}

#[test]
fn rotation_in_any_order_parts_no_pair() {
    for seed in 0..6 {
        let lost = [0, 10][seed as usize % 2];
        let gap = rotate(seed, lost);
        // Messages are a second apart. One may be lost with the removed key; others by chance.
        let most = if lost == 0 { 1 } else { 6 };
        assert!(
            gap <= most,
            "seed {seed}: {gap} messages in a row were lost"
        );
    }
}

#[test]
fn keys_that_go_back_and_forth_part_no_pair_for_long() {
    for seed in 0..100 {
        let mut net = Net::of(2);
        net.dice = Dice(seed);
        net.lost = net.dice.below(40);
        for _ in 0..30 {
            let node = 1 + net.dice.below(2) as u8;
            let keys: &[u8] = [&[7][..], &[8, 7], &[7, 8], &[9, 7]][net.dice.below(4) as usize];
            net.replace_keys(node, keys);
            for _ in 0..net.dice.below(8) {
                exchange(&mut net);
            }
        }
        recover(&mut net, seed);
    }
}

/// Lets a random thing happen.
fn disturb(net: &mut Net) {
    let node = 1 + net.dice.below(2) as u8;
    match net.dice.below(12) {
        0 => net.restart(node, &[7]),
        1 => net.channel(node).moved(),
        2 => net.replace_keys(node, &[8, 7]),
        3 => net.replace_keys(node, &[7]),
        4 => {
            let pause = SECOND * net.dice.below(60) as u32;
            net.run_until(net.now + pause);
        }
        _ => net.send(node, 3 - node, b"disturbed"),
    }
}

/// Checks that both directions work within a few seconds of usual gossip.
fn recover(net: &mut Net, seed: u64) {
    net.run_until(net.now + 2 * SECOND);
    (net.lost, net.delay) = (0, Duration::from_millis(1));
    for _ in 0..9 {
        exchange(net);
    }
    for _ in 0..20 {
        let arrived = exchange(net);
        assert_eq!(arrived, [true, true], "seed {seed}");
    }
}

/// Each side sends a message, and half a second later the other one. Returns what arrives.
fn exchange(net: &mut Net) -> [bool; 2] {
    net.take(1);
    net.take(2);
    for node in [1, 2] {
        net.send(node, 3 - node, b"usual");
        net.run_until(net.now + SECOND / 2);
    }
    [1, 2].map(|node| {
        net.take(node)
            .iter()
            .any(|(_, message)| message == b"usual")
    })
}

/// Brings a new key to 8 nodes up to 120 s apart, removes the old one likewise, and restarts a node
/// in between. Returns the greatest number of messages in a row that one node loses to another,
/// while each sends one a second.
fn rotate(seed: u64, lost: u64) -> usize {
    const NODES: u8 = 8;
    let mut net = Net::of(NODES);
    net.dice = Dice(seed);
    let mut at = |from: u64| {
        (0..NODES)
            .map(|_| from + net.dice.below(120))
            .collect::<Vec<_>>()
    };
    let (added, removed) = (at(20), at(150));
    let mut missed: BTreeMap<(u8, u8), usize> = BTreeMap::new();
    let mut most = 0;
    net.lost = lost;
    for second in 0..300 {
        for node in 1..=NODES {
            let at = usize::from(node - 1);
            if second == added[at] {
                net.replace_keys(node, &[8, 7]);
            }
            if second == removed[at] {
                net.replace_keys(node, &[8]);
            }
        }
        if second == 100 {
            let keys: &[u8] = if added[2] <= 100 { &[8, 7] } else { &[7] };
            net.restart(3, keys);
            missed.retain(|(from, to), _| *from != 3 && *to != 3);
        }
        for (from, to) in pairs(NODES) {
            net.send(from, to, &[from]);
        }
        net.run_until(net.now + SECOND);
        let arrived: Vec<_> = (1..=NODES).map(|node| net.take(node)).collect();
        for (from, to) in pairs(NODES) {
            let has_arrived = arrived[usize::from(to - 1)]
                .iter()
                .any(|(of, _)| *of == from);
            let missed = missed.entry((from, to)).or_default();
            *missed = if has_arrived { 0 } else { *missed + 1 };
            // A restarted node is known by its first HELLO to each.
            most = most.max(*missed);
        }
    }
    assert_eq!(
        in_use(&mut net, NODES),
        [("key-8".to_owned(), usize::from(NODES - 1))]
    );
    most
}

/// Returns by which keys node 1 sends.
fn in_use(net: &mut Net, nodes: u8) -> Vec<(String, usize)> {
    let others: Vec<_> = (2..=nodes).map(crate::address).collect();
    let now = net.now;
    let in_use = net.channel(1).keys_in_use(&others, now);
    in_use
        .iter()
        .map(|(id, count)| (id.to_string(), *count))
        .collect()
}

fn pairs(nodes: u8) -> impl Iterator<Item = (u8, u8)> {
    let all = (1..=nodes).flat_map(move |from| (1..=nodes).map(move |to| (from, to)));
    all.filter(|(from, to)| from != to)
}
