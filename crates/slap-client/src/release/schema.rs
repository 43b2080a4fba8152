//! The JSON schema of a release's parameters.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Retrieve, Uri};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value as Json};

use super::MetadataError;
use super::fetch::{self, Library};

/// What a path may hold and a URI may not.
const NOT_IN_URIS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// Most mistakes that are told of one set of parameters.
const MISTAKES_MAX: usize = 50;
/// Longest text of one mistake, in characters.
const MISTAKE_CHARS_MAX: usize = 300;
/// Most files a schema may be spread over.
const FILES_MAX: usize = 100;

/// The schema of the parameters of a software type.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSchema {
    /// Its URL or path.
    place: String,
    document: Json,
    /// The files it refers to, when they were read with it.
    files: Option<Arc<BTreeMap<String, Json>>>,
}

/// Something in a set of parameters that the schema does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where, as `$.a.b[0]`.
    pub path: String,
    /// The same as a JSON pointer, `/a/b/0`; of what is missing, where it should be.
    pub pointer: String,
    /// What is wrong, in words.
    pub text: String,
}

/// A parameter, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterInfo {
    /// Its name.
    pub name: String,
    /// What it may be: a type, several, or the values of an enumeration.
    pub kind: String,
    /// Whether it must be given.
    pub required: bool,
    /// What it is when it is not given.
    pub default: Option<Json>,
    /// What it means; empty without.
    pub description: String,
}

impl ParameterSchema {
    pub(super) fn new(place: String, document: Json) -> Self {
        ParameterSchema {
            place,
            document,
            files: None,
        }
    }

    /// A schema with all files it refers to.
    pub(super) fn whole(
        place: String,
        mut document: Json,
        library: &dyn Library,
    ) -> Result<Self, MetadataError> {
        let place = fetch::normal(&place);
        nameless(&mut document);
        let mut files = BTreeMap::new();
        let mut wanted = referred(&place, &document);
        while let Some(next) = wanted.pop() {
            if next == place || files.contains_key(&next) {
                continue;
            }
            if files.len() >= FILES_MAX {
                return Err(MetadataError::Schema {
                    place,
                    reason: format!("it is spread over more than {FILES_MAX} files"),
                });
            }
            // What every validator knows by heart.
            if next.contains("://json-schema.org/") {
                continue;
            }
            let read = library.json(&next)?;
            let mut file = read.ok_or_else(|| MetadataError::Unreadable {
                reason: format!("{place} refers to it, and it is not there"),
                place: next.clone(),
            })?;
            nameless(&mut file);
            wanted.extend(referred(&next, &file));
            files.insert(next, file);
        }
        Ok(ParameterSchema {
            place,
            document,
            files: Some(Arc::new(files)),
        })
    }

    /// What a reference in the file at `place` refers to, and the place of the file that has it. Of
    /// other files only those that were read with the schema.
    pub fn resolve(&self, place: &str, reference: &str) -> Option<(String, &Json)> {
        let (file, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let place = match file {
            "" => place.to_owned(),
            file => fetch::normal(&fetch::beside(place, file)),
        };
        let document = if place == self.place {
            &self.document
        } else {
            self.files.as_ref()?.get(&place)?
        };
        let pointer = percent_decode_str(pointer).decode_utf8().ok()?;
        Some((place, document.pointer(&pointer)?))
    }

    /// Its URL or path.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The schema itself.
    pub fn document(&self) -> &Json {
        &self.document
    }

    /// Everything in these parameters that the schema does not take.
    ///
    /// # Errors
    /// [`MetadataError::Schema`] when the schema, or one it refers to, cannot be used.
    pub fn mistakes(&self, parameters: &Json) -> Result<Vec<Mistake>, MetadataError> {
        let base = if self.place.contains("://") {
            self.place.clone()
        } else {
            format!("file://{}", utf8_percent_encode(&self.place, NOT_IN_URIS))
        };
        let validator = jsonschema::options()
            .with_base_uri(base)
            .with_retriever(Files {
                read: Default::default(),
                files: self.files.clone(),
            })
            .build(&self.document)
            .map_err(|error| MetadataError::Schema {
                place: self.place.clone(),
                reason: cut(&error.to_string()),
            })?;
        Ok(validator
            .iter_errors(parameters)
            .take(MISTAKES_MAX)
            .map(|error| Mistake {
                path: dotted(error.instance_path().as_str()),
                pointer: match error.kind() {
                    ValidationErrorKind::Required {
                        property: Json::String(name),
                    } => {
                        let name = name.replace('~', "~0").replace('/', "~1");
                        format!("{}/{name}", error.instance_path().as_str())
                    }
                    _ => error.instance_path().as_str().to_owned(),
                },
                text: cut(&error.to_string()),
            })
            .collect())
    }

    /// Texts as the types the schema wants, where that is clear: `1024` is an integer where an
    /// integer is wanted and a text is not.
    pub fn typed(&self, words: &Map<String, Json>) -> Map<String, Json> {
        let typed = |name: &String, value: &Json| -> Option<Json> {
            let text = value.as_str()?;
            let wanted = self.wanted(name);
            if wanted.is_empty() || wanted.contains(&"string") {
                return None;
            }
            let parsed: Json = serde_json::from_str(text)
                .or_else(|_| serde_json::from_str(&text.to_lowercase()))
                .ok()?;
            let kind = kind_of(&parsed);
            let fits = wanted.contains(&kind) || kind == "integer" && wanted.contains(&"number");
            fits.then_some(parsed)
        };
        words
            .iter()
            .map(|(name, value)| {
                let value = typed(name, value).unwrap_or_else(|| value.clone());
                (name.clone(), value)
            })
            .collect()
    }

    /// The parameters the schema describes, in its order.
    pub fn parameters(&self) -> Vec<ParameterInfo> {
        let required = self.document.get("required").and_then(Json::as_array);
        self.properties()
            .map(|(name, property)| ParameterInfo {
                name: name.clone(),
                kind: described(property),
                required: required
                    .is_some_and(|names| names.iter().any(|other| other == name.as_str())),
                default: property.get("default").cloned(),
                description: ["description", "title"]
                    .iter()
                    .find_map(|key| property.get(key)?.as_str())
                    .unwrap_or_default()
                    .to_owned(),
            })
            .collect()
    }

    fn properties(&self) -> impl Iterator<Item = (&String, &Json)> {
        // A schema may be several in one: what all of them and what any of them describes.
        let parts = ["allOf", "anyOf", "oneOf"]
            .into_iter()
            .filter_map(|key| self.document.get(key)?.as_array())
            .flatten();
        std::iter::once(&self.document)
            .chain(parts)
            .filter_map(|part| part.get("properties")?.as_object())
            .flatten()
            .map(|(name, property)| (name, self.resolved(property)))
    }

    /// What a reference within the same file refers to; anything else is itself.
    fn resolved<'a>(&'a self, property: &'a Json) -> &'a Json {
        let pointer = property.get("$ref").and_then(Json::as_str);
        pointer
            .and_then(|reference| self.document.pointer(reference.strip_prefix('#')?))
            .unwrap_or(property)
    }

    /// The types a parameter may have; empty where the schema does not say.
    fn wanted(&self, name: &str) -> Vec<&str> {
        self.properties()
            .filter(|(known, _)| known.as_str() == name)
            .flat_map(|(_, property)| types(property))
            .collect()
    }
}

fn types(property: &Json) -> Vec<&str> {
    match property.get("type") {
        Some(Json::String(one)) => vec![one.as_str()],
        Some(Json::Array(several)) => several.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn described(property: &Json) -> String {
    if let Some(values) = property.get("enum").and_then(Json::as_array) {
        let values: Vec<String> = values.iter().map(plain).collect();
        return cut(&values.join(" | "));
    }
    if let Some(only) = property.get("const") {
        return cut(&plain(only));
    }
    let types = types(property);
    if !types.is_empty() {
        return types.join(" | ");
    }
    for (key, word) in [("oneOf", "one of several"), ("anyOf", "any of several")] {
        if property.get(key).is_some() {
            return word.to_owned();
        }
    }
    "anything".to_owned()
}

fn plain(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

/// A JSON pointer as people write paths: `/a/0/b` is `$.a[0].b`.
fn dotted(pointer: &str) -> String {
    let mut path = "$".to_owned();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let simple = part
            .chars()
            .all(|character| character.is_alphanumeric() || "_-".contains(character));
        match (number, simple && !part.is_empty()) {
            (true, _) => path.push_str(&format!("[{part}]")),
            (false, true) => path.push_str(&format!(".{part}")),
            (false, false) => path.push_str(&format!("[{part:?}]")),
        }
    }
    path
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MISTAKE_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(MISTAKE_CHARS_MAX).chain(['…']).collect()
}

/// Takes the name off that a file gives itself: what it refers to is where it was read.
fn nameless(document: &mut Json) {
    if let Some(document) = document.as_object_mut() {
        document.shift_remove("$id");
        document.shift_remove("id");
    }
}

/// The places of the files that a file refers to.
fn referred(place: &str, document: &Json) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![document];
    while let Some(next) = left.pop() {
        match next {
            Json::Object(entries) => {
                if let Some(Json::String(reference)) = entries.get("$ref") {
                    let file = reference.split('#').next().unwrap_or_default();
                    if !file.is_empty() {
                        found.push(fetch::normal(&fetch::beside(place, file)));
                    }
                }
                left.extend(entries.values());
            }
            Json::Array(items) => left.extend(items),
            _ => {}
        }
    }
    found
}

/// Files a schema refers to: of the same machine, or behind http(s).
#[derive(Debug, Default)]
struct Files {
    read: std::sync::atomic::AtomicUsize,
    /// Those that were read already; nothing else is read then.
    files: Option<Arc<BTreeMap<String, Json>>>,
}

impl Retrieve for Files {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Json, Box<dyn Error + Send + Sync>> {
        let read = self.read.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if read >= FILES_MAX {
            return Err(format!("it is spread over more than {FILES_MAX} files").into());
        }
        let place = uri.as_str();
        let place = match place.strip_prefix("file://") {
            Some(path) => percent_decode_str(path).decode_utf8()?.into_owned(),
            None => place.to_owned(),
        };
        let found = match &self.files {
            Some(files) => files.get(&fetch::normal(&place)).cloned(),
            None => fetch::Anywhere.json(&place)?,
        };
        found.ok_or_else(|| format!("{place} cannot be read").into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn schema(document: Json) -> ParameterSchema {
        ParameterSchema::new("/nowhere/schema.json".to_owned(), document)
    }

    fn kvm() -> ParameterSchema {
        schema(json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "additionalProperties": false,
            "required": ["name"],
            "properties": {
                "nbd_port": {"type": "integer", "minimum": 1, "default": 1024, "description": "P"},
                "ratio": {"type": "number"},
                "name": {"type": "string"},
                "debug": {"type": ["boolean", "null"]},
                "mode": {"enum": ["fast", "safe"], "title": "M"},
                "disks": {"type": "array", "items": {"type": "object",
                    "properties": {"size of": {"type": "integer"}}}}
            }
        }))
    }

    #[test]
    fn every_mistake_is_told_with_its_path() {
        let mistakes = kvm()
            .mistakes(&json!({
                "nbd_port": 0, "mode": "slow", "other": 1, "disks": [{"size of": "x"}]
            }))
            .unwrap();
        let paths: Vec<&str> = mistakes
            .iter()
            .map(|mistake| mistake.path.as_str())
            .collect();
        for path in ["$.nbd_port", "$.mode", "$.disks[0][\"size of\"]", "$"] {
            assert!(paths.contains(&path), "{path}: {mistakes:?}");
        }
        let whole: Vec<&str> = mistakes
            .iter()
            .filter(|mistake| mistake.path == "$")
            .map(|mistake| mistake.text.as_str())
            .collect();
        assert!(
            whole.iter().any(|text| text.contains("\"name\"")),
            "{whole:?}"
        );
        assert!(
            whole.iter().any(|text| text.contains("'other'")),
            "{whole:?}"
        );
    }

    #[test]
    fn texts_become_what_is_wanted_where_that_is_clear() {
        let words = json!({
            "nbd_port": "1024", "ratio": "2", "name": "7", "debug": "True", "mode": "1",
            "disks": "[{\"size of\": 1}]", "unknown": "1"
        });
        let typed = Json::Object(kvm().typed(words.as_object().unwrap()));
        assert_eq!(
            typed,
            json!({
                "nbd_port": 1024, "ratio": 2, "name": "7", "debug": true, "mode": "1",
                "disks": [{"size of": 1}], "unknown": "1"
            })
        );
        let words = json!({"nbd_port": "many"});
        let typed = kvm().typed(words.as_object().unwrap());
        assert_eq!(
            typed["nbd_port"], "many",
            "what does not fit is left for the schema to say"
        );
    }

    #[test]
    fn parameters_are_described_for_people() {
        let parameters = kvm().parameters();
        let port = parameters.iter().find(|p| p.name == "nbd_port").unwrap();
        assert_eq!((port.kind.as_str(), port.required), ("integer", false));
        assert_eq!(port.default, Some(json!(1024)));
        assert_eq!(port.description, "P");
        let mode = parameters.iter().find(|p| p.name == "mode").unwrap();
        assert_eq!(
            (mode.kind.as_str(), mode.description.as_str()),
            ("fast | safe", "M")
        );
    }

    #[test]
    fn what_is_referred_to_is_what_counts() {
        let schema = schema(json!({
            "definitions": {"port": {"type": "integer", "default": 80}},
            "properties": {"port": {"$ref": "#/definitions/port"}}
        }));
        assert_eq!(schema.parameters()[0].kind, "integer");
        let words = json!({"port": "8080"});
        assert_eq!(schema.typed(words.as_object().unwrap())["port"], 8080);
    }

    #[test]
    fn a_whole_schema_reads_nothing_later() {
        let directory = tempfile::tempdir().unwrap();
        let parts = directory.path().join("parts");
        std::fs::create_dir(&parts).unwrap();
        let file = |name: &str, value: Json| {
            std::fs::write(parts.join(name), value.to_string()).unwrap();
        };
        file(
            "a.json",
            json!({"$id": "https://x.example/", "definitions": {"a b": {"$ref": "b.json"}}}),
        );
        file("b.json", json!({"type": "integer"}));
        let place = parts.join("../schema.json").to_str().unwrap().to_owned();
        let document = json!({"$id": "https://x.example/s.json", "required": ["n"],
            "properties": {"n": {"$ref": "parts/a.json#/definitions/a%20b"}}});
        let library = fetch::Guarded {
            local: true,
            ..Default::default()
        };
        let schema = ParameterSchema::whole(place.clone(), document.clone(), &library).unwrap();
        let refused = ParameterSchema::whole(place, document, &fetch::Guarded::default());
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("files of this machine")
        );
        std::fs::remove_dir_all(&parts).unwrap();
        let pointers = |value: Json| -> Vec<String> {
            let mistakes = schema.mistakes(&value).unwrap();
            mistakes
                .into_iter()
                .map(|mistake| mistake.pointer)
                .collect()
        };
        assert_eq!(pointers(json!({"n": 1})), [""; 0]);
        assert_eq!(pointers(json!({"n": "x"})), ["/n"]);
        assert_eq!(pointers(json!({})), ["/n"]);
        let (place, found) = schema
            .resolve(schema.place(), "parts/a.json#/definitions/a%20b")
            .unwrap();
        let (_, found) = schema
            .resolve(&place, found["$ref"].as_str().unwrap())
            .unwrap();
        assert_eq!(*found, json!({"type": "integer"}));
        assert_eq!(schema.resolve(&place, "gone.json"), None);
    }

    #[test]
    fn a_path_may_hold_anything() {
        let directory = tempfile::tempdir().unwrap();
        let odd = directory.path().join("a b#c?d%20");
        std::fs::create_dir(&odd).unwrap();
        std::fs::write(odd.join("part.json"), "{\"type\": \"integer\"}").unwrap();
        let place = odd.join("schema.json").to_str().unwrap().to_owned();
        let document = json!({"properties": {"a": {"$ref": "part.json"}}});
        let schema = ParameterSchema::new(place, document);
        assert_eq!(schema.mistakes(&json!({"a": 1})).unwrap(), []);
        assert_eq!(schema.mistakes(&json!({"a": "x"})).unwrap().len(), 1);
    }

    #[test]
    fn a_schema_that_is_none_is_told() {
        let broken = schema(json!({"type": "no such type"}));
        assert!(broken.mistakes(&json!({})).is_err());
        let lost = schema(json!({"$ref": "missing.json"}));
        let error = lost.mistakes(&json!({})).unwrap_err().to_string();
        assert!(error.contains("missing.json"), "{error}");
    }
}
