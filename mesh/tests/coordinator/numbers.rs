//! Sweep numbers that lie, and meshes that are out of step.

use std::time::Duration;

use iperf3_mesh_core::wire::{Body, Complaints, Message, SWEEP_MAX};
use iperf3_mesh_core::{Epoch, Input, Member, WIRE_VERSION};
use iperf3_mesh_core_testkit::{Delivery, Harness, MILLI, SECOND, name_of};

use super::last_sweep;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn one_members_sweep_numbers_move_nobody() {
    type Lie = fn(u64) -> u64;
    let highest: Lie = |_| SWEEP_MAX;
    let rising: Lie = |second| second / 2 + 2;
    let falling: Lie = |second| 1000 - second;
    let low: Lie = |_| 1;
    let erratic: Lie = |second| second * second * 7919 % 100;
    for (name, lie) in [
        ("highest", highest),
        ("rising", rising),
        ("falling", falling),
        ("low", low),
        ("erratic", erratic),
    ] {
        let mut harness = running(4);
        let before: Vec<_> = (0..3).map(|node| harness.failures(node).len()).collect();
        assert_eq!(before, [0; 3]);
        for second in 0..300 {
            let mut member = harness.member(3);
            member.sweep = lie(second);
            tell(&mut harness, 3, 0..3, &[member]);
            harness.pass(SECOND);
        }
        if name == "highest" {
            let mut member = harness.member(3);
            member.sweep = SWEEP_MAX;
            tell(&mut harness, 3, 0..3, &[member]);
            let out_of_step: Vec<_> = harness.node(0).out_of_step().collect();
            assert_eq!(out_of_step, [(&name_of(3), SWEEP_MAX)]);
        }
        for node in 0..3 {
            let begun = harness.sweeps_begun(node);
            for two in begun.windows(2) {
                assert_eq!(two[1].value, two[0].value + 1, "{name}: {harness}");
                // Three meetings of 10 s and a pause of 20 s, which nobody can cut by a tenth.
                let period = two[1].at.since(two[0].at);
                assert!(period >= 48 * SECOND, "{name}: {period:?}\n{harness}");
            }
            assert!(begun.len() >= 6, "{name}: {harness}");
            let honest = harness
                .cells(node)
                .into_iter()
                .filter(|cell| cell.destination < 3);
            assert!(
                honest.clone().all(|cell| cell.outcome.is_ok()),
                "{name}: {harness}"
            );
            assert!(honest.count() >= 2 * (begun.len() - 1), "{name}: {harness}");
        }
    }
}

#[test]
fn two_members_lead_by_one_step_per_shortest_sweep() {
    let mut harness = running(4);
    let from = last_sweep(&harness, 0).unwrap();
    // The others answer pings only, so no sweep lasts because of a meeting.
    (1..4).for_each(|node| harness.freeze(node));
    harness.on_message(|message| {
        Delivery::after(if message.meeting.is_some() {
            HOUR
        } else {
            MILLI
        })
    });
    for second in 0..300 {
        for answering in 1..4 {
            let (node, epoch) = (name_of(answering), harness.node(answering).epoch());
            harness.input(0, Input::Answered { node, epoch });
        }
        let mut members: Vec<Member> = (1..4).map(|number| harness.member(number)).collect();
        members[1..]
            .iter_mut()
            .for_each(|liar| liar.sweep = from + 2 + second);
        harness.show(0, members);
        harness.pass(SECOND);
    }
    let reached = last_sweep(&harness, 0).unwrap();
    // A sweep of four takes at least 30 s, and one step is in hand.
    assert!(
        reached > from + 5 && reached <= from + 300 / 30 + 2,
        "{from} {reached}: {harness}"
    );
}

#[test]
fn mesh_split_by_numbers_is_in_step_within_a_sweep() {
    // The first nodes never pause and are far ahead when the others come to know them.
    for ahead in [1, 3, 4] {
        let nodes = 6;
        let mut harness = Harness::strangers(nodes, |number, settings| {
            settings.interval = if number < ahead { SECOND } else { 60 * SECOND };
        });
        let groups = [0..ahead, ahead..nodes];
        for group in &groups {
            let mut members: Vec<Member> = group.clone().map(|it| harness.member(it)).collect();
            // A node without a peer begins no sweep.
            members.extend((ahead == 1 && group.len() == 1).then(|| harness.member(5)));
            group
                .clone()
                .for_each(|to| harness.show(to, members.clone()));
        }
        harness.pass(400 * SECOND);
        let numbers = |harness: &Harness| -> Vec<u64> {
            (0..nodes)
                .map(|node| last_sweep(harness, node).unwrap_or(0))
                .collect()
        };
        let before = numbers(&harness);
        harness.introduce_all();
        for _ in 0..200 {
            harness.pass(SECOND);
            harness.introduce_all();
        }
        let joined: Vec<usize> = (0..nodes).map(|node| harness.successes(node)).collect();
        for _ in 0..200 {
            harness.pass(SECOND);
            harness.introduce_all();
        }
        let after = numbers(&harness);
        let spread = after.iter().max().unwrap() - after.iter().min().unwrap();
        assert!(
            spread <= 1,
            "{ahead} ahead: {before:?} {after:?}\n{harness}"
        );
        for (node, before) in joined.into_iter().enumerate() {
            let gained = harness.successes(node) - before;
            assert!(
                gained >= nodes - 1,
                "n{node} {gained}, {ahead} ahead: {after:?}\n{harness}"
            );
        }
        assert_eq!(harness.node(0).out_of_step().count(), 0);
    }
}

#[test]
fn starting_node_takes_the_median_of_its_peers() {
    let mut harness = running(5);
    harness.restart(0, Epoch(77), false);
    for _ in 0..120 {
        harness.pass(SECOND);
        harness.gossip(|number, member| {
            if number == 4 {
                member.sweep = SWEEP_MAX;
            }
        });
    }
    let own = last_sweep(&harness, 0).unwrap();
    assert_eq!(Some(own), last_sweep(&harness, 1), "{harness}");
}

/// Nodes that have completed two sweeps, with a pause of 20 s.
fn running(nodes: usize) -> Harness {
    let mut harness = Harness::with(nodes, |_, settings| settings.interval = 20 * SECOND);
    harness.wait_for_sweep(300 * SECOND, 2);
    harness
}

/// Shows these members to the nodes, among the others as they are, and sends a message of the liar
/// with the same number.
fn tell(harness: &mut Harness, liar: usize, to: std::ops::Range<usize>, lies: &[Member]) {
    let mut members: Vec<Member> = (0..4).map(|number| harness.member(number)).collect();
    for lie in lies {
        members.retain(|member| member.name != lie.name);
        members.push(lie.clone());
    }
    for node in to {
        harness.show(node, members.clone());
        let message = Message {
            wire: WIRE_VERSION,
            from: name_of(liar),
            from_epoch: harness.node(liar).epoch(),
            to: name_of(node),
            to_epoch: harness.node(node).epoch(),
            sweep: lies[0].sweep,
            meeting: None,
            complaints: Complaints::new(),
            body: Body::Sweep,
        };
        harness.input(node, Input::Message(message));
    }
}
