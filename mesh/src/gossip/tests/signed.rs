//! States that their owners sign: the ones that are believed, and all others.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::super::believed::{Believed, Delivery};
use super::super::frame::{Id, KeyValue, NodeDelta};
use super::super::signature::{self, SignedState};
use super::{address, signer};
use crate::MeshName;
use crate::seal::Signer;

const OWNER: u8 = 2;
const RELAY: u8 = 3;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever an insider makes of the states of an owner: cuts, mixes, changes, replays.
    #[test]
    fn nothing_is_believed_that_the_owner_has_not_signed(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut owner = Owner::new(1);
        let mut believed = Believed::default();
        let mut version = 0;
        for step in steps {
            match step {
                Step::Publish(key, value) => owner.publish(&[(key, &value)]),
                Step::Tell(telling) => {
                    let mut news = telling.of(&owner);
                    believed.tell(&mut news, RELAY);
                }
            }
            if let Some(state) = believed.state(owner.id) {
                prop_assert!(state.version >= version);
                version = state.version;
                let signed = owner.signed.iter().any(|it| it == state);
                prop_assert!(signed, "{state:?}");
            }
        }
    }

    /// News come from peers that know more or less, and from the owner, in any order.
    #[test]
    fn honest_news_are_never_called_forged(
        order in prop::collection::vec((0usize..20, 0usize..30), 1..40),
    ) {
        let mut owner = Owner::new(1);
        (1..20u64).for_each(|sweep| owner.publish(&[("s", &sweep.to_string())]));
        let mut believed = Believed::default();
        for (snapshot, cut) in order {
            // The peer was told a version that this node may have left behind since.
            let known = believed.state(owner.id).map_or(0, |state| state.version);
            let mut news = owner.news(snapshot, known);
            let length = news.keys.len().saturating_sub(cut.saturating_sub(15));
            news.keys.truncate(length);
            let forged = believed.screen(&mut vec![news], delivery(&MESH, RELAY), |_| true);
            prop_assert!(!forged);
        }
        let known = believed.state(owner.id).map_or(0, |state| state.version);
        believed.tell(&mut owner.news(19, known), RELAY);
        prop_assert_eq!(believed.state(owner.id), owner.signed.last());
    }
}

#[test]
fn state_is_believed_only_under_its_identity_and_in_its_mesh() {
    let owner = Owner::new(1);
    let other = Id::new("zz", 1, address(OWNER)).unwrap();
    let mesh = MeshName::new("other").unwrap();
    for (id, mesh) in [(other, MeshName::default()), (owner.id, mesh)] {
        let mut believed = Believed::default();
        let mut news = owner.news(0, 0);
        news.id = id;
        let delivery = Delivery {
            mesh: &mesh,
            ..delivery(&MESH, RELAY)
        };
        assert!(believed.screen(&mut vec![news], delivery, |_| true));
        assert_eq!(believed.state(id), None);
    }
}

#[test]
fn signature_belongs_to_one_version_of_the_state() {
    let owner = Owner::new(1);
    let mut believed = Believed::default();
    let mut news = owner.news(0, 0);
    let [.., first, second] = &mut news.keys[..] else {
        panic!("no signature");
    };
    (first.version, second.version) = (100, 101);
    assert!(believed.tell(&mut news, RELAY));
    assert_eq!(believed.state(owner.id), None);
}

#[test]
fn state_that_is_cut_counts_as_forged_unless_it_is_the_last() {
    let (owner, other) = (Owner::new(1), Owner::at(4, address(4)));
    let mut believed = Believed::default();
    let mut last = vec![other.news(0, 0), cut(&owner)];
    assert!(!believed.screen(&mut last, delivery(&MESH, RELAY), |_| true));
    assert_eq!(last.len(), 1);
    let mut first = vec![cut(&owner), other.news(0, 0)];
    assert!(believed.screen(&mut first, delivery(&MESH, RELAY), |_| true));
}

#[test]
fn identity_belongs_to_the_key_that_its_address_names() {
    let (forger, owner) = (Owner::at(9, address(OWNER)), Owner::new(1));
    let id = owner.id;
    let mut forged = forger.renamed(id);
    forged.publish(&[("s", "77")]);
    let mut believed = Believed::default();
    assert!(!believed.tell(&mut forged.news(1, 0), RELAY));
    assert_eq!(believed.state(id), forged.signed.last());
    assert!(believed.tell(&mut owner.news(0, 0), RELAY), "hearsay");
    // Its own address has the last word, and chitchat forgets the other state.
    assert!(!believed.tell(&mut owner.news(0, 0), OWNER));
    assert_eq!(believed.take_wrong(), [id].into());
    assert_eq!(believed.state(id), None);
    forged.publish(&[("s", "78")]);
    assert!(believed.tell(&mut forged.news(2, 0), RELAY));
    assert!(!believed.tell(&mut owner.news(0, 0), RELAY));
    assert_eq!(believed.state(id), owner.signed.last());
}

#[test]
fn sealed_message_claims_an_identity_for_its_own_life_only() {
    let (forger, owner) = (Owner::at(9, address(OWNER)), Owner::new(1));
    let forged = forger.renamed(owner.id);
    let mut believed = Believed::default();
    believed.tell(&mut owner.news(0, 0), RELAY);
    for (life, is_forged) in [(&owner, true), (&forged, false)] {
        let delivery = Delivery {
            life: Some(life.signer.life()),
            ..delivery(&MESH, OWNER)
        };
        let mut news = vec![forged.news(0, 0)];
        assert_eq!(believed.screen(&mut news, delivery, |_| true), is_forged);
    }
}

#[test]
fn unsigned_state_counts_only_where_unsealed_gossip_does() {
    let owner = Owner::new(1);
    let unsigned = || NodeDelta {
        id: owner.id,
        after: 0,
        keys: vec![KeyValue {
            key: "w",
            value: "3",
            version: 90,
        }],
    };
    for admits_unsigned in [false, true] {
        let delivery = Delivery {
            admits_unsigned,
            ..delivery(&MESH, RELAY)
        };
        let mut believed = Believed::default();
        let mut news = vec![unsigned()];
        let forged = believed.screen(&mut news, delivery, |_| true);
        assert_eq!(
            (forged, news.len()),
            (!admits_unsigned, admits_unsigned.into())
        );
        // Nobody takes the signature from an agent that signs.
        believed.tell(&mut owner.news(0, 0), RELAY);
        let other = Owner::at(4, address(4));
        let mut both = vec![unsigned(), other.news(0, 0)];
        assert!(believed.screen(&mut both, delivery, |_| true));
        assert_eq!(both.len(), 1);
    }
}

#[test]
fn message_with_many_forged_states_costs_a_few_verifications() {
    let owners: Vec<_> = (10..200)
        .map(|number| Owner::at(number, address(number as u8)))
        .collect();
    let mut believed = Believed::default();
    let mut news: Vec<_> = owners[..5].iter().map(forged).collect();
    news.extend(owners[5..].iter().map(|owner| owner.news(0, 0)));
    assert!(believed.screen(&mut news, delivery(&MESH, RELAY), |_| true));
    assert_eq!(news.len(), 0, "the rest is not verified");
}

static MESH: std::sync::LazyLock<MeshName> = std::sync::LazyLock::new(MeshName::default);

fn cut(owner: &Owner) -> NodeDelta<'_> {
    let mut news = owner.news(0, 0);
    news.keys.pop();
    news
}

fn forged(owner: &Owner) -> NodeDelta<'_> {
    let mut news = owner.news(0, 0);
    news.keys[3].value = "forged";
    news
}

fn delivery(mesh: &MeshName, from: u8) -> Delivery<'_> {
    Delivery {
        mesh,
        from: address(from),
        life: None,
        admits_unsigned: false,
    }
}

impl Believed {
    /// Gives it the news of one identity. Returns whether they count as forged.
    fn tell(&mut self, news: &mut NodeDelta<'_>, from: u8) -> bool {
        let end = Owner::at(99, address(99));
        // They are not the last of their message.
        let mut delta = vec![news.clone(), end.news(0, 0)];
        self.screen(&mut delta, delivery(&MESH, from), |_| true)
    }
}

/// An agent that publishes a state, as chitchat stores it.
#[derive(Clone)]
struct Owner {
    signer: std::sync::Arc<Signer>,
    id: Id,
    pairs: BTreeMap<String, (u64, String)>,
    version: u64,
    /// All states that it has signed.
    signed: Vec<SignedState>,
    snapshots: Vec<BTreeMap<String, (u64, String)>>,
}

impl Owner {
    fn new(number: u64) -> Self {
        Self::at(number, address(OWNER))
    }

    fn at(number: u64, address: SocketAddr) -> Self {
        Self::with(number, Id::new("aa", 1000, address).unwrap())
    }

    fn with(number: u64, id: Id) -> Self {
        let mut owner = Self {
            signer: signer(number),
            id,
            pairs: BTreeMap::new(),
            version: 0,
            signed: Vec::new(),
            snapshots: Vec::new(),
        };
        let public = signature::public_key_text(&owner.signer.public());
        owner.publish(&[("w", "4"), ("g", &public), ("n", "node"), ("s", "0")]);
        owner
    }

    /// Returns an agent with the same key and another identity.
    fn renamed(&self, id: Id) -> Self {
        Self {
            signer: self.signer.clone(),
            ..Self::with(9, id)
        }
    }

    fn publish(&mut self, pairs: &[(&str, &str)]) {
        for (key, value) in pairs {
            self.set(key, value);
        }
        let pairs = self.pairs.iter();
        let pairs = pairs.map(|(key, (version, value))| (&**key, *version, &**value));
        let version = self.version + 1;
        for (key, half) in signature::sign(&self.signer, &MESH, self.id, pairs, version) {
            self.set(key, &half);
        }
        self.snapshots.push(self.pairs.clone());
        let whole = self.news(self.snapshots.len() - 1, 0);
        let state = SignedState::after(None, &whole).unwrap();
        self.signed.push(state);
    }

    fn set(&mut self, key: &str, value: &str) {
        if self
            .pairs
            .get(key)
            .is_some_and(|(_, before)| before == value)
        {
            return;
        }
        self.version += 1;
        self.pairs
            .insert(key.to_owned(), (self.version, value.to_owned()));
    }

    /// The news of a peer that knows this many states, for a node that knows `after`.
    fn news(&self, snapshot: usize, after: u64) -> NodeDelta<'_> {
        let snapshot = &self.snapshots[snapshot.min(self.snapshots.len() - 1)];
        let pairs = snapshot.iter().filter(|(_, (version, _))| *version > after);
        let pairs = pairs.map(|(key, (version, value))| KeyValue {
            key,
            value,
            version: *version,
        });
        let mut keys: Vec<_> = pairs.collect();
        keys.sort_by_key(|pair| pair.version);
        NodeDelta {
            id: self.id,
            after,
            keys,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish(&'static str, String),
    Tell(Telling),
}

/// The news that an insider makes of the states of an owner.
#[derive(Clone, Debug)]
struct Telling {
    snapshot: usize,
    after: u64,
    /// The snapshot from which the last pairs come.
    end: usize,
    mixed: usize,
    cut: usize,
    change: Option<(usize, Change)>,
}

#[derive(Clone, Debug)]
enum Change {
    Value(String),
    Version(u64),
    Key(&'static str),
    Remove,
}

impl Telling {
    fn of<'a>(&'a self, owner: &'a Owner) -> NodeDelta<'a> {
        let mut news = owner.news(self.snapshot, self.after);
        let end = owner.news(self.end, self.after).keys;
        news.keys
            .truncate(news.keys.len().saturating_sub(self.mixed));
        let from = end.len().saturating_sub(self.mixed);
        news.keys.extend(&end[from..]);
        if let Some((at, change)) = &self.change
            && let Some(at) = at.checked_rem(news.keys.len())
        {
            match change {
                Change::Value(value) => news.keys[at].value = value,
                Change::Version(version) => news.keys[at].version = *version,
                Change::Key(key) => news.keys[at].key = key,
                Change::Remove => {
                    news.keys.remove(at);
                }
            }
        }
        news.keys.sort_by_key(|pair| pair.version);
        news.keys.truncate(news.keys.len().saturating_sub(self.cut));
        news
    }
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop::sample::select(vec!["n", "s", "p", "a"]);
    prop_oneof![
        1 => (key, "[a-c]{1,2}").prop_map(|(key, value)| Step::Publish(key, value)),
        3 => telling().prop_map(Step::Tell),
    ]
}

fn telling() -> impl Strategy<Value = Telling> {
    let change = prop_oneof![
        "[a-c]{1,2}".prop_map(Change::Value),
        (0u64..60).prop_map(Change::Version),
        prop::sample::select(vec!["n", "s", "q", "g", "x"]).prop_map(Change::Key),
        Just(Change::Remove),
    ];
    let change = prop::option::weighted(0.5, (any::<usize>(), change));
    let cut = prop_oneof![3 => Just(0usize), 1 => 0usize..6];
    let mixed = prop_oneof![2 => Just(0usize), 1 => 0usize..5];
    let after = prop_oneof![2 => Just(0u64), 1 => 0u64..40];
    (0usize..20, after, 0usize..20, mixed, cut, change).prop_map(
        |(snapshot, after, end, mixed, cut, change)| Telling {
            snapshot,
            after,
            end,
            mixed,
            cut,
            change,
        },
    )
}
