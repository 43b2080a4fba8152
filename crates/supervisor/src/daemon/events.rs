//! What happens, told to those who want to know: to event listeners, and as a stream to whoever
//! listens on the socket.

use crate::http;
use crate::listen::{Change, Heard};
use crate::notice::Notice;
use crate::state::{ProcessState, Step};

use super::Daemon;

/// Bytes that wait for one who listens to steps; what comes then is only counted.
const BACKLOG_BYTES_MAX: usize = 256 << 10;

/// What a connection wants to be told.
#[derive(Debug)]
pub(super) struct Listening {
    /// Steps into these states.
    states: Vec<ProcessState>,
    /// Steps that could not be told.
    missed: u64,
}

impl Listening {
    /// What is to be said of what was not told, once everything before has been read.
    pub(super) fn missed(&mut self) -> Vec<u8> {
        match std::mem::take(&mut self.missed) {
            0 => Vec::new(),
            count => piece(&Heard::Missed(count)),
        }
    }
}

fn piece(news: &Heard) -> Vec<u8> {
    http::chunk(&serde_json::to_vec(news).unwrap_or_default())
}

/// The states named in a query, such as `?EXITED,FATAL`; all where none is.
fn states(query: &str) -> Option<Vec<ProcessState>> {
    let names = match query {
        "" | "?" => return Some(ProcessState::ALL.to_vec()),
        query => query.strip_prefix('?')?,
    };
    names
        .split(',')
        .map(|name| ProcessState::ALL.into_iter().find(|s| s.name() == name))
        .collect()
}

impl Daemon {
    /// A connection wants to be told of steps from now on.
    pub(super) fn begin_to_tell(&mut self, id: u64, query: &str) {
        let Some(states) = states(query) else {
            return self.send(
                id,
                "400 Bad Request",
                "text/plain",
                b"not names of states",
                false,
            );
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.output.extend(http::stream_head());
            connection.listens = Some(Listening { states, missed: 0 });
        }
    }

    /// Tells of the steps a process has made.
    pub(super) fn tell(&mut self, id: u64) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let steps = process.machine.take_steps();
        // Also of one that has just ended.
        let pid = process.run.as_ref().map_or(0, |run| run.record.pid);
        let Some(process) = self.processes.get(&id) else {
            return;
        };
        let change = |step: &Step| Change {
            group: process.group.clone(),
            name: process.config.name.clone(),
            from: step.from,
            to: step.to,
            now: process.state(),
            pid,
            exitstatus: process.machine.exitstatus,
            restarts: process.machine.restarts(),
        };
        let mut notices = Vec::new();
        for step in &steps {
            notices.extend(self.who(id).map(|who| Notice::state(who, step)));
            let mut said = None;
            for connection in self.connections.values_mut() {
                let Some(listening) = &mut connection.listens else {
                    continue;
                };
                if !listening.states.contains(&step.to) {
                    continue;
                }
                // In order: nothing is told before it was told that something is missing.
                if listening.missed > 0 || connection.output.len() > BACKLOG_BYTES_MAX {
                    listening.missed += 1;
                    continue;
                }
                let said = said.get_or_insert_with(|| piece(&Heard::Change(change(step))));
                connection.output.extend_from_slice(said);
            }
        }
        for notice in notices {
            self.notify(notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_as_everywhere() {
        assert_eq!(states(""), Some(ProcessState::ALL.to_vec()));
        assert_eq!(
            states("?EXITED,FATAL"),
            Some(vec![ProcessState::Exited, ProcessState::Fatal])
        );
        assert_eq!(states("?EXITED,"), None);
        assert_eq!(states("x"), None);
    }
}
