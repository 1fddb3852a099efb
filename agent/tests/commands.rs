//! The commands `matrix`, `plan` and `check` as people and scripts run them: output, messages and
//! exit codes.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Stdio;

use iperf3_mesh_testkit::agents::Agent;
use iperf3_mesh_testkit::{Ended, Network, Program, SOON, SWEEP, await_that};
use nix::pty::openpty;
use serde_json::Value;

/// The fields of `plan -o json` that every version has.
const PLAN: [&str; 11] = [
    "nodes",
    "bound_seconds",
    "bound_with_failures_seconds",
    "sweep_seconds",
    "period_seconds",
    "efficiency",
    "tests",
    "failed",
    "overlaps",
    "bytes",
    "series",
];

/// Runs the program, which takes moments and must never panic.
#[track_caller]
fn run(args: &[&str]) -> Ended {
    let ended = Program::run(args, SOON);
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    ended
}

/// The output of a successful run.
#[track_caller]
fn printed(args: &[&str]) -> String {
    let ended = run(args);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    ended.stdout
}

#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

#[test]
fn matrix_prints_the_matrix_of_any_agent_in_four_formats() {
    let network = Network::draw();
    let n1 = Agent::start(network, 1, "n1", &[]);
    let n2 = Agent::start(network, 2, "n2", &[]);
    let whole = || n1.good_cells().len() == 2;
    await_that("two good cells", SWEEP, whole, || n1.program.stderr());

    let (first, second) = (n1.http().to_string(), n2.address.to_string());
    let heatmap = printed(&["matrix", &first]);
    assert!(
        heatmap.contains("\nn1 ") && heatmap.contains("\nn2 "),
        "{heatmap}"
    );
    assert!(heatmap.contains("2 succeeded, 0 failed"), "{heatmap}");
    assert!(!heatmap.contains('\x1b'), "{heatmap:?}");

    // Another agent, without a port, has the same matrix.
    let table = printed(&["matrix", &second, "-o", "table"]);
    for line in [["n1", "n2", "tcp"], ["n2", "n1", "tcp"]] {
        let has = |row: &str| row.split_whitespace().take(3).eq(line);
        assert!(table.lines().any(has), "{table}");
    }
    let document = json(&printed(&[
        "matrix",
        &format!("http://{first}/"),
        "-o",
        "json",
    ]));
    assert_eq!(document["cells"].as_array().unwrap().len(), 2);
    assert_eq!(document["nodes"][1]["name"], "n2");

    let csv = printed(&["matrix", &first, "-o", "csv"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert!(
        lines[0].starts_with("source_node,destination_node,protocol,"),
        "{csv}"
    );
    assert!(lines[1].starts_with("n1,n2,tcp,true,"), "{csv}");
    let columns = |line: &str| line.split(',').count();
    assert!(
        lines.len() == 3 && lines.iter().all(|line| columns(line) == columns(lines[0])),
        "{csv}"
    );

    let udp = json(&printed(&[
        "matrix",
        &first,
        "-o",
        "json",
        "--protocol",
        "udp",
    ]));
    assert_eq!(udp["cells"], json("[]"));
}

#[test]
fn plan_shows_the_cost_of_a_mesh() {
    let args = ["plan", "--nodes", "8", "--duration", "5s"];
    let plan = json(&printed(&[&args[..], &["-o", "json"]].concat()));
    for key in PLAN {
        assert!(plan[key].is_number(), "no {key} in {plan}");
    }
    assert_eq!(plan["nodes"], 8);
    assert_eq!(plan["bound_seconds"], 70.0);
    assert_eq!(
        (&plan["tests"], &plan["failed"], &plan["overlaps"]),
        (&56.into(), &0.into(), &0.into())
    );
    let efficiency = plan["efficiency"].as_f64().unwrap();
    assert!((0.95..=1.0).contains(&efficiency), "{plan}");

    let table = printed(&args);
    for part in ["lower bound", "70.0 s", "tests per sweep", "56", "series"] {
        assert!(table.contains(part), "no {part} in {table}");
    }
    assert!(table.contains("assumes links of 1 Gbit/s"), "{table}");
    assert_eq!(printed(&args), table, "the same seed gives the same plan");
}

#[test]
fn the_fields_of_a_plan_are_those_of_the_documentation() {
    let page = include_str!("../../docs/configuration.md");
    let (_, section) = page.split_once("With `-o json`, the plan is").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let documented: BTreeSet<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | "))
        .flat_map(|(fields, _)| fields.split(", "))
        .map(|field| field.trim_matches('`'))
        .collect();
    let plan = json(&printed(&["plan", "--nodes", "3", "-o", "json"]));
    let printed: BTreeSet<&str> = plan
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(printed, documented);
}

#[test]
fn the_table_of_a_plan_fits_80_columns() {
    let args = ["plan", "--nodes", "100", "--duration", "1s"];
    let ended = run(&[&args[..], &["--interval", "24h", "--max-age", "1h 1m 1s"]].concat());
    for line in ended.stdout.lines().chain(ended.stderr.lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn an_invalid_log_level_is_logged_and_the_default_applies() {
    let address = Network::draw().address(1).to_string();
    let variables = [
        ("MESH_ADVERTISE_ADDRESS", address.as_str()),
        ("RUST_LOG", "verbose"),
    ];
    let agent = Program::start_with(&["agent"], &variables);
    let is_told = || {
        let log = agent.stderr();
        log.contains("RUST_LOG is \"verbose\": expected error, warn, info") && log.contains("INFO")
    };
    await_that("the error and the log", SOON, is_told, || agent.stderr());
}

#[test]
fn colours_are_forced_or_forbidden_without_a_terminal() {
    let network = Network::draw();
    let agent = Agent::start(network, 1, "n1", &[]);
    let _peer = Agent::start(network, 2, "n2", &[]);
    let whole = || agent.good_cells().len() == 2;
    await_that("two good cells", SWEEP, whole, || agent.program.stderr());
    let address = agent.http().to_string();
    let is_coloured = |options: &[&str], variables: &[(&str, &str)]| {
        let args = [&["matrix", address.as_str()], options].concat();
        let ended = Program::start_with(&args, variables).ended(SOON);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout.contains('\x1b')
    };
    let force = ("CLICOLOR_FORCE", "1");
    let forbid = ("NO_COLOR", "1");
    assert!(!is_coloured(&[], &[]));
    assert!(is_coloured(&["--color=always"], &[forbid]));
    assert!(is_coloured(&[], &[force]));
    assert!(!is_coloured(&[], &[force, forbid]));
    assert!(!is_coloured(&["--color=never"], &[force]));
}

#[test]
fn a_terminal_has_colours_unless_it_is_dumb() {
    let network = Network::draw();
    let agent = Agent::start(network, 1, "n1", &[]);
    let _peer = Agent::start(network, 2, "n2", &[]);
    let whole = || agent.good_cells().len() == 2;
    await_that("two good cells", SWEEP, whole, || agent.program.stderr());
    let address = agent.http().to_string();
    for (terminal, is_coloured) in [("xterm-256color", true), ("dumb", false)] {
        let output = on_a_terminal(&["matrix", &address], &[("TERM", terminal)]);
        assert!(output.contains("2 succeeded"), "{output}");
        assert_eq!(
            output.contains('\x1b'),
            is_coloured,
            "{terminal}: {output:?}"
        );
    }
}

#[test]
fn a_file_that_is_not_executable_does_not_hide_iperf3() {
    let [first, second] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    std::fs::write(first.path().join("iperf3"), "not a program").unwrap();
    std::os::unix::fs::symlink("/bin/true", second.path().join("iperf3")).unwrap();
    let path = std::env::join_paths([first.path(), second.path()]).unwrap();
    let variables = [("PATH", path.to_str().unwrap())];
    let args = ["check", "--advertise-address", "127.0.0.1"];
    let ended = Program::start_with(&args, &variables).ended(SOON);
    let used = second.path().join("iperf3").display().to_string();
    assert!(ended.stdout.contains(&used), "{ended:?}");
}

#[test]
fn plan_shows_the_cost_of_faults() {
    let plan = |options: &[&str]| {
        let args = ["plan", "--nodes", "8", "--duration", "5s", "-o", "json"];
        json(&printed(&[&args[..], options].concat()))
    };
    let seconds = |plan: &Value, key: &str| plan[key].as_f64().unwrap();
    let healthy = plan(&[]);
    let faulty = plan(&["--fail", "0.2", "--fail-time", "8s"]);
    assert!(faulty["failed"].as_u64().unwrap() > 0, "{faulty}");
    let [bound, least] =
        ["bound_seconds", "bound_with_failures_seconds"].map(|key| seconds(&faulty, key));
    assert!(
        least > bound && seconds(&faulty, "sweep_seconds") >= least,
        "{faulty}"
    );
    assert_eq!(plan(&["--skew", "1h"])["tests"], healthy["tests"]);
    let lossy = plan(&["--loss", "0.1"]);
    assert!(
        seconds(&lossy, "sweep_seconds") > seconds(&healthy, "sweep_seconds"),
        "{lossy}"
    );
    let churned = plan(&["--churn", "0.2"]);
    assert!(
        churned["failed"].as_u64().unwrap() > 0 || seconds(&churned, "sweep_seconds") > 71.0,
        "{churned}"
    );
}

#[test]
fn plan_fails_if_cells_get_older_than_max_age() {
    let args = [
        "plan",
        "--nodes",
        "8",
        "--duration",
        "5s",
        "--interval",
        "1m",
        "--max-age",
    ];
    printed(&[&args[..], &["5m"]].concat());
    let ended = run(&[&args[..], &["2m"]].concat());
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stdout
            .contains("WARNING: cells get older than --max-age 2m"),
        "{ended:?}"
    );
    // The JSON is complete nevertheless.
    let ended = run(&[&args[..], &["2m", "-o", "json"]].concat());
    assert_eq!(ended.code, Some(1));
    assert!(json(&ended.stdout)["max_age_seconds"].as_f64().unwrap() > 120.0);
}

#[test]
fn check_finds_a_port_in_use() {
    let network = Network::draw();
    let address = network.address(1).to_string();
    let join = network.address(2).to_string();
    let args = ["check", "--advertise-address", &address, "--join", &join];
    let healthy = printed(&args);
    assert!(healthy.contains("This node can take part"), "{healthy}");

    let _taken = TcpListener::bind((network.address(1), 9878)).unwrap();
    let ended = run(&args);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for part in [
        &format!("cannot open {address}:9878"),
        "set --control-port (MESH_CONTROL_PORT) to another port",
        "This node cannot take part; errors: 1",
    ] {
        assert!(
            ended.stdout.contains(part),
            "no {part:?} in {}",
            ended.stdout
        );
    }
    let ended = run(&[&args[..], &["-o", "json"]].concat());
    assert_eq!(ended.code, Some(1));
    let findings = json(&ended.stdout)["findings"].as_array().unwrap().clone();
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding["level"] == "error")
        .collect();
    assert!(
        errors.len() == 1 && errors[0]["hint"].is_string(),
        "{errors:?}"
    );
}

#[test]
fn a_misspelt_variable_is_a_warning_with_a_suggestion() {
    let address = Network::draw().address(1).to_string();
    let variables = [
        ("MESH_ADVERTISE_ADDRESS", address.as_str()),
        ("IPERF_TEST_DURATIN", "9s"),
        ("IPERF_INTERVAL", "9s"),
        ("MESH_JION", "node1"),
        ("MESH_WIBBLE", "1"),
        ("MESH_GATEWAY_SERVICE_HOST", "10.96.3.4"),
        ("MESH_GATEWAY_SERVICE_PORT_HTTP", "80"),
        ("MESH_GATEWAY_PORT_80_TCP_ADDR", "10.96.3.4"),
        ("HOME", "/"),
    ];
    let ended = Program::start_with(&["check"], &variables).ended(SOON);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let told = |text: &str| text.matches("no option reads").count();
    assert_eq!(told(&ended.stdout), 4, "{ended:?}");
    for suggestion in [
        "no option reads IPERF_INTERVAL; did you mean IPERF_TEST_INTERVAL?",
        "no option reads IPERF_TEST_DURATIN; did you mean IPERF_TEST_DURATION?",
        "no option reads MESH_JION; did you mean MESH_JOIN?",
        "no option reads MESH_WIBBLE\n",
    ] {
        assert!(ended.stdout.contains(suggestion), "{ended:?}");
    }

    let agent = Program::start_with(&["agent"], &variables);
    await_that(
        "all warnings",
        SOON,
        || told(&agent.stderr()) == 4,
        || agent.stderr(),
    );
}

#[test]
fn every_command_has_help() {
    for (command, word) in [
        ("agent", "--advertise-address"),
        ("local", "--nodes"),
        ("matrix", "--output"),
        ("plan", "--max-age"),
        ("check", "--control-port"),
        ("key", "generate"),
    ] {
        let help = printed(&[command, "--help"]);
        assert!(
            help.contains(word) && help.contains("Usage: iperf3-mesh"),
            "{help}"
        );
    }
    assert!(printed(&["--version"]).starts_with("iperf3-mesh "));
}

#[test]
fn an_unusable_command_line_is_a_usage_error() {
    let wrong: [(&[&str], &str); 13] = [
        (
            &["plan", "--nodes", "8", "--fail", "5"],
            "a share from 0 to 0.5",
        ),
        (&[], "Usage"),
        (&["fly"], "fly"),
        (&["agent", "--nonsense"], "--nonsense"),
        (
            &["agent", "--duration", "soon"],
            "--duration (IPERF_TEST_DURATION) is \"soon\"",
        ),
        (&["local", "--nodes", "1"], "--nodes"),
        (
            &["local", "--duration", "0s"],
            "--duration (IPERF_TEST_DURATION) is \"0s\"",
        ),
        (
            &["matrix", "-o", "xml"],
            "--output is \"xml\": expected one of heatmap",
        ),
        (
            &["matrix", "https://127.0.0.1"],
            "The read API has no TLS: write http://HOST:PORT",
        ),
        (
            &["plan", "--nodes", "5000"],
            "--nodes is \"5000\": expected a number from 2 to 1000",
        ),
        (
            &["local", "--interval", "-5s"],
            "--interval (IPERF_TEST_INTERVAL) is \"-5s\": expected a duration",
        ),
        (&["plan"], "--nodes"),
        (
            &["check", "--iperf-port", "99999"],
            "--iperf-port (IPERF_SERVER_PORT) is \"99999\"",
        ),
    ];
    for (args, word) in wrong {
        let ended = run(args);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{args:?}: {ended:?}"
        );
        assert!(ended.stderr.contains(word), "{args:?}: {ended:?}");
    }
    // All at once, so that one restart is enough.
    let ended = run(&[
        "agent",
        "--duration",
        "0s",
        "--timeout",
        "1h",
        "--streams",
        "0",
    ]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("the configuration has 3 errors"),
        "{ended:?}"
    );
}

/// As in `iperf3-mesh plan … | head -1`.
#[test]
fn a_closed_pipe_is_no_error() {
    for args in [
        &["plan", "--nodes", "8", "-o", "json"][..],
        &[
            "check",
            "--advertise-address",
            "127.0.0.1",
            "--listen-port",
            "1",
        ],
        &["plan", "--help"],
    ] {
        let mut command = Program::command(args, &[]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        // The reader leaves before the first byte, or after the first line.
        if args[0] == "check" {
            reader.read_line(&mut line).unwrap();
        }
        drop(reader);
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        let status = child.wait().unwrap();
        assert!(
            !said.contains("panicked") && !said.contains("stdout"),
            "{args:?}: {said}"
        );
        assert!(status.code().is_some(), "{args:?}: {status}");
    }
}

#[test]
fn check_tells_which_agents_to_join_do_not_exist() {
    let network = Network::draw();
    let agent = Agent::start(network, 1, "n1", &[]);
    await_that(
        "readiness",
        SOON,
        || agent.get("/readyz").is_ok(),
        || agent.program.stderr(),
    );
    let [own, nobody] = [2, 3].map(|number| network.address(number).to_string());
    let join = format!("{},{nobody}", agent.address);
    let checked = printed(&["check", "--advertise-address", &own, "--join", &join]);
    assert!(checked.contains("agents found: 1 of 2\n"), "{checked}");
    assert!(
        checked.contains(&format!("no agent found at {nobody}:9876: ")),
        "{checked}"
    );
}

#[test]
fn check_beside_a_running_agent_is_one_finding_for_its_ports() {
    let network = Network::draw();
    let agent = Agent::start(network, 1, "n1", &[]);
    await_that(
        "readiness",
        SOON,
        || agent.get("/readyz").is_ok(),
        || agent.program.stderr(),
    );
    let address = agent.address.to_string();
    let check = |name| {
        run(&[
            "check",
            "--node-name",
            name,
            "--advertise-address",
            &address,
            "--join",
            &address,
        ])
    };
    let same = check("n1");
    assert_eq!(same.code, Some(0), "{same:?}");
    assert!(
        same.stdout.contains("in use by an agent of this name"),
        "{same:?}"
    );
    assert!(
        same.stdout
            .contains("the only address to join is that of this node"),
        "{same:?}"
    );
    let other = check("n2");
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(
        other
            .stdout
            .contains("in use by the agent of another node name, n1"),
        "{other:?}"
    );
    assert!(other.stdout.contains("errors: 1,"), "{other:?}");
}

#[test]
fn check_shows_why_the_agent_that_runs_here_is_not_ready() {
    // The agent has loopback, and the agent to join is elsewhere.
    let agent = Agent::start(Network::draw(), 1, "n1", &["--join=192.0.2.1"]);
    let reason = format!("no other machine can reach {}", agent.address);
    await_that(
        "the reason",
        SOON,
        || agent.ask("/readyz").1.contains(&reason),
        || agent.program.stderr(),
    );
    assert_eq!(agent.ask("/readyz").0, 503);
    assert_eq!(agent.metric("iperf_mesh_address_unreachable"), Some(1.0));
    let address = agent.address.to_string();
    let checked = run(&[
        "check",
        "--node-name=n1",
        "--advertise-address",
        &address,
        "--join",
        &address,
    ]);
    let expected = format!("the agent that runs here is not ready: {reason}");
    assert!(checked.stdout.contains(&expected), "{checked:?}");
}

/// The output of a program on a terminal of its own.
fn on_a_terminal(args: &[&str], variables: &[(&str, &str)]) -> String {
    let pty = openpty(None, None).unwrap();
    let mut command = Program::command(args, variables);
    let mut child = command.stdout(Stdio::from(pty.slave)).spawn().unwrap();
    // The command holds the other copies of the terminal's far end.
    drop(command);
    let mut bytes = Vec::new();
    // Linux ends the output of a closed terminal with an error.
    let _ = std::fs::File::from(pty.master).read_to_end(&mut bytes);
    assert!(child.wait().unwrap().success());
    String::from_utf8(bytes).unwrap()
}
