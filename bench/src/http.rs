//! The load generator: one thread, epoll, many connections; and a single call.
//!
//! Each connection sends its next request as soon as the reply to the last one is complete (closed
//! loop), or, with a pace, when it is due. Where the server closes, the next request opens a
//! connection of its own, and the time that takes is part of the latency: the client has to wait for
//! it.

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
    /// One request is due each time this has passed, and latencies count from when it was due;
    /// without it, one is due whenever a connection is free.
    pub(crate) pace: Option<Duration>,
    /// Appends the bytes of request number n (0…count-1).
    pub(crate) request: &'a dyn Fn(usize, &mut Vec<u8>),
    /// Says whether a reply is right, given the number of its request.
    pub(crate) judge: &'a dyn Fn(usize, &Answer<'_>) -> Result<(), Failure>,
}

/// A reply, as far as it is looked at.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// The lines of its head.
    pub(crate) head: &'a str,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// A wrong reply is a failure that shows what it was.
    pub(crate) fn expect(&self, status: u16, text: &str) -> Result<(), Failure> {
        if self.status == status && holds(self.body, text.as_bytes()) {
            return Ok(());
        }
        let body: String = String::from_utf8_lossy(self.body)
            .chars()
            .take(300)
            .collect();
        Err(Failure::new(format!(
            "a reply with status {} instead of {status} with `{text}`: {body}",
            self.status
        )))
    }
}

/// Judges replies: right ones have status 200 and this in their body.
pub(crate) fn expect(text: &str) -> impl Fn(usize, &Answer<'_>) -> Result<(), Failure> {
    move |_, answer| answer.expect(200, text)
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
    let mut driver = Driver {
        load,
        poll: epoll::create(epoll::CreateFlags::CLOEXEC).context("making an epoll")?,
        connections: Vec::new(),
        idle: Vec::new(),
        sent: 0,
        waiting: 0,
        start: Instant::now(),
        outcome: Outcome {
            replies: 0,
            elapsed: Duration::ZERO,
            latencies: Vec::with_capacity(load.count.min(1 << 21)),
            body_bytes: 0,
            connects: 0,
        },
    };
    driver.connect()?;
    driver.drive()?;
    let mut outcome = driver.outcome;
    outcome.replies = outcome.latencies.len();
    outcome.latencies.sort_unstable();
    Ok(outcome)
}

struct Driver<'a> {
    load: &'a Load<'a>,
    poll: std::os::fd::OwnedFd,
    connections: Vec<Connection>,
    /// Connections without a request under way.
    idle: Vec<usize>,
    sent: usize,
    /// Requests under way.
    waiting: usize,
    start: Instant,
    outcome: Outcome,
}

impl Driver<'_> {
    fn connect(&mut self) -> Result<(), Failure> {
        for slot in 0..self.load.connections.min(self.load.count) {
            let connection = Connection::open(self.load.address)?;
            watch(&self.poll, &connection.stream, slot)?;
            self.connections.push(connection);
            self.idle.push(slot);
            self.outcome.connects += 1;
        }
        Ok(())
    }

    fn drive(&mut self) -> Result<(), Failure> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(self.load.connections);
        let mut request = Vec::new();
        self.start = Instant::now();
        let mut last = self.start;
        loop {
            let pause = self.send_due(&mut request)?;
            if self.waiting == 0 && pause.is_none() {
                break;
            }
            if os::interrupted() {
                return Err(Failure::new("interrupted"));
            }
            if self.waiting > 0 && last.elapsed() > PATIENCE {
                return Err(Failure::new("the Master does not answer"));
            }
            let pause = pause.unwrap_or(Duration::from_secs(1));
            let timeout = rustix::time::Timespec {
                tv_sec: i64::try_from(pause.as_secs()).unwrap_or(1),
                tv_nsec: i64::from(pause.subsec_nanos()),
            };
            events.clear();
            match epoll::wait(
                &self.poll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for replies"),
            }
            for event in &events {
                let slot = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                if self.progress(slot)? {
                    last = Instant::now();
                }
            }
        }
        self.outcome.elapsed = last - self.start;
        Ok(())
    }

    /// Sends what is due; how long until something is, when a free connection waits for that.
    fn send_due(&mut self, request: &mut Vec<u8>) -> Result<Option<Duration>, Failure> {
        while let Some(slot) = self.idle.last().copied() {
            let now = Instant::now();
            let due = match self.load.pace {
                Some(pace) => {
                    self.start + pace.saturating_mul(u32::try_from(self.sent).unwrap_or(u32::MAX))
                }
                None => now,
            };
            if self.sent >= self.load.count || due.max(now) - self.start > self.load.time {
                return Ok(None);
            }
            if due > now {
                return Ok(Some(due - now));
            }
            self.idle.pop();
            request.clear();
            (self.load.request)(self.sent, request);
            let Some(connection) = self.connections.get_mut(slot) else {
                continue;
            };
            if !connection.usable {
                connection.stream = open_stream(self.load.address)?;
                watch(&self.poll, &connection.stream, slot)?;
                connection.usable = true;
                self.outcome.connects += 1;
            }
            connection.number = self.sent;
            connection.since = due;
            connection.busy = true;
            connection.received.clear();
            if !connection.send(request)? {
                interest(&self.poll, &connection.stream, slot, true)?;
            }
            self.sent += 1;
            self.waiting += 1;
        }
        Ok(None)
    }

    /// Goes on with a connection; whether its reply is complete.
    fn progress(&mut self, slot: usize) -> Result<bool, Failure> {
        let Some(connection) = self.connections.get_mut(slot) else {
            return Ok(false);
        };
        if !connection.busy {
            // Closed by the server between two requests: the next one opens another.
            connection.usable = false;
            return epoll::delete(&self.poll, &connection.stream)
                .map(|()| false)
                .context("forgetting a connection");
        }
        if !connection.pending.is_empty() && connection.flush()? {
            interest(&self.poll, &connection.stream, slot, false)?;
        }
        let Some(reply) = connection.read().context("reading a reply")? else {
            return Ok(false);
        };
        let answer = connection.answer(&reply);
        (self.load.judge)(connection.number, &answer)?;
        self.outcome.latencies.push(connection.since.elapsed());
        self.outcome.body_bytes += answer.body.len();
        connection.usable = reply.keep_alive;
        connection.busy = false;
        self.idle.push(slot);
        self.waiting -= 1;
        Ok(true)
    }
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

/// Whether room to write is waited for, besides something to read.
fn interest(
    poll: &std::os::fd::OwnedFd,
    stream: &TcpStream,
    slot: usize,
    room: bool,
) -> Result<(), Failure> {
    let mut flags = epoll::EventFlags::IN;
    flags.set(epoll::EventFlags::OUT, room);
    epoll::modify(poll, stream, epoll::EventData::new_u64(slot as u64), flags)
        .context("watching a connection")
}

/// Whether `body` holds `wanted`; what is expected stands near the beginning.
fn holds(body: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || body.windows(wanted.len()).any(|window| window == wanted)
}

struct Connection {
    stream: TcpStream,
    /// What could not be sent yet.
    pending: Vec<u8>,
    received: Vec<u8>,
    /// Where reads go to first.
    block: Box<[u8]>,
    /// Whether a request is under way, its number, and when it was due.
    busy: bool,
    number: usize,
    since: Instant,
    /// Whether it can take another request.
    usable: bool,
}

/// A complete reply: where its parts are in what was received.
struct Head {
    status: u16,
    keep_alive: bool,
    /// Where the head ends.
    end: usize,
    body: std::ops::Range<usize>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Connection, Failure> {
        Ok(Connection {
            stream: open_stream(address)?,
            pending: Vec::new(),
            received: Vec::new(),
            block: vec![0; 64 << 10].into_boxed_slice(),
            busy: false,
            number: 0,
            since: Instant::now(),
            usable: true,
        })
    }

    /// Sends a request; whether all of it could be sent now.
    fn send(&mut self, request: &[u8]) -> Result<bool, Failure> {
        let written = match self.stream.write(request) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error).context("sending a request"),
        };
        self.pending.clear();
        self.pending
            .extend_from_slice(request.get(written..).unwrap_or_default());
        Ok(self.pending.is_empty())
    }

    /// Sends more of what could not be sent; whether that was all.
    fn flush(&mut self) -> Result<bool, Failure> {
        let rest = std::mem::take(&mut self.pending);
        self.send(&rest)
    }

    fn answer(&self, reply: &Head) -> Answer<'_> {
        let head = self.received.get(..reply.end).unwrap_or_default();
        Answer {
            status: reply.status,
            head: std::str::from_utf8(head).unwrap_or_default(),
            body: self.body(reply),
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
    if status == 304 || status == 204 {
        // These have no body, whatever their head says.
        length = Some(0);
    }
    let body = match length {
        Some(length) if received.len() >= start + length => start..start + length,
        None if ended => start..received.len(),
        _ => return Ok(None),
    };
    Ok(Some(Head {
        status,
        keep_alive: keep_alive && length.is_some(),
        end,
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
            pace: None,
            request: &|n, to| to.extend(format!("GET /{n} HTTP/1.1\r\n\r\n").bytes()),
            judge: &|_, answer| answer.expect(200, "ok"),
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
    fn a_pace_is_kept_and_nothing_is_sent_too_early() {
        let server = trivial::Server::start(trivial::KEEP_ALIVE).unwrap();
        let outcome = run(&Load {
            pace: Some(Duration::from_millis(2)),
            ..load(server.address(), 4, 50)
        })
        .unwrap();
        assert_eq!((outcome.replies, outcome.connects), (50, 4));
        assert!(outcome.elapsed >= Duration::from_millis(2 * 49));
    }

    #[test]
    fn large_requests_arrive_whole() {
        // The server answers once for each read: more than one reply would fail the next request.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        const SIZE: usize = 20 << 20;
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = vec![0; SIZE];
            stream.read_exact(&mut all).unwrap();
            stream.write_all(trivial::KEEP_ALIVE.as_bytes()).unwrap();
            all.iter()
                .enumerate()
                .all(|(n, byte)| *byte == (n % 251) as u8)
        });
        let outcome = run(&Load {
            request: &|_, to| to.extend((0..SIZE).map(|n| (n % 251) as u8)),
            ..load(address, 1, 1)
        })
        .unwrap();
        assert_eq!(outcome.replies, 1);
        assert!(server.join().unwrap());
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
