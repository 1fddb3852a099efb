//! The configuration: the values of valid options, and the messages for invalid ones.
//!
//! Each file of `golden/messages` is a transcript: command lines, and below each the whole message
//! that the user sees. To add a case, add its command line and set `UPDATE_GOLDEN=1`.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::time::Duration;

use iperf3_mesh::cli::{AgentArgs, Cli, Command};
use iperf3_mesh::config::{
    Config, Discovery, Environment, FailedCells, JoinTarget, LogFormat, Ports, TestSettings,
};
use iperf3_mesh::units;
use iperf3_mesh_core::Protocol;
use iperf3_mesh_testkit::{assert_golden, golden_path};
use proptest::prelude::*;

const HOST: &str = "worker-1";

#[test]
fn invalid_options_of_the_node_have_these_messages() {
    assert_transcript("node");
}

#[test]
fn invalid_options_of_the_mesh_have_these_messages() {
    assert_transcript("mesh");
}

#[test]
fn invalid_options_of_the_security_have_these_messages() {
    assert_transcript("security");
}

#[test]
fn invalid_ports_have_these_messages() {
    assert_transcript("ports");
}

#[test]
fn invalid_options_of_the_tests_have_these_messages() {
    assert_transcript("tests");
}

#[test]
fn invalid_timeouts_and_too_long_tests_have_these_messages() {
    assert_transcript("timeout");
}

#[test]
fn invalid_options_of_the_output_have_these_messages() {
    assert_transcript("output");
}

#[test]
fn options_typed_at_a_prompt_have_messages_of_the_same_form() {
    assert_transcript("prompt");
}

#[test]
fn a_machine_without_a_host_name_needs_a_node_name() {
    let nameless = Environment {
        host_name: None,
        ..outside()
    };
    let error = Config::new(&args(&[]), &nameless).unwrap_err().to_string();
    let hint = "this machine has no usable host name";
    assert!(
        error.contains(hint) && !error.contains("leave it out"),
        "{error}"
    );
    assert!(Config::new(&args(&["--node-name=n1"]), &nameless).is_ok());
}

#[test]
fn a_host_name_in_capitals_names_the_node_in_small_letters() {
    let capitals = Environment {
        host_name: Some("DB-1.Example".to_owned()),
        ..outside()
    };
    let config = Config::new(&args(&[]), &capitals).unwrap();
    assert_eq!(config.node_name.as_str(), "db-1.example");
    let error = Config::new(&args(&["--node-name=DB-1"]), &capitals).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("such as db-1, or leave it out"), "{error}");
}

#[test]
fn several_invalid_options_are_one_message() {
    assert_transcript("several");
}

#[test]
fn texts_that_are_too_long_or_too_many_are_refused() {
    let (name, zone) = ("n".repeat(254), "z".repeat(64));
    let (namespace, join) = ("n".repeat(64), vec!["a"; 65].join(","));
    for (words, expected) in [
        (
            ["--node-name", &name],
            "at most 253 bytes, this one has 254",
        ),
        (["--zone", &zone], "expected at most 63 letters"),
        (["--namespace", &namespace], "at most 63 lower-case letters"),
        (["--join", &join], "is \"65 targets\": expected at most 64"),
    ] {
        let errors = Config::new(&args(&words), &outside()).unwrap_err();
        assert_eq!(errors.errors().len(), 1, "{errors}");
        assert!(errors.to_string().contains(expected), "{errors}");
    }
}

#[test]
fn the_last_port_of_iperf3_is_at_most_65535() {
    assert_eq!(config(&["--iperf-port=65528"]).ports.iperf, 65528..=65535);
    let single = config(&["--iperf-port=9879", "--iperf-ports=1"]);
    assert_eq!(single.ports.iperf, 9879..=9879);
}

#[test]
fn the_default_timeout_follows_omit_and_duration() {
    for (words, seconds) in [
        (&[][..], 10),
        (&["--duration=10s"], 15),
        (&["--omit=2", "--duration=20"], 27),
        (&["--omit=6", "--duration=50"], 60),
        (&["--omit=9", "--duration=50"], 60),
    ] {
        let timeout = config(words).settings.timeout;
        assert_eq!(timeout, Duration::from_secs(seconds), "{words:?}");
    }
    assert_eq!(
        config(&["--omit=9", "--duration=50"]).settings.timeout,
        iperf3_mesh_core::TIMEOUT_MAX
    );
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
}

#[test]
fn kubernetes_in_a_pod_without_a_token_is_refused() {
    let tokenless = Environment {
        in_pod: true,
        ..outside()
    };
    let errors = Config::new(&args(&["--discovery=kubernetes"]), &tokenless).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "the configuration has an error:\n  \
         --discovery (MESH_DISCOVERY) is \"kubernetes\": expected dns or static in a pod without the \
         token of a ServiceAccount. Set automountServiceAccountToken: true, or use dns and set \
         --join (MESH_JOIN) to a headless Service of the agents."
    );
}

#[test]
fn an_agent_without_options_has_the_documented_defaults() {
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
fn tcp_is_tested_before_udp_each_with_its_bitrate() {
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
fn the_first_of_several_addresses_of_the_family_is_used() {
    let both = "--advertise-address=::ffff:192.0.2.1, 2001:db8::1,2001:db8::2";
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
fn label_selectors_have_the_syntax_of_kubernetes() {
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
fn a_duration_has_units_or_is_in_seconds() {
    let cases = [
        ("5s", 5000),
        ("2m", 120_000),
        ("500ms", 500),
        ("300", 300_000),
        ("300.0", 300_000),
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

#[test]
fn a_bitrate_may_have_a_unit_in_upper_or_lower_case() {
    for (text, rate) in [
        ("10Gbps", 10_000_000_000),
        ("100 Mbit/s", 100_000_000),
        ("100Mbit", 100_000_000),
        ("2.5 gbit/s", 2_500_000_000),
        ("100Mb", 100_000_000),
        ("7kBit/s", 7_000),
        ("1500 bit/s", 1_500),
        ("941 Mbits/s", 941_000_000),
        ("8bps", 8),
        ("1e+09", 1_000_000_000),
        ("1000000000.0", 1_000_000_000),
        ("0", 0),
    ] {
        assert_eq!(units::bitrate(text), Ok(rate), "{text}");
    }
}

#[test]
fn a_whole_number_may_be_written_as_yaml_writes_a_float() {
    assert_eq!(config(&["--streams=2.0"]).settings.streams, 2);
    assert_eq!(
        config(&["--iperf-port=5.3e+03"]).ports.iperf_range().first,
        5300
    );
    for (word, hint) in [
        (
            "--streams=2.5",
            "Set it to a whole number within that range.",
        ),
        ("--streams=129", "Set it within that range."),
        (
            "--streams=-1",
            "Set it to a whole number within that range.",
        ),
        ("--streams=two", "Write it in plain digits."),
    ] {
        let error = Config::new(&args(&[word]), &outside()).unwrap_err();
        assert!(error.to_string().ends_with(hint), "{error}");
    }
}

#[test]
fn a_rate_in_bytes_or_binary_units_is_no_bitrate() {
    for text in [
        "10MB",
        "10MBps",
        "10MB/s",
        "10Mi",
        "10 Mibit/s",
        "M",
        "",
        ".5M",
        "1.2.3M",
        "10 M bit/s x",
    ] {
        assert!(units::bitrate(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_duration_is_read_as_it_is_written(millis in 0u64..=100_000_000_000) {
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
    fn no_text_makes_a_reader_panic(text: String) {
        let mut args = args(&[]);
        args.node.zone.clone_from(&text);
        args.mesh.join = vec![text.clone()];
        args.mesh.label_selector.clone_from(&text);
        args.ports.iperf_port.clone_from(&text);
        args.tests.timeout = Some(text.clone());
        args.tests.bitrate = text;
        let _ = Config::new(&args, &outside());
    }
}

fn args(words: &[&str]) -> AgentArgs {
    agent(["iperf3-mesh", "agent", "--insecure"].iter().chain(words))
}

fn agent<'a>(words: impl Iterator<Item = &'a &'a str>) -> AgentArgs {
    match Cli::read(words).unwrap().command {
        Command::Agent(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn outside() -> Environment {
    Environment {
        host_name: Some(HOST.to_owned()),
        in_pod: false,
        has_token: false,
    }
}

fn config(words: &[&str]) -> Config {
    Config::new(&args(words), &outside()).unwrap()
}

/// The message for a command line that cannot be used, as the program prints it.
fn message(line: &str) -> String {
    let words = line.split_inclusive(' ').fold(Vec::new(), quoted_words);
    let words = words
        .iter()
        .map(|word: &String| word.trim().replace('\'', ""));
    // Only the transcript of the security shows agents without a key.
    let is_insecure = !line.contains("--key-file") && !line.contains("--insecure");
    let is_agent = line.starts_with("iperf3-mesh agent ");
    let insecure = (is_agent && is_insecure).then(|| "--insecure".to_owned());
    let errors = match Cli::read(words.chain(insecure)) {
        Err(error) => return error.to_string(),
        Ok(cli) => match cli.command {
            Command::Agent(args) => Config::new(&args, &outside()).unwrap_err(),
            Command::Local(args) => TestSettings::try_from(&args.tests).unwrap_err(),
            other => panic!("{line} is valid: {other:?}"),
        },
    };
    format!("iperf3-mesh: {errors}\n")
}

/// Adds `piece` to the word before it if that has an open quote.
fn quoted_words(mut words: Vec<String>, piece: &str) -> Vec<String> {
    let is_open = |word: &String| word.matches('\'').count() % 2 == 1;
    match words.last_mut().filter(|word| is_open(word)) {
        Some(word) => word.push_str(piece),
        None => words.push(piece.to_owned()),
    }
    words
}

/// Runs all command lines of that transcript again.
fn assert_transcript(name: &str) {
    let file = format!("messages/{name}.txt");
    let golden = std::fs::read_to_string(golden_path(&file)).unwrap();
    let transcript: String = golden
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .map(|line| format!("$ {line}\n{}\n", message(line)))
        .collect();
    assert_golden(&file, &transcript);
}
