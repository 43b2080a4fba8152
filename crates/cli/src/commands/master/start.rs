//! `slapos master start`.

use std::path::Path;
use std::process::ExitCode;

use master::{Given, Settings, Shutdown, Started};
use rustix::process::{Signal, set_parent_process_death_signal};
use slap::config::Config;

use crate::args::master::start::{DATA_DIR, Start};
use crate::failure::Failure;
use crate::{CommandResult, output, settings};

pub(super) fn run(arguments: &Start) -> CommandResult {
    if arguments.with_parent {
        set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from)?;
    }
    let settings = read(arguments)?;
    let mut told = Ok(());
    master::serve(&settings, &Shutdown::new(), |started| {
        told = tell(started);
    })
    .map_err(|error| Failure::of(&error))?;
    told?;
    Ok(ExitCode::SUCCESS)
}

fn read(arguments: &Start) -> Result<Settings, Failure> {
    let config = match &arguments.cfg {
        Some(file) => settings::read(&settings::expand_home(file))?,
        None => Config::default(),
    };
    let home = |path: &Option<std::path::PathBuf>| path.as_deref().map(settings::expand_home);
    let given = Given {
        data_dir: home(&arguments.data_dir),
        database: arguments.database.clone(),
        listen: arguments.listen.clone(),
        plain: arguments.plain.clone(),
        trusted_proxy: arguments.trusted_proxy.clone(),
        public_url: arguments.public_url.clone(),
        server_name: arguments.server_name.clone(),
        certificate: home(&arguments.certificate),
        key: home(&arguments.key),
        organisation: arguments.organisation.clone(),
    };
    Settings::resolve(&given, &config, Path::new(DATA_DIR)).map_err(|error| Failure::of(&error))
}

/// Says where the Master is; after the first start also how to come in.
fn tell(started: &Started) -> Result<(), Failure> {
    for address in &started.listen {
        tracing::info!("listening on https://{address}");
    }
    for address in &started.plain {
        tracing::info!("listening on http://{address}");
    }
    tracing::info!("the Master answers at {}/", started.public_url);
    let Some(welcome) = &started.welcome else {
        return Ok(());
    };
    let url = &started.public_url;
    let file = started.authority_file.display();
    let project = match welcome.project {
        Some(project) => format!("Project       {project}, which {} manages\n", welcome.login),
        None => String::new(),
    };
    // On stdout: it is the one result of this command, and no log keeps it.
    output::print(&format!(
        "\n\
         This Master is new. These are shown until somebody has come in, and are good for 24 hours:\n\
         \n\
         Administrator {login}\n\
         Password      set it at {url}/password?token={password}\n\
         {project}\
         Authority     {file}\n\
         \x20             SHA-256 {fingerprint}\n\
         \n\
         What to do next:\n\
         \x20 1. Take the authority's certificate to where you work, and say it in the configuration:\n\
         \x20    `master_ca_file = …` in section [slapos].\n\
         \x20 2. Get your client certificate:\n\
         \x20    slapos configure client --master-url {url}/ --master-url-web {url} --token {client}\n\
         \x20 3. Make a token for each compute node, and register it:\n\
         \x20    slapos master token --help\n",
        login = welcome.login,
        password = welcome.password_token,
        client = welcome.client_token,
        fingerprint = started.authority_fingerprint,
    ))
}
