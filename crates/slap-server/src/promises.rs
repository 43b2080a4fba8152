//! The promises of an instance, as its node tells of them and as a Master keeps them. No I/O.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json_rpc::Input;

/// Promises of an instance that are kept at most.
pub const PROMISES_MAX: usize = 300;
/// Characters of a title that are kept.
const TITLE_CHARS_MAX: usize = 255;
/// Characters of a message that are kept, its last ones.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// A promise, and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promise {
    /// Its title.
    pub title: String,
    /// Whether it fails.
    pub failed: bool,
    /// What it said when it was last told of.
    pub message: String,
    /// Since when it fails or does not, as far as the Master knows, in microseconds since 1970.
    pub since: i64,
    /// When its node last ran it before it told, in the same.
    pub checked_at: i64,
    /// When its node wanted to run it again then.
    pub next_check_at: Option<i64>,
}

/// That a promise began to fail, or does not fail any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Its title.
    pub title: String,
    /// Whether it fails now.
    pub failed: bool,
    /// What it said.
    pub message: String,
}

/// Reads what a node tells; `now`, in microseconds since 1970, is since when what is new is so.
/// What is too long is cut, and what is too much left out, those that do not fail first.
pub fn read(input: &Input, now: i64) -> Vec<Promise> {
    let list = input
        .as_json()
        .get("promise_list")
        .and_then(Value::as_array);
    let mut told: Vec<Promise> = Vec::new();
    for entry in list.into_iter().flatten() {
        let text = |name: &str| entry[name].as_str().unwrap_or_default();
        told.push(Promise {
            title: plain(text("title")).take(TITLE_CHARS_MAX).collect(),
            failed: entry["failed"] == true,
            message: last(text("message")),
            since: now,
            checked_at: entry["checked_at"].as_i64().unwrap_or(now),
            next_check_at: entry["next_check_at"].as_i64(),
        });
    }
    told.sort_by(|one, other| (!one.failed, &one.title).cmp(&(!other.failed, &other.title)));
    told.dedup_by(|one, other| one.title == other.title && one.failed == other.failed);
    told.truncate(PROMISES_MAX);
    told.sort_by(|one, other| (&one.title, !one.failed).cmp(&(&other.title, !other.failed)));
    // A plugin and an executable may have one title: it fails when one of them does.
    told.dedup_by(|one, other| one.title == other.title);
    told
}

/// A text without what commands a terminal: it comes from an instance.
fn plain(text: &str) -> impl Iterator<Item = char> {
    let is_plain = |character: &char| !character.is_control() || matches!(character, '\n' | '\t');
    text.chars().filter(is_plain)
}

/// The end of a text that is too long.
fn last(text: &str) -> String {
    let text: String = plain(text).collect();
    let text = text.as_str();
    let chars = text.chars().count();
    if chars <= MESSAGE_CHARS_MAX {
        return text.to_owned();
    }
    let end: String = text.chars().skip(chars - MESSAGE_CHARS_MAX).collect();
    format!("…{end}")
}

/// Completes what a node tells by what was known: since when each is as it is. What changed for who
/// watches; `None` when nothing is news, and nothing need be written.
///
/// What a healthy promise says is no news: that differs at each run.
pub fn follow(known: &[Promise], told: &mut [Promise]) -> Option<Vec<Transition>> {
    let mut transitions = Vec::new();
    let mut is_news = known.len() != told.len();
    for promise in told.iter_mut() {
        let before = known.iter().find(|before| before.title == promise.title);
        let failed_before = before.is_some_and(|before| before.failed);
        if let Some(before) = before.filter(|before| before.failed == promise.failed) {
            promise.since = before.since;
        }
        if promise.failed != failed_before {
            transitions.push(Transition {
                title: promise.title.clone(),
                failed: promise.failed,
                message: promise.message.clone(),
            });
        }
        is_news |= before.is_none_or(|before| {
            before.failed != promise.failed || (promise.failed && before.message != promise.message)
        });
    }
    for before in known.iter().filter(|before| before.failed) {
        if !told.iter().any(|promise| promise.title == before.title) {
            transitions.push(Transition {
                title: before.title.clone(),
                failed: false,
                message: "it is no longer there".to_owned(),
            });
            is_news = true;
        }
    }
    is_news.then_some(transitions)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::json_rpc::Method;

    fn told(list: &Value, now: i64) -> Vec<Promise> {
        let input =
            json!({"computer_guid": "COMP-1", "compute_partition_id": "p", "promise_list": list});
        let input = Method::Promises.read(input.to_string().as_bytes()).unwrap();
        read(&input, now)
    }

    fn one(title: &str, failed: bool, message: &str) -> Value {
        json!({"title": title, "failed": failed, "message": message, "checked_at": 5})
    }

    #[test]
    fn only_transitions_are_history_and_only_news_is_written() {
        let mut first = told(&json!([one("a", false, "1"), one("b", true, "no")]), 10);
        let transitions = follow(&[], &mut first).unwrap();
        assert_eq!(transitions.len(), 1, "what was never bad is no event");
        assert_eq!(
            (transitions[0].title.as_str(), transitions[0].failed),
            ("b", true)
        );
        let mut again = told(&json!([one("a", false, "2"), one("b", true, "no")]), 20);
        assert_eq!(follow(&first, &mut again), None);
        let mut other = told(&json!([one("a", false, "2"), one("b", true, "still")]), 30);
        assert_eq!(
            follow(&first, &mut other),
            Some(vec![]),
            "written, no event"
        );
        assert_eq!(other[1].since, 10);
        let mut well = told(&json!([one("a", true, "oh"), one("b", false, "")]), 40);
        let transitions = follow(&other, &mut well).unwrap();
        assert_eq!(transitions.len(), 2);
        assert_eq!((well[0].since, well[1].since), (40, 40));
        let mut fewer = told(&json!([]), 50);
        let transitions = follow(&well, &mut fewer).unwrap();
        assert_eq!(
            transitions.len(),
            1,
            "a failing one that is gone fails no more"
        );
        assert!(!transitions[0].failed);
    }

    #[test]
    fn what_is_too_much_is_cut() {
        let long = "é".repeat(2000);
        let many: Vec<Value> = (0..400)
            .map(|number| one(&format!("p{number:03}"), number == 399, &long))
            .collect();
        let promises = told(&json!(many), 1);
        assert_eq!(promises.len(), PROMISES_MAX);
        assert!(
            promises.iter().any(|promise| promise.failed),
            "failures are kept"
        );
        assert_eq!(promises[0].message.chars().count(), MESSAGE_CHARS_MAX + 1);
        let loud = told(&json!([one("a\u{1b}[2J", true, "x\u{7}\ny")]), 1);
        assert_eq!(
            (loud[0].title.as_str(), loud[0].message.as_str()),
            ("a[2J", "x\ny")
        );
        let twins = told(&json!([one("a", false, ""), one("a", true, "no")]), 1);
        assert_eq!(twins.len(), 1);
        assert!(twins[0].failed);
    }
}
