//! `slapos service promises`: which checks of a whole service fail, since when, and what they say.

use std::process::ExitCode;

use serde_json::{Value as Json, json};
use slap_client::PromiseState;

use super::whole::moment;
use crate::CommandResult;
use crate::args::OutputFormat;
use crate::args::service::ServicePromises;
use crate::failure::{Code, Failure};
use crate::{output, settings};

/// Characters of a message that are shown in the table.
const MESSAGE_CHARS: usize = 200;

pub(crate) fn run(arguments: &ServicePromises) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let title = arguments.title.as_str();
    let promises = match cloud.client().service_promises(title) {
        Ok(Some(promises)) => promises,
        Ok(None) => {
            // Whether there is such a one at all, any Master tells.
            cloud.service(&arguments.title)?;
            return Err(Failure::new("This Master does not tell how promises are.")
                .hint(format!(
                    "see what the node reported with `slapos service info {title}`"
                ))
                .code(Code::Failed));
        }
        Err(error) => {
            // In the words every command has for a name there is not.
            cloud.service(&arguments.title)?;
            return Err(error.into());
        }
    };
    let shown: Vec<PromiseState> = promises
        .into_iter()
        .filter(|promise| promise.failed || !arguments.failing)
        .collect();
    let is_table = output::format(arguments.output) == Some(OutputFormat::Table);
    if shown.is_empty() && is_table {
        output::complain(if arguments.failing {
            "No promise fails."
        } else {
            "No node has told of promises yet."
        });
        return Ok(ExitCode::SUCCESS);
    }
    let document: Vec<Json> = shown.iter().map(as_json).collect();
    let names = shown.iter().map(|promise| &promise.title);
    output::answer(arguments.output, &Json::Array(document), names, || {
        table(&shown)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(promise: &PromiseState) -> Json {
    json!({
        "instance": promise.instance,
        "reference": promise.reference,
        "promise": promise.title,
        "failed": promise.failed,
        "since": promise.since,
        "message": promise.message,
        "checked-at": promise.checked_at,
        "next-check-at": promise.next_check_at,
    })
}

/// Those that fail first.
fn table(promises: &[PromiseState]) -> String {
    let mut sorted: Vec<&PromiseState> = promises.iter().collect();
    sorted.sort_by_key(|promise| !promise.failed);
    let rows = sorted.into_iter().map(|promise| {
        [
            promise.instance.clone(),
            promise.title.clone(),
            if promise.failed { "fails" } else { "well" }.to_owned(),
            moment(promise.since),
            output::one_line(&promise.message, MESSAGE_CHARS),
        ]
    });
    output::table(&["INSTANCE", "PROMISE", "STATE", "SINCE", "MESSAGE"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_stands_first() {
        let promise = |title: &str, failed: bool, message: &str| PromiseState {
            instance: "web".to_owned(),
            reference: "SOFTINST-1".to_owned(),
            title: title.to_owned(),
            failed,
            message: message.to_owned(),
            since: -1,
            checked_at: 0,
            next_check_at: None,
        };
        let text = table(&[
            promise("disk", false, "fine"),
            promise("page", true, "no\nanswer\u{1b}[2J"),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[1].contains("page") && lines[1].ends_with("no answer[2J"),
            "{text}"
        );
        assert!(lines[2].contains("well"), "{text}");
    }
}
