//! `slapos supply` and `slapos remove`, and how a release is named (C 1.6).

use std::process::ExitCode;

use slap::{InstallationState, ReleaseUrl};
use slap_client::{Cloud, WaitError};

use crate::CommandResult;
use crate::args::client::Supply;
use crate::failure::{Code, Failure};
use crate::progress::Spinner;
use crate::settings;

pub(crate) fn run(arguments: &Supply, state: InstallationState) -> CommandResult {
    let cloud = settings::cloud(&arguments.config)?;
    let release = release(&cloud, &arguments.release)?;
    match state {
        InstallationState::Available => {
            tracing::info!("Requesting software installation of {release}...");
        }
        InstallationState::Destroyed => {
            tracing::info!("Requesting deletion of {release} Software Release...");
        }
    }
    cloud
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
    if arguments.wait {
        let spinner = Spinner::start(&format!("{}: asked", arguments.node));
        let mut say = |said: &str| spinner.say(&format!("{}: {said}", arguments.node));
        cloud
            .wait_installed(
                &release,
                &arguments.node,
                state,
                arguments.timeout,
                &mut say,
            )
            .map_err(|error| match error {
                WaitError::Client(error) => error.into(),
                WaitError::Timeout { .. } => Failure::of(&error)
                    .hint("it goes on all the same: see `slapos computer info`")
                    .code(Code::Usage),
            })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The release a person names, saying what a name stands for.
pub(crate) fn release(cloud: &Cloud, name: &str) -> Result<ReleaseUrl, Failure> {
    let release = cloud.release(name)?;
    if release.as_str() != name {
        tracing::info!("Found as {release}.");
    }
    Ok(release)
}
