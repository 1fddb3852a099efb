//! The sealing of control messages: each agent of a sealed mesh seals what it sends, and refuses
//! what does not open, with the code that the real agent uses. So the second copy of a message, a
//! message for an earlier run of an agent, and one between agents without a common key never reach
//! the coordinator.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::Epoch;
use crate::seal::{
    Envelopes, Key, KeyId, Keyring, Life, Purpose, Role, Secret, Standing, Target, WireId,
};
use crate::sim::kernel::Seal;
use crate::wire::Message;

/// The keys of a mesh during a rotation: all agents have both.
const KEYS: [u8; 2] = [2, 1];
const MESH: &str = "simulated";
const TARGET: Target<'_> = Target {
    purpose: Purpose::Control,
    method: "POST",
    path: "/control/v1/message",
};
/// The address of all agents. The simulator tells its agents apart by their names.
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The sealed side of all agents of a mesh.
pub(super) struct Seals {
    agents: Vec<Agent>,
    /// The messages that may still arrive.
    sealed: BTreeMap<Seal, Vec<u8>>,
    next: Seal,
}

struct Agent {
    keyring: Keyring,
    envelopes: Envelopes,
}

impl Seals {
    /// Creates the sealed side of `nodes` agents that do not run yet.
    pub(super) fn new(nodes: usize) -> Self {
        let agents = (0..nodes).map(|_| Agent {
            keyring: keyring(&KEYS),
            envelopes: envelopes(Epoch(0), keyring(&KEYS)),
        });
        Self {
            agents: agents.collect(),
            sealed: BTreeMap::new(),
            next: 0,
        }
    }

    /// Starts another run of an agent.
    pub(super) fn start(&mut self, number: usize, epoch: Epoch) {
        let agent = &mut self.agents[number];
        agent.envelopes = envelopes(epoch, agent.keyring.clone());
    }

    /// Gives an agent another key file, with these keys or with those of the mesh.
    pub(super) fn replace_keys(&mut self, number: usize, keys: Option<&[u8]>) {
        let agent = &mut self.agents[number];
        agent.keyring = keyring(keys.unwrap_or(&KEYS));
        agent.envelopes.replace_keys(agent.keyring.clone());
    }

    /// Returns whether two agents have a key in common.
    pub(super) fn has_common_key(&self, one: usize, other: usize) -> bool {
        let other: Vec<WireId> = self.agents[other].keyring.wire_ids().collect();
        let mut one = self.agents[one].keyring.wire_ids();
        one.any(|key| other.contains(&key))
    }

    /// Seals a message, as far as the two agents have a key in common, and returns its number.
    pub(super) fn seal(&mut self, from: usize, to: usize, message: &Message, kept: usize) -> Seal {
        let accepted: Vec<WireId> = self.agents[to].keyring.wire_ids().collect();
        let life = life(message.to_epoch);
        let envelopes = &mut self.agents[from].envelopes;
        let number = self.next;
        self.next += 1;
        // The simulator carries the message itself, so its content need not be sealed.
        if let Some((sealed, _)) = envelopes.seal(life, &accepted, TARGET, &[]) {
            self.sealed.insert(number, sealed);
        }
        while self.sealed.len() > kept {
            self.sealed.pop_first();
        }
        number
    }

    /// Returns whether a message opens at this agent.
    pub(super) fn opens(&mut self, to: usize, number: Seal) -> bool {
        let sealed = self.sealed.get(&number);
        let envelopes = &mut self.agents[to].envelopes;
        let member = |_| Standing::Member;
        sealed.is_some_and(|sealed| envelopes.open(sealed, TARGET, HOST, member).is_ok())
    }
}

fn life(epoch: Epoch) -> Life {
    Life::from_halves(epoch, 0)
}

fn envelopes(epoch: Epoch, keyring: Keyring) -> Envelopes {
    Envelopes::new(life(epoch), MESH.to_owned(), keyring)
}

/// Returns a keyring with these keys, the newest first.
fn keyring(keys: &[u8]) -> Keyring {
    let line = |number: &u8| {
        let id = KeyId::new(&number.to_string()).unwrap_or_else(|| unreachable!("digits"));
        let bytes = std::array::from_fn(|at| *number ^ u8::try_from(at).unwrap_or_default());
        let key = Key::new(id, Role::Member, Secret::new(bytes));
        key.to_line().to_string()
    };
    let file: Vec<String> = keys.iter().map(line).collect();
    Keyring::read(file.join("\n").as_bytes()).unwrap_or_else(|_| unreachable!("a key file"))
}
