//! `slapos man`: the help as manual pages.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap_mangen::Man as Page;

use crate::args::Man;
use crate::failure::Failure;
use crate::{CommandResult, help};

pub(crate) fn run(arguments: &Man) -> CommandResult {
    let pages = help::pages();
    let Some(directory) = &arguments.directory else {
        let first = pages.into_iter().next();
        let text = first.map_or_else(|| Ok(String::new()), |(_, command)| roff(command))?;
        crate::output::print(text.trim_end())?;
        return Ok(ExitCode::SUCCESS);
    };
    let cannot = |path: &Path, error: &std::io::Error| {
        Failure::new(format!("cannot write {}: {error}", path.display()))
    };
    fs::create_dir_all(directory).map_err(|error| cannot(directory, &error))?;
    for (name, command) in pages {
        let path = directory.join(format!("{}.1", name.replace(' ', "-")));
        fs::write(&path, roff(command)?).map_err(|error| cannot(&path, &error))?;
    }
    tracing::info!("manual pages written to {}", directory.display());
    Ok(ExitCode::SUCCESS)
}

fn roff(command: clap::Command) -> Result<String, Failure> {
    let mut text = Vec::new();
    Page::new(command).render(&mut text)?;
    String::from_utf8(text).map_err(|error| Failure::of(&error))
}
