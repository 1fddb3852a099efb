//! The findings of `check` on a machine with one fault, each with its hint.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use iperf3_mesh::cli::{self, Cli};
use iperf3_mesh::commands::check::{self, Finding, Level, can_take_part, json, table};
use iperf3_mesh::config::{Config, Environment};

/// Ports that were free a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|socket| socket.local_addr().unwrap().port())
}

/// Checks an agent on the loopback, on free ports unless `words` name others.
async fn check(words: &[&str]) -> Vec<Finding> {
    let [listen, control, gossip, iperf] = free_ports();
    let ports = [
        ("listen", listen),
        ("control", control),
        ("gossip", gossip),
        ("iperf", iperf),
    ];
    let mut all: Vec<String> = ["iperf3-mesh", "check", "--insecure"]
        .map(str::to_owned)
        .into();
    for (name, port) in ports {
        let flag = format!("--{name}-port=");
        if !words.iter().any(|word| word.starts_with(&flag)) {
            all.push(format!("{flag}{port}"));
        }
    }
    for (flag, value) in [
        ("--advertise-address=", "127.0.0.1"),
        ("--iperf-ports=", "1"),
        ("--join=", "127.0.0.1:1"),
    ] {
        if !words.iter().any(|word| word.starts_with(flag)) {
            all.push(format!("{flag}{value}"));
        }
    }
    all.extend(words.iter().map(|word| (*word).to_owned()));
    let cli::Command::Check(args) = Cli::read(&all).unwrap().command else {
        panic!("not check")
    };
    let environment = Environment {
        host_name: Some("worker-1".to_owned()),
        in_pod: false,
        has_token: false,
    };
    check::findings(&Config::new(&args.agent, &environment).unwrap()).await
}

/// The port of an agent of that name, which refuses a member, as far as `check` asks it. It has one
/// answer to all questions, and keeps the port in use until the test ends.
fn agent_of(node: &str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let refused = r#"[{"name":"worker-9","address":"198.18.0.9:9878","reason":"unlisted"}]"#;
    let body =
        format!(r#"{{"version":"1.0.0","node":"{node}","refused_members":2,"refused":{refused}}}"#);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
    let length = body.len();
    let answer = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]).unwrap();
            connection.write_all(answer.as_bytes()).unwrap();
        }
    });
    port
}

/// The findings of that level as `subject: detail -> hint`.
fn lines(findings: &[Finding], level: Level) -> Vec<String> {
    let line = |f: &Finding| {
        format!(
            "{}: {} -> {}",
            f.subject,
            f.detail,
            f.hint.as_deref().unwrap_or("nothing")
        )
    };
    findings
        .iter()
        .filter(|finding| finding.level == level)
        .map(line)
        .collect()
}

/// The real iperf3, which reports that version. Another process writes it: a file that this one
/// has open for writing cannot be executed while another test starts a child.
fn iperf3_of(version: &str, directory: &Path) -> String {
    let path = directory.join("iperf3");
    let script = format!(
        "printf '#!/bin/sh\\n[ \"$1\" = --version ] || exec iperf3 \"$@\"\\n\
         echo \"iperf {version} (fake)\"\\n' > \"$0\" && chmod +x \"$0\""
    );
    let status = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(&path)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    format!("--iperf3={}", path.display())
}

#[tokio::test]
async fn a_node_without_faults_has_no_errors() {
    let directory = tempfile::tempdir().unwrap();
    let findings = check(&[&iperf3_of("3.16", directory.path())]).await;
    assert!(can_take_part(&findings), "{}", table(&findings));
    let table = table(&findings);
    assert!(table.contains("iperf3, version 3.16\n"), "{table}");
    assert!(table.contains("127.0.0.1 (given)\n"), "{table}");
    assert!(table.contains("\nThis node can take part"), "{table}");
}

#[tokio::test]
async fn a_missing_iperf3_is_an_error() {
    let findings = check(&["--iperf3=/nowhere/iperf3"]).await;
    let [error] = lines(&findings, Level::Error).try_into().unwrap();
    assert!(error.contains("/nowhere/iperf3"), "{error}");
    assert!(
        error.ends_with(
            "-> Set --iperf3 (IPERF3) to the path of iperf3, or leave it out for the iperf3 in \
             PATH."
        ),
        "{error}"
    );
    assert!(
        table(&findings).contains("\nThis node cannot take part; errors: 1, "),
        "{findings:?}"
    );
}

#[tokio::test]
async fn an_old_iperf3_is_an_error_or_has_drawbacks() {
    let directory = tempfile::tempdir().unwrap();
    let findings = check(&[&iperf3_of("3.7", directory.path())]).await;
    let [error] = lines(&findings, Level::Error).try_into().unwrap();
    assert!(error.contains("3.7"), "{error}");

    let directory = tempfile::tempdir().unwrap();
    let program = iperf3_of("3.9", directory.path());
    let findings = check(&[&program]).await;
    assert!(can_take_part(&findings), "{}", table(&findings));
    assert!(
        lines(&findings, Level::Warning)
            .iter()
            .any(|line| line.contains("--rcv-timeout")),
        "{findings:?}"
    );

    let findings = check(&[&program, "--bidir"]).await;
    let [error] = lines(&findings, Level::Error).try_into().unwrap();
    let expected = "iperf3: 3.9 cannot tell the directions of --bidir apart -> \
        Install iperf3 3.11 or newer, or leave --bidir (IPERF_BIDIR) out.";
    assert_eq!(error, expected);
}

#[tokio::test]
async fn known_vulnerabilities_of_iperf3_are_one_warning() {
    let directory = tempfile::tempdir().unwrap();
    let findings = check(&[&iperf3_of("3.19", directory.path())]).await;
    assert!(can_take_part(&findings), "{}", table(&findings));
    let [warning] = lines(&findings, Level::Warning)
        .into_iter()
        .filter(|line| line.starts_with("iperf3: "))
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let expected = "iperf3: 3.19 has known vulnerabilities: CVE-2025-54351, CVE-2026-71217, \
        CVE-2026-102253 (and in its authentication, which the agent does not use: CVE-2025-54349, \
        CVE-2025-54350) -> Install iperf3 3.22 or newer. Distributions backport fixes without \
        changing the version: look for these CVEs in the changelog of the package.";
    assert_eq!(warning, expected);

    let directory = tempfile::tempdir().unwrap();
    let findings = check(&[&iperf3_of("3.22", directory.path())]).await;
    let warnings = lines(&findings, Level::Warning);
    assert!(
        !warnings.iter().any(|line| line.starts_with("iperf3: ")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn an_agent_to_join_that_does_not_exist_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let program = iperf3_of("3.22", directory.path());
    let findings = check(&[&program, "--join=127.0.0.2:1"]).await;
    let [no_key, warning] = lines(&findings, Level::Warning).try_into().unwrap();
    assert!(no_key.starts_with("key: none"), "{no_key}");
    assert!(
        warning.starts_with("join: no agent found at 127.0.0.2:"),
        "{warning}"
    );
    assert!(
        !lines(&findings, Level::Ok)
            .iter()
            .any(|line| line.starts_with("join")),
        "{findings:?}"
    );
}

#[tokio::test]
async fn a_node_takes_part_while_one_port_of_iperf3_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let program = iperf3_of("3.16", directory.path());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    // The range must not exceed 65535.
    let first = taken.local_addr().unwrap().port().min(65528);
    let findings = check(&[
        &program,
        &format!("--iperf-port={first}"),
        "--iperf-ports=8",
    ])
    .await;
    assert!(can_take_part(&findings), "{}", table(&findings));
    let subject = format!("ports {first}-{} tcp+udp", first + 7);
    let warnings = lines(&findings, Level::Warning);
    assert!(
        warnings.iter().any(|warning| warning.starts_with(&subject)),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn each_port_in_use_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let program = iperf3_of("3.16", directory.path());
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (tcp_port, udp_port) = (
        tcp.local_addr().unwrap().port(),
        udp.local_addr().unwrap().port(),
    );
    let stop = "Stop the program that uses it (`ss -lntup` shows it), or set";
    for (flag, variable, protocol, port) in [
        ("--listen-port", "LISTEN_PORT", "tcp", tcp_port),
        ("--control-port", "MESH_CONTROL_PORT", "tcp", tcp_port),
        ("--gossip-port", "MESH_GOSSIP_PORT", "udp", udp_port),
    ] {
        let findings = check(&[&program, &format!("{flag}={port}")]).await;
        let expected = format!(
            "port {port} {protocol}: cannot open 127.0.0.1:{port}: Address already in use (os error 98) -> \
             {stop} {flag} ({variable}) to another port."
        );
        assert_eq!(lines(&findings, Level::Error), [expected]);
    }
    for port in [tcp_port, udp_port] {
        let findings = check(&[&program, &format!("--iperf-port={port}")]).await;
        let [error] = lines(&findings, Level::Error).try_into().unwrap();
        assert!(
            error.starts_with(&format!(
                "ports {port}-{port} tcp+udp: cannot open 127.0.0.1:{port}"
            )),
            "{error}"
        );
        assert!(
            error.ends_with(&format!(
                "{stop} --iperf-port (IPERF_SERVER_PORT) to another port."
            )),
            "{error}"
        );
    }
}

#[tokio::test]
async fn test_ports_beside_a_running_agent_are_not_probed() {
    let directory = tempfile::tempdir().unwrap();
    let program = iperf3_of("3.16", directory.path());
    let test_port = TcpListener::bind("127.0.0.1:0").unwrap();
    let iperf_port = format!("--iperf-port={}", test_port.local_addr().unwrap().port());
    for (node, level) in [("worker-1", Level::Warning), ("worker-2", Level::Error)] {
        let listen_port = format!("--listen-port={}", agent_of(node));
        let findings = check(&[&program, &listen_port, &iperf_port]).await;
        assert!(
            !findings
                .iter()
                .any(|finding| finding.subject.ends_with(" tcp+udp")),
            "{findings:?}"
        );
        assert!(
            lines(&findings, level)
                .iter()
                .any(|line| line.starts_with("ports: ")),
            "{findings:?}"
        );
    }
}

#[tokio::test]
async fn members_that_a_running_agent_refuses_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let program = iperf3_of("3.22", directory.path());
    let listen_port = format!("--listen-port={}", agent_of("worker-1"));
    let findings = check(&[&program, &listen_port]).await;
    let expected = "members: the agent that runs here refuses 2 members in gossip because of their \
        addresses, such as worker-9 at 198.18.0.9:9878 (unlisted) -> ";
    let warnings = lines(&findings, Level::Warning);
    assert!(
        warnings.iter().any(|line| line.starts_with(expected)),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn own_address_outside_the_peer_networks_is_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let program = iperf3_of("3.22", directory.path());
    for (networks, is_warned) in [("127.0.0.0/8", false), ("198.18.0.0/15,fd00::/8", true)] {
        let findings = check(&[&program, &format!("--peer-cidr={networks}")]).await;
        let warnings = lines(&findings, Level::Warning);
        let expected = "address: 127.0.0.1 (given) is outside the networks of --peer-cidr \
            (MESH_PEER_CIDR)";
        let is_found = warnings.iter().any(|line| line.starts_with(expected));
        assert_eq!(is_found, is_warned, "{networks}: {warnings:?}");
    }
}

#[tokio::test]
async fn addresses_to_join_of_the_other_family_are_not_asked() {
    let directory = tempfile::tempdir().unwrap();
    let program = iperf3_of("3.22", directory.path());
    let findings = check(&[&program, "--join=[::1]:1"]).await;
    let expected = "join: no address to join is IPv4, the family of this node's address, \
        127.0.0.1 -> Set --join (MESH_JOIN) to IPv4 addresses, or --advertise-address \
        (MESH_ADVERTISE_ADDRESS) to an address of the other family.";
    assert_eq!(lines(&findings, Level::Error), [expected]);

    // Two gossip ports of one machine are one machine to ask.
    let findings = check(&[&program, "--join=[::1]:1,127.0.0.2:1,127.0.0.2:2"]).await;
    let [no_key, warning] = lines(&findings, Level::Warning).try_into().unwrap();
    assert!(no_key.starts_with("key: none"), "{no_key}");
    assert!(
        warning.starts_with("join: no agent found at 127.0.0.2:"),
        "{warning}"
    );
}

#[tokio::test]
async fn another_agent_of_this_node_is_not_taken_for_this_one() {
    let directory = tempfile::tempdir().unwrap();
    let program = iperf3_of("3.22", directory.path());
    let [gossip] = free_ports();
    let own = format!("--gossip-port={gossip}");
    for (port, expected) in [
        (
            1,
            "join: 127.0.0.1:1 is another agent on this node; it was not asked, because its \
             --listen-port (LISTEN_PORT) is not known",
        ),
        (
            gossip,
            "join: the only address to join is that of this node",
        ),
    ] {
        let join = format!("--join=127.0.0.1:{port}");
        let findings = check(&[&program, &own, &join]).await;
        let lines = lines(&findings, Level::Ok);
        assert!(
            lines.iter().any(|line| line.starts_with(expected)),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn an_address_of_another_node_is_a_single_error() {
    let directory = tempfile::tempdir().unwrap();
    let findings = check(&[
        &iperf3_of("3.16", directory.path()),
        "--advertise-address=192.0.2.7",
    ])
    .await;
    let [error] = lines(&findings, Level::Error).try_into().unwrap();
    assert!(
        error.starts_with("address: 192.0.2.7 (given) is not an address of this node: "),
        "{error}"
    );
    assert!(
        error.contains("-> Set --advertise-address (MESH_ADVERTISE_ADDRESS) to an address that"),
        "{error}"
    );
}

#[tokio::test]
async fn an_unknown_name_is_an_error_only_if_it_is_the_only_one() {
    let directory = tempfile::tempdir().unwrap();
    let program = iperf3_of("3.16", directory.path());
    for (join, level) in [
        ("nobody.invalid", Level::Error),
        ("nobody.invalid,127.0.0.1:1", Level::Warning),
    ] {
        let findings = check(&[&program, &format!("--join={join}")]).await;
        let lines = lines(&findings, level);
        assert!(
            lines.iter().any(|line| line
                .starts_with("join: cannot resolve nobody.invalid of --join (MESH_JOIN): ")),
            "{lines:?}"
        );
        assert_eq!(can_take_part(&findings), level == Level::Warning);
    }
}

#[tokio::test]
async fn the_json_has_subject_level_detail_and_hint() {
    let directory = tempfile::tempdir().unwrap();
    let findings = check(&[&iperf3_of("3.16", directory.path()), "--join="]).await;
    let json: serde_json::Value = serde_json::from_str(&json(&findings).unwrap()).unwrap();
    let list = json["findings"].as_array().unwrap();
    assert_eq!(list[1]["subject"], "iperf3");
    assert_eq!(list[1]["level"], "ok");
    assert!(list[1].get("hint").is_none());
    let join = list
        .iter()
        .find(|finding| finding["subject"] == "join")
        .unwrap();
    assert_eq!(join["level"], "warning");
    assert_eq!(
        join["hint"],
        "Set --join (MESH_JOIN), unless this is the first node of its mesh."
    );
}
