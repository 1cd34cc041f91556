//! A blocking client for setting servers up; what is measured goes through the load generator instead.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::response::Answer;

/// How long one answer may take; an argon2 hash under valgrind is the slowest.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// A kept-alive connection to a server.
pub(crate) struct Client {
    address: SocketAddr,
    stream: TcpStream,
}

impl Client {
    /// Connects to `address`.
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("cannot connect to a server")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { address, stream })
    }

    /// Sends a request and returns the answer's body.
    ///
    /// # Errors
    ///
    /// When the answer is not 200, or the connection breaks.
    pub(crate) fn call(&mut self, request: &Request<'_>) -> anyhow::Result<Vec<u8>> {
        let Request { method, path, credential, body } = request;
        let (status, answer) = self.exchange(request).with_context(|| format!("{method} {path}"))?;
        if status != 200 {
            let credential = credential.map_or("no credential", |(name, _)| name);
            bail!(
                "{method} {path} with {credential} and body {body:?} was answered {status}: {}",
                String::from_utf8_lossy(&answer)
            );
        }
        Ok(answer)
    }

    /// [`Client::call`] for answers in JSON.
    pub(crate) fn json(&mut self, request: &Request<'_>) -> anyhow::Result<Value> {
        let body = self.call(request)?;
        serde_json::from_slice(&body).with_context(|| format!("the answer to {} is no JSON", request.path))
    }

    fn exchange(&mut self, request: &Request<'_>) -> anyhow::Result<(u16, Vec<u8>)> {
        self.stream.write_all(request.text(self.address)?.as_bytes())?;
        let mut input = Vec::new();
        let mut part = vec![0; 16 * 1024];
        loop {
            let len = self.stream.read(&mut part)?;
            if len == 0 {
                bail!("the server closed the connection instead of answering");
            }
            input.extend_from_slice(&part[..len]);
            if let Some(answer) = Answer::parse(&input)? {
                if answer.closes {
                    self.stream = Self::connect(self.address)?.stream;
                }
                return Ok((answer.status, input[answer.body].to_vec()));
            }
        }
    }
}

/// One request.
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    /// Header name and value.
    pub(crate) credential: Option<(&'static str, &'a str)>,
    pub(crate) body: Body<'a>,
}

/// What a request carries.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    None,
    Json(&'a Value),
    Form(&'a str),
}

impl Request<'_> {
    fn text(&self, host: SocketAddr) -> anyhow::Result<String> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        if let Some((name, value)) = self.credential {
            write!(text, "{name}: {value}\r\n")?;
        }
        let (content_type, body) = match self.body {
            Body::None => return Ok(text + "\r\n"),
            Body::Json(value) => ("application/json", value.to_string()),
            Body::Form(form) => ("application/x-www-form-urlencoded", form.to_owned()),
        };
        write!(text, "Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        Ok(text)
    }
}
