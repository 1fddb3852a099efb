//! The rules for the address of a member: which addresses this node sends anything to.
//!
//! A member writes its own address into gossip, so an address proves nothing. The rules make sure
//! that no member can aim this node at a service of its own host, at a cloud's metadata, or at many
//! hosts at once. [`AddressRules`] decides; whoever is about to use an address asks it first.

mod kind;
mod listed;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use strum::{Display, IntoStaticStr, VariantArray};

use crate::NodeName;
pub use listed::Listed;

/// The part of an IPv6 address that a network assigns. Its hosts choose the rest themselves.
const NETWORK_OF_HOST: u128 = !0 << 64;

/// Returns what counts as one host that is not known: an IPv4 address, or the network of an IPv6
/// address, because a single host may have all addresses there (RFC 7421).
pub fn unknown_host(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & NETWORK_OF_HOST).into(),
        v4 => v4,
    }
}

/// The reason why this node has nothing to do with a member at an address.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum AddressProblem {
    /// The address belongs to no host, such as `0.0.0.0`, or has no port.
    Unspecified,
    /// The address belongs to a group of hosts.
    Multicast,
    /// The address belongs to all hosts of a network.
    Broadcast,
    /// The address is a loopback address, and that of this node is not, or the other way round.
    Loopback,
    /// The address is valid on one link only, and that of this node is not such an address.
    LinkLocal,
    /// A cloud serves metadata and credentials at the address.
    Metadata,
    /// The address stands for an IPv4 address, and the packets reach it through a translator.
    Translated,
    /// The address has another family than that of this node.
    OtherFamily,
    /// The addresses for control messages and for gossip differ.
    TwoAddresses,
    /// The address is outside all networks of `--peer-cidr`.
    OutsidePeerCidr,
    /// The address is not that of a pod on the node, and not within `--peer-cidr`.
    Unlisted,
    /// An agent at another address has the name, and had it before.
    NameTaken,
}

impl AddressProblem {
    /// All problems.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Returns the name in labels and logs.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Decides to which addresses this node sends anything. A value is cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRules {
    own: IpAddr,
    peer_cidrs: Arc<[IpNet]>,
    listed: Option<Arc<Listed>>,
}

impl AddressRules {
    /// Creates the rules of a node with the address `own`. The members are within `peer_cidrs`,
    /// unless it is empty.
    pub fn new(own: IpAddr, peer_cidrs: impl Into<Arc<[IpNet]>>) -> Self {
        Self {
            own: own.to_canonical(),
            peer_cidrs: peer_cidrs.into(),
            listed: None,
        }
    }

    /// Replaces the address of this node.
    pub fn set_own(&mut self, own: IpAddr) {
        self.own = own.to_canonical();
    }

    /// Restricts the members to `listed`, and to the networks of `--peer-cidr`.
    /// Returns whether this changes the rules.
    pub fn set_listed(&mut self, listed: Listed) -> bool {
        if self.listed.as_deref() == Some(&listed) {
            return false;
        }
        self.listed = Some(Arc::new(listed));
        true
    }

    /// Restricts the members to the agents to join at `found`, until the cluster has listed its
    /// pods. If not all agents to join could be found, those that were found before remain. Returns
    /// whether this changes the rules.
    pub fn set_seeds(
        &mut self,
        found: impl IntoIterator<Item = IpAddr>,
        are_complete: bool,
    ) -> bool {
        let found = Listed::seeds(found);
        let next = match &self.listed {
            Some(listed) => listed.with_seeds(found, are_complete),
            None => found,
        };
        self.set_listed(next)
    }

    /// Returns whether this node may send anything to `ip`. Use [`Self::admits`] where the name of
    /// the member is known.
    ///
    /// # Errors
    /// Returns the first rule that `ip` breaks.
    pub fn allows(&self, ip: IpAddr) -> Result<(), AddressProblem> {
        let ip = ip.to_canonical();
        self.check_kind(ip)?;
        if ip == self.own {
            return Ok(());
        }
        self.check_source(ip, |listed| listed.has_address(ip))
    }

    /// Returns whether `name` may be a member with the address `ip`.
    ///
    /// # Errors
    /// Returns the first rule that the member breaks.
    pub fn admits(&self, name: &NodeName, ip: IpAddr) -> Result<(), AddressProblem> {
        let ip = ip.to_canonical();
        self.check_kind(ip)?;
        self.check_source(ip, |listed| listed.has_node(name, ip))
    }

    fn check_kind(&self, ip: IpAddr) -> Result<(), AddressProblem> {
        if ip.is_ipv4() != self.own.is_ipv4() {
            return Err(AddressProblem::OtherFamily);
        }
        match kind::problem(ip) {
            // These mean the same to two agents of one host or link.
            Some(AddressProblem::Loopback) if self.own.is_loopback() => Ok(()),
            Some(AddressProblem::LinkLocal) if kind::is_link_local_v4(self.own) => Ok(()),
            Some(problem) => Err(problem),
            None if self.own.is_loopback() => Err(AddressProblem::Loopback),
            None => Ok(()),
        }
    }

    fn check_source(
        &self,
        ip: IpAddr,
        is_listed: impl FnOnce(&Listed) -> bool,
    ) -> Result<(), AddressProblem> {
        if self.peer_cidrs.iter().any(|cidr| cidr.contains(&ip)) {
            return Ok(());
        }
        match &self.listed {
            Some(listed) if is_listed(listed) => Ok(()),
            Some(_) => Err(AddressProblem::Unlisted),
            None if self.peer_cidrs.is_empty() => Ok(()),
            None => Err(AddressProblem::OutsidePeerCidr),
        }
    }
}

#[cfg(test)]
mod tests;
