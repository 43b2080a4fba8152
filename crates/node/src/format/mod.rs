//! `node format`: users, directories, addresses and interfaces of this machine's partitions (N 5).
//!
//! The machine's description (`machine`) comes from a definition file, from the state file of an
//! earlier run, or is new; `allocate` fills in its addresses. What differs from the machine as it is
//! (`facts`) becomes a list of steps (`plan`), which `carry_out` does one by one. All three rooms
//! of rules do no I/O. Each thing made is noted first (`record`), so that it can be undone.
//!
//! With `alter_user` and `alter_network` off, partitions are directories of the caller's, for whom
//! nothing but files is touched.

mod allocate;
pub mod arithmetic;
mod carry_out;
mod config;
mod facts;
mod machine;
mod plan;
mod record;
#[cfg(test)]
mod tests;
mod tool;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use slap::{Value, marshal};

pub use config::{FormatConfig, NetworkConfig};
use facts::Facts;
use machine::Machine;
use plan::Step;
use record::{Made, Record};
use rustix::fs::{FlockOperation, flock};

use crate::cancel::Cancel;
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::pyjson;
use crate::safe_fs::{self, Durable};
use crate::start;

/// Without `--now`, the longest random delay before the work, in seconds (N 5).
const DELAY_SECONDS_MAX: u64 = 3600;

/// How often partitions get other addresses because somebody on the network has the chosen ones.
const CONFLICTS_MAX: usize = 10;

/// What `node format` is asked besides its configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Undo what was made instead, and tell nobody.
    pub undo: bool,
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
    may_alter(config)?;
    let lock = take_lock(config)?;
    if options.undo {
        let mut tell = |text: &str| observer.event(&Event::Info(text));
        let all = record::undo(config, config.dry_run, &mut tell)?;
        return Ok(if all {
            Outcome::Success
        } else {
            Outcome::Failure
        });
    }
    if !config.now && !config.dry_run {
        start::random_delay(DELAY_SECONDS_MAX, &options.cancel, observer)?;
    }
    let begin = Instant::now();
    let machine = prepare(config, options, observer)?;
    if config.dry_run {
        return Ok(Outcome::Success);
    }
    crate::manager::format(&config.managers, &|text| {
        observer.event(&Event::Warning(text));
    });
    let value = machine.to_value(config, &os_type());
    drop(lock);
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

/// Only root changes users and network, and only with the system's programs for it.
fn may_alter(config: &FormatConfig) -> Result<(), Error> {
    let asked: Vec<&str> = [
        ("alter_user", config.alter_user),
        ("alter_network", config.alter_network),
    ]
    .into_iter()
    .filter(|(_, asked)| *asked)
    .map(|(option, _)| option)
    .collect();
    if !asked.is_empty() && !rustix::process::geteuid().is_root() {
        return Err(Error::Refused(format!(
            "{}: {} asked for (it is the default), which only root can do; run it as root, or set \
             `{} = false` in [slapformat] to use partitions of the current user with given or \
             loopback addresses",
            config.file.display(),
            asked.join(" and "),
            asked.join(" = false` and `")
        )));
    }
    if config.alter_network && config.network.interface_name.is_none() {
        return Err(Error::Refused(format!(
            "{}: alter_network needs interface_name in [slapformat]",
            config.file.display()
        )));
    }
    let mut programs = Vec::new();
    if config.alter_user {
        programs.extend(["groupadd", "useradd", "usermod", "userdel", "passwd"]);
    }
    if config.alter_network {
        programs.push("ip");
    }
    tool::require(&programs)
}

/// Two formats at once would choose the same addresses. The configuration file is what every run
/// has, so the lock is on it.
fn take_lock(config: &FormatConfig) -> Result<Option<fs::File>, Error> {
    if !config.alter_user && !config.alter_network {
        return Ok(None);
    }
    let file = fs::File::open(&config.file).map_err(Error::io("open", &config.file))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::Locked {
        path: config.file.clone(),
        pid: None,
    })?;
    Ok(Some(file))
}

/// Decides what the machine shall be and makes it so; with `dry_run` only tells.
fn prepare(
    config: &FormatConfig,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Machine, Error> {
    let mut machine = design(config, observer)?;
    check_names(config, &machine).map_err(Error::Refused)?;
    let homes = data_homes(config)?;
    if config.instance_storage_home.is_some() {
        for slot in &mut machine.partitions {
            slot.set_external_storage(&homes);
        }
    }
    let mut record = Record::open(&config.record())?;
    let mut refused = BTreeSet::new();
    let mut rounds = 0;
    loop {
        let facts = read_facts(config, &machine)?;
        if config.alter_network {
            allocate(config, &facts, &record, &refused, &mut machine, observer)?;
        }
        tell_of_strange_owners(config, &facts, &machine, observer);
        let mut steps = plan::plan(&machine, &facts, config);
        if config.dry_run {
            tell_plan(config, &machine, &steps, observer);
            return Ok(machine);
        }
        carry_out::make_place(config, &mut steps)?;
        if config.alter_network {
            // Before the first address is there: a run that is killed must not choose others.
            store(config, &machine, &mut record)?;
        }
        for step in &steps {
            if options.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            tracing::debug!("{step}");
        }
        carry_out::all(&steps, &mut record, observer)?;
        if !config.alter_network {
            break;
        }
        let conflicts = carry_out::settle(config, &machine, &mut record)?;
        if conflicts.is_empty() {
            break;
        }
        for address in conflicts {
            observer.event(&Event::Warning(&format!(
                "somebody on the network has {address} already"
            )));
            refused.insert(address);
        }
        rounds += 1;
        if rounds == CONFLICTS_MAX {
            return Err(Error::Refused(format!(
                "others on the network had the chosen addresses {CONFLICTS_MAX} times in a row; look \
                 for a machine that answers for all of them"
            )));
        }
    }
    write_resources(config, &machine, &mut record)?;
    store(config, &machine, &mut record)?;
    Ok(machine)
}

/// The names that end up in orders to the system's programs.
fn check_names(config: &FormatConfig, machine: &Machine) -> Result<(), String> {
    let user = |name: &str| {
        if !config.alter_user || config::is_user_name(name) && name != "root" {
            return Ok(());
        }
        Err(format!(
            "`{name}` cannot be the user of a partition or of the releases"
        ))
    };
    user(&machine.software_user)?;
    let mut users = BTreeSet::from([machine.software_user.as_str()]);
    for slot in &machine.partitions {
        user(slot.user())?;
        if config.alter_user && !users.insert(slot.user()) {
            return Err(format!(
                "user {} has two partitions, or a partition and the releases: each needs a user of \
                 its own",
                slot.user()
            ));
        }
        let tap = slot.text(&["tap", "name"]);
        if config.network.create_tap && !config::is_interface_name(tap) {
            return Err(format!(
                "`{tap}` cannot be the name of partition {}'s tap",
                slot.reference
            ));
        }
    }
    Ok(())
}

fn read_facts(config: &FormatConfig, machine: &Machine) -> Result<Facts, Error> {
    let paths = plan::directories(machine, config);
    let mut facts = Facts::read(paths.iter().map(PathBuf::as_path))?;
    if config.alter_network {
        facts.read_network()?;
    }
    if config.alter_user {
        // A definition may name any user: root and its twins stay what they are.
        let users = machine.partitions.iter().map(|slot| slot.user());
        for name in users.chain([machine.software_user.as_str()]) {
            if facts.users.get(name).is_some_and(|user| user.uid == 0) {
                return Err(Error::Refused(format!(
                    "user {name} has root's number and cannot have a partition"
                )));
            }
        }
    }
    Ok(facts)
}

fn allocate(
    config: &FormatConfig,
    facts: &Facts,
    record: &Record,
    refused: &BTreeSet<IpAddr>,
    machine: &mut Machine,
    observer: &dyn Observer,
) -> Result<(), Error> {
    // Unpredictable enough to miss other nodes' choices.
    let mut seed = crate::random::number();
    let mut random = || {
        seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 31)
    };
    let mut allocation = allocate::Allocation {
        facts,
        config,
        made: &record.addresses(),
        refused,
        random: &mut random,
        warnings: Vec::new(),
    };
    allocation.fill(machine).map_err(Error::Refused)?;
    for warning in &allocation.warnings {
        observer.event(&Event::Warning(warning));
    }
    Ok(())
}

/// A tap or tun that is there already is never touched, as upstream does it.
fn tell_of_strange_owners(
    config: &FormatConfig,
    facts: &Facts,
    machine: &Machine,
    observer: &dyn Observer,
) {
    for slot in &machine.partitions {
        for (part, wanted) in [
            ("tap", config.network.create_tap),
            ("tun", config.network.create_tun),
        ] {
            let link = facts.link(slot.text(&[part, "name"])).filter(|_| wanted);
            let Some(link) = link else { continue };
            let user = link.tunnel_user().unwrap_or_default();
            let uid = facts
                .users
                .get(slot.user())
                .map(|user| user.uid.to_string());
            if user != slot.user() && uid.is_none_or(|uid| uid != user) {
                observer.event(&Event::Warning(&format!(
                    "{part} {} exists and is not of user {}; it stays as it is",
                    link.name,
                    slot.user()
                )));
            }
        }
    }
}

/// The further disks: `data` and a number in `instance_storage_home` (N 5.3).
fn data_homes(config: &FormatConfig) -> Result<Vec<PathBuf>, Error> {
    let Some(home) = &config.instance_storage_home else {
        return Ok(Vec::new());
    };
    let mut homes: Vec<PathBuf> = fs::read_dir(home)
        .map_err(Error::io("list (instance_storage_home)", home))?
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let digits = name.to_str().and_then(|name| name.strip_prefix("data"));
            digits.is_some_and(|digits| {
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
            }) && entry.path().is_dir()
        })
        .map(|entry| entry.path())
        .collect();
    homes.sort();
    Ok(homes)
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
    if machine.partitions.len() > known && !config.alter_network {
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

fn write_resources(
    config: &FormatConfig,
    machine: &Machine,
    record: &mut Record,
) -> Result<(), Error> {
    const NAME: &str = ".slapos-resource";
    let directories = machine
        .partitions
        .iter()
        .map(|slot| config.instance_root.join(slot.reference.as_str()));
    note_files(record, directories.map(|path| path.join(NAME)))?;
    for slot in &machine.partitions {
        let path = config.instance_root.join(slot.reference.as_str());
        let text = pyjson::indented(&slot.to_value().to_json(), 4);
        safe_fs::Dir::open_trusted(&path)
            .and_then(|dir| {
                dir.write_if_different(NAME, text.as_bytes(), 0o644, None, Durable::Yes)
            })
            .map_err(Error::io("write", path.join(NAME)))?;
    }
    Ok(())
}

/// Notes the files that are not there yet and are going to be.
fn note_files(record: &mut Record, paths: impl Iterator<Item = PathBuf>) -> Result<(), Error> {
    let made = paths
        .filter(|path| fs::symlink_metadata(path).is_err())
        .map(|path| Made::File { path });
    record.note(made.collect()).map(drop)
}

fn store(config: &FormatConfig, machine: &Machine, record: &mut Record) -> Result<(), Error> {
    let value = &machine.to_value(config, &os_type());
    let path = &config.computer_xml;
    let files = [path.clone()]
        .into_iter()
        .chain(config.computer_json.clone())
        .chain(config.output_definition_file.clone());
    note_files(record, files)?;
    let document = marshal::encode(value)
        .map_err(|error| Error::Refused(format!("cannot describe this machine in XML: {error}")))?;
    let document = pretty(&document);
    let old = fs::read(path).ok();
    if old.as_deref().is_some_and(|old| old != document.as_bytes()) {
        // The state before the last change, in case the change was a mistake.
        let mut backup = path.clone().into_os_string();
        backup.push(".old");
        note_files(record, [PathBuf::from(&backup)].into_iter())?;
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

fn tell_plan(config: &FormatConfig, machine: &Machine, steps: &[Step], observer: &dyn Observer) {
    let tell = |text: String| observer.event(&Event::Info(&text));
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
    for step in steps {
        tell(format!("would {step}"));
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
