//! End to end: members at addresses that are not theirs, and messages in the name of others. The
//! agents run in network namespaces, and the test forges what a hostile host would send.
//!
//! The tests need the right to make network namespaces, and say what is missing if they cannot get
//! it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use iperf3_mesh_core::gossip::{Gossip, GossipConfig, Security};
use iperf3_mesh_core::seal::Signer;
use iperf3_mesh_core::{AddressRules, MeshName, NodeName};
use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::lab::hosts::{Host, Lab};
use iperf3_mesh_testkit::{await_that, lab_test};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(90);

lab_test!(
    member_outside_the_given_networks_gets_no_packet,
    Shared,
    [50; 5],
    |lab| {
        let peers = "--peer-cidr=198.18.0.1,198.18.0.2/32";
        let [one, two] = pair(lab, &[peers]);
        let before = packets_received(lab.host("n3"));
        let _forged = forge(lab.host("n4"), "evil", lab.host("n3").address);
        let _outside = forge(lab.host("n5"), "far", lab.host("n5").address);
        let refused = |agent| is_refused(agent, "address");
        await_that(
            "the forged members are refused",
            SOON,
            || refused(&one) && refused(&two),
            || one.program.stderr() + &two.program.stderr(),
        );
        let sweep = one.metric("iperf_mesh_sweep");
        await_that(
            "three more sweeps are over",
            SOON,
            || one.metric("iperf_mesh_sweep") >= sweep.map(|sweep| sweep + 3.0),
            || one.program.stderr(),
        );
        assert_eq!(packets_received(lab.host("n3")), before);
        assert_eq!(one.states().len(), 2, "{:?}", one.states());
        for agent in [&one, &two] {
            let tests = "iperf_mesh_tests_total";
            let failures = agent.labelled(tests, &[("outcome", "failure"), ("protocol", "tcp")]);
            assert_eq!(failures.unwrap_or_default(), 0.0);
        }
    }
);

lab_test!(
    message_in_the_name_of_a_member_counts_from_its_address,
    Shared,
    [50; 3],
    |lab| {
        let [one, _two] = pair(lab, &[]);
        // The epochs are those of no agent: the address comes first.
        let message = r#"{"wire":4,"from":"n2","from_epoch":1,"to":"n1","to_epoch":1,"sweep":7,"body":"sweep"}"#;
        let control = SocketAddr::from((lab.host("n1").address, 9878));
        let foreign = &[("reason", "foreign_source")];
        let rejected = || one.labelled("iperf_mesh_rejected_messages_total", foreign);
        assert_eq!(post(lab.host("n2"), control, message), 421);
        assert_eq!(rejected(), None);
        assert_eq!(post(lab.host("n3"), control, message), 403);
        assert_eq!(rejected(), Some(1.0));
    }
);

lab_test!(
    host_that_would_send_from_another_address_is_met,
    Shared,
    [50; 2],
    |lab| {
        let host = &lab.host("n2").namespace;
        host.run("ip addr add 198.18.1.2/32 dev eth0");
        host.run("ip route replace 198.18.0.0/15 dev eth0 src 198.18.1.2");
        let [one, two] = pair(lab, &["--advertise-address=198.18.0.2"]);
        for agent in [&one, &two] {
            let foreign = &[("reason", "foreign_source")];
            let rejected = agent.labelled("iperf_mesh_rejected_messages_total", foreign);
            assert_eq!(rejected, None);
        }
    }
);

/// Agents on n1 and n2 that have measured each other. Only n2 gets the option for its address.
fn pair(lab: &Lab, args: &[&str]) -> [Agent; 2] {
    let is_own = |arg: &&str| arg.starts_with("--advertise-address");
    let common: Vec<&str> = args.iter().copied().filter(|arg| !is_own(arg)).collect();
    let join = "--join=198.18.0.1,198.18.0.2";
    let start = |name: &str, args: &[&str]| {
        Agent::start_without_address(lab.host(name), &[&[join], args].concat())
    };
    let agents = [start("n1", &common), start("n2", args)];
    await_that(
        "both have measured each other",
        SOON,
        || agents.iter().all(|agent| agent.good_cells().len() == 2),
        || agents.iter().map(|agent| agent.program.stderr()).collect(),
    );
    agents
}

/// Whether the agent has refused gossip for this reason.
fn is_refused(agent: &Agent, reason: &str) -> bool {
    let refused = agent.labelled("iperf_mesh_gossip_refused_total", &[("reason", reason)]);
    refused.is_some_and(|count| count > 0.0)
}

/// Gossips from `host` as a member that claims to be at `victim`, until the result is dropped.
fn forge(host: &Host, name: &str, victim: Ipv4Addr) -> Forged {
    let (namespace, own) = (host.namespace.clone(), host.address);
    let name = NodeName::new(name).unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let thread = thread::spawn(move || {
        let config = GossipConfig {
            mesh: MeshName::default(),
            name,
            signer: Arc::new(Signer::new(&[66; 32])),
            generation: 1,
            zone: String::new(),
            advertise: (victim, 9877).into(),
            rules: AddressRules::new(victim.into(), Arc::default()),
            listen: (own, 9877).into(),
            control: (victim, 9878).into(),
            http_port: 9876,
            security: Security::Insecure,
            iperf3: String::new(),
            interval: Duration::from_millis(200),
            members_max: 100,
        };
        let gossip = async {
            let gossip = Gossip::over_udp(config).await.unwrap();
            while !stopped.is_cancelled() {
                gossip.join(&[
                    ([198, 18, 0, 1], 9877).into(),
                    ([198, 18, 0, 2], 9877).into(),
                ]);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        namespace.inside(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(gossip);
        });
    });
    Forged {
        stop,
        thread: Some(thread),
    }
}

struct Forged {
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Forged {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// The datagrams and segments that a host has received, also for ports that nobody listens on.
fn packets_received(host: &Host) -> BTreeMap<String, u64> {
    let counters = ["Udp InDatagrams", "Udp NoPorts", "Tcp InSegs"];
    let table = host
        .namespace
        .inside(|| fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let lines: Vec<&str> = table.lines().collect();
    let (names, values): (Vec<_>, Vec<_>) =
        lines.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip();
    let columns = names.into_iter().zip(values).flat_map(|(names, values)| {
        let (protocol, names) = names.split_once(": ").unwrap();
        let values = values.split(' ').skip(1);
        names
            .split(' ')
            .map(move |name| format!("{protocol} {name}"))
            .zip(values)
    });
    columns
        .filter(|(name, _)| counters.contains(&name.as_str()))
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

/// Posts a message from `host`, and returns the status of the answer.
fn post(host: &Host, to: SocketAddr, message: &str) -> u16 {
    let answer = host.namespace.inside(|| {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        write!(
            stream,
            "POST /control/v1/message HTTP/1.0\r\nHost: {to}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{message}",
            message.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}
