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
        told = tell(started, &settings.data_dir);
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
        cache_directory: home(&arguments.cache_directory),
    };
    Settings::resolve(&given, &config, Path::new(DATA_DIR)).map_err(|error| Failure::of(&error))
}

/// Says where the Master is; after the first start also how to come in.
fn tell(started: &Started, data_dir: &Path) -> Result<(), Failure> {
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
    let place = if data_dir == Path::new(DATA_DIR) {
        String::new()
    } else {
        format!(" --data-dir {}", data_dir.display())
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
         \x20 1. Get your client certificate, where you work:\n\
         \x20    slapos configure client --master-url {url} --token {client} \\\n\
         \x20      --fingerprint {fingerprint}\n\
         \x20 2. Make a token for each compute node, here:\n\
         \x20    slapos master token create --user {login} --purpose node{place}\n\
         \x20 3. Register it, there:\n\
         \x20    slapos node register NAME --master-url {url} --token TOKEN \\\n\
         \x20      --fingerprint {fingerprint}\n",
        login = welcome.login,
        password = welcome.password_token,
        client = welcome.client_token,
        fingerprint = started.authority_fingerprint,
    ))
}
