//! Which life of a name counts. No chitchat here: identities are plain values.

use std::slice::from_ref;
use std::time::Duration;

use tokio::time::Instant;

use super::super::view::{Identity, Observer, view};
use super::{address, name, published};
use crate::{Epoch, PeerState, View};

const PATIENCE: Duration = Duration::from_secs(15);

/// A story told in seconds since the observer started.
struct Story {
    start: Instant,
}

impl Story {
    fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    /// A life seen since `first` whose heart beat until `last`.
    fn life(&self, of: &str, epoch: u64, first: u64, last: u64) -> Identity {
        Identity {
            published: published(of, epoch),
            generation: 1000 + first,
            address: address(u8::try_from(epoch).unwrap()),
            live: true,
            ever_live: true,
            first_seen: self.at(first),
            last_rise: self.at(last),
        }
    }

    fn view(&self, identities: &[Identity]) -> View {
        let observer = Observer {
            name: name("me"),
            epoch: Epoch(0),
            since: self.start,
        };
        view(&observer, identities, PATIENCE)
    }
}

fn dead(life: Identity) -> Identity {
    Identity {
        live: false,
        ..life
    }
}

fn leaving(mut life: Identity) -> Identity {
    life.published.leaving = true;
    life
}

fn only(view: &View) -> (u64, PeerState) {
    let [member] = view.members() else {
        panic!("not one member: {view:?}")
    };
    (member.epoch.0, member.state)
}

#[test]
fn a_live_node_is_live_and_a_dead_one_silent() {
    let story = Story::new();
    let life = story.life("a", 1, 0, 30);
    assert_eq!(only(&story.view(from_ref(&life))), (1, PeerState::Live));
    assert_eq!(only(&story.view(&[dead(life)])), (1, PeerState::Silent));
}

#[test]
fn a_restart_is_no_conflict_however_long_the_old_life_is_believed() {
    let story = Story::new();
    // The old life's last beats still travelled for 10 s.
    let lives = [story.life("a", 1, 0, 110), story.life("a", 2, 100, 400)];
    assert_eq!(only(&story.view(&lives)), (2, PeerState::Live));
}

#[test]
fn two_lives_that_go_on_side_by_side_are_a_conflict() {
    let story = Story::new();
    let lives = |now| [story.life("a", 1, 0, now), story.life("a", 2, 100, now)];
    assert_eq!(
        only(&story.view(&lives(114))),
        (2, PeerState::Live),
        "undecided: the newest"
    );
    assert_eq!(only(&story.view(&lives(115))), (2, PeerState::Conflict));
    let [one, other] = lives(200);
    assert_eq!(
        only(&story.view(&[one, dead(other)])),
        (1, PeerState::Live),
        "it ends"
    );
}

#[test]
fn two_identities_of_one_life_are_no_conflict() {
    let story = Story::new();
    let again = story.life("a", 1, 100, 400);
    let lives = [story.life("a", 1, 0, 400), again];
    assert_eq!(only(&story.view(&lives)), (1, PeerState::Live));
}

#[test]
fn a_tie_of_generations_is_broken_by_epoch_alike_everywhere() {
    let story = Story::new();
    let (one, other) = (story.life("a", 1, 0, 5), story.life("a", 2, 0, 5));
    let forth = story.view(&[one.clone(), other.clone()]);
    assert_eq!(forth, story.view(&[other, one]));
    assert_eq!(only(&forth).0, 2);
}

#[test]
fn a_node_that_said_goodbye_has_left_live_or_not() {
    let story = Story::new();
    let life = leaving(story.life("a", 1, 0, 30));
    assert_eq!(only(&story.view(from_ref(&life))), (1, PeerState::Left));
    assert_eq!(
        only(&story.view(&[dead(life.clone())])),
        (1, PeerState::Left)
    );
    let next = story.life("a", 2, 32, 34);
    assert_eq!(only(&story.view(&[life, next])), (2, PeerState::Live));
}

#[test]
fn a_life_never_seen_to_live_is_no_member() {
    let story = Story::new();
    let newcomer = Identity {
        ever_live: false,
        ..dead(story.life("a", 2, 100, 100))
    };
    assert!(story.view(from_ref(&newcomer)).members().is_empty());
    let before = leaving(dead(story.life("a", 1, 0, 90)));
    assert_eq!(only(&story.view(&[before, newcomer])), (1, PeerState::Left));
}

#[test]
fn ones_own_name_is_taken_only_by_another_life_that_goes_on() {
    let story = Story::new();
    let taken = |life: Identity| story.view(&[life]).name_taken;
    assert!(!taken(story.life("me", 9, 0, 5)), "one's own earlier life");
    assert!(taken(story.life("me", 9, 20, 35)));
    assert!(!taken(story.life("me", 9, 20, 34)), "not for long enough");
    assert!(
        !taken(story.life("me", 0, 20, 35)),
        "an earlier identity of this life"
    );
    assert!(!taken(dead(story.life("me", 9, 20, 35))));
    assert!(
        story
            .view(&[story.life("me", 9, 20, 35)])
            .members()
            .is_empty()
    );
}

#[test]
fn a_conflict_outlasts_a_new_start_of_gossip_in_one_of_the_two() {
    let story = Story::new();
    let again = story.life("a", 1, 198, 200);
    let lives = [
        story.life("a", 1, 0, 195),
        story.life("a", 2, 100, 200),
        again,
    ];
    assert_eq!(only(&story.view(&lives)).1, PeerState::Conflict);
}

#[test]
fn a_crowd_under_one_name_costs_little() {
    let story = Story::new();
    let crowd: Vec<_> = (0..200)
        .map(|epoch| story.life("a", epoch, 0, 100))
        .collect();
    let crowd: Vec<_> = crowd.iter().cycle().take(20_000).cloned().collect();
    assert_eq!(only(&story.view(&crowd)).1, PeerState::Conflict);
}
