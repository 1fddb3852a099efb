//! The configuration: one bad case for each rule with its message, and the values that good texts
//! come to.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::time::Duration;

use iperf3_mesh::cli::{AgentArgs, Cli, Command};
use iperf3_mesh::config::FailedCells;
use iperf3_mesh::config::{Config, Discovery, Environment, JoinTarget, LogFormat, Ports};
use iperf3_mesh::units;
use iperf3_mesh_core::Protocol;
use proptest::prelude::*;

const HOST: &str = "worker-1";

fn args(words: &[&str]) -> AgentArgs {
    let cli = Cli::read(["iperf3-mesh", "agent"].iter().chain(words)).unwrap();
    match cli.command {
        Command::Agent(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn outside() -> Environment {
    Environment {
        host_name: HOST.to_owned(),
        in_pod: false,
        has_token: false,
    }
}

fn config(words: &[&str]) -> Config {
    Config::new(&args(words), &outside()).unwrap()
}

fn problems_in(words: &[&str], env: &Environment) -> Vec<String> {
    let errors = Config::new(&args(words), env).unwrap_err();
    errors.problems().iter().map(ToString::to_string).collect()
}

fn problems(words: &[&str]) -> Vec<String> {
    problems_in(words, &outside())
}

const NAME_MEND: &str = "Set it to a name that no other node has; not set, it is the host name.";
const ADDRESS: &str = "expected an address of one node (not unspecified, multicast, broadcast or IPv6 link-local). \
    Set it to an address of this node that the others can reach, or leave it out.";
const TARGET: &str = "expected HOST or HOST:PORT. \
    Write node-1, node-1:9877, 10.0.0.1:9877, fd00::1 or [fd00::1]:9877; several with commas between.";
const NAMESPACE: &str = "expected the name of a namespace: lower-case letters, digits and -, at most 63. \
    `kubectl get namespaces` lists them.";
const SELECTOR: &str = "expected a label selector such as app=x,tier!=y or zone in (a,b). \
    Try it with `kubectl get pods --selector`.";
const PORT: &str = "expected a number from 1 to 65535. Set it within that range.";
const APART: &str = "Give each its own number.";
const DURATION: &str = "expected a duration. Write it as 500ms, 5s, 2m or 1h, or as plain seconds.";
const BITRATE: &str = "expected a bitrate. Write it as 500k, 10M or 1G, or as plain bit/s.";
const WHOLE: &str =
    "iperf3 counts in whole seconds, and a longer test would hold both nodes for too long.";
const SLOW: &str = "some seconds more let a slow connection end by itself.";

/// A command line with one fault, what the message calls the option and its value, and the rest of
/// the message.
type Case<'a> = (&'a [&'a str], &'a str, String);

fn expect(cases: &[Case<'_>]) {
    for (words, option, rest) in cases {
        assert_eq!(problems(words), [format!("{option}: {rest}")], "{words:?}");
    }
}

#[test]
fn each_rule_of_a_node_has_its_message() {
    let long = "n".repeat(254);
    let zone = "z".repeat(64);
    let zone_rest = "expected at most 63 bytes without blanks or control characters. Shorten it, or leave it empty.";
    expect(&[
        (
            &["--node-name="],
            "--node-name (SOURCE_NODE_NAME) is \"\"",
            format!("expected a name for this node; a node name must not be empty. {NAME_MEND}"),
        ),
        (
            &["--node-name=a b"],
            "--node-name (SOURCE_NODE_NAME) is \"a b\"",
            format!(
                "expected a name for this node; a node name has no blanks or control characters, this one has ' '. \
                 {NAME_MEND}"
            ),
        ),
        (
            &["--node-name", &long],
            &format!("--node-name (SOURCE_NODE_NAME) is {long:?}"),
            format!(
                "expected a name for this node; a node name has at most 253 bytes, this one has 254. {NAME_MEND}"
            ),
        ),
        (
            &["--zone=a\nb"],
            "--zone (MESH_ZONE) is \"a\\nb\"",
            zone_rest.into(),
        ),
        (
            &["--zone", &zone],
            &format!("--zone (MESH_ZONE) is {zone:?}"),
            zone_rest.into(),
        ),
        (
            &["--advertise-address=node-1"],
            "--advertise-address (MESH_ADVERTISE_ADDRESS) is \"node-1\"",
            "expected an IPv4 or IPv6 address without a port. \
             Set it to an address of this node that the others can reach, or leave it out."
                .into(),
        ),
        (
            &["--advertise-address=192.0.2.1", "--ip-family=ipv6"],
            "--advertise-address (MESH_ADVERTISE_ADDRESS) is \"192.0.2.1\"",
            "expected an address of the family that --ip-family (MESH_IP_FAMILY) names. \
             Give the node such an address, or change the family on all nodes."
                .into(),
        ),
        (
            &["--ip-family=6"],
            "--ip-family (MESH_IP_FAMILY) is \"6\"",
            "expected one of ipv4, ipv6. Choose one of them.".into(),
        ),
        (
            &["--skip-quiet-time=perhaps"],
            "--skip-quiet-time (MESH_SKIP_QUIET_TIME) is \"perhaps\"",
            "expected true or false. Leave it out for false.".into(),
        ),
    ]);
    for address in [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "fe80::1",
    ] {
        let option = format!("--advertise-address (MESH_ADVERTISE_ADDRESS) is {address:?}");
        expect(&[(&["--advertise-address", address], &option, ADDRESS.into())]);
    }
}

#[test]
fn each_rule_of_the_mesh_has_its_message() {
    for target in [
        "node:x",
        "node:0",
        "node:65536",
        ":9877",
        "[fd00::1",
        "[node]:1",
        "a b",
        "1.2.3",
        "a..b",
        "-a",
    ] {
        let option = format!("--join (MESH_JOIN) is {target:?}");
        expect(&[(&[&format!("--join={target}")], &option, TARGET.into())]);
    }
    let many = vec!["a"; 65].join(",");
    for name in ["Team", "a_b", "-a", &"n".repeat(64)] {
        let option = format!("--namespace (IPERF_SERVER_NAMESPACE) is {name:?}");
        expect(&[(&[&format!("--namespace={name}")], &option, NAMESPACE.into())]);
    }
    for selector in [
        "a in b",
        "a in (b",
        "a=b)",
        "a,,b",
        "=b",
        "a=b c",
        "!",
        "a notin b,c)",
        "x/y/z=1",
        "a=-b",
    ] {
        let option = format!("--label-selector (IPERF_SERVER_LABEL_SELECTOR) is {selector:?}");
        expect(&[(
            &[&format!("--label-selector={selector}")],
            &option,
            SELECTOR.into(),
        )]);
    }
    let silence = "expected from 1m to 30days. Take longer than a restart of a node lasts.";
    expect(&[
        (
            &["--join", &many],
            "--join (MESH_JOIN) is \"65 targets\"",
            "expected at most 64. One that answers is enough; a DNS name may stand for all.".into(),
        ),
        (
            &["--discovery=consul"],
            "--discovery (MESH_DISCOVERY) is \"consul\"",
            "expected one of kubernetes, dns, static. Choose one of them.".into(),
        ),
        (
            &["--discovery=dns"],
            "--discovery (MESH_DISCOVERY) is \"dns\"",
            "expected a name to resolve. \
             Set --join (MESH_JOIN) to a DNS name whose addresses are those of the agents."
                .into(),
        ),
        (
            &["--discovery=kubernetes"],
            "--discovery (MESH_DISCOVERY) is \"kubernetes\"",
            "expected dns or static outside of a pod, where KUBERNETES_SERVICE_HOST is not set. \
             Use static, and name the agents to join with --join (MESH_JOIN)."
                .into(),
        ),
        (
            &["--forget-after=59s"],
            "--forget-after (MESH_FORGET_AFTER) is \"59s\"",
            silence.into(),
        ),
        (
            &["--forget-after=31d"],
            "--forget-after (MESH_FORGET_AFTER) is \"31d\"",
            silence.into(),
        ),
    ]);
}

#[test]
fn kubernetes_is_the_default_where_its_api_can_be_asked() {
    let tokenless = Environment {
        in_pod: true,
        ..outside()
    };
    let inside = Environment {
        has_token: true,
        ..tokenless.clone()
    };
    let discovery =
        |words: &[&str], env: &Environment| Config::new(&args(words), env).unwrap().discovery;
    assert_eq!(discovery(&[], &inside), Discovery::Kubernetes);
    assert_eq!(discovery(&[], &tokenless), Discovery::Static);
    assert_eq!(discovery(&[], &outside()), Discovery::Static);
    assert_eq!(
        discovery(&["--discovery=dns", "--join=iperf3-mesh-peers"], &inside),
        Discovery::Dns
    );
    let message = "--discovery (MESH_DISCOVERY) is \"kubernetes\": \
        expected dns or static in a pod without the token of a ServiceAccount. Set automountServiceAccountToken: true, \
        or use dns and set --join (MESH_JOIN) to a headless Service of the agents.";
    assert_eq!(
        problems_in(&["--discovery=kubernetes"], &tokenless),
        [message]
    );
}

#[test]
fn each_rule_of_the_ports_has_its_message() {
    let listen = "expected a port other than --listen-port (LISTEN_PORT)";
    let control = "expected a port other than --control-port (MESH_CONTROL_PORT)";
    let iperf = "expected a port other than iperf3's 5201-5208";
    let count = "expected a number from 1 to 64. Set it within that range.";
    expect(&[
        (
            &["--listen-port=0"],
            "--listen-port (LISTEN_PORT) is \"0\"",
            PORT.into(),
        ),
        (
            &["--control-port=65536"],
            "--control-port (MESH_CONTROL_PORT) is \"65536\"",
            PORT.into(),
        ),
        (
            &["--gossip-port=x"],
            "--gossip-port (MESH_GOSSIP_PORT) is \"x\"",
            PORT.into(),
        ),
        (
            &["--iperf-port=0"],
            "--iperf-port (IPERF_SERVER_PORT) is \"0\"",
            PORT.into(),
        ),
        (
            &["--iperf-ports=0"],
            "--iperf-ports (IPERF_SERVER_PORTS) is \"0\"",
            count.into(),
        ),
        (
            &["--iperf-ports=65"],
            "--iperf-ports (IPERF_SERVER_PORTS) is \"65\"",
            count.into(),
        ),
        (
            &["--control-port=9876"],
            "--control-port (MESH_CONTROL_PORT) is \"9876\"",
            format!("{listen}. {APART}"),
        ),
        (
            &["--gossip-port=9878"],
            "--gossip-port (MESH_GOSSIP_PORT) is \"9878\"",
            format!("{control}. {APART}"),
        ),
        (
            &["--gossip-port=5208"],
            "--gossip-port (MESH_GOSSIP_PORT) is \"5208\"",
            format!("{iperf}. {APART}"),
        ),
        (
            &["--listen-port=5201"],
            "--listen-port (LISTEN_PORT) is \"5201\"",
            format!("{iperf}. {APART}"),
        ),
        (
            &["--iperf-port=65529"],
            "--iperf-port (IPERF_SERVER_PORT) is \"65529\"",
            "expected at most 65528, so that 8 ports from it on end at 65535. \
             Lower it, or take fewer ports with --iperf-ports (IPERF_SERVER_PORTS)."
                .into(),
        ),
    ]);
    assert_eq!(config(&["--iperf-port=65528"]).ports.iperf, 65528..=65535);
    assert_eq!(
        config(&["--iperf-port=9879", "--iperf-ports=1"])
            .ports
            .iperf,
        9879..=9879
    );
}

#[test]
fn each_rule_of_a_test_has_its_message() {
    let duration = format!("expected whole seconds from 1s to 50s. {WHOLE}");
    let omit = format!("expected whole seconds from 0s to 50s. {WHOLE}");
    expect(&[
        (
            &["--protocol=sctp"],
            "--protocol (IPERF_TEST_PROTOCOL) is \"sctp\"",
            "expected one of tcp, udp, both. Choose one of them.".into(),
        ),
        (&["--duration=5sec."], "--duration (IPERF_TEST_DURATION) is \"5sec.\"", DURATION.into()),
        (&["--duration=0"], "--duration (IPERF_TEST_DURATION) is \"0\"", duration.clone()),
        (&["--duration=1500ms"], "--duration (IPERF_TEST_DURATION) is \"1500ms\"", duration.clone()),
        (&["--duration=51", "--timeout=60"], "--duration (IPERF_TEST_DURATION) is \"51\"", duration),
        (&["--omit=0.5s"], "--omit (IPERF_TEST_OMIT) is \"0.5s\"", omit.clone()),
        (&["--omit=51"], "--omit (IPERF_TEST_OMIT) is \"51\"", omit),
        (
            &["--interval=25h"],
            "--interval (IPERF_TEST_INTERVAL) is \"25h\"",
            "expected at most 1day. For fewer tests raise it up to that, or shorten --duration.".into(),
        ),
        (&["--bitrate=10X"], "--bitrate (IPERF_BITRATE) is \"10X\"", BITRATE.into()),
        (&["--bitrate=-1"], "--bitrate (IPERF_BITRATE) is \"-1\"", BITRATE.into()),
        (&["--bitrate=2000T"], "--bitrate (IPERF_BITRATE) is \"2000T\"", BITRATE.into()),
        (&["--udp-bitrate=1e6"], "--udp-bitrate (IPERF_UDP_BITRATE) is \"1e6\"", BITRATE.into()),
        (
            &["--udp-bitrate=0"],
            "--udp-bitrate (IPERF_UDP_BITRATE) is \"0\"",
            "expected more than 0. Unlimited UDP measures the sender's processor, not the network: \
             2M is enough for jitter and loss."
                .into(),
        ),
        (
            &["--streams=129"],
            "--streams (IPERF_STREAMS) is \"129\"",
            "expected a number from 1 to 128. Set it within that range.".into(),
        ),
        (
            &["--bidir=both"],
            "--bidir (IPERF_BIDIR) is \"both\"",
            "expected true or false. Leave it out for false.".into(),
        ),
        (
            &["--iperf3="],
            "--iperf3 (IPERF3) is \"\"",
            "expected a path or the name of a program. Leave it out for iperf3 on the PATH.".into(),
        ),
    ]);
}

#[test]
fn a_timeout_holds_its_test() {
    expect(&[
        (
            &["--timeout=5s"],
            "--timeout (IPERF_TEST_TIMEOUT) is \"5s\"",
            format!("expected from 6s (omit + duration + 1s) to 1m. Set it to 6s at least; {SLOW}"),
        ),
        (
            &["--omit=2", "--duration=10", "--timeout=12999ms"],
            "--timeout (IPERF_TEST_TIMEOUT) is \"12999ms\"",
            format!(
                "expected from 13s (omit + duration + 1s) to 1m. Set it to 13s at least; {SLOW}"
            ),
        ),
        (
            &["--timeout=61"],
            "--timeout (IPERF_TEST_TIMEOUT) is \"61\"",
            format!("expected from 6s (omit + duration + 1s) to 1m. Set it to 6s at least; {SLOW}"),
        ),
        (
            &["--omit=30", "--duration=30", "--timeout=60"],
            "--timeout (IPERF_TEST_TIMEOUT) is \"60\"",
            "expected omit + duration + 1s, which is 1m 1s, to be at most 1m. \
             Shorten --omit (IPERF_TEST_OMIT) or --duration (IPERF_TEST_DURATION)."
                .into(),
        ),
    ]);
    let longest = config(&["--omit=9", "--duration=50", "--timeout=60"]).settings;
    assert_eq!(longest.timeout, iperf3_mesh_core::TIMEOUT_MAX);
}

#[test]
fn each_rule_of_the_output_has_its_message() {
    expect(&[
        (
            &["--failed-cells=nan"],
            "--failed-cells (MESH_FAILED_CELLS) is \"nan\"",
            "expected one of zero, absent. Choose one of them.".into(),
        ),
        (
            &["--log-format=xml"],
            "--log-format (LOG_FORMAT) is \"xml\"",
            "expected one of text, json. Choose one of them.".into(),
        ),
    ]);
}

#[test]
fn all_problems_are_told_at_once() {
    let words = [
        "--zone=\t",
        "--gossip-port=0",
        "--duration=x",
        "--streams=0",
        "--join=a:b,[x",
        "--log-format=y",
    ];
    let errors = Config::new(&args(&words), &outside()).unwrap_err();
    let options: Vec<_> = errors
        .problems()
        .iter()
        .map(|p| (p.option.as_str(), p.value.as_str()))
        .collect();
    let expected = [
        ("--zone (MESH_ZONE)", "\t"),
        ("--join (MESH_JOIN)", "a:b"),
        ("--join (MESH_JOIN)", "[x"),
        ("--gossip-port (MESH_GOSSIP_PORT)", "0"),
        ("--duration (IPERF_TEST_DURATION)", "x"),
        ("--streams (IPERF_STREAMS)", "0"),
        ("--log-format (LOG_FORMAT)", "y"),
    ];
    assert_eq!(options, expected);
    let text = errors.to_string();
    assert!(
        text.starts_with("the configuration has 7 problems:\n  --zone (MESH_ZONE) is \"\\t\": "),
        "{text}"
    );
    assert_eq!(text.lines().count(), 8);
}

#[test]
fn without_options_an_agent_is_as_documented() {
    let config = config(&[]);
    assert_eq!(config.node_name.as_str(), HOST);
    assert_eq!(
        (
            config.zone.as_str(),
            config.advertise_address,
            config.skip_quiet_time
        ),
        ("", None, false)
    );
    assert_eq!(
        (config.join.len(), config.discovery, config.forget_after),
        (0, Discovery::Static, None)
    );
    assert_eq!(config.label_selector, "app.kubernetes.io/name=iperf3-mesh");
    assert_eq!(
        config.ports,
        Ports {
            listen: 9876,
            control: 9878,
            gossip: 9877,
            iperf: 5201..=5208
        }
    );
    assert_eq!(config.settings.interval, Duration::from_secs(300));
    assert_eq!(
        (config.failed_cells, config.log_format),
        (FailedCells::Zero, LogFormat::Text)
    );
    assert_eq!(config.iperf3.to_str(), Some("iperf3"));
    let [test] = config.tests().try_into().unwrap();
    assert_eq!(
        (test.protocol, test.bitrate, test.streams, test.bidir),
        (Protocol::Tcp, None, 1, false)
    );
    let seconds = [test.duration, test.omit, test.timeout].map(|d| d.as_secs());
    assert_eq!(seconds, [5, 0, 10]);
}

#[test]
fn tcp_goes_before_udp_and_each_has_its_bitrate() {
    let words = [
        "--protocol=Both",
        "--bitrate=1.5G",
        "--udp-bitrate=500k",
        "--bidir",
        "--streams=4",
    ];
    let tests = config(&words).tests();
    let seen: Vec<_> = tests
        .iter()
        .map(|t| (t.protocol, t.bitrate, t.bidir, t.streams))
        .collect();
    let expected = [
        (Protocol::Tcp, Some(1_500_000_000), true, 4),
        (Protocol::Udp, Some(500_000), true, 4),
    ];
    assert_eq!(seen, expected);
    let [udp] = config(&["--protocol=udp"]).tests().try_into().unwrap();
    assert_eq!(udp.bitrate, Some(2_000_000));
}

#[test]
fn of_several_addresses_the_first_of_the_family_is_taken() {
    let both = "--advertise-address=192.0.2.1, 2001:db8::1,2001:db8::2";
    for (family, address) in [
        (&[][..], "192.0.2.1"),
        (&["--ip-family=IPv4"], "192.0.2.1"),
        (&["--ip-family=ipv6"], "2001:db8::1"),
    ] {
        let config = config(&[&[both], family].concat());
        assert_eq!(
            config.advertise_address,
            Some(address.parse().unwrap()),
            "{family:?}"
        );
    }
}

#[test]
fn targets_to_join_are_read_in_every_form() {
    let words = [
        "--join=node-1,node-2:77",
        "--join=10.0.0.1:78, fd00::1 ,",
        "--join=[fd00::2],[fd00::3]:79",
    ];
    let join = config(&words).join;
    let seen: Vec<_> = join
        .iter()
        .map(|t| (t.host.as_str(), t.port.map_or(0, u16::from)))
        .collect();
    let expected = [
        ("node-1", 0),
        ("node-2", 77),
        ("10.0.0.1", 78),
        ("fd00::1", 0),
        ("fd00::2", 0),
        ("fd00::3", 79),
    ];
    assert_eq!(seen, expected);
    let shown: Vec<_> = join.iter().map(JoinTarget::to_string).collect();
    assert_eq!(
        shown,
        [
            "node-1",
            "node-2:77",
            "10.0.0.1:78",
            "fd00::1",
            "fd00::2",
            "[fd00::3]:79"
        ]
    );
}

#[test]
fn selectors_are_taken_as_kubernetes_takes_them() {
    for selector in [
        "a",
        "!a",
        "a=b",
        "a==b",
        "a!=b",
        "a=",
        "x.io/a in (b, c),d notin (e)",
        "a = b , c != d",
    ] {
        assert_eq!(
            config(&["--label-selector", selector]).label_selector,
            selector
        );
    }
}

#[test]
fn switches_can_be_turned_off_again() {
    for (word, on) in [
        ("--bidir", true),
        ("--bidir=true", true),
        ("--bidir=ON", true),
        ("--bidir=no", false),
    ] {
        assert_eq!(config(&[word]).settings.bidir, on, "{word}");
    }
    assert!(config(&["--skip-quiet-time"]).skip_quiet_time);
}

#[test]
fn durations_have_units_or_are_seconds() {
    let cases = [
        ("5s", 5000),
        ("2m", 120_000),
        ("500ms", 500),
        ("300", 300_000),
        ("1m 30s", 90_000),
        (" 0 ", 0),
    ];
    for (text, millis) in cases {
        assert_eq!(
            units::duration(text),
            Ok(Duration::from_millis(millis)),
            "{text}"
        );
    }
    assert_eq!(units::duration("0.5ms"), Ok(Duration::from_micros(500)));
}

proptest! {
    #[test]
    fn a_duration_is_read_as_it_is_shown(millis in 0u64..=100_000_000_000) {
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(units::duration(&units::show(duration).to_string()), Ok(duration));
    }

    #[test]
    fn plain_seconds_are_seconds(seconds: u64) {
        prop_assert_eq!(units::duration(&seconds.to_string()), Ok(Duration::from_secs(seconds)));
    }

    #[test]
    fn a_bitrate_counts_in_thousands(number in 0u64..=1000, upper: bool) {
        for (at, letter) in ["", "k", "m", "g", "t"].iter().enumerate() {
            let letter = if upper { letter.to_uppercase() } else { (*letter).to_owned() };
            let rate = number * 1000u64.pow(u32::try_from(at).unwrap());
            prop_assert_eq!(units::bitrate(&format!("{number}{letter}")), Ok(rate));
        }
    }

    #[test]
    fn no_text_upsets_the_readers(text: String) {
        let mut args = args(&[]);
        args.node.zone.clone_from(&text);
        args.mesh.join = vec![text.clone()];
        args.mesh.label_selector.clone_from(&text);
        args.ports.iperf_port.clone_from(&text);
        args.tests.timeout.clone_from(&text);
        args.tests.bitrate = text;
        let _ = Config::new(&args, &outside());
    }
}
