//! Connections on which nodes wait for events.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::fleet::{Fleet, find};
use super::master::Master;
use crate::failure::{Context, Failure};
use crate::wire;

/// No Master takes this long to accept a connection or to tell an event.
const PATIENCE: Duration = Duration::from_secs(30);

/// One open connection for each node.
pub(super) struct Events {
    streams: Vec<TcpStream>,
}

impl Events {
    /// Opens them, one after the other, each confirmed by the beginning of its reply.
    pub(super) fn open(master: &Master, fleet: &Fleet) -> Result<Events, Failure> {
        let mut streams = Vec::with_capacity(fleet.nodes.len());
        for node in &fleet.nodes {
            let request = wire::called_by(&node.name, &wire::get("events", &[]));
            let open = || {
                let mut stream = TcpStream::connect_timeout(&master.address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(&request)?;
                let mut block = [0; 4096];
                let n = stream.read(&mut block)?;
                if !block.starts_with(b"HTTP/1.1 200") {
                    let text = String::from_utf8_lossy(block.get(..n).unwrap_or_default());
                    return Err(io::Error::other(text.into_owned()));
                }
                stream.set_nonblocking(true)?;
                io::Result::Ok(stream)
            };
            streams.push(open().context("waiting for events")?);
        }
        Ok(Events { streams })
    }

    /// Forgets what was told so far; how many connections are still open.
    pub(super) fn drain(&mut self) -> usize {
        let mut block = vec![0; 64 << 10];
        self.streams
            .iter_mut()
            .filter_map(|stream| {
                loop {
                    match stream.read(&mut block) {
                        Ok(0) => return None,
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(()),
                        Err(_) => return None,
                    }
                }
            })
            .count()
    }

    /// How long until something is told to this node.
    pub(super) fn next(&mut self, node: usize) -> Result<Duration, Failure> {
        let start = Instant::now();
        let Some(stream) = self.streams.get_mut(node) else {
            return Err(Failure::new("no such node"));
        };
        stream
            .set_nonblocking(false)
            .context("waiting for an event")?;
        let mut block = [0; 4096];
        loop {
            let n = stream.read(&mut block).context("waiting for an event")?;
            if n == 0 {
                return Err(Failure::new(
                    "the Master closed the connection of a node that waits",
                ));
            }
            // A heartbeat is none.
            if find(block.get(..n).unwrap_or_default(), b"event:").is_some() {
                break;
            }
            if start.elapsed() > PATIENCE {
                return Err(Failure::new("a node is not told of a change"));
            }
        }
        stream
            .set_nonblocking(true)
            .context("waiting for an event")?;
        Ok(start.elapsed())
    }
}
