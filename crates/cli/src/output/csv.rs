//! Results as comma separated values (RFC 4180, with lines that end as everywhere on this system).

use serde_json::Value as Json;

/// A result as a table: one line of names, then one line for each entry. A list has an entry for
/// each item; a mapping of mappings one for each member, with its key as `name`; any other mapping is
/// an entry itself. What is nested in an entry is JSON.
pub(super) fn write(value: &Json) -> String {
    let entries = entries(value);
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in entries.iter().flatten() {
        if !columns.contains(name) {
            columns.push(name);
        }
    }
    let mut out = line(columns.iter().map(|column| quoted(column)));
    for entry in &entries {
        out += &line(columns.iter().map(|column| {
            let found = entry.iter().find(|(name, _)| name == column);
            found.map_or_else(String::new, |(_, value)| cell(value))
        }));
    }
    out
}

type Entry<'a> = Vec<(&'a str, Cell<'a>)>;

enum Cell<'a> {
    Key(&'a str),
    Value(&'a Json),
}

fn entries(value: &Json) -> Vec<Entry<'_>> {
    match value {
        Json::Array(items) => items.iter().map(entry).collect(),
        Json::Object(members) if members.values().all(Json::is_object) => members
            .iter()
            .map(|(key, value)| {
                let mut entry = entry(value);
                entry.retain(|(name, _)| *name != "name");
                entry.insert(0, ("name", Cell::Key(key)));
                entry
            })
            .collect(),
        other => vec![entry(other)],
    }
}

fn entry(value: &Json) -> Entry<'_> {
    match value {
        Json::Object(members) => members
            .iter()
            .map(|(name, value)| (name.as_str(), Cell::Value(value)))
            .collect(),
        other => vec![("value", Cell::Value(other))],
    }
}

fn cell(cell: &Cell<'_>) -> String {
    match cell {
        Cell::Key(text) => quoted(text),
        Cell::Value(Json::Null) => String::new(),
        Cell::Value(Json::String(text)) => quoted(text),
        Cell::Value(other) => quoted(&other.to_string()),
    }
}

fn quoted(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let mut line = cells.collect::<Vec<_>>().join(",");
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_shape_of_result_is_a_table() {
        let list = json!([
            {"title": "a,b", "n": 1, "list": [1, "x"]},
            {"title": "say \"hi\"\nthere", "more": true, "n": null},
        ]);
        assert_eq!(
            write(&list),
            "title,n,list,more\n\
             \"a,b\",1,\"[1,\"\"x\"\"]\",\n\
             \"say \"\"hi\"\"\nthere\",,,true\n"
        );
        let mapping = json!({"one": {"url": "http://a/"}, "two": {"url": ""}});
        assert_eq!(write(&mapping), "name,url\none,http://a/\ntwo,\n");
        assert_eq!(
            write(&json!({"one": "http://a/", "n": 2})),
            "one,n\nhttp://a/,2\n"
        );
        assert_eq!(write(&json!(["a", "b"])), "value\na\nb\n");
        assert_eq!(write(&json!([])), "\n");
    }
}
