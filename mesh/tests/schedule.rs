//! Tests of the schedule for every size up to 200: the properties of a tournament, and the bound of
//! a sweep.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use iperf3_mesh_core::schedule::{Tournament, meeting_length, sweep_bound};
use iperf3_mesh_core::{Protocol, TestSpec};
use proptest::prelude::*;

const SIZES: std::ops::RangeInclusive<usize> = 2..=200;

#[test]
fn tournament_every_pair_meets_in_exactly_one_round() {
    for players in SIZES {
        let mut met: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        let tournament = Tournament::new(players);
        for (round, a, b) in meetings(tournament) {
            assert!(a < players && b < players);
            met.entry((a.min(b), a.max(b))).or_default().push(round);
        }
        assert_eq!(met.len(), players * (players - 1) / 2, "{players} players");
        for (pair, rounds) in met {
            // Each of the two names the other, in one and the same round.
            assert!(
                rounds.len() == 2 && rounds[0] == rounds[1],
                "{players} players: {pair:?}"
            );
        }
    }
}

#[test]
fn tournament_partners_are_mutual_in_every_round() {
    for players in SIZES {
        let tournament = Tournament::new(players);
        for round in 0..tournament.rounds() {
            for player in 0..players {
                let partner = tournament.partner(player, round);
                assert_ne!(partner, Some(player), "{players} players, round {round}");
                if let Some(partner) = partner {
                    assert_eq!(tournament.partner(partner, round), Some(player));
                }
            }
        }
    }
}

#[test]
fn tournament_has_the_minimum_of_rounds() {
    for players in SIZES {
        // A round has at most half as many pairs as players.
        let pairs = players * (players - 1) / 2;
        assert_eq!(
            Tournament::new(players).rounds(),
            pairs.div_ceil(players / 2)
        );
    }
}

#[test]
fn tournament_has_one_bye_per_player_only_if_odd() {
    for players in SIZES {
        let tournament = Tournament::new(players);
        let mut byes_of_round = vec![0; tournament.rounds()];
        for player in 0..players {
            let byes: Vec<_> = (0..tournament.rounds())
                .filter(|&round| tournament.partner(player, round).is_none())
                .collect();
            assert_eq!(
                byes.len(),
                players % 2,
                "{players} players, player {player}"
            );
            byes.into_iter().for_each(|round| byes_of_round[round] += 1);
        }
        assert!(byes_of_round.iter().all(|&byes| byes == players % 2));
    }
}

#[test]
fn tournament_of_fewer_than_two_has_no_rounds() {
    for players in [0, 1] {
        let tournament = Tournament::new(players);
        assert_eq!((tournament.rounds(), tournament.partner(0, 0)), (0, None));
        assert_eq!(sweep_bound(players, &[spec(2, false)]), Duration::ZERO);
    }
}

#[test]
fn sweep_bound_is_that_of_the_edge_colouring() {
    let two_seconds = [spec(2, false)];
    for (nodes, seconds) in [(2, 4), (7, 28), (8, 28), (9, 36), (100, 396), (101, 404)] {
        assert_eq!(
            sweep_bound(nodes, &two_seconds),
            Duration::from_secs(seconds),
            "{nodes} nodes"
        );
    }
}

#[test]
fn meeting_length_has_both_directions_and_all_protocols() {
    let omitting = TestSpec {
        omit: Duration::from_secs(1),
        ..spec(5, false)
    };
    assert_eq!(meeting_length(&[spec(5, false)]), Duration::from_secs(10));
    assert_eq!(meeting_length(&[spec(5, true)]), Duration::from_secs(5));
    assert_eq!(
        meeting_length(&[omitting, spec(2, false)]),
        Duration::from_secs(16)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn outsiders_and_surplus_rounds_have_no_partner(players in 0usize..300, more in 0usize..100) {
        let tournament = Tournament::new(players);
        for round in [0, more] {
            prop_assert_eq!(tournament.partner(players + more, round), None);
        }
        for player in [0, more] {
            prop_assert_eq!(tournament.partner(player, tournament.rounds() + more), None);
        }
    }
}

/// All meetings as each player computes them: round, player, partner.
fn meetings(tournament: Tournament) -> impl Iterator<Item = (usize, usize, usize)> {
    // An odd number of players has as many rounds; an even number has one round less. The extra
    // player of an odd tournament has no partner.
    let players = tournament.rounds() + 1;
    (0..tournament.rounds()).flat_map(move |round| {
        (0..players)
            .filter_map(move |player| Some((round, player, tournament.partner(player, round)?)))
    })
}

fn spec(seconds: u64, bidir: bool) -> TestSpec {
    TestSpec {
        protocol: Protocol::Tcp,
        duration: Duration::from_secs(seconds),
        omit: Duration::ZERO,
        timeout: Duration::from_secs(10),
        bitrate: None,
        streams: 1,
        bidir,
    }
}
