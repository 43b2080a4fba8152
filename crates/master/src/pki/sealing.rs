//! Secrets in the database: readable with the key of the file `secret.key` only.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::random::random_bytes;
use super::{PkiError, base64url};

/// The form of the text; another one will have another beginning.
const VERSION: &str = "s1.";
/// Far more than any key; a bound all the same.
const MAX_PLAIN: usize = 1 << 20;

/// Seals and opens short secrets: AES-256-GCM with a random nonce for each text.
pub struct Sealer(LessSafeKey);

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

impl Sealer {
    /// With that key (32 random bytes, the content of `secret.key`).
    ///
    /// # Errors
    /// [`PkiError::Make`] never happens in practice: the key has the right size by its type.
    pub fn from_key(key: &[u8; 32]) -> Result<Self, PkiError> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| PkiError::Make {
            what: "the key for secrets",
            source: rcgen::Error::RingUnspecified,
        })?;
        Ok(Sealer(LessSafeKey::new(key)))
    }

    /// A new key for [`Sealer::from_key`].
    ///
    /// # Errors
    /// [`PkiError::Random`].
    pub fn new_key() -> Result<[u8; 32], PkiError> {
        random_bytes()
    }

    /// Seals `plaintext` (at most 1 MiB); ASCII text results.
    ///
    /// It opens only for the same `purpose`: name the place it is kept in (`"instance-key 7"`),
    /// so that nobody who writes to the database can put one secret in another one's place.
    ///
    /// # Errors
    /// [`PkiError::Random`], [`PkiError::TooLarge`].
    pub fn seal(&self, purpose: &str, plaintext: &[u8]) -> Result<String, PkiError> {
        if plaintext.len() > MAX_PLAIN {
            return Err(PkiError::TooLarge {
                bytes: plaintext.len(),
            });
        }
        let nonce: [u8; NONCE_LEN] = random_bytes()?;
        let mut bytes = plaintext.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(nonce_used, aad(purpose), &mut bytes)
            .map_err(|_| PkiError::TooLarge {
                bytes: plaintext.len(),
            })?;
        bytes.splice(0..0, nonce);
        Ok(format!("{VERSION}{}", base64url::encode(&bytes)))
    }

    /// Opens what [`Sealer::seal`] made for the same purpose.
    ///
    /// # Errors
    /// [`PkiError::Sealed`].
    pub fn open(&self, purpose: &str, sealed: &str) -> Result<Vec<u8>, PkiError> {
        self.opened(purpose, sealed)
            .ok_or_else(|| PkiError::Sealed {
                purpose: purpose.to_owned(),
            })
    }

    /// Opens a secret that is text.
    ///
    /// # Errors
    /// [`PkiError::Sealed`].
    pub fn open_text(&self, purpose: &str, sealed: &str) -> Result<String, PkiError> {
        String::from_utf8(self.open(purpose, sealed)?).map_err(|_| PkiError::Sealed {
            purpose: purpose.to_owned(),
        })
    }

    fn opened(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > MAX_PLAIN * 2 {
            return None;
        }
        let mut bytes = base64url::decode(sealed.strip_prefix(VERSION)?)?;
        let (nonce, body) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.0.open_in_place(nonce, aad(purpose), body).ok()?;
        Some(plain.to_vec())
    }
}

fn aad(purpose: &str) -> Aad<String> {
    Aad::from(format!("{VERSION}{purpose}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::{MAX_PLAIN, Sealer};

    #[test]
    fn a_secret_opens_with_its_key_and_purpose_only() {
        let sealer = Sealer::from_key(&[7; 32]).unwrap();
        let sealed = sealer.seal("instance-key 7", b"secret").unwrap();
        assert!(sealed.starts_with("s1.") && sealed.is_ascii());
        assert_eq!(sealer.open("instance-key 7", &sealed).unwrap(), b"secret");
        assert!(sealer.open("instance-key 8", &sealed).is_err());
        let other = Sealer::from_key(&[8; 32]).unwrap();
        let error = other.open("instance-key 7", &sealed).unwrap_err();
        assert!(error.to_string().contains("secret.key"), "{error}");
        // The same again is another text.
        assert_ne!(sealed, sealer.seal("instance-key 7", b"secret").unwrap());
    }

    #[test]
    fn any_change_is_seen() {
        let sealer = Sealer::from_key(&[7; 32]).unwrap();
        let sealed = sealer.seal("p", b"").unwrap();
        for position in 0..sealed.len() {
            for replacement in ["A", "B", ""] {
                let mut changed = sealed.clone();
                changed.replace_range(position..=position, replacement);
                assert_eq!(
                    sealer.open("p", &changed).is_ok(),
                    changed == sealed,
                    "{changed}"
                );
            }
        }
        for bad in ["", "s1.", "s2.AAAA", "s1.AAAA", "s1.é"] {
            assert!(sealer.open("p", bad).is_err());
        }
    }

    #[test]
    fn the_size_is_bounded() {
        let sealer = Sealer::from_key(&Sealer::new_key().unwrap()).unwrap();
        let largest = vec![1; MAX_PLAIN];
        let sealed = sealer.seal("p", &largest).unwrap();
        assert_eq!(sealer.open("p", &sealed).unwrap(), largest);
        assert!(sealer.seal("p", &vec![1; MAX_PLAIN + 1]).is_err());
        assert!(sealer.open("p", &"A".repeat(MAX_PLAIN * 3)).is_err());
    }

    #[test]
    fn the_key_is_not_shown() {
        let sealer = Sealer::from_key(&[0x41; 32]).unwrap();
        assert_eq!(format!("{sealer:?}"), "Sealer(…)");
    }

    proptest! {
        #[test]
        fn comes_back(purpose: String, plain: Vec<u8>) {
            let sealer = Sealer::from_key(&[1; 32]).unwrap();
            let sealed = sealer.seal(&purpose, &plain).unwrap();
            prop_assert_eq!(sealer.open(&purpose, &sealed).unwrap(), plain);
        }
    }
}
