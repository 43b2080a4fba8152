//! `slapos computer list|info` (C 1.4).

use std::process::ExitCode;

use serde_json::{Value as Json, json};
use slap_client::{NodeState, NodeSummary};

use crate::CommandResult;
use crate::args::OutputFormat;
use crate::args::client::{ComputerInfo, List};
use crate::commands::service::moment;
use crate::{output, settings};

pub(crate) fn list(arguments: &List) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let asked = output::format(arguments.output);
    if asked == Some(OutputFormat::Table)
        && let Some(nodes) = cloud.client().node_list()?
        && !nodes.is_empty()
    {
        output::print(&with_states(&nodes))?;
        return Ok(ExitCode::SUCCESS);
    }
    let nodes = cloud.nodes()?;
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
    let cloud = settings::cloud(&arguments.config)?;
    if output::format(arguments.output) == Some(OutputFormat::Table)
        && let Some(node) = cloud.whole_node(arguments.node.as_str())?
    {
        output::print(&readable(&node))?;
        return Ok(ExitCode::SUCCESS);
    }
    let node = cloud.node(&arguments.node)?;
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

/// A table of nodes with their states.
fn with_states(nodes: &[NodeState]) -> String {
    let rows = nodes.iter().map(|node| {
        [
            node.reference.clone(),
            node.title.clone(),
            state(node),
            format!("{} of {}", node.free, node.partitions),
            node.contact_at.map(moment).unwrap_or_default(),
        ]
    });
    output::table(&["NODE", "TITLE", "STATE", "FREE", "LAST CONTACT"], rows)
}

/// Whether a node takes new instances, and whether it answers.
fn state(node: &NodeState) -> String {
    let scope = node.scope.clone().unwrap_or_default();
    match node.alive {
        Some(false) => format!("{scope}, silent")
            .trim_start_matches(", ")
            .to_owned(),
        _ => scope,
    }
}

/// A node with all that is on it.
fn readable(node: &NodeState) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            text.push_str(&format!("{name:<12} {value}\n"));
        }
    };
    line("Node", &node.reference);
    line("Title", &node.title);
    line("Project", node.project.as_deref().unwrap_or_default());
    line("State", &state(node));
    line("Contact", &node.contact_at.map(moment).unwrap_or_default());
    line("Reported", node.report.text.trim_start_matches('#'));
    line(
        "Partitions",
        &format!("{}, {} free", node.partitions, node.free),
    );
    if !node.installations.is_empty() {
        let rows = node.installations.iter().map(|there| {
            let wanted = match there.state.as_str() {
                "destroyed" => "to be removed",
                _ if there.report.state.is_empty() => "asked for",
                _ => there.report.state.as_str(),
            };
            [
                there.release.clone(),
                wanted.to_owned(),
                there.report.since.map(moment).unwrap_or_default(),
            ]
        });
        let table = output::table(&["SOFTWARE RELEASE", "STATE", "SINCE"], rows);
        text.push_str(&format!("\n{table}\n"));
    }
    let busy: Vec<_> = node.places.iter().filter(|place| place.busy).collect();
    if !busy.is_empty() {
        let rows = busy.into_iter().map(|place| match &place.instance {
            Some((title, tree, actual)) => [
                place.name.clone(),
                title.clone(),
                tree.clone(),
                actual.clone(),
            ],
            None => [
                place.name.clone(),
                "(not yours)".to_owned(),
                String::new(),
                String::new(),
            ],
        });
        let table = output::table(&["PARTITION", "INSTANCE", "SERVICE", "STATE"], rows);
        text.push_str(&format!("\n{table}\n"));
    }
    text.trim_end().to_owned()
}

fn as_json(node: &NodeSummary) -> Json {
    json!({"reference": node.reference, "title": node.title})
}

#[cfg(test)]
mod tests {
    use super::*;
    use slap_client::{NodePartition, NodeRelease, Report};

    fn node() -> NodeState {
        let report = |state: &str, text: &str| Report {
            state: state.to_owned(),
            text: text.to_owned(),
            at: None,
            since: None,
        };
        let release = |url: &str, state: &str, reported: &str| NodeRelease {
            node: "COMP-1".to_owned(),
            node_title: "rack1".to_owned(),
            release: url.to_owned(),
            state: state.to_owned(),
            report: report(reported, ""),
        };
        let place = |name: &str, instance: Option<(&str, &str, &str)>, busy: bool| NodePartition {
            name: name.to_owned(),
            busy,
            instance: instance
                .map(|(title, tree, state)| (title.to_owned(), tree.to_owned(), state.to_owned())),
        };
        NodeState {
            reference: "COMP-1".to_owned(),
            title: "rack1".to_owned(),
            project: Some("PROJ-1".to_owned()),
            scope: Some("open".to_owned()),
            alive: Some(false),
            partitions: 3,
            free: 1,
            contact_at: None,
            report: report("", "#access OK"),
            places: vec![
                place("slappart0", Some(("db", "blog", "started")), true),
                place("slappart1", None, true),
                place("slappart2", None, false),
            ],
            installations: vec![
                release("https://example.com/1/software.cfg", "available", "error"),
                release("https://example.com/2/software.cfg", "available", ""),
                release(
                    "https://example.com/3/software.cfg",
                    "destroyed",
                    "available",
                ),
            ],
        }
    }

    #[test]
    fn nodes_are_shown_with_their_states() {
        insta::assert_snapshot!(with_states(&[node()]), @r"
        NODE    TITLE  STATE         FREE    LAST CONTACT
        COMP-1  rack1  open, silent  1 of 3
        ");
    }

    #[test]
    fn a_node_is_shown_with_all_that_is_on_it() {
        insta::assert_snapshot!(readable(&node()), @r"
        Node         COMP-1
        Title        rack1
        Project      PROJ-1
        State        open, silent
        Reported     access OK
        Partitions   3, 1 free

         SOFTWARE RELEASE                    STATE          SINCE
         https://example.com/1/software.cfg  error
         https://example.com/2/software.cfg  asked for
         https://example.com/3/software.cfg  to be removed

         PARTITION  INSTANCE     SERVICE  STATE
         slappart0  db           blog     started
         slappart1  (not yours)
        ");
    }
}
