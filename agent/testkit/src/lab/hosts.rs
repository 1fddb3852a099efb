//! The network of the laboratory: hosts with one shaped link each, on a switch in a namespace of
//! its own.
//!
//! ```text
//!   n1 eth0 ══ p0 ┐
//!   n2 eth0 ══ p1 ┤ br0      each ══ is a veth pair with a token bucket at both of its ends
//!   n3 eth0 ══ p2 ┘
//! ```
//!
//! A queue discipline shapes what leaves an interface, so there is one at each end: `eth0` shapes
//! what the host sends, `pN` what the host receives. The laboratory can take a link down and drop
//! the packets of one direction. It cannot delay packets or lose some of them; that would need
//! netem, which some kernels lack.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::goodput::Shape;
use super::netns::Namespace;
use crate::{Ended, Program};

/// A host: a namespace, an address, a shaped link.
#[derive(Debug)]
pub struct Host {
    /// The name of the host, which is also the name of its node.
    pub name: String,
    /// The address of the host on the switch.
    pub address: Ipv4Addr,
    /// The shape of the host's link.
    pub(crate) shape: Shape,
    /// The namespace of the host's processes.
    pub namespace: Namespace,
}

impl Host {
    /// Runs the program on this host until it ends.
    ///
    /// # Panics
    /// If the program still runs after `limit`.
    pub fn run(&self, args: &[&str], limit: Duration) -> Ended {
        let mut command = Program::command(args, &[]);
        self.namespace.enter(&mut command);
        Program::start_command(command).ended(limit)
    }
}

/// All hosts and the switch between them; dropping it removes everything.
#[derive(Debug)]
pub struct Lab {
    hosts: Vec<Host>,
    switch: Namespace,
}

impl Lab {
    /// Creates the hosts n1, n2 … with links of these rates in Mbit/s.
    ///
    /// # Panics
    /// If a command fails; the message has its output.
    pub fn with_mbps(rates: &[u64]) -> Self {
        let switch = Namespace::create();
        switch.run("ip link add br0 type bridge");
        switch.run("ip link set br0 up");
        let rates = rates.iter().enumerate();
        let hosts = rates
            .map(|(at, mbps)| plug(&switch, at, Shape::new(mbps * 1_000_000)))
            .collect();
        Self { hosts, switch }
    }

    /// Returns the name of the host at each address.
    pub fn names(&self) -> BTreeMap<Ipv4Addr, String> {
        self.hosts
            .iter()
            .map(|host| (host.address, host.name.clone()))
            .collect()
    }

    /// Returns the hosts in order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Returns the host of this name.
    pub fn host(&self, name: &str) -> &Host {
        &self.hosts[self.position(name)]
    }

    /// Takes the link of a host down until the fault is dropped.
    pub fn unplug(&self, name: &str) -> Fault<'_> {
        let port = self.position(name);
        self.switch.run(&format!("ip link set p{port} down"));
        Fault {
            namespace: &self.switch,
            undo: format!("ip link set p{port} up"),
        }
    }

    /// Drops all packets from `from` to `to`, but not the reverse direction, until the fault is
    /// dropped.
    pub fn block(&self, from: &str, to: &str) -> Fault<'_> {
        let address = self.host(from).address;
        let rule = format!("ip saddr {address} drop");
        self.firewall(to, &format!("block_{from}"), "input", &rule)
    }

    /// Drops what `name` sends from this UDP port, with an error to the sender, until the fault is
    /// dropped.
    pub fn forbid_sending_from(&self, name: &str, port: u16) -> Fault<'_> {
        self.firewall(name, "forbid", "output", &format!("udp sport {port} drop"))
    }

    /// Drops all datagrams to this UDP port of `name` until the fault is dropped.
    pub fn block_port(&self, name: &str, port: u16) -> Fault<'_> {
        self.firewall(
            name,
            "block_port",
            "input",
            &format!("udp dport {port} drop"),
        )
    }

    /// Drops everything that `name` sends to itself until the fault is dropped.
    pub fn block_loopback(&self, name: &str) -> Fault<'_> {
        self.firewall(name, "block_lo", "input", "iif lo drop")
    }

    /// Takes the loopback interface of `name` down until the fault is dropped.
    pub fn unplug_loopback(&self, name: &str) -> Fault<'_> {
        let namespace = &self.host(name).namespace;
        namespace.run("ip link set lo down");
        Fault {
            namespace,
            undo: "ip link set lo up".to_owned(),
        }
    }

    /// Sets the MTU of the link at the end of `name`, in bytes, until the fault is dropped.
    pub fn narrow(&self, name: &str, mtu: u16) -> Fault<'_> {
        let namespace = &self.host(name).namespace;
        namespace.run(&format!("ip link set eth0 mtu {mtu}"));
        Fault {
            namespace,
            undo: "ip link set eth0 mtu 1500".to_owned(),
        }
    }

    /// Adds a rule to a hook of the host's firewall, in a table of its own.
    fn firewall(&self, name: &str, table: &str, hook: &str, rule: &str) -> Fault<'_> {
        let namespace = &self.host(name).namespace;
        namespace.run(&format!("nft add table ip {table}"));
        namespace.run(&format!(
            "nft add chain ip {table} {hook} {{ type filter hook {hook} priority 0 ; }}"
        ));
        namespace.run(&format!("nft add rule ip {table} {hook} {rule}"));
        Fault {
            namespace,
            undo: format!("nft delete table ip {table}"),
        }
    }

    fn position(&self, name: &str) -> usize {
        let at = self.hosts.iter().position(|host| host.name == name);
        at.unwrap_or_else(|| panic!("the laboratory has no host {name}"))
    }
}

/// An injected fault, undone when dropped.
#[must_use = "the fault is undone as soon as this is dropped"]
#[derive(Debug)]
pub struct Fault<'lab> {
    namespace: &'lab Namespace,
    undo: String,
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        // A second panic would abort and hide the first.
        if !std::thread::panicking() {
            self.namespace.run(&self.undo);
        }
    }
}

fn plug(switch: &Namespace, at: usize, shape: Shape) -> Host {
    let namespace = Namespace::create();
    // 198.18.0.0/15 is reserved for benchmarks (RFC 2544).
    let address = Ipv4Addr::new(198, 18, 0, u8::try_from(at + 1).unwrap());
    let path = namespace.path();
    switch.run(&format!(
        "ip link add p{at} type veth peer name eth0 netns {path}"
    ));
    switch.run(&format!("ip link set p{at} master br0 up"));
    switch.run(&format!("tc qdisc replace dev p{at} root {shape}"));
    namespace.run(&format!("ip addr add {address}/15 dev eth0"));
    namespace.run("ip link set eth0 up");
    namespace.run(&format!("tc qdisc replace dev eth0 root {shape}"));
    Host {
        name: format!("n{}", at + 1),
        address,
        shape,
        namespace,
    }
}
