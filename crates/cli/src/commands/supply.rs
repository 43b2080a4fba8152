//! `slapos supply` and `slapos remove`, and how a release is named (C 1.6).

use std::process::ExitCode;

use slap::{InstallationState, ProductReference, ReleaseUrl};
use slap_client::Client;

use crate::CommandResult;
use crate::args::client::Supply;
use crate::failure::{Code, Failure};
use crate::settings::{Context, expand_home};

pub(crate) fn run(arguments: &Supply, state: InstallationState) -> CommandResult {
    let context = Context::load(&arguments.config)?;
    let release = release(&context.client, &arguments.release)?;
    match state {
        InstallationState::Available => {
            tracing::info!("Requesting software installation of {release}...");
        }
        InstallationState::Destroyed => {
            tracing::info!("Requesting deletion of {release} Software Release...");
        }
    }
    context
        .client
        .supply(&release, &arguments.node, state)
        .map_err(|error| {
            let unknown = error.is_not_found();
            let failure = Failure::from(error);
            if unknown {
                failure.hint("see the nodes there are with `slapos computer list`")
            } else {
                failure
            }
        })?;
    tracing::info!("Done.");
    Ok(ExitCode::SUCCESS)
}

/// The release a person names: `product.NAME` is asked of the Master, a path that exists is made
/// absolute, a URL is taken as it is.
///
/// # Errors
/// When the Master knows no such product, or the text is neither URL nor existing path.
pub(crate) fn release(client: &Client, text: &str) -> Result<ReleaseUrl, Failure> {
    let usage = |message: String| Failure::new(message).code(Code::Usage);
    if let Some(name) = text.strip_prefix("product.") {
        let product = ProductReference::new(name).map_err(|error| usage(error.to_string()))?;
        tracing::info!("Getting best Software Release corresponding to this Software Product...");
        let releases = client.product_releases(&product)?;
        let best = releases.into_iter().next().ok_or_else(|| {
            Failure::new(format!(
                "No Software Release corresponding to the Software Product `{name}` has been found"
            ))
            .hint("give the URL of the release instead")
        })?;
        tracing::info!("Found as {best}.");
        return Ok(best);
    }
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        let path = expand_home(text.as_ref());
        let absolute = std::path::absolute(&path)
            .map_err(|error| usage(format!("`{text}` is not a path: {error}")))?;
        if !absolute.exists() {
            return Err(
                usage(format!("`{text}` is neither a URL nor an existing path"))
                    .hint("a product of the Master is named product.NAME"),
            );
        }
        absolute.to_string_lossy().into_owned()
    };
    ReleaseUrl::new(url).map_err(|error| usage(error.to_string()))
}
