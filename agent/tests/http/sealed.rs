//! Sealed reads: rows between agents, and the reads of holders of a key.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iperf3_mesh::api::{Matrix, Member};
use iperf3_mesh::commands::matrix::fetch;
use iperf3_mesh::http::reader::Reader;
use iperf3_mesh::sealing::{PeerSeal, Sealing};
use iperf3_mesh_core::gossip::SealMode;
use iperf3_mesh_core::seal::{
    AnswerKey, Envelopes, Key, KeyId, Keyring, Life, Purpose, Role, Secret, Target,
};
use iperf3_mesh_core::{MeshName, Protocol};

use crate::fixture::{DEADLINE, figures, get, member, name, raw, raw_bytes, serve, state};

const MESH: &str = "iperf3-mesh";
const A: Life = Life::new([0xa; 16]);
const B: Life = Life::new([0xb; 16]);
const ROW: &str = "/api/v1/row";
const MATRIX: &str = "/api/v1/matrix";

#[tokio::test]
async fn row_travels_sealed_whatever_its_length() {
    for cells in [1, 1000] {
        let b = state("node-b").sealed(sealing(B, &[7]), false);
        let names: Vec<_> = (0..cells)
            .map(|n| format!("c{n:04}-{}", "x".repeat(50)))
            .collect();
        let listed = names.iter().map(|to| member(to, closed()));
        b.set_members(listed.collect(), None);
        for to in &names {
            b.record(&name(to), Protocol::Tcp, &Ok(figures(94.0)));
        }
        let (at_b, _stop) = serve(&b).await;
        let (request, key) = request(A, B, &[7], ROW);
        let answer = ask_sealed(at_b, ROW, &request).await;
        assert!(!contains(&answer.1, b"node-b") && !contains(&answer.1, b"c0000"));
        let opened = key.open(200, &answer.1).unwrap();
        assert_eq!(
            opened.starts_with(&[0x1f, 0x8b]),
            cells > 1,
            "compressed inside"
        );
    }
}

#[tokio::test]
async fn matrix_of_a_sealed_mesh_has_all_rows() {
    let (at_a, _) = pair(sealing(A, &[7]), sealing(B, &[8, 7]), Some((B, &[8, 7]))).await;
    assert_row(at_a, Ok(false)).await;
}

#[tokio::test]
async fn row_that_its_node_has_not_sealed_is_not_used() {
    let no_key = Err("no key in common");
    for (theirs, told, expected) in [
        (Sealing::default(), None, no_key),
        (sealing(B, &[8]), Some((B, &[8][..])), no_key),
        // Another program answers, or the agent does not seal.
        (
            Sealing::default(),
            Some((B, &[7][..])),
            Err("answered without the seal of its node"),
        ),
        // The node has restarted.
        (sealing(A2, &[7]), Some((B, &[7][..])), Err("answered 421")),
    ] {
        let (at_a, _) = pair(sealing(A, &[7]), theirs, told).await;
        assert_row(at_a, expected).await;
    }
}

#[tokio::test]
async fn permissive_agent_uses_and_marks_plain_rows() {
    let permissive = sealing(A, &[7]);
    permissive.set_mode(SealMode::Permissive);
    let (at_a, _) = pair(permissive.clone(), Sealing::default(), None).await;
    assert_row(at_a, Ok(true)).await;
    let (at_a, _) = pair(permissive, sealing(B, &[7]), Some((B, &[7]))).await;
    assert_row(at_a, Ok(false)).await;
    let (at_a, _) = pair(Sealing::default(), Sealing::default(), None).await;
    assert_row(at_a, Ok(false)).await;
}

/// No forgery gets an answer but a status, and each is counted.
#[tokio::test]
async fn forged_requests_for_rows_are_refused_and_counted() {
    let sealing = sealing(B, &[9, 7]);
    sealing.set_keys(&keyring(&[7], &[]));
    let (at_b, _stop) = serve(&state("node-b").sealed(sealing, false)).await;
    let good = request(A, B, &[7], ROW).0;
    let mut bent = good.clone();
    bent[50] ^= 1;
    let other_mesh = sealed_for("other", Purpose::Rows, ROW).0;
    let control = sealed_for(MESH, Purpose::Control, ROW).0;
    for (forgery, request, status, reason) in [
        ("a changed one", bent, 401, "forged"),
        ("a part", good[..50].to_vec(), 401, "malformed"),
        (
            "a long one",
            [&good[..], &[0; 99]].concat(),
            401,
            "oversize",
        ),
        ("another kind", b"row".to_vec(), 401, "unsealed"),
        (
            "another key",
            request(A, B, &[8], ROW).0,
            401,
            "unknown_key",
        ),
        (
            "a removed key",
            request(A, B, &[9], ROW).0,
            401,
            "removed_key",
        ),
        ("another mesh", other_mesh, 401, "forged"),
        ("another purpose", control, 401, "forged"),
        ("another path", request(A, B, &[7], MATRIX).0, 401, "forged"),
        (
            "another receiver",
            request(A, A2, &[7], ROW).0,
            421,
            "other_life",
        ),
        (
            "the agent itself",
            request(B, B, &[7], ROW).0,
            401,
            "reflected",
        ),
    ] {
        let counted = refused(at_b, reason).await;
        let (found, answer) = ask_sealed(at_b, ROW, &request).await;
        assert_eq!((found, &*answer), (status, &b""[..]), "{forgery}");
        assert_eq!(
            refused(at_b, reason).await,
            counted + 1,
            "{forgery}: {reason}"
        );
    }
    assert_eq!(ask_sealed(at_b, ROW, &good).await.0, 200);
    assert_eq!(ask_sealed(at_b, ROW, &good).await, (401, Vec::new()));
    assert_eq!(refused(at_b, "replayed").await, 1);
    let (status, row) = get(at_b, ROW).await;
    assert!(
        status.contains("200") && row.contains("node-b"),
        "reads are open"
    );
}

#[tokio::test]
async fn protected_reads_are_for_holders_of_a_key() {
    let sealing = sealing_with(A, &keyring(&[7], &[5]));
    let (at_a, _stop) = serve(&state("node-a").sealed(sealing, true)).await;
    for path in [
        "/",
        ROW,
        MATRIX,
        "/api/v1/matrix.bin",
        "/api/v1/members",
        "/api/v1/schedule",
    ] {
        let (status, body) = get(at_a, path).await;
        assert!(status.contains("401"), "{path}: {status}");
        assert!(body.contains("iperf3-mesh matrix --key-file") && !body.contains("node-a"));
    }
    assert_eq!(refused(at_a, "unsealed").await, 6);
    for path in ["/metrics", "/healthz"] {
        let (status, _) = get(at_a, path).await;
        assert!(status.contains("200"), "{path}: {status}");
    }
    let address = at_a.to_string();
    let error = fetch(&address, 9876, DEADLINE, &Reader::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("401") && error.contains("--key-file"),
        "{error}"
    );
    for keys in [keyring(&[7], &[]), operator(5), keyring(&[8, 7], &[])] {
        let matrix = fetch_with(at_a, MESH, keys).await;
        assert_eq!(matrix.unwrap().nodes[0].name, name("node-a"));
    }
    for (mesh, keys, reason) in [
        (MESH, operator(8), "unknown_key"),
        ("other", operator(5), "other_mesh"),
    ] {
        let error = fetch_with(at_a, mesh, keys).await.unwrap_err();
        assert!(
            error.contains("401") && error.contains("--key-file"),
            "{error}"
        );
        assert_eq!(refused(at_a, reason).await, 1);
    }
}

/// A reader with a key learns that the answer is not that of an agent with the key.
#[tokio::test]
async fn matrix_without_a_seal_is_no_answer_to_a_key() {
    let (at_a, _stop) = serve(&state("node-a")).await;
    let error = fetch_with(at_a, MESH, keyring(&[7], &[]))
        .await
        .unwrap_err();
    assert!(error.contains("without the seal"), "{error}");
}

/// An answer without a body has no seal.
#[tokio::test]
async fn holder_of_a_key_gets_a_matrix_that_it_has_already() {
    let (at_a, _stop) = serve(&state("node-a").sealed(sealing(B, &[7]), false)).await;
    let plain = raw(at_a, request_head(MATRIX, "").as_bytes()).await;
    let (_, etag) = plain.split_once("etag: ").unwrap();
    let (etag, _) = etag.split_once("\r\n").unwrap();
    let (sealed, key) = request(A, B, &[7], MATRIX);
    let known = format!(
        "If-None-Match: {etag}\r\nX-Iperf3-Mesh: {}\r\n",
        STANDARD.encode(sealed)
    );
    let answer = raw_bytes(at_a, request_head(MATRIX, &known).as_bytes()).await;
    let (status, body) = status_and_body(&answer);
    assert!(status == 200 && key.open(200, &body).is_some(), "{status}");
}

#[tokio::test]
async fn large_matrix_travels_sealed_piece_by_piece() {
    let sealing = sealing(A, &[7]);
    let a = state("node-a").sealed(sealing, true);
    let members = (0..60).map(|number| member(&format!("node-b{number:02}"), closed()));
    a.set_members(members.collect(), None);
    let (at_a, _stop) = serve(&a).await;
    let matrix = fetch_with(at_a, MESH, keyring(&[7], &[])).await;
    assert_eq!(matrix.unwrap().cells.len(), 61 * 60);
}

/// Without a key, `--protect-read` leaves the programs on the own host.
#[tokio::test]
async fn insecure_agent_with_protected_reads_answers_loopback() {
    let (at_a, _stop) = serve(&state("node-a").sealed(Sealing::default(), true)).await;
    assert!(get(at_a, ROW).await.0.contains("200"));
}

const A2: Life = Life::new([0xaa; 16]);

/// Serves two agents. The first one knows of the second what gossip has told: its life and keys.
async fn pair(
    ours: Sealing,
    theirs: Sealing,
    told: Option<(Life, &[u8])>,
) -> (SocketAddr, SocketAddr) {
    let b = state("node-b").sealed(theirs, false);
    b.set_members(vec![member("node-a", closed())], None);
    b.record(&name("node-a"), Protocol::Tcp, &Ok(figures(94.0)));
    let (at_b, _) = serve(&b).await;
    let a = state("node-a").sealed(ours, false);
    let seal = told.map(|(life, keys)| PeerSeal {
        life,
        accepted: keyring(keys, &[]).wire_ids().collect(),
    });
    let peer = Member {
        seal,
        ..member("node-b", at_b)
    };
    a.set_members(vec![peer], None);
    (serve(&a).await.0, at_b)
}

/// Asserts that the agent has the row of its peer, marked as unsealed or not, or else why it has
/// none.
async fn assert_row(at: SocketAddr, expected: Result<bool, &str>) {
    let json = get(at, MATRIX).await.1;
    let matrix: Matrix = serde_json::from_str(&json).unwrap();
    let node = &matrix.nodes[1];
    let found = match &node.row_error {
        None => Ok(node.row_unsealed),
        Some(why) => Err(why.as_str()),
    };
    assert_eq!(found, expected);
    let cells = matrix
        .cells
        .iter()
        .filter(|cell| cell.result.success.is_some());
    assert_eq!(cells.count(), usize::from(expected.is_ok()));
    assert_eq!(
        json.contains("row_unsealed"),
        expected == Ok(true),
        "{json}"
    );
}

async fn ask_sealed(at: SocketAddr, path: &str, request: &[u8]) -> (u16, Vec<u8>) {
    let seal = format!(
        "Accept-Encoding: gzip\r\nX-Iperf3-Mesh: {}\r\n",
        STANDARD.encode(request)
    );
    status_and_body(&raw_bytes(at, request_head(path, &seal).as_bytes()).await)
}

fn request_head(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: node-a\r\nConnection: close\r\n{headers}\r\n")
}

fn status_and_body(answer: &[u8]) -> (u16, Vec<u8>) {
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

async fn refused(at: SocketAddr, reason: &str) -> u64 {
    let series = format!("iperf_mesh_rejected_messages_total{{reason=\"{reason}\"}} ");
    let metrics = get(at, "/metrics").await.1;
    let count = metrics.lines().find_map(|line| line.strip_prefix(&series));
    count.map_or(0, |count| count.parse().unwrap())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|it| it == part)
}

/// The request of a program with these keys, and the key for its answer.
fn request(from: Life, to: Life, keys: &[u8], path: &str) -> (Vec<u8>, AnswerKey) {
    let envelopes = Envelopes::new(from, MESH.to_owned(), keyring(keys, &[]));
    seal(envelopes, to, Purpose::Rows, path)
}

/// A request for the agent B with the right key.
fn sealed_for(mesh: &str, purpose: Purpose, path: &str) -> (Vec<u8>, AnswerKey) {
    let envelopes = Envelopes::new(A, mesh.to_owned(), keyring(&[7], &[]));
    seal(envelopes, B, purpose, path)
}

fn seal(mut envelopes: Envelopes, to: Life, purpose: Purpose, path: &str) -> (Vec<u8>, AnswerKey) {
    let accepted = envelopes.accepted();
    let target = Target {
        purpose,
        method: "GET",
        path,
    };
    envelopes.seal(to, &accepted, target, &[]).unwrap()
}

fn sealing(life: Life, keys: &[u8]) -> Sealing {
    sealing_with(life, &keyring(keys, &[]))
}

fn sealing_with(life: Life, keyring: &Keyring) -> Sealing {
    let sealing = Sealing::new(life, MeshName::default());
    sealing.set_keys(keyring);
    sealing
}

async fn fetch_with(at: SocketAddr, mesh: &str, keyring: Keyring) -> Result<Matrix, String> {
    let mesh = MeshName::new(mesh).unwrap();
    let reader = Reader::with_keys(mesh, keyring);
    let fetched = fetch(&at.to_string(), 9876, DEADLINE, &reader).await;
    fetched.map_err(|error| error.to_string())
}

fn operator(number: u8) -> Keyring {
    Keyring::read_any(line(Role::Operator, number).as_bytes()).unwrap()
}

/// A keyring with the keys of these numbers, the newest first.
fn keyring(members: &[u8], operators: &[u8]) -> Keyring {
    let members = members.iter().map(|number| line(Role::Member, *number));
    let operators = operators.iter().map(|number| line(Role::Operator, *number));
    let lines: Vec<_> = members.chain(operators).collect();
    Keyring::read(lines.join("\n").as_bytes()).unwrap()
}

fn line(role: Role, number: u8) -> String {
    let bytes = std::array::from_fn(|at| number.wrapping_add(at as u8));
    let id = KeyId::new(&format!("key-{number}")).unwrap();
    Key::new(id, role, Secret::new(bytes)).to_line().to_string()
}

fn closed() -> SocketAddr {
    ([127, 0, 0, 1], 9).into()
}
