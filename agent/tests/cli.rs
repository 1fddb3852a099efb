//! The command line: its options with their variables and defaults, and their documentation.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends at what it does not expect"
)]

use std::collections::BTreeSet;
use std::process::Command as Process;
use std::time::Duration;

use clap::{Arg, CommandFactory};
use iperf3_mesh::cli::{Cli, Command, MatrixFormat, OutputFormat, Protocols};
use iperf3_mesh::config::{Config, TestSettings};

/// Flag, variable and default of every option of an agent.
const PROMISED: [(&str, &str, &str); 36] = [
    ("node-name", "SOURCE_NODE_NAME", "the host name"),
    ("zone", "MESH_ZONE", "empty"),
    (
        "advertise-address",
        "MESH_ADVERTISE_ADDRESS",
        "detected, and logged",
    ),
    ("ip-family", "MESH_IP_FAMILY", "whichever comes first"),
    ("skip-quiet-time", "MESH_SKIP_QUIET_TIME", "false"),
    ("join", "MESH_JOIN", "none"),
    (
        "peer-cidr",
        "MESH_PEER_CIDR",
        "any address that can be that of a host",
    ),
    (
        "discovery",
        "MESH_DISCOVERY",
        "kubernetes inside a pod with a token, else static",
    ),
    ("namespace", "IPERF_SERVER_NAMESPACE", "the pod's own"),
    (
        "label-selector",
        "IPERF_SERVER_LABEL_SELECTOR",
        "app.kubernetes.io/name=iperf3-mesh",
    ),
    (
        "forget-after",
        "MESH_FORGET_AFTER",
        "15m or two periods, whichever is longer",
    ),
    ("listen-port", "LISTEN_PORT", "9876"),
    ("control-port", "MESH_CONTROL_PORT", "9878"),
    ("gossip-port", "MESH_GOSSIP_PORT", "9877"),
    ("iperf-port", "IPERF_SERVER_PORT", "5201"),
    ("iperf-ports", "IPERF_SERVER_PORTS", "8"),
    ("allowed-hosts", "MESH_ALLOWED_HOSTS", "none"),
    ("host-ip", "MESH_HOST_IP", "none"),
    ("protocol", "IPERF_TEST_PROTOCOL", "tcp"),
    ("duration", "IPERF_TEST_DURATION", "5s"),
    ("omit", "IPERF_TEST_OMIT", "0s"),
    ("interval", "IPERF_TEST_INTERVAL", "300s"),
    ("timeout", "IPERF_TEST_TIMEOUT", "omit + duration + 5s"),
    ("bitrate", "IPERF_BITRATE", "0"),
    ("udp-bitrate", "IPERF_UDP_BITRATE", "2M"),
    ("streams", "IPERF_STREAMS", "1"),
    ("bidir", "IPERF_BIDIR", "false"),
    ("iperf3", "IPERF3", "iperf3"),
    ("failed-cells", "MESH_FAILED_CELLS", "zero"),
    ("log-format", "LOG_FORMAT", "text"),
    ("members-max", "MESH_MEMBERS_MAX", "2048"),
    ("key-file", "MESH_KEY_FILE", "none"),
    ("insecure", "MESH_INSECURE", "false"),
    ("auth", "MESH_AUTH", "required"),
    ("mesh", "MESH_NAME", "iperf3-mesh"),
    ("protect-read", "MESH_PROTECT_READ", "false"),
];

fn read(words: &[&str]) -> Command {
    Cli::read(["iperf3-mesh"].iter().chain(words))
        .unwrap()
        .command
}

fn help(command: &str) -> String {
    let asked = Cli::read(["iperf3-mesh", command, "--help"]).unwrap_err();
    assert_eq!(asked.exit_code(), 0);
    asked.to_string()
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn help_shows_every_option_with_variable_and_default() {
    for command in ["agent", "check"] {
        let help = on_one_line(&help(command));
        for (flag, variable, default) in PROMISED {
            let start = help
                .find(&format!("--{flag} "))
                .or_else(|| help.find(&format!("--{flag}[=")))
                .unwrap();
            let entry = help[start..].split(" --").next().unwrap();
            assert!(entry.contains(&format!("[env: {variable}=")), "{entry}");
            assert!(entry.contains(&format!("[default: {default}]")), "{entry}");
        }
    }
}

#[test]
fn an_agent_has_no_other_options() {
    let promised: BTreeSet<_> = PROMISED
        .iter()
        .map(|(flag, ..)| (*flag).to_owned())
        .collect();
    let command = Cli::command();
    let defined: BTreeSet<_> = options(&command, "agent")
        .iter()
        .map(|option| option.flag.clone())
        .collect();
    assert_eq!(defined, promised);
}

#[test]
fn help_documents_the_exit_codes() {
    for command in ["agent", "local", "matrix", "plan", "check"] {
        let help = help(command);
        let (_, codes) = help.split_once("Exit codes:").unwrap();
        for code in [
            "0  success",
            "1  a command that failed",
            "2  a command line",
        ] {
            assert!(codes.contains(code), "{codes}");
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let asked = Cli::read(["iperf3-mesh", "--version"]).unwrap_err();
    assert_eq!(
        asked.to_string(),
        format!("iperf3-mesh {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn an_invalid_command_line_has_the_exit_code_for_usage() {
    for words in [
        &["agent", "--colour"][..],
        &["local", "--nodes=1"],
        &["local", "--nodes=65"],
        &["plan"],
        &["map"],
    ] {
        let error = Cli::read(["iperf3-mesh"].iter().chain(words)).unwrap_err();
        assert_eq!(
            error.exit_code(),
            i32::from(iperf3_mesh::cli::EXIT_USAGE),
            "{error}"
        );
    }
}

/// `make demo ARGS="--nodes 8"` appends to the options of the demo.
#[test]
fn the_last_of_several_equal_options_of_local_counts() {
    let demo = ["local", "--nodes", "4", "--duration", "1s", "--sweeps", "1"];
    let Command::Local(args) = read(&[&demo[..], &["--nodes", "8", "--sweeps", "3"]].concat())
    else {
        panic!("not local")
    };
    assert_eq!(
        (args.nodes, args.sweeps, args.tests.duration.as_str()),
        (8, Some(3), "1s")
    );
}

#[test]
fn local_has_its_own_small_defaults() {
    let Command::Local(args) = read(&["local"]) else {
        panic!("not local")
    };
    assert_eq!(
        (args.nodes, args.sweeps, args.format.output),
        (4, None, OutputFormat::Table)
    );
    let settings = TestSettings::try_from(&args.tests).unwrap();
    assert_eq!(
        (settings.duration, settings.interval),
        (Duration::from_secs(1), Duration::from_secs(2))
    );
    assert_eq!(settings.bitrate, Some(100_000_000));
}

#[test]
fn matrix_and_plan_have_the_documented_defaults() {
    let Command::Matrix(args) = read(&["matrix"]) else {
        panic!("not matrix")
    };
    assert_eq!(
        (args.address.as_str(), args.timeout),
        ("127.0.0.1:9876", Duration::from_secs(5))
    );
    assert_eq!(
        (args.output, args.protocol),
        (MatrixFormat::Heatmap, Protocols::Both)
    );
    let Command::Plan(args) = read(&["plan", "--nodes=300", "-o", "json"]) else {
        panic!("not plan")
    };
    assert_eq!(
        (args.nodes, args.format.output, args.max_age),
        (300, OutputFormat::Json, None)
    );
    assert_eq!(args.latency, Duration::from_micros(500));
    assert_eq!(
        TestSettings::try_from(&args.tests).unwrap().duration,
        Duration::from_secs(5)
    );
}

/// The variable with the command line that the child reads, its words separated by blanks.
const WORDS: &str = "CLI_TEST_WORDS";

/// Not a test of its own: the environment belongs to the process, so other tests run this one in a
/// child process with their own variables, and read its output.
#[test]
fn child_with_its_own_environment() {
    let Ok(words) = std::env::var(WORDS) else {
        return;
    };
    let Command::Agent(args) = read(&words.split(' ').collect::<Vec<_>>()) else {
        panic!("not agent")
    };
    match Config::try_from(*args) {
        Ok(config) => {
            let tests = &config.settings;
            println!(
                "<{} {:?} {:?} {} {:?}>",
                config.node_name, tests.duration, tests.bitrate, tests.bidir, config.join
            );
        }
        Err(errors) => println!("<{errors}>"),
    }
}

fn config_with(variables: &[(&str, &str)], words: &str) -> String {
    let output = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_with_its_own_environment", "--nocapture"])
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env(WORDS, words)
        .env("SOURCE_NODE_NAME", "n")
        .env("MESH_INSECURE", "true")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, text) = text.split_once('<').unwrap();
    text.rsplit_once('>').unwrap().0.to_owned()
}

#[test]
fn a_flag_takes_precedence_over_its_variable() {
    let variables = [
        ("IPERF_TEST_DURATION", "7s"),
        ("IPERF_BITRATE", "1M"),
        ("IPERF_BIDIR", "true"),
    ];
    assert_eq!(
        config_with(&variables, "agent"),
        "n 7s Some(1000000) true []"
    );
    let words = "agent --duration=2 --bitrate=0 --bidir=false";
    assert_eq!(config_with(&variables, words), "n 2s None false []");
}

#[test]
fn a_variable_has_several_agents_separated_by_commas() {
    let seen = config_with(&[("MESH_JOIN", "a,b:1")], "agent");
    assert!(
        seen.contains("host: \"a\", port: None") && seen.contains("host: \"b\", port: Some(1)"),
        "{seen}"
    );
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let everything: Vec<_> = PROMISED
        .iter()
        .map(|(_, name, _)| (*name, ""))
        .filter(|(name, _)| !["SOURCE_NODE_NAME", "MESH_INSECURE"].contains(name))
        .collect();
    assert_eq!(config_with(&everything, "agent"), "n 5s None false []");
}

#[test]
fn blanks_and_line_ends_around_a_variable_are_ignored() {
    for end in ["\n", "\r\n", " "] {
        let value = |text: &str| text.to_owned() + end;
        let texts = [
            ("IPERF_TEST_DURATION", value("7s")),
            ("IPERF_BITRATE", value("1M")),
            ("SOURCE_NODE_NAME", value("node1")),
            ("MESH_ZONE", value("eu-1")),
            ("IPERF_SERVER_NAMESPACE", value("ns1")),
            ("IPERF3", value("iperf3")),
            ("MESH_JOIN", value("")),
        ];
        let variables: Vec<_> = texts.iter().map(|(name, text)| (*name, &**text)).collect();
        let seen = config_with(&variables, "agent");
        assert_eq!(seen, "node1 7s Some(1000000) false []", "{end:?}");
    }
}

#[test]
fn a_value_in_quotation_marks_is_refused_with_that_reason() {
    for (name, value) in [
        ("IPERF_TEST_PROTOCOL", "\"udp\""),
        ("SOURCE_NODE_NAME", "'node1'"),
        ("IPERF3", "\"/usr/bin/iperf3\""),
    ] {
        let seen = config_with(&[(name, value)], "agent");
        assert!(seen.contains(name), "{seen}");
        assert!(seen.contains("Remove them: `docker --env-file`"), "{seen}");
    }
}

#[test]
fn the_port_variable_of_a_service_is_refused_with_its_origin() {
    let variables = [("IPERF_SERVER_PORT", "tcp://10.96.3.4:5201")];
    let seen = config_with(&variables, "agent");
    assert!(seen.contains("enableServiceLinks: false"), "{seen}");
}

#[test]
fn an_invalid_variable_is_named_in_the_message() {
    let seen = config_with(
        &[("LISTEN_PORT", "http"), ("IPERF_TEST_PROTOCOL", "sctp")],
        "agent",
    );
    assert!(
        seen.contains("--listen-port (LISTEN_PORT) is \"http\": expected"),
        "{seen}"
    );
    assert!(
        seen.contains("--protocol (IPERF_TEST_PROTOCOL) is \"sctp\": expected"),
        "{seen}"
    );
}

/// An option as defined or documented; a default that is not a constant is a dash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Described {
    flag: String,
    variable: String,
    default: String,
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn options(cli: &clap::Command, task: &str) -> BTreeSet<Described> {
    let task = task
        .split(' ')
        .fold(cli, |cli, name| cli.find_subcommand(name).unwrap());
    let flagged = task
        .get_arguments()
        .filter(|arg| arg.get_long().is_some_and(|flag| flag != "help"));
    flagged.map(described).collect()
}

fn described(arg: &Arg) -> Described {
    let default = arg
        .get_default_values()
        .first()
        .map(|value| value.to_string_lossy().into_owned());
    Described {
        flag: arg.get_long().unwrap().to_owned(),
        variable: arg
            .get_env()
            .map_or("-".to_owned(), |name| name.to_string_lossy().into_owned()),
        default: default
            .filter(|text| !text.is_empty())
            .unwrap_or("-".to_owned()),
    }
}

/// The rows of the tables below the heading of a command: flag, variable and default in backticks,
/// then the meaning.
fn documented(page: &str, task: &str) -> BTreeSet<Described> {
    let heading = format!("## `{task}`");
    let section = page
        .split("\n## ")
        .find(|part| format!("## {part}").starts_with(&heading))
        .unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `-"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [flag, variable, default, meaning, change] = cells[..] else {
            panic!("five cells: {row}")
        };
        assert!(!meaning.is_empty() && !change.is_empty(), "{row}");
        // The name of `-o, --output FORMAT` is `output`.
        let flag = flag.trim_matches('`').split("--").nth(1).unwrap();
        let flag = flag.split([' ', '[']).next().unwrap().to_owned();
        let quoted = |cell: &str| {
            cell.strip_prefix('`')
                .and_then(|c| c.strip_suffix('`'))
                .unwrap_or("-")
                .to_owned()
        };
        Described {
            flag,
            variable: quoted(variable),
            default: quoted(default),
        }
    })
    .collect()
}

#[test]
fn the_documentation_has_exactly_the_defined_options() {
    let page = include_str!("../../docs/configuration.md");
    let cli = Cli::command();
    let agent = options(&cli, "agent");
    assert_eq!(documented(page, "agent"), agent);
    // Other commands share options of the agent, and document only those that differ.
    for task in ["local", "matrix", "plan", "check", "key generate"] {
        let own: BTreeSet<_> = options(&cli, task).difference(&agent).cloned().collect();
        assert_eq!(documented(page, task), own, "{task}");
    }
}
