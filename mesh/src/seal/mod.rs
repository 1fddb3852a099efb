//! The seal: only agents with a key of the mesh read, write and believe what travels between them.
//!
//! Sans-IO: time and random bytes come in as arguments, datagrams and refusals come out. The
//! gossip socket, the HTTP ports and the simulator drive the same code.
//!
//! The only root of freshness is the *life* of an agent: 128 random bits, drawn at its start. All
//! keys of a direction are derived from the lives of both ends. So nothing that was sealed for
//! another receiver, for an earlier run of it, or by an earlier run of the sender opens, and no
//! clock and no counter on a disk is needed. Within two lives, a counter and a window of what has
//! arrived (`window`) refuse the second copy of a message.
//!
//! `docs/security.md` has the threat model, and `docs/protocol.md` the frames.

mod aead;
mod answer;
mod budget;
mod channel;
mod derive;
mod envelope;
mod fragment;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hello;
mod key;
mod keyring;
mod peer;
mod refusal;
mod session;
mod signature;
mod waiting;
mod window;

pub use answer::{ANSWER_OVERHEAD, AnswerKey};
pub use channel::{Channel, Received};
pub use envelope::{Envelopes, Opened, Purpose, REQUEST_OVERHEAD, Standing, Target};
pub use fragment::MESSAGE_MAX;
pub use hello::{HELLO_LEN, Nonce, WELCOME_LEN};
pub use key::{KEY_LEN, Key, KeyId, Role, Secret};
pub use keyring::{KEY_FILE_MAX, KEYS_MAX, KeyFileProblem, Keyring};
pub use refusal::Refusal;
pub use session::{DATAGRAM_MAX, DATAGRAM_OVERHEAD};
pub use signature::{PUBLIC_KEY_LEN, PublicKey, SIGNATURE_LEN, Signer};

use crate::life;
pub use crate::{Life, WireId};
