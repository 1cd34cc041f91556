//! Answers to requests whose bodies nobody has read: they reach clients that read only once they have said all.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::{PATIENCE, Server};

const MIB: usize = 1 << 20;

/// Says that head and so many bytes behind it, more than any buffer holds, and then reads until the server closes.
fn said_all(server: &Server, head: &str, len: usize) -> std::io::Result<String> {
    let mut link = TcpStream::connect(server.url.trim_start_matches("http://"))?;
    link.set_read_timeout(Some(PATIENCE))?;
    link.set_write_timeout(Some(PATIENCE))?;
    link.write_all(head.as_bytes())?;
    let part = vec![b'x'; 65_536];
    for _ in 0..len / part.len() {
        link.write_all(&part)?;
    }
    let mut answer = String::new();
    link.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn an_answer_before_the_body_was_read_reaches_who_says_all_first() {
    let server = Server::start();
    let len = 8 * MIB;
    let chunks = "transfer-encoding: chunked\r\n\r\n7fffffff\r\n";
    let mut wrong = Vec::new();
    for (head, expected) in [
        (format!("POST /v1/tokens HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n\r\n"), "413"),
        (
            format!("POST /v1/tokens HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {len}\r\n\r\n"),
            "413",
        ),
        (format!("POST /v1/tokens HTTP/1.1\r\nhost: a\r\n{chunks}"), "413"),
        (format!("POST /v1/tokens HTTP/1.1\r\nhost: a b\r\ncontent-length: {len}\r\n\r\n"), "400"),
        (format!("POST /v1/tokens HTTP/1.1\r\ncontent-length: {len}\r\n\r\n"), "400"),
        (format!("POST /socket.io/1/none/1 HTTP/1.1\r\nhost: a\r\n{chunks}"), "404"),
        (format!("POST /socket.io/1/ HTTP/1.1\r\nhost: a\r\ncontent-length: {len}\r\n\r\n"), "403"),
        // What comes behind the last request of a connection is a body to nobody.
        ("GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".to_owned(), "200"),
    ] {
        let answer = said_all(&server, &head, len);
        if !answer.as_ref().is_ok_and(|answer| answer.starts_with(&format!("HTTP/1.1 {expected} "))) {
            wrong.push((head, answer));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn who_goes_on_after_the_answer_is_read_until_it_is_done() {
    let server = Server::start();
    let mut link = TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    link.set_read_timeout(Some(PATIENCE)).unwrap();
    link.write_all(b"POST /socket.io/1/none/1 HTTP/1.1\r\nhost: a\r\ncontent-length: 8388608\r\n\r\n").unwrap();
    let mut answer = String::new();
    link.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    // The server has closed its side. Were the connection closed, the first of these would reset it.
    for _ in 0..8 {
        link.write_all(&vec![b'x'; MIB]).unwrap();
    }
}
