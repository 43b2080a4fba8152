//! `slapos request`: ask, and wait if told so (C 1.5).

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use serde_json::{Value as Json, json};
use slap::document::{InstanceDocument, TextDict};
use slap::serialisation::unwrap;
use slap::{InstanceState, ReleaseUrl, Value};
use slap_client::{Cloud, Error, InstanceTreeInfo, Order, RequestReply, WaitError};

use crate::CommandResult;
use crate::args::OutputFormat;
use crate::args::client::Request;
use crate::commands::supply::release;
use crate::failure::{Code, Failure};
use crate::parameters::{Given, Purpose};
use crate::progress::Spinner;
use crate::{output, parameters, settings};

pub(crate) fn run(arguments: Request) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let release = release(&cloud, &arguments.release)?;
    let held = held(&cloud, &arguments)?;
    let order = build(&arguments, release, held.as_ref())?;
    if arguments.dry_run {
        let lines = differences(&order, held.as_ref());
        return match lines.as_slice() {
            [] => output::print("Nothing would change."),
            lines => output::print(&lines.join("\n")),
        }
        .map(|()| ExitCode::SUCCESS);
    }
    if let Some(held) = held.as_ref().filter(|held| moves(held, &order)) {
        if !arguments.upgrade {
            return Err(Failure::new(format!(
                "{} is an instance of {}, not of {}; nothing was changed",
                order.title, held.release, order.release
            ))
            .hint("add --upgrade to have it become one, or request it under another name"));
        }
        tracing::info!("{} was an instance of {} so far", order.title, held.release);
    }
    tracing::info!(
        "Requesting {} as an instance of {} ...",
        order.title,
        order.release
    );
    let outcome = if arguments.wait {
        let spinner = Spinner::start(&format!("{}: requested", order.title));
        let say = |said: &str| spinner.say(&format!("{}: {said}", order.title));
        cloud
            .wait(&order, arguments.timeout, &mut { say })
            .map_err(|error| match error {
                WaitError::Client(error) => refused(error),
                WaitError::Timeout { .. } => Failure::of(&error)
                    .hint(
                        "it goes on all the same: run the command again, or look at the node's log",
                    )
                    .code(Code::Usage),
            })?
    } else {
        let destroying = order.state == Some(InstanceState::Destroyed);
        let reply = match &held {
            Some(held) => cloud.request_over(&order, held),
            None => cloud.request(&order),
        };
        match reply.map_err(refused)? {
            RequestReply::Allocated(document) => Some(*document),
            RequestReply::NotReady { .. } if destroying => None,
            RequestReply::NotReady { why } => {
                let said = "Instance requested. Master is provisioning it; it is not ready yet";
                let said = if why.is_empty() {
                    format!("{said}.")
                } else {
                    format!("{said}: {why}")
                };
                return Err(Failure::new(said)
                    .hint("run the same command again later, or add --wait")
                    .code(Code::Usage));
            }
        }
    };
    show(&order, outcome.as_ref(), arguments.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the order gives an instance that is to stay another release than it has.
fn moves(held: &InstanceTreeInfo, order: &Order) -> bool {
    held.release != order.release.as_str() && order.state != Some(InstanceState::Destroyed)
}

/// What was typed, as an order: an argument left out changes nothing.
fn build(
    arguments: &Request,
    release: ReleaseUrl,
    held: Option<&InstanceTreeInfo>,
) -> Result<Order, Failure> {
    let software_type = match &arguments.software_type {
        None => held.and_then(|held| held.software_type.parse().ok()),
        given => given.clone(),
    };
    let parts = (arguments.set.as_deref(), arguments.unset.as_deref());
    let given = match (&arguments.parameters, &arguments.parameters_file, parts) {
        (Some(words), _, _) => Some(Given::Texts(parameters::texts(words)?)),
        (None, Some(file), _) => Some(parameters::from_file(file)?),
        (None, None, (None, None)) => None,
        (None, None, (set, unset)) => {
            let none = BTreeMap::new();
            let parameters = held.map_or(&none, |held| &held.parameters);
            Some(parameters::changed(
                parameters,
                set.unwrap_or_default(),
                unset.unwrap_or_default(),
            )?)
        }
    };
    let parameters = match given {
        None => None,
        Some(given) => {
            tracing::info!(
                "Validating request parameters for {} as an instance of {release} ...",
                arguments.title
            );
            let purpose = Purpose {
                release: &release,
                software_type: &software_type.clone().unwrap_or_default(),
                shared: arguments.shared || held.is_some_and(|held| held.shared),
                serialisation: arguments.force_serialisation,
                force: arguments.force,
            };
            Some(parameters::ready(given, &purpose)?)
        }
    };
    Ok(Order {
        software_type,
        parameters,
        sla: arguments
            .node
            .as_deref()
            .map(parameters::from_words)
            .transpose()?,
        state: arguments.state,
        shared: arguments.shared.then_some(true),
        ..Order::new(arguments.title.clone(), release)
    })
}

/// What the Master holds of this title, where that is needed to understand what was typed.
fn held(cloud: &Cloud, arguments: &Request) -> Result<Option<InstanceTreeInfo>, Failure> {
    let given = arguments.parameters.is_some() || arguments.parameters_file.is_some();
    // How parameters are written down depends on the type the instance has.
    let type_matters = given && arguments.software_type.is_none();
    let changes = arguments.set.is_some() || arguments.unset.is_some();
    if type_matters || changes || arguments.dry_run {
        return Ok(cloud.known(&arguments.title)?);
    }
    // Only to see that it does not become an instance of something else by mistake: Masters that
    // cannot tell what they hold are no reason to fail.
    Ok(cloud.known(&arguments.title).unwrap_or_default())
}

/// What an order would change, a line each; nothing when it would change nothing.
fn differences(order: &Order, held: Option<&InstanceTreeInfo>) -> Vec<String> {
    let Some(held) = held else {
        let mut lines = vec![format!("+ instance {} of {}", order.title, order.release)];
        for (key, value) in order.parameters.iter().flatten() {
            lines.push(format!("+ parameter {key} = {}", shown(&text_of(value))));
        }
        return lines;
    };
    let mut lines = Vec::new();
    let mut line = |what: &str, old: &str, new: &str| {
        if old != new {
            lines.push(format!("~ {what}: {old} → {new}"));
        }
    };
    line("release", &held.release, order.release.as_str());
    if let Some(new) = &order.software_type {
        line("type", &held.software_type, new.as_str());
    }
    if let Some(new) = order.state {
        let old = held.requested_state().map(|state| state.to_string());
        line("state", old.as_deref().unwrap_or(&held.state), new.as_str());
    }
    if let Some(new) = &order.parameters {
        let new: BTreeMap<String, String> = new
            .iter()
            .map(|(key, value)| (key.clone(), text_of(value)))
            .collect();
        // JSON under `_` is compared by what it says.
        let (old, new) = (entries(&held.parameters), entries(&new));
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            match (old.get(key), new.get(key)) {
                (Some(old), Some(new)) if old == new => {}
                (Some(old), Some(new)) => lines.push(format!(
                    "~ parameter {key}: {} → {}",
                    shown(old),
                    shown(new)
                )),
                (None, Some(new)) => lines.push(format!("+ parameter {key} = {}", shown(new))),
                (Some(old), None) => lines.push(format!("- parameter {key} (was {})", shown(old))),
                (None, None) => {}
            }
        }
    }
    // The Master does not tell the SLA it holds.
    for (key, value) in order.sla.iter().flatten() {
        lines.push(format!("  SLA {key} = {}", text_of(value)));
    }
    lines
}

fn entries(parameters: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    match unwrap(parameters) {
        Some(Json::Object(document)) => document
            .into_iter()
            .map(|(key, value)| (key, value.to_string()))
            .collect(),
        _ => parameters.clone(),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_json().to_string(),
    }
}

/// A value on one line.
fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= CHARS_MAX {
        line
    } else {
        line.chars().take(CHARS_MAX).chain(['…']).collect()
    }
}

fn refused(error: Error) -> Failure {
    let unplaced = error.is_not_found();
    let failure = Failure::from(error);
    if unplaced {
        failure.hint("free a partition, or choose another node with --node computer_guid=NODE")
    } else {
        failure
    }
}

fn show(
    order: &Order,
    document: Option<&InstanceDocument>,
    format: Option<OutputFormat>,
) -> Result<(), Failure> {
    let goal = order.state.unwrap_or(InstanceState::Started);
    let state = document
        .and_then(|document| document.state.clone())
        .unwrap_or_else(|| goal.to_string());
    let connection = document.map(|document| connection(&document.connection));
    if let Some(format) = format.filter(|format| *format != OutputFormat::Table) {
        let software_type = order.software_type.clone().unwrap_or_default();
        let software_type = document
            .and_then(|document| document.software_type.clone())
            .unwrap_or_else(|| software_type.to_string());
        let value = json!({
            "title": order.title.as_str(),
            "software-url": order.release.as_str(),
            "software-type": software_type,
            "requested-state": state,
            "node": document.map(|document| document.node.as_str()),
            "partition": document.map(|document| document.partition.as_str()),
            "connection-parameters": connection.unwrap_or_else(|| json!({})),
        });
        let name = [order.title.as_str()];
        return output::answer(Some(format), &value, name, String::new);
    }
    output::print(&format!("State is : {state}."))?;
    let Some(Json::Object(connection)) = connection else {
        return Ok(());
    };
    if connection.is_empty() {
        return output::print("There are no connection parameters yet.");
    }
    output::print("Connection parameters of instance are:")?;
    for (key, value) in connection {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        output::print(&format!("  {key} = {text}"))?;
    }
    Ok(())
}

/// Connection parameters with the JSON under a sole `_` shown as what it says.
fn connection(dict: &TextDict) -> Json {
    match unwrap(dict) {
        Some(inner) if inner.is_object() => inner,
        _ => json!(dict),
    }
}
