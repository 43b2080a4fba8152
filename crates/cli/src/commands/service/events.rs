//! `slapos service events|logs`: what happened, and what went wrong.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value as Json, json};
use slap_client::{Cloud, EventRange, ServiceEvent, Watch};

use super::whole::moment;
use crate::CommandResult;
use crate::args::OutputFormat;
use crate::args::service::ServiceEvents;
use crate::failure::Failure;
use crate::{output, settings};

/// What is not told is looked for as often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &ServiceEvents, errors_only: bool) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let title = arguments.title.as_str();
    let limit = i64::from(arguments.limit);
    let first = EventRange {
        // Errors are few among what happens.
        limit: Some(if errors_only { 1_000 } else { limit }),
        ..EventRange::default()
    };
    let Some(mut events) = cloud.service_events(title, first)? else {
        return without_history(&cloud, arguments, errors_only);
    };
    let mut last = events.first().map_or(0, |event| event.id);
    if errors_only {
        events.retain(|event| log(event).is_some());
    }
    events.truncate(usize::from(arguments.limit));
    if !arguments.follow && events.is_empty() {
        output::complain(if errors_only {
            "No node has reported an error."
        } else {
            "Nothing has happened yet."
        });
    }
    let mut begun = false;
    let mut show = |events: Vec<ServiceEvent>| -> Result<(), Failure> {
        if arguments.output == Some(OutputFormat::Csv) && !events.is_empty() {
            let list = Json::Array(events.iter().rev().map(as_json).collect());
            let with_names = !std::mem::replace(&mut begun, true);
            return output::print(&output::csv(&list, with_names));
        }
        // The latest stands below.
        for event in events.iter().rev() {
            if !errors_only {
                print(event, arguments.output, line(event))?;
            } else if let Some(log) = log(event) {
                print(event, arguments.output, with_head(event, &log))?;
            }
        }
        Ok(())
    };
    show(events)?;
    if !arguments.follow {
        return Ok(ExitCode::SUCCESS);
    }
    // By its reference: it may be renamed meanwhile.
    let reference = cloud
        .whole_service(title)?
        .map_or_else(String::new, |service| service.reference);
    let mut changes = cloud.changes(Watch::Tree(reference.clone()), LOOK_AGAIN);
    loop {
        changes.wait(LOOK_AGAIN * 5);
        let range = EventRange {
            after: Some(last),
            limit: Some(1_000),
            ..EventRange::default()
        };
        match cloud.client().tree_events(&reference, range) {
            Ok(told) => {
                let new = told.unwrap_or_default();
                last = new.first().map_or(last, |event| event.id);
                show(new)?;
            }
            Err(error) if error.is_master_unreachable() => tracing::warn!("{error}"),
            // It is gone, and nothing more will happen to it.
            Err(slap_client::Error::Refused { status: 403, .. }) => {
                output::complain(&format!("{title} is gone."));
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A Master that keeps no history may still tell what is wrong now.
fn without_history(cloud: &Cloud, arguments: &ServiceEvents, errors_only: bool) -> CommandResult {
    let title = arguments.title.as_str();
    let whole = cloud.whole_service(title)?;
    if whole.is_none() {
        cloud.service(&arguments.title)?;
    }
    let (Some(service), true) = (whole, errors_only) else {
        return Err(
            Failure::new("This Master does not tell what happened: it keeps no history.").hint(
                format!("see how it is now with `slapos service info {title}`"),
            ),
        );
    };
    if arguments.follow {
        return Err(
            Failure::new("This Master keeps no history that could be followed.")
                .hint("the log of the node tells more: `slapos node instance --all` there"),
        );
    }
    let mut found = false;
    for instance in &service.instances {
        if !instance.report.text.starts_with("#error") {
            continue;
        }
        found = true;
        let place = instance.node.clone().unwrap_or_default();
        let at = instance.report.at.map(moment).unwrap_or_default();
        let text = instance.report.text.trim_start_matches("#error").trim();
        output::print(&format!("{at}  {} on {place}\n{text}", instance.title))?;
    }
    if !found {
        output::complain("No node reports an error.");
    }
    Ok(ExitCode::SUCCESS)
}

fn print(event: &ServiceEvent, asked: Option<OutputFormat>, text: String) -> Result<(), Failure> {
    match asked {
        None | Some(OutputFormat::Table) => output::print(&text),
        Some(OutputFormat::Json) => output::print(&as_json(event).to_string()),
        Some(OutputFormat::Yaml) => {
            output::print(output::yaml(&Json::Array(vec![as_json(event)])).trim_end())
        }
        // Whoever prints several prints them together.
        Some(OutputFormat::Csv) => {
            let list = Json::Array(vec![as_json(event)]);
            output::print(&output::csv(&list, true))
        }
        Some(OutputFormat::Name) => output::print(&event.action),
    }
}

fn as_json(event: &ServiceEvent) -> Json {
    json!({
        "id": event.id,
        "at": event.at,
        "actor": event.actor,
        "action": event.action,
        "reference": event.subject,
        "title": event.title,
        "detail": event.detail,
    })
}

/// The log of an error that was reported.
fn log(event: &ServiceEvent) -> Option<String> {
    let text = |name: &str| event.detail[name].as_str().map(str::to_owned);
    text("log").or_else(|| text("status").filter(|status| status.starts_with("#error")))
}

fn with_head(event: &ServiceEvent, log: &str) -> String {
    let title = event.title.as_deref().unwrap_or(&event.subject);
    format!(
        "{}  {title} on {}\n{}",
        moment(event.at),
        event.actor,
        log.trim_end()
    )
}

fn line(event: &ServiceEvent) -> String {
    let title = event.title.as_deref().unwrap_or(&event.subject);
    format!(
        "{}  {title}  {}  ({})",
        moment(event.at),
        slap::event::said(&event.action, &event.detail),
        event.actor
    )
}
