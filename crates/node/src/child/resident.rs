//! A child that stays: it is given lines, and answers with lines.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{ChildError, Guard, Lines, Spawn, TICK, launch};
use crate::cancel::Cancel;

/// It is killed with all its children when it is dropped, and when the thread that started it ends.
#[derive(Debug)]
pub(crate) struct Resident {
    program: String,
    child: Guard,
    stdin: OwnedFd,
    output: OwnedFd,
    lines: Lines,
}

/// How a conversation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talk {
    /// With the answer that was waited for.
    Done,
    /// The child is gone.
    Ended,
    /// Time was up. What it does now is unknown: it should be dropped.
    TimedOut,
}

impl Resident {
    /// Starts it. Its time limit and input are given with each question.
    pub(crate) fn start(spawn: &Spawn<'_>) -> Result<Self, ChildError> {
        let program = spawn.program.to_string_lossy().into_owned();
        let error = |source: io::Error| ChildError::Start {
            program: program.clone(),
            source,
        };
        let (mut child, output) = launch(spawn, Stdio::piped()).map_err(error)?;
        let stdin = child.stdin.take();
        let child = Guard(Some(child));
        let stdin = OwnedFd::from(stdin.ok_or_else(|| error(io::Error::other("no input")))?);
        rustix::io::ioctl_fionbio(&stdin, true).map_err(|source| error(source.into()))?;
        Ok(Resident {
            program,
            child,
            stdin,
            output,
            lines: Lines::default(),
        })
    }

    /// Ends it while it waits to be asked, when it has no children.
    pub(crate) fn dismiss(self) {
        self.child.kill_alone();
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.0.as_ref().map(std::process::Child::id)
    }

    /// Gives it a text and passes on what it prints, until a line is the end of its answer.
    pub(crate) fn ask(
        &mut self,
        text: &[u8],
        limit: Duration,
        cancel: &Cancel,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Talk, ChildError> {
        let begin = Instant::now();
        let mut left = text;
        let mut done = false;
        let mut buffer = [0; 4096];
        while !done {
            if cancel.is_cancelled() {
                return Err(ChildError::Cancelled {
                    program: self.program.clone(),
                });
            }
            if begin.elapsed() >= limit {
                return Ok(Talk::TimedOut);
            }
            if !self.wait(!left.is_empty())? {
                continue;
            }
            if !left.is_empty() {
                match rustix::io::write(&self.stdin, left) {
                    Ok(count) => left = &left[count..],
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(Errno::PIPE) => return Ok(Talk::Ended),
                    Err(error) => return Err(self.follow(error)),
                }
            }
            match rustix::io::read(&self.output, &mut buffer) {
                Ok(0) => return Ok(Talk::Ended),
                Ok(count) => self.lines.push(&buffer[..count], &mut |line| {
                    done |= on_line(line).is_break();
                }),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(self.follow(error)),
            }
        }
        Ok(Talk::Done)
    }

    /// Waits a moment for something to do; whether there is.
    fn wait(&self, has_more: bool) -> Result<bool, ChildError> {
        let mut watched = vec![PollFd::new(&self.output, PollFlags::IN)];
        if has_more {
            watched.push(PollFd::new(&self.stdin, PollFlags::OUT));
        }
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(TICK.subsec_nanos()),
        };
        match poll(&mut watched, Some(&limit)) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(self.follow(error)),
        }
    }

    fn follow(&self, error: Errno) -> ChildError {
        ChildError::Follow {
            program: self.program.clone(),
            source: error.into(),
        }
    }
}
