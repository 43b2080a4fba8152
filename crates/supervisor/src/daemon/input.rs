//! What programs are given to read: through a FIFO that they hold open themselves, so that the
//! daemon's death is no end of their input. The daemon opens its end when there is something to say.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::event::epoll;
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::{Daemon, Source};

/// Bytes that wait for a program to read them.
const PENDING_BYTES_MAX: usize = 1 << 20;

/// The daemon's end.
#[derive(Debug)]
pub(super) struct Input {
    fifo: OwnedFd,
    pending: Vec<u8>,
    /// Whether readiness to write is being waited for.
    waits: bool,
}

/// Why a program could not be given something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deaf {
    /// It has closed its input, or never had one.
    Closed,
    /// It has not read what it was given before.
    Full,
}

/// Makes the FIFO for a program that is about to start; its path is the daemon's to remove.
pub(super) fn make(path: &Path, owner: Option<(u32, u32)>) -> Result<OwnedFd, String> {
    let failed = |e: Errno| format!("cannot make the input channel {}: {e}", path.display());
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .map_err(failed)?;
    let made =
        rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).and_then(|end| {
            if let Some((uid, gid)) = owner {
                rustix::fs::fchown(&end, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
            Ok(end)
        });
    made.map_err(|error| {
        let _ = fs::remove_file(path);
        failed(error)
    })
}

impl Daemon {
    /// Gives a program something to read. It is all taken, or nothing.
    pub(super) fn give(&mut self, id: u64, bytes: &[u8]) -> Result<(), Deaf> {
        if !self.inputs.contains_key(&id) {
            let fifo = self.open_input(id).ok_or(Deaf::Closed)?;
            let input = Input {
                fifo,
                pending: Vec::new(),
                waits: false,
            };
            self.inputs.insert(id, input);
        }
        let Some(input) = self.inputs.get_mut(&id) else {
            return Err(Deaf::Closed);
        };
        if input.pending.len() + bytes.len() > PENDING_BYTES_MAX {
            return Err(Deaf::Full);
        }
        input.pending.extend_from_slice(bytes);
        self.write_input(id)
    }

    fn open_input(&self, id: u64) -> Option<OwnedFd> {
        let run = self.processes.get(&id)?.run.as_ref()?;
        let path: PathBuf = run.record.stdin.clone()?;
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // Nobody has it open for reading: refused.
        rustix::fs::open(path, flags, Mode::empty()).ok()
    }

    /// Writes as much as the program takes.
    pub(super) fn write_input(&mut self, id: u64) -> Result<(), Deaf> {
        let Some(input) = self.inputs.get_mut(&id) else {
            return Err(Deaf::Closed);
        };
        while !input.pending.is_empty() {
            match rustix::io::write(&input.fifo, &input.pending) {
                Ok(written) => drop(input.pending.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.inputs.remove(&id);
                    return Err(Deaf::Closed);
                }
            }
        }
        let waits = !input.pending.is_empty();
        if waits != input.waits {
            input.waits = waits;
            let token = Source::Input(id).token();
            // What cannot be waited for is written with what is said next.
            let _ = if waits {
                epoll::add(&self.epoll, &input.fifo, token, epoll::EventFlags::OUT)
            } else {
                epoll::delete(&self.epoll, &input.fifo)
            };
        }
        Ok(())
    }

    /// A program has ended: nobody reads any more.
    pub(super) fn close_input(&mut self, id: u64) {
        self.inputs.remove(&id);
        let run = self.processes.get(&id).and_then(|p| p.run.as_ref());
        if let Some(path) = run.and_then(|run| run.record.stdin.as_ref()) {
            let _ = fs::remove_file(path);
        }
    }
}
