//! Finding any of many names in a stream, in one pass.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};

use memchr::memmem::Finder;

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// A hash in hexadecimal: MD5, what buildout's shared parts are named by.
const HASH_BYTES: usize = 32;

/// Most bytes read of one file; what names parts is text people could read.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// Names to look for, numbered in the order they were given.
pub(super) struct Needles {
    hashes: HashMap<[u8; HASH_BYTES], usize>,
    others: Vec<(usize, Finder<'static>)>,
    /// Length of the longest.
    longest: usize,
}

impl Needles {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a [u8]>) -> Needles {
        let mut needles = Needles {
            hashes: HashMap::new(),
            others: Vec::new(),
            longest: 1,
        };
        for (index, name) in names.enumerate() {
            needles.longest = needles.longest.max(name.len());
            match <[u8; HASH_BYTES]>::try_from(name) {
                Ok(hash) if name.iter().all(|byte| is_hex(*byte)) => {
                    needles.hashes.insert(hash, index);
                }
                _ => needles.others.push((index, Finder::new(name).into_owned())),
            }
        }
        needles
    }

    /// Puts the numbers of all names that occur into `seen`.
    ///
    /// # Errors
    /// When the stream cannot be read, or does not end where a text would.
    pub(super) fn find(&self, mut reader: impl Read, seen: &mut BTreeSet<usize>) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK_BYTES + self.longest];
        let mut filled = 0;
        let mut total = 0;
        loop {
            let count = match reader.read(&mut buffer[filled..]) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            total += count as u64;
            if total > FILE_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("more than {FILE_BYTES_MAX} bytes"),
                ));
            }
            filled += count;
            self.scan(&buffer[..filled], seen);
            // A name may go on in the next chunk.
            let kept = filled.min(self.longest - 1);
            buffer.copy_within(filled - kept..filled, 0);
            filled = kept;
        }
    }

    fn scan(&self, text: &[u8], seen: &mut BTreeSet<usize>) {
        if !self.hashes.is_empty() {
            let mut run = 0;
            for (index, byte) in text.iter().enumerate() {
                run = if is_hex(*byte) { run + 1 } else { 0 };
                if run >= HASH_BYTES
                    && let Ok(window) =
                        <[u8; HASH_BYTES]>::try_from(&text[index + 1 - HASH_BYTES..=index])
                    && let Some(found) = self.hashes.get(&window)
                {
                    seen.insert(*found);
                }
            }
        }
        for (index, finder) in &self.others {
            if finder.find(text).is_some() {
                seen.insert(*index);
            }
        }
    }
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

/// The stream, or nothing at all when it begins as no text does: programs are not searched, what
/// they use is in the release's record.
pub(super) fn unless_binary(mut reader: impl Read) -> io::Result<impl Read> {
    let mut head = Vec::new();
    reader.by_ref().take(512).read_to_end(&mut head)?;
    let limit = if head.contains(&0) { 0 } else { u64::MAX };
    Ok(io::Cursor::new(head).chain(reader).take(limit))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// Gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn programs_are_not_searched() {
        let name = "0123456789abcdef0123456789abcdef";
        let needles = Needles::new([name.as_bytes()].into_iter());
        for (text, expected) in [
            (format!("#!/bin/sh\n/{name}/bin\n"), 1),
            (format!("\x7fELF\0\0{name}"), 0),
        ] {
            let mut seen = BTreeSet::new();
            let text = unless_binary(text.as_bytes()).unwrap();
            needles.find(text, &mut seen).unwrap();
            assert_eq!(seen.len(), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_plain_search_finds(
            names in prop::collection::btree_set("[a-f0-9]{32}|[a-z.0-9-]{1,40}", 1..8),
            pieces in prop::collection::vec("[a-f0-9]{0,40}|[/ a-z]{0,6}", 0..12),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            drop in 1..97_usize,
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let mut text = String::new();
            for (index, piece) in pieces.iter().enumerate() {
                text.push_str(piece);
                if let Some(pick) = picks.get(index) {
                    text.push_str(&names[pick.index(names.len())]);
                }
            }
            let needles = Needles::new(names.iter().map(String::as_bytes));
            let mut seen = BTreeSet::new();
            needles.find(Drops(text.as_bytes(), drop), &mut seen).unwrap();
            let expected: BTreeSet<usize> = (0..names.len())
                .filter(|index| text.contains(&names[*index]))
                .collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
