//! What differs between two sets of parameters.

use serde_json::{Map, Value as Json};

/// Most differences that are told.
const CHANGES_MAX: usize = 200;

/// A value that is not the same.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::web) struct Change {
    /// Where, as `disks[0].size`.
    pub(in crate::web) path: String,
    /// What it was, unless it was not there.
    pub(in crate::web) before: Option<Json>,
    /// What it is, unless it is gone.
    pub(in crate::web) after: Option<Json>,
}

/// What differs, in the order of the names; lists are compared row by row, and what is on one side
/// only is told part by part. Of very many differences the first ones are told.
pub(in crate::web) fn differences(before: &Json, after: &Json) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), &mut found);
    found
}

/// What is in a set of parameters, part by part: a path, as `disks[0].size`, and what is there.
pub(in crate::web) fn parts(document: &Json) -> Vec<(String, Json)> {
    let nothing = Json::Object(Map::new());
    let of_it = |change: Change| Some((change.path, change.after?));
    let all = differences(&nothing, document).into_iter();
    all.filter_map(of_it).collect()
}

fn compare(path: &str, before: Option<&Json>, after: Option<&Json>, found: &mut Vec<Change>) {
    if before == after || found.len() >= CHANGES_MAX {
        return;
    }
    let none = Map::new();
    let entries = match (before, after) {
        (Some(Json::Object(before)), Some(Json::Object(after))) => Some((before, after)),
        (None, Some(Json::Object(after))) if !after.is_empty() => Some((&none, after)),
        (Some(Json::Object(before)), None) if !before.is_empty() => Some((before, &none)),
        _ => None,
    };
    let rows: Option<(&[Json], &[Json])> = match (before, after) {
        (Some(Json::Array(before)), Some(Json::Array(after))) => Some((before, after)),
        (None, Some(Json::Array(after))) if !after.is_empty() => Some((&[], after)),
        (Some(Json::Array(before)), None) if !before.is_empty() => Some((before, &[])),
        _ => None,
    };
    if let Some((before, after)) = entries {
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let path = match (path, is_plain(name)) {
                ("", true) => name.clone(),
                (_, true) => format!("{path}.{name}"),
                (_, false) => format!("{path}[{}]", Json::from(name.as_str())),
            };
            compare(&path, before.get(name), after.get(name), found);
        }
    } else if let Some((before, after)) = rows {
        for index in 0..before.len().max(after.len()) {
            let path = format!("{path}[{index}]");
            compare(&path, before.get(index), after.get(index), found);
        }
    } else {
        found.push(Change {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        });
    }
}

fn is_plain(name: &str) -> bool {
    let mut letters = name.chars();
    !name.is_empty() && letters.all(|letter| letter.is_alphanumeric() || "_-".contains(letter))
}
