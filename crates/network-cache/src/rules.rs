//! What may be kept, and which part of it is wanted. No I/O.

use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use serde_json::{Value as Json, json};

use crate::CacheError;

/// Bytes of a SHA-512.
const SUM_BYTES: usize = 64;
/// Longest key in bytes: it is the name of a file.
const KEY_BYTES_MAX: usize = 240;
/// Longest text of an entry in bytes.
const TEXT_BYTES_MAX: usize = 16 << 10;
/// Longest signature of an entry in characters.
const SIGNATURE_CHARS_MAX: usize = 4 << 10;
/// Most entries of one key from the same giver; the oldest makes room.
const ENTRIES_OF_GIVER_MAX: usize = 64;
/// Most entries of one key.
const ENTRIES_MAX: usize = 400;
/// Largest body with an entry in bytes: the text as a text in JSON, each byte six at worst.
pub const ENTRY_BODY_BYTES_MAX: usize = 6 * TEXT_BYTES_MAX + SIGNATURE_CHARS_MAX + 64;

/// Who gave what is known from the cache behind this one.
pub(crate) const BEHIND: &str = "behind";

/// The SHA-512 of an object, which is its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum([u8; SUM_BYTES]);

impl Sum {
    /// The sum that a digest has come to; `None` when it is none of SHA-512.
    pub(crate) fn of_digest(digest: &[u8]) -> Option<Sum> {
        Some(Sum(digest.try_into().ok()?))
    }
}

impl FromStr for Sum {
    type Err = CacheError;

    /// 128 lower-case hexadecimal digits: each object has one name.
    fn from_str(text: &str) -> Result<Self, CacheError> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
            .collect();
        bytes
            .filter(|_| rest.is_empty())
            .and_then(|bytes| Sum::of_digest(&bytes))
            .ok_or(CacheError::NoSum)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What entries are found by: such as the MD5 of a release's URL, `file-urlmd5:…`, `pypi:six=1.0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// The key that the last part of a path names.
    ///
    /// # Errors
    /// When it cannot be the name of a file.
    pub fn of_path(text: &str) -> Result<Key, CacheError> {
        let key = percent_decode_str(text)
            .decode_utf8()
            .map_err(|_| CacheError::BadKey)?;
        let is_name = !key.is_empty()
            && key.len() <= KEY_BYTES_MAX
            // Ours are hidden: what is under way, and the lock.
            && !key.starts_with('.')
            && !key.chars().any(|c| c == '/' || c.is_control());
        is_name
            .then(|| Key(key.into_owned()))
            .ok_or(CacheError::BadKey)
    }

    /// As the file is named.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is said of an object under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// JSON, as it was signed.
    pub text: String,
    /// In base64; whom to believe is the readers' to decide.
    pub signature: String,
    /// The object it is about.
    pub sum: Sum,
    /// Who gave it: nobody replaces the entries of others. Empty where nobody is asked.
    pub giver: String,
}

impl Entry {
    /// The entry in the body of a request: `[text, signature]`.
    ///
    /// # Errors
    /// When it is none, too long, or not signed though that is wanted.
    pub fn parse(body: &[u8], giver: &str, takes_unsigned: bool) -> Result<Entry, CacheError> {
        let bad = |why: &str| CacheError::BadEntry(why.to_owned());
        let Ok((text, signature)) = serde_json::from_slice::<(String, String)>(body) else {
            return Err(bad("it is not [TEXT, SIGNATURE] in JSON"));
        };
        if text.len() > TEXT_BYTES_MAX || signature.len() > SIGNATURE_CHARS_MAX {
            return Err(CacheError::BadEntry(format!(
                "its text may have {TEXT_BYTES_MAX} bytes, its signature {SIGNATURE_CHARS_MAX}"
            )));
        }
        let sum = sum_in(&text).ok_or_else(|| {
            bad("its text is no JSON object whose `sha512` is the sum of what it is about")
        })?;
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\n\r".contains(&byte);
        if signature.trim().is_empty() && !takes_unsigned {
            return Err(CacheError::Unsigned);
        }
        if !signature.bytes().all(is_base64) {
            return Err(bad("its signature is not base64"));
        }
        Ok(Entry {
            text,
            signature,
            sum,
            giver: giver.to_owned(),
        })
    }
}

/// The object that a signed text is about.
fn sum_in(text: &str) -> Option<Sum> {
    let fields: Json = serde_json::from_str(text).ok()?;
    fields.get("sha512")?.as_str()?.parse().ok()
}

/// The entries in a file: `[[text, signature], …]`, as upstream keeps them, with the giver as a
/// third where there is one. What is not understood is no entry.
pub(crate) fn read(file: &[u8]) -> Vec<Entry> {
    let list: Vec<Vec<String>> = match serde_json::from_slice(file) {
        Ok(list) => list,
        Err(error) => {
            tracing::warn!("a file of the cache's directory is no list of entries: {error}");
            return Vec::new();
        }
    };
    let entry = |mut parts: Vec<String>| {
        parts.resize(3, String::new());
        let [text, signature, giver] = <[String; 3]>::try_from(parts).ok()?;
        Some(Entry {
            sum: sum_in(&text)?,
            text,
            signature,
            giver,
        })
    };
    list.into_iter().filter_map(entry).collect()
}

/// A list that somebody else tells; what could not be kept here is left out.
pub(crate) fn parse_list(body: &[u8], giver: &str, takes_unsigned: bool) -> Option<Vec<Entry>> {
    let list: Vec<Json> = serde_json::from_slice(body).ok()?;
    let entry = |entry: &Json| {
        let body = entry.to_string();
        Entry::parse(body.as_bytes(), giver, takes_unsigned).ok()
    };
    Some(list.iter().filter_map(entry).collect())
}

/// Puts these in the place of all that their giver said before; `false` when nothing changes.
pub(crate) fn replace(list: &mut Vec<Entry>, giver: &str, new: Vec<Entry>) -> bool {
    let before = list.clone();
    list.retain(|known| known.giver != giver);
    let room = ENTRIES_MAX.saturating_sub(list.len());
    list.extend(new.into_iter().take(room));
    *list != before
}

/// As [`read`] reads them.
pub(crate) fn written(list: &[Entry]) -> String {
    let entry = |entry: &Entry| match entry.giver.as_str() {
        "" => json!([entry.text, entry.signature]),
        giver => json!([entry.text, entry.signature, giver]),
    };
    Json::Array(list.iter().map(entry).collect()).to_string()
}

/// Entries as they are told.
pub(crate) fn told(list: &[Entry]) -> Json {
    let entry = |entry: &Entry| json!([entry.text, entry.signature]);
    Json::Array(list.iter().map(entry).collect())
}

/// Adds an entry, the newest first. The same giver's entry about the same object is replaced, and
/// its oldest makes room; `false` when nothing changes.
///
/// # Errors
/// When the key has too many entries of others.
pub(crate) fn add(list: &mut Vec<Entry>, new: Entry) -> Result<bool, CacheError> {
    if list.contains(&new) {
        return Ok(false);
    }
    list.retain(|known| known.sum != new.sum || known.giver != new.giver);
    let is_theirs = |known: &Entry| known.giver == new.giver;
    if list.iter().filter(|known| is_theirs(known)).count() >= ENTRIES_OF_GIVER_MAX
        && let Some(oldest) = list.iter().rposition(is_theirs)
    {
        list.remove(oldest);
    }
    if list.len() >= ENTRIES_MAX {
        return Err(CacheError::Full("the key has too many entries".to_owned()));
    }
    list.insert(0, new);
    Ok(true)
}

/// What of an object is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// From one byte to another, both included.
    Part(u64, u64),
    /// Nothing that it has.
    Nothing,
}

/// What a `Range` header asks of so many bytes. Several parts at once, and what is no range of bytes,
/// ask for all.
pub(crate) fn wanted(range: Option<&str>, bytes: u64) -> Wanted {
    let part = || {
        let (first, last) = range?.trim().strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (first.trim(), last.trim());
        let end = bytes.checked_sub(1);
        if first.is_empty() {
            let count: u64 = last.parse().ok()?;
            return Some(match end {
                Some(end) if count > 0 => Wanted::Part(bytes.saturating_sub(count), end),
                _ => Wanted::Nothing,
            });
        }
        let first: u64 = first.parse().ok()?;
        let last = match last {
            "" => u64::MAX,
            last => last.parse().ok()?,
        };
        if last < first {
            return None;
        }
        Some(match end {
            Some(end) if first <= end => Wanted::Part(first, last.min(end)),
            _ => Wanted::Nothing,
        })
    };
    part().unwrap_or(Wanted::Whole)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn sum(digit: u8) -> String {
        char::from(digit).to_string().repeat(128)
    }

    fn entry(digit: u8, giver: &str, signature: &str) -> Entry {
        let body = json!([json!({"sha512": sum(digit)}).to_string(), signature]);
        Entry::parse(body.to_string().as_bytes(), giver, false).unwrap()
    }

    #[test]
    fn keys_are_names_of_files_and_nothing_else() {
        for (path, key) in [
            (
                "d0d92cdc9b30c1300fbc3c7ebd304be0",
                "d0d92cdc9b30c1300fbc3c7ebd304be0",
            ),
            ("file-urlmd5%3Aab", "file-urlmd5:ab"),
            ("pypi:six=1.17.0", "pypi:six=1.17.0"),
        ] {
            assert_eq!(Key::of_path(path).unwrap().as_str(), key);
        }
        for bad in [
            "",
            ".",
            "..",
            ".lock",
            "a%2Fb",
            "a/b",
            "a%00",
            "a%0a",
            "%ff",
            &"k".repeat(241),
        ] {
            assert!(Key::of_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn entries_say_what_they_are_about_and_are_signed() {
        let about = json!({"sha512": sum(b'a')}).to_string();
        let parse = |body: Json, unsigned| Entry::parse(body.to_string().as_bytes(), "", unsigned);
        assert!(parse(json!([about, "c2ln"]), false).is_ok());
        assert!(parse(json!([about, ""]), true).is_ok());
        assert!(matches!(
            parse(json!([about, ""]), false),
            Err(CacheError::Unsigned)
        ));
        for bad in [
            json!("x"),
            json!([about]),
            json!([about, "c2ln", "x"]),
            json!([1, "c2ln"]),
            json!(["x", "c2ln"]),
            json!(["{}", "c2ln"]),
            json!([json!({"sha512": "ab"}).to_string(), "c2ln"]),
            json!([about, "<>"]),
            json!([format!("{about}{}", " ".repeat(TEXT_BYTES_MAX)), "c2ln"]),
            json!([about, "a".repeat(SIGNATURE_CHARS_MAX + 1)]),
        ] {
            let parsed = parse(bad.clone(), true);
            assert!(matches!(parsed, Err(CacheError::BadEntry(_))), "{bad}");
        }
    }

    #[test]
    fn nobody_replaces_the_entries_of_others() {
        let mut list = Vec::new();
        assert!(add(&mut list, entry(b'a', "one", "c2ln")).unwrap());
        assert!(!add(&mut list, entry(b'a', "one", "c2ln")).unwrap());
        assert!(add(&mut list, entry(b'a', "two", "anVuaw")).unwrap());
        assert!(add(&mut list, entry(b'a', "one", "bmV3")).unwrap());
        assert!(add(&mut list, entry(b'b', "one", "c2ln")).unwrap());
        let short: Vec<(&str, &str)> = list
            .iter()
            .map(|entry| (entry.giver.as_str(), entry.signature.as_str()))
            .collect();
        assert_eq!(short, [("one", "c2ln"), ("one", "bmV3"), ("two", "anVuaw")]);
        assert_eq!(read(written(&list).as_bytes()), list);
    }

    #[test]
    fn what_another_cache_says_replaces_what_it_said() {
        let body = json!([
            [json!({"sha512": sum(b'a')}).to_string(), "c2ln"],
            [json!({"sha512": sum(b'b')}).to_string(), ""],
            ["no JSON", "c2ln"],
            7,
        ]);
        let theirs = parse_list(body.to_string().as_bytes(), BEHIND, false).unwrap();
        assert_eq!(theirs, [entry(b'a', BEHIND, "c2ln")]);
        assert_eq!(parse_list(b"{}", BEHIND, false), None);
        let mut list = vec![entry(b'c', "one", "c2ln"), entry(b'd', BEHIND, "c2ln")];
        assert!(replace(&mut list, BEHIND, theirs.clone()));
        assert_eq!(
            list,
            [entry(b'c', "one", "c2ln"), entry(b'a', BEHIND, "c2ln")]
        );
        assert!(!replace(&mut list, BEHIND, theirs));
        let many = vec![entry(b'a', BEHIND, "c2ln"); 2 * ENTRIES_MAX];
        assert!(replace(&mut list, BEHIND, many));
        assert_eq!(list.len(), ENTRIES_MAX);
    }

    #[test]
    fn a_key_has_so_many_entries() {
        let numbered = |number: usize, giver: &str| Entry {
            sum: Sum::of_digest(
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, &number.to_be_bytes())
                    .as_ref(),
            )
            .unwrap(),
            ..entry(b'a', giver, "c2ln")
        };
        let mut list = Vec::new();
        for number in 0..ENTRIES_OF_GIVER_MAX + 3 {
            assert!(add(&mut list, numbered(number, "one")).unwrap());
        }
        assert_eq!(list.len(), ENTRIES_OF_GIVER_MAX);
        assert_eq!(list.last(), Some(&numbered(3, "one")));
        for number in list.len()..ENTRIES_MAX {
            let giver = format!("giver{}", number / ENTRIES_OF_GIVER_MAX);
            assert!(add(&mut list, numbered(number, &giver)).unwrap());
        }
        let further = add(&mut list, numbered(0, "another"));
        assert!(matches!(further, Err(CacheError::Full(_))));
        // Those who are there already go on.
        assert!(add(&mut list, numbered(1000, "one")).unwrap());
    }

    #[test]
    fn parts_are_wanted_as_http_says() {
        for (range, expected) in [
            ("bytes=0-", Wanted::Part(0, 9)),
            ("bytes=3-5", Wanted::Part(3, 5)),
            ("bytes=3-99", Wanted::Part(3, 9)),
            ("bytes=-4", Wanted::Part(6, 9)),
            ("bytes=-40", Wanted::Part(0, 9)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=5-3", Wanted::Whole),
            ("bytes=1-2,4-5", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("bytes=x-", Wanted::Whole),
        ] {
            assert_eq!(wanted(Some(range), 10), expected, "{range}");
        }
        assert_eq!(wanted(None, 10), Wanted::Whole);
        assert_eq!(wanted(Some("bytes=0-"), 0), Wanted::Nothing);
    }

    proptest! {
        #[test]
        fn a_part_is_inside(range in "bytes=[0-9]{0,3}-[0-9]{0,3}", bytes in 0_u64..300) {
            if let Wanted::Part(first, last) = wanted(Some(&range), bytes) {
                prop_assert!(first <= last && last < bytes);
            }
        }

        #[test]
        fn sums_read_back(bytes in prop::collection::vec(any::<u8>(), 64)) {
            let sum = Sum::of_digest(&bytes).unwrap();
            prop_assert_eq!(sum.to_string().parse::<Sum>().unwrap(), sum);
        }
    }
}
