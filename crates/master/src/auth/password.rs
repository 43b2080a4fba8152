//! Passwords: argon2id, kept as PHC strings (`$argon2id$v=19$m=…,t=…,p=…$salt$hash`).
//!
//! A hash takes [`MEMORY_KIB`] of memory and some tens of milliseconds on purpose: [`hash`] and
//! [`verify`] belong on `spawn_blocking`, a few at a time.

use std::sync::OnceLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{CustomizedPasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};

use crate::domain::Login;
use crate::pki::{PkiError, random_bytes};

/// Memory one hash takes, in KiB: what OWASP recommends for two passes and one lane.
pub const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over the memory.
pub const PASSES: u32 = 2;
/// Lanes.
const LANES: u32 = 1;
/// Size of the salt, in bytes.
const SALT_BYTES: usize = 16;
/// The shortest password, in characters.
pub const LENGTH_MIN: usize = 10;
/// The longest password, in bytes: more costs time without making it safer.
pub const BYTES_MAX: usize = 1024;

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordMistake {
    /// Too easily guessed.
    #[error("a password has at least {LENGTH_MIN} characters")]
    Short,
    /// Too long.
    #[error("a password has at most {BYTES_MAX} bytes")]
    Long,
    /// The first thing anybody would try.
    #[error("the password must not be the login name")]
    Login,
    /// The second thing anybody would try.
    #[error("the password must not be one character again and again")]
    Monotonous,
}

/// Why a hash cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// No randomness.
    #[error("{0}")]
    Random(#[from] PkiError),
    /// The function itself.
    #[error("a password cannot be hashed: {0}")]
    Argon2(String),
}

/// Whether a person may have this password.
///
/// # Errors
/// [`PasswordMistake`] says what to do better.
pub fn check(login: &Login, password: &str) -> Result<(), PasswordMistake> {
    if password.len() > BYTES_MAX {
        return Err(PasswordMistake::Long);
    }
    if password.trim().eq_ignore_ascii_case(login.as_str()) {
        return Err(PasswordMistake::Login);
    }
    if password.chars().count() < LENGTH_MIN {
        return Err(PasswordMistake::Short);
    }
    let mut characters = password.chars();
    let first = characters.next();
    if characters.all(|character| Some(character) == first) {
        return Err(PasswordMistake::Monotonous);
    }
    Ok(())
}

fn argon2() -> Result<(Argon2<'static>, Params), HashError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| HashError::Argon2(error.to_string()))?;
    Ok((Argon2::default(), params))
}

/// What is kept of a password.
///
/// # Errors
/// [`HashError`].
pub fn hash(password: &str) -> Result<String, HashError> {
    let (argon2, params) = argon2()?;
    let salt = random_bytes::<SALT_BYTES>()?;
    let hash: PasswordHash = argon2
        .hash_password_with_params(password.as_bytes(), &salt, params)
        .map_err(|error| HashError::Argon2(error.to_string()))?;
    Ok(hash.to_string())
}

/// Whether a password is the one a hash was made of. Where there is no hash (nobody of that name, no
/// password set) it takes as long, and the answer is no.
pub fn verify(password: &str, hash: Option<&str>) -> bool {
    static NOBODY: OnceLock<Option<String>> = OnceLock::new();
    let nobody = || NOBODY.get_or_init(|| self::hash("nobody has this password").ok());
    if password.len() > BYTES_MAX {
        return false;
    }
    let parsed = match hash {
        Some(hash) => PasswordHash::new(hash).ok(),
        None => nobody()
            .as_deref()
            .and_then(|hash| PasswordHash::new(hash).ok()),
    };
    let Some(parsed) = parsed else { return false };
    // The parameters are those in the hash: they may be changed without anybody being locked out.
    let equal = Argon2::default()
        .verify_password(password.as_bytes(), &parsed)
        .is_ok();
    equal && hash.is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash() {
        let kept = hash("correct horse").unwrap();
        assert!(
            kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{kept}"
        );
        assert!(!kept.contains("horse"));
        assert_ne!(kept, hash("correct horse").unwrap(), "salted");
        assert!(verify("correct horse", Some(&kept)));
        for wrong in ["", "correct hors", "Correct horse", "correct horse "] {
            assert!(!verify(wrong, Some(&kept)), "{wrong:?}");
        }
        assert!(!verify("nobody has this password", None));
        assert!(!verify(&"x".repeat(BYTES_MAX + 1), Some(&kept)));
        for broken in ["", "x", "$argon2id$", "$argon2id$v=19$m=19456,t=2,p=1$AAAA"] {
            assert!(!verify("", Some(broken)), "{broken}");
        }
    }

    #[test]
    fn an_older_hash_with_other_parameters_is_good() {
        let params = Params::new(64, 1, 1, None).unwrap();
        let old: PasswordHash = Argon2::default()
            .hash_password_with_params(b"correct horse", &[7; 16], params)
            .unwrap();
        assert!(verify("correct horse", Some(&old.to_string())));
        assert!(!verify("correct house", Some(&old.to_string())));
    }

    #[test]
    fn what_is_guessed_first_is_not_taken() {
        let login: Login = "ada.lovelace".parse().unwrap();
        for (password, expected) in [
            ("", Err(PasswordMistake::Short)),
            ("123456789", Err(PasswordMistake::Short)),
            ("éééééééé1", Err(PasswordMistake::Short)),
            ("1234567890", Ok(())),
            ("éééééééé12", Ok(())),
            ("Ada.Lovelace", Err(PasswordMistake::Login)),
            (" ada.lovelace ", Err(PasswordMistake::Login)),
            ("aaaaaaaaaaaa", Err(PasswordMistake::Monotonous)),
        ] {
            assert_eq!(check(&login, password), expected, "{password:?}");
        }
        let long = "ab".repeat(BYTES_MAX);
        assert_eq!(check(&login, &long), Err(PasswordMistake::Long));
    }
}
