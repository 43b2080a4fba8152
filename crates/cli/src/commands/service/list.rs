//! `slapos service list`, once or again and again.

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value as Json};
use slap_client::{Cloud, ServiceSummary, Watch};

use crate::CommandResult;
use crate::args::OutputFormat;
use crate::args::service::ServiceList;
use crate::failure::Failure;
use crate::{output, settings};

/// What is not told is looked for as often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &ServiceList) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    if arguments.watch {
        return watch(&cloud, arguments);
    }
    let listed = Listed::ask(&cloud, arguments.output)?;
    if listed.is_for_people && listed.is_empty() {
        output::complain(NONE);
        return Ok(ExitCode::SUCCESS);
    }
    listed.print(arguments.output)?;
    Ok(ExitCode::SUCCESS)
}

const NONE: &str = "You have no instances yet; ask for one with `slapos request`.";

/// Shows the list again whenever it changes.
fn watch(cloud: &Cloud, arguments: &ServiceList) -> CommandResult {
    let mut changes = cloud.changes(Watch::Mine, LOOK_AGAIN);
    let clears = io::stdout().is_terminal();
    let mut shown = None;
    loop {
        match Listed::ask(cloud, arguments.output) {
            Ok(listed) => {
                let is_new = shown.as_ref() != Some(&listed);
                if is_new {
                    if clears {
                        // To the upper left corner, and nothing below it.
                        output::print("\x1b[H\x1b[2J\x1b[3J")?;
                    }
                    match listed.is_empty() && listed.is_for_people {
                        true => output::print(NONE)?,
                        false => listed.print(arguments.output)?,
                    }
                    shown = Some(listed);
                }
            }
            // A Master that is restarted meanwhile is no reason to give up.
            Err(error) if error.is_master_unreachable() && shown.is_some() => {
                tracing::warn!("{error}");
            }
            Err(error) => return Err(error.into()),
        }
        changes.wait(LOOK_AGAIN * 5);
    }
}

/// The list, as much as the Master tells and somebody wants to see.
#[derive(PartialEq)]
struct Listed {
    is_for_people: bool,
    /// Title and release.
    trees: Vec<(String, String)>,
    /// The same with states.
    states: Option<Vec<ServiceSummary>>,
}

impl Listed {
    fn ask(cloud: &Cloud, asked: Option<OutputFormat>) -> Result<Self, slap_client::Error> {
        let is_for_people = output::format(asked) == Some(OutputFormat::Table);
        let states = match is_for_people {
            true => cloud.client().service_list("")?,
            false => None,
        };
        let trees = match &states {
            Some(states) => states
                .iter()
                .map(|row| (row.title.clone(), row.release.clone()))
                .collect(),
            None => cloud
                .services()?
                .into_iter()
                .map(|tree| (tree.title, tree.release))
                .collect(),
        };
        Ok(Listed {
            is_for_people,
            trees,
            states,
        })
    }

    fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    fn print(&self, asked: Option<OutputFormat>) -> Result<(), Failure> {
        let by_title: Map<String, Json> = self
            .trees
            .iter()
            .map(|(title, release)| (title.clone(), Json::String(release.clone())))
            .collect();
        let names = self.trees.iter().map(|(title, _)| title.as_str());
        output::answer(asked, &Json::Object(by_title), names, || {
            match &self.states {
                Some(states) => with_states(states),
                None => {
                    let rows = self.trees.iter().cloned().map(<[String; 2]>::from);
                    output::table(&["TITLE", "SOFTWARE RELEASE"], rows)
                }
            }
        })
    }
}

fn with_states(states: &[ServiceSummary]) -> String {
    let rows = states.iter().map(|row| {
        [
            row.title.clone(),
            row.actual.clone(),
            row.nodes.join(", "),
            row.release.clone(),
        ]
    });
    let mut text = output::table(&["TITLE", "STATE", "NODE", "SOFTWARE RELEASE"], rows);
    for row in states {
        if let Some(why) = &row.waiting {
            let who = match row.instances {
                1 => row.title.clone(),
                _ => format!("an instance of {}", row.title),
            };
            text.push_str(&format!("\n{who} waits: {why}"));
        }
        if let Some(better) = &row.upgrade {
            text.push_str(&format!("\n{} can be upgraded to {better}", row.title));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_how_things_are_and_why() {
        let row = |title: &str, actual: &str, node: Option<&str>| ServiceSummary {
            title: title.to_owned(),
            reference: "HOSTSUBS-1".to_owned(),
            release: "https://example.com/software.cfg".to_owned(),
            state: "started".to_owned(),
            actual: actual.to_owned(),
            instances: 1,
            nodes: node.map(str::to_owned).into_iter().collect(),
            waiting: None,
            upgrade: None,
        };
        let mut waiting = row("wiki", "waiting", None);
        waiting.waiting = Some("no node has a free partition".to_owned());
        let mut old = row("blog", "started", Some("COMP-1"));
        old.upgrade = Some("https://example.com/2/software.cfg".to_owned());
        insta::assert_snapshot!(with_states(&[old, waiting]), @r"
         TITLE  STATE    NODE    SOFTWARE RELEASE
         blog   started  COMP-1  https://example.com/software.cfg
         wiki   waiting          https://example.com/software.cfg
        blog can be upgraded to https://example.com/2/software.cfg
        wiki waits: no node has a free partition
        ");
    }
}
