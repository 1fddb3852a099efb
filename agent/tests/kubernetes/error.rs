//! An API server that is away, slow, unwilling or out of its mind: what was found stays, it is said
//! once, and what heals is noticed.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;

use super::*;

/// What this test's thread logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .map_err(|_| io::Error::other("another test's panic"))?
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone());
        (log, tracing::subscriber::set_default(lines.finish()))
    }

    /// The lines from discovery of that level.
    fn lines(&self, level: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text
            .lines()
            .filter(|line| line.contains(level) && line.contains("agents' pods"));
        lines.map(str::to_owned).collect()
    }
}

/// Lets the tasks run until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        timeout(SOON, holds).await.is_ok(),
        "it never came to pass that {what}"
    );
}

/// How often the server did not tell of the pods, for that reason.
fn failures(watching: &Watching, reason: &str) -> f64 {
    let text = watching.metrics.text().unwrap();
    let series = format!("iperf_mesh_discovery_failures_total{{reason=\"{reason}\"}} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&series))
        .map_or(0.0, |n| n.parse().unwrap())
}

/// In that `mood` nothing new is found, which is said once, with `words`, and counted; and then all
/// is well again.
async fn survives(mood: Mood, pace: Pace, reason: &str, words: &str) {
    let (log, _guard) = Log::start();
    let server = Server::start().await;
    server.put(pod("node-2", &["10.0.0.2"]));
    let mut watching = Watching::start_with(&server, OWN, pace);
    watching.sees(&["10.0.0.2:9877"]).await;
    server.mood(mood);
    server.hang_up();
    until("it fails again and again", || {
        failures(&watching, reason) >= 3.0
    })
    .await;
    watching.sees(&["10.0.0.2:9877"]).await;
    assert_eq!(watching.gone(), []);
    let warnings = log.lines("WARN");
    assert!(
        warnings.len() == 1 && warnings[0].contains(words),
        "{warnings:?}"
    );

    server.put(pod("node-3", &["10.0.0.3"]));
    server.mood(Mood::Fair);
    watching.sees(&["10.0.0.2:9877", "10.0.0.3:9877"]).await;
    until("it says that it is well", || log.lines("INFO").len() == 1).await;
    assert_eq!(log.lines("WARN").len(), 1);
}

#[tokio::test]
async fn a_server_that_forbids_names_the_role_that_is_missing() {
    let words = "Bind a Role with the verbs get, list and watch of pods";
    survives(Mood::Refusing(403), PACE, "forbidden", words).await;
}

#[tokio::test]
async fn a_server_that_does_not_know_the_token_names_the_service_account() {
    let words = "does not accept this agent's token (401 Because: pods is not for you)";
    survives(Mood::Refusing(401), PACE, "unauthorized", words).await;
}

#[tokio::test]
async fn a_server_with_problems_of_its_own_is_asked_again() {
    survives(
        Mood::Refusing(503),
        PACE,
        "refused",
        "answers with an error (503 Because",
    )
    .await;
}

#[tokio::test]
async fn a_server_that_is_slow_is_not_waited_for() {
    let pace = Pace {
        answer: Duration::from_millis(100),
        ..PACE
    };
    survives(Mood::Mute, pace, "timeout", "has not answered within 100ms").await;
}

#[tokio::test]
async fn a_server_that_babbles_is_no_api_server() {
    survives(Mood::Babbling, PACE, "invalid_response", "makes no sense").await;
}

#[tokio::test]
async fn more_pods_than_a_mesh_can_have_are_a_mistaken_selector() {
    let (log, _guard) = Log::start();
    let server = Server::start().await;
    server.mood(Mood::Endless);
    let watching = Watching::start(&server);
    until("it gives up", || {
        failures(&watching, "too_many_pods") >= 2.0
    })
    .await;
    let warnings = log.lines("WARN");
    let words = "Narrow --label-selector (IPERF_SERVER_LABEL_SELECTOR)";
    assert!(
        warnings.len() == 1 && warnings[0].contains(words),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_server_that_comes_back_is_not_asked_for_everything() {
    let (log, _guard) = Log::start();
    let mut server = Server::start().await;
    server.put(pod("node-2", &["10.0.0.2"]));
    let mut watching = Watching::start(&server);
    watching.sees(&["10.0.0.2:9877"]).await;
    server.close().await;
    until("it is refused again and again", || {
        failures(&watching, "unreachable") >= 3.0
    })
    .await;
    server.put(pod("node-3", &["10.0.0.3"]));
    server.open().await;
    watching.sees(&["10.0.0.2:9877", "10.0.0.3:9877"]).await;
    assert_eq!(watching.gone(), []);
    let lists = server
        .requests()
        .iter()
        .filter(|path| !path.contains("watch=true"))
        .count();
    assert_eq!(
        (lists, log.lines("WARN").len(), log.lines("INFO").len()),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn a_history_that_is_forgotten_takes_a_new_list_and_no_warning() {
    let (log, _guard) = Log::start();
    let mut server = Server::start().await;
    for (node, address) in [("node-2", "10.0.0.2"), ("node-3", "10.0.0.3")] {
        server.put(pod(node, &[address]));
    }
    let mut watching = Watching::start(&server);
    watching.sees(&["10.0.0.2:9877", "10.0.0.3:9877"]).await;
    server.close().await;
    server.delete("agent-node-3");
    server.put(pod("node-4", &["10.0.0.4"]));
    server.forget();
    server.open().await;
    watching.sees(&["10.0.0.2:9877", "10.0.0.4:9877"]).await;
    assert_eq!(watching.gone(), [name("node-3")]);
    assert!(failures(&watching, "expired") >= 1.0);
    let warnings = log.lines("WARN");
    assert!(
        warnings
            .iter()
            .all(|line| line.contains("cannot be reached")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn without_the_right_to_watch_lists_must_do() {
    let (log, _guard) = Log::start();
    let server = Server::start().await;
    server.mood(Mood::Unwatchable);
    server.put(pod("node-2", &["10.0.0.2"]));
    let mut watching = Watching::start(&server);
    watching.sees(&["10.0.0.2:9877"]).await;
    server.put(pod("node-3", &["10.0.0.3"]));
    watching.sees(&["10.0.0.2:9877", "10.0.0.3:9877"]).await;
    let warnings = log.lines("WARN");
    assert!(
        warnings.len() == 1 && warnings[0].contains("list and watch of pods"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_watch_that_ends_goes_on_where_it_was() {
    let server = Server::start().await;
    server.put(pod("node-2", &["10.0.0.2"]));
    let mut watching = Watching::start(&server);
    watching.sees(&["10.0.0.2:9877"]).await;
    for round in 3..6 {
        server.hang_up();
        server.put(pod("more", &[&format!("10.0.0.{round}")]));
        watching
            .sees(&["10.0.0.2:9877", &format!("10.0.0.{round}:9877")])
            .await;
    }
    let lists = server
        .requests()
        .iter()
        .filter(|path| !path.contains("watch=true"))
        .count();
    assert_eq!(lists, 1);
}
