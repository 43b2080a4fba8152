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

/// Asks again and again until the instance is what it shall be.
///
/// Where the Master tells what the node reported, that decides; elsewhere a started instance is
/// ready once it has published something.
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
        let said = match (goal, &reply) {
            (InstanceState::Destroyed, _) => {
                let hateoas = Hateoas::open(&context.client, context.rest_url.as_deref())?;
                match hateoas.instance_tree(&request.title) {
                    Err(Error::NotFound { .. }) => return Ok(None),
                    Ok(_) => "being destroyed".to_owned(),
                    Err(error) => return Err(error.into()),
                }
            }
            (_, RequestReply::NotReady { why }) if why.is_empty() => {
                "waiting for a partition".to_owned()
            }
            (_, RequestReply::NotReady { why }) => why.clone(),
            (_, RequestReply::Allocated(document)) => {
                match look(&context.client, document, goal)? {
                    Seen::Ready => break,
                    Seen::NotYet(said) => said,
                }
            }
        };
        spinner.say(&format!("{}: {said}", request.title));
        if Instant::now() >= deadline {
            return Err(Failure::new(format!(
                "{} is not ready after {} s: {said}",
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
            Err(error) if error.is_master_unreachable() => RequestReply::NotReady {
                why: "the Master is away".to_owned(),
            },
            Err(error) => return Err(error.into()),
        };
    }
    match reply {
        RequestReply::Allocated(document) => Ok(Some(*document)),
        RequestReply::NotReady { .. } => Ok(None),
    }
}

/// How far an instance is.
enum Seen {
    Ready,
    /// Not there yet, and why in words.
    NotYet(String),
}

fn look(
    client: &Client,
    document: &InstanceDocument,
    goal: InstanceState,
) -> Result<Seen, Failure> {
    let place = format!("on {} of {}", document.partition, document.node);
    let published = goal == InstanceState::Stopped || !document.connection.is_empty();
    let status = match (
        slap::NodeId::new(document.node.clone()),
        slap::PartitionId::new(document.partition.clone()),
    ) {
        // A shared instance has no reports of its own.
        (Ok(node), Ok(partition)) if document.guid.is_some() => {
            client.partition_status(&node, &partition)
        }
        _ => return Ok(published_or(published, &place)),
    };
    match status {
        Ok(status) if status.no_data || status.current == Some(false) => Ok(Seen::NotYet(format!(
            "{place}, waiting for the node to process it"
        ))),
        Ok(status) if status.text.starts_with("#error") => Ok(Seen::NotYet(format!(
            "{place}, failed and tried again: {}",
            status.text.trim_start_matches("#error").trim()
        ))),
        Ok(status) if status.state == goal.as_str() => Ok(Seen::Ready),
        Ok(_) => Ok(Seen::NotYet(format!("{place}, not yet {goal}"))),
        Err(error) if error.is_master_unreachable() => Ok(Seen::NotYet(error.to_string())),
        // Upstream's proxy tells nothing, which is no status.
        Err(Error::Reply { .. } | Error::NotFound { .. } | Error::Refused { .. }) => {
            Ok(published_or(published, &place))
        }
        Err(error) => Err(error.into()),
    }
}

fn published_or(published: bool, place: &str) -> Seen {
    if published {
        Seen::Ready
    } else {
        Seen::NotYet(format!("{place}, waiting for its connection parameters"))
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
    if let Some(format) = format.filter(|format| *format != OutputFormat::Table) {
        let value = json!({
            "title": request.title.as_str(),
            "software-url": request.release.as_str(),
            "software-type": request.software_type.as_str(),
            "requested-state": state,
            "node": document.map(|document| document.node.as_str()),
            "partition": document.map(|document| document.partition.as_str()),
            "connection-parameters": connection.unwrap_or_else(|| json!({})),
        });
        let name = [request.title.as_str()];
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
