//! `slapos computer token` (C 1.4).

use std::process::ExitCode;

use serde_json::json;

use crate::args::OutputFormat;
use crate::args::client::ComputerToken;
use crate::failure::Failure;
use crate::{CommandResult, output, settings};

pub(crate) fn run(arguments: &ComputerToken) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let token = cloud.documents()?.node_token().map_err(|error| {
        if error.is_not_found() {
            Failure::new(format!(
                "the Master at {} gives no tokens",
                cloud.client().master_url()
            ))
            .because(&error)
            .hint("a `slapos proxy` needs none: name its URL in the node's configuration")
        } else {
            error.into()
        }
    })?;
    // Upstream's line, whoever reads.
    let asked = arguments.output.unwrap_or(OutputFormat::Table);
    output::answer(Some(asked), &json!({"token": token}), [&token], || {
        format!("Computer token: {token}")
    })?;
    tracing::info!(
        "it works once, on the machine that is to be a node: slapos node register NAME --master-url \
         {} --token TOKEN",
        cloud.client().master_url()
    );
    Ok(ExitCode::SUCCESS)
}
