//! `slapos configure client` (C 3.1).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use slap::ProductReference;
use slap_client::{Client, Error};

use crate::args::enrol::{Configure, ConfigureClient};
use crate::enrol::staging::{Staging, make_directory};
use crate::enrol::{Door, dialog, escaped};
use crate::failure::Failure;
use crate::{CommandResult, settings};

const CERTIFICATE: &str = "client.crt";
const KEY: &str = "client.key";
/// Names of the two that the tutorial uses.
const CERTIFICATE_TOO: &str = "certificate";
const KEY_TOO: &str = "key";
const AUTHORITY: &str = "ca.crt";

pub(crate) fn run(command: Configure) -> CommandResult {
    match command {
        Configure::Client(arguments) => client(&arguments),
    }
}

fn client(arguments: &ConfigureClient) -> CommandResult {
    let file = std::path::absolute(settings::client_file(arguments.config.cfg.as_deref()))?;
    let (Some(directory), Some(name)) = (file.parent(), file.file_name().and_then(|n| n.to_str()))
    else {
        return Err(Failure::new(format!(
            "{} cannot be the name of a configuration",
            file.display()
        )));
    };
    make_way(arguments.force, &file, directory)?;
    make_directory(directory, 0o700)?;
    let mut staging = Staging::new(directory)?;
    let door = Door::open(&arguments.access)?;
    let token = Door::token(&arguments.access, "Credential security token: ")?;
    tracing::info!("asking the Master for a certificate");
    let enrolled = door.person(&token)?;

    staging.keep();
    staging.write(KEY, enrolled.key.as_bytes(), 0o600)?;
    staging.write(CERTIFICATE, enrolled.certificate.as_bytes(), 0o600)?;
    staging.link(KEY_TOO, KEY)?;
    staging.link(CERTIFICATE_TOO, CERTIFICATE)?;
    let text = configuration(&door, directory);
    staging.write(name, text.as_bytes(), 0o600)?;
    let mut names = vec![KEY, CERTIFICATE, KEY_TOO, CERTIFICATE_TOO];
    if let Some(pem) = door.authority() {
        staging.write(AUTHORITY, pem.as_bytes(), 0o644)?;
        names.push(AUTHORITY);
    }
    // The configuration comes last: where it is, everything is.
    names.push(name);
    staging.commit(&names)?;
    tracing::info!("SlapOS client configuration written to {}", file.display());

    match door.client(&enrolled).and_then(|client| known(&client)) {
        Ok(()) => tracing::info!(
            "the Master at {} knows you; try `slapos service list`, `slapos software list`, `slapos console`",
            door.master_url
        ),
        Err(error) => tracing::warn!(
            "the Master's API at {} did not answer as it should: {error}",
            door.master_url
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// What would be overwritten is overwritten with a yes only.
fn make_way(force: bool, file: &Path, directory: &Path) -> Result<(), Failure> {
    let in_the_way: Vec<(PathBuf, &str)> = [
        (file.to_owned(), "configuration"),
        (directory.join(CERTIFICATE), "certificate"),
        (directory.join(KEY), "key"),
        (directory.join(CERTIFICATE_TOO), "certificate"),
        (directory.join(KEY_TOO), "key"),
        (directory.join(AUTHORITY), "authority's certificate"),
    ]
    .into_iter()
    .filter(|(path, _)| fs::symlink_metadata(path).is_ok())
    .collect();
    let Some((first, what)) = in_the_way.first() else {
        return Ok(());
    };
    if force {
        return Ok(());
    }
    match dialog::confirm(&format!(
        "There is a {what} in {}. Replace it and what belongs to it?",
        first.display()
    ))? {
        Some(true) => Ok(()),
        _ => Err(Failure::new(format!(
            "There is a file in {}. Please remove it before creating a new {what}.",
            first.display()
        ))
        .hint("--force replaces it")),
    }
}

fn configuration(door: &Door, directory: &Path) -> String {
    let path = |name: &str| escaped(&directory.join(name).display().to_string());
    format!(
        "\
# Written by `slapos configure client`.
[slapos]
# The Master, and how it is recognised.
master_url = {url}
{trust}
[slapconsole]
# Who you are: whoever has the key can act for you.
cert_file = {certificate}
key_file = {key}
",
        url = escaped(&door.master_url),
        trust = door.options(&directory.join(AUTHORITY).display().to_string()),
        certificate = path(CERTIFICATE),
        key = path(KEY),
    )
}

/// Whether the Master knows who calls: any question does, but for strangers.
fn known(client: &Client) -> Result<(), Error> {
    let product = ProductReference::new("slapos").map_err(|error| Error::Unsendable {
        what: "a question".to_owned(),
        reason: error.to_string(),
    })?;
    match client.product_releases(&product) {
        Err(Error::NotFound { .. }) | Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}
