//! Parameters as people give them: on the line, or in a JSON, YAML or XML file (C 1.5).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value as Json;
use slap::serialisation::{JSON_KEY, Serialisation, wrap};
use slap::{SoftwareType, Value, instance_xml};

use crate::failure::{Code, Failure};
use crate::metadata;

/// Largest parameter file, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Parameters ready to be sent.
pub(crate) type Parameters = BTreeMap<String, Value>;

/// `KEY=VALUE` words as a dictionary.
///
/// # Errors
/// When a key is given twice.
pub(crate) fn from_words(words: &[(String, String)]) -> Result<Parameters, Failure> {
    let mut parameters = Parameters::new();
    for (key, value) in words {
        if parameters.insert(key.clone(), Value::text(value)).is_some() {
            return Err(Failure::new(format!("`{key}` is given more than once")).code(Code::Usage));
        }
    }
    Ok(parameters)
}

/// Writes parameters given as words down as the release wants them.
pub(crate) fn words_for_release(
    parameters: Parameters,
    release: &str,
    software_type: &SoftwareType,
) -> Result<Parameters, Failure> {
    let plain = parameters.is_empty() || parameters.keys().eq([JSON_KEY]);
    let wants_json = !plain
        && metadata::of_release(release)?
            .is_some_and(|metadata| of(&metadata, software_type) == Serialisation::JsonInXml);
    if wants_json {
        Ok(wrapped(&Value::Dict(parameters).to_json()))
    } else {
        Ok(parameters)
    }
}

/// Reads a parameter file and writes it down as the release wants it.
pub(crate) fn from_file(
    path: &Path,
    forced: Option<Serialisation>,
    release: &str,
    software_type: &SoftwareType,
) -> Result<Parameters, Failure> {
    let usage =
        |reason: String| Failure::new(format!("{}: {reason}", path.display())).code(Code::Usage);
    let mut bytes = Vec::new();
    // Counted while reading: what is no regular file has no size and may have no end.
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| usage(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(usage(format!(
            "it has more than {FILE_BYTES_MAX} bytes, the most that is accepted"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|_| usage("it is not UTF-8 text".to_owned()))?;
    let extension = path.extension().and_then(|extension| extension.to_str());
    if extension == Some("xml") {
        return Ok(instance_xml::decode(&text)
            .map_err(|error| usage(error.to_string()))?
            .into_iter()
            .map(|(key, value)| (key, value.map_or(Value::None, Value::String)))
            .collect());
    }
    let document: Json = match extension {
        Some("yaml" | "yml") => {
            serde_saphyr::from_str(&text).map_err(|error| {
                // The library draws a picture below the line that says it all.
                let error = error.to_string();
                let line = error.lines().next().unwrap_or_default();
                usage(format!("not YAML: {}", line.trim_start_matches("error: ")))
            })?
        }
        _ => serde_json::from_str(&text).map_err(|error| usage(format!("not JSON: {error}")))?,
    };
    if !document.is_object() {
        return Err(usage("it must hold a dictionary of parameters".to_owned()));
    }
    let serialisation = match forced {
        Some(forced) => forced,
        None => metadata::of_release(release)?
            .map(|metadata| of(&metadata, software_type))
            .ok_or_else(|| {
                Failure::new(format!(
                    "{release}.json, which says how the parameters are written down, cannot be read"
                ))
                .hint("say it yourself with --force-serialisation xml|json-in-xml")
            })?,
    };
    match serialisation {
        Serialisation::JsonInXml => Ok(wrapped(&document)),
        Serialisation::Xml => match Value::from(&document) {
            Value::Dict(parameters) => Ok(parameters),
            _ => Ok(Parameters::new()),
        },
    }
}

fn of(metadata: &Json, software_type: &SoftwareType) -> Serialisation {
    Serialisation::of_release(metadata, software_type)
}

fn wrapped(document: &Json) -> Parameters {
    wrap(document)
        .into_iter()
        .map(|(key, value)| (key, Value::from(&value)))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(name: &str, text: &str, forced: Option<Serialisation>) -> Result<Parameters, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        from_file(
            &path,
            forced,
            "/nowhere/software.cfg",
            &SoftwareType::default(),
        )
    }

    #[test]
    fn each_kind_of_file_is_read() {
        let xml = Some(Serialisation::Xml);
        let expected = Parameters::from([("a".to_owned(), Value::text("1"))]);
        assert_eq!(read("p.json", "{\"a\": \"1\"}", xml).unwrap(), expected);
        assert_eq!(read("p.yaml", "a: '1'", xml).unwrap(), expected);
        assert_eq!(
            read(
                "p.xml",
                "<instance><parameter id=\"a\">1</parameter></instance>",
                None
            )
            .unwrap(),
            expected
        );
        let json = read("p.json", "{\"a\": 1}", Some(Serialisation::JsonInXml)).unwrap();
        assert_eq!(json["_"], Value::text("{\n  \"a\": 1\n}"));
    }

    #[test]
    fn bad_files_are_refused() {
        let xml = Some(Serialisation::Xml);
        for (name, text) in [
            ("p.json", ""),
            ("p.json", "[1]"),
            ("p.json", "{"),
            ("p.yaml", "- 1"),
            ("p.xml", "<instance>"),
        ] {
            assert!(read(name, text, xml).is_err(), "{name}: {text}");
        }
        // Without metadata and without being told, nothing is guessed.
        assert!(read("p.json", "{\"a\": 1}", None).is_err());
    }

    #[test]
    fn a_key_given_twice_is_a_mistake() {
        let pair = |key: &str| (key.to_owned(), "1".to_owned());
        assert!(from_words(&[pair("a"), pair("a")]).is_err());
        assert_eq!(from_words(&[pair("a"), pair("b")]).unwrap().len(), 2);
    }
}
