//! What a file says there shall be: TOML, YAML or JSON, every mistake with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use slap::serialisation::Serialisation;
use slap::{InstallationState, InstanceState, InstanceTitle, NodeId, SoftwareType};
use slap_client::similar;
use toml_edit::{DocumentMut, Item, Value as Toml};

use crate::document::{self, json, yaml};
use crate::failure::{Code, Failure};

/// What there shall be.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub(super) supplies: Vec<Supply>,
    pub(super) services: Vec<Service>,
}

/// A release on a node.
#[derive(Debug, PartialEq)]
pub(super) struct Supply {
    pub(super) release: String,
    pub(super) node: NodeId,
    pub(super) state: InstallationState,
}

/// A service; `None` leaves what it has.
#[derive(Debug, PartialEq)]
pub(super) struct Service {
    pub(super) title: InstanceTitle,
    pub(super) release: String,
    pub(super) software_type: Option<SoftwareType>,
    pub(super) parameters: Option<Map<String, Json>>,
    pub(super) serialisation: Option<Serialisation>,
    pub(super) sla: Option<BTreeMap<String, String>>,
    pub(super) state: Option<InstanceState>,
    pub(super) shared: Option<bool>,
}

/// Reads a file; `-` is the standard input.
pub(super) fn read(path: &Path) -> Result<Wanted, Failure> {
    let name = if path == Path::new("-") {
        "the standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let wrong = |reason: String| Failure::new(format!("{name}: {reason}")).code(Code::Usage);
    let source: io::Result<Box<dyn Read>> = if path == Path::new("-") {
        Ok(Box::new(io::stdin().lock()))
    } else {
        File::open(path).map(|file| Box::new(file) as Box<dyn Read>)
    };
    let text = document::text(source).map_err(wrong)?;
    let document = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml(&text),
        Some("yaml" | "yml") => yaml(&text),
        Some("json") => json(&text),
        _ if text.trim_start().starts_with('{') => json(&text),
        // What is TOML is hardly ever YAML, and the other way round.
        _ => toml(&text).or_else(|error| yaml(&text).ok().filter(Json::is_object).ok_or(error)),
    };
    document
        .and_then(|document| wanted(&document))
        .map_err(wrong)
}

fn toml(text: &str) -> Result<Json, String> {
    let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.matches('\n').count() + 1);
        let reason = error
            .message()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        format!("not TOML: line {line}: {reason}")
    })?;
    Ok(table(document.as_table().iter()))
}

fn table<'a>(members: impl Iterator<Item = (&'a str, &'a Item)>) -> Json {
    let members = members.map(|(name, item)| (name.to_owned(), item_value(item)));
    Json::Object(members.collect())
}

fn item_value(item: &Item) -> Json {
    match item {
        Item::None => Json::Null,
        Item::Value(value) => toml_value(value),
        Item::Table(inner) => table(inner.iter()),
        Item::ArrayOfTables(tables) => {
            Json::Array(tables.iter().map(|inner| table(inner.iter())).collect())
        }
    }
}

fn toml_value(value: &Toml) -> Json {
    match value {
        Toml::String(text) => Json::from(text.value().as_str()),
        Toml::Integer(number) => Json::from(*number.value()),
        Toml::Float(number) => Json::from(*number.value()),
        Toml::Boolean(flag) => Json::from(*flag.value()),
        Toml::Datetime(moment) => Json::from(moment.value().to_string()),
        Toml::Array(items) => Json::Array(items.iter().map(toml_value).collect()),
        Toml::InlineTable(inner) => Json::Object(
            inner
                .iter()
                .map(|(name, value)| (name.to_owned(), toml_value(value)))
                .collect(),
        ),
    }
}

/// Reads what a document says.
fn wanted(document: &Json) -> Result<Wanted, String> {
    let top = Part::new("", document)?;
    top.knows(&["service", "supply"])?;
    let mut wanted = Wanted::default();
    for (place, entry) in top.list("supply")? {
        let part = Part::new(&place, entry)?;
        part.knows(&["release", "node", "state"])?;
        wanted.supplies.push(Supply {
            release: part.needs("release")?,
            node: part
                .parsed::<NodeId>("node")?
                .ok_or_else(|| part.misses("node"))?,
            state: part
                .parsed("state")?
                .unwrap_or(InstallationState::Available),
        });
    }
    let mut titles = BTreeSet::new();
    for (place, entry) in top.list("service")? {
        let part = Part::new(&place, entry)?;
        let title: InstanceTitle = part.parsed("title")?.ok_or_else(|| part.misses("title"))?;
        let part = Part {
            place: format!("service `{title}`"),
            ..part
        };
        part.knows(&[
            "title",
            "release",
            "type",
            "parameters",
            "serialisation",
            "sla",
            "state",
            "shared",
        ])?;
        if !titles.insert(title.clone()) {
            return Err(format!("{}: it is there twice", part.place));
        }
        wanted.services.push(Service {
            release: part.needs("release")?,
            software_type: part.parsed("type")?,
            parameters: part.table("parameters")?.cloned(),
            serialisation: part.parsed("serialisation")?,
            sla: part.texts("sla")?,
            state: part.parsed("state")?,
            shared: part.flag("shared")?,
            title,
        });
    }
    Ok(wanted)
}

/// A part of the document, and what it is called in complaints.
struct Part<'a> {
    place: String,
    members: &'a Map<String, Json>,
}

impl<'a> Part<'a> {
    fn new(place: &str, value: &'a Json) -> Result<Self, String> {
        match value {
            Json::Object(members) => Ok(Part {
                place: place.to_owned(),
                members,
            }),
            _ if place.is_empty() => Err("it holds neither [[service]] nor [[supply]]".to_owned()),
            other => Err(format!("{place}: {} is no table", kind(other))),
        }
    }

    fn at(&self, name: &str) -> String {
        if self.place.is_empty() {
            name.to_owned()
        } else {
            format!("{}: {name}", self.place)
        }
    }

    fn misses(&self, name: &str) -> String {
        format!("{}: it has no `{name}`", self.place)
    }

    /// Nothing else is in it: what is mistyped would be left out in silence.
    fn knows(&self, names: &[&str]) -> Result<(), String> {
        let Some(unknown) = self
            .members
            .keys()
            .find(|key| !names.contains(&key.as_str()))
        else {
            return Ok(());
        };
        let place = if self.place.is_empty() {
            String::new()
        } else {
            format!("{}: ", self.place)
        };
        let known = names.iter().map(|name| (*name).to_owned());
        Err(match similar(unknown, known).first() {
            Some(meant) => format!("{place}`{unknown}` is unknown; did you mean `{meant}`?"),
            None => format!(
                "{place}`{unknown}` is unknown; there is {}",
                names.join(", ")
            ),
        })
    }

    fn list(&self, name: &str) -> Result<Vec<(String, &'a Json)>, String> {
        match self.members.get(name) {
            None => Ok(Vec::new()),
            Some(Json::Array(items)) => Ok(items
                .iter()
                .enumerate()
                .map(|(index, item)| (format!("{name} {}", index + 1), item))
                .collect()),
            Some(_) => Err(format!(
                "`{name}` is no list; in TOML each begins with [[{name}]]"
            )),
        }
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{}: {} is no text", self.at(name), kind(other))),
        }
    }

    fn needs(&self, name: &str) -> Result<String, String> {
        match self.text(name)? {
            Some("") | None => Err(self.misses(name)),
            Some(text) => Ok(text.to_owned()),
        }
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, String> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let read = text.parse();
        read.map(Some)
            .map_err(|error| format!("{}: {error}", self.at(name)))
    }

    fn table(&self, name: &str) -> Result<Option<&'a Map<String, Json>>, String> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Json::Object(members)) => Ok(Some(members)),
            Some(other) => Err(format!("{}: {} is no table", self.at(name), kind(other))),
        }
    }

    /// A table of texts; numbers are written down as such.
    fn texts(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        let Some(members) = self.table(name)? else {
            return Ok(None);
        };
        let mut texts = BTreeMap::new();
        for (key, value) in members {
            let text = match value {
                Json::String(text) => text.clone(),
                Json::Number(number) => number.to_string(),
                other => {
                    return Err(format!(
                        "{}.{key}: {} is no text",
                        self.at(name),
                        kind(other)
                    ));
                }
            };
            texts.insert(key.clone(), text);
        }
        Ok(Some(texts))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        match self.members.get(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(format!(
                "{}: {} is neither true nor false",
                self.at(name),
                kind(other)
            )),
        }
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a table",
    }
}

/// A release of a file: a path is looked for beside the file.
pub(super) fn beside(file: &Path, release: &str) -> String {
    if release.contains("://") || release.starts_with(['/', '~']) {
        return release.to_owned();
    }
    let directory = file.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let path = directory.join(release);
    if path.is_file() {
        path.display().to_string()
    } else {
        release.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TOML: &str = r#"
[[supply]]
release = "product.a"
node = "COMP-1"

[[service]]
title = "hello"
release = "a"
type = "small"
state = "stopped"
shared = true
sla = { computer_guid = "COMP-1" }
[service.parameters]
name = "World"
sizes = [1, 2.5]
[service.parameters.more]
on = true
"#;
    const YAML: &str = "
supply:
- {release: product.a, node: COMP-1}
service:
- title: hello
  release: a
  type: small
  state: stopped
  shared: true
  sla: {computer_guid: COMP-1}
  parameters: {name: World, sizes: [1, 2.5], more: {on: true}}
";

    #[test]
    fn every_form_says_the_same() {
        let from_toml = wanted(&toml(TOML).unwrap()).unwrap();
        let from_yaml = wanted(&yaml(YAML).unwrap()).unwrap();
        assert_eq!(from_toml, from_yaml);
        let service = &from_toml.services[0];
        assert_eq!(service.state, Some(InstanceState::Stopped));
        assert_eq!(
            Json::Object(service.parameters.clone().unwrap()),
            serde_json::json!({"name": "World", "sizes": [1, 2.5], "more": {"on": true}})
        );
        assert_eq!(wanted(&json("{}").unwrap()).unwrap(), Wanted::default());
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let mistake = |text: &str| {
            let read = toml(text).and_then(|document| wanted(&document));
            read.unwrap_err()
        };
        insta::assert_snapshot!(mistake("a = "), @r"not TOML: line 1: string values must be quoted, expected literal string");
        insta::assert_snapshot!(mistake("a = 1\nb = 2\na = 3"), @r"not TOML: line 3: duplicate key");
        insta::assert_snapshot!(mistake("[[services]]"), @r"`services` is unknown; did you mean `service`?");
        insta::assert_snapshot!(mistake("[service]"), @r"`service` is no list; in TOML each begins with [[service]]");
        insta::assert_snapshot!(mistake("service = [1]"), @r"service 1: a number is no table");
        insta::assert_snapshot!(mistake("[[service]]\nrelease = 'a'"), @r"service 1: it has no `title`");
        insta::assert_snapshot!(mistake("[[service]]\ntitle = ''"), @r"service 1: title: an instance's title is empty");
        insta::assert_snapshot!(mistake("[[service]]\ntitle = 'a'"), @r"service `a`: it has no `release`");
        let service =
            |line: &str| mistake(&format!("[[service]]\ntitle = 'a'\nrelease = 'b'\n{line}"));
        insta::assert_snapshot!(service("[[service]]\ntitle = 'a'\nrelease = 'c'"), @r"service `a`: it is there twice");
        insta::assert_snapshot!(service("stat = 'started'"), @r"service `a`: `stat` is unknown; did you mean `state`?");
        insta::assert_snapshot!(service("state = 'running'"), @r"service `a`: state: `running` is not a state; expected `started`, `stopped` or `destroyed`");
        insta::assert_snapshot!(service("state = 1"), @r"service `a`: state: a number is no text");
        insta::assert_snapshot!(service("shared = 'yes'"), @r"service `a`: shared: a text is neither true nor false");
        insta::assert_snapshot!(service("parameters = 'x'"), @r"service `a`: parameters: a text is no table");
        insta::assert_snapshot!(service("sla = { a = [] }"), @r"service `a`: sla.a: a list is no text");
        insta::assert_snapshot!(service("serialisation = 'yaml'"), @r"service `a`: serialisation: `yaml` is not a serialisation; expected `xml` or `json-in-xml`");
        insta::assert_snapshot!(mistake("[[supply]]\nrelease = 'a'"), @r"supply 1: it has no `node`");
        insta::assert_snapshot!(
            mistake("[[supply]]\nrelease = 'a'\nnode = 'COMP-1'\nstate = 'gone'"), @r"supply 1: state: `gone` is not a state; expected `available` or `destroyed`");
        assert!(yaml("a: [").is_err());
        assert!(wanted(&Json::from(1)).is_err());
    }
}
