//! Tests of the rules for the address of a member.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;

use super::*;

const V4: &str = "198.18.0.1";
const V6: &str = "2001:db8::1";

#[test]
fn address_of_no_single_other_host_is_refused() {
    use AddressProblem::{Broadcast, LinkLocal, Loopback, Metadata, Multicast, Unspecified};
    for (ip, problem) in [
        ("0.0.0.0", Unspecified),
        ("0.1.2.3", Unspecified),
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("169.254.0.7", LinkLocal),
        ("169.254.169.254", Metadata),
        ("169.254.170.2", Metadata),
        ("100.100.100.200", Metadata),
        ("168.63.129.16", Metadata),
        ("192.0.0.192", Metadata),
        ("224.0.0.1", Multicast),
        ("239.255.255.255", Multicast),
        ("255.255.255.255", Broadcast),
    ] {
        assert_eq!(check(V4, ip), Err(problem), "{ip}");
        let mapped = format!("::ffff:{ip}");
        assert_eq!(check(V4, &mapped), Err(problem), "{mapped}");
    }
}

#[test]
fn ipv6_address_of_no_single_other_host_is_refused() {
    use AddressProblem::{
        Broadcast, LinkLocal, Loopback, Metadata, Multicast, Translated, Unspecified,
    };
    for (ip, problem) in [
        ("::", Unspecified),
        ("::1", Loopback),
        ("fe80::1", LinkLocal),
        ("febf::1", LinkLocal),
        ("ff02::1", Multicast),
        ("fd00:ec2::254", Metadata),
        ("fd00:ec2::23", Metadata),
        ("fd20:ce::254", Metadata),
        ("::127.0.0.1", Translated),
        ("::ffff:0:169.254.169.254", Translated),
        ("64:ff9b::169.254.169.254", Translated),
        ("64:ff9b:1::a00:1", Translated),
        ("2002:7f00:1::1", Loopback),
        ("2002:a9fe:a9fe::1", Metadata),
        ("2002:ffff:ffff::1", Broadcast),
    ] {
        assert_eq!(check(V6, ip), Err(problem), "{ip}");
    }
}

#[test]
fn address_of_another_host_is_allowed() {
    for ip in ["10.0.0.1", "240.0.0.1", "100.64.0.1", "198.18.0.255", V4] {
        assert_eq!(check(V4, ip), Ok(()), "{ip}");
    }
    for ip in ["fd00::1", "2600::1", "2002:c612:1::1", "64:ff9c::1", V6] {
        assert_eq!(check(V6, ip), Ok(()), "{ip}");
    }
}

#[test]
fn loopback_is_allowed_among_agents_of_one_host_only() {
    assert_eq!(check("127.0.0.1", "127.0.0.2"), Ok(()));
    assert_eq!(check("::1", "::1"), Ok(()));
    let refused = Err(AddressProblem::Loopback);
    assert_eq!(check("127.0.0.1", V4), refused);
    assert_eq!(check("::1", V6), refused);
}

#[test]
fn link_local_address_is_allowed_among_agents_of_one_link() {
    assert_eq!(check("169.254.3.1", "169.254.3.2"), Ok(()));
    assert_eq!(check("169.254.3.1", V4), Ok(()));
    let metadata = Err(AddressProblem::Metadata);
    assert_eq!(check("169.254.3.1", "169.254.169.254"), metadata);
}

#[test]
fn address_of_the_other_family_is_refused() {
    let refused = Err(AddressProblem::OtherFamily);
    assert_eq!(check(V4, V6), refused);
    assert_eq!(check(V6, V4), refused);
    assert_eq!(check(V6, "::ffff:198.18.0.1"), refused);
}

#[test]
fn address_outside_the_given_networks_is_refused() {
    let rules = rules_within(V4, &["198.18.0.0/24", "10.0.0.0/8"]);
    for ip in ["198.18.0.7", "10.255.0.1", "::ffff:10.0.0.1"] {
        assert_eq!(rules.allows(ip.parse().unwrap()), Ok(()), "{ip}");
    }
    for ip in ["198.18.1.1", "11.0.0.1"] {
        let refused = Err(AddressProblem::OutsidePeerCidr);
        assert_eq!(rules.allows(ip.parse().unwrap()), refused, "{ip}");
    }
}

#[test]
fn given_network_does_not_admit_a_special_address() {
    let rules = rules_within(V4, &["0.0.0.0/0"]);
    let metadata = "169.254.169.254".parse().unwrap();
    assert_eq!(rules.allows(metadata), Err(AddressProblem::Metadata));
}

#[test]
fn listed_member_needs_the_address_of_its_own_pod() {
    let rules = listed(
        rules(V4),
        Listed::nodes([
            (name("a"), ip("198.18.0.1")),
            (name("b"), ip("198.18.0.2")),
            (name("b"), ip("198.18.0.3")),
        ]),
    );
    assert_eq!(rules.admits(&name("b"), ip("198.18.0.2")), Ok(()));
    assert_eq!(rules.admits(&name("b"), ip("::ffff:198.18.0.3")), Ok(()));
    let unlisted = Err(AddressProblem::Unlisted);
    assert_eq!(rules.admits(&name("b"), ip("198.18.0.1")), unlisted);
    assert_eq!(rules.admits(&name("c"), ip("198.18.0.2")), unlisted);
    assert_eq!(rules.admits(&name("b"), ip("198.18.0.9")), unlisted);
    assert_eq!(rules.allows(ip("198.18.0.3")), Ok(()));
    assert_eq!(rules.allows(ip("198.18.0.9")), unlisted);
}

#[test]
fn listed_address_without_a_name_admits_any_name() {
    let rules = listed(rules(V4), Listed::pods([ip("198.18.0.2")]));
    assert_eq!(rules.admits(&name("b"), ip("198.18.0.2")), Ok(()));
    let unlisted = Err(AddressProblem::Unlisted);
    assert_eq!(rules.admits(&name("b"), ip("198.18.0.3")), unlisted);
}

#[test]
fn empty_list_admits_nobody_but_given_networks() {
    let nobody = listed(rules(V4), Listed::default());
    let unlisted = Err(AddressProblem::Unlisted);
    assert_eq!(nobody.admits(&name("b"), ip("198.18.0.2")), unlisted);
    assert_eq!(nobody.allows(ip(V4)), Ok(()), "the own address");
    let given = listed(rules_within(V4, &["198.18.0.0/24"]), Listed::default());
    assert_eq!(given.admits(&name("b"), ip("198.18.0.2")), Ok(()));
    assert_eq!(given.admits(&name("b"), ip("198.18.1.2")), unlisted);
}

#[test]
fn agents_to_join_count_until_the_pods_are_listed() {
    let (seed, other) = (ip("198.18.0.2"), ip("198.18.0.3"));
    let mut rules = listed(rules(V4), Listed::default());
    assert!(rules.set_seeds([seed], true));
    assert_eq!(rules.admits(&name("b"), seed), Ok(()));
    assert!(!rules.set_seeds([], false), "DNS is down");
    assert_eq!(rules.admits(&name("b"), seed), Ok(()));
    assert!(rules.set_seeds([other], true));
    let unlisted = Err(AddressProblem::Unlisted);
    assert_eq!(rules.admits(&name("b"), seed), unlisted);
    assert!(rules.set_listed(Listed::nodes([(name("b"), seed)])));
    assert!(!rules.set_seeds([other], true));
    assert_eq!(rules.admits(&name("b"), seed), Ok(()));
    assert_eq!(rules.admits(&name("c"), other), unlisted);
}

#[test]
fn listed_special_address_is_refused() {
    let metadata = ip("169.254.169.254");
    let rules = listed(rules(V4), Listed::nodes([(name("b"), metadata)]));
    let refused = Err(AddressProblem::Metadata);
    assert_eq!(rules.admits(&name("b"), metadata), refused);
}

proptest! {
    #[test]
    fn allowed_address_is_that_of_one_other_host(bits: u32) {
        let ip = std::net::Ipv4Addr::from_bits(bits);
        if check(V4, &ip.to_string()).is_ok() {
            prop_assert!(!ip.is_loopback() && !ip.is_link_local() && !ip.is_multicast());
            prop_assert!(!ip.is_broadcast() && !ip.is_unspecified());
        }
    }

    #[test]
    fn allowed_ipv6_address_is_that_of_one_other_host(bits: u128) {
        let ip = std::net::Ipv6Addr::from_bits(bits);
        if check(V6, &ip.to_string()).is_ok() {
            prop_assert!(!ip.is_loopback() && !ip.is_unicast_link_local());
            prop_assert!(!ip.is_multicast() && !ip.is_unspecified());
            prop_assert!(ip.to_ipv4_mapped().is_none());
        }
    }

    #[test]
    fn notation_of_an_address_makes_no_difference(bits: u32, own_bits: u32) {
        let plain = std::net::Ipv4Addr::from_bits(bits);
        let own = IpAddr::V4(std::net::Ipv4Addr::from_bits(own_bits));
        let rules = AddressRules::new(own, []);
        let mapped = IpAddr::V6(plain.to_ipv6_mapped());
        prop_assert_eq!(rules.allows(plain.into()), rules.allows(mapped));
    }

    #[test]
    fn admitted_member_has_an_allowed_address(bits: u32, in_list: bool, last in 1u8..5) {
        let own = ip(V4);
        let pod = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, last));
        let other = IpAddr::V4(std::net::Ipv4Addr::from_bits(bits));
        let rules = listed(AddressRules::new(own, []), Listed::nodes([(name("b"), pod)]));
        let candidate = if in_list { pod } else { other };
        if rules.admits(&name("b"), candidate).is_ok() {
            prop_assert_eq!(rules.allows(candidate), Ok(()));
        }
    }
}

fn check(own: &str, ip: &str) -> Result<(), AddressProblem> {
    rules(own).allows(self::ip(ip))
}

fn rules(own: &str) -> AddressRules {
    rules_within(own, &[])
}

fn rules_within(own: &str, cidrs: &[&str]) -> AddressRules {
    let cidrs: Vec<IpNet> = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
    AddressRules::new(own.parse().unwrap(), cidrs)
}

fn listed(mut rules: AddressRules, listed: Listed) -> AddressRules {
    rules.set_listed(listed);
    rules
}

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
