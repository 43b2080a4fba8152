//! The load generator: one thread, epoll, many connections; and a single call.
//!
//! Each connection sends its next request as soon as the reply to the last one is complete (closed
//! loop). Where the server closes, the next request opens a connection of its own, and the time
//! that takes is part of the latency: the client has to wait for it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::failure::{Context, Failure};
use crate::os;

/// No Master answers a single request as slowly as this.
const PATIENCE: Duration = Duration::from_secs(60);
/// Larger replies are refused.
const MAX_REPLY: usize = 64 << 20;

/// What to send, how, and for how long.
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// Requests to send at most.
    pub(crate) count: usize,
    /// No new request is sent after this time.
    pub(crate) time: Duration,
    /// Appends the bytes of request number n (0…count-1).
    pub(crate) request: &'a dyn Fn(usize, &mut Vec<u8>),
    /// A right reply has status 200 and this in its body.
    pub(crate) expect: &'a str,
}

/// What was measured.
pub(crate) struct Outcome {
    /// Replies received, all of them right.
    pub(crate) replies: usize,
    /// From the first request to the last reply.
    pub(crate) elapsed: Duration,
    /// One per reply, ascending.
    pub(crate) latencies: Vec<Duration>,
    /// Bytes of all bodies.
    pub(crate) body_bytes: usize,
    /// Connections opened.
    pub(crate) connects: usize,
}

impl Outcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.replies as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    pub(crate) fn mean_body(&self) -> f64 {
        self.body_bytes as f64 / self.replies.max(1) as f64
    }
}

/// One reply.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Sends one request on a connection of its own.
pub(crate) fn call(address: SocketAddr, request: &[u8]) -> Result<Reply, Failure> {
    let mut connection = Connection::open(address)?;
    connection
        .stream
        .set_nonblocking(false)
        .context("making a connection blocking")?;
    connection
        .stream
        .set_read_timeout(Some(PATIENCE))
        .context("limiting the patience")?;
    connection
        .stream
        .write_all(request)
        .context("sending a request")?;
    loop {
        if let Some(reply) = connection.read().context("reading a reply")? {
            return Ok(Reply {
                status: reply.status,
                body: connection.body(&reply).to_vec(),
            });
        }
    }
}

/// Drives all connections until the count or the time is used up. Any wrong reply is a failure:
/// errors are quick, and would make a server look good.
pub(crate) fn run(load: &Load<'_>) -> Result<Outcome, Failure> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).context("making an epoll")?;
    let mut sent = 0;
    let mut open = 0;
    let mut connects = 0;
    let mut body_bytes = 0;
    let mut latencies = Vec::with_capacity(load.count.min(1 << 20));
    let mut events: Vec<epoll::Event> = Vec::with_capacity(load.connections);
    let mut request = Vec::new();
    let mut connections: Vec<Option<Connection>> = Vec::new();
    for slot in 0..load.connections.min(load.count) {
        let connection = Connection::open(load.address)?;
        watch(&poll, &connection.stream, slot)?;
        connections.push(Some(connection));
        connects += 1;
    }

    let start = Instant::now();
    let mut last = start;
    for connection in connections.iter_mut().flatten() {
        connection.send(load, sent, &mut request)?;
        sent += 1;
        open += 1;
    }
    while open > 0 {
        if os::interrupted() {
            return Err(Failure::new("interrupted"));
        }
        events.clear();
        let timeout = rustix::time::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        match epoll::wait(
            &poll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for replies"),
        }
        if last.elapsed() > PATIENCE {
            return Err(Failure::new("the Master does not answer"));
        }
        for event in &events {
            let slot = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let Some(place) = connections.get_mut(slot) else {
                continue;
            };
            let Some(connection) = place else { continue };
            let Some(reply) = connection.read().context("reading a reply")? else {
                continue;
            };
            let now = Instant::now();
            latencies.push(now - connection.since);
            last = now;
            let body = connection.body(&reply);
            check(load, reply.status, body)?;
            body_bytes += body.len();
            if sent == load.count || now - start > load.time {
                *place = None;
                open -= 1;
                continue;
            }
            connection.since = now;
            connection.received.clear();
            if !reply.keep_alive {
                connection.stream = open_stream(load.address)?;
                watch(&poll, &connection.stream, slot)?;
                connects += 1;
            }
            connection.send(load, sent, &mut request)?;
            sent += 1;
        }
    }
    latencies.sort_unstable();
    Ok(Outcome {
        replies: latencies.len(),
        elapsed: last - start,
        latencies,
        body_bytes,
        connects,
    })
}

fn open_stream(address: SocketAddr) -> Result<TcpStream, Failure> {
    let open = || {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        io::Result::Ok(stream)
    };
    open().context(format_args!("connecting to {address}"))
}

fn watch(poll: &std::os::fd::OwnedFd, stream: &TcpStream, slot: usize) -> Result<(), Failure> {
    epoll::add(
        poll,
        stream,
        epoll::EventData::new_u64(slot as u64),
        epoll::EventFlags::IN,
    )
    .context("watching a connection")
}

fn check(load: &Load<'_>, status: u16, body: &[u8]) -> Result<(), Failure> {
    let found = holds(body, load.expect.as_bytes());
    if status == 200 && found {
        return Ok(());
    }
    let text: String = String::from_utf8_lossy(body).chars().take(300).collect();
    Err(Failure::new(format!(
        "a reply with status {status} instead of 200 with `{}`: {text}",
        load.expect
    )))
}

/// Whether `body` holds `wanted`; what is expected stands near the beginning.
fn holds(body: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || body.windows(wanted.len()).any(|window| window == wanted)
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// Where reads go to first.
    block: Box<[u8]>,
    /// When the request was due.
    since: Instant,
}

/// A complete reply: where its body is in what was received.
struct Head {
    status: u16,
    keep_alive: bool,
    body: std::ops::Range<usize>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Connection, Failure> {
        Ok(Connection {
            stream: open_stream(address)?,
            received: Vec::new(),
            block: vec![0; 64 << 10].into_boxed_slice(),
            since: Instant::now(),
        })
    }

    fn send(&mut self, load: &Load<'_>, n: usize, buffer: &mut Vec<u8>) -> Result<(), Failure> {
        buffer.clear();
        (load.request)(n, buffer);
        // A few kilobytes into an empty socket buffer: never partial on loopback.
        match self.stream.write(buffer) {
            Ok(written) if written == buffer.len() => Ok(()),
            Ok(_) => Err(Failure::new(
                "a request is too large for the socket's buffer",
            )),
            Err(error) => Err(error).context("sending a request"),
        }
    }

    /// What there is to read now; the reply, if it is complete with it.
    fn read(&mut self) -> io::Result<Option<Head>> {
        let ended = match self.stream.read(&mut self.block) {
            Ok(n) => {
                self.received.extend_from_slice(&self.block[..n]);
                n == 0
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if self.received.len() > MAX_REPLY {
            return Err(io::Error::other("the reply is too large"));
        }
        let head = parse(&self.received, ended)?;
        if head.is_none() && ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(head)
    }

    fn body(&self, reply: &Head) -> &[u8] {
        self.received.get(reply.body.clone()).unwrap_or_default()
    }
}

/// Reads a reply; None if it is not complete. Without a length it ends with the connection.
fn parse(received: &[u8], ended: bool) -> io::Result<Option<Head>> {
    let bad = || io::Error::other("not an HTTP reply that this generator understands");
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&received[..end]).map_err(|_| bad())?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let mut keep_alive = first.next() == Some("HTTP/1.1");
    let status = first
        .next()
        .and_then(|code| code.parse().ok())
        .ok_or_else(bad)?;
    let mut length: Option<usize> = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse().map_err(|_| bad())?);
        } else if name.eq_ignore_ascii_case("connection") {
            keep_alive = value.eq_ignore_ascii_case("keep-alive");
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(bad());
        }
    }
    let start = end + 4;
    let body = match length {
        Some(length) if received.len() >= start + length => start..start + length,
        None if ended => start..received.len(),
        _ => return Ok(None),
    };
    Ok(Some(Head {
        status,
        keep_alive: keep_alive && length.is_some(),
        body,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::trivial;

    fn load(address: SocketAddr, connections: usize, count: usize) -> Load<'static> {
        Load {
            address,
            connections,
            count,
            time: Duration::from_secs(60),
            request: &|n, to| to.extend(format!("GET /{n} HTTP/1.1\r\n\r\n").bytes()),
            expect: "ok",
        }
    }

    #[test]
    fn every_request_is_answered_once() {
        let server = trivial::Server::start(trivial::KEEP_ALIVE).unwrap();
        for (connections, count) in [(1, 1), (1, 50), (8, 50), (8, 3)] {
            let outcome = run(&load(server.address(), connections, count)).unwrap();
            assert_eq!(outcome.replies, count);
            assert_eq!(outcome.latencies.len(), count);
            assert_eq!(outcome.connects, connections.min(count));
            assert_eq!(outcome.body_bytes, 2 * count);
        }
    }

    #[test]
    fn a_server_that_closes_gets_a_connection_for_each_request() {
        let server = trivial::Server::start(trivial::CLOSING).unwrap();
        let outcome = run(&load(server.address(), 4, 20)).unwrap();
        assert_eq!((outcome.replies, outcome.connects), (20, 20));
    }

    #[test]
    fn a_wrong_reply_is_a_failure() {
        let server =
            trivial::Server::start("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nok").unwrap();
        assert!(run(&load(server.address(), 2, 10)).is_err());
        let server =
            trivial::Server::start("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").unwrap();
        assert!(run(&load(server.address(), 2, 10)).is_err());
    }

    #[test]
    fn replies_are_read_only_when_complete() {
        let whole = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 3\r\n\r\nabc";
        for end in 0..whole.len() {
            assert!(parse(&whole[..end], false).unwrap().is_none(), "{end}");
        }
        let head = parse(whole, false).unwrap().unwrap();
        assert_eq!(
            (head.status, head.keep_alive, &whole[head.body]),
            (200, true, &b"abc"[..])
        );
        let old = b"HTTP/1.0 404 Not Found\r\n\r\nabc";
        assert!(parse(old, false).unwrap().is_none());
        let head = parse(old, true).unwrap().unwrap();
        assert_eq!(
            (head.status, head.keep_alive, &old[head.body]),
            (404, false, &b"abc"[..])
        );
        assert!(
            parse(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                false
            )
            .is_err()
        );
    }
}
