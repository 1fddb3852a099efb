//! The view, computed from the identities that gossip knows: which identity of each name counts,
//! and which state the member of that name has.
//!
//! The computation is a pure function over plain values. An *identity* is one run of chitchat on
//! one node. A restart creates a new identity, and the old one stays beside it for minutes:
//! chitchat does not let one supersede the other, so this module decides which one counts.
//!
//! The observer's own clock decides. Among identities that are up, the one that appeared last
//! counts; otherwise the one last heard beating. The nodes' wall clocks only break ties: a machine
//! without a clock chip starts in the past, so a later run may claim an earlier start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::holders::Holders;
use super::state::{Published, canonical};
use crate::{
    AddressProblem, AddressRules, Epoch, Member, NodeName, PeerState, RefusedMember, View,
};

/// The maximum number of epochs of one name that are compared with each other. More than two epochs
/// occur only in a crash loop or with forged messages.
const EPOCHS_MAX: usize = 8;

/// One identity of a node, as gossip sees it now.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) published: Published,
    /// The Unix time in seconds at which the identity started, by the clock of its node, which may
    /// be wrong.
    pub(super) generation: u64,
    /// The gossip address of the node.
    pub(super) address: SocketAddr,
    /// Whether chitchat's failure detector considers the identity live.
    pub(super) live: bool,
    /// Whether the identity has ever been considered live.
    pub(super) ever_live: bool,
    pub(super) first_seen: Instant,
    /// When the heartbeat of the identity was last seen to rise, or `first_seen` if it never was.
    pub(super) last_heartbeat: Instant,
    pub(super) standing: Standing,
    /// Whether others say that the node leaves, and its own address does not.
    pub(super) is_doubtful: bool,
}

/// The relation of an identity to its address. One address has one owner, so it is the address
/// that says which identity is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The address speaks as this identity.
    Speaks,
    /// The address has not spoken for some time, or there is no screen that listens to it.
    Heard,
    /// The identity has just appeared, and its address has not spoken yet.
    New,
    /// The address speaks as another identity, or is that of the observer.
    False,
}

impl Identity {
    pub(super) fn is_up(&self) -> bool {
        self.live && !self.published.leaving
    }

    /// Returns whether this is a later run than `goodbye`, whose end is unknown. The observer has
    /// heard neither of them, so nothing but their wall clocks can tell.
    fn follows(&self, goodbye: &Self) -> bool {
        let is_unknown = !self.ever_live && !self.published.leaving;
        is_unknown
            && self.published.epoch != goodbye.published.epoch
            && self.tie_break() > goodbye.tie_break()
    }

    /// Returns a value that is greatest for the identity of a name that appeared last.
    fn appearance(&self) -> (Instant, TieBreak) {
        (self.first_seen, self.tie_break())
    }

    /// Returns a value that is greatest for the identity of a name that was last heard.
    fn last_sign(&self) -> (Instant, Instant, TieBreak) {
        (self.last_heartbeat, self.first_seen, self.tie_break())
    }

    /// Returns a value that orders identities in the same way on all nodes.
    fn tie_break(&self) -> TieBreak {
        (self.generation, self.published.epoch, self.address)
    }
}

/// A value that is the same on all nodes.
type TieBreak = (u64, Epoch, SocketAddr);

/// The node that computes the view.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    pub(super) name: NodeName,
    pub(super) epoch: Epoch,
    pub(super) started: Instant,
    /// The maximum number of members.
    pub(super) members_max: usize,
}

/// Returns the view of `observer` at `now`, computed from `identities` (all except its own present
/// one).
///
/// An identity that breaks `rules` counts for nothing: it is no member, and in conflict with none.
///
/// Two epochs of one name are in conflict if both heartbeats still rise `patience` after the second
/// epoch appeared. The heartbeat of a restarted node's old epoch stops, but its last values still
/// spread for some rounds.
pub(super) fn view(
    observer: &Observer,
    rules: &AddressRules,
    identities: Vec<Identity>,
    holders: &mut Holders,
    patience: Duration,
    now: Instant,
) -> View {
    let mut refused = Vec::new();
    let mut admitted = Vec::new();
    let is_false = |identity: &Identity| identity.standing == Standing::False;
    for identity in identities.into_iter().filter(|one| !is_false(one)) {
        match admit(rules, &identity) {
            Ok(()) => admitted.push(identity),
            Err(problem) => refused.push(refuse(&identity, problem)),
        }
    }
    let mut names: BTreeMap<&NodeName, Vec<&Identity>> = BTreeMap::new();
    for identity in &admitted {
        names
            .entry(&identity.published.name)
            .or_default()
            .push(identity);
    }
    let namesakes = names.remove(&observer.name).unwrap_or_default();
    let mut names: Vec<_> = names.into_values().collect();
    // Those that were seen first keep their places, except those that have left.
    names.sort_by_key(|identities| identities.iter().map(|one| one.first_seen).min());
    holders.retain(now);
    let mut members = Vec::new();
    for identities in &names {
        let (candidates, late) = holders.split(identities, patience, now);
        let late = late.into_iter();
        refused.extend(late.map(|one| refuse(one, AddressProblem::NameTaken)));
        let Some((identity, state)) = member(&candidates, patience) else {
            continue;
        };
        if state == PeerState::Live {
            holders.hold(identity, now);
        }
        members.push(describe(identity, state));
    }
    members.sort_by_key(|member| member.state == PeerState::Left);
    members.truncate(observer.members_max);
    let is_late = |one: &&Identity| {
        one.is_up()
            && one.published.epoch != observer.epoch
            && one.first_seen >= observer.started + patience
    };
    let (late, namesakes): (Vec<_>, Vec<_>) = namesakes.into_iter().partition(is_late);
    let late = late.into_iter();
    refused.extend(late.map(|one| refuse(one, AddressProblem::NameTaken)));
    let namesake = namesake(observer, &namesakes, patience);
    View::new(members, namesake).with_refused(refused)
}

fn refuse(identity: &Identity, problem: AddressProblem) -> RefusedMember {
    RefusedMember {
        name: identity.published.name.clone(),
        address: identity.published.control,
        problem,
    }
}

fn admit(rules: &AddressRules, identity: &Identity) -> Result<(), AddressProblem> {
    let Published { name, control, .. } = &identity.published;
    if control.ip() != canonical(identity.address).ip() {
        return Err(AddressProblem::TwoAddresses);
    }
    rules.admits(name, control.ip())
}

/// Returns the control address of another live agent that uses the observer's name.
fn namesake(
    observer: &Observer,
    namesakes: &[&Identity],
    patience: Duration,
) -> Option<SocketAddr> {
    let mut lifetimes = lifetimes(namesakes);
    lifetimes.remove(&observer.epoch);
    let (epoch, _) = lifetimes.into_iter().find(|(_, other)| {
        let second_seen = other.first_seen.max(observer.started);
        other.is_up && other.last_heartbeat >= second_seen + patience
    })?;
    let other = namesakes
        .iter()
        .find(|identity| identity.published.epoch == epoch && identity.is_up())?;
    Some(other.published.control)
}

/// Returns the identity that stands for the member of a name, if any of them counts yet, and the
/// state of the member.
fn member<'a>(
    identities: &[&'a Identity],
    patience: Duration,
) -> Option<(&'a Identity, PeerState)> {
    if let Some(newest) = present(identities) {
        let state = if in_conflict(identities, patience) {
            PeerState::Conflict
        } else {
            PeerState::Live
        };
        return Some((newest, state));
    }
    // An identity that we have never seen alive may be starting, or may have departed long ago
    // while gossip still carries it. Only nodes that knew it before report it as silent.
    // While a node speaks, nobody is heard of its former runs. So the goodbye of one may arrive
    // just when the present run falls silent.
    let was_live = identities.iter().filter(|one| one.ever_live);
    let last_live = was_live.map(|one| one.tie_break()).max();
    let counts = |identity: &Identity| {
        let is_later = || Some(identity.tie_break()) > last_live;
        identity.ever_live || (identity.published.leaving && is_later())
    };
    let last = chosen(identities, counts, Identity::last_sign)?;
    if !last.ever_live && identities.iter().any(|other| other.follows(last)) {
        return None;
    }
    let state = if last.published.leaving {
        PeerState::Left
    } else {
        PeerState::Silent
    };
    Some((last, state))
}

/// Returns, of the identities that are up, the one that counts. While one speaks for itself, it
/// keeps its place, and the one that was seen first its name: whoever tells of another address of a
/// node moves it nowhere. Otherwise it is the newest, once its address had time to speak.
fn present<'a>(identities: &[&'a Identity]) -> Option<&'a Identity> {
    let up = |one: &Identity, standing| one.is_up() && one.standing == standing;
    let speaks = |one: &&&Identity| up(one, Standing::Speaks);
    let first = identities
        .iter()
        .filter(speaks)
        .min_by_key(|one| one.first_seen);
    first.copied().or_else(|| {
        let is_heard = |one: &Identity| up(one, Standing::Heard);
        chosen(identities, is_heard, Identity::appearance)
            .or_else(|| chosen(identities, Identity::is_up, Identity::appearance))
    })
}

/// Returns the gossip addresses about which there is a dispute: those of names that are up at two
/// of them, and of nodes of which others say that they leave.
pub(super) fn disputed(identities: &[Identity]) -> BTreeSet<SocketAddr> {
    let mut places: BTreeMap<&NodeName, BTreeSet<(SocketAddr, u64)>> = BTreeMap::new();
    let is_up = |identity: &&Identity| identity.live && identity.standing != Standing::False;
    for identity in identities.iter().filter(is_up) {
        let place = (identity.address, identity.generation);
        places
            .entry(&identity.published.name)
            .or_default()
            .insert(place);
    }
    let doubtful = identities.iter().filter(|identity| identity.is_doubtful);
    let several = places.into_values().filter(|places| places.len() > 1);
    several
        .flatten()
        .map(|(address, _)| address)
        .chain(doubtful.map(|identity| identity.address))
        .collect()
}

/// Returns, of the identities that `counts` admits, one of the epoch of the one that is greatest by
/// `order`. Within an epoch, the generation comes from the boot clock of the node and decides.
fn chosen<'a, K: Ord>(
    identities: &[&'a Identity],
    counts: impl Fn(&Identity) -> bool,
    order: impl Fn(&Identity) -> K,
) -> Option<&'a Identity> {
    let admitted = || identities.iter().copied().filter(|one| counts(one));
    let epoch = admitted().max_by_key(|one| order(one))?.published.epoch;
    admitted()
        .filter(|one| one.published.epoch == epoch)
        .max_by_key(|one| one.generation)
}

/// Returns whether two epochs of these identities, all of one name, have been up side by side for
/// too long to be a restart.
fn in_conflict(identities: &[&Identity], patience: Duration) -> bool {
    let lifetimes = lifetimes(identities);
    let up: Vec<&Lifetime> = lifetimes
        .values()
        .filter(|lifetime| lifetime.is_up)
        .take(EPOCHS_MAX)
        .collect();
    up.iter().enumerate().any(|(at, one)| {
        up[at + 1..].iter().any(|other| {
            let second_seen = one.first_seen.max(other.first_seen);
            one.last_heartbeat.min(other.last_heartbeat) >= second_seen + patience
        })
    })
}

/// The time in which an epoch was seen, across all its identities: chitchat may have been restarted
/// within it.
struct Lifetime {
    first_seen: Instant,
    last_heartbeat: Instant,
    is_up: bool,
}

fn lifetimes(identities: &[&Identity]) -> BTreeMap<Epoch, Lifetime> {
    let mut lifetimes: BTreeMap<Epoch, Lifetime> = BTreeMap::new();
    for identity in identities {
        let lifetime = lifetimes
            .entry(identity.published.epoch)
            .or_insert(Lifetime {
                first_seen: identity.first_seen,
                last_heartbeat: identity.last_heartbeat,
                is_up: false,
            });
        lifetime.first_seen = lifetime.first_seen.min(identity.first_seen);
        lifetime.last_heartbeat = lifetime.last_heartbeat.max(identity.last_heartbeat);
        lifetime.is_up |= identity.is_up();
    }
    lifetimes
}

fn describe(identity: &Identity, state: PeerState) -> Member {
    let published = &identity.published;
    Member {
        name: published.name.clone(),
        epoch: published.epoch,
        life: published.public.map(|public| public.life()),
        auth: published.auth.clone(),
        wire: published.wire,
        zone: published.zone.clone(),
        control: published.control,
        http_port: published.http_port,
        iperf3: published.iperf3.clone(),
        sweep: published.sweep,
        state,
    }
}
