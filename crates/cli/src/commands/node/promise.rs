//! `slapos node promise`: what fails on this machine, as a table.

use std::process::ExitCode;

use node::promise::Report;
use serde_json::{Value as Json, json};

use crate::args::OutputFormat;
use crate::{CommandResult, output};

/// Characters of a message that are shown in the table.
const MESSAGE_CHARS: usize = 200;

pub(super) fn tell(report: &Report, asked: OutputFormat) -> CommandResult {
    if asked != OutputFormat::Table || !report.failing.is_empty() {
        let list = report.failing.iter().map(|failing| {
            json!({
                "partition": failing.partition.as_str(),
                "promise": failing.promise,
                "message": failing.message,
            })
        });
        let names = report
            .failing
            .iter()
            .map(|failing| format!("{}/{}", failing.partition, failing.promise));
        output::answer(Some(asked), &Json::Array(list.collect()), names, || {
            let rows = report.failing.iter().map(|failing| {
                [
                    failing.partition.to_string(),
                    output::one_line(&failing.promise, MESSAGE_CHARS),
                    output::one_line(&failing.message, MESSAGE_CHARS),
                ]
            });
            output::table(&["PARTITION", "PROMISE", "MESSAGE"], rows)
        })?;
    }
    Ok(ExitCode::from(report.outcome.exit_code()))
}
