//! The view computed from identities, which are plain values here: no chitchat is involved.

use std::slice::from_ref;
use std::time::Duration;

use tokio::time::Instant;

use super::super::holders::Holders;
use super::super::view::{Identity, Observer, Standing, view};
use super::{address, name, published};
use crate::{AddressProblem, AddressRules, Epoch, Listed, PeerState, View};

const PATIENCE: Duration = Duration::from_secs(15);
const MEMBERS_MAX: usize = 16;

#[test]
fn dead_node_is_silent_and_a_live_one_live() {
    let timeline = Timeline::new();
    let identity = timeline.identity("a", 1, 0, 30);
    assert_eq!(
        only(&timeline.view(from_ref(&identity))),
        (1, PeerState::Live)
    );
    assert_eq!(
        only(&timeline.view(&[dead(identity)])),
        (1, PeerState::Silent)
    );
}

#[test]
fn restart_with_a_lingering_old_epoch_is_no_conflict() {
    let timeline = Timeline::new();
    // The last heartbeats of the old epoch still spread for 10 s.
    let identities = [
        timeline.identity("a", 1, 0, 110),
        timeline.identity("a", 2, 100, 400),
    ];
    assert_eq!(only(&timeline.view(&identities)), (2, PeerState::Live));
}

#[test]
fn two_epochs_up_side_by_side_are_a_conflict() {
    let timeline = Timeline::new();
    let identities = |now| {
        [
            timeline.identity("a", 1, 0, now),
            timeline.identity("a", 2, 100, now),
        ]
    };
    assert_eq!(
        only(&timeline.view(&identities(114))),
        (2, PeerState::Live),
        "undecided yet: the newest counts"
    );
    assert_eq!(
        only(&timeline.view(&identities(115))),
        (2, PeerState::Conflict)
    );
    let [one, other] = identities(200);
    assert_eq!(
        only(&timeline.view(&[one, dead(other)])),
        (1, PeerState::Live),
        "the conflict ends with the other epoch"
    );
}

#[test]
fn two_identities_of_one_epoch_are_no_conflict() {
    let timeline = Timeline::new();
    let restarted = timeline.identity("a", 1, 100, 400);
    let identities = [timeline.identity("a", 1, 0, 400), restarted];
    assert_eq!(only(&timeline.view(&identities)), (1, PeerState::Live));
}

#[test]
fn equal_generations_are_ordered_by_epoch() {
    let timeline = Timeline::new();
    let (one, other) = (
        timeline.identity("a", 1, 0, 5),
        timeline.identity("a", 2, 0, 5),
    );
    let view = timeline.view(&[one.clone(), other.clone()]);
    assert_eq!(view, timeline.view(&[other, one]));
    assert_eq!(only(&view).0, 2);
}

#[test]
fn end_of_the_run_heard_last_counts_whatever_its_clock() {
    let timeline = Timeline::new();
    for clock in [-1_209_600, -10, 0, 1_209_600] {
        let first = dead(timeline.identity("a", 1, 0, 10));
        let second = starting_at(dead(timeline.identity("a", 2, 12, 34)), 1000 + clock);
        for (first, second, state) in [
            (leaving(first.clone()), second.clone(), PeerState::Silent),
            (first.clone(), leaving(second.clone()), PeerState::Left),
            (
                leaving(first.clone()),
                leaving(second.clone()),
                PeerState::Left,
            ),
            (first.clone(), second.clone(), PeerState::Silent),
        ] {
            let view = timeline.view(&[first.clone(), second.clone()]);
            assert_eq!(only(&view), (2, state), "clock {clock}");
            assert_eq!(view, timeline.view(&[second, first]), "clock {clock}");
        }
    }
}

#[test]
fn run_that_is_up_counts_whatever_its_clock() {
    let timeline = Timeline::new();
    for clock in [-1_209_600, 0, 1_209_600] {
        let second = starting_at(timeline.identity("a", 2, 12, 14), 1000 + clock);
        // The death of the first run has not been noticed yet.
        let first = timeline.identity("a", 1, 0, 11);
        for first in [first.clone(), leaving(first.clone()), dead(first)] {
            let view = timeline.view(&[first, second.clone()]);
            assert_eq!(only(&view), (2, PeerState::Live), "clock {clock}");
        }
    }
}

#[test]
fn thawed_run_that_outlives_its_successor_counts() {
    let timeline = Timeline::new();
    let thawed = dead(timeline.identity("a", 1, 0, 90));
    let successor = leaving(dead(timeline.identity("a", 2, 20, 40)));
    assert_eq!(
        only(&timeline.view(&[thawed, successor])),
        (1, PeerState::Silent)
    );
}

#[test]
fn goodbye_of_a_former_run_heard_late_is_not_the_last_word() {
    let timeline = Timeline::new();
    let former = Identity {
        ever_live: false,
        ..leaving(dead(timeline.identity("a", 1, 40, 40)))
    };
    let former = starting_at(former, 1000);
    let present = starting_at(dead(timeline.identity("a", 2, 0, 34)), 1100);
    let view = timeline.view(&[former, present]);
    assert_eq!(only(&view), (2, PeerState::Silent));
}

#[test]
fn newest_identity_counts_within_an_epoch() {
    let timeline = Timeline::new();
    // The last heartbeats of the former identity still spread.
    let mut former = timeline.identity("a", 1, 3, 30);
    former.address = address(9);
    former.published.control = address(9);
    let present = starting_at(timeline.identity("a", 1, 2, 29), 2000);
    for (former, present) in [
        (former.clone(), present.clone()),
        (dead(former), dead(present)),
    ] {
        let view = timeline.view(&[former, present]);
        assert_eq!(view.members()[0].control, address(1), "{view:?}");
    }
}

#[test]
fn wall_clock_breaks_the_tie_between_runs_heard_at_once() {
    let timeline = Timeline::new();
    let ended = |epoch, start| {
        let identity = leaving(dead(timeline.identity("a", epoch, 50, 50)));
        starting_at(identity, start)
    };
    let view = timeline.view(&[ended(2, 1000), ended(1, 1001)]);
    assert_eq!(only(&view), (1, PeerState::Left));
}

#[test]
fn node_that_said_goodbye_has_left_even_while_live() {
    let timeline = Timeline::new();
    let identity = leaving(timeline.identity("a", 1, 0, 30));
    assert_eq!(
        only(&timeline.view(from_ref(&identity))),
        (1, PeerState::Left)
    );
    assert_eq!(
        only(&timeline.view(&[dead(identity.clone())])),
        (1, PeerState::Left)
    );
    let next = timeline.identity("a", 2, 32, 34);
    assert_eq!(
        only(&timeline.view(&[identity, next])),
        (2, PeerState::Live)
    );
}

#[test]
fn identity_never_seen_alive_is_no_member() {
    let timeline = Timeline::new();
    let unseen = Identity {
        ever_live: false,
        ..dead(timeline.identity("a", 2, 100, 100))
    };
    assert!(timeline.view(from_ref(&unseen)).members().is_empty());
    let before = leaving(dead(timeline.identity("a", 1, 0, 90)));
    assert_eq!(
        only(&timeline.view(&[before, unseen])),
        (1, PeerState::Left)
    );
}

#[test]
fn old_goodbye_does_not_hide_a_later_run_of_unknown_end() {
    let timeline = Timeline::new();
    // This observer started after both ends, and has heard of them from others.
    let heard_of = |epoch| Identity {
        ever_live: false,
        ..dead(timeline.identity("a", epoch, 50, 50))
    };
    let goodbye = leaving(heard_of(1));
    let later = starting_at(heard_of(2), 2000);
    let view = timeline.view(&[goodbye.clone(), later]);
    assert!(view.members().is_empty(), "{view:?}");
    let earlier = starting_at(heard_of(2), 500);
    assert_eq!(
        only(&timeline.view(&[goodbye, earlier])),
        (1, PeerState::Left)
    );
}

#[test]
fn identity_whose_address_speaks_as_another_counts_for_nothing() {
    let timeline = Timeline::new();
    let node = timeline.identity("a", 1, 0, 200);
    let mut forged = timeline.identity("a", 2, 100, 200);
    let mut own = timeline.identity("me", 3, 100, 200);
    for identity in [&mut forged, &mut own] {
        identity.standing = Standing::False;
    }
    let view = timeline.view(&[node, forged, own]);
    assert_eq!(only(&view), (1, PeerState::Live));
    assert_eq!(view.namesake(), None);
}

#[test]
fn node_stays_at_the_address_that_speaks_for_it() {
    let timeline = Timeline::new();
    let node = speaking(timeline.identity("a", 1, 0, 200));
    let elsewhere = |epoch| at(timeline.identity("a", epoch, 100, 200), [10, 0, 0, 9]);
    for claim in [elsewhere(1), speaking(elsewhere(1)), elsewhere(2)] {
        let view = timeline.view(&[node.clone(), claim]);
        assert_eq!(view.members()[0].control.ip(), node.address.ip());
    }
    // The former address is silent for some time: a move.
    let silent = Identity {
        standing: Standing::Heard,
        ..node
    };
    let view = timeline.view(&[silent, speaking(elsewhere(1))]);
    assert_eq!(view.members()[0].control.ip(), elsewhere(1).address.ip());
}

#[test]
fn claim_that_has_just_appeared_waits_for_its_address() {
    let timeline = Timeline::new();
    let node = timeline.identity("a", 1, 0, 200);
    let claim = Identity {
        standing: Standing::New,
        ..timeline.identity("a", 2, 199, 200)
    };
    assert_eq!(only(&timeline.view(&[node, claim.clone()])).0, 1);
    assert_eq!(only(&timeline.view(from_ref(&claim))).0, 2);
}

#[test]
fn agent_with_the_name_of_another_takes_it_at_no_time() {
    let timeline = Timeline::new();
    let mut holders = Holders::default();
    let member = |last| timeline.identity("a", 1, 0, last);
    let claim = |last| speaking(timeline.identity("a", 2, 50, last));
    timeline.view_after(&mut holders, &[member(49)]);
    for last in 50..200 {
        let view = timeline.view_after(&mut holders, &[member(last), claim(last)]);
        assert_eq!(only(&view), (1, PeerState::Live), "{last}");
        assert_eq!(view.refused()[0].problem, AddressProblem::NameTaken);
    }
    // The member is started again, and its former identity is forgotten.
    let again = |last| Identity {
        address: address(1),
        ..timeline.identity("a", 3, 220, last)
    };
    for last in 200..220 {
        let view = timeline.view_after(&mut holders, &[dead(member(199)), claim(last)]);
        assert_eq!(only(&view), (1, PeerState::Silent), "{last}");
    }
    for last in 220..400 {
        let mut again = again(last);
        again.published.control.set_ip(address(1).ip());
        let view = timeline.view_after(&mut holders, &[again, claim(last)]);
        assert_eq!(only(&view), (3, PeerState::Live), "{last}");
    }
}

#[test]
fn name_of_an_agent_that_has_ended_goes_to_its_successor() {
    let timeline = Timeline::new();
    let member = || timeline.identity("a", 1, 0, 100);
    let beside = |last| timeline.identity("a", 2, 50, last);
    let mut holders = Holders::default();
    timeline.view_after(&mut holders, &[member()]);
    timeline.view_after(&mut holders, &[member(), beside(100)]);
    for (last, expected) in [(159, (1, PeerState::Silent)), (160, (2, PeerState::Live))] {
        let view = timeline.view_after(&mut holders, &[dead(member()), beside(last)]);
        assert_eq!(only(&view), expected, "{last}");
    }
    // An agent that appears afterwards need not wait, nor does the member at another address.
    for (epoch, first) in [(2, 101), (1, 50)] {
        let mut holders = Holders::default();
        timeline.view_after(&mut holders, &[member()]);
        let next = at(timeline.identity("a", epoch, first, 110), [10, 0, 0, 77]);
        let view = timeline.view_after(&mut holders, &[dead(member()), next]);
        assert_eq!(only(&view), (epoch, PeerState::Live), "{epoch}");
    }
}

#[test]
fn own_name_is_taken_only_by_another_lasting_epoch() {
    let timeline = Timeline::new();
    let taken = |identity: Identity| timeline.view(&[identity]).is_name_taken();
    assert!(
        !taken(timeline.identity("me", 9, 0, 5)),
        "the previous run of this agent"
    );
    assert!(taken(timeline.identity("me", 9, 10, 25)));
    assert!(
        !taken(timeline.identity("me", 9, 10, 24)),
        "not yet long enough"
    );
    assert!(
        !taken(timeline.identity("me", 0, 10, 25)),
        "an earlier identity of this epoch"
    );
    assert!(!taken(dead(timeline.identity("me", 9, 10, 25))));
    let late = timeline.view(&[timeline.identity("me", 9, 15, 300)]);
    assert!(!late.is_name_taken(), "this node had the name before");
    assert_eq!(late.refused()[0].problem, AddressProblem::NameTaken);
    assert!(late.members().is_empty());
}

#[test]
fn identity_with_a_forbidden_address_is_no_member_but_refused() {
    let timeline = Timeline::new();
    let loopback = at(timeline.identity("a", 1, 0, 30), [127, 0, 0, 1]);
    let mut two = timeline.identity("b", 2, 0, 30);
    two.published.control.set_ip([10, 0, 0, 9].into());
    let view = timeline.view(&[loopback, two, timeline.identity("c", 3, 0, 30)]);
    assert_eq!(only(&view), (3, PeerState::Live));
    let refused: Vec<_> = view
        .refused()
        .iter()
        .map(|member| (member.name.as_str(), member.problem))
        .collect();
    let expected = [
        ("a", AddressProblem::Loopback),
        ("b", AddressProblem::TwoAddresses),
    ];
    assert_eq!(refused, expected);
}

#[test]
fn unlisted_namesake_of_a_node_changes_nothing() {
    let timeline = Timeline::new();
    let node = timeline.identity("a", 1, 0, 200);
    let mut rules = AddressRules::new(address(0).ip(), []);
    rules.set_listed(Listed::nodes([
        (name("a"), node.address.ip()),
        (name("me"), address(0).ip()),
    ]));
    let forged = timeline.identity("a", 2, 100, 200);
    let of_observer = timeline.identity("me", 3, 100, 200);
    let view = timeline.view_by(&rules, &[node, forged, of_observer]);
    assert_eq!(only(&view), (1, PeerState::Live));
    assert_eq!(view.namesake(), None);
    assert_eq!(view.refused().len(), 2);
}

#[test]
fn member_is_admitted_when_the_cluster_lists_it() {
    let timeline = Timeline::new();
    let node = timeline.identity("a", 1, 0, 30);
    let mut rules = AddressRules::new(address(0).ip(), []);
    rules.set_listed(Listed::default());
    let view = timeline.view_by(&rules, from_ref(&node));
    assert!(view.members().is_empty(), "{view:?}");
    rules.set_listed(Listed::nodes([(name("a"), node.address.ip())]));
    let view = timeline.view_by(&rules, from_ref(&node));
    assert_eq!(only(&view), (1, PeerState::Live));
}

#[test]
fn members_beyond_the_maximum_are_those_that_came_last() {
    let timeline = Timeline::new();
    let of = |index: u64| {
        // The names are in the opposite order.
        let name = format!("{:02}", 99 - index);
        timeline.identity(&name, index, index, 100)
    };
    let identities: Vec<_> = (1..=20).map(of).collect();
    let view = timeline.view(&identities);
    let epochs: Vec<_> = view.members().iter().map(|member| member.epoch.0).collect();
    assert_eq!(epochs, (1..=16).rev().collect::<Vec<_>>());
}

#[test]
fn nodes_that_have_left_take_no_places_of_others() {
    let timeline = Timeline::new();
    let of = |index: u64| timeline.identity(&index.to_string(), index, index, 100);
    let left = (1..=16).map(|index| leaving(of(index)));
    let identities: Vec<_> = left.chain((17..=31).map(of)).collect();
    let view = timeline.view(&identities);
    let live = |member: &&crate::Member| member.state == PeerState::Live;
    assert_eq!(view.members().iter().filter(live).count(), 15);
    assert_eq!(view.members().len(), 16);
}

#[test]
fn conflict_survives_a_gossip_restart_in_one_of_the_two() {
    let timeline = Timeline::new();
    let restarted = timeline.identity("a", 1, 198, 200);
    let identities = [
        timeline.identity("a", 1, 0, 195),
        timeline.identity("a", 2, 100, 200),
        restarted,
    ];
    assert_eq!(only(&timeline.view(&identities)).1, PeerState::Conflict);
}

#[test]
fn thousands_of_identities_of_one_name_cost_little() {
    let timeline = Timeline::new();
    let identities: Vec<_> = (0..200)
        .map(|epoch| timeline.identity("a", epoch, 0, 100))
        .collect();
    let identities: Vec<_> = identities.iter().cycle().take(20_000).cloned().collect();
    assert_eq!(only(&timeline.view(&identities)).1, PeerState::Conflict);
}

/// Times in seconds since the observer started.
struct Timeline {
    start: Instant,
}

impl Timeline {
    fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    /// Returns an identity that was first seen at `first` and had its last heartbeat at `last`.
    fn identity(&self, of: &str, epoch: u64, first: u64, last: u64) -> Identity {
        let address = address(u8::try_from(epoch).unwrap());
        let mut published = published(of, epoch);
        published.control.set_ip(address.ip());
        Identity {
            published,
            generation: 1000 + first,
            address,
            live: true,
            ever_live: true,
            first_seen: self.at(first),
            last_heartbeat: self.at(last),
            standing: Standing::Heard,
            is_doubtful: false,
        }
    }

    fn view(&self, identities: &[Identity]) -> View {
        self.view_by(&AddressRules::new(address(0).ip(), []), identities)
    }

    fn view_by(&self, rules: &AddressRules, identities: &[Identity]) -> View {
        self.view_with(&mut Holders::default(), rules, identities)
    }

    /// Returns the view after those that have filled `holders`, at the time of the last heartbeat.
    fn view_after(&self, holders: &mut Holders, identities: &[Identity]) -> View {
        let rules = AddressRules::new(address(0).ip(), []);
        self.view_with(holders, &rules, identities)
    }

    fn view_with(
        &self,
        holders: &mut Holders,
        rules: &AddressRules,
        identities: &[Identity],
    ) -> View {
        let observer = Observer {
            name: name("me"),
            epoch: Epoch(0),
            started: self.start,
            members_max: MEMBERS_MAX,
        };
        let now = identities.iter().map(|one| one.last_heartbeat).max();
        let now = now.unwrap_or(self.start);
        view(
            &observer,
            rules,
            identities.to_vec(),
            holders,
            PATIENCE,
            now,
        )
    }
}

fn at(mut identity: Identity, ip: [u8; 4]) -> Identity {
    identity.address.set_ip(ip.into());
    identity.published.control.set_ip(ip.into());
    identity
}

fn speaking(identity: Identity) -> Identity {
    Identity {
        standing: Standing::Speaks,
        ..identity
    }
}

fn dead(identity: Identity) -> Identity {
    Identity {
        live: false,
        ..identity
    }
}

/// Returns the identity with this start on the wall clock of its node.
fn starting_at(identity: Identity, unix_seconds: i64) -> Identity {
    Identity {
        generation: u64::try_from(unix_seconds).unwrap_or(0),
        ..identity
    }
}

fn leaving(mut identity: Identity) -> Identity {
    identity.published.leaving = true;
    identity
}

fn only(view: &View) -> (u64, PeerState) {
    let [member] = view.members() else {
        panic!("not one member: {view:?}")
    };
    (member.epoch.0, member.state)
}
