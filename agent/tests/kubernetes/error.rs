//! An API server that is down, slow, unwilling or broken: the known pods stay known, the error is
//! logged once, and discovery notices the recovery.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;

use super::*;

#[tokio::test]
async fn forbidden_request_is_reported_with_the_missing_role() {
    let text = "Bind a Role with the verbs get, list and watch on pods";
    survives(Mood::Refusing(403), PACE, "forbidden", text).await;
}

#[tokio::test]
async fn rejected_token_is_reported_with_the_server_message() {
    let text = "does not accept this agent's token (401 Because: pods is not for you)";
    survives(Mood::Refusing(401), PACE, "unauthorized", text).await;
}

#[tokio::test]
async fn server_with_internal_errors_is_retried() {
    survives(
        Mood::Refusing(503),
        PACE,
        "refused",
        "answered with an error (503 Because",
    )
    .await;
}

#[tokio::test]
async fn server_that_does_not_answer_times_out() {
    let pace = Pace {
        answer_timeout: Duration::from_millis(100),
        ..PACE
    };
    survives(Mood::Mute, pace, "timeout", "has not answered within 100ms").await;
}

#[tokio::test]
async fn invalid_json_is_reported_as_an_invalid_response() {
    survives(
        Mood::Garbled,
        PACE,
        "invalid_response",
        "sent an invalid response",
    )
    .await;
}

#[tokio::test]
async fn odd_pods_of_a_list_cost_only_themselves() {
    let (log, _guard) = Log::start();
    let server = Server::start().await;
    for (number, odd) in odd_pods().iter().enumerate() {
        server.put_odd(&format!("odd-{number}"), odd);
    }
    server.put(pod("node-2", &["10.0.0.2"]));
    let mut watching = Watching::start(&server);
    watching.sees(&["10.0.0.2:9877"]).await;
    let count = odd_pods().len();
    until("all are counted", || {
        failures(&watching, "unreadable_pod") >= count as f64
    })
    .await;
    let warnings = log.lines("WARN");
    assert_eq!(warnings.len(), count, "{warnings:?}");
}

#[tokio::test]
async fn odd_pods_of_a_watch_cost_only_themselves() {
    let (log, _guard) = Log::start();
    let server = Server::start().await;
    server.put(pod("node-2", &["10.0.0.2"]));
    let mut watching = Watching::start(&server);
    watching.sees(&["10.0.0.2:9877"]).await;
    for _ in 0..2 {
        for odd in odd_pods() {
            server.put_odd("odd", &odd);
        }
    }
    // A pod that was readable before keeps its address.
    let renamed = json!({ "metadata": { "name": "agent-node-2" }, "spec": [] });
    server.put_odd("agent-node-2", &renamed);
    server.put(pod("node-3", &["10.0.0.3"]));
    watching.sees(&["10.0.0.2:9877", "10.0.0.3:9877"]).await;
    let count = odd_pods().len();
    until("all are counted", || {
        failures(&watching, "unreadable_pod") >= (2 * count + 1) as f64
    })
    .await;
    assert_eq!(failures(&watching, "invalid_response"), 0.0);
    let lists = server.requests();
    let lists = lists.iter().filter(|request| !request.contains("watch="));
    assert_eq!(lists.count(), 1);
    // Each name is logged once.
    let warnings = log.lines("WARN");
    assert_eq!(warnings.len(), count + 1, "{warnings:?}");
}

/// Objects that are no usable pods, each with another name.
fn odd_pods() -> Vec<Value> {
    let named = |name: &str, change: fn(&mut Value)| {
        let mut odd = pod(name, &["10.0.0.9"]);
        change(&mut odd);
        odd
    };
    vec![
        json!({ "metadata": null, "spec": null }),
        json!({ "metadata": { "name": "bare" } }),
        named("a", |odd| odd["spec"]["nodeName"] = json!(7)),
        named("b", |odd| odd["spec"]["nodeName"] = json!("x".repeat(999))),
        named("c", |odd| {
            odd["status"]["podIPs"] = json!([{ "ip": "10.0.0.900" }]);
        }),
        named("d", |odd| {
            odd["status"]["podIPs"] = json!([{ "ip": "0.0.0.0" }]);
        }),
        named("e", |odd| odd["status"]["podIPs"] = json!("10.0.0.9")),
        named("f", |odd| {
            odd["spec"]["containers"] = json!([{ "ports": [{ "containerPort": 70_000 }] }]);
        }),
        named("g", |odd| {
            odd["metadata"]["deletionTimestamp"] = json!("soon");
        }),
    ]
}

#[tokio::test]
async fn pod_with_null_lists_is_found() {
    let server = Server::start().await;
    let mut bare = pod("node-2", &["10.0.0.2"]);
    bare["spec"]["containers"] = json!(null);
    bare["status"]["conditions"] = json!(null);
    server.put(bare);
    Watching::start(&server).sees(&["10.0.0.2:9877"]).await;
}

#[tokio::test]
async fn endless_list_is_reported_as_too_many_pods() {
    let (log, _guard) = Log::start();
    let server = Server::start().await;
    server.mood(Mood::Endless);
    let watching = Watching::start(&server);
    until("listing is given up", || {
        failures(&watching, "too_many_pods") >= 2.0
    })
    .await;
    let warnings = log.lines("WARN");
    let text = "Narrow --label-selector (IPERF_SERVER_LABEL_SELECTOR)";
    assert!(
        warnings.len() == 1 && warnings[0].contains(text),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn watch_resumes_without_a_list_after_an_outage() {
    let (log, _guard) = Log::start();
    let mut server = Server::start().await;
    server.put(pod("node-2", &["10.0.0.2"]));
    let mut watching = Watching::start(&server);
    watching.sees(&["10.0.0.2:9877"]).await;
    server.close().await;
    until("connections are refused repeatedly", || {
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
async fn expired_version_is_listed_again_without_a_warning() {
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
async fn pods_are_listed_repeatedly_without_the_right_to_watch() {
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
        warnings.len() == 1 && warnings[0].contains("list and watch on pods"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn watch_that_ends_resumes_without_a_list() {
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

#[tokio::test]
async fn watch_that_ends_at_once_is_reopened_at_a_bounded_pace() {
    let pace = Pace {
        retry_min: Duration::from_millis(50),
        retry_max: Duration::from_secs(60),
        ..PACE
    };
    let server = Server::start().await;
    server.mood(Mood::EndingWatches);
    server.put(pod("node-2", &["10.0.0.2"]));
    let mut watching = Watching::start_with(&server, OWN, pace);
    watching.sees(&["10.0.0.2:9877"]).await;
    let started = Instant::now();
    until("four watches have ended", || server.requests().len() >= 5).await;
    // At least half of 50, 100 and 200 ms.
    assert!(started.elapsed() >= Duration::from_millis(170));
}

#[tokio::test]
async fn success_is_recorded_when_a_watch_without_events_reopens() {
    let server = Server::start().await;
    server.put(pod("node-2", &["10.0.0.2"]));
    let mut watching = Watching::start(&server);
    watching.sees(&["10.0.0.2:9877"]).await;
    until("the first success", || last_success(&watching).is_some()).await;
    let first = last_success(&watching);
    server.hang_up();
    until("a later success", || last_success(&watching) > first).await;
}

/// The log of this test's thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .map_err(|_| io::Error::other("a test panicked"))?
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

    /// The lines of `level` from discovery.
    fn lines(&self, level: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text
            .lines()
            .filter(|line| line.contains(level) && line.contains("agents' pods"));
        lines.map(str::to_owned).collect()
    }
}

/// Waits until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        timeout(SOON, holds).await.is_ok(),
        "timed out waiting until {what}"
    );
}

/// The number of failures that the metrics count for `reason`.
fn failures(watching: &Watching, reason: &str) -> f64 {
    let text = watching.metrics.text().unwrap();
    let series = format!("iperf_mesh_discovery_failures_total{{reason=\"{reason}\"}} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&series))
        .map_or(0.0, |n| n.parse().unwrap())
}

/// Asserts that a server in that `mood` changes nothing about the known pods; that the error is
/// logged once, with `text`, and counted as `reason`; and that discovery recovers afterwards.
async fn survives(mood: Mood, pace: Pace, reason: &str, text: &str) {
    let (log, _guard) = Log::start();
    let server = Server::start().await;
    server.put(pod("node-2", &["10.0.0.2"]));
    let mut watching = Watching::start_with(&server, OWN, pace);
    watching.sees(&["10.0.0.2:9877"]).await;
    server.mood(mood);
    server.hang_up();
    until("requests fail repeatedly", || {
        failures(&watching, reason) >= 3.0
    })
    .await;
    watching.sees(&["10.0.0.2:9877"]).await;
    assert_eq!(watching.gone(), []);
    let warnings = log.lines("WARN");
    assert!(
        warnings.len() == 1 && warnings[0].contains(text),
        "{warnings:?}"
    );

    server.put(pod("node-3", &["10.0.0.3"]));
    server.mood(Mood::Fair);
    watching.sees(&["10.0.0.2:9877", "10.0.0.3:9877"]).await;
    until("the recovery is logged", || log.lines("INFO").len() == 1).await;
    assert_eq!(log.lines("WARN").len(), 1);
}

/// The time of the last success, in Unix seconds.
fn last_success(watching: &Watching) -> Option<f64> {
    let text = watching.metrics.text().unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix("iperf_mesh_discovery_success_timestamp_seconds "))
        .map(|value| value.parse().unwrap())
}
