//! The choice of the own address, on hosts that exist only in the test.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use iperf3_mesh::config::IpFamily;
use iperf3_mesh::discovery::addresses::reachable;
use iperf3_mesh::own_address::{
    AddressPolicy, AddressProblem, AddressSource, Host, InterfaceAddress,
};
use proptest::prelude::*;

const FOUND: AddressPolicy = AddressPolicy {
    given: None,
    family: None,
};

/// A host with the address 10.0.0.5 in a network with a default route.
fn host() -> TestHost {
    TestHost::default()
        .with_interface("eth0", "10.0.0.5")
        .with_default("10.0.0.5")
}

#[test]
fn given_address_is_advertised() {
    let policy = AddressPolicy {
        given: Some(ip("192.0.2.7")),
        family: None,
    };
    let advertised = policy.choose(&seeds(&["10.0.0.6"]), &host()).unwrap();
    assert_eq!(advertised.address, ip("192.0.2.7"));
    assert_eq!(advertised.source, AddressSource::Given);
    assert_eq!(
        policy.better_than(&advertised, &seeds(&["10.0.0.6"]), &host()),
        None
    );
}

#[test]
fn loopback_seed_is_no_way_while_there_is_another() {
    let own_name_first = seeds(&["127.0.1.1", "10.0.0.6"]);
    let isolated = TestHost::default().with_interface("eth0", "10.0.0.5");
    for (seeds, host, expected) in [
        (&own_name_first, &host(), "found on the route to 10.0.0.6:1"),
        (
            &seeds(&["127.0.1.1"]),
            &host(),
            "found on the default route",
        ),
        (&seeds(&["::1"]), &host(), "found on the default route"),
        (
            &seeds(&["127.0.1.1"]),
            &isolated,
            "found on interface eth0, as there is no route",
        ),
    ] {
        let chosen = FOUND.choose(seeds, host).unwrap();
        assert_eq!(chosen.address, ip("10.0.0.5"), "{seeds:?}");
        assert_eq!(chosen.source.to_string(), expected, "{seeds:?}");
    }
}

#[test]
fn loopback_is_advertised_if_there_is_nothing_else() {
    let chosen = FOUND
        .choose(&seeds(&["127.0.0.9"]), &TestHost::default())
        .unwrap();
    assert_eq!(chosen.address, ip("127.0.0.1"));
    assert_eq!(
        chosen.source.to_string(),
        "found on the route to 127.0.0.9:1, as there is no network"
    );
    assert!(FOUND.choose(&[], &TestHost::default()).is_err());
}

#[test]
fn seed_that_stands_for_no_single_host_is_skipped() {
    for seed in [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "fe80::7",
    ] {
        let mut host = host();
        host.routes.insert(ip(seed), ip("10.9.9.9"));
        let chosen = FOUND.choose(&seeds(&[seed]), &host).unwrap();
        assert_eq!(chosen.source, AddressSource::DefaultRoute, "{seed}");
    }
}

#[test]
fn link_local_source_is_not_advertised() {
    let mut host = TestHost::default().with_interface("eth0", "10.0.0.5");
    // A router was heard, but there is no global prefix.
    host.routes.insert(ip("2001:db8::1"), ip("fe80::5"));
    let chosen = FOUND.choose(&[], &host).unwrap();
    assert_eq!(chosen.address, ip("10.0.0.5"));
}

#[test]
fn own_address_among_the_seeds_comes_after_a_route() {
    let host = host().with_interface("eth1", "10.1.0.5");
    let chosen = FOUND.choose(&seeds(&["10.1.0.5"]), &host).unwrap();
    assert_eq!(chosen.address, ip("10.1.0.5"));
    assert_eq!(chosen.source, AddressSource::Joined);
    let chosen = FOUND
        .choose(&seeds(&["10.1.0.5", "10.0.0.6"]), &host)
        .unwrap();
    assert_eq!(chosen.address, ip("10.0.0.5"));
}

#[test]
fn family_is_the_configured_one() {
    let host = host()
        .with_interface("eth0", "fd00::5")
        .with_default("fd00::5");
    let both = seeds(&["10.0.0.6", "fd00::6"]);
    for (family, expected) in [
        (Some(IpFamily::Ipv4), "10.0.0.5"),
        (Some(IpFamily::Ipv6), "fd00::5"),
        (None, "10.0.0.5"),
    ] {
        let policy = AddressPolicy {
            given: None,
            family,
        };
        for seeds in [&both[..], &[]] {
            assert_eq!(policy.choose(seeds, &host).unwrap().address, ip(expected));
        }
    }
}

#[test]
fn seed_that_resolves_later_gives_a_better_address() {
    let host = host().with_interface("eth1", "10.1.0.5");
    let before = FOUND.choose(&[], &host).unwrap();
    assert_eq!(before.address, ip("10.0.0.5"));
    let after = FOUND.better_than(&before, &seeds(&["10.1.0.6"]), &host);
    assert_eq!(after.unwrap().address, ip("10.1.0.5"));
}

#[test]
fn network_that_comes_later_is_better_than_loopback() {
    let own_name = seeds(&["127.0.1.1"]);
    let before = FOUND.choose(&own_name, &TestHost::default()).unwrap();
    let after = FOUND.better_than(&before, &own_name, &host());
    assert_eq!(after.unwrap().address, ip("10.0.0.5"));
}

#[test]
fn equally_good_address_is_no_reason_to_move() {
    let host = host().with_interface("eth1", "10.1.0.5");
    let before = FOUND
        .choose(&seeds(&["10.0.0.6", "10.1.0.6"]), &host)
        .unwrap();
    let turned = seeds(&["10.1.0.6", "10.0.0.6"]);
    assert_eq!(FOUND.better_than(&before, &turned, &host), None);
    // The names may not resolve for a while.
    assert_eq!(FOUND.better_than(&before, &[], &host), None);
}

#[test]
fn lost_address_is_replaced_by_one_as_good() {
    let own_name = seeds(&["127.0.1.1"]);
    let lost = FOUND.choose(&own_name, &host()).unwrap();
    let after = TestHost::default()
        .with_interface("eth0", "10.2.0.5")
        .with_default("10.2.0.5");
    let found = FOUND.replacement(&lost, &own_name, &after).unwrap();
    assert_eq!(found.address, ip("10.2.0.5"));
}

#[test]
fn lost_address_is_not_replaced_by_a_worse_one() {
    let own_name = seeds(&["127.0.1.1"]);
    let bridge = TestHost::default().with_interface("docker0", "172.17.0.1");
    let lost = FOUND.choose(&own_name, &host()).unwrap();
    for host in [&TestHost::default(), &bridge] {
        assert_eq!(FOUND.replacement(&lost, &own_name, host), None);
    }
    // There was no route before, either.
    let isolated = TestHost::default().with_interface("eth0", "10.0.0.5");
    let lost = FOUND.choose(&own_name, &isolated).unwrap();
    let after = TestHost::default().with_interface("eth0", "10.0.0.55");
    let found = FOUND.replacement(&lost, &own_name, &after).unwrap();
    assert_eq!(found.address, ip("10.0.0.55"));
    assert_eq!(
        FOUND.replacement(&lost, &own_name, &TestHost::default()),
        None
    );
}

#[test]
fn lost_address_is_not_replaced_by_one_of_the_other_family() {
    let lost = FOUND.choose(&[], &host()).unwrap();
    let after = TestHost::default()
        .with_interface("eth0", "fd00::5")
        .with_default("fd00::5");
    assert_eq!(FOUND.replacement(&lost, &[], &after), None);
    let both = after
        .with_interface("eth0", "10.2.0.5")
        .with_default("10.2.0.5");
    let found = FOUND.replacement(&lost, &[], &both).unwrap();
    assert_eq!(found.address, ip("10.2.0.5"));
}

#[test]
fn ipv4_that_comes_after_ipv6_is_better_before_the_mesh() {
    let slaac = TestHost::default()
        .with_interface("eth0", "fd00::5")
        .with_default("fd00::5");
    let present = FOUND.choose(&[], &slaac).unwrap();
    assert_eq!(present.address, ip("fd00::5"));
    assert_eq!(FOUND.better_than(&present, &[], &slaac), None);
    let both = slaac
        .with_interface("eth0", "10.0.0.5")
        .with_default("10.0.0.5");
    let better = FOUND.better_than(&present, &[], &both).unwrap();
    assert_eq!(better.address, ip("10.0.0.5"));
    assert_eq!(FOUND.better_than(&better, &[], &both), None);

    let mut in_mesh = FOUND;
    in_mesh.keep_family_of(present.address);
    assert_eq!(in_mesh.better_than(&present, &[], &both), None);
    let names = seeds(&["fd01::6", "10.0.0.6"]);
    let present = FOUND.choose(&names, &both).unwrap();
    assert_eq!(present.address, ip("fd00::5"));
    assert_eq!(FOUND.better_than(&present, &names, &both), None);
}

#[test]
fn loopback_seed_leads_to_the_address_of_this_host() {
    let own: SocketAddr = "10.0.0.5:9877".parse().unwrap();
    let found = |seeds: &[&str], own| {
        let seeds: Vec<SocketAddr> = seeds.iter().map(|seed| seed.parse().unwrap()).collect();
        let found = reachable(&seeds, own).into_iter();
        found.map(|seed| seed.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(found(&["127.0.0.1:9887"], own), ["10.0.0.5:9887"]);
    // The own name, in both families.
    assert_eq!(
        found(&["127.0.1.1:9877", "[::1]:9877"], own),
        ["10.0.0.5:9877"]
    );
    assert_eq!(
        found(&["10.0.0.6:9877", "[fd00::6]:9877"], own),
        ["10.0.0.6:9877"]
    );
    // In a mesh on loopback, each agent has an address of its own.
    let own = "127.0.0.1:9877".parse().unwrap();
    assert_eq!(found(&["127.0.0.2:9877"], own), ["127.0.0.2:9877"]);
}

#[test]
fn interface_of_containers_is_the_last_resort() {
    for name in ["docker0", "br-3f2a9c01d7e4", "virbr0", "cni0", "kube-ipvs0"] {
        let containers = TestHost::default().with_interface(name, "172.17.0.1");
        let present = FOUND.choose(&[], &containers).unwrap();
        assert_eq!(present.address, ip("172.17.0.1"), "{name}");
        let both = containers.with_interface("eth0", "10.0.0.5");
        assert_eq!(
            FOUND.choose(&[], &both).unwrap().address,
            ip("10.0.0.5"),
            "{name}"
        );
        let better = FOUND.better_than(&present, &[], &both).unwrap();
        assert_eq!(better.address, ip("10.0.0.5"), "{name}");
    }
}

#[test]
fn interface_without_carrier_is_the_last_resort() {
    let mut host = TestHost::default()
        .with_interface("eth0", "10.0.0.5")
        .with_interface("eth1", "10.1.0.5");
    host.interfaces[0].is_running = false;
    assert_eq!(FOUND.choose(&[], &host).unwrap().address, ip("10.1.0.5"));
}

#[test]
fn interfaces_that_cannot_be_listed_are_the_reason() {
    let host = TestHost {
        is_unlisted: true,
        ..TestHost::default()
    };
    let reason = FOUND.choose(&[], &host).unwrap_err().to_string();
    assert!(
        reason.contains("cannot be listed (permission denied)"),
        "{reason}"
    );
}

#[test]
fn loopback_is_a_problem_if_agents_to_join_are_elsewhere() {
    let problem = |address: &str, is_given, seeds: &[SocketAddr], is_any_unknown| {
        AddressProblem::of_loopback(ip(address), is_given, seeds, is_any_unknown).is_some()
    };
    assert!(problem("127.0.0.1", true, &seeds(&["10.0.0.6"]), false));
    assert!(problem("::1", false, &seeds(&["fd00::6"]), false));
    assert!(problem("127.0.0.1", false, &seeds(&["127.0.1.1"]), true));
    assert!(!problem("127.0.0.1", false, &seeds(&["127.0.1.1"]), false));
    assert!(!problem("127.0.0.1", true, &seeds(&["127.0.0.2"]), true));
    assert!(!problem("10.0.0.5", false, &seeds(&["10.0.0.6"]), true));
}

proptest! {
    /// Whatever the names resolve to, and whatever the host has.
    #[test]
    fn choice_is_usable_and_final(host in any_host(), names in any_seeds()) {
        let Ok(chosen) = FOUND.choose(&names, &host) else {
            prop_assert_eq!(host.best_but_loopback(), None);
            return Ok(());
        };
        let is_link_local = matches!(chosen.address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        prop_assert!(!is_link_local && !chosen.address.is_unspecified(), "{:?}", chosen);
        if chosen.address.is_loopback() {
            prop_assert_eq!(host.best_but_loopback(), None);
        }
        prop_assert_eq!(FOUND.better_than(&chosen, &names, &host), None);
        let mut turned = names;
        turned.reverse();
        prop_assert_eq!(FOUND.better_than(&chosen, &turned, &host), None);
    }
}

/// A host of a test: the source address on the way to each destination, and its interfaces.
#[derive(Clone, Debug, Default)]
struct TestHost {
    routes: BTreeMap<IpAddr, IpAddr>,
    default: Vec<IpAddr>,
    interfaces: Vec<InterfaceAddress>,
    is_unlisted: bool,
}

impl TestHost {
    /// Adds an interface, and the route to its network: the first half of the address.
    fn with_interface(mut self, name: &str, address: &str) -> Self {
        self.interfaces.push(InterfaceAddress {
            interface: name.to_owned(),
            is_running: true,
            address: ip(address),
        });
        self
    }

    fn with_default(mut self, source: &str) -> Self {
        self.default.push(ip(source));
        self
    }

    fn best_but_loopback(&self) -> Option<IpAddr> {
        let interfaces = self.interfaces.iter().map(|found| found.address);
        self.default.iter().copied().chain(interfaces).next()
    }
}

impl Host for TestHost {
    fn source_address(&self, destination: SocketAddr) -> Option<IpAddr> {
        let to = destination.ip();
        if to.is_loopback() || to.is_unspecified() {
            return Some(ip(if to.is_ipv4() { "127.0.0.1" } else { "::1" }));
        }
        let on_link = self
            .interfaces
            .iter()
            .map(|own| own.address)
            .find(|own| network(*own) == network(to));
        self.routes.get(&to).copied().or(on_link).or_else(|| {
            let mut default = self.default.iter();
            default.find(|own| own.is_ipv4() == to.is_ipv4()).copied()
        })
    }

    fn interface_addresses(&self) -> io::Result<Vec<InterfaceAddress>> {
        if self.is_unlisted {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(self.interfaces.clone())
    }
}

fn network(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets()[..2].to_vec(),
        IpAddr::V6(v6) => v6.octets()[..8].to_vec(),
    }
}

fn any_host() -> impl Strategy<Value = TestHost> {
    let addresses = prop::sample::subsequence(vec!["10.0.0.5", "10.1.0.5", "fd00::5"], 0..=3);
    (addresses, any::<bool>()).prop_map(|(addresses, has_default)| {
        let mut host = TestHost::default();
        for address in &addresses {
            host = host.with_interface("eth", address);
        }
        match addresses.first() {
            Some(first) if has_default => host.with_default(first),
            _ => host,
        }
    })
}

fn any_seeds() -> impl Strategy<Value = Vec<SocketAddr>> {
    let all = vec![
        "127.0.0.1",
        "127.0.1.1",
        "::1",
        "0.0.0.0",
        "fe80::6",
        "10.0.0.5",
        "10.0.0.6",
        "10.1.0.6",
        "10.7.0.6",
        "fd00::6",
    ];
    prop::sample::subsequence(all, 0..=5)
        .prop_shuffle()
        .prop_map(|all| seeds(&all))
}

fn seeds(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses
        .iter()
        .map(|address| SocketAddr::new(ip(address), 1))
        .collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
