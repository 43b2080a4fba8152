//! `slapos service info` (C 1.4). Its JSON is upstream's, key by key.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use serde_json::{Map, Value as Json, json};
use slap::SoftwareType;
use slap::serialisation::{JSON_KEY, Serialisation, unwrap};
use slap_client::InstanceTreeInfo;
use slap_client::release::Metadata;

use crate::CommandResult;
use crate::args::OutputFormat;
use crate::args::service::ServiceInfo;
use crate::commands::service::whole;
use crate::failure::{Code, Failure};
use crate::{output, settings};

pub(crate) fn run(arguments: &ServiceInfo) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    if output::format(arguments.output) == Some(OutputFormat::Table)
        && let Some(service) = cloud.whole_service(arguments.title.as_str())?
    {
        output::print(&whole::readable(&service, arguments.show_secrets))?;
        return Ok(ExitCode::SUCCESS);
    }
    let tree = cloud.service(&arguments.title).map_err(|error| {
        if error.is_not_ready() {
            Failure::new("Instance does not exist or is not ready yet.").code(Code::Usage)
        } else {
            error.into()
        }
    })?;
    let document = document(&tree, arguments.news)?;
    output::answer(arguments.output, &document, [&tree.title], || {
        readable(&tree.title, &document, arguments.show_secrets)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The document of upstream's `service info`, in its key order.
fn document(tree: &InstanceTreeInfo, with_news: bool) -> Result<Json, Failure> {
    let mut document = Map::new();
    document.insert("software-url".into(), json!(tree.release));
    document.insert("software-type".into(), json!(tree.software_type));
    document.insert("shared".into(), json!(tree.shared));
    document.insert("requested-state".into(), json!(tree.state));
    document.insert("instance-parameters".into(), parameters(&tree.parameters));
    document.insert("connection-parameters".into(), connection(tree)?);
    document.insert("status".into(), json!(tree.status()));
    if let (true, Some(news)) = (with_news, &tree.news) {
        document.insert("news".into(), news.clone());
    }
    Ok(Json::Object(document))
}

/// Parameters, with the JSON under a sole `_` shown as what it says.
fn parameters(parameters: &BTreeMap<String, String>) -> Json {
    match unwrap(parameters) {
        Some(inner) => json!({ JSON_KEY: inner }),
        None => json!(parameters),
    }
}

/// Connection parameters; the level `_` is left out where the release writes JSON.
fn connection(tree: &InstanceTreeInfo) -> Result<Json, Failure> {
    if let Some(inner) = unwrap(&tree.connection) {
        let software_type = SoftwareType::new(tree.software_type.clone()).unwrap_or_default();
        let serialisation = Metadata::of_release(&tree.release)
            .ok()
            .flatten()
            .map_or(Serialisation::JsonInXml, |metadata| {
                metadata.serialisation(&software_type)
            });
        if serialisation == Serialisation::JsonInXml {
            return Ok(inner);
        }
    }
    Ok(json!(tree.connection))
}

fn readable(title: &str, document: &Json, show_secrets: bool) -> String {
    let hide = !show_secrets && io::stdout().is_terminal();
    let mut lines = vec![format!("{:<22} {title}", "title")];
    for (key, value) in document.as_object().into_iter().flatten() {
        match value {
            Json::Object(entries) => {
                lines.push(if entries.is_empty() {
                    format!("{key:<22} (none)")
                } else {
                    key.clone()
                });
                for (name, value) in entries {
                    let shown = plain(value);
                    let shown = match hide {
                        true => slap::secret::masked(name, &shown),
                        false => shown,
                    };
                    lines.push(format!("  {name:<20} {shown}"));
                }
            }
            other => lines.push(format!("{key:<22} {}", plain(other))),
        }
    }
    lines.join("\n")
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Bool(true) => "yes".to_owned(),
        Json::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tree() -> InstanceTreeInfo {
        InstanceTreeInfo {
            title: "b".into(),
            reference: "b".into(),
            release: "/nowhere/software.cfg".into(),
            software_type: "default".into(),
            state: "started".into(),
            shared: false,
            parameters: BTreeMap::from([("_".into(), "{\"nbd_port\": 1024}".into())]),
            connection: BTreeMap::from([(
                "_".into(),
                "{\"url\": \"https://[fd00::1]:8443/\"}".into(),
            )]),
            news: None,
        }
    }

    #[test]
    fn the_document_is_upstreams() {
        let text = serde_json::to_string_pretty(&document(&tree(), false).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{
  "software-url": "/nowhere/software.cfg",
  "software-type": "default",
  "shared": false,
  "requested-state": "started",
  "instance-parameters": {
    "_": {
      "nbd_port": 1024
    }
  },
  "connection-parameters": {
    "url": "https://[fd00::1]:8443/"
  },
  "status": "unsupported"
}"#
        );
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is() {
        let mut tree = tree();
        tree.parameters = BTreeMap::from([("_".into(), "not json".into())]);
        tree.connection = BTreeMap::from([("url".into(), "x".into())]);
        let document = document(&tree, true).unwrap();
        assert_eq!(document["instance-parameters"], json!({"_": "not json"}));
        assert_eq!(document["connection-parameters"], json!({"url": "x"}));
    }
}
