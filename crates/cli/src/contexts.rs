//! Several Masters: a context is a client's configuration with a name (C 2.1).
//!
//! The context `default` is `~/.slapos/slapos-client.cfg`, which upstream's client reads, too; each
//! other one is `~/.slapos/contexts/NAME/slapos-client.cfg`. `~/.slapos/context` holds the name of
//! the current one where it is another than `default`.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use crate::args::client::ClientConfig;
use crate::failure::{Code, Failure};
use crate::settings;

/// The context of upstream's file.
pub(crate) const DEFAULT: &str = "default";
/// The configuration in a context's directory.
pub(crate) const FILE: &str = "slapos-client.cfg";
/// Longest name of a context, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Where everything of the client is.
fn base() -> PathBuf {
    settings::home().join(".slapos")
}

fn current_file() -> PathBuf {
    base().join("context")
}

/// The directory of a context.
pub(crate) fn directory(name: &str) -> PathBuf {
    if name == DEFAULT {
        base()
    } else {
        base().join("contexts").join(name)
    }
}

/// The configuration of a context, whether it is there or not.
pub(crate) fn file(name: &str) -> PathBuf {
    directory(name).join(FILE)
}

/// A name that is a file's name everywhere and means nothing to a shell.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let good = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if good {
        return Ok(());
    }
    Err(Failure::new(format!(
        "`{}` cannot be the name of a context",
        name.escape_debug()
    ))
    .hint(format!(
        "a name has letters, digits, `.`, `_` and `-`, at most {NAME_BYTES_MAX}"
    ))
    .code(Code::Usage))
}

/// Whether there is such a context.
pub(crate) fn exists(name: &str) -> bool {
    check_name(name).is_ok() && file(name).is_file()
}

/// The names of all contexts, `default` first.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(base().join("contexts"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != DEFAULT && exists(name))
        .collect();
    names.sort();
    if exists(DEFAULT) {
        names.insert(0, DEFAULT.to_owned());
    }
    names
}

/// The name that is meant when nothing else is said.
pub(crate) fn current() -> String {
    let told = fs::read_to_string(current_file()).unwrap_or_default();
    let name = told.trim();
    if check_name(name).is_ok() {
        name.to_owned()
    } else {
        DEFAULT.to_owned()
    }
}

/// Makes a context the current one.
pub(crate) fn set_current(name: &str) -> Result<(), Failure> {
    let file = current_file();
    let done = if name == DEFAULT {
        match fs::remove_file(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    } else {
        let new = base().join(format!(".context-{}", std::process::id()));
        fs::File::create(&new)
            .and_then(|mut out| {
                writeln!(out, "{name}")?;
                out.sync_all()
            })
            .and_then(|()| fs::rename(&new, &file))
    };
    done.map_err(|error| Failure::new(format!("cannot write {}: {error}", file.display())))
}

/// The name `--context` or `$SLAPOS_CONTEXT` says.
pub(crate) fn asked(option: Option<&str>) -> Option<String> {
    option.map(str::to_owned).or_else(|| {
        let name = std::env::var_os("SLAPOS_CONTEXT")?;
        Some(name.to_string_lossy().into_owned()).filter(|name| !name.is_empty())
    })
}

/// The configuration a client's command uses: `--cfg`, `--context`, `$SLAPOS_CONTEXT`,
/// `$SLAPOS_CLIENT_CONFIGURATION`, the current context.
pub(crate) fn client_file(arguments: &ClientConfig) -> Result<PathBuf, Failure> {
    if arguments.cfg.is_none()
        && let Some(name) = asked(arguments.context.as_deref())
    {
        return known(&name);
    }
    Ok(settings::client_file(arguments.cfg.as_deref()))
}

/// The configuration of a context that is there.
pub(crate) fn known(name: &str) -> Result<PathBuf, Failure> {
    check_name(name)?;
    if exists(name) {
        return Ok(file(name));
    }
    let names = names();
    let similar = names
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(alike, _)| *alike > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    let failure = Failure::new(format!("there is no context `{name}`")).code(Code::Usage);
    Err(match similar {
        Some((_, known)) => failure.hint(format!("did you mean `{known}`?")),
        None if names.is_empty() => failure.hint(format!(
            "there is none yet; `slapos login URL --context {name}` makes it"
        )),
        None => failure.hint(format!("there is {}", names.join(", "))),
    })
}
