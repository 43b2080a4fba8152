//! Random names and one-time tokens.

use aws_lc_rs::{digest, rand};

use super::PkiError;

/// No letters that look like others (0 O, 1 l I): tokens are read aloud and copied by hand.
const TOKEN_LETTERS: &[u8; 57] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// 57^32 is 186 bits.
const TOKEN_LENGTH: usize = 32;

/// Random bytes, as many as the array has.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], PkiError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| PkiError::Random)?;
    Ok(bytes)
}

/// `n_bytes` (at most 1024) random bytes as twice as many hexadecimal digits.
///
/// # Errors
/// [`PkiError::Random`].
pub fn random_hex(n_bytes: usize) -> Result<String, PkiError> {
    let mut bytes = vec![0; n_bytes.min(1024)];
    rand::fill(&mut bytes).map_err(|_| PkiError::Random)?;
    Ok(hex(&bytes))
}

/// A new secret for a person to copy: 32 letters and digits, 186 bits. It can stand in URLs,
/// headers and command lines as it is, and a double click selects all of it.
///
/// Keep only its [`token_hash`].
///
/// # Errors
/// [`PkiError::Random`].
pub fn token() -> Result<String, PkiError> {
    let mut token = String::with_capacity(TOKEN_LENGTH);
    while token.len() < TOKEN_LENGTH {
        for byte in random_bytes::<48>()? {
            // The rest of the bytes would make some letters likelier than others.
            if let Some(&letter) = TOKEN_LETTERS.get(usize::from(byte & 63))
                && token.len() < TOKEN_LENGTH
            {
                token.push(char::from(letter));
            }
        }
    }
    Ok(token)
}

/// What is kept of a token: SHA-256 as 64 hexadecimal digits. Tokens have enough randomness
/// that no slower function is needed. White space around the token is not part of it.
pub fn token_hash(token: &str) -> String {
    sha256_hex(token.trim().as_bytes())
}

/// SHA-256 in lower-case hexadecimal digits.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::{TOKEN_LETTERS, random_hex, token, token_hash};

    #[test]
    fn random_names_have_the_length_asked_for_and_differ() {
        assert_eq!(random_hex(0).unwrap(), "");
        let names: BTreeSet<String> = (0..50).map(|_| random_hex(16).unwrap()).collect();
        assert_eq!(names.len(), 50);
        for name in names {
            assert_eq!(name.len(), 32);
            assert!(
                name.bytes()
                    .all(|digit| b"0123456789abcdef".contains(&digit))
            );
        }
    }

    #[test]
    fn tokens_use_all_letters_and_differ() {
        let tokens: BTreeSet<String> = (0..100).map(|_| token().unwrap()).collect();
        assert_eq!(tokens.len(), 100);
        assert!(tokens.iter().all(|token| token.len() == 32));
        let letters: BTreeSet<u8> = tokens.iter().flat_map(|token| token.bytes()).collect();
        assert_eq!(letters, TOKEN_LETTERS.iter().copied().collect());
    }

    #[test]
    fn a_token_is_kept_as_its_hash() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(token_hash("abc"), expected);
        assert_eq!(token_hash(" abc\n"), expected);
    }
}
