//! `slapos computer list|info` (C 1.4).

use std::process::ExitCode;

use serde_json::{Value as Json, json};
use slap_client::NodeSummary;

use crate::CommandResult;
use crate::args::OutputFormat;
use crate::args::client::{ComputerInfo, List};
use crate::{output, settings};

pub(crate) fn list(arguments: &List) -> CommandResult {
    let nodes = settings::cloud(&arguments.config)?.nodes()?;
    let asked = output::format(arguments.output);
    match asked {
        None | Some(OutputFormat::Table) if nodes.is_empty() => {
            output::print("No existing computer.")?;
        }
        // Nobody looks: upstream's lines.
        None => {
            let lines: Vec<String> = nodes
                .iter()
                .map(|node| format!("{} {}", node.reference, node.title))
                .collect();
            output::print(&format!("List of Computers:\n{}", lines.join("\n")))?;
        }
        Some(_) => {
            let list = Json::Array(nodes.iter().map(as_json).collect());
            let names = nodes.iter().map(|node| node.reference.as_str());
            output::answer(asked, &list, names, || {
                let rows = nodes
                    .iter()
                    .map(|node| [node.reference.clone(), node.title.clone()]);
                output::table(&["NODE", "TITLE"], rows)
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn info(arguments: &ComputerInfo) -> CommandResult {
    let node = settings::cloud(&arguments.config)?.node(&arguments.node)?;
    // Upstream's two lines, whoever reads.
    let asked = output::format(arguments.output).unwrap_or(OutputFormat::Table);
    output::answer(Some(asked), &as_json(&node), [&node.reference], || {
        format!(
            "Computer Reference: {}\nComputer Title    : {}",
            node.reference, node.title
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(node: &NodeSummary) -> Json {
    json!({"reference": node.reference, "title": node.title})
}
