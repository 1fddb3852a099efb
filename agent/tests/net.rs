//! The addresses to listen on, the resolution of the agents to join, and addresses that this host
//! does not have.
//! The tests need nothing but a loopback interface.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use iperf3_mesh::config::{JoinTarget, Ports};
use iperf3_mesh::discovery::addresses::resolve;
use iperf3_mesh::net::ListenAddrs;
use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::{Network, Program, SOON, await_that, http};
use serde_json::Value;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn targets_resolve_in_order_with_ports_and_no_duplicates() {
    let targets = [
        target("127.0.0.1", 7),
        target("127.0.0.2", 0),
        target("::1", 0),
        target("127.0.0.1", 7),
        target("::ffff:127.0.0.1", 7),
    ];
    let resolved = resolve(&targets, 9, DEADLINE).await;
    let seen: Vec<String> = resolved.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(seen, ["127.0.0.1:7", "127.0.0.2:9", "[::1]:9"]);
    assert!(resolved.failures.is_empty());
}

#[tokio::test]
async fn name_resolves_to_its_addresses() {
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
async fn unknown_name_does_not_affect_the_others() {
    let targets = [target("nobody.invalid", 3), target("127.0.0.1", 7)];
    let resolved = resolve(&targets, 9, DEADLINE).await;
    assert_eq!(resolved.addresses, [SocketAddr::new(LOOPBACK, 7)]);
    let [failure] = resolved.failures.try_into().unwrap();
    assert!(
        failure
            .to_string()
            .starts_with("cannot resolve nobody.invalid:3 of --join (MESH_JOIN): "),
        "{failure}"
    );
}

#[test]
fn only_http_listens_beyond_the_advertised_address() {
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

#[test]
fn foreign_advertise_address_is_reported_with_the_option() {
    let free = TcpListener::bind("0.0.0.0:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ended = Program::run(
        &[
            "agent",
            "--discovery=static",
            "--advertise-address=192.0.2.1",
            &format!("--listen-port={}", free.port()),
        ],
        SOON,
    );
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let hint = "192.0.2.1 is not an address of this host; \
                set --advertise-address (MESH_ADVERTISE_ADDRESS)";
    assert!(ended.stderr.contains(hint), "{ended:?}");
}

#[test]
fn unresolved_name_is_shown_by_readyz_and_the_members() {
    let agent = Agent::start(Network::draw(), 1, "n1", &["--join=nobody.invalid"]);
    let readiness = || http::ask(agent.http(), "/readyz").unwrap_or_default();
    await_that(
        "the unresolved name",
        SOON,
        || readiness().1.contains("do not resolve: nobody.invalid"),
        || agent.program.stderr(),
    );
    assert_eq!(readiness().0, 200);
    let members: Value = serde_json::from_str(&agent.get("/api/v1/members").unwrap()).unwrap();
    assert_eq!(
        members["unresolved_join"],
        serde_json::json!(["nobody.invalid"])
    );
    let log = || agent.program.stderr();
    let warnings = || log().matches("cannot resolve nobody.invalid").count();
    await_that("one warning", SOON, || warnings() == 1, log);
}

fn target(host: &str, port: u16) -> JoinTarget {
    JoinTarget {
        host: host.to_owned(),
        port: port.try_into().ok(),
    }
}
