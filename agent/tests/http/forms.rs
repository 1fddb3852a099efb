//! The forms of the matrix: compressed, compact, and as a page; and rows that cannot be.

use std::io::Read;
use std::net::SocketAddr;

use flate2::read::GzDecoder;
use iperf3_mesh::api::{Member, NodeState};
use iperf3_mesh_core::{Protocol, Reason};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fixture::{
    DEADLINE, Fault, faulty_peer, fetch_open, figures, get, member, name, normalized, serve, state,
};

#[tokio::test]
async fn compressed_matrix_is_the_same_as_the_plain_one() {
    let (address, _stop) = mesh().await;
    for path in ["/api/v1/matrix", "/api/v1/matrix.bin"] {
        let (plain_head, plain) = ask(address, path, "").await;
        assert!(!plain_head.contains("content-encoding"), "{plain_head}");
        let (head, body) = ask(address, path, "Accept-Encoding: br, gzip;q=0.8\r\n").await;
        assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
        assert!(head.contains("vary: accept-encoding\r\n"), "{head}");
        let mut inflated = Vec::new();
        GzDecoder::new(&body[..])
            .read_to_end(&mut inflated)
            .unwrap();
        let text = |bytes: &[u8]| normalized(&String::from_utf8_lossy(bytes));
        assert_eq!(text(&inflated), text(&plain), "{path}");
        let (head, _) = ask(address, path, "Accept-Encoding: gzip;q=0, br\r\n").await;
        assert!(!head.contains("content-encoding"), "{head}");
    }
}

/// The contract of `/api/v1/matrix.bin`, as `docs/api.md` states it.
#[tokio::test]
async fn compact_matrix_has_its_promised_form() {
    let (address, _stop) = mesh().await;
    let (head, body) = ask(address, "/api/v1/matrix.bin", "").await;
    assert!(
        head.contains("content-type: application/octet-stream\r\n"),
        "{head}"
    );
    assert_eq!(&body[..4], b"i3mx");
    let number = |at: usize, length: usize| {
        let bytes = body[at..at + length].iter().rev();
        bytes.fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte))
    };
    assert_eq!((number(4, 2), number(6, 2), number(8, 4)), (1, 1, 3));
    let length = number(12, 4);
    assert_eq!(length % 4, 0);
    let names: Value = serde_json::from_slice(&body[16..16 + length]).unwrap();
    assert_eq!(names["protocols"][0], "tcp");
    assert_eq!(names["nodes"][2]["row_error"], "silent");
    let rates: Vec<_> = (0..9).map(|at| number(16 + length + 2 * at, 2)).collect();
    let states = &body[16 + length + 18..][..9];
    let ages = &body[16 + length + 27..];
    let timed_out = names["reasons"].as_array().unwrap();
    let timed_out = timed_out.iter().position(|it| it == "timeout").unwrap();
    let failed = u8::try_from(2 + timed_out).unwrap();
    assert_eq!(states, [255, 1, failed, 0, 255, 0, 0, 0, 255]);
    let mbps = 1e-3 * 10_f64.powf((rates[1] as f64 - 1.0) / 5957.0);
    assert!((mbps / 94.5 - 1.0).abs() < 2e-4, "{mbps}");
    assert!(
        rates
            .iter()
            .enumerate()
            .all(|(at, rate)| (at == 1) == (*rate > 0))
    );
    assert_eq!(ages.len(), 9);
    assert!(ages[1] >= 1 && ages[2] >= 1 && ages[3] == 0, "{ages:?}");

    let tag = head.lines().find_map(|line| line.strip_prefix("etag: "));
    let known = format!("If-None-Match: {}\r\n", tag.unwrap());
    let (head, body) = ask(address, "/api/v1/matrix.bin", &known).await;
    assert!(head.starts_with("http/1.0 304"), "{head}");
    assert!(body.is_empty());
}

#[tokio::test]
async fn absurd_row_never_reaches_a_reader() {
    let a = state("a");
    let (at_a, _stop) = serve(&a).await;
    let mut members: Vec<_> = (1..=5).map(|n| silent(&format!("c{n}"), at_a)).collect();
    members.push(member("odd", faulty_peer(Fault::AbsurdCells).await));
    a.set_members(members, None);
    let matrix = fetch_open(&at_a.to_string()).await.unwrap();
    assert!(
        !matrix
            .nodes
            .iter()
            .any(|node| node.name.as_str() == "nobody")
    );
    let row: Vec<_> = matrix
        .cells
        .iter()
        .filter(|cell| cell.source_node.as_str() == "odd" && cell.destination_node.as_str() != "a")
        .map(|cell| &cell.result)
        .collect();
    assert_eq!(row[0].reason, Some(Reason::BadReport));
    assert_eq!((row[1].rtt_ms, row[1].retransmits), (None, None));
    assert_eq!((row[2].jitter_ms, row[2].loss_ratio), (None, None));
    assert_eq!(
        (row[3].age_seconds, row[3].success_age_seconds),
        (None, None)
    );
    assert_eq!(row[4].success, None);
    let page = get(at_a, "/").await.1;
    let widest = page.lines().map(|line| line.chars().count()).max();
    assert!(widest < Some(120), "{page}");
}

#[tokio::test]
async fn row_to_many_nodes_that_the_reader_does_not_know_is_read() {
    let (a, b) = (state("node-a"), state("node-b"));
    let (at_a, _stop_a) = serve(&a).await;
    let (at_b, _stop_b) = serve(&b).await;
    a.set_members(vec![member("node-b", at_b)], None);
    let unknown = (0..300).map(|n| silent(&format!("x{n:03}"), at_a));
    let known = std::iter::once(member("node-a", at_a));
    b.set_members(known.chain(unknown).collect(), None);
    b.record(&name("node-a"), Protocol::Tcp, &Ok(figures(93.5)));
    for n in 0..300 {
        let other = name(&format!("x{n:03}"));
        b.record(&other, Protocol::Tcp, &Ok(figures(94.5)));
    }
    let matrix = fetch_open(&at_a.to_string()).await.unwrap();
    assert_eq!(matrix.nodes[1].row_error, None);
    assert_eq!(matrix.cells[1].result.bandwidth_mbps, Some(93.5));
}

#[tokio::test]
async fn matrix_beyond_the_budget_is_refused_with_a_hint() {
    let a = state("node-a");
    let (at_a, _stop) = serve(&a).await;
    let names = (0..2200).map(|n| silent(&format!("n{n:04}"), at_a));
    a.set_members(names.collect(), None);
    for path in ["/", "/api/v1/matrix", "/api/v1/matrix.bin"] {
        let (head, body) = ask(at_a, path, "").await;
        assert!(head.starts_with("http/1.0 503"), "{head}");
        assert!(head.contains("retry-after: "), "{head}");
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("Prometheus"), "{body}");
    }
}

/// A stranger at the gossip port can invent members. They do not answer.
#[tokio::test]
async fn invented_members_keep_nobody_from_the_matrix() {
    let (at_z, _stop_z) = serve(&state("node-z")).await;
    let hangs = faulty_peer(Fault::Hangs).await;
    for (invented, nodes) in [(2200, 2), (300, 302)] {
        let a = state("node-a");
        let (at_a, _stop_a) = serve(&a).await;
        let names = (0..invented).map(|n| Member {
            answered: false,
            ..member(&format!("n{n:04}"), hangs)
        });
        let known = std::iter::once(member("node-z", at_z));
        a.set_members(names.chain(known).collect(), None);
        let matrix = fetch_open(&at_a.to_string()).await.unwrap();
        assert_eq!(matrix.nodes.len(), nodes);
        let last = matrix.nodes.last().unwrap();
        assert_eq!((last.name.as_str(), &last.row_error), ("node-z", &None));
    }
}

/// `node-a` with a success and a failure, `node-b` without results, and a silent node.
async fn mesh() -> (SocketAddr, Vec<CancellationToken>) {
    let (a, b) = (state("node-a"), state("node-b"));
    let (at_a, stop_a) = serve(&a).await;
    let (at_b, stop_b) = serve(&b).await;
    let members = vec![member("node-b", at_b), silent("node-c", at_b)];
    a.set_members(members, None);
    a.record(&name("node-b"), Protocol::Tcp, &Ok(figures(94.5)));
    a.record(&name("node-c"), Protocol::Tcp, &Err(Reason::Timeout));
    (at_a, vec![stop_a, stop_b])
}

fn silent(node: &str, at: SocketAddr) -> Member {
    Member {
        state: NodeState::Silent,
        ..member(node, at)
    }
}

/// Returns the head, in lower case, and the body without its chunks.
async fn ask(to: SocketAddr, path: &str, headers: &str) -> (String, Vec<u8>) {
    let request = format!("GET {path} HTTP/1.0\r\nHost: a\r\n{headers}\r\n");
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut answer));
    read.await.unwrap().unwrap();
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end + 2]).to_lowercase();
    (head, answer.split_off(end + 4))
}
