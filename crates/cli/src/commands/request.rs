//! `slapos request`: ask, and wait if told so (C 1.5).

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use slap::document::{InstanceDocument, TextDict};
use slap::serialisation::unwrap;
use slap::{InstanceState, Value};
use slap_client::{Client, Error, Hateoas, InstanceTreeInfo, RequestReply};

use crate::CommandResult;
use crate::args::OutputFormat;
use crate::args::client::Request;
use crate::commands::supply::release;
use crate::failure::{Code, Failure};
use crate::output;
use crate::parameters;
use crate::progress::Spinner;
use crate::settings::Context;

/// Between two questions to the Master while waiting.
const POLL: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: Request) -> CommandResult {
    let context = Context::load(&arguments.config)?;
    let request = build(&context, &arguments)?;
    tracing::info!(
        "Requesting {} as an instance of {} ...",
        request.title,
        request.release
    );
    let reply = send(&context.client, &request)?;
    let destroying = request.state == Some(InstanceState::Destroyed);
    let outcome = if arguments.wait {
        wait(&context, &request, reply, arguments.timeout)?
    } else {
        match reply {
            RequestReply::Allocated(document) => Some(*document),
            RequestReply::NotReady if destroying => None,
            RequestReply::NotReady => {
                return Err(Failure::new(
                    "Instance requested. Master is provisioning it; it is not ready yet.",
                )
                .hint("run the same command again later, or add --wait")
                .code(Code::Usage));
            }
        }
    };
    show(&request, outcome.as_ref(), arguments.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Completes what was typed with what the instance has: an argument left out changes nothing.
fn build(context: &Context, arguments: &Request) -> Result<slap_client::Request, Failure> {
    let release = release(&context.client, &arguments.release)?;
    let complete = arguments.software_type.is_some()
        && arguments.state.is_some()
        && (arguments.parameters.is_some() || arguments.parameters_file.is_some());
    let known = if complete {
        None
    } else {
        known(context, arguments)?
    };
    let software_type = match (&arguments.software_type, &known) {
        (Some(given), _) => given.clone(),
        (None, Some(known)) => known
            .software_type
            .parse()
            .map_err(|error: slap::reference::ReferenceError| Failure::of(&error))?,
        (None, None) => slap::SoftwareType::default(),
    };
    let parameters = match (&arguments.parameters, &arguments.parameters_file, &known) {
        (Some(words), _, _) => parameters::words_for_release(
            parameters::from_words(words)?,
            release.as_str(),
            &software_type,
        )?,
        (None, Some(file), _) => parameters::from_file(
            file,
            arguments.force_serialisation,
            release.as_str(),
            &software_type,
        )?,
        (None, None, Some(known)) => text_values(&known.parameters),
        (None, None, None) => BTreeMap::new(),
    };
    let state = arguments.state.or_else(|| {
        let state = known.as_ref()?.state.as_str();
        // ERP5 tells `start_requested`, a proxy `started`.
        match state {
            "start_requested" => Some(InstanceState::Started),
            "stop_requested" => Some(InstanceState::Stopped),
            other => other.parse().ok(),
        }
    });
    Ok(slap_client::Request {
        requester: None,
        release,
        software_type,
        title: arguments.title.clone(),
        parameters,
        sla: parameters::from_words(arguments.node.as_deref().unwrap_or_default())?,
        state,
        shared: arguments.shared,
    })
}

/// What the Master holds of this title. A Master without documents to read from holds nothing we
/// could keep, as upstream's client always assumes.
fn known(context: &Context, arguments: &Request) -> Result<Option<InstanceTreeInfo>, Failure> {
    let found = Hateoas::open(&context.client, context.rest_url.as_deref())
        .and_then(|hateoas| hateoas.instance_tree(&arguments.title));
    match found {
        Ok(tree) => Ok(Some(tree)),
        Err(Error::NotFound { .. } | Error::NoHateoas { .. } | Error::NotReady { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn text_values(dict: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    dict.iter()
        .map(|(key, value)| (key.clone(), Value::text(value)))
        .collect()
}

fn send(client: &Client, request: &slap_client::Request) -> Result<RequestReply, Failure> {
    client.request(request).map_err(|error| {
        let unplaced = error.is_not_found();
        let failure = Failure::from(error);
        if unplaced {
            failure.hint("free a partition, or choose another node with --node computer_guid=NODE")
        } else {
            failure
        }
    })
}

/// Asks again and again until the instance shows what is waited for: its connection parameters, or
/// when it shall be destroyed that it is gone.
fn wait(
    context: &Context,
    request: &slap_client::Request,
    mut reply: RequestReply,
    timeout: Duration,
) -> Result<Option<InstanceDocument>, Failure> {
    let deadline = Instant::now() + timeout;
    let goal = request.state.unwrap_or(InstanceState::Started);
    let spinner = Spinner::start(&format!("{}: requested", request.title));
    loop {
        match goal {
            InstanceState::Destroyed => {
                let hateoas = Hateoas::open(&context.client, context.rest_url.as_deref())?;
                match hateoas.instance_tree(&request.title) {
                    Err(Error::NotFound { .. }) => return Ok(None),
                    Ok(_) => spinner.say(&format!("{}: being destroyed", request.title)),
                    Err(error) => return Err(error.into()),
                }
            }
            InstanceState::Stopped => {
                if let RequestReply::Allocated(document) = reply {
                    return Ok(Some(*document));
                }
                spinner.say(&format!("{}: waiting for a partition", request.title));
            }
            InstanceState::Started => match reply {
                RequestReply::Allocated(document) if !document.connection.is_empty() => {
                    return Ok(Some(*document));
                }
                RequestReply::Allocated(document) => spinner.say(&format!(
                    "{}: on {} of {}, waiting for its connection parameters",
                    request.title, document.partition, document.node
                )),
                RequestReply::NotReady => {
                    spinner.say(&format!("{}: waiting for a partition", request.title));
                }
            },
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(format!(
                "{} is not ready after {} s",
                request.title,
                timeout.as_secs()
            ))
            .hint("it goes on all the same: run the command again, or look at the node's log")
            .code(Code::Usage));
        }
        std::thread::sleep(POLL);
        reply = match context.client.request(request) {
            Ok(reply) => reply,
            // A Master that is restarted meanwhile is no reason to give up.
            Err(error) if error.is_master_unreachable() => RequestReply::NotReady,
            Err(error) => return Err(error.into()),
        };
    }
}

fn show(
    request: &slap_client::Request,
    document: Option<&InstanceDocument>,
    format: Option<OutputFormat>,
) -> Result<(), Failure> {
    let goal = request.state.unwrap_or(InstanceState::Started);
    let state = document
        .and_then(|document| document.state.clone())
        .unwrap_or_else(|| goal.to_string());
    let connection = document.map(|document| connection(&document.connection));
    if format == Some(OutputFormat::Json) {
        return output::print_json(&json!({
            "title": request.title.as_str(),
            "software-url": request.release.as_str(),
            "software-type": request.software_type.as_str(),
            "requested-state": state,
            "node": document.map(|document| document.node.as_str()),
            "partition": document.map(|document| document.partition.as_str()),
            "connection-parameters": connection.unwrap_or_else(|| json!({})),
        }));
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
