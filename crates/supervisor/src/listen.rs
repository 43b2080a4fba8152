//! Hearing of every step of the processes a supervisor keeps, as it happens: our own addition to
//! supervisord's contract, which knows such news only for its event listeners.
//!
//! `GET /steps?EXITED,FATAL` on the control socket answers with a stream of JSON texts, one for each
//! step into one of these states (all when none is named), until one of both sides leaves. A daemon
//! never waits for a listener: what one is too slow for is counted, and the count told in its place.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::client::{Client, ClientError, end_chunk, next_chunk, read_stream_head};
use crate::fault::{Fault, FaultCode};
use crate::state::ProcessState;

/// Bytes of one piece of news.
const NEWS_BYTES_MAX: u64 = 64 << 10;

/// A step of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its group.
    pub group: String,
    /// Its name inside the group.
    pub name: String,
    /// Where it was.
    pub from: ProcessState,
    /// Where it came.
    pub to: ProcessState,
    /// Where it is now: [`ProcessState::Backoff`] after it exited when it is started again soon.
    pub now: ProcessState,
    /// Its process id, or what it was; 0 when there was none.
    pub pid: i32,
    /// Exit code of the run that ended, -1 after a signal.
    pub exitstatus: Option<i32>,
    /// How often in a row it is started again after short runs, counting the coming start.
    pub restarts: u32,
}

/// What one who listens hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heard {
    /// A step.
    Change(Change),
    /// So many were not told, because too many waited to be read. Ask how things are.
    Missed(u64),
}

impl Client {
    /// Listens to steps into these states; into all when none is named. What happens after this
    /// returned is heard. Upstream's supervisord refuses ([`FaultCode::UnknownMethod`]).
    pub fn listen(&self, states: &[ProcessState]) -> Result<Ear, ClientError> {
        const METHOD: &str = "steps";
        let failed = |source| ClientError::Io {
            socket: self.socket().to_owned(),
            method: METHOD.into(),
            source,
        };
        let mut stream = self.connect(Instant::now() + self.timeout())?;
        let names: Vec<&str> = states.iter().map(|state| state.name()).collect();
        let names = names.join(",");
        write!(
            stream,
            "GET /steps?{names} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        .map_err(failed)?;
        let mut reader = BufReader::new(stream);
        match read_stream_head(&mut reader).map_err(failed)? {
            Ok(()) => {}
            Err(404) => {
                return Err(ClientError::Fault {
                    method: METHOD.into(),
                    fault: Fault::bare(FaultCode::UnknownMethod),
                });
            }
            Err(status) => {
                return Err(ClientError::Protocol {
                    socket: self.socket().to_owned(),
                    method: METHOD.into(),
                    reason: format!("HTTP status {status}"),
                });
            }
        }
        // It says nothing as long as nothing happens.
        reader.get_ref().set_read_timeout(None).map_err(failed)?;
        Ok(Ear { reader })
    }
}

/// Who listens.
#[derive(Debug)]
pub struct Ear {
    reader: BufReader<UnixStream>,
}

impl Ear {
    /// The next piece of news, waited for; `None` when the daemon has ended or was told to hush.
    ///
    /// # Errors
    /// When the connection broke, or what was said cannot be understood.
    pub fn hear(&mut self) -> io::Result<Option<Heard>> {
        let Some(length) = next_chunk(&mut self.reader)? else {
            return Ok(None);
        };
        if length > NEWS_BYTES_MAX {
            return Err(io::Error::other("a piece of news is too long"));
        }
        let mut text = Vec::new();
        (&mut self.reader).take(length).read_to_end(&mut text)?;
        end_chunk(&mut self.reader)?;
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(io::Error::other)
    }

    /// What ends the listening from another thread.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn hush(&self) -> io::Result<Hush> {
        self.reader.get_ref().try_clone().map(Hush)
    }
}

/// Ends the listening of an [`Ear`].
#[derive(Debug)]
pub struct Hush(UnixStream);

impl Hush {
    /// Whoever waits for news gets none any more.
    pub fn now(&self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
