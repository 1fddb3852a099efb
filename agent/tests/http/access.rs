//! Places and answers: clients that hold connections, slow readers, and requests to other hosts.

use std::time::Duration;

use iperf3_mesh::api::Member;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::fixture::{DEADLINE, connect_from, get, member, raw, serve, state};

#[tokio::test]
async fn nine_addresses_do_not_keep_a_tenth_from_its_answer() {
    let state = state("node-a");
    state.set_members(members_at((1..=9).map(|n| [127, 0, 1, n])), None);
    let (address, _stop) = serve(&state).await;
    for request in ["", "GET /metrics HTTP/1.1\r\nHost: "] {
        let mut held = Vec::new();
        for client in 1..=9 {
            for _ in 0..32 {
                let mut stream = connect_from([127, 0, 1, client], address).await;
                let _ = stream.write_all(request.as_bytes()).await;
                held.push(stream);
            }
        }
        assert_answered(connect_from([127, 0, 2, 1], address).await).await;
        drop(held);
    }
}

#[tokio::test]
async fn client_that_reconnects_without_end_displaces_only_itself() {
    let state = state("node-a");
    let flooding = (0..16).map(|n| [127, 0, 1, n]);
    state.set_members(members_at(flooding.chain([[127, 0, 2, 1]])), None);
    let (address, _stop) = serve(&state).await;
    let mut modest = connect_from([127, 0, 2, 1], address).await;
    let mut flood = Vec::new();
    for client in 0..500_u16 {
        let client = u8::try_from(client % 16).unwrap();
        flood.push(connect_from([127, 0, 1, client], address).await);
        if flood.len() > 300 {
            flood.remove(0);
        }
    }
    modest
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let read = timeout(DEADLINE, modest.read_to_string(&mut answer));
    read.await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Any user of this machine can call from all of 127/8, and keep requests in progress.
#[tokio::test]
async fn local_user_with_many_addresses_keeps_nobody_out() {
    let state = state("node-a");
    state.set_members(members_at((1..=100).map(|n| [127, 0, 9, n])), None);
    let (address, _stop) = serve(&state).await;
    let unfinished = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n";
    let mut flood = Vec::new();
    for number in 0..=255 {
        let mut stream = connect_from([127, 0, 1, number], address).await;
        let _ = stream.write_all(unfinished).await;
        flood.push(stream);
    }
    let mut members = Vec::new();
    for number in 1..=100 {
        members.push(connect_from([127, 0, 9, number], address).await);
    }
    for member in members {
        assert_answered(member).await;
    }
}

/// A reader that takes nothing is cut off, and its memory is free again.
#[tokio::test]
async fn reader_that_takes_nothing_is_cut_off() {
    let state = state("node-a");
    let names = (0..2000).map(|n| format!("node-{n:04}-{}", "x".repeat(200)));
    let closed = "127.0.0.1:9".parse().unwrap();
    state.set_members(names.map(|name| member(&name, closed)).collect(), None);
    let (address, _stop) = serve(&state).await;
    let mut reader = TcpStream::connect(address).await.unwrap();
    let request = b"GET /api/v1/members HTTP/1.1\r\nHost: a\r\n\r\n".repeat(40);
    reader.write_all(&request).await.unwrap();
    let is_counted = async {
        while !get(address, "/metrics").await.1.contains("slow_reader") {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(DEADLINE, is_counted).await.expect("counted");
}

/// An answer counts until it has been written, not only until it has been handed over for writing.
#[tokio::test]
async fn answers_that_nobody_reads_are_bounded() {
    let state = state("node-a");
    let names = (0..2000).map(|n| format!("node-{n:04}-{}", "x".repeat(200)));
    let closed = "127.0.0.1:9".parse().unwrap();
    state.set_members(names.map(|name| member(&name, closed)).collect(), None);
    let (address, _stop) = serve(&state).await;
    let size = get(address, "/api/v1/members").await.1.len();
    let mut unread = Vec::new();
    let mut granted = 0;
    for _ in 0..12 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream
            .write_all(b"GET /api/v1/members HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut head = [0; 12];
        let read = timeout(DEADLINE, stream.read_exact(&mut head));
        read.await.unwrap().unwrap();
        granted += usize::from(head == *b"HTTP/1.1 200");
        unread.push(stream);
    }
    assert!(
        granted > 0 && granted * size <= 4 << 20,
        "{granted} answers of {size} bytes"
    );
}

#[tokio::test]
async fn request_to_another_host_is_refused() {
    let state = state("node-a.example.org");
    let members = vec![member(
        "node-b.example.org",
        "10.0.0.2:9876".parse().unwrap(),
    )];
    state.set_members(members, None);
    let (address, _stop) = serve(&state).await;
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n", "421"),
        ("GET / HTTP/1.0\r\nHost: evil.example:9876\r\n", "421"),
        ("POST /x HTTP/1.1\r\nHost: evil.example\r\n", "421"),
        (
            "GET http://evil.example/ HTTP/1.1\r\nHost: 10.0.0.1\r\n",
            "421",
        ),
        ("GET / HTTP/1.1\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "400"),
        ("GET / HTTP/1.0\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: 10.0.0.1:9876\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: [fd00::1]:9876\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: localhost:9876\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: Node-A.example.org\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: node-b.example.org:80\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: iperf3-mesh.ns.svc\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: x.mesh.example.com\r\n", "200"),
    ] {
        let answer = raw(
            address,
            format!("{head}Connection: close\r\n\r\n").as_bytes(),
        )
        .await;
        let found = answer.split(' ').nth(1).unwrap_or_default();
        assert_eq!(found, status, "{head}: {answer}");
        if status == "421" {
            assert!(answer.contains("--allowed-hosts"), "{answer}");
            assert!(answer.contains("nosniff"), "{answer}");
        }
    }
    let metrics = get(address, "/metrics").await.1;
    let counted = r#"iperf_mesh_rejected_messages_total{reason="bad_host"} 4"#;
    assert!(metrics.contains(counted), "{metrics}");
}

/// Members at these addresses.
fn members_at(addresses: impl Iterator<Item = [u8; 4]>) -> Vec<Member> {
    let members = addresses.map(|address| {
        let [_, _, network, host] = address;
        member(
            &format!("node-{network:03}-{host:03}"),
            (address, 9876).into(),
        )
    });
    members.collect()
}

async fn assert_answered(mut stream: TcpStream) {
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let _ = timeout(DEADLINE, stream.read_to_string(&mut answer)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}
