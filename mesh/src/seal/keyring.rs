//! The keys that an agent accepts, as its key file lists them: the newest first.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::derive::{WireId, wire_id};
use super::key::{ID_LEN_MAX, KEY_LEN, Key, KeyId, Role, Secret};

/// The maximum size of a key file, in bytes.
pub const KEY_FILE_MAX: usize = 4096;
/// The maximum number of keys of each role.
pub const KEYS_MAX: usize = 4;
/// The maximum number of removed keys that are remembered.
const REMOVED_MAX: usize = 16;

/// Something in a key file that must be mended. The texts never contain a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileProblem {
    /// The file is too long.
    #[error("a key file has at most {KEY_FILE_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// The file is not text.
    #[error("a key file is text, with one key a line")]
    NotText,
    /// The line does not have three parts.
    #[error("line {0}: expected ID:ROLE:KEY, as `iperf3-mesh key generate` prints it")]
    Form(usize),
    /// The id is not valid.
    #[error("line {0}: an id has 1 to {ID_LEN_MAX} lower-case letters, digits, '-' and '.'")]
    Id(usize),
    /// The role is not known.
    #[error("line {0}: a role is member or operator")]
    Role(usize),
    /// The key is not 32 bytes in base64.
    #[error(
        "line {0}: a key is {KEY_LEN} bytes in base64; make one with `iperf3-mesh key generate`"
    )]
    Key(usize),
    /// All bytes of the key are the same.
    #[error("line {0}: the key is not random; make one with `iperf3-mesh key generate`")]
    NotRandom(usize),
    /// Another line has the same id.
    #[error("line {line}: the id {id} appears twice; give each key its own")]
    DuplicateId {
        /// The second of the two lines.
        line: usize,
        /// The id.
        id: KeyId,
    },
    /// Another line has the same key.
    #[error("line {0}: the key appears twice; remove one of the lines")]
    DuplicateKey(usize),
    /// There are too many keys.
    #[error("at most {KEYS_MAX} keys of each role: remove those that no agent uses any more")]
    TooMany,
    /// There is no key that an agent may join with.
    #[error("there is no key with the role member; make one with `iperf3-mesh key generate`")]
    NoMemberKey,
}

/// The keys that are accepted, the newest first. That of an agent has at least one with
/// [`Role::Member`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    keys: Vec<(WireId, Key)>,
    /// The keys that an earlier file had, to tell their messages from those of a stranger.
    removed: Vec<WireId>,
}

impl Keyring {
    /// Reads the key file of an agent.
    ///
    /// # Errors
    /// Returns all problems of the file at once.
    pub fn read(file: &[u8]) -> Result<Self, Vec<KeyFileProblem>> {
        let keyring = Self::read_any(file)?;
        if keyring.members().next().is_none() {
            return Err(vec![KeyFileProblem::NoMemberKey]);
        }
        Ok(keyring)
    }

    /// Reads the key file of a program that only asks agents, and so may have no key with
    /// [`Role::Member`].
    ///
    /// # Errors
    /// Returns all problems of the file at once.
    pub fn read_any(file: &[u8]) -> Result<Self, Vec<KeyFileProblem>> {
        if file.len() > KEY_FILE_MAX {
            return Err(vec![KeyFileProblem::TooLong(file.len())]);
        }
        let text = std::str::from_utf8(file).map_err(|_| vec![KeyFileProblem::NotText])?;
        let mut problems = Vec::new();
        let mut keys: Vec<(WireId, Key)> = Vec::new();
        let mut ids = BTreeSet::new();
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match read_line(text, line) {
                Ok(key) if !ids.insert(key.id.clone()) => {
                    problems.push(KeyFileProblem::DuplicateId { line, id: key.id });
                }
                Ok(key) => {
                    let wire = wire_id(&key.secret);
                    if keys.iter().any(|(other, _)| *other == wire) {
                        problems.push(KeyFileProblem::DuplicateKey(line));
                    }
                    keys.push((wire, key));
                }
                Err(problem) => problems.push(problem),
            }
        }
        let count = |role| keys.iter().filter(|(_, key)| key.role == role).count();
        if count(Role::Member) > KEYS_MAX || count(Role::Operator) > KEYS_MAX {
            problems.push(KeyFileProblem::TooMany);
        }
        if keys.is_empty() && problems.is_empty() {
            problems.push(KeyFileProblem::NoMemberKey);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            keys,
            removed: Vec::new(),
        })
    }

    /// Returns the keys with which agents join, the newest first.
    pub fn member_keys(&self) -> impl Iterator<Item = &Key> {
        self.members().map(|(_, key)| key)
    }

    /// Returns the names by which messages refer to these keys, the newest first.
    pub fn wire_ids(&self) -> impl Iterator<Item = WireId> {
        self.members().map(|(wire, _)| wire)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (WireId, &Key)> {
        self.all().filter(|(_, key)| key.role == Role::Member)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (WireId, &Key)> {
        self.keys.iter().map(|(wire, key)| (*wire, key))
    }

    /// Returns the key that `wire` stands for.
    pub(super) fn find(&self, wire: WireId) -> Option<&Key> {
        let found = self.keys.iter().find(|(id, _)| *id == wire);
        found.map(|(_, key)| key)
    }

    /// Returns whether an earlier key file had the key that `wire` stands for.
    pub(super) fn was_removed(&self, wire: WireId) -> bool {
        self.removed.contains(&wire)
    }

    /// Takes the keys of a newer file, and remembers which ones it removes.
    pub fn replace(&mut self, newer: Self) {
        let old = std::mem::replace(self, newer);
        let gone = old.keys.iter().map(|(wire, _)| *wire);
        let mut removed: Vec<WireId> = gone.chain(old.removed).collect();
        removed.retain(|wire| self.find(*wire).is_none());
        removed.truncate(REMOVED_MAX);
        self.removed = removed;
    }
}

fn read_line(text: &str, line: usize) -> Result<Key, KeyFileProblem> {
    let mut parts = text.splitn(3, ':');
    let (Some(id), Some(role), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyFileProblem::Form(line));
    };
    let id = KeyId::new(id).ok_or(KeyFileProblem::Id(line))?;
    let role: Role = role.parse().map_err(|_| KeyFileProblem::Role(line))?;
    let bytes = STANDARD.decode(secret).map(Zeroizing::new);
    let bytes = bytes.map_err(|_| KeyFileProblem::Key(line))?;
    let bytes: [u8; KEY_LEN] = bytes[..]
        .try_into()
        .map_err(|_| KeyFileProblem::Key(line))?;
    let bytes = Zeroizing::new(bytes);
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        return Err(KeyFileProblem::NotRandom(line));
    }
    Ok(Key::new(id, role, Secret::new(*bytes)))
}
