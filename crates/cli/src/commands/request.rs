//! `slapos request`: ask, and wait if told so (C 1.5).

use std::process::ExitCode;

use serde_json::{Value as Json, json};
use slap::InstanceState;
use slap::document::{InstanceDocument, TextDict};
use slap::serialisation::unwrap;
use slap_client::{Cloud, Error, Order, RequestReply, WaitError};

use crate::CommandResult;
use crate::args::OutputFormat;
use crate::args::client::Request;
use crate::commands::supply::release;
use crate::failure::{Code, Failure};
use crate::progress::Spinner;
use crate::{output, parameters, settings};

pub(crate) fn run(arguments: Request) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let order = build(&cloud, &arguments)?;
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
        match cloud.request(&order).map_err(refused)? {
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

/// What was typed, as an order: an argument left out changes nothing.
fn build(cloud: &Cloud, arguments: &Request) -> Result<Order, Failure> {
    let release = release(cloud, &arguments.release)?;
    let given = arguments.parameters.is_some() || arguments.parameters_file.is_some();
    let software_type = match &arguments.software_type {
        // How parameters are written down depends on the type the instance has.
        None if given => match cloud.known(&arguments.title)? {
            Some(known) => known.software_type.parse().ok(),
            None => None,
        },
        given => given.clone(),
    };
    let kind = software_type.clone().unwrap_or_default();
    let parameters = match (&arguments.parameters, &arguments.parameters_file) {
        (Some(words), _) => Some(parameters::words_for_release(
            parameters::from_words(words)?,
            release.as_str(),
            &kind,
        )?),
        (None, Some(file)) => Some(parameters::from_file(
            file,
            arguments.force_serialisation,
            release.as_str(),
            &kind,
        )?),
        (None, None) => None,
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
