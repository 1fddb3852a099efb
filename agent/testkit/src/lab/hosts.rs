//! The laboratory's wiring: hosts with one shaped link each, on a switch that has a namespace of
//! its own.
//!
//! ```text
//!   n1 eth0 ══ p0 ┐
//!   n2 eth0 ══ p1 ┤ br0      each ══ is a veth pair with a token bucket at both of its ends
//!   n3 eth0 ══ p2 ┘
//! ```
//!
//! Both ends are shaped because a queue discipline shapes what leaves an interface: `eth0` what the
//! host sends, `pN` what it receives. It can take links down and drop one way's packets; it cannot
//! delay or lose some of them (that would take netem, which not every kernel has).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::goodput::Shape;
use super::netns::Namespace;

/// A host that is wanted.
#[derive(Clone, Debug)]
pub struct HostSpec {
    /// Its name, which is also its node's.
    pub name: String,
    /// The rate of its link in either direction, bits per second.
    pub rate: u64,
}

/// A host: a namespace, an address, a shaped link.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its address on the switch.
    pub address: Ipv4Addr,
    /// How its link is shaped.
    pub shape: Shape,
    /// Where its processes run.
    pub namespace: Namespace,
}

/// All hosts and the switch between them. Everything is gone when it is dropped.
#[derive(Debug)]
pub struct Lab {
    hosts: Vec<Host>,
    switch: Namespace,
}

impl Lab {
    /// Wires up the hosts.
    ///
    /// # Panics
    /// If a command fails; its words are in the message.
    pub fn new(specs: &[HostSpec]) -> Self {
        let switch = Namespace::create();
        switch.run("ip link add br0 type bridge");
        switch.run("ip link set br0 up");
        let hosts = specs
            .iter()
            .enumerate()
            .map(|(at, spec)| plug(&switch, at, spec))
            .collect();
        Self { hosts, switch }
    }

    /// Hosts n1, n2 … with links of so many Mbit/s.
    pub fn with_mbps(rates: &[u64]) -> Self {
        let host = |(at, mbps): (usize, &u64)| HostSpec {
            name: format!("n{}", at + 1),
            rate: mbps * 1_000_000,
        };
        Self::new(&rates.iter().enumerate().map(host).collect::<Vec<_>>())
    }

    /// The name of the host at each address.
    pub fn names(&self) -> BTreeMap<Ipv4Addr, String> {
        self.hosts
            .iter()
            .map(|host| (host.address, host.name.clone()))
            .collect()
    }

    /// The hosts, in the order of their specifications.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The host of that name.
    pub fn host(&self, name: &str) -> &Host {
        &self.hosts[self.position(name)]
    }

    /// Cuts the cable of a host until the fault is dropped.
    pub fn unplug(&self, name: &str) -> Fault<'_> {
        let port = self.position(name);
        self.switch.run(&format!("ip link set p{port} down"));
        Fault {
            namespace: &self.switch,
            hint: format!("ip link set p{port} up"),
        }
    }

    /// Drops what `from` sends to `to`, not what comes back, until the fault is dropped.
    pub fn deafen(&self, to: &str, from: &str) -> Fault<'_> {
        let address = self.host(from).address;
        let namespace = &self.host(to).namespace;
        let table = format!("deaf_{from}");
        namespace.run(&format!("nft add table ip {table}"));
        namespace.run(&format!(
            "nft add chain ip {table} input {{ type filter hook input priority 0 ; }}"
        ));
        namespace.run(&format!(
            "nft add rule ip {table} input ip saddr {address} drop"
        ));
        Fault {
            namespace,
            hint: format!("nft delete table ip {table}"),
        }
    }

    fn position(&self, name: &str) -> usize {
        let at = self.hosts.iter().position(|host| host.name == name);
        at.unwrap_or_else(|| panic!("the laboratory has no host {name}"))
    }
}

/// Something broken on purpose; mended when dropped.
#[must_use = "the fault is mended as soon as this is dropped"]
#[derive(Debug)]
pub struct Fault<'lab> {
    namespace: &'lab Namespace,
    hint: String,
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        // A second panic would abort and hide the first.
        if !std::thread::panicking() {
            self.namespace.run(&self.hint);
        }
    }
}

fn plug(switch: &Namespace, at: usize, spec: &HostSpec) -> Host {
    let namespace = Namespace::create();
    // 198.18.0.0/15 is set aside for benchmarks (RFC 2544).
    let address = Ipv4Addr::new(198, 18, 0, u8::try_from(at + 1).unwrap());
    let shape = Shape::new(spec.rate);
    switch.run(&format!(
        "ip link add p{at} type veth peer name eth0 netns {}",
        namespace.path()
    ));
    switch.run(&format!("ip link set p{at} master br0 up"));
    switch.run(&format!("tc qdisc replace dev p{at} root {shape}"));
    namespace.run(&format!("ip addr add {address}/15 dev eth0"));
    namespace.run("ip link set eth0 up");
    namespace.run(&format!("tc qdisc replace dev eth0 root {shape}"));
    Host {
        name: spec.name.clone(),
        address,
        shape,
        namespace,
    }
}
