//! `slapos console`: the user's own Python with the SDK and global names in it (C 4).
//!
//! This program finds out what there is and becomes Python; all that a person sees of the console is
//! `crates/python/python/slapos/console`.

mod interpreter;
mod modules;

use std::os::unix::process::CommandExt;

use serde_json::json;
use slap_client::Trust;

use crate::CommandResult;
use crate::args::client::Console;
use crate::settings;

/// What the console is told in this variable, as JSON.
const VARIABLE: &str = "SLAPOS_CONSOLE";

pub(crate) fn run(arguments: &Console) -> CommandResult {
    let profile = settings::console(arguments)?;
    let modules = modules::find()?;
    let settings = &profile.settings;
    let (certificate, key) = settings.certificate.clone().unzip();
    let authority = match &settings.trust {
        Trust::CaFile(file) => Some(file),
        _ => None,
    };
    let told = json!({
        "modules": modules.directory,
        "own_module": modules.own,
        "native": modules.native,
        "temporary": modules.temporary,
        "file": profile.file,
        "master_url": settings.master_url,
        "key_file": key,
        "cert_file": certificate,
        "master_ca_file": authority,
        "verify": settings.trust != Trust::Insecure,
        "master_rest_url": profile.rest_url,
        "aliases": profile.aliases,
        "shell": arguments.shell(),
        "script": !arguments.script.is_empty(),
        "command": arguments.command,
    });
    let mut python = interpreter::command();
    let error = python
        .arg(modules.directory.join("slapos/console/boot.py"))
        .args(&arguments.script)
        .env(VARIABLE, told.to_string())
        .exec();
    Err(interpreter::failure(&python, &error))
}
