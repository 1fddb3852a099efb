//! The read API as its clients see it, with failing peers and hostile clients.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod fixture;
mod forms;
mod sealed;

use std::time::{Duration, Instant};

use iperf3_mesh::api::{Matrix, Member, NodeState, Schedule, Since};
use iperf3_mesh::http::client::{Client, ClientError, Limits};
use iperf3_mesh_core::{Protocol, Reason};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use fixture::{
    DEADLINE, Fault, ask, closed_port, faulty_peer, fetch_open, figures, get, member, name,
    normalized, raw, refused, schedule, serve, serve_on, state,
};

#[tokio::test]
async fn every_path_answers_with_its_own_content_type() {
    let state = state("node-a");
    state.set_listening(true);
    let (address, _stop) = serve(&state).await;
    for (path, content_type) in [
        ("/", "text/plain; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/healthz", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/api/v1/row", "application/json"),
        ("/api/v1/matrix", "application/json"),
        ("/api/v1/members", "application/json"),
        ("/api/v1/schedule", "application/json"),
    ] {
        let answer = ask(address, "GET", path).await;
        let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 200 ok"), "{path}: {head}");
        assert!(
            head.contains(&format!("content-type: {content_type}\r\n")),
            "{path}: {head}"
        );
        for header in [
            "cache-control: no-",
            "x-content-type-options: nosniff",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(header), "{path}: no {header} in {head}");
        }

        let head = ask(address, "HEAD", path).await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"),
            "{head}"
        );

        let refused = ask(address, "POST", path).await;
        assert!(refused.starts_with("HTTP/1.1 405"), "{path}: {refused}");
        assert!(
            refused.to_lowercase().contains("allow: get, head"),
            "{refused}"
        );
        assert!(
            refused.ends_with(r#"{"error":"only GET and HEAD"}"#),
            "{refused}"
        );
    }
    for method in ["GET", "POST"] {
        let answer = ask(address, method, "/nowhere").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert!(answer.ends_with(r#"{"error":"no such path"}"#), "{answer}");
    }
}

#[tokio::test]
async fn readyz_names_what_keeps_the_agent_out_of_the_mesh() {
    let state = state("node-a");
    let (address, _stop) = serve(&state).await;
    let (status, body) = get(address, "/readyz").await;
    assert!(
        status.contains("503") && body.contains("not all ports"),
        "{status} {body}"
    );
    state.set_listening(true);
    assert!(get(address, "/readyz").await.0.contains("200"));
    state.set_unresolved_join(vec!["node-8".to_owned(), "node-9".to_owned()]);
    let (status, body) = get(address, "/readyz").await;
    assert!(status.contains("200"), "{status}");
    assert_eq!(
        body,
        "ok\nnames to join that do not resolve: node-8, node-9\n"
    );
    state.set_members(Vec::new(), Some("10.0.0.9:9878".parse().unwrap()));
    let (status, body) = get(address, "/readyz").await;
    assert!(status.contains("503"), "{status}");
    for part in ["10.0.0.9:9878", "the node name node-a", "--node-name"] {
        assert!(body.contains(part), "no {part} in {body}");
    }
}

#[tokio::test]
async fn health_fails_when_the_heartbeat_is_old() {
    let state = state("node-a");
    let now = Instant::now();
    assert_eq!(state.health(now + Duration::from_secs(29)), Ok(()));
    let stuck = state.health(now + Duration::from_secs(61)).unwrap_err();
    assert!(stuck.contains("stuck for"), "{stuck}");
}

/// The contract of `/api/v1/members`: fields, their order, their nulls.
#[tokio::test]
async fn members_have_their_promised_form() {
    let state = state("node-a");
    let (address, _stop) = serve(&state).await;
    let silent = Member {
        state: NodeState::Silent,
        silent_since: Some(Since::now()),
        ..member("node-b", "10.0.0.2:9876".parse().unwrap())
    };
    let missing = Member {
        state: NodeState::Missing,
        http: None,
        ..member("node-c", "10.0.0.3:9876".parse().unwrap())
    };
    state.set_members(vec![silent, missing], None);
    state.set_unresolved_join(vec!["node-9".to_owned()]);
    state.set_refused(&refused(40));
    let metrics = state.metrics().text().unwrap();
    assert!(
        metrics.contains("\niperf_mesh_iperf3_versions 2\n"),
        "{metrics}"
    );
    let (_, body) = get(address, "/api/v1/members").await;
    let expected = concat!(
        r#"{"version":"V","node":"node-a","zone":"z1","epoch":"a6bb133cb1e3638a","#,
        r#""iperf3":"3.12","name_taken":false,"unresolved_join":["node-9"],"members":["#,
        r#"{"name":"node-b","zone":"z2","state":"silent","silent_seconds":AGE,"#,
        r#""epoch":"a3eb8db89fc5123c","iperf3":"3.18","sweep":3,"answered":true,"http":"10.0.0.2:9876"},"#,
        r#"{"name":"node-c","zone":"z2","state":"missing","silent_seconds":null,"#,
        r#""epoch":"a3eb8db89fc5123c","iperf3":"3.18","sweep":3,"answered":true,"http":null}],"#,
        r#""refused_members":40,"refused":[{"name":"f-0","#,
        r#""address":"198.18.0.1:9878","reason":"unlisted"},"#,
    );
    let body = normalized(&body);
    assert!(body.starts_with(expected), "{body}");
    assert_eq!(body.matches("unlisted").count(), 32, "the list is bounded");
}

/// The contract of `/api/v1/schedule`: fields, their order, their nulls.
#[tokio::test]
async fn the_schedule_has_its_promised_form() {
    let state = state("node-a");
    let (address, _stop) = serve(&state).await;
    state.set_schedule(schedule());
    let (_, body) = get(address, "/api/v1/schedule").await;
    let expected = concat!(
        r#"{"version":"V","node":"node-a","quiet":false,"#,
        r#""sweep":{"number":3,"met":1,"total":4,"running_seconds":AGE,"#,
        r#""last_seconds":null,"bound_seconds":10.0},"#,
        r#""meeting":{"peer":"node-b","role":"asker","running_seconds":AGE},"#,
        r#""next":["node-c"],"open_pairs":3}"#,
    );
    assert_eq!(normalized(&body), expected);

    state.set_schedule(Schedule::default());
    let (_, body) = get(address, "/api/v1/schedule").await;
    let expected = concat!(
        r#"{"version":"V","node":"node-a","quiet":false,"#,
        r#""sweep":{"number":0,"met":0,"total":0,"running_seconds":null,"#,
        r#""last_seconds":null,"bound_seconds":0.0},"#,
        r#""meeting":null,"next":[],"open_pairs":0}"#,
    );
    assert_eq!(normalized(&body), expected);
}

#[tokio::test]
async fn the_metrics_agree_with_members_and_schedule() {
    let state = state("node-a");
    let (address, _stop) = serve(&state).await;
    let silent = Member {
        state: NodeState::Silent,
        ..member("node-b", "10.0.0.2:9876".parse().unwrap())
    };
    state.set_members(vec![silent], None);
    state.set_schedule(schedule());
    let metrics = get(address, "/metrics").await.1;
    for line in [
        "iperf_mesh_members{state=\"silent\"} 1",
        "iperf_mesh_members{state=\"live\"} 1",
        "iperf_mesh_sweep 3",
        "iperf_mesh_sweep_progress_ratio 0.25",
        "iperf_mesh_quiet 0",
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn a_departed_node_leaves_neither_cells_nor_series() {
    let state = state("node-a");
    let (address, _stop) = serve(&state).await;
    let http = "10.0.0.2:9876".parse().unwrap();
    state.set_members(vec![member("node-b", http), member("node-c", http)], None);
    state.record(&name("node-b"), Protocol::Tcp, &Ok(figures(94.0)));
    state.record(&name("node-c"), Protocol::Tcp, &Ok(figures(95.0)));
    state.set_members(vec![member("node-c", http)], None);
    // A result that arrives too late brings nothing back.
    state.record(&name("node-b"), Protocol::Tcp, &Ok(figures(94.0)));
    for path in ["/metrics", "/api/v1/row"] {
        let body = get(address, path).await.1;
        assert!(
            body.contains("node-c") && !body.contains("node-b"),
            "{path}: {body}"
        );
    }
}

/// The contract of the API: fields, their order, their nulls.
#[tokio::test]
async fn the_matrix_has_its_promised_form() {
    let (a, b) = (state("node-a"), state("node-b"));
    let (at_a, _stop_a) = serve(&a).await;
    let (at_b, _stop_b) = serve(&b).await;
    a.set_members(vec![member("node-b", at_b)], None);
    b.set_members(vec![member("node-a", at_a)], None);
    a.record(&name("node-b"), Protocol::Tcp, &Ok(figures(94.5)));
    a.record(&name("node-b"), Protocol::Tcp, &Err(Reason::Timeout));
    b.record(&name("node-a"), Protocol::Tcp, &Ok(figures(93.5)));

    let (_, body) = get(at_a, "/api/v1/matrix").await;
    let expected = concat!(
        r#"{"version":"V","insecure":true,"nodes":["#,
        r#"{"name":"node-a","zone":"z1","state":"live","row_age_seconds":AGE,"row_error":null,"#,
        r#""iperf3":"3.12"},"#,
        r#"{"name":"node-b","zone":"z2","state":"live","row_age_seconds":AGE,"row_error":null,"#,
        r#""iperf3":"3.18"}],"#,
        r#""cells":[{"source_node":"node-a","destination_node":"node-b","protocol":"tcp","#,
        r#""success":false,"reason":"timeout","bandwidth_mbps":null,"jitter_ms":null,"#,
        r#""loss_ratio":null,"retransmits":null,"rtt_ms":null,"age_seconds":AGE,"#,
        r#""success_age_seconds":AGE},"#,
        r#"{"source_node":"node-b","destination_node":"node-a","protocol":"tcp","#,
        r#""success":true,"reason":null,"bandwidth_mbps":93.5,"jitter_ms":null,"#,
        r#""loss_ratio":null,"retransmits":1,"rtt_ms":0.5,"age_seconds":AGE,"#,
        r#""success_age_seconds":AGE}]}"#,
    );
    assert_eq!(normalized(&body), expected);

    let fetched = fetch_open(&at_a.to_string()).await.unwrap();
    assert_eq!(fetched.cells.len(), 2);
}

#[tokio::test]
async fn odd_value_in_a_row_costs_only_its_cell() {
    let a = state("a");
    let (at_a, _stop) = serve(&a).await;
    let mut members: Vec<_> = (1..=7)
        .map(|number| Member {
            state: NodeState::Silent,
            ..member(&format!("c{number}"), at_a)
        })
        .collect();
    members.push(member("odd", faulty_peer(Fault::OddCells).await));
    a.set_members(members, None);
    let matrix = fetch_open(&at_a.to_string()).await.unwrap();
    let row = matrix
        .cells
        .iter()
        .filter(|cell| cell.source_node.as_str() == "odd" && cell.destination_node.as_str() != "a");
    let row: Vec<_> = row
        .map(|cell| {
            let result = &cell.result;
            let failure = result.reason.map(Reason::as_str);
            (
                result.bandwidth_mbps,
                result.retransmits,
                result.rtt_ms,
                failure,
            )
        })
        .collect();
    let bad = (None, None, None, Some("bad_report"));
    let expected = [
        (Some(90.5), Some(2), Some(0.5), None),
        (Some(90.5), None, None, None),
        (Some(90.5), Some(2), None, None),
        bad,
        bad,
        bad,
        (None, None, None, None),
    ];
    assert_eq!(row, expected);
}

#[tokio::test]
async fn a_failing_peer_costs_its_own_row_only() {
    let (a, well) = (state("node-a"), state("well"));
    let (at_a, _stop_a) = serve(&a).await;
    let (at_well, _stop_well) = serve(&well).await;
    let mut silent = member("silent", at_well);
    silent.state = NodeState::Silent;
    let members = vec![
        member("drips", faulty_peer(Fault::Drips).await),
        member("endless", faulty_peer(Fault::Endless).await),
        member("fails", faulty_peer(Fault::Fails).await),
        member("garbage", faulty_peer(Fault::Garbage).await),
        member("hangs", faulty_peer(Fault::Hangs).await),
        member("other", faulty_peer(Fault::WrongNode).await),
        member("refuses", closed_port().await),
        member("secret", faulty_peer(Fault::Secret).await),
        silent,
        member("well", at_well),
    ];
    a.set_members(members, None);
    well.set_members(vec![member("node-a", at_a)], None);
    well.record(&name("node-a"), Protocol::Tcp, &Ok(figures(93.5)));
    a.record(&name("well"), Protocol::Tcp, &Ok(figures(94.5)));

    let matrix = fetch_open(&at_a.to_string()).await.unwrap();
    let error = |node: &str| {
        let node = matrix
            .nodes
            .iter()
            .find(|other| other.name.as_str() == node)
            .unwrap();
        node.row_error.clone().unwrap_or_default()
    };
    assert_eq!(error("node-a"), "");
    assert_eq!(error("well"), "");
    assert_eq!(error("silent"), "silent");
    for (node, expected) in [
        ("drips", "no answer within 1.5s"),
        ("endless", "answered with more than"),
        ("garbage", "the connection broke"),
        ("hangs", "no answer within 1.5s"),
    ] {
        assert!(error(node).contains(expected), "{node}: {}", error(node));
    }
    // Nothing of what the other side answered.
    for (node, expected) in [
        ("fails", "answered 500"),
        ("other", "another node answered in its place"),
        ("refuses", "no connection: connection refused"),
        ("secret", "the answer is not a row"),
    ] {
        assert_eq!(error(node), expected);
    }
    assert_eq!(matrix.nodes.len(), 11);
    assert_eq!(matrix.cells.len(), 110);
    let tested: Vec<_> = matrix
        .cells
        .iter()
        .filter(|cell| cell.result.success == Some(true))
        .collect();
    assert_eq!(tested.len(), 2, "{tested:?}");

    let page = get(at_a, "/").await.1;
    assert!(page.contains("silent: silent, row missing"), "{page}");
    assert!(!page.contains('\x1b'), "{page}");
}

/// There are more hanging peers than can be asked in time.
#[tokio::test]
async fn many_hanging_peers_do_not_delay_the_matrix() {
    let a = state("node-a");
    let (at_a, _stop) = serve(&a).await;
    let hangs = faulty_peer(Fault::Hangs).await;
    a.set_members(
        (0..100)
            .map(|n| member(&format!("peer-{n:03}"), hangs))
            .collect(),
        None,
    );
    let matrix = fetch_open(&at_a.to_string()).await.unwrap();
    assert_eq!(
        matrix
            .nodes
            .iter()
            .filter(|node| node.row_error.is_none())
            .count(),
        1
    );
    assert!(matrix.nodes.iter().any(|node| {
        node.row_error
            .as_deref()
            .is_some_and(|error| error.starts_with("not asked within"))
    }));
}

#[tokio::test]
async fn hostile_heads_are_rejected_and_counted() {
    let state = state("node-a");
    let (address, _stop) = serve(&state).await;
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000));
    let hostile: [&[u8]; 6] = [
        &[0; 64],
        &[0xff; 100_000],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for request in hostile {
        let answer = raw(address, request).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    let metrics = get(address, "/metrics").await.1;
    let counted = r#"iperf_mesh_rejected_messages_total{reason="bad_http"} 6"#;
    assert!(metrics.contains(counted), "{metrics}");
}

/// A client that opens every connection it can and never finishes a request.
#[tokio::test]
async fn a_slow_client_neither_blocks_others_nor_stays() {
    let state = state("node-a");
    let other = member("node-b", "127.0.0.2:9876".parse().unwrap());
    state.set_members(vec![other], None);
    let (address, _stop) = serve(&state).await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").await;
        slow.push(stream);
    }
    // From another address: all of 127/8 is this machine.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(address).await.unwrap();
    other
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, other.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#"reason="displaced""#), "{answer}");

    // All of the slow connections are closed, the admitted ones included.
    for mut stream in slow {
        let mut rest = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut rest))
            .await
            .expect("closed");
    }
}

#[tokio::test]
async fn the_server_stops_while_a_client_is_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve_on(listener, state("node-a"), stop.clone()));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTT").await.unwrap();
    stop.cancel();
    timeout(DEADLINE, server).await.expect("stopped").unwrap();
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the port is closed"
    );
}

#[tokio::test]
async fn an_unreachable_agent_is_named_with_a_hint() {
    let closed = closed_port().await.to_string();
    let error = fetch_open(&closed).await.unwrap_err().to_string();
    assert!(
        error.contains(&closed) && error.contains("no connection"),
        "{error}"
    );
    assert!(error.contains("by default 9876"), "{error}");
    let error = fetch_open("not an address").await.unwrap_err().to_string();
    assert!(error.contains("not an address"), "{error}");
    let garbage = faulty_peer(Fault::Garbage).await.to_string();
    assert!(fetch_open(&garbage).await.is_err());
}

#[tokio::test]
async fn the_client_keeps_its_limits() {
    let client = Client::default();
    let within = Duration::from_millis(200);
    let hangs = format!("http://{}/", faulty_peer(Fault::Hangs).await);
    let answer = client
        .get::<Value>(&hangs, Limits { within, bytes: 100 })
        .await;
    assert!(matches!(answer, Err(ClientError::Timeout(_))), "{answer:?}");
    let endless = format!("http://{}/", faulty_peer(Fault::Endless).await);
    let limits = Limits {
        within: DEADLINE,
        bytes: 100,
    };
    let answer = client.post(&endless, b"[]".to_vec(), limits).await;
    assert!(
        matches!(answer, Err(ClientError::TooLong(100))),
        "{answer:?}"
    );
}

/// Agents of a newer version may know more states, reasons and fields than this one.
#[test]
fn a_matrix_of_a_newer_version_can_be_read() {
    let newer = r#"{"version":"9","nodes":[{"name":"a","zone":"","state":"dreaming",
        "row_age_seconds":null,"row_error":null,"mood":1}],
        "cells":[{"source_node":"a","destination_node":"b","protocol":"tcp","success":false,
        "reason":"cosmic_rays","bandwidth_mbps":null,"jitter_ms":null,"loss_ratio":null,
        "retransmits":null,"rtt_ms":null,"age_seconds":1,"success_age_seconds":null,"more":2}]}"#;
    let matrix: Matrix = serde_json::from_str(newer).unwrap();
    assert_eq!(matrix.nodes[0].state, NodeState::Unknown);
    assert_eq!(matrix.cells[0].result.reason, Some(Reason::Iperf));
}
