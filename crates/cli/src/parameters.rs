//! Parameters as people give them: on the line, or in a JSON, YAML or XML file (C 1.5); written down
//! as the release wants them, and checked by its schema before they are sent.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use serde_json::{Map, Value as Json};
use slap::serialisation::{JSON_KEY, Serialisation, unwrap, wrap};
use slap::{ReleaseUrl, SoftwareType, Value, instance_xml};
use slap_client::release::{Metadata, ParameterSchema};

use crate::document;
use crate::failure::{Code, Failure};

/// Parameters ready to be sent.
pub(crate) type Parameters = BTreeMap<String, Value>;

/// Parameters before the release was asked how it wants them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Given {
    /// Texts, as `KEY=VALUE` words and XML files give them.
    Texts(Map<String, Json>),
    /// A document of any JSON values.
    Document(Map<String, Json>),
    /// A document, and texts that replace parts of it.
    Changed(Map<String, Json>, Map<String, Json>),
}

/// What parameters are for.
pub(crate) struct Purpose<'a> {
    pub(crate) release: &'a ReleaseUrl,
    pub(crate) software_type: &'a SoftwareType,
    pub(crate) shared: bool,
    /// How they are written down, when somebody says it.
    pub(crate) serialisation: Option<Serialisation>,
    /// Whether they are sent even if they do not fit.
    pub(crate) force: bool,
}

/// `KEY=VALUE` words as a dictionary.
///
/// # Errors
/// When a key is given twice.
pub(crate) fn from_words(words: &[(String, String)]) -> Result<Parameters, Failure> {
    let texts = texts(words)?.into_iter();
    Ok(texts
        .map(|(key, value)| (key, Value::from(&value)))
        .collect())
}

/// `KEY=VALUE` words as texts.
///
/// # Errors
/// When a key is given twice.
pub(crate) fn texts(words: &[(String, String)]) -> Result<Map<String, Json>, Failure> {
    let mut texts = Map::new();
    for (key, value) in words {
        if texts
            .insert(key.clone(), Json::from(value.as_str()))
            .is_some()
        {
            return Err(Failure::new(format!("`{key}` is given more than once")).code(Code::Usage));
        }
    }
    Ok(texts)
}

/// Parameters an instance has, with some changed and some taken away.
pub(crate) fn changed(
    held: &BTreeMap<String, String>,
    set: &[(String, String)],
    unset: &[String],
) -> Result<Given, Failure> {
    let take_away = |map: &mut Map<String, Json>| -> Result<(), Failure> {
        for key in unset {
            if map.remove(key).is_none() {
                return Err(
                    Failure::new(format!("there is no parameter `{key}` to take away"))
                        .hint("see what there is with `slapos service info`")
                        .code(Code::Usage),
                );
            }
        }
        Ok(())
    };
    if let Some(Json::Object(mut document)) = unwrap(held) {
        take_away(&mut document)?;
        return Ok(Given::Changed(document, texts(set)?));
    }
    let held = held.iter();
    let mut all = held
        .map(|(key, value)| (key.clone(), Json::from(value.as_str())))
        .collect();
    take_away(&mut all)?;
    all.extend(texts(set)?);
    Ok(Given::Texts(all))
}

/// Reads a parameter file.
pub(crate) fn from_file(path: &Path) -> Result<Given, Failure> {
    let usage =
        |reason: String| Failure::new(format!("{}: {reason}", path.display())).code(Code::Usage);
    let text = document::text(File::open(path)).map_err(usage)?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    if extension == Some("xml") {
        let read = instance_xml::decode(&text).map_err(|error| usage(error.to_string()))?;
        let texts = read
            .into_iter()
            .map(|(key, value)| (key, value.map_or(Json::Null, Json::from)));
        return Ok(Given::Texts(texts.collect()));
    }
    let document = match extension {
        Some("yaml" | "yml") => document::yaml(&text),
        _ => document::json(&text),
    };
    match document.map_err(usage)? {
        Json::Object(document) => Ok(Given::Document(document)),
        _ => Err(usage("it must hold a dictionary of parameters".to_owned())),
    }
}

/// Writes parameters down as the release wants them, once they fit its schema.
///
/// # Errors
/// When they do not fit, with every mistake and its path; and when nobody says how a document is
/// written down.
pub(crate) fn ready(given: Given, purpose: &Purpose<'_>) -> Result<Parameters, Failure> {
    let metadata = Metadata::of_release(purpose.release.as_str());
    let metadata = match metadata {
        Err(error) if purpose.force => {
            tracing::warn!("{error}");
            None
        }
        other => other.map_err(|error| unusable(&error))?,
    };
    let said = purpose.serialisation.or_else(|| {
        let metadata = metadata.as_ref()?;
        Some(metadata.serialisation(purpose.software_type))
    });
    let schema = match &metadata {
        Some(metadata) => schema(metadata, purpose)?,
        None => None,
    };
    let given = match given {
        Given::Changed(mut document, words) => {
            document.extend(
                schema
                    .as_ref()
                    .map_or(words.clone(), |schema| schema.typed(&words)),
            );
            Given::Document(document)
        }
        other => other,
    };
    match given {
        // Already written down as JSON, by hand.
        Given::Texts(texts) if texts.keys().eq([JSON_KEY]) => {
            if let Some(Ok(document)) = texts[JSON_KEY].as_str().map(serde_json::from_str::<Json>) {
                check(schema.as_ref(), &document, purpose)?;
            }
            Ok(plain(&texts))
        }
        Given::Texts(texts) => {
            let typed = schema.as_ref().map(|schema| schema.typed(&texts));
            let document = Json::Object(typed.unwrap_or_else(|| texts.clone()));
            check(schema.as_ref(), &document, purpose)?;
            match said {
                Some(Serialisation::JsonInXml) if !texts.is_empty() => Ok(wrapped(&document)),
                _ => Ok(plain(&texts)),
            }
        }
        Given::Document(document) | Given::Changed(document, _) => {
            let inner = match document.get(JSON_KEY).and_then(Json::as_str) {
                Some(text) if document.len() == 1 => serde_json::from_str(text).ok(),
                _ => None,
            };
            let whole = Json::Object(document.clone());
            check(schema.as_ref(), inner.as_ref().unwrap_or(&whole), purpose)?;
            let said = said.ok_or_else(|| {
                Failure::new(format!(
                    "{}.json, which says how the parameters are written down, cannot be read",
                    purpose.release
                ))
                .hint("say it yourself with --force-serialisation xml|json-in-xml")
            })?;
            Ok(match said {
                Serialisation::JsonInXml => wrapped(&whole),
                Serialisation::Xml => plain(&document),
            })
        }
    }
}

fn schema(metadata: &Metadata, purpose: &Purpose<'_>) -> Result<Option<ParameterSchema>, Failure> {
    match metadata.schema(purpose.software_type, purpose.shared) {
        Err(error) if purpose.force => {
            tracing::warn!("{error}");
            Ok(None)
        }
        other => other.map_err(|error| unusable(&error)),
    }
}

fn check(
    schema: Option<&ParameterSchema>,
    document: &Json,
    purpose: &Purpose<'_>,
) -> Result<(), Failure> {
    let Some(schema) = schema else {
        return Ok(());
    };
    let mistakes = match schema.mistakes(document) {
        Err(error) if purpose.force => {
            tracing::warn!("{error}");
            return Ok(());
        }
        other => other.map_err(|error| unusable(&error))?,
    };
    if mistakes.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = mistakes
        .iter()
        .map(|mistake| format!("  {}: {}", mistake.path, mistake.text))
        .collect();
    let said = format!(
        "the parameters do not fit {}:\n{}",
        schema.place(),
        lines.join("\n")
    );
    if purpose.force {
        tracing::warn!("{said}");
        return Ok(());
    }
    Err(Failure::new(said)
        .hint("see what they may be with `slapos software info`; --force sends them all the same")
        .code(Code::Usage))
}

fn unusable(error: &slap_client::release::MetadataError) -> Failure {
    Failure::of(error).hint("--force sends the parameters without checking them")
}

fn plain(document: &Map<String, Json>) -> Parameters {
    let entries = document.iter();
    entries
        .map(|(key, value)| (key.clone(), Value::from(value)))
        .collect()
}

fn wrapped(document: &Json) -> Parameters {
    let entries = wrap(document).into_iter();
    entries
        .map(|(key, value)| (key, Value::from(&value)))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn read(name: &str, text: &str) -> Result<Given, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        from_file(&path)
    }

    fn map(value: Json) -> Map<String, Json> {
        value.as_object().unwrap().clone()
    }

    /// A release with a schema, and parameters for it.
    fn send(serialisation: &str, given: Given, force: bool) -> Result<Parameters, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let release = directory.path().join("software.cfg");
        std::fs::write(
            directory.path().join("software.cfg.json"),
            json!({"serialisation": serialisation,
                   "software-type": {"default": {"request": "in.json"}}})
            .to_string(),
        )
        .unwrap();
        std::fs::write(
            directory.path().join("in.json"),
            json!({"properties": {"port": {"type": "integer"}, "name": {"type": "string"}}})
                .to_string(),
        )
        .unwrap();
        let release: ReleaseUrl = release.to_str().unwrap().parse().unwrap();
        ready(
            given,
            &Purpose {
                release: &release,
                software_type: &SoftwareType::default(),
                shared: false,
                serialisation: None,
                force,
            },
        )
    }

    #[test]
    fn each_kind_of_file_is_read() {
        let document = Given::Document(map(json!({"a": 1})));
        assert_eq!(read("p.json", "{\"a\": 1}").unwrap(), document);
        assert_eq!(read("p.yaml", "a: 1").unwrap(), document);
        assert_eq!(
            read(
                "p.xml",
                "<instance><parameter id=\"a\">1</parameter></instance>"
            )
            .unwrap(),
            Given::Texts(map(json!({"a": "1"})))
        );
    }

    #[test]
    fn bad_files_are_refused() {
        for (name, text) in [
            ("p.json", ""),
            ("p.json", "[1]"),
            ("p.json", "{"),
            ("p.yaml", "- 1"),
            ("p.xml", "<instance>"),
        ] {
            assert!(read(name, text).is_err(), "{name}: {text}");
        }
    }

    #[test]
    fn a_key_given_twice_is_a_mistake() {
        let pair = |key: &str| (key.to_owned(), "1".to_owned());
        assert!(from_words(&[pair("a"), pair("a")]).is_err());
        assert_eq!(from_words(&[pair("a"), pair("b")]).unwrap().len(), 2);
    }

    #[test]
    fn words_become_what_the_release_wants() {
        let words = || Given::Texts(map(json!({"port": "80", "name": "7"})));
        let xml = send("xml", words(), false).unwrap();
        assert_eq!(xml["port"], Value::text("80"));
        let json = send("json-in-xml", words(), false).unwrap();
        let text = "{\n  \"port\": 80,\n  \"name\": \"7\"\n}";
        assert_eq!(json["_"], Value::text(text));
    }

    #[test]
    fn what_does_not_fit_is_not_sent_unless_forced() {
        for serialisation in ["xml", "json-in-xml"] {
            for given in [
                Given::Texts(map(json!({"port": "many"}))),
                Given::Document(map(json!({"port": "many"}))),
                Given::Texts(map(json!({"_": "{\"port\": \"many\"}"}))),
            ] {
                let failure = send(serialisation, given.clone(), false).unwrap_err();
                assert!(failure.to_string().contains("$.port:"), "{failure}");
                send(serialisation, given, true).unwrap();
            }
        }
    }

    #[test]
    fn parameters_are_changed_one_by_one() {
        let held = BTreeMap::from([("_".to_owned(), "{\"a\": 1, \"b\": 2}".to_owned())]);
        let set = [("a".to_owned(), "x".to_owned())];
        assert_eq!(
            changed(&held, &set, &["b".to_owned()]).unwrap(),
            Given::Changed(map(json!({"a": 1})), map(json!({"a": "x"})))
        );
        let held = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(
            changed(&held, &set, &[]).unwrap(),
            Given::Texts(map(json!({"a": "x"})))
        );
        assert!(changed(&held, &[], &["c".to_owned()]).is_err());
    }
}
