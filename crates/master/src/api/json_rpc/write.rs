//! Calls that change something.

use slap::usage::Usage;
use slap::{InstallationState, InstanceTitle, ReleaseUrl};
use slap_server::description::NodeDescription;
use slap_server::json_rpc::{ErrorType, Input, JsonError, answer};
use slap_server::{Problem, RequestForm, headers, parameters, promises};

use super::super::slap::subject_at;
use super::super::{App, Call, description};
use super::{Answer, document, error, node, refused, subject};
use crate::domain::{Caller, CertificateOwner, Refusal};
use crate::store::{InstallationReport, Reported, Requested, StoreError, Subject, Wanted};

fn unusable(problem: impl Into<Problem>) -> JsonError {
    error(problem.into())
}

fn release(input: &Input) -> Result<ReleaseUrl, JsonError> {
    ReleaseUrl::new(input.text("software_release_uri")).map_err(unusable)
}

fn message(input: &Input) -> String {
    input.text("message").to_owned()
}

pub(super) async fn node_certificate(app: &App, call: &Call, input: &Input) -> Answer {
    let certified = app
        .auth
        .certifier()
        .for_node(call.caller, node(input)?)
        .await
        .map_err(|error| refused(error, ErrorType::NodeNotFound))?;
    Ok(super::read::certificate(&certified))
}

pub(super) async fn remove_node_certificate(app: &App, call: &Call, input: &Input) -> Answer {
    app.store
        .revoke_certificates(call.caller, CertificateOwner::Node(node(input)?))
        .await
        .map_err(|error| refused(error, ErrorType::NodeNotFound))?;
    Ok(answer::success("Certificate removed"))
}

pub(super) async fn node_usage(app: &App, call: &Call, input: &Input) -> Answer {
    let node = node(input)?;
    let text = input.text("tioxml");
    let usage = Usage::parse(text)
        .map_err(|mistake| JsonError::new(ErrorType::InvalidTioxml, mistake.to_string()))?;
    let first = usage.references.first().map_or("", String::as_str);
    let reference = format!("TIOCONS-{node}-{first}");
    app.store
        .usage(call.caller, node, reference, text.to_owned())
        .await
        .map_err(|error| refused(error, ErrorType::NodeNotFound))?;
    Ok(answer::success("Usage reported"))
}

pub(super) async fn node_bang(app: &App, call: &Call, input: &Input) -> Answer {
    app.store
        .bang_node(call.caller, node(input)?, message(input))
        .await
        .map_err(|error| refused(error, ErrorType::NodeNotFound))?;
    Ok(answer::success("Bang handled"))
}

pub(super) async fn format(app: &App, call: &Call, input: &Input) -> Answer {
    let node = node(input)?;
    let told = NodeDescription::from_json(input).map_err(unusable)?;
    app.store
        .format(call.caller, node, description::kept(told))
        .await
        .map_err(|error| refused(error, ErrorType::NodeNotFound))?;
    Ok(answer::success("Format handled"))
}

pub(super) async fn supply(app: &App, call: &Call, input: &Input) -> Answer {
    let named = app
        .store
        .node_called(call.caller, input.text("computer_guid"));
    let node = named
        .await
        .map_err(|failure| refused(failure, ErrorType::NodeNotFound))?;
    let state: InstallationState = input
        .optional("state")
        .unwrap_or("available")
        .parse()
        .map_err(Problem::bad_request)
        .map_err(error)?;
    app.store
        .supply(call.caller, node, release(input)?, state)
        .await
        .map_err(|failure| match failure {
            // Who sees the node and may not supply on it.
            StoreError::Refused(Refusal::Forbidden(text)) => {
                JsonError::new(ErrorType::SupplyFailed, text)
            }
            other => refused(other, ErrorType::NodeNotFound),
        })?;
    Ok(answer::success("State changed"))
}

pub(super) async fn installation_error(app: &App, call: &Call, input: &Input) -> Answer {
    let report = InstallationReport::Error(message(input));
    installation(app, call, input, report).await?;
    Ok(answer::success("Error reported"))
}

pub(super) async fn installation_report(app: &App, call: &Call, input: &Input) -> Answer {
    let report = match input.text("reported_state") {
        "available" => InstallationReport::Available,
        "building" => InstallationReport::Building,
        "destroyed" => InstallationReport::Destroyed,
        other => {
            return Err(JsonError::new(
                ErrorType::InstallationWrongReportedState,
                format!("{other} is no state of an installation"),
            ));
        }
    };
    installation(app, call, input, report).await?;
    Ok(answer::success("State reported"))
}

async fn installation(
    app: &App,
    call: &Call,
    input: &Input,
    report: InstallationReport,
) -> Result<(), JsonError> {
    let (node, release) = (node(input)?, release(input)?);
    let reported = app
        .store
        .report_installation(call.caller, node, release.clone(), report)
        .await;
    let Err(StoreError::Refused(Refusal::NotFound(text))) = reported else {
        return reported.map_err(|failure| error(failure.into()));
    };
    // The node, the release on it, or the order to remove it: which one is it that there is not?
    let kind = match app.store.installation(call.caller, node, release).await {
        Ok(_) => ErrorType::InstallationDestroyNotRequested,
        Err(_) => match app.store.node(call.caller, node).await {
            Ok(_) => ErrorType::InstallationNotFound,
            Err(_) => ErrorType::NodeNotFound,
        },
    };
    Err(JsonError::new(kind, text))
}

/// Asks for an instance. Who calls is who asks; the header of a partition only says for which of
/// its instances a node speaks.
pub(super) async fn request(app: &App, call: &Call, input: &Input) -> Answer {
    let header = match call.caller {
        Caller::Node(_) => headers::partition(&call.headers).map_err(error)?,
        _ => None,
    };
    let form = RequestForm::from_json(input, header).map_err(error)?;
    if let Some(entries) = &form.parameters {
        parameters::check(entries)
            .map_err(Problem::bad_request)
            .map_err(error)?;
    }
    let requester: Option<Subject> = form
        .requester
        .as_ref()
        .map(subject_at)
        .transpose()
        .map_err(error)?;
    let wanted = Wanted {
        requester,
        project: None,
        title: form.title,
        release: form.release,
        software_type: form.software_type,
        parameters: form.parameters.map(parameters::flattened),
        sla: form.sla,
        state: form.state,
        shared: form.shared,
    };
    let absent = |error| refused(error, ErrorType::InstanceNotFound);
    let requested = match app.store.request(call.caller, wanted).await {
        Err(StoreError::Refused(Refusal::NotReady(_))) => return Ok(answer::not_ready()),
        other => other.map_err(absent)?,
    };
    let waiting = match requested {
        Requested::Placed(record) => return Ok(document(*record)),
        Requested::Waiting { instance, .. } => instance,
    };
    match (call.caller, waiting) {
        // To an instance, one that waits is a document without a place (P 3.3).
        (Caller::Instance { .. } | Caller::Node(_), Some(key)) => {
            let record = app
                .store
                .instance(call.caller, Subject::Instance(key))
                .await;
            Ok(record.map_or_else(|_| answer::not_ready(), document))
        }
        _ => Ok(answer::not_ready()),
    }
}

pub(super) async fn instance_bang(app: &App, call: &Call, input: &Input) -> Answer {
    app.store
        .bang(call.caller, subject(input)?, message(input))
        .await
        .map_err(|error| refused(error, ErrorType::InstanceNotFound))?;
    Ok(answer::success("Bang handled"))
}

pub(super) async fn publish(app: &App, call: &Call, input: &Input) -> Answer {
    let entries = input
        .entries("connection_parameter_dict")
        .unwrap_or_default();
    parameters::check(&entries)
        .map_err(Problem::bad_request)
        .map_err(error)?;
    let changed = app
        .store
        .publish(
            call.caller,
            subject(input)?,
            None,
            parameters::flattened(entries),
        )
        .await
        .map_err(|error| refused(error, ErrorType::InstanceNotFound))?;
    Ok(answer::success(if changed {
        "connection parameter updated"
    } else {
        "connection parameter not modified as identical"
    }))
}

pub(super) async fn instance_error(app: &App, call: &Call, input: &Input) -> Answer {
    app.store
        .instance_error(call.caller, subject(input)?, None, message(input))
        .await
        .map_err(|error| refused(error, ErrorType::InstanceNotFound))?;
    Ok(answer::success("Error reported"))
}

pub(super) async fn promises(app: &App, call: &Call, input: &Input) -> Answer {
    let subject = Subject::At {
        node: node(input)?,
        partition: input.text("compute_partition_id").to_owned(),
    };
    let now = app.store.clock().now().0;
    app.store
        .report_promises(call.caller, subject, promises::read(input, now))
        .await
        .map_err(|error| refused(error, ErrorType::InstanceNotFound))?;
    Ok(answer::success("Promises noted"))
}

pub(super) async fn instance_report(app: &App, call: &Call, input: &Input) -> Answer {
    let wrong = |text: String| JsonError::new(ErrorType::InstanceWrongReportedState, text);
    let reported = match input.text("reported_state") {
        "started" => Reported::Started,
        "stopped" => Reported::Stopped,
        "destroyed" => Reported::Destroyed,
        other => return Err(wrong(format!("{other} is no state of an instance"))),
    };
    app.store
        .report_instance(call.caller, subject(input)?, reported)
        .await
        .map_err(|failure| match failure {
            // Its destruction was not asked for.
            StoreError::Refused(Refusal::Conflict(text)) => wrong(text),
            other => refused(other, ErrorType::InstanceNotFound),
        })?;
    Ok(answer::success("State reported"))
}

pub(super) async fn rename(app: &App, call: &Call, input: &Input) -> Answer {
    let title = InstanceTitle::new(input.text("title")).map_err(unusable)?;
    app.store
        .rename(call.caller, subject(input)?, None, title)
        .await
        .map_err(|error| refused(error, ErrorType::InstanceNotFound))?;
    Ok(answer::success("Title updated"))
}
