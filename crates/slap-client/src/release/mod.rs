//! What a software release says of itself in `<url>.json`: its software types, and the parameters of
//! each (P 2.1).

mod fetch;
mod schema;

use serde_json::Value as Json;
use slap::SoftwareType;
use slap::serialisation::{Serialisation, type_entry};

pub use fetch::{Guarded, Library};
pub use schema::{Mistake, ParameterInfo, ParameterSchema};

/// Why what a release says of itself cannot be used. A release that says nothing is no error.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// It is there and cannot be read.
    #[error("cannot read {place}: {reason}")]
    Unreadable {
        /// A URL or path.
        place: String,
        /// Why.
        reason: String,
    },
    /// It is no JSON.
    #[error("{place} is not JSON: {reason}")]
    NotJson {
        /// A URL or path.
        place: String,
        /// Why.
        reason: String,
    },
    /// The schema of its parameters is none.
    #[error("the schema {place} cannot be used: {reason}")]
    Schema {
        /// A URL or path.
        place: String,
        /// Why.
        reason: String,
    },
}

/// What a release says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// Where it was read: the URL or path of the release with `.json`.
    place: String,
    document: Json,
}

/// A software type of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeInfo {
    /// Its name among the entries.
    pub name: String,
    /// The software type to request, where it is not the name.
    pub software_type: String,
    /// Its title; empty without.
    pub title: String,
    /// What it is, in words; empty without.
    pub description: String,
    /// Whether it describes shared instances.
    pub shared: bool,
    /// How its parameters are written down.
    pub serialisation: Serialisation,
}

impl Metadata {
    /// Reads what a release says of itself. `None` when there is nothing to read.
    ///
    /// # Errors
    /// [`MetadataError`] when there is something, and it makes no sense.
    pub fn of_release(release: &str) -> Result<Option<Metadata>, MetadataError> {
        Metadata::read(release, &fetch::Anywhere)
    }

    /// As [`Metadata::of_release`], read from there.
    ///
    /// # Errors
    /// As [`Metadata::of_release`].
    pub fn read(release: &str, library: &dyn Library) -> Result<Option<Metadata>, MetadataError> {
        let release = release.strip_prefix("file://").unwrap_or(release);
        let place = format!("{release}.json");
        let read = library.json(&place)?;
        Ok(read.map(|document| Metadata { place, document }))
    }

    /// The release's title; empty without.
    pub fn title(&self) -> &str {
        text(&self.document, "name")
    }

    /// What it is, in words; empty without.
    pub fn description(&self) -> &str {
        text(&self.document, "description")
    }

    /// How the parameters of a software type are written down.
    pub fn serialisation(&self, software_type: &SoftwareType) -> Serialisation {
        Serialisation::of_release(&self.document, software_type)
    }

    /// The software types, in the order the release gives them.
    pub fn types(&self) -> Vec<TypeInfo> {
        let mut found: Vec<(i64, TypeInfo)> = self
            .entries()
            .map(|(name, entry)| {
                let index = entry.get("index").and_then(Json::as_i64);
                let software_type = match text(entry, "software-type") {
                    "" => name,
                    given => given,
                };
                let info = TypeInfo {
                    name: name.to_owned(),
                    software_type: software_type.to_owned(),
                    title: text(entry, "title").to_owned(),
                    description: text(entry, "description").to_owned(),
                    shared: is_shared(entry),
                    serialisation: SoftwareType::new(name)
                        .map_or(Serialisation::JsonInXml, |name| self.serialisation(&name)),
                };
                (index.unwrap_or(i64::MAX), info)
            })
            .collect();
        found.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        found.into_iter().map(|(_, info)| info).collect()
    }

    /// The schema of the parameters of a software type, where the release has one.
    ///
    /// # Errors
    /// [`MetadataError`] when it names one that cannot be read.
    pub fn schema(
        &self,
        software_type: &SoftwareType,
        shared: bool,
    ) -> Result<Option<ParameterSchema>, MetadataError> {
        let Some(place) = self.schema_place(software_type, shared) else {
            return Ok(None);
        };
        let document = self.named(&place, &fetch::Anywhere)?;
        Ok(Some(ParameterSchema::new(place, document)))
    }

    /// As [`Metadata::schema`], with all files it refers to, read from there: nothing is read later.
    ///
    /// # Errors
    /// As [`Metadata::schema`].
    pub fn whole_schema(
        &self,
        software_type: &SoftwareType,
        shared: bool,
        library: &dyn Library,
    ) -> Result<Option<ParameterSchema>, MetadataError> {
        let Some(place) = self.schema_place(software_type, shared) else {
            return Ok(None);
        };
        let document = self.named(&place, library)?;
        ParameterSchema::whole(place, document, library).map(Some)
    }

    fn named(&self, place: &str, library: &dyn Library) -> Result<Json, MetadataError> {
        library
            .json(place)?
            .ok_or_else(|| MetadataError::Unreadable {
                reason: format!("{} names it, and it is not there", self.place),
                place: place.to_owned(),
            })
    }

    /// Where the schema of a software type is.
    fn schema_place(&self, software_type: &SoftwareType, shared: bool) -> Option<String> {
        let named = |entry: &&Json| is_shared(entry) == shared;
        let by_type = || {
            self.entries().find_map(|(_, entry)| {
                let same = text(entry, "software-type") == software_type.as_str();
                (same && is_shared(entry) == shared).then_some(entry)
            })
        };
        let entry = type_entry(&self.document, software_type)
            .filter(named)
            .or_else(by_type)?;
        let reference = text(entry, "request");
        (!reference.is_empty()).then(|| fetch::beside(&self.place, reference))
    }

    fn entries(&self) -> impl Iterator<Item = (&str, &Json)> {
        let types = self.document.get("software-type").and_then(Json::as_object);
        types
            .into_iter()
            .flatten()
            .map(|(name, entry)| (name.as_str(), entry))
    }
}

fn text<'a>(entry: &'a Json, name: &str) -> &'a str {
    entry.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn is_shared(entry: &Json) -> bool {
    entry.get("shared").and_then(Json::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn release(files: &[(&str, Json)]) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        for (name, value) in files {
            std::fs::write(directory.path().join(name), value.to_string()).unwrap();
        }
        let release = directory.path().join("software.cfg");
        let release = release.to_str().unwrap().to_owned();
        (directory, release)
    }

    #[test]
    fn a_release_may_say_nothing() {
        let (_directory, release) = release(&[]);
        assert_eq!(Metadata::of_release(&release).unwrap(), None);
    }

    #[test]
    fn the_types_come_in_their_order_with_their_schemas() {
        let (_directory, release) = release(&[
            (
                "software.cfg.json",
                json!({"name": "X", "serialisation": "xml", "software-type": {
                    "default": {"title": "D", "request": "d.json", "index": 1},
                    "default-slave": {"title": "S", "software-type": "default", "shared": true,
                                      "request": "s.json", "index": 2},
                    "first": {"title": "F", "index": 0, "serialisation": "json-in-xml"}}}),
            ),
            (
                "d.json",
                json!({"type": "object", "properties": {"a": {"$ref": "parts/p.json"}}}),
            ),
            ("s.json", json!({"type": "object"})),
        ]);
        std::fs::create_dir(std::path::Path::new(&release).with_file_name("parts")).unwrap();
        let part = std::path::Path::new(&release).with_file_name("parts/p.json");
        std::fs::write(part, r#"{"type": "integer"}"#).unwrap();
        let metadata = Metadata::of_release(&format!("file://{release}"))
            .unwrap()
            .unwrap();
        assert_eq!(metadata.title(), "X");
        let types = metadata.types();
        let names: Vec<&str> = types.iter().map(|info| info.name.as_str()).collect();
        assert_eq!(names, ["first", "default", "default-slave"]);
        assert_eq!(types[0].serialisation, Serialisation::JsonInXml);
        assert_eq!(types[2].software_type, "default");
        let default = SoftwareType::default();
        let schema = metadata.schema(&default, false).unwrap().unwrap();
        assert_eq!(schema.mistakes(&json!({"a": 1})).unwrap(), []);
        let mistakes = schema.mistakes(&json!({"a": "one"})).unwrap();
        assert_eq!(mistakes[0].path, "$.a");
        let shared = metadata.schema(&default, true).unwrap().unwrap();
        assert_eq!(shared.mistakes(&json!({"a": "one"})).unwrap(), []);
        let first = SoftwareType::new("first").unwrap();
        assert!(metadata.schema(&first, false).unwrap().is_none());
    }

    #[test]
    fn what_is_named_and_missing_is_told() {
        let (_directory, release) = release(&[(
            "software.cfg.json",
            json!({"software-type": {"default": {"request": "gone.json"}}}),
        )]);
        let metadata = Metadata::of_release(&release).unwrap().unwrap();
        let error = metadata
            .schema(&SoftwareType::default(), false)
            .unwrap_err();
        assert!(error.to_string().contains("gone.json"), "{error}");
    }
}
