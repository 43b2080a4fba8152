//! buildout's record of what it installed, `.installed.cfg`: mended before it is read.
//!
//! buildout truncates the file and writes it anew after each part. Killed in between, it would find
//! half a record, or an empty one, and stop with a `KeyError` for ever. What is whole is kept; a
//! part whose entry is torn is forgotten, so that buildout installs it again.

use std::collections::BTreeMap;

use crate::safe_fs::{Dir, Durable, Owner};

/// The record's file name, in the directory that was built.
const RECORD: &str = ".installed.cfg";

/// What an entry must have for buildout to read it.
const NEEDED: [&str; 3] = ["__buildout_installed__", "__buildout_signature__", "recipe"];

/// What is to be done about a record.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Every part it lists has its entry.
    Whole,
    /// This text instead: the parts that are whole.
    Mended(String),
    /// Not one part is whole: buildout begins anew.
    Lost,
}

/// Mends the record in a directory, if there is one and it is torn. Answers whether it was.
pub(super) fn mend(directory: &Dir, owner: Owner) -> std::io::Result<bool> {
    let Some(bytes) = directory.read(RECORD)? else {
        return Ok(false);
    };
    match examine(&String::from_utf8_lossy(&bytes)) {
        Verdict::Whole => Ok(false),
        Verdict::Mended(text) => {
            directory.write(RECORD, text.as_bytes(), 0o640, owner, Durable::No)?;
            Ok(true)
        }
        Verdict::Lost => directory.remove(RECORD),
    }
}

fn examine(text: &str) -> Verdict {
    // A last line without its end may be cut anywhere.
    let kept = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let sections = sections(kept);
    let listed: Vec<&str> = sections
        .get("buildout")
        .and_then(|buildout| buildout.get("parts"))
        .map(|parts| parts.split_whitespace().collect())
        .unwrap_or_default();
    let (whole, torn): (Vec<&str>, Vec<&str>) = listed.into_iter().partition(|part| {
        sections
            .get(part)
            .is_some_and(|entry| NEEDED.iter().all(|key| entry.contains_key(key)))
    });
    let has_list = sections
        .get("buildout")
        .is_some_and(|buildout| buildout.contains_key("parts"));
    if kept.len() == text.len() && has_list && torn.is_empty() {
        return Verdict::Whole;
    }
    if whole.is_empty() {
        return Verdict::Lost;
    }
    // A later section of the same name overrides: so buildout itself amends its record.
    Verdict::Mended(format!("{kept}\n[buildout]\nparts = {}\n", whole.join(" ")))
}

/// The options of each section, later ones over earlier ones. Only the keys and the part list
/// matter here, so values keep their line breaks and quoting.
fn sections(text: &str) -> BTreeMap<&str, BTreeMap<&str, String>> {
    let mut sections: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    let mut section = None;
    let mut option = None;
    for line in text.lines() {
        if line.starts_with(char::is_whitespace) {
            if let Some(value) = section
                .and_then(|name| sections.get_mut(name))
                .zip(option)
                .and_then(|(options, key)| options.get_mut(key))
            {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            sections.entry(name).or_default();
            (section, option) = (Some(name), None);
        } else if let Some((key, value)) = line.split_once('=') {
            let key = key.trim();
            option = Some(key);
            if let Some(options) = section.and_then(|name| sections.get_mut(name)) {
                options.insert(key, value.trim().to_owned());
            }
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    const RECORD_OF_TWO: &str = "[buildout]\n\
        installed_develop_eggs = \n\
        parts = first second\n\
        \n\
        [first]\n\
        __buildout_installed__ = /srv/first\n\t/srv/first.conf\n\
        __buildout_signature__ = zc.buildout-3 slapos.cookbook-1\n\
        recipe = slapos.cookbook:wrapper\n\
        \n\
        [second]\n\
        __buildout_installed__ = \n\
        __buildout_signature__ = zc.buildout-3\n\
        name = x=y\n\
        recipe = plone.recipe.command\n";

    fn parts(text: &str) -> Vec<String> {
        let sections = sections(text);
        let parts = sections["buildout"]["parts"].clone();
        parts.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_whole_record_is_left_alone() {
        assert_eq!(examine(RECORD_OF_TWO), Verdict::Whole);
        let amended = format!("{RECORD_OF_TWO}\n[buildout]\nparts = second first\n");
        assert_eq!(examine(&amended), Verdict::Whole);
        assert_eq!(examine("[buildout]\nparts = \n"), Verdict::Whole);
    }

    #[test]
    fn an_empty_record_is_lost() {
        for text in [
            "",
            "\n",
            "[buildout]\n",
            "[buildout]\ninstalled_develop_eggs = \n",
        ] {
            assert_eq!(examine(text), Verdict::Lost, "{text:?}");
        }
    }

    #[test]
    fn a_part_whose_entry_is_missing_is_forgotten() {
        let torn = RECORD_OF_TWO.split("[second]").next().unwrap();
        let Verdict::Mended(text) = examine(torn) else {
            panic!("not mended");
        };
        assert_eq!(parts(&text), ["first"]);
    }

    proptest! {
        /// Cut anywhere, the record becomes one that buildout can read, and that lists nothing the
        /// whole one did not.
        #[test]
        fn cut_anywhere_it_becomes_readable(at in 0..RECORD_OF_TWO.len()) {
            match examine(&RECORD_OF_TWO[..at]) {
                Verdict::Whole => prop_assert!(false, "cut at {at}"),
                Verdict::Lost => {}
                Verdict::Mended(text) => {
                    prop_assert_eq!(examine(&text), Verdict::Whole);
                    let known: BTreeSet<String> = parts(RECORD_OF_TWO).into_iter().collect();
                    prop_assert!(parts(&text).iter().all(|part| known.contains(part)));
                }
            }
        }
    }

    #[test]
    fn the_file_is_mended_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let dir = Dir::open(directory.path()).unwrap();
        assert!(!mend(&dir, None).unwrap(), "there is none");
        let file = directory.path().join(RECORD);
        std::fs::write(&file, RECORD_OF_TWO).unwrap();
        assert!(!mend(&dir, None).unwrap());
        std::fs::write(&file, &RECORD_OF_TWO[..RECORD_OF_TWO.len() - 30]).unwrap();
        assert!(mend(&dir, None).unwrap());
        assert_eq!(parts(&std::fs::read_to_string(&file).unwrap()), ["first"]);
        std::fs::write(&file, "").unwrap();
        assert!(mend(&dir, None).unwrap());
        assert!(!file.exists());
    }
}
