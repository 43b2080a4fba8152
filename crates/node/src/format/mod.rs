//! `node format`: partitions on this machine, for a user who may not change users and network
//! (N 5).
//!
//! Partitions are directories of the caller's. Their addresses come from a definition file, or from
//! the state file of an earlier run, or are the loopback's. What root's full version does (users,
//! taps, routes) is refused with a word, not half done.

mod config;
mod machine;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use slap::{Value, marshal};

pub use config::FormatConfig;
use machine::Machine;

use crate::cancel::Cancel;
use crate::layout::make_directory;
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::pyjson;
use crate::safe_fs::{self, Durable};
use crate::start;

/// Without `--now`, the longest random delay before the work, in seconds (N 5).
const DELAY_SECONDS_MAX: u64 = 3600;

/// What `node format` is asked besides its configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Raised to interrupt the run.
    pub cancel: Cancel,
}

/// Prepares the machine and tells the Master about it.
///
/// # Errors
/// When the machine could not be prepared; a Master that cannot be told is an [`Outcome`].
pub fn run(
    config: &FormatConfig,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome, Error> {
    if config.root_check && !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot {
            file: config.file.clone(),
        });
    }
    refuse_what_is_not_supported(config)?;
    if !config.now && !config.dry_run {
        start::random_delay(DELAY_SECONDS_MAX, &options.cancel, observer)?;
    }
    let begin = Instant::now();
    let machine = design(config, observer)?;
    let value = machine.to_value(config, &os_type());
    if config.dry_run {
        tell_plan(config, &machine, observer);
        return Ok(Outcome::Success);
    }
    apply(config, &machine)?;
    store(config, &machine, &value)?;
    let posted = config
        .master
        .client()
        .and_then(|client| client.post_format(&value));
    let outcome = match posted {
        Ok(()) => Outcome::Success,
        Err(error) => {
            let hint = if error.is_not_found() {
                "; check that computer_id, key_file and cert_file belong together"
            } else {
                ""
            };
            observer.event(&Event::Warning(&format!(
                "cannot tell the Master about this machine: {error}{hint}"
            )));
            Outcome::FormatOffline
        }
    };
    observer.event(&Event::Info("slapos successfully prepared the computer."));
    tracing::debug!("formatted in {:?}", begin.elapsed().max(Duration::ZERO));
    Ok(outcome)
}

fn refuse_what_is_not_supported(config: &FormatConfig) -> Result<(), Error> {
    let asked: Vec<&str> = [
        ("alter_user", config.alter_user),
        ("alter_network", config.alter_network),
    ]
    .into_iter()
    .filter(|(_, asked)| *asked)
    .map(|(option, _)| option)
    .collect();
    if asked.is_empty() {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "{}: {} asked for (it is the default), which is not supported yet; set `{} = false` in \
         [slapformat] to use partitions of the current user with given or loopback addresses",
        config.file.display(),
        asked.join(" and "),
        asked.join(" = false` and `")
    )))
}

/// What the machine shall be: the definition file rules, else what was decided before stays.
fn design(config: &FormatConfig, observer: &dyn Observer) -> Result<Machine, Error> {
    if let Some(path) = &config.input_definition_file {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let machine = slap::config::Config::parse(&text)
            .map_err(|error| error.to_string())
            .and_then(|definition| Machine::from_definition(&definition, config))
            .map_err(|error| Error::Refused(format!("{}: {error}", path.display())))?;
        // The state file is looked at as well: a definition must not lose partitions either.
        if let Some(stored) = load(config)?
            && stored.partitions.len() > machine.partitions.len()
        {
            return Machine::complete(Some(stored), config).map_err(Error::Refused);
        }
        return Machine::complete(Some(machine), config).map_err(Error::Refused);
    }
    let stored = load(config)?;
    let known = stored
        .as_ref()
        .map_or(0, |machine| machine.partitions.len());
    let machine = Machine::complete(stored, config).map_err(Error::Refused)?;
    if machine.partitions.len() > known {
        observer.event(&Event::Info(&format!(
            "{} new partition(s) get the loopback addresses 127.0.0.1 and ::1 \
             (alter_network is off and there is no input_definition_file)",
            machine.partitions.len() - known
        )));
    }
    Ok(machine)
}

/// The state of an earlier run. A file that cannot be understood is an error: writing a new one
/// over it would give every partition new addresses.
fn load(config: &FormatConfig) -> Result<Option<Machine>, Error> {
    let refused = |path: &Path, reason: &str| {
        Error::Refused(format!(
            "the state file {} cannot be understood: {reason}; repair it or move it away",
            path.display()
        ))
    };
    let path = &config.computer_xml;
    match fs::read(path) {
        Ok(bytes) => {
            let value =
                marshal::decode(&bytes).map_err(|error| refused(path, &error.to_string()))?;
            let machine = Machine::from_value(&value).map_err(|error| refused(path, &error))?;
            return Ok(Some(machine));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("read", path)(error)),
    }
    let Some(path) = config.computer_json.as_ref().filter(|path| path.exists()) else {
        return Ok(None);
    };
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| refused(path, &error.to_string()))?;
    Machine::from_value(&Value::from(&json))
        .map(Some)
        .map_err(|error| refused(path, &error))
}

fn apply(config: &FormatConfig, machine: &Machine) -> Result<(), Error> {
    for root in [&config.instance_root, &config.software_root] {
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        make_directory(root, 0o755)?;
    }
    if let Some(directory) = &config.certificate_repository
        && !directory.exists()
    {
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        make_directory(directory, 0o700)?;
    }
    for slot in &machine.partitions {
        let path = config.instance_root.join(slot.reference.as_str());
        make_directory(&path, 0o750)?;
        let text = pyjson::indented(&slot.to_value().to_json(), 4);
        let resource = path.join(".slapos-resource");
        safe_fs::Dir::open(&path)
            .and_then(|dir| {
                dir.write_if_different(
                    ".slapos-resource",
                    text.as_bytes(),
                    0o644,
                    None,
                    Durable::Yes,
                )
            })
            .map_err(Error::io("write", resource))?;
    }
    Ok(())
}

fn store(config: &FormatConfig, machine: &Machine, value: &Value) -> Result<(), Error> {
    let path = &config.computer_xml;
    let document = marshal::encode(value)
        .map_err(|error| Error::Refused(format!("cannot describe this machine in XML: {error}")))?;
    let document = pretty(&document);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    let old = fs::read(path).ok();
    if old.as_deref().is_some_and(|old| old != document.as_bytes()) {
        // The state before the last change, in case the change was a mistake.
        let mut backup = path.clone().into_os_string();
        backup.push(".old");
        safe_fs::write(
            Path::new(&backup),
            &old.unwrap_or_default(),
            0o644,
            Durable::Yes,
        )
        .map_err(Error::io("write", backup))?;
    }
    safe_fs::write_if_different(path, document.as_bytes(), 0o644, Durable::Yes)
        .map_err(Error::io("write", path))?;
    if let Some(path) = &config.computer_json {
        let text = pyjson::indented(&value.to_json(), 2);
        safe_fs::write_if_different(path, text.as_bytes(), 0o644, Durable::Yes)
            .map_err(Error::io("write", path))?;
    }
    if let Some(path) = &config.output_definition_file {
        let text = machine.to_definition();
        safe_fs::write_if_different(path, text.as_bytes(), 0o644, Durable::Yes)
            .map_err(Error::io("write", path))?;
    }
    Ok(())
}

fn tell_plan(config: &FormatConfig, machine: &Machine, observer: &dyn Observer) {
    let tell = |text: String| observer.event(&Event::Info(&text));
    for root in [&config.instance_root, &config.software_root] {
        let verb = if root.is_dir() { "keep" } else { "create" };
        tell(format!("would {verb} {}", root.display()));
    }
    for slot in &machine.partitions {
        let path = config.instance_root.join(slot.reference.as_str());
        let verb = if path.is_dir() { "keep" } else { "create" };
        tell(format!(
            "would {verb} partition {} in {} with {}",
            slot.reference,
            path.display(),
            slot.addresses().join(" ")
        ));
    }
    tell(format!("would write {}", config.computer_xml.display()));
    tell(format!("would tell {}", config.master.url));
}

/// `os_type`: a JSON list of platform, distribution, version and name (N 5.1).
fn os_type() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned()
    };
    let system = rustix::system::uname();
    let platform = format!(
        "{}-{}-{}",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy()
    );
    pyjson::line(&[platform, field("ID"), field("VERSION_ID"), field("NAME")])
}

/// One element per line: people read the state file.
fn pretty(document: &str) -> String {
    let mut out = String::with_capacity(document.len() * 2);
    let mut depth = 0_usize;
    let mut rest = document;
    let mut leaf = false;
    let line = |depth: usize, out: &mut String| {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&"  ".repeat(depth));
    };
    while let Some(start) = rest.find('<') {
        let (text, tail) = rest.split_at(start);
        out.push_str(text);
        let end = tail.find('>').map_or(tail.len(), |end| end + 1);
        let (tag, tail) = tail.split_at(end);
        if tag.starts_with("</") {
            depth = depth.saturating_sub(1);
            if !leaf {
                line(depth, &mut out);
            }
            leaf = false;
        } else {
            line(depth, &mut out);
            leaf = !tag.ends_with("/>");
            depth += usize::from(leaf);
        }
        out.push_str(tag);
        rest = tail;
    }
    out.push('\n');
    out
}
