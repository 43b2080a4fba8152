//! Talks to a supervisor over its control socket: ours, or upstream's `supervisord`.

use std::io::{self, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::fault::{Fault, FaultCode};
use crate::http;
use crate::state::ProcessState;
use crate::xmlrpc::{self, Value};

/// No answer is longer.
const MAX_RESPONSE: u64 = 64 << 20;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens.
    #[error("the supervisor at {socket} does not answer: {source}")]
    Connect {
        /// The control socket.
        socket: PathBuf,
        /// What the system said; `NotFound` or `ConnectionRefused` mean that none is running.
        source: io::Error,
    },
    /// The connection broke or took too long.
    #[error("the supervisor at {socket} broke off during {method}: {source}")]
    Io {
        /// The control socket.
        socket: PathBuf,
        /// The call.
        method: String,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is not one.
    #[error("the supervisor at {socket} answered {method} with {reason}")]
    Protocol {
        /// The control socket.
        socket: PathBuf,
        /// The call.
        method: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The supervisor refused.
    #[error("the supervisor refused {method}: {fault}")]
    Fault {
        /// The call.
        method: String,
        /// Its refusal.
        fault: Fault,
    },
}

impl ClientError {
    /// The refusal's code, when it is one.
    pub fn fault(&self) -> Option<FaultCode> {
        match self {
            Self::Fault { fault, .. } => fault.kind(),
            _ => None,
        }
    }

    /// Whether there is simply no daemon.
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Connect { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
    }
}

/// What a supervisor tells about one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its group.
    pub group: String,
    /// Its name inside the group.
    pub name: String,
    /// Where it is in its life.
    pub state: ProcessState,
    /// The sentence `status` shows: pid and uptime, or what went wrong, or when it stopped.
    pub description: String,
    /// Process id; 0 when there is none.
    pub pid: i32,
    /// Unix time in seconds of the last start; 0 = never.
    pub start: i64,
    /// Unix time in seconds of the last exit; 0 = never.
    pub stop: i64,
    /// Unix time in seconds of this answer.
    pub now: i64,
    /// Exit code of the last run, -1 after a signal; 0 before the first exit.
    pub exitstatus: i32,
    /// Why the last start failed; empty when it did not.
    pub spawnerr: String,
    /// Path of its stdout log; empty when it has none.
    pub stdout_logfile: String,
}

impl ProcessInfo {
    /// `group:name`, or the name alone when both are equal.
    pub fn namespec(&self) -> String {
        crate::ctl::namespec(&self.group, &self.name)
    }
}

/// What one process answered to an order given to many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessResult {
    /// Its group.
    pub group: String,
    /// Its name inside the group.
    pub name: String,
    /// [`FaultCode::Success`]'s number, or a fault's.
    pub status: i32,
    /// `OK`, or the fault's text.
    pub description: String,
}

impl ProcessResult {
    /// Whether the order was carried out.
    pub fn is_ok(&self) -> bool {
        self.status == FaultCode::Success.code()
    }
}

/// What re-reading the configuration found, by group name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Configured but not active.
    pub added: Vec<String>,
    /// Active with another configuration.
    pub changed: Vec<String>,
    /// Active but no longer configured.
    pub removed: Vec<String>,
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// What [`Client::update`] did.
#[derive(Debug, Default)]
pub struct Update {
    /// Groups that were added.
    pub added: Vec<String>,
    /// Groups that were stopped and added again with their new configuration.
    pub changed: Vec<String>,
    /// Groups that were stopped and removed.
    pub removed: Vec<String>,
    /// Processes (`group:name`) of changed groups that ran before: they are stopped now unless
    /// they start automatically, so whoever updates a foreign group can start them again.
    pub interrupted: Vec<String>,
    /// Groups that could not be updated, and why. The others were.
    pub failures: Vec<(String, ClientError)>,
}

/// A blocking client. It holds no connection: one is made for each call.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
    wait_timeout: Duration,
}

impl Client {
    /// A client of the supervisor behind this socket. Nothing is contacted yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            timeout: Duration::from_secs(30),
            wait_timeout: Duration::from_secs(600),
        }
    }

    /// Changes how long a call may take: `timeout` for those that answer at once, `wait` for those
    /// that wait for processes to start or stop.
    #[must_use]
    pub fn with_timeouts(mut self, timeout: Duration, wait: Duration) -> Self {
        self.timeout = timeout;
        self.wait_timeout = wait;
        self
    }

    /// How long a call that answers at once may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Any call, untyped.
    pub fn call(&self, method: &str, parameters: &[Value]) -> Result<Value, ClientError> {
        self.call_within(method, parameters, self.timeout)
    }

    fn call_within(
        &self,
        method: &str,
        parameters: &[Value],
        timeout: Duration,
    ) -> Result<Value, ClientError> {
        let deadline = Instant::now() + timeout;
        let mut stream = self.connect(deadline)?;
        let failed = |source| ClientError::Io {
            socket: self.socket.clone(),
            method: method.into(),
            source,
        };
        let body = xmlrpc::write_call(method, parameters);
        let head = format!(
            "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()))
            .map_err(failed)?;
        let (status, body) = read_response(&mut stream, deadline).map_err(failed)?;
        let protocol = |reason: String| ClientError::Protocol {
            socket: self.socket.clone(),
            method: method.into(),
            reason,
        };
        if status != 200 {
            return Err(protocol(format!("HTTP status {status}")));
        }
        match xmlrpc::read_response(&String::from_utf8_lossy(&body))
            .map_err(|e| protocol(e.to_string()))?
        {
            Ok(value) => Ok(value),
            Err(fault) => Err(ClientError::Fault {
                method: method.into(),
                fault,
            }),
        }
    }

    pub(crate) fn connect(&self, deadline: Instant) -> Result<UnixStream, ClientError> {
        let failed = |source| ClientError::Connect {
            socket: self.socket.clone(),
            source,
        };
        let stream = UnixStream::connect(&self.socket).map_err(failed)?;
        let left = Some(remaining(deadline));
        stream
            .set_read_timeout(left)
            .and_then(|()| stream.set_write_timeout(left))
            .map_err(failed)?;
        Ok(stream)
    }

    /// Whether the daemon is running, as opposed to shutting down: `RUNNING`, `RESTARTING`, ….
    pub fn state(&self) -> Result<String, ClientError> {
        let value = self.call("supervisor.getState", &[])?;
        self.text_of("supervisor.getState", value.member("statename"))
    }

    /// The daemon's process id.
    pub fn pid(&self) -> Result<i32, ClientError> {
        let value = self.call("supervisor.getPID", &[])?;
        self.int_of("supervisor.getPID", Some(&value))
    }

    /// Every process, sorted by group and name.
    pub fn all_process_info(&self) -> Result<Vec<ProcessInfo>, ClientError> {
        let method = "supervisor.getAllProcessInfo";
        let value = self.call(method, &[])?;
        let items = value.as_array().ok_or_else(|| self.unexpected(method))?;
        items
            .iter()
            .map(|v| process_info(v).ok_or_else(|| self.unexpected(method)))
            .collect()
    }

    /// One process, by `group:name`.
    pub fn process_info(&self, name: &str) -> Result<ProcessInfo, ClientError> {
        let method = "supervisor.getProcessInfo";
        let value = self.call(method, &[Value::text(name)])?;
        process_info(&value).ok_or_else(|| self.unexpected(method))
    }

    /// Starts a process. With `wait`, returns when it is RUNNING or has failed.
    pub fn start(&self, name: &str, wait: bool) -> Result<(), ClientError> {
        self.order("supervisor.startProcess", name, wait).map(drop)
    }

    /// Stops a process. With `wait`, returns when it has stopped.
    pub fn stop(&self, name: &str, wait: bool) -> Result<(), ClientError> {
        self.order("supervisor.stopProcess", name, wait).map(drop)
    }

    /// Stops a process if it runs, then starts it, waiting for both.
    pub fn restart(&self, name: &str) -> Result<(), ClientError> {
        match self.stop(name, true) {
            Err(error) if error.fault() != Some(FaultCode::NotRunning) => return Err(error),
            _ => {}
        }
        self.start(name, true)
    }

    /// Starts what does not run in a group.
    pub fn start_group(&self, group: &str, wait: bool) -> Result<Vec<ProcessResult>, ClientError> {
        self.results(
            "supervisor.startProcessGroup",
            &[Value::text(group), Value::Bool(wait)],
            wait,
        )
    }

    /// Stops what runs in a group.
    pub fn stop_group(&self, group: &str, wait: bool) -> Result<Vec<ProcessResult>, ClientError> {
        self.results(
            "supervisor.stopProcessGroup",
            &[Value::text(group), Value::Bool(wait)],
            wait,
        )
    }

    /// Starts everything that does not run.
    pub fn start_all(&self, wait: bool) -> Result<Vec<ProcessResult>, ClientError> {
        self.results("supervisor.startAllProcesses", &[Value::Bool(wait)], wait)
    }

    /// Stops everything that runs.
    pub fn stop_all(&self, wait: bool) -> Result<Vec<ProcessResult>, ClientError> {
        self.results("supervisor.stopAllProcesses", &[Value::Bool(wait)], wait)
    }

    /// Empties the logs of all processes.
    pub fn clear_all_logs(&self) -> Result<Vec<ProcessResult>, ClientError> {
        self.results("supervisor.clearAllProcessLogs", &[], false)
    }

    /// Sends a signal (`HUP`, `1`) to a process.
    pub fn signal(&self, name: &str, signal: &str) -> Result<(), ClientError> {
        self.call(
            "supervisor.signalProcess",
            &[Value::text(name), Value::text(signal)],
        )
        .map(drop)
    }

    /// Sends a signal to every process of a group that has one.
    pub fn signal_group(
        &self,
        group: &str,
        signal: &str,
    ) -> Result<Vec<ProcessResult>, ClientError> {
        self.results(
            "supervisor.signalProcessGroup",
            &[Value::text(group), Value::text(signal)],
            false,
        )
    }

    /// Sends a signal to every process.
    pub fn signal_all(&self, signal: &str) -> Result<Vec<ProcessResult>, ClientError> {
        self.results(
            "supervisor.signalAllProcesses",
            &[Value::text(signal)],
            false,
        )
    }

    /// Gives a running process something to read.
    pub fn send_stdin(&self, name: &str, text: &str) -> Result<(), ClientError> {
        self.call(
            "supervisor.sendProcessStdin",
            &[Value::text(name), Value::text(text)],
        )
        .map(drop)
    }

    /// Tells event listeners something (`REMOTE_COMMUNICATION`).
    pub fn send_event(&self, kind: &str, data: &str) -> Result<(), ClientError> {
        self.call(
            "supervisor.sendRemoteCommEvent",
            &[Value::text(kind), Value::text(data)],
        )
        .map(drop)
    }

    /// Reads the configuration again and tells what differs; nothing is started or stopped.
    pub fn reload(&self) -> Result<Changes, ClientError> {
        let method = "supervisor.reloadConfig";
        let value = self.call(method, &[])?;
        let lists = value
            .as_array()
            .and_then(|v| v.first()?.as_array())
            .ok_or_else(|| self.unexpected(method))?;
        let names = |at: usize| -> Option<Vec<String>> {
            lists
                .get(at)?
                .as_array()?
                .iter()
                .map(|v| Some(v.as_str()?.to_owned()))
                .collect()
        };
        match (names(0), names(1), names(2)) {
            (Some(added), Some(changed), Some(removed)) => Ok(Changes {
                added,
                changed,
                removed,
            }),
            _ => Err(self.unexpected(method)),
        }
    }

    /// Makes a configured group active, and starts what starts automatically.
    pub fn add_group(&self, group: &str) -> Result<(), ClientError> {
        self.call("supervisor.addProcessGroup", &[Value::text(group)])
            .map(drop)
    }

    /// Forgets a group whose processes have all stopped.
    pub fn remove_group(&self, group: &str) -> Result<(), ClientError> {
        self.call("supervisor.removeProcessGroup", &[Value::text(group)])
            .map(drop)
    }

    /// The last `bytes` bytes of a process's stdout log.
    pub fn tail(&self, name: &str, bytes: u32) -> Result<String, ClientError> {
        self.tail_channel(name, "stdout", bytes)
    }

    /// The last `bytes` bytes of a process's log, `stdout` or `stderr`.
    pub fn tail_channel(
        &self,
        name: &str,
        channel: &str,
        bytes: u32,
    ) -> Result<String, ClientError> {
        let method = if channel == "stderr" {
            "supervisor.readProcessStderrLog"
        } else {
            "supervisor.readProcessStdoutLog"
        };
        let value = self.call(
            method,
            &[
                Value::text(name),
                Value::Int(-i64::from(bytes)),
                Value::Int(0),
            ],
        )?;
        self.text_of(method, Some(&value))
    }

    /// Copies a process's log to `out` as it grows, until the daemon ends or `out` fails.
    pub fn follow(
        &self,
        name: &str,
        channel: &str,
        out: &mut dyn Write,
    ) -> Result<(), ClientError> {
        let method = format!("logtail/{name}/{channel}");
        let failed = |source| ClientError::Io {
            socket: self.socket.clone(),
            method: method.clone(),
            source,
        };
        let mut stream = self.connect(Instant::now() + self.timeout)?;
        stream.set_read_timeout(None).map_err(failed)?;
        write!(stream, "GET /{method} HTTP/1.1\r\nHost: localhost\r\n\r\n").map_err(failed)?;
        let mut reader = io::BufReader::new(stream);
        copy_chunks(&mut reader, out)
            .map_err(failed)?
            .map_err(|status| match status {
                404 | 410 => ClientError::Fault {
                    method: method.clone(),
                    fault: Fault::new(FaultCode::BadName, name),
                },
                status => ClientError::Protocol {
                    socket: self.socket.clone(),
                    method: method.clone(),
                    reason: format!("HTTP status {status}"),
                },
            })
    }

    /// Empties a process's logs.
    pub fn clear_logs(&self, name: &str) -> Result<(), ClientError> {
        self.call("supervisor.clearProcessLogs", &[Value::text(name)])
            .map(drop)
    }

    /// Tells the daemon to stop everything and end; returns at once.
    pub fn shutdown(&self) -> Result<(), ClientError> {
        self.call("supervisor.shutdown", &[]).map(drop)
    }

    /// [`Client::shutdown`], then waits until its socket is gone or dead.
    pub fn shutdown_and_wait(&self, within: Duration) -> Result<(), ClientError> {
        let deadline = Instant::now() + within;
        match self.shutdown() {
            Err(error) if error.is_down() => return Ok(()),
            Err(error) if error.fault() != Some(FaultCode::ShutdownState) => return Err(error),
            _ => {}
        }
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(mut stream) => {
                    // The daemon closes this connection when it ends: no polling meanwhile.
                    let _ = stream.set_read_timeout(Some(remaining(deadline)));
                    let _ = stream.read(&mut [0_u8; 1]);
                }
                Err(_) => return Ok(()),
            }
            if Instant::now() >= deadline {
                return Err(ClientError::Io {
                    socket: self.socket.clone(),
                    method: "supervisor.shutdown".into(),
                    source: io::Error::new(io::ErrorKind::TimedOut, "it has not ended in time"),
                });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes the active groups what the configuration says (N 3.2, *update supervisor*): stops and
    /// removes those that are gone, stops and adds again those that changed, adds new ones.
    ///
    /// `only` limits this to the named groups; `None` means all. Groups are stopped in parallel.
    /// A failure of one group does not keep the others from being updated; racing with another
    /// caller is harmless. Only a configuration that cannot be read, or a daemon that does not
    /// answer, is an error of the whole.
    pub fn update(&self, only: Option<&[&str]>) -> Result<Update, ClientError> {
        let changes = self.reload()?;
        let wanted = |name: &String| only.is_none_or(|only| only.contains(&name.as_str()));
        let mut update = Update::default();
        let changed: Vec<String> = changes.changed.into_iter().filter(wanted).collect();
        let removed: Vec<String> = changes.removed.into_iter().filter(wanted).collect();
        if !changed.is_empty() {
            let running = self.all_process_info()?;
            update.interrupted = running
                .iter()
                .filter(|p| changed.contains(&p.group) && p.state.is_running())
                .map(|p| format!("{}:{}", p.group, p.name))
                .collect();
        }
        // Every stop signal is sent before the first is waited for.
        for group in removed.iter().chain(&changed) {
            let _ = self.stop_group(group, false);
        }
        for group in removed {
            match self.stop_and_remove(&group) {
                Ok(()) => update.removed.push(group),
                Err(error) => update.failures.push((group, error)),
            }
        }
        for group in changed {
            match self
                .stop_and_remove(&group)
                .and_then(|()| self.add_if_absent(&group))
            {
                Ok(()) => update.changed.push(group),
                Err(error) => update.failures.push((group, error)),
            }
        }
        for group in changes.added.into_iter().filter(wanted) {
            match self.add_if_absent(&group) {
                Ok(()) => update.added.push(group),
                Err(error) => update.failures.push((group, error)),
            }
        }
        Ok(update)
    }

    fn add_if_absent(&self, group: &str) -> Result<(), ClientError> {
        match self.add_group(group) {
            Err(error) if error.fault() == Some(FaultCode::AlreadyAdded) => Ok(()),
            other => other,
        }
    }

    /// Stops a group until it can be removed: someone else may start it again meanwhile, and
    /// upstream's daemon does not wait for processes that were already stopping.
    fn stop_and_remove(&self, group: &str) -> Result<(), ClientError> {
        const TRIES: u32 = 10;
        let deadline = Instant::now() + self.wait_timeout;
        let mut tried = 0;
        loop {
            match self.stop_group(group, true) {
                Err(error) if error.fault() == Some(FaultCode::BadName) => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            match self.remove_group(group) {
                Err(error) if error.fault() == Some(FaultCode::BadName) => return Ok(()),
                Err(error) if error.fault() == Some(FaultCode::StillRunning) => {
                    tried += 1;
                    if tried >= TRIES && Instant::now() >= deadline {
                        return Err(error);
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
                other => return other,
            }
        }
    }

    fn order(&self, method: &str, name: &str, wait: bool) -> Result<Value, ClientError> {
        let timeout = if wait {
            self.wait_timeout
        } else {
            self.timeout
        };
        self.call_within(method, &[Value::text(name), Value::Bool(wait)], timeout)
    }

    fn results(
        &self,
        method: &str,
        parameters: &[Value],
        wait: bool,
    ) -> Result<Vec<ProcessResult>, ClientError> {
        let timeout = if wait {
            self.wait_timeout
        } else {
            self.timeout
        };
        let value = self.call_within(method, parameters, timeout)?;
        let items = value.as_array().ok_or_else(|| self.unexpected(method))?;
        items
            .iter()
            .map(|v| {
                Some(ProcessResult {
                    group: v.member("group")?.as_str()?.to_owned(),
                    name: v.member("name")?.as_str()?.to_owned(),
                    status: i32::try_from(v.member("status")?.as_int()?).ok()?,
                    description: v.member("description")?.as_str()?.to_owned(),
                })
            })
            .map(|r| r.ok_or_else(|| self.unexpected(method)))
            .collect()
    }

    fn text_of(&self, method: &str, value: Option<&Value>) -> Result<String, ClientError> {
        value
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| self.unexpected(method))
    }

    fn int_of(&self, method: &str, value: Option<&Value>) -> Result<i32, ClientError> {
        value
            .and_then(Value::as_int)
            .and_then(|n| i32::try_from(n).ok())
            .ok_or_else(|| self.unexpected(method))
    }

    fn unexpected(&self, method: &str) -> ClientError {
        ClientError::Protocol {
            socket: self.socket.clone(),
            method: method.into(),
            reason: "a value of another shape than supervisord's".into(),
        }
    }
}

fn remaining(deadline: Instant) -> Duration {
    // Zero would mean "for ever" to the socket.
    deadline
        .saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

fn process_info(value: &Value) -> Option<ProcessInfo> {
    let text = |name: &str| value.member(name)?.as_str().map(str::to_owned);
    let int = |name: &str| value.member(name)?.as_int();
    Some(ProcessInfo {
        group: text("group")?,
        name: text("name")?,
        state: ProcessState::from_code(i32::try_from(int("state")?).ok()?)?,
        description: text("description")?,
        pid: i32::try_from(int("pid")?).ok()?,
        start: int("start")?,
        stop: int("stop")?,
        now: int("now")?,
        exitstatus: i32::try_from(int("exitstatus")?).ok()?,
        spawnerr: text("spawnerr")?,
        stdout_logfile: text("stdout_logfile").unwrap_or_default(),
    })
}

fn read_response(stream: &mut UnixStream, deadline: Instant) -> io::Result<(u16, Vec<u8>)> {
    let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
    let mut buffer = Vec::new();
    let mut piece = [0_u8; 16 << 10];
    loop {
        let head = http::response_head(&buffer).map_err(|e| invalid(&e.to_string()))?;
        if let Some((status, start, Some(length))) = head {
            if length as u64 > MAX_RESPONSE {
                return Err(invalid("an answer that is too long"));
            }
            if buffer.len() >= start + length {
                buffer.truncate(start + length);
                buffer.drain(..start);
                return Ok((status, buffer));
            }
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        stream.set_read_timeout(Some(remaining(deadline)))?;
        match stream.read(&mut piece) {
            Ok(0) => {
                return match head {
                    Some((status, start, None)) => {
                        buffer.drain(..start);
                        Ok((status, buffer))
                    }
                    _ => Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the answer is cut off",
                    )),
                };
            }
            Ok(n) => buffer.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
            }
            Err(error) => return Err(error),
        }
        if buffer.len() as u64 > MAX_RESPONSE {
            return Err(invalid("an answer that is too long"));
        }
    }
}

/// Copies a chunked body; `Err(status)` when the answer is not 200.
fn copy_chunks(reader: &mut impl io::BufRead, out: &mut dyn Write) -> io::Result<Result<(), u16>> {
    if let Err(status) = read_stream_head(reader)? {
        return Ok(Err(status));
    }
    while let Some(length) = next_chunk(reader)? {
        io::copy(&mut reader.take(length), out)?;
        out.flush()?;
        end_chunk(reader)?;
    }
    Ok(Ok(()))
}

fn not_chunked() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a chunked answer")
}

/// The head of a stream; the status when it is not one of success.
pub(crate) fn read_stream_head(reader: &mut impl io::BufRead) -> io::Result<Result<(), u16>> {
    let mut line = String::new();
    reader.take(1024).read_line(&mut line)?;
    let status: u16 = line
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(not_chunked)?;
    if status != 200 {
        return Ok(Err(status));
    }
    for _ in 0..100 {
        line.clear();
        if reader.take(4096).read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
    }
    Ok(Ok(()))
}

/// The length of the chunk that follows; `None` at the end.
pub(crate) fn next_chunk(reader: &mut impl io::BufRead) -> io::Result<Option<u64>> {
    let mut line = String::new();
    if reader.take(64).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let length = u64::from_str_radix(line.trim(), 16).map_err(|_| not_chunked())?;
    Ok((length > 0).then_some(length))
}

/// What follows a chunk.
pub(crate) fn end_chunk(reader: &mut impl io::BufRead) -> io::Result<()> {
    reader.take(2).read_line(&mut String::new()).map(drop)
}
use std::io::BufRead as _;
