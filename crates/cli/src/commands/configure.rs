//! `slapos configure` (C 3.1): `client` here, `local` in its own file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::args::Global;
use crate::args::enrol::{Access, Configure, ConfigureClient};
use crate::enrol::staging::{Staging, make_directory};
use crate::enrol::{Door, dialog, escaped};
use crate::failure::Failure;
use crate::progress::Spinner;
use crate::{CommandResult, contexts, settings};

const CERTIFICATE: &str = "client.crt";
const KEY: &str = "client.key";
/// Names of the two that the tutorial uses.
const CERTIFICATE_TOO: &str = "certificate";
const KEY_TOO: &str = "key";
const AUTHORITY: &str = "ca.crt";

pub(crate) fn run(command: Configure, global: &Global) -> CommandResult {
    match command {
        Configure::Client(arguments) => client(&arguments),
        Configure::Local(arguments) => super::configure_local::run(&arguments, global),
    }
}

fn client(arguments: &ConfigureClient) -> CommandResult {
    let file = match contexts::asked(arguments.config.context.as_deref()) {
        Some(name) if arguments.config.cfg.is_none() => {
            contexts::check_name(&name)?;
            contexts::file(&name)
        }
        _ => settings::client_file(arguments.config.cfg.as_deref()),
    };
    let replace = if arguments.force {
        Replace::All
    } else {
        Replace::WithAYes
    };
    let door = enrol(&arguments.access, &file, replace)?;
    tracing::info!(
        "the Master at {} knows you; try `slapos service list`, `slapos computer list`, `slapos \
         console`",
        door.master_url
    );
    Ok(ExitCode::SUCCESS)
}

/// What may be overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    /// What somebody says yes to.
    WithAYes,
    /// Everything.
    All,
    /// The key and the certificate; the configuration stays as it is.
    Credentials,
}

/// Turns a token into a key and a certificate beside a configuration, writes that, too, and checks
/// all of it against the Master.
pub(super) fn enrol(access: &Access, file: &Path, replace: Replace) -> Result<Door, Failure> {
    let file = std::path::absolute(file)?;
    let (Some(directory), Some(name)) = (file.parent(), file.file_name().and_then(|n| n.to_str()))
    else {
        return Err(Failure::new(format!(
            "{} cannot be the name of a configuration",
            file.display()
        )));
    };
    if replace == Replace::WithAYes {
        make_way(&file, directory)?;
    }
    make_directory(directory, 0o700)?;
    let mut staging = Staging::new(directory)?;
    let door = Door::open(access)?;
    let token = Door::token(&access.proof, "Credential security token: ")?;
    let spinner = Spinner::start("asking the Master for a certificate");
    let enrolled = door.person(&token)?;
    drop(spinner);

    staging.keep();
    staging.write(KEY, enrolled.key.as_bytes(), 0o600)?;
    staging.write(CERTIFICATE, enrolled.certificate.as_bytes(), 0o600)?;
    staging.link(KEY_TOO, KEY)?;
    staging.link(CERTIFICATE_TOO, CERTIFICATE)?;
    let mut names = vec![KEY, CERTIFICATE, KEY_TOO, CERTIFICATE_TOO];
    if replace == Replace::Credentials {
        staging.commit(&names)?;
        tracing::info!("key and certificate written to {}", directory.display());
    } else {
        let text = configuration(
            &door.master_url,
            &door.options(&authority(directory)),
            Some(directory),
        );
        staging.write(name, text.as_bytes(), 0o600)?;
        if let Some(pem) = door.authority() {
            staging.write(AUTHORITY, pem.as_bytes(), 0o644)?;
            names.push(AUTHORITY);
        }
        // The configuration comes last: where it is, everything is.
        names.push(name);
        staging.commit(&names)?;
        tracing::info!("SlapOS client configuration written to {}", file.display());
    }
    door.client(&enrolled)
        .and_then(|client| client.is_known())
        .map_err(|error| {
            Failure::new(format!(
                "everything is written, but the Master's API at {} did not answer as it should: \
                 {error}",
                door.master_url
            ))
            .because(&error)
            .hint("see --master-url and --master-url-web; `slapos service list` tries again")
        })?;
    Ok(door)
}

/// Writes the configuration for a Master that asks nobody who they are.
pub(super) fn without_identity(master_url: &str, file: &Path) -> Result<(), Failure> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    make_directory(directory, 0o700)?;
    let staging = Staging::new(directory)?;
    let text = configuration(master_url, "", None);
    staging.write(contexts::FILE, text.as_bytes(), 0o600)?;
    staging.commit(&[contexts::FILE])?;
    tracing::info!("SlapOS client configuration written to {}", file.display());
    Ok(())
}

/// Removes what [`enrol`] wrote: the key first. The configuration stays, unless all shall go.
pub(super) fn forget(directory: &Path, everything: bool) -> Result<(), Failure> {
    let secrets = [KEY, KEY_TOO, CERTIFICATE, CERTIFICATE_TOO];
    let rest = [AUTHORITY, contexts::FILE];
    let rest = if everything { &rest[..] } else { &[] };
    for name in secrets.iter().chain(rest) {
        let path = directory.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::new(format!(
                    "cannot remove {}: {error}",
                    path.display()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The files of a key and a certificate that [`enrol`] writes into a directory.
pub(super) fn credentials(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join(KEY), directory.join(CERTIFICATE))
}

fn authority(directory: &Path) -> String {
    directory.join(AUTHORITY).display().to_string()
}

/// What would be overwritten is overwritten with a yes only.
fn make_way(file: &Path, directory: &Path) -> Result<(), Failure> {
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

/// The text of a configuration; `identity` is the directory of key and certificate.
fn configuration(master_url: &str, trust: &str, identity: Option<&Path>) -> String {
    let identity = identity.map(|directory| {
        let path = |name: &str| escaped(&directory.join(name).display().to_string());
        format!(
            "# Who you are: whoever has the key can act for you.\n\
             cert_file = {}\nkey_file = {}\n",
            path(CERTIFICATE),
            path(KEY)
        )
    });
    format!(
        "\
# Written by `slapos configure client`.
[slapos]
# The Master, and how it is recognised.
master_url = {url}
{trust}
[slapconsole]
{identity}# Names of your own for releases, each on an indented line: for `slapos request`, `slapos supply` and
# the console.
# alias =
#   hello https://example.com/software/helloworld/software.cfg
",
        url = escaped(master_url),
        identity = identity.unwrap_or_default(),
    )
}
