//! Addresses that give no matrix: each is tried for real, and the message names the problem with a
//! step that helps.

#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::io::{Read, Write};
use std::net::TcpListener;

use iperf3_mesh_testkit::{Network, Program, SOON};

#[test]
fn an_address_without_a_server_is_explained() {
    let nobody = Network::draw().address(1).to_string();
    told(
        &nobody,
        "Connection refused",
        "start the agent, or name the port",
    );
    told("nobody.invalid", "failed to lookup", " name");
    told("not an address", "not an address", "Write HOST, HOST:PORT");
    // This one accepts the connection, and does not answer.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let words = ["--timeout", "300ms"];
    told_with(
        &words,
        &address,
        "no answer within 300ms",
        "A firewall may drop",
    );
}

#[test]
fn a_server_that_is_no_agent_is_explained() {
    for (answer, problem, hint) in [
        (
            "SSH-2.0-OpenSSH_9.2\r\n",
            "the connection broke",
            "another protocol",
        ),
        ("", "the connection broke", "such as TLS"),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n<!DOCTYPE x>\n",
            "answered 404 Not Found with a web page. ",
            "not the read API of an agent",
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "answered 404 Not Found. ",
            "start a newer agent",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n",
            "answered 302 Found. ",
            "redirects",
        ),
        (
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
            "answered 401 Unauthorized. ",
            "wants a login",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy",
            "answered 503 Service Unavailable: busy. ",
            "try again",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "not what was expected",
            "Another program listens there",
        ),
    ] {
        told(&server(answer), problem, hint);
    }
}

/// Asks `address` for the matrix, and checks the message.
#[track_caller]
fn told(address: &str, problem: &str, hint: &str) {
    told_with(&[], address, problem, hint);
}

#[track_caller]
fn told_with(options: &[&str], address: &str, problem: &str, hint: &str) {
    let ended = Program::run(&[&["matrix", address], options].concat(), SOON);
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
    let message = &ended.stderr;
    assert!(message.contains("cannot get the matrix from "), "{message}");
    assert!(message.contains(problem), "{message:?}: {problem}");
    assert!(message.contains(hint), "{message:?}: {hint}");
}

/// A server that gives `answer` to one request and closes the connection.
fn server(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let _ = connection.read(&mut [0; 1024]);
        let _ = connection.write_all(answer.as_bytes());
    });
    address
}
