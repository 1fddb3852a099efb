//! Agents' states served over HTTP, raw requests, and failing peers.

use std::net::SocketAddr;
use std::time::Duration;

use iperf3_mesh::api::{Matrix, Meeting, Member, NodeState, Schedule, Since, Sweep};
use iperf3_mesh::commands::matrix::{FetchError, fetch};
use iperf3_mesh::config::{Access, AllowedHosts, FailedCells};
use iperf3_mesh::http::client::Client;
use iperf3_mesh::http::reader::Reader;
use iperf3_mesh::http::visitors::Visitors;
use iperf3_mesh::metrics::{Metrics, Settings};
use iperf3_mesh::state::{AgentState, Identity};
use iperf3_mesh_core::wire::Role;
use iperf3_mesh_core::{AddressProblem, Epoch, Figures, NodeName, Protocol, RefusedMember};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longer than anything here may take; not a measure of speed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

pub(crate) fn state(node: &str) -> AgentState {
    let metrics = Metrics::new(Settings {
        source: name(node),
        protocols: vec![Protocol::Tcp],
        failed_cells: FailedCells::Zero,
        pause: Duration::from_secs(300),
        iperf3_version: "3.12".to_owned(),
        landlock: "abi6".to_owned(),
    });
    let identity = Identity {
        name: name(node),
        zone: "z1".to_owned(),
        epoch: Epoch(0x2a),
        protocols: vec![Protocol::Tcp],
        iperf3: "3.12".to_owned(),
    };
    AgentState::new(identity, metrics.unwrap())
}

pub(crate) fn member(node: &str, http: SocketAddr) -> Member {
    Member {
        name: name(node),
        zone: "z2".to_owned(),
        state: NodeState::Live,
        silent_since: None,
        http: Some(http),
        epoch: Epoch(7),
        iperf3: Some("3.18".to_owned()),
        sweep: 3,
        answered: true,
        seal: None,
    }
}

/// Members with addresses that the node does not accept.
pub(crate) fn refused(count: u8) -> Vec<RefusedMember> {
    (0..count)
        .map(|number| RefusedMember {
            problem: AddressProblem::Unlisted,
            name: name(&format!("f-{number}")),
            address: ([198, 18, 0, number + 1], 9878).into(),
        })
        .collect()
}

pub(crate) fn figures(mbps: f64) -> Figures {
    Figures {
        bandwidth_mbps: mbps,
        retransmits: Some(1),
        rtt_ms: Some(0.5),
        ..Figures::default()
    }
}

/// Serves `state` on a port of the system's choice until the token is cancelled.
pub(crate) async fn serve(state: &AgentState) -> (SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve_on(listener, state.clone(), stop.clone()));
    (address, stop)
}

/// Serves `state` on `listener` until `stop`.
pub(crate) async fn serve_on(listener: TcpListener, state: AgentState, stop: CancellationToken) {
    let access = Access {
        allowed_hosts: AllowedHosts::read(".mesh.example.com").unwrap(),
        ..Access::default()
    };
    let visitors = Visitors::new(state.clone(), &access);
    iperf3_mesh::http::serve(vec![listener], state, Client::default(), visitors, stop).await;
}

/// Sends `request` as it is, and reads until the other end closes.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    String::from_utf8_lossy(&raw_bytes(address, request).await).into_owned()
}

/// Sends `request` like [`raw`], and returns the bytes of the answer.
pub(crate) async fn raw_bytes(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The other end may close before it has read everything.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    timeout(DEADLINE, exchange)
        .await
        .expect("an end of the connection")
}

pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: node-a\r\nConnection: close\r\n\r\n");
    raw(address, request.as_bytes()).await
}

/// Connects from `source`: all of 127/8 is this machine.
pub(crate) async fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// The status and the body of an answer.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let answer = ask(address, "GET", path).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Gets a matrix without a key.
pub(crate) async fn fetch_open(address: &str) -> Result<Matrix, FetchError> {
    fetch(address, 9876, DEADLINE, &Reader::default()).await
}

/// A schedule in the middle of sweep 3.
pub(crate) fn schedule() -> Schedule {
    Schedule {
        quiet: false,
        sweep: Sweep {
            number: 3,
            met: 1,
            total: 4,
            began: Some(Since::now()),
            last: None,
            bound: Duration::from_secs(10),
        },
        meeting: Some(Meeting {
            peer: name("node-b"),
            role: Role::Asker,
            began: Since::now(),
        }),
        next: vec![name("node-c")],
        open_pairs: 3,
    }
}

/// Replaces ages and the version, which differ from run to run.
pub(crate) fn normalized(body: &str) -> String {
    const AGES: [&str; 3] = ["age_seconds\":", "silent_seconds\":", "running_seconds\":"];
    let mut text = body.replace(env!("CARGO_PKG_VERSION"), "V");
    for key in AGES {
        let mut pieces = text.split(key);
        let mut out = pieces.next().unwrap().to_owned();
        for piece in pieces {
            let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            let age = if rest.len() < piece.len() { "AGE" } else { "" };
            out += &format!("{key}{age}{rest}");
        }
        text = out;
    }
    text
}

/// The way in which a peer fails.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Hangs,
    Drips,
    Garbage,
    Endless,
    Fails,
    WrongNode,
    /// An answer that is none of an agent.
    Secret,
    /// The row of the node `odd` with absurd figures, to `c1`, `c2` and so on.
    AbsurdCells,
    /// The row of the node `odd`, to `c1`, `c2` and so on, with one odd value per cell.
    OddCells,
}

pub(crate) async fn faulty_peer(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(misbehave(stream, fault));
        }
    });
    address
}

async fn misbehave(mut stream: TcpStream, fault: Fault) -> std::io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).await?;
    match fault {
        Fault::Hangs => std::future::pending().await,
        Fault::Drips => loop {
            stream.write_all(b"H").await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        },
        Fault::Garbage => {
            stream
                .write_all(&[0xff, 0, b'\n', 7, 0x80].repeat(100))
                .await
        }
        Fault::Endless => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n")
                .await?;
            stream.write_all(&vec![b'['; 10 << 20]).await
        }
        Fault::Fails => {
            stream
                .write_all(b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\n\x1b[31")
                .await
        }
        Fault::WrongNode => {
            let row = r#"{"version":"1","node":"mallory","zone":"","cells":[]}"#;
            answer(stream, row).await
        }
        Fault::Secret => {
            answer(
                stream,
                r#"{"version":"1","node":"s3cret","cells":"s3cret"}"#,
            )
            .await
        }
        Fault::AbsurdCells => answer(stream, &absurd_row()).await,
        Fault::OddCells => answer(stream, &odd_row()).await,
    }
}

async fn answer(mut stream: TcpStream, body: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await
}

fn odd_row() -> String {
    row_with([
        json!({ "bandwidth_mbps": 90.5 }),
        json!({ "rtt_ms": "slow", "retransmits": -1 }),
        json!({ "rtt_ms": 86_400_000.0 }),
        json!({ "bandwidth_mbps": null }),
        json!({ "bandwidth_mbps": -5 }),
        json!({ "success": "yes" }),
        json!({ "destination_node": "two words" }),
    ])
}

fn absurd_row() -> String {
    row_with([
        json!({ "bandwidth_mbps": 1e300 }),
        json!({ "rtt_ms": -5, "retransmits": 4_294_967_295_u64 }),
        json!({ "jitter_ms": 5, "loss_ratio": 0.5 }),
        json!({ "age_seconds": -1e9, "success_age_seconds": 1e30 }),
        json!({ "destination_node": "nobody" }),
    ])
}

/// The row of the node `odd` with one changed cell for each of `changes`.
fn row_with<const N: usize>(changes: [Value; N]) -> String {
    let cell = |(number, change): (usize, Value)| {
        let mut cell = json!({ "destination_node": format!("c{number}"), "protocol": "tcp",
            "success": true, "reason": null, "bandwidth_mbps": 90.5, "retransmits": 2,
            "rtt_ms": 0.5, "age_seconds": 1.0, "success_age_seconds": 1.0 });
        for (key, value) in change.as_object().unwrap() {
            cell[key] = value.clone();
        }
        cell
    };
    let cells: Vec<Value> = (1..).zip(changes).map(cell).collect();
    json!({ "version": "1", "node": "odd", "zone": "", "cells": cells }).to_string()
}

pub(crate) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}
