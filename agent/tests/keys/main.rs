//! The key file of an agent: what is accepted, and what the agent does without it.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

mod file;
mod generate;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use iperf3_mesh_testkit::agents::{Agent, QUICK};
use iperf3_mesh_testkit::{Network, Program, STOP, await_that};
use tempfile::TempDir;

/// Three looks at the key file.
const SOON: Duration = Duration::from_secs(40);
/// Two keys, as `key generate` prints them.
const NEW: &str = "new:member:NTcwOGE5ZTNkYmE2NGVkYjk5MGIzYTY1MTJlZjQ3OGM=";
const OLD: &str = "old:member:MTk2OGQ1YmZhNzc0NDFlMGE1ZmNiYWE5Nzg5YzQ1NDU=";

#[test]
fn agent_waits_with_closed_mesh_ports_for_its_key_file() {
    let network = Network::draw();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let agent = start(network, &path, &[]);
    let told = format!("the key file {} does not exist", path.display());
    await_that(
        "the reason",
        SOON,
        || agent.ask("/readyz").1.contains(&told),
        || agent.program.stderr(),
    );
    assert_eq!(agent.ask("/readyz").0, 503);
    assert_eq!(agent.ask("/healthz").0, 200);
    assert_eq!(agent.ask("/api/v1/matrix").0, 200);
    assert_eq!(problem(&agent, "missing"), Some(1.0));
    assert_eq!(agent.program.stderr().matches(&told).count(), 1);
    let checked = check(&agent, &path);
    assert!(checked.contains("error    key "), "{checked}");
    let open: Vec<_> = network.listeners();
    assert_eq!(open, [(network.address(1), 9876).into()]);

    write(&path, NEW);
    await_that(
        "readiness",
        SOON,
        || agent.ask("/readyz").0 == 200,
        || agent.program.stderr(),
    );
    assert_eq!(problem(&agent, "missing"), Some(0.0));
    let mut ports: Vec<_> = network.listeners().iter().map(|at| at.port()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [9876, 9877, 9878]);
    assert_eq!(in_use(&agent), ["new"]);
    assert_eq!(agent.metric("iperf_mesh_insecure"), Some(0.0));
    assert_eq!(auth(&agent, "required"), Some(1.0));
    assert!(!agent.get("/").unwrap().contains("No key"));
}

#[test]
fn agent_that_waits_for_a_key_stops_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = start(Network::draw(), &dir.path().join("keys"), &[]);
    await_that(
        "life",
        SOON,
        || agent.ask("/healthz").0 == 200,
        || agent.program.stderr(),
    );
    let ended = agent.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// As in a pod, where the file is a link into a directory that is replaced as a whole.
#[test]
fn replaced_secret_is_in_use_without_a_restart() {
    let network = Network::draw();
    let secret = Secret::new();
    secret.replace(Some(OLD));
    let agent = start(network, &secret.file(), &["--auth=permissive"]);
    await_that(
        "the old key",
        SOON,
        || in_use(&agent) == ["old"],
        || agent.program.stderr(),
    );
    assert_eq!(auth(&agent, "permissive"), Some(1.0));
    secret.replace(Some(&format!("{NEW}\n{OLD}")));
    await_that(
        "both keys",
        SOON,
        || in_use(&agent) == ["new", "old"],
        || agent.program.stderr(),
    );
    secret.replace(Some(NEW));
    await_that(
        "the new key alone",
        SOON,
        || in_use(&agent) == ["new"],
        || agent.program.stderr(),
    );
    let log = agent.program.stderr();
    for key in [NEW, OLD] {
        let secret = key.rsplit(':').next().unwrap();
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn lost_key_file_leaves_the_keys_in_use_and_the_agent_unready() {
    let network = Network::draw();
    let secret = Secret::new();
    secret.replace(Some(NEW));
    let agent = start(network, &secret.file(), &[]);
    let is_ready = || agent.ask("/readyz").0 == 200;
    await_that("readiness", SOON, is_ready, || agent.program.stderr());
    for (content, reason, words) in [
        (None, "missing", "does not exist"),
        (
            Some("new:member:short"),
            "invalid",
            "line 1: a key is 32 bytes",
        ),
    ] {
        secret.replace(content);
        await_that(
            reason,
            SOON,
            || problem(&agent, reason) == Some(1.0),
            || agent.program.stderr(),
        );
        let (status, answer) = agent.ask("/readyz");
        assert_eq!(status, 503, "{answer}");
        assert!(answer.contains(words), "{answer}");
        assert_eq!(in_use(&agent), ["new"]);
        assert_eq!(network.listeners().len(), 3);
    }
    secret.replace(Some(NEW));
    await_that("readiness", SOON, is_ready, || agent.program.stderr());
}

#[test]
fn agent_without_a_key_says_so() {
    let agent = Agent::start(Network::draw(), 1, "n1", &[]);
    await_that(
        "readiness",
        SOON,
        || agent.ask("/readyz").0 == 200,
        || agent.program.stderr(),
    );
    assert!(agent.program.stderr().contains("no key (--insecure)"));
    assert_eq!(agent.metric("iperf_mesh_insecure"), Some(1.0));
    assert_eq!(auth(&agent, "insecure"), Some(1.0));
    assert_eq!(auth(&agent, "required"), Some(0.0));
    let note = "No key (--insecure)";
    assert!(agent.get("/").unwrap().contains(note));
    let address = agent.address.to_string();
    let checked = Program::run(&["check", "--advertise-address", &address], STOP);
    assert!(checked.stdout.contains("warning  key "), "{checked:?}");
}

#[test]
fn agent_with_neither_key_nor_insecure_does_not_start() {
    let address = Network::draw().address(1).to_string();
    let variables = [
        ("MESH_INSECURE", ""),
        ("MESH_ADVERTISE_ADDRESS", address.as_str()),
    ];
    let ended = Program::start_with(&["agent"], &variables).ended(STOP);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for part in ["--key-file (MESH_KEY_FILE)", "iperf3-mesh key generate"] {
        assert!(ended.stderr.contains(part), "{ended:?}");
    }
}

/// A Secret as a pod has it.
struct Secret(TempDir);

impl Secret {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        symlink("..data/keys", dir.path().join("keys")).unwrap();
        Self(dir)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("keys")
    }

    /// Replaces the data of the Secret in one step.
    fn replace(&self, content: Option<&str>) {
        let data = tempfile::tempdir_in(self.0.path()).unwrap().keep();
        if let Some(content) = content {
            write(&data.join("keys"), content);
        }
        let link = self.0.path().join("..data_tmp");
        symlink(data.file_name().unwrap(), &link).unwrap();
        fs::rename(link, self.0.path().join("..data")).unwrap();
    }
}

/// Starts the agent `n1` with this key file.
fn start(network: Network, key_file: &Path, args: &[&str]) -> Agent {
    let key_file = format!("--key-file={}", key_file.display());
    let args = [&QUICK[..], &["--skip-quiet-time", &key_file], args].concat();
    Agent::start_with(network, 1, "n1", &args)
}

/// Writes a file that only its owner may read.
fn write(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o400)).unwrap();
    fs::rename(new, path).unwrap();
}

fn check(agent: &Agent, key_file: &Path) -> String {
    let key_file = format!("--key-file={}", key_file.display());
    let address = format!("--advertise-address={}", agent.address);
    let args = ["check", "--node-name=n1", &address, &key_file];
    agent.run_beside(&args, STOP).stdout
}

fn problem(agent: &Agent, reason: &str) -> Option<f64> {
    agent.labelled("iperf_mesh_key_problem", &[("reason", reason)])
}

fn auth(agent: &Agent, mode: &str) -> Option<f64> {
    agent.labelled("iperf_mesh_auth", &[("mode", mode)])
}

/// The ids of the keys in the metrics.
fn in_use(agent: &Agent) -> Vec<String> {
    let series = agent.series().unwrap_or_default().into_iter();
    let keys = series.filter(|series| series.name == "iperf_mesh_key_in_use");
    let mut ids: Vec<_> = keys.map(|series| series.labels["id"].clone()).collect();
    ids.sort();
    ids
}
