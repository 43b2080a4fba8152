//! `slapos software list|info`: what can be requested, and with which parameters.

use std::process::ExitCode;

use serde_json::{Value as Json, json};
use slap::SoftwareType;
use slap::serialisation::Serialisation;
use slap_client::release::{Metadata, ParameterInfo, TypeInfo};

use crate::args::client::List;
use crate::args::software::SoftwareInfo;
use crate::commands::supply::release;
use crate::failure::{Code, Failure};
use crate::{CommandResult, output, settings};

/// A line of the list.
struct Row {
    name: String,
    release: String,
    title: String,
}

pub(crate) fn list(arguments: &List) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let products = cloud.products()?;
    let listed = products.is_some();
    let mut rows: Vec<Row> = products
        .unwrap_or_default()
        .into_iter()
        .map(|product| Row {
            name: product.reference,
            release: product.releases.into_iter().next().unwrap_or_default(),
            title: product.title,
        })
        .collect();
    for (name, release) in cloud.aliases() {
        // One's own name for something wins.
        rows.retain(|row| row.name != *name);
        rows.push(Row {
            name: name.clone(),
            release: release.clone(),
            title: "your alias".to_owned(),
        });
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    if !listed {
        tracing::info!("This Master does not list its products; these are your aliases.");
    }
    let value: Vec<Json> = rows
        .iter()
        .map(|row| json!({"name": row.name, "software-url": row.release, "title": row.title}))
        .collect();
    let names = rows.iter().map(|row| row.name.as_str());
    output::answer(arguments.output, &Json::Array(value), names, || {
        if rows.is_empty() {
            return "There is no software with a name; give a URL or a path.".to_owned();
        }
        let lines = rows.iter().map(|row| {
            let release = match row.release.as_str() {
                "" => "(no release yet)",
                release => release,
            };
            [row.name.clone(), row.title.clone(), release.to_owned()]
        });
        output::table(&["NAME", "TITLE", "SOFTWARE RELEASE"], lines)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn info(arguments: &SoftwareInfo) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let release = release(&cloud, &arguments.release)?;
    let metadata = Metadata::of_release(release.as_str())
        .map_err(|error| Failure::of(&error))?
        .ok_or_else(|| {
            Failure::new(format!(
                "{release} says nothing of itself in {release}.json"
            ))
            .hint("it can be requested all the same, if it is there")
            .code(Code::Usage)
        })?;
    let wanted = arguments.software_type.as_ref().map(SoftwareType::as_str);
    let types: Vec<(TypeInfo, Vec<ParameterInfo>)> = metadata
        .types()
        .into_iter()
        .filter(|info| {
            wanted.is_none_or(|name| [&info.name, &info.software_type].iter().any(|n| *n == name))
        })
        .map(|info| {
            let parameters = parameters(&metadata, &info)?;
            Ok((info, parameters))
        })
        .collect::<Result<_, Failure>>()?;
    if let (Some(name), true) = (wanted, types.is_empty()) {
        let known: Vec<String> = metadata.types().into_iter().map(|info| info.name).collect();
        return Err(
            Failure::new(format!("{release} has no software type `{name}`"))
                .hint(format!("it has {}", known.join(", ")))
                .code(Code::Usage),
        );
    }
    let nodes = cloud
        .client()
        .release_nodes(release.as_str())?
        .unwrap_or_default();
    let on: Vec<Json> = nodes
        .iter()
        .map(|found| json!({"node": found.node, "title": found.node_title, "requested-state": found.state, "state": found.report.state}))
        .collect();
    let value = json!({
        "software-url": release.as_str(),
        "nodes": on,
        "title": metadata.title(),
        "description": metadata.description(),
        "software-types": types.iter().map(|(info, parameters)| as_json(info, parameters)).collect::<Vec<_>>(),
    });
    let names = types.iter().map(|(info, _)| info.name.as_str());
    output::answer(arguments.output, &value, names, || {
        let mut text = format!("{}\n{release}\n", metadata.title());
        if !metadata.description().is_empty() {
            text.push_str(&format!("{}\n", metadata.description()));
        }
        for found in &nodes {
            let state = match found.report.state.as_str() {
                "" => "asked for",
                state => state,
            };
            text.push_str(&format!(
                "on {} ({}): {state}\n",
                found.node, found.node_title
            ));
        }
        for (info, parameters) in &types {
            text.push_str(&format!("\n{}\n", readable(info, parameters)));
        }
        text.trim_end().to_owned()
    })?;
    Ok(ExitCode::SUCCESS)
}

fn parameters(metadata: &Metadata, info: &TypeInfo) -> Result<Vec<ParameterInfo>, Failure> {
    let Ok(name) = SoftwareType::new(info.name.clone()) else {
        return Ok(Vec::new());
    };
    let schema = metadata
        .schema(&name, info.shared)
        .map_err(|error| Failure::of(&error))?;
    Ok(schema.map(|schema| schema.parameters()).unwrap_or_default())
}

fn as_json(info: &TypeInfo, parameters: &[ParameterInfo]) -> Json {
    let parameters: Vec<Json> = parameters
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name,
                "type": parameter.kind,
                "required": parameter.required,
                "default": parameter.default,
                "description": parameter.description,
            })
        })
        .collect();
    json!({
        "name": info.name,
        "software-type": info.software_type,
        "title": info.title,
        "description": info.description,
        "shared": info.shared,
        "serialisation": match info.serialisation {
            Serialisation::Xml => "xml",
            Serialisation::JsonInXml => "json-in-xml",
        },
        "parameters": parameters,
    })
}

fn readable(info: &TypeInfo, parameters: &[ParameterInfo]) -> String {
    let mut text = format!("type {}", info.name);
    if info.shared {
        text.push_str(", shared");
    }
    for part in [&info.title, &info.description] {
        if !part.is_empty() {
            text.push_str(&format!("\n  {part}"));
        }
    }
    if parameters.is_empty() {
        text.push_str("\n  (its parameters are not described)");
        return text;
    }
    let rows = parameters.iter().map(|parameter| {
        let default = match &parameter.default {
            _ if parameter.required => "(required)".to_owned(),
            Some(Json::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        [
            parameter.name.clone(),
            parameter.kind.clone(),
            default,
            parameter.description.clone(),
        ]
    });
    let table = output::table(&["PARAMETER", "TYPE", "DEFAULT", "MEANING"], rows);
    text.push('\n');
    text.push_str(&table);
    text
}
