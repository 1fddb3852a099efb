//! The own address of this node: which one to advertise to the peers, and whether this node still
//! has it.
//!
//! This module sends no packets. It decides nothing about time: the running agent asks again and
//! again.

mod choice;
mod host;
mod presence;
mod problem;

pub use choice::{AddressPolicy, AddressSource, Advertised, NoAddress};
pub use host::{Host, InterfaceAddress, ThisHost};
pub use presence::{Absence, absence};
pub use problem::AddressProblem;
