//! What programs write: from their FIFOs to their logs.
//!
//! A program holds its FIFO open for reading and writing, so the daemon's death neither breaks
//! its writes nor loses what it wrote: the next daemon opens the FIFO by name and goes on. One
//! turn reads a bounded amount from each program, so none can starve the control socket.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};

use crate::capture::{Capture, Piece};
use crate::clock;
use crate::notice::Notice;
use crate::state::Millis;

use super::{Daemon, Source};

/// Bytes read from one program in one turn of the loop.
pub(super) const TURN: usize = 64 << 10;
/// Pause before a log that could not be written is tried again, in ms.
const RETRY: Millis = 1_000;
/// How often; meanwhile the program's output waits in its FIFO. Then it is dropped, since a full
/// disk must not stop a service for ever.
const TRIES: u32 = 10;

/// One FIFO that is read.
#[derive(Debug)]
pub(super) struct Stream {
    process: u64,
    /// 0 = stdout, 1 = stderr.
    channel: usize,
    fifo: OwnedFd,
    path: PathBuf,
    /// Read, but not yet in the log.
    pending: Vec<u8>,
    retry_at: Option<Millis>,
    tries: u32,
    /// What tells communications from output, where that was asked for.
    capture: Option<Capture>,
}

impl Stream {
    pub(super) fn retry_at(&self) -> Option<Millis> {
        self.retry_at
    }
}

enum Read {
    Bytes(usize),
    Empty,
    Ended,
}

impl Daemon {
    /// Makes a FIFO for a program that is about to start: the stream that reads it, its path, and
    /// the program's end.
    pub(super) fn open_output(
        &mut self,
        process: u64,
        channel: usize,
        owner: Option<(u32, u32)>,
    ) -> Result<(u64, PathBuf, OwnedFd), String> {
        let path = self.fifo_directory().join(self.next_fifo.to_string());
        self.next_fifo += 1;
        let failed = |e: rustix::io::Errno| {
            format!("cannot make the output channel {}: {e}", path.display())
        };
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .map_err(failed)?;
        let made = self
            .attach_output(process, channel, path.clone())
            .and_then(|stream| {
                let end = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                    .map_err(failed)?;
                if let Some((uid, gid)) = owner {
                    // So that it can open /dev/stdout.
                    rustix::fs::fchown(&end, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                        .map_err(failed)?;
                }
                Ok((stream, end))
            });
        match made {
            Ok((stream, end)) => Ok((stream, path, end)),
            Err(reason) => {
                let _ = fs::remove_file(&path);
                Err(reason)
            }
        }
    }

    /// Reads an existing FIFO.
    pub(super) fn attach_output(
        &mut self,
        process: u64,
        channel: usize,
        path: PathBuf,
    ) -> Result<u64, String> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fifo = rustix::fs::open(&path, flags, Mode::empty())
            .map_err(|e| format!("cannot open the output channel {}: {e}", path.display()))?;
        let told = self.processes.get(&process).map(|p| p.config.told[channel]);
        let capture = told
            .filter(|told| told.capture_max_bytes > 0)
            .map(|told| Capture::new(told.capture_max_bytes));
        let id = self.new_id();
        self.watch(&fifo, Source::Output(id))
            .map_err(|e| e.to_string())?;
        let stream = Stream {
            process,
            channel,
            fifo,
            path,
            pending: Vec::new(),
            retry_at: None,
            tries: 0,
            capture,
        };
        self.streams.insert(id, stream);
        Ok(id)
    }

    /// Moves at most `limit` bytes to the log.
    pub(super) fn read_output(&mut self, id: u64, limit: usize) {
        let mut buffer = vec![0_u8; TURN];
        let mut done = 0;
        while done < limit {
            let Some(stream) = self.streams.get(&id) else {
                return;
            };
            if stream.retry_at.is_some() {
                return;
            }
            let read = match rustix::io::read(&stream.fifo, &mut buffer) {
                Ok(0) => Read::Ended,
                Ok(n) => Read::Bytes(n),
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => Read::Empty,
                Err(_) => Read::Ended,
            };
            match read {
                Read::Bytes(n) => {
                    done += n;
                    self.deliver(id, &buffer[..n]);
                }
                Read::Empty => return,
                Read::Ended => return self.close_output(id),
            }
        }
    }

    fn deliver(&mut self, id: u64, bytes: &[u8]) {
        let capture = self.streams.get_mut(&id).and_then(|s| s.capture.as_mut());
        match capture.map(|capture| capture.take(bytes)) {
            None => self.put_output(id, bytes, true),
            Some(pieces) => self.put_pieces(id, pieces),
        }
    }

    fn put_pieces(&mut self, id: u64, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Output(bytes) => self.put_output(id, &bytes, true),
                Piece::Inside(bytes) => self.put_output(id, &bytes, false),
                Piece::Communication(bytes) => {
                    let Some(stream) = self.streams.get(&id) else {
                        return;
                    };
                    let (owner, channel) = (stream.process, stream.channel);
                    let notice = self
                        .who(owner)
                        .map(|who| Notice::communication(who, channel, &bytes));
                    notice.into_iter().for_each(|notice| self.notify(notice));
                }
            }
        }
    }

    /// Tells listeners of what was written, and what is not for them alone goes to the log.
    fn put_output(&mut self, id: u64, bytes: &[u8], is_logged: bool) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let (owner, channel) = (stream.process, stream.channel);
        if is_logged {
            self.log_output(id, bytes);
        }
        let Some(process) = self.processes.get(&owner) else {
            return;
        };
        let is_said = process.listener.is_some() && channel == 0;
        let is_told = process.config.told[channel].events && !is_said;
        if is_told && let Some(who) = self.who(owner) {
            let notice = Notice::log(who, channel, bytes);
            self.notify(notice);
        }
        if is_said {
            self.hear_listener(owner, bytes);
        }
    }

    fn log_output(&mut self, id: u64, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Some(process) = self.processes.get_mut(&stream.process) else {
            return;
        };
        let (owner, channel) = (stream.process, stream.channel);
        if stream.retry_at.is_some() {
            // What came before waits, too.
            return stream.pending.extend_from_slice(bytes);
        }
        let outcome = match &mut process.logs[channel] {
            Some(log) => log.append(bytes),
            None => Ok(()),
        };
        let written = match outcome {
            Ok(()) => bytes.len(),
            Err((written, error)) => {
                stream.pending = bytes[written..].to_vec();
                stream.retry_at = Some(clock::monotonic() + RETRY);
                stream.tries = 1;
                let _ = rustix::event::epoll::delete(&self.epoll, &stream.fifo);
                self.log.error(format!(
                    "cannot write the log of {}, trying again: {error}",
                    process.namespec()
                ));
                written
            }
        };
        self.publish(owner, channel, &bytes[..written]);
    }

    /// Tries again what could not be written.
    pub(super) fn retry_outputs(&mut self, now: Millis) {
        let due: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, s)| s.retry_at.is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            let pending = std::mem::take(&mut stream.pending);
            let tries = stream.tries;
            stream.retry_at = None;
            let (owner, path) = (stream.process, stream.path.clone());
            self.deliver_again(id, pending, tries, owner);
            let reading = self.streams.get(&id).is_some_and(|s| s.retry_at.is_none());
            if reading {
                let added = self
                    .streams
                    .get(&id)
                    .map(|s| self.watch(&s.fifo, Source::Output(id)));
                if let Some(Err(error)) = added {
                    self.log
                        .error(format!("cannot read {} any more: {error}", path.display()));
                }
            }
        }
    }

    fn deliver_again(&mut self, id: u64, pending: Vec<u8>, tries: u32, owner: u64) {
        let (Some(stream), Some(process)) =
            (self.streams.get_mut(&id), self.processes.get_mut(&owner))
        else {
            return;
        };
        let Some(log) = &mut process.logs[stream.channel] else {
            return;
        };
        if let Err((written, error)) = log.append(&pending) {
            let left = &pending[written..];
            if tries >= TRIES {
                let name = process.namespec();
                self.log.error(format!(
                    "lost {} bytes of output of {name}: {error}",
                    left.len()
                ));
            } else {
                stream.pending = left.to_vec();
                stream.tries = tries + 1;
                stream.retry_at = Some(clock::monotonic() + RETRY);
            }
        }
    }

    fn outputs_of(&self, process: u64) -> Vec<u64> {
        self.streams
            .iter()
            .filter(|(_, s)| s.process == process)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Reads what a process has written so far.
    pub(super) fn drain_outputs(&mut self, process: u64, limit: usize) {
        for id in self.outputs_of(process) {
            self.read_output(id, limit);
        }
    }

    /// Stops reading for a process that is forgotten.
    pub(super) fn drop_outputs(&mut self, process: u64) {
        for id in self.outputs_of(process) {
            self.close_output(id);
        }
    }

    /// Nobody can write any more, or nobody shall.
    pub(super) fn close_output(&mut self, id: u64) {
        let capture = self.streams.get_mut(&id).and_then(|s| s.capture.as_mut());
        if let Some(pieces) = capture.map(Capture::end) {
            self.put_pieces(id, pieces);
        }
        if let Some(stream) = self.streams.remove(&id) {
            let _ = fs::remove_file(&stream.path);
        }
    }
}
