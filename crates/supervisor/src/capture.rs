//! What a program writes between two marks is a communication, not output. No I/O.

/// The marks.
const BEGIN: &[u8] = b"<!--XSUPERVISOR:BEGIN-->";
const END: &[u8] = b"<!--XSUPERVISOR:END-->";

/// Splits what a program writes.
#[derive(Debug)]
pub(crate) struct Capture {
    /// Bytes of a communication that are kept: the last ones, roughly, as upstream does.
    max: usize,
    inside: bool,
    /// Perhaps the begin of a mark.
    rest: Vec<u8>,
    kept: Vec<u8>,
}

/// A piece of what was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Output.
    Output(Vec<u8>),
    /// Part of a communication, which is no output.
    Inside(Vec<u8>),
    /// A whole communication.
    Communication(Vec<u8>),
}

impl Capture {
    /// Communications of about `max` bytes.
    pub(crate) fn new(max: u64) -> Self {
        Self {
            max: usize::try_from(max).unwrap_or(usize::MAX),
            inside: false,
            rest: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Takes what was written next.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        self.rest.extend_from_slice(bytes);
        loop {
            let mark = if self.inside { END } else { BEGIN };
            // As upstream: it waits for more than a mark.
            if self.rest.len() <= mark.len() {
                return pieces;
            }
            let data = std::mem::take(&mut self.rest);
            let found = data.windows(mark.len()).position(|w| w == mark);
            let Some(at) = found else {
                let begun = (1..mark.len())
                    .rev()
                    .find(|n| data.ends_with(&mark[..*n]))
                    .unwrap_or(0);
                let (whole, rest) = data.split_at(data.len() - begun);
                self.rest = rest.to_vec();
                self.put(whole, &mut pieces);
                return pieces;
            };
            self.put(&data[..at], &mut pieces);
            if self.inside {
                pieces.push(Piece::Communication(std::mem::take(&mut self.kept)));
            }
            self.inside = !self.inside;
            self.rest = data[at + mark.len()..].to_vec();
        }
    }

    /// Nothing more will be written.
    pub(crate) fn end(&mut self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let rest = std::mem::take(&mut self.rest);
        self.put(&rest, &mut pieces);
        pieces
    }

    fn put(&mut self, data: &[u8], pieces: &mut Vec<Piece>) {
        if data.is_empty() {
            return;
        }
        if !self.inside {
            return pieces.push(Piece::Output(data.to_vec()));
        }
        if self.kept.len() + data.len() > self.max {
            self.kept.drain(..data.len().min(self.kept.len()));
        }
        self.kept.extend_from_slice(data);
        pieces.push(Piece::Inside(data.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    /// Output and communications, each put together.
    fn split(pieces: Vec<Piece>) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (mut output, mut told) = (Vec::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Output(bytes) => output.extend(bytes),
                Piece::Communication(bytes) => told.push(bytes),
                Piece::Inside(_) => {}
            }
        }
        (output, told)
    }

    #[test]
    fn what_is_between_marks_is_told() {
        let mut capture = Capture::new(100);
        let text = b"before<!--XSUPERVISOR:BEGIN-->hello<!--XSUPERVISOR:END-->after";
        let mut pieces = capture.take(text);
        pieces.extend(capture.end());
        assert_eq!(
            split(pieces),
            (b"beforeafter".to_vec(), vec![b"hello".to_vec()])
        );
    }

    proptest! {
        /// However it is cut into pieces, nothing is lost and nothing is mistaken for another.
        #[test]
        fn cuts_do_not_matter(
            words in prop::collection::vec(("[a-z<!-]{0,30}", "[a-z<-]{0,30}"), 0..5),
            cuts in prop::collection::vec(1usize..40, 0..40),
        ) {
            let mut text = Vec::new();
            for (outside, inside) in &words {
                text.extend_from_slice(outside.as_bytes());
                text.extend_from_slice(BEGIN);
                text.extend_from_slice(inside.as_bytes());
                text.extend_from_slice(END);
            }
            let mut capture = Capture::new(1 << 20);
            let mut pieces = Vec::new();
            let mut left = &text[..];
            for cut in cuts {
                let (now, later) = left.split_at(cut.min(left.len()));
                pieces.extend(capture.take(now));
                left = later;
            }
            pieces.extend(capture.take(left));
            pieces.extend(capture.end());
            let (output, told) = split(pieces);
            let outside: String = words.iter().map(|(outside, _)| outside.as_str()).collect();
            prop_assert_eq!(output, outside.into_bytes());
            // The last end mark may wait for a byte more than it has.
            for (told, (_, inside)) in told.iter().zip(&words) {
                prop_assert_eq!(told, inside.as_bytes());
            }
        }
    }
}
