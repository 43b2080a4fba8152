//! Streams of events (`GET /events`): a Master tells at once that something changed. Only ours does;
//! of others the answer is [`Error::NotFound`].

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use form_urlencoded::Serializer;
use serde_json::Value;
use slap::NodeId;

use crate::error::Error;
use crate::slap_api::Client;

/// Longest line that is read, in bytes; a Master's are far shorter.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Most lines of one event.
const LINES_MAX: usize = 1_000;

/// What one wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// A node: what it is told to do. An instance: its partition. A person: all it may see.
    Mine,
    /// A node, for persons.
    Node(NodeId),
    /// An instance tree, by its reference or title, for persons.
    Tree(String),
}

/// Something changed. What it is now, ask for: an event says that, not how.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `node`, `instance`, `tree`; `reset` when anything may have changed.
    pub kind: String,
    /// The state that is told, where it has a name. Who connects again with the last one is told at
    /// once only if it has changed since.
    pub id: Option<String>,
    /// `node`: `computer_guid`, `revision`. `instance`: `instance_guid`, `processing_timestamp`,
    /// `state`, `computer_guid`, `compute_partition_id`. `tree`: `tree_guid`, `title`.
    pub data: Value,
}

/// A stream that is open: blocks until the next event. It ends when the connection does, when the
/// Master stops, when one's certificate is revoked, or when its time is over; then one connects
/// again, after a pause.
#[derive(Debug)]
pub struct Events<R = Box<dyn Read + Send>> {
    lines: BufReader<R>,
}

impl Client {
    /// Opens a stream. `last` is the id of the last event one has seen; it lives for `lifetime` at
    /// most, which bounds how long a connection that broke without a word can go unnoticed.
    ///
    /// # Errors
    /// As any call: the Master is away, does not know us, or there is no such node or tree.
    pub fn events(
        &self,
        watch: &Watch,
        last: Option<&str>,
        lifetime: Duration,
    ) -> Result<Events, Error> {
        let mut url = format!("{}events", self.transport.base);
        let about = match watch {
            Watch::Mine => None,
            Watch::Node(node) => Some(("node", node.as_str())),
            Watch::Tree(tree) => Some(("tree", tree.as_str())),
        };
        if let Some((name, value)) = about {
            let query = Serializer::new(String::new())
                .append_pair(name, value)
                .finish();
            url = format!("{url}?{query}");
        }
        let last = last.map(|id| ("Last-Event-ID", id));
        let body = self
            .transport
            .open(&url, "events", last.as_slice(), lifetime)?;
        Ok(Events::read(Box::new(body)))
    }
}

impl<R: Read> Events<R> {
    /// Reads events out of bytes.
    pub fn read(bytes: R) -> Self {
        Events {
            lines: BufReader::new(bytes),
        }
    }

    /// The next line without its end; `None` when there is none, or none that makes sense.
    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.lines).take(LINE_BYTES_MAX);
        bounded.read_until(b'\n', &mut line).ok()?;
        // A line that is cut off is not one.
        line.pop().filter(|last| *last == b'\n')?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).ok()
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let (mut kind, mut id, mut data) = (None, None, String::new());
        let mut lines = 0;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                // Comments and settings end in an empty line too.
                if let Some(kind) = kind.take() {
                    let data = serde_json::from_str(&data).unwrap_or_default();
                    return Some(Event { kind, id, data });
                }
                (id, lines) = (None, 0);
                data.clear();
                continue;
            }
            lines += 1;
            if lines > LINES_MAX {
                return None;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => kind = Some(value.to_owned()),
                "id" => id = Some(value.to_owned()),
                "data" => {
                    if !data.is_empty() {
                        data.push('\n');
                    }
                    data.push_str(value);
                }
                // Comments, and what later Masters may add.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Vec<Event> {
        Events::read(text.as_bytes()).collect()
    }

    fn event(kind: &str, id: Option<&str>, data: Value) -> Event {
        Event {
            kind: kind.to_owned(),
            id: id.map(str::to_owned),
            data,
        }
    }

    #[test]
    fn events_are_read_and_the_rest_is_skipped() {
        let text = "retry: 3000\n\n:\n\nevent: node\nid: e.7\ndata: {\"revision\": 7}\n\n\
                    : alive\n\nid: lost\n\nevent:tree\r\ndata:[1,\r\ndata: 2]\r\n\r\n\
                    event: reset\ndata\nnew: thing\n\nevent: cut\ndata: {}\n";
        assert_eq!(
            read(text),
            [
                event("node", Some("e.7"), json!({"revision": 7})),
                event("tree", None, json!([1, 2])),
                event("reset", None, Value::Null),
            ]
        );
    }

    #[test]
    fn what_has_no_end_ends_the_stream() {
        assert_eq!(read(&"x".repeat(1 << 20)), []);
        assert_eq!(read(&"data: 1\n".repeat(10_000)), []);
        assert_eq!(Events::read(&b"event: \xff\n\n"[..]).count(), 0);
    }
}
