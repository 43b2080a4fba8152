//! What event listeners are told, in supervisord's words. No I/O.

use crate::state::{ProcessState, Step};

/// Every event one can ask for, with those that contain others before what they contain.
const NAMES: [&str; 27] = [
    "EVENT",
    "PROCESS_STATE",
    "PROCESS_STATE_STOPPED",
    "PROCESS_STATE_EXITED",
    "PROCESS_STATE_STARTING",
    "PROCESS_STATE_STOPPING",
    "PROCESS_STATE_BACKOFF",
    "PROCESS_STATE_FATAL",
    "PROCESS_STATE_RUNNING",
    "PROCESS_STATE_UNKNOWN",
    "PROCESS_COMMUNICATION",
    "PROCESS_COMMUNICATION_STDOUT",
    "PROCESS_COMMUNICATION_STDERR",
    "PROCESS_LOG",
    "PROCESS_LOG_STDOUT",
    "PROCESS_LOG_STDERR",
    "REMOTE_COMMUNICATION",
    "SUPERVISOR_STATE_CHANGE",
    "SUPERVISOR_STATE_CHANGE_RUNNING",
    "SUPERVISOR_STATE_CHANGE_STOPPING",
    "TICK",
    "TICK_5",
    "TICK_60",
    "TICK_3600",
    "PROCESS_GROUP",
    "PROCESS_GROUP_ADDED",
    "PROCESS_GROUP_REMOVED",
];

/// The periods of ticks, in seconds.
pub(crate) const TICKS: [i64; 3] = [5, 60, 3600];

/// Whether there is such an event.
pub(crate) fn is_event(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Whether who asked for `wanted` is told of `event`.
pub(crate) fn contains(wanted: &str, event: &str) -> bool {
    wanted == "EVENT"
        || event
            .strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Its name, one of those that contain no others.
    pub(crate) event: String,
    /// What is told of it.
    pub(crate) payload: String,
}

/// Which process something is told of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'a> {
    pub(crate) name: &'a str,
    pub(crate) group: &'a str,
    /// 0 when there is none.
    pub(crate) pid: i32,
}

impl Notice {
    /// A process made a step.
    pub(crate) fn state(who: Who<'_>, step: &Step) -> Self {
        let Who { name, group, pid } = who;
        let more = match step.to {
            ProcessState::Starting | ProcessState::Backoff => format!(" tries:{}", step.tries),
            ProcessState::Exited => format!(" expected:{} pid:{pid}", u8::from(step.expected)),
            ProcessState::Running | ProcessState::Stopping | ProcessState::Stopped => {
                format!(" pid:{pid}")
            }
            ProcessState::Fatal | ProcessState::Unknown => String::new(),
        };
        Self {
            event: format!("PROCESS_STATE_{}", step.to.name()),
            payload: format!(
                "processname:{name} groupname:{group} from_state:{}{more}",
                step.from.name()
            ),
        }
    }

    /// A process wrote something.
    pub(crate) fn log(who: Who<'_>, channel: usize, data: &[u8]) -> Self {
        let Who { name, group, pid } = who;
        let channel = channel_name(channel);
        Self {
            event: format!("PROCESS_LOG_{}", channel.to_uppercase()),
            payload: format!(
                "processname:{name} groupname:{group} pid:{pid} channel:{channel}\n{}",
                text(data)
            ),
        }
    }

    /// A process wrote something between the marks of a communication.
    pub(crate) fn communication(who: Who<'_>, channel: usize, data: &[u8]) -> Self {
        let Who { name, group, pid } = who;
        Self {
            event: format!(
                "PROCESS_COMMUNICATION_{}",
                channel_name(channel).to_uppercase()
            ),
            payload: format!(
                "processname:{name} groupname:{group} pid:{pid}\n{}",
                text(data)
            ),
        }
    }

    /// Somebody had something told (`sendRemoteCommEvent`).
    pub(crate) fn remote(kind: &str, data: &str) -> Self {
        Self {
            event: "REMOTE_COMMUNICATION".into(),
            payload: format!("type:{kind}\n{data}"),
        }
    }

    /// The daemon itself runs, or stops.
    pub(crate) fn daemon(runs: bool) -> Self {
        let state = if runs { "RUNNING" } else { "STOPPING" };
        Self {
            event: format!("SUPERVISOR_STATE_CHANGE_{state}"),
            payload: String::new(),
        }
    }

    /// A group was added or removed.
    pub(crate) fn group(name: &str, is_added: bool) -> Self {
        let what = if is_added { "ADDED" } else { "REMOVED" };
        Self {
            event: format!("PROCESS_GROUP_{what}"),
            payload: format!("groupname:{name}\n"),
        }
    }

    /// The wall clock, in seconds, passed a multiple of the period.
    pub(crate) fn tick(period: i64, when: i64) -> Self {
        Self {
            event: format!("TICK_{period}"),
            payload: format!("when:{when}"),
        }
    }

    /// What is written to a listener. The length counts characters, as upstream's does: its
    /// listeners read text.
    pub(crate) fn envelope(
        &self,
        server: &str,
        serial: u64,
        pool: &str,
        pool_serial: u64,
    ) -> String {
        let Self { event, payload } = self;
        let length = payload.chars().count();
        format!(
            "ver:3.0 server:{server} serial:{serial} pool:{pool} poolserial:{pool_serial} eventname:{event} len:{length}\n{payload}"
        )
    }
}

fn channel_name(channel: usize) -> &'static str {
    if channel == 0 { "stdout" } else { "stderr" }
}

/// Text, or what Python shows for bytes that are none.
fn text(data: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(data) {
        return text.to_owned();
    }
    let quote = if data.contains(&b'\'') && !data.contains(&b'"') {
        '"'
    } else {
        '\''
    };
    let mut out = format!("Undecodable: b{quote}");
    for byte in data {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            byte if char::from(*byte) == quote => {
                out.push('\\');
                out.push(quote);
            }
            b' '..=b'~' => out.push(char::from(*byte)),
            byte => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_contain_their_kinds() {
        for (wanted, event, is_contained) in [
            ("EVENT", "TICK_5", true),
            ("TICK", "TICK_5", true),
            ("TICK_5", "TICK_5", true),
            ("TICK_60", "TICK_5", false),
            ("PROCESS_STATE", "PROCESS_STATE_EXITED", true),
            ("PROCESS_STATE_EXITED", "PROCESS_STATE_FATAL", false),
            ("PROCESS_LOG", "PROCESS_COMMUNICATION_STDOUT", false),
        ] {
            assert!(is_event(wanted) && is_event(event));
            assert_eq!(contains(wanted, event), is_contained, "{wanted} {event}");
        }
        assert!(!is_event("NOPE"));
    }

    #[test]
    fn a_process_is_told_of_in_supervisords_words() {
        let who = Who {
            name: "cat",
            group: "pets",
            pid: 7,
        };
        let step = |from, to| Step {
            from,
            to,
            tries: 2,
            expected: false,
        };
        use ProcessState::{Backoff, Exited, Fatal, Running, Starting, Stopped, Stopping};
        for (from, to, end) in [
            (Stopped, Starting, "STOPPED tries:2"),
            (Starting, Running, "STARTING pid:7"),
            (Running, Exited, "RUNNING expected:0 pid:7"),
            (Starting, Backoff, "STARTING tries:2"),
            (Backoff, Fatal, "BACKOFF"),
            (Running, Stopping, "RUNNING pid:7"),
            (Stopping, Stopped, "STOPPING pid:7"),
        ] {
            let notice = Notice::state(who, &step(from, to));
            assert_eq!(notice.event, format!("PROCESS_STATE_{}", to.name()));
            assert_eq!(
                notice.payload,
                format!("processname:cat groupname:pets from_state:{end}")
            );
        }
        let log = Notice::log(who, 1, "mi\u{e9}ow".as_bytes());
        assert_eq!(
            log.envelope("sv", 3, "pool", 0),
            "ver:3.0 server:sv serial:3 pool:pool poolserial:0 eventname:PROCESS_LOG_STDERR len:57\n\
             processname:cat groupname:pets pid:7 channel:stderr\nmi\u{e9}ow"
        );
        assert_eq!(
            text(b"it's \xff\n\\\""),
            "Undecodable: b'it\\'s \\xff\\n\\\\\"'"
        );
        assert_eq!(text(b"it's \xff"), "Undecodable: b\"it's \\xff\"");
    }
}
