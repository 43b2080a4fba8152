//! The conversation with an event listener: what it says, and what that means. No I/O.

/// Bytes of a line or of a result; who says more does not speak the protocol.
const WORDS_BYTES_MAX: usize = 1 << 20;

const READY: &[u8] = b"READY\n";
/// Where the number is in `RESULT 2`.
const NUMBER_AT: usize = 7;

/// Where the conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has to say that it is ready.
    Acknowledged,
    /// It waits for an event.
    Ready,
    /// It has one, and its result is waited for.
    Busy,
    /// It said something else: it gets no more events.
    Unknown,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was processed.
    Processed,
    /// It shall be told again.
    Rejected,
    /// The listener does not speak the protocol. If it had an event, that shall be told to another.
    Violated,
}

/// One listener's side.
#[derive(Debug)]
pub(crate) struct Talk {
    turn: Turn,
    said: Vec<u8>,
    /// Length of the result that is being said.
    length: Option<usize>,
}

impl Default for Talk {
    fn default() -> Self {
        Self {
            turn: Turn::Acknowledged,
            said: Vec::new(),
            length: None,
        }
    }
}

impl Talk {
    pub(crate) fn turn(&self) -> Turn {
        self.turn
    }

    /// An event was sent to it.
    pub(crate) fn sent(&mut self) {
        self.turn = Turn::Busy;
    }

    /// It says something.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        self.said.extend_from_slice(bytes);
        while self.understand(&mut verdicts) {}
        if self.said.len() > WORDS_BYTES_MAX {
            self.violated(&mut verdicts);
        }
        verdicts
    }

    /// Takes one word; false when more is to be heard first.
    fn understand(&mut self, verdicts: &mut Vec<Verdict>) -> bool {
        match self.turn {
            _ if self.said.is_empty() && self.length != Some(0) => false,
            Turn::Unknown => {
                self.said.clear();
                false
            }
            Turn::Acknowledged if self.said.len() < READY.len() => false,
            Turn::Acknowledged if self.said.starts_with(READY) => {
                self.said.drain(..READY.len());
                self.turn = Turn::Ready;
                true
            }
            Turn::Acknowledged | Turn::Ready => {
                self.violated(verdicts);
                false
            }
            Turn::Busy => match self.length {
                None => {
                    let Some(end) = self.said.iter().position(|byte| *byte == b'\n') else {
                        return false;
                    };
                    let line: Vec<u8> = self.said.drain(..=end).collect();
                    self.length = line
                        .get(NUMBER_AT..)
                        .and_then(|number| std::str::from_utf8(number).ok())
                        .and_then(|number| number.trim().parse().ok())
                        .filter(|length| *length <= WORDS_BYTES_MAX);
                    if self.length.is_none() {
                        self.violated(verdicts);
                    }
                    self.length.is_some()
                }
                Some(length) if self.said.len() < length => false,
                Some(length) => {
                    let result: Vec<u8> = self.said.drain(..length).collect();
                    self.length = None;
                    self.turn = Turn::Acknowledged;
                    verdicts.push(if result == b"OK" {
                        Verdict::Processed
                    } else {
                        Verdict::Rejected
                    });
                    true
                }
            },
        }
    }

    fn violated(&mut self, verdicts: &mut Vec<Verdict>) {
        self.said.clear();
        self.length = None;
        self.turn = Turn::Unknown;
        verdicts.push(Verdict::Violated);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Processed, Rejected, Violated};

    #[test]
    fn a_conversation_is_understood_in_any_pieces() {
        let table: [(&[u8], &[Verdict], Turn); 8] = [
            (b"RESULT 2\nOK", &[Processed], Turn::Acknowledged),
            (b"RESULT 2\nOKREADY\n", &[Processed], Turn::Ready),
            (b"RESULT 4\nFAILREADY\n", &[Rejected], Turn::Ready),
            (b"RESULT 0\n", &[Rejected], Turn::Acknowledged),
            (b"RESULT x\nREADY\n", &[Violated], Turn::Unknown),
            (b"OK\n", &[Violated], Turn::Unknown),
            (
                b"RESULT 2\nOKnonsense",
                &[Processed, Violated],
                Turn::Unknown,
            ),
            (
                b"RESULT 2\nOKREADY\nREADY\n",
                &[Processed, Violated],
                Turn::Unknown,
            ),
        ];
        for (said, verdicts, turn) in table {
            for size in 1..=said.len() {
                let mut talk = Talk::default();
                assert_eq!(talk.turn(), Turn::Acknowledged);
                assert_eq!(talk.hear(b"READY\n"), []);
                assert_eq!(talk.turn(), Turn::Ready);
                talk.sent();
                let heard: Vec<Verdict> = said
                    .chunks(size)
                    .flat_map(|piece| talk.hear(piece))
                    .collect();
                assert_eq!((&heard[..], talk.turn()), (verdicts, turn), "{said:?}");
            }
        }
    }

    #[test]
    fn who_never_ends_a_line_is_not_listened_to() {
        let mut talk = Talk::default();
        talk.hear(b"READY\n");
        talk.sent();
        let piece = vec![b'x'; 64 << 10];
        assert!((0..20).any(|_| talk.hear(&piece) == [Violated]));
    }
}
