//! Addresses as a machine without any configuration finds them: its loopback is all that the tests
//! rely on.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use iperf3_mesh::config::{IpFamily, JoinTarget, Ports};
use iperf3_mesh::discovery::addresses::resolve;
use iperf3_mesh::net::{AddressSource, ListenAddrs, advertise_address};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DEADLINE: Duration = Duration::from_secs(5);

fn target(host: &str, port: u16) -> JoinTarget {
    JoinTarget {
        host: host.to_owned(),
        port: port.try_into().ok(),
    }
}

#[test]
fn a_given_address_is_taken() {
    let given: IpAddr = "192.0.2.7".parse().unwrap();
    let advertised = advertise_address(Some(given), None, &[SocketAddr::new(LOOPBACK, 1)]).unwrap();
    assert_eq!(
        (advertised.address, advertised.source),
        (given, AddressSource::Given)
    );
}

#[test]
fn the_address_on_the_route_to_the_first_seed_is_found() {
    let seed = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 9).into(), 9877);
    let advertised = advertise_address(None, None, &[seed]).unwrap();
    assert!(advertised.address.is_loopback());
    assert_eq!(
        advertised.source.to_string(),
        "found on the route to 127.0.0.9:9877"
    );
}

#[test]
fn where_a_family_is_named_the_other_is_not_looked_at() {
    let seeds = [
        SocketAddr::new(Ipv4Addr::new(127, 0, 0, 9).into(), 9877),
        SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 9877),
    ];
    let has_ipv6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    let families = [(IpFamily::Ipv4, seeds[0]), (IpFamily::Ipv6, seeds[1])];
    for (family, seed) in families.into_iter().take(1 + usize::from(has_ipv6)) {
        let advertised = advertise_address(None, Some(family), &seeds).unwrap();
        assert!(family.has(advertised.address), "{advertised:?}");
        assert_eq!(advertised.source, AddressSource::RouteTo(seed));
    }
    // No IPv6 is found by way of an IPv4 seed; a machine may have none.
    match advertise_address(None, Some(IpFamily::Ipv6), &seeds[..1]) {
        Ok(found) => assert!(found.address.is_ipv6(), "{found:?}"),
        Err(none) => assert!(
            none.to_string().contains("--ip-family (MESH_IP_FAMILY)"),
            "{none}"
        ),
    }
}

#[test]
fn without_a_seed_an_address_is_never_one_that_nobody_can_reach() {
    // A machine without any network has none, and must say so.
    match advertise_address(None, None, &[]) {
        Ok(found) => {
            assert!(
                !found.address.is_loopback() && !found.address.is_unspecified(),
                "{found:?}"
            );
        }
        Err(none) => {
            assert!(
                none.to_string()
                    .contains("--advertise-address (MESH_ADVERTISE_ADDRESS)")
            );
        }
    }
}

#[tokio::test]
async fn each_target_gets_its_port_and_each_address_comes_once() {
    let targets = [
        target("127.0.0.1", 7),
        target("127.0.0.2", 0),
        target("::1", 0),
        target("127.0.0.1", 7),
    ];
    let resolved = resolve(&targets, 9, DEADLINE).await;
    let seen: Vec<String> = resolved.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(seen, ["127.0.0.1:7", "127.0.0.2:9", "[::1]:9"]);
    assert!(resolved.failures.is_empty());
}

#[tokio::test]
async fn a_name_means_its_addresses() {
    let resolved = resolve(&[target("localhost", 0)], 9, DEADLINE).await;
    assert!(!resolved.addresses.is_empty());
    assert!(
        resolved
            .addresses
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 9)
    );
}

#[tokio::test]
async fn a_name_that_is_unknown_spoils_no_other() {
    let targets = [target("nobody.invalid", 3), target("127.0.0.1", 7)];
    let resolved = resolve(&targets, 9, DEADLINE).await;
    assert_eq!(resolved.addresses, [SocketAddr::new(LOOPBACK, 7)]);
    let [failure] = resolved.failures.try_into().unwrap();
    assert!(
        failure
            .to_string()
            .starts_with("nobody.invalid:3, an agent to join, has no address: "),
        "{failure}"
    );
}

#[test]
fn only_the_metrics_are_open_beyond_the_advertised_address() {
    let ports = Ports {
        listen: 1,
        control: 2,
        gossip: 3,
        iperf: 4..=5,
    };
    let shown = |address: &str| {
        let listen = ListenAddrs::new(address.parse().unwrap(), &ports);
        [listen.http, listen.control, listen.gossip].map(|at| at.to_string())
    };
    assert_eq!(
        shown("192.0.2.7"),
        ["0.0.0.0:1", "192.0.2.7:2", "192.0.2.7:3"]
    );
    assert_eq!(
        shown("2001:db8::7"),
        ["[::]:1", "[2001:db8::7]:2", "[2001:db8::7]:3"]
    );
    assert_eq!(
        shown("127.0.0.7"),
        ["127.0.0.7:1", "127.0.0.7:2", "127.0.0.7:3"]
    );
}
