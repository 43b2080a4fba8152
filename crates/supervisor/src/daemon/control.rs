//! The control socket: connections, requests, answers that wait, logs that are followed.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::epoll;

use crate::fault::{Fault, FaultCode};
use crate::http::{self, Request};
use crate::logfile;
use crate::xmlrpc::{self, Value};

use super::deferred::Deferred;
use super::events::Listening;
use super::{Daemon, Source};

/// More connections are refused. The socket is open to its owner only (0700).
const MAX_CONNECTIONS: usize = 256;
/// A client that follows a log and does not read is dropped beyond this.
const MAX_BACKLOG: usize = 4 << 20;
/// What a follower gets first.
const FIRST_TAIL: i64 = 1_024;

/// One client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// The call that is being waited for, and whether the connection stays open after it.
    waiting: Option<(Deferred, bool)>,
    /// The process and channel whose log is followed.
    follows: Option<(u64, usize)>,
    /// The steps of processes that are told to it as they happen.
    pub(super) listens: Option<Listening>,
    /// Close once everything is sent.
    closing: bool,
    /// Whether readiness to write is being waited for.
    wants_write: bool,
}

impl Connection {
    /// Tells how many steps were not told, as soon as all before them were.
    fn say_what_was_missed(&mut self) {
        if let Some(listening) = &mut self.listens
            && self.output.is_empty()
        {
            self.output.extend(listening.missed());
        }
    }
}

/// What a method gives back.
pub(super) enum Answer {
    Now(Value),
    Later(Deferred),
}

/// What follows the daemon's own log instead of a process's: no process has this number.
pub(super) const MAIN_LOG: u64 = u64::MAX;

impl Daemon {
    pub(super) fn accept(&mut self) {
        loop {
            let Some(listener) = &self.listener else {
                return;
            };
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            if self.connections.len() >= MAX_CONNECTIONS || stream.set_nonblocking(true).is_err() {
                // Closed at once: a client sees a broken connection and may try again.
                continue;
            }
            let id = self.new_id();
            if self.watch(&stream, Source::Connection(id)).is_ok() {
                let connection = Connection {
                    stream,
                    input: Vec::new(),
                    output: Vec::new(),
                    waiting: None,
                    follows: None,
                    listens: None,
                    closing: false,
                    wants_write: false,
                };
                self.connections.insert(id, connection);
            }
        }
    }

    /// A client has sent something, has gone, or can take more.
    pub(super) fn receive(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let mut piece = [0_u8; 16 << 10];
        loop {
            match connection.stream.read(&mut piece) {
                Ok(0) => {
                    // Whoever waits for an answer keeps its own side open.
                    self.connections.remove(&id);
                    return;
                }
                Ok(n) => {
                    connection.input.extend_from_slice(&piece[..n]);
                    if connection.input.len() > http::MAX_REQUEST + (64 << 10) {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.connections.remove(&id);
                    return;
                }
            }
        }
        self.take_requests(id);
    }

    /// Answers what was received completely, one request after the other.
    fn take_requests(&mut self, id: u64) {
        loop {
            let Some(connection) = self.connections.get_mut(&id) else {
                return;
            };
            let busy = connection.waiting.is_some()
                || connection.follows.is_some()
                || connection.listens.is_some();
            if busy || connection.closing {
                // A client that sends on without reading its answers is not listened to.
                if connection.input.len() > http::MAX_REQUEST {
                    self.connections.remove(&id);
                }
                return;
            }
            match http::take_request(&mut connection.input) {
                Ok(None) => return,
                Ok(Some(request)) => self.answer_request(id, &request),
                Err(error) => {
                    self.send(
                        id,
                        &error.to_string(),
                        "text/plain",
                        error.to_string().as_bytes(),
                        false,
                    );
                }
            }
        }
    }

    fn answer_request(&mut self, id: u64, request: &Request) {
        let keep = request.keep_alive;
        if let Some(path) = request.path.strip_prefix("/logtail/")
            && request.method == "GET"
        {
            return self.follow(id, &http::percent_decode(path));
        }
        if let Some(path) = request.path.strip_prefix("/steps")
            && request.method == "GET"
        {
            return self.begin_to_tell(id, path);
        }
        if request.path == "/mainlogtail" && request.method == "GET" {
            return match self.settings.logfile.clone() {
                Some(log) => self.follow_file(id, &log, (MAIN_LOG, 0)),
                None => self.send(id, "410 Gone", "text/plain", b"no such log", false),
            };
        }
        if !matches!(request.path.as_str(), "/RPC2" | "/RPC2/") {
            return self.send(id, "404 Not Found", "text/plain", b"Not Found", keep);
        }
        if request.method != "POST" {
            return self.send(
                id,
                "405 Method Not Allowed",
                "text/plain",
                b"Method Not Allowed",
                keep,
            );
        }
        let call = std::str::from_utf8(&request.body)
            .map_err(|e| e.to_string())
            .and_then(|text| xmlrpc::read_call(text).map_err(|e| e.to_string()));
        match call {
            Err(reason) => self.send(id, "400 Bad Request", "text/plain", reason.as_bytes(), keep),
            Ok((method, parameters)) => match self.call(&method, &parameters) {
                Ok(Answer::Now(value)) => self.send_answer(id, &Ok(value), keep),
                Ok(Answer::Later(deferred)) => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.waiting = Some((deferred, keep));
                    }
                }
                Err(fault) => self.send_answer(id, &Err(fault), keep),
            },
        }
    }

    fn send_answer(&mut self, id: u64, answer: &Result<Value, Fault>, keep: bool) {
        self.send(
            id,
            "200 OK",
            "text/xml",
            xmlrpc::write_response(answer).as_bytes(),
            keep,
        );
    }

    pub(super) fn send(
        &mut self,
        id: u64,
        status: &str,
        content_type: &str,
        body: &[u8],
        keep: bool,
    ) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection
                .output
                .extend(http::response(status, content_type, body, keep));
            connection.closing |= !keep;
        }
    }

    /// Sends the end of a log, then what is added to it.
    fn follow(&mut self, id: u64, path: &str) {
        let (name, channel) = match path.rsplit_once('/') {
            Some((name, "stderr")) => (name, 1),
            Some((name, "stdout")) => (name, 0),
            _ => (path, 0),
        };
        let found = self.find_process(name).ok().and_then(|process| {
            let process = self.processes.get(&process)?;
            Some((
                process.id,
                process.logs[channel].as_ref()?.path().to_owned(),
            ))
        });
        let Some((process, log)) = found else {
            return self.send(id, "410 Gone", "text/plain", b"no such log", false);
        };
        self.follow_file(id, &log, (process, channel));
    }

    /// Sends the end of a file, then what is published under this name.
    fn follow_file(&mut self, id: u64, log: &Path, follows: (u64, usize)) {
        let first = logfile::read(log, -FIRST_TAIL, 0).unwrap_or_default();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.output.extend(http::stream_head());
            if !first.is_empty() {
                connection.output.extend(http::chunk(&first));
            }
            connection.follows = Some(follows);
        }
    }

    /// Something was added to a log.
    pub(super) fn publish(&mut self, process: u64, channel: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.connections
            .retain(|_, c| c.follows != Some((process, channel)) || c.output.len() < MAX_BACKLOG);
        for connection in self
            .connections
            .values_mut()
            .filter(|c| c.follows == Some((process, channel)))
        {
            connection.output.extend(http::chunk(bytes));
        }
    }

    /// Answers every waiting call whose end has come.
    pub(super) fn advance_connections(&mut self) {
        let waiting: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, c)| c.waiting.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            let taken = self.connections.get_mut(&id).and_then(|c| c.waiting.take());
            let Some((mut deferred, keep)) = taken else {
                continue;
            };
            match self.advance(&mut deferred) {
                Some(answer) => {
                    self.send_answer(id, &answer, keep);
                    // What the client sent meanwhile.
                    self.take_requests(id);
                }
                None => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.waiting = Some((deferred, keep));
                    }
                }
            }
        }
        let lost: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, c)| {
                c.follows.is_some_and(|(process, _)| {
                    process != MAIN_LOG && !self.processes.contains_key(&process)
                })
            })
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.output.extend_from_slice(b"0\r\n\r\n");
                connection.follows = None;
                connection.closing = true;
            }
        }
    }

    /// Sends as much as the clients take.
    pub(super) fn flush_connections(&mut self) {
        let mut gone = Vec::new();
        for (id, connection) in &mut self.connections {
            if connection.output.is_empty() && !connection.closing {
                continue;
            }
            // Once more when everything is sent: what was missed can be told then.
            while !connection.output.is_empty() {
                match connection.stream.write(&connection.output) {
                    Ok(0) => break,
                    Ok(n) => drop(connection.output.drain(..n)),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        gone.push(*id);
                        break;
                    }
                }
                connection.say_what_was_missed();
            }
            let unsent = !connection.output.is_empty();
            if !unsent && connection.closing {
                gone.push(*id);
            } else if unsent != connection.wants_write {
                connection.wants_write = unsent;
                let mut interest = epoll::EventFlags::IN;
                interest.set(epoll::EventFlags::OUT, unsent);
                let _ = epoll::modify(
                    &self.epoll,
                    &connection.stream,
                    Source::Connection(*id).token(),
                    interest,
                );
            }
        }
        for id in gone {
            self.connections.remove(&id);
        }
    }

    /// The one process that a name means.
    pub(super) fn find_process(&self, name: &str) -> Result<u64, Fault> {
        let bad = || Fault::new(FaultCode::BadName, name);
        let (group, process) = crate::ctl::split_namespec(name);
        let group = self
            .groups
            .iter()
            .find(|g| g.config.name == group)
            .ok_or_else(bad)?;
        let process = process.ok_or_else(bad)?;
        group
            .members
            .iter()
            .copied()
            .find(|id| {
                self.processes
                    .get(id)
                    .is_some_and(|p| p.config.name == process)
            })
            .ok_or_else(bad)
    }
}
