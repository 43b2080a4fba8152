//! What format made on this machine, so that all of it, and nothing else, can be undone.
//!
//! Kept beside the state file, one JSON value per line. An entry is on the disk before its step is
//! done: a run that is killed forgets nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::{FormatConfig, is_interface_name, is_user_name};
use super::facts::{Facts, NONLOCAL_BIND};
use super::plan::{RouteStep, Step};
use super::tool;
use crate::outcome::Error;
use crate::procfs;
use crate::safe_fs::{self, Dir, Durable};

/// Files of the node's own in a partition that no instance uses.
const MARKS: &[&str] = &[".slapos-resource", ".timestamp", ".slapgrid"];

/// One thing that was made, with what it takes to undo it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "made")]
pub(crate) enum Made {
    Directory {
        path: PathBuf,
    },
    /// The mode before.
    Mode {
        path: PathBuf,
        former: u32,
    },
    /// Numbers of user and group before.
    Owner {
        path: PathBuf,
        uid: u32,
        gid: u32,
    },
    File {
        path: PathBuf,
    },
    Group {
        name: String,
    },
    User {
        name: String,
        home: PathBuf,
    },
    /// What the user was before.
    UserChange {
        name: String,
        gid: u32,
        home: String,
        shell: String,
    },
    Member {
        user: String,
        group: String,
    },
    Lock {
        user: String,
    },
    NonlocalBind,
    Link {
        name: String,
    },
    Address {
        interface: String,
        address: IpAddr,
        length: u32,
    },
    Route {
        destination: String,
        device: String,
        via: Option<String>,
        local: bool,
    },
}

impl Made {
    /// What a step makes.
    pub(crate) fn of(step: &Step) -> Vec<Made> {
        match step.clone() {
            Step::Directory { path, .. } => vec![Made::Directory { path }],
            Step::Mode { path, former, .. } => vec![Made::Mode { path, former }],
            Step::Own { path, former, .. } => former
                .map(|(uid, gid)| Made::Owner { path, uid, gid })
                .into_iter()
                .collect(),
            Step::Group { name } => vec![Made::Group { name }],
            Step::User { name, home, .. } => vec![Made::User { name, home }],
            Step::ChangeUser {
                name,
                new_groups,
                former,
                ..
            } => {
                let member = |group| Made::Member {
                    user: name.clone(),
                    group,
                };
                let mut made: Vec<Made> = new_groups.into_iter().map(member).collect();
                made.push(Made::UserChange {
                    name,
                    gid: former.gid,
                    home: former.home,
                    shell: former.shell,
                });
                made
            }
            Step::Lock { user } => vec![Made::Lock { user }],
            Step::NonlocalBind => vec![Made::NonlocalBind],
            Step::Link { name, .. } => vec![Made::Link { name }],
            Step::Up { .. } => Vec::new(),
            Step::Address {
                interface,
                address,
                length,
                ..
            } => vec![Made::Address {
                interface,
                address,
                length,
            }],
            Step::Route(route) => vec![Made::Route {
                destination: route.destination,
                device: route.device,
                via: route.via,
                local: route.local,
            }],
        }
    }

    /// Whether both are about the same thing: the first entry knows how it was before.
    fn same_thing(&self, other: &Made) -> bool {
        match (self, other) {
            (Made::Mode { path, .. }, Made::Mode { path: other, .. })
            | (Made::Owner { path, .. }, Made::Owner { path: other, .. }) => path == other,
            (Made::UserChange { name, .. }, Made::UserChange { name: other, .. })
            | (Made::User { name, .. }, Made::User { name: other, .. }) => name == other,
            _ => self == other,
        }
    }
}

/// The record of one machine.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    entries: Vec<Made>,
}

impl Record {
    /// Reads it; nothing was made when there is none.
    pub(crate) fn open(path: &Path) -> Result<Record, Error> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let entries = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .map_err(|error| {
                Error::Refused(format!(
                    "{} (what format made on this machine) cannot be understood: {error}; repair it \
                     or move it away",
                    path.display()
                ))
            })?;
        Ok(Record {
            path: path.to_owned(),
            entries,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The addresses it put on interfaces.
    pub(crate) fn addresses(&self) -> BTreeSet<IpAddr> {
        let address = |made: &Made| match made {
            Made::Address { address, .. } => Some(*address),
            _ => None,
        };
        self.entries.iter().filter_map(address).collect()
    }

    /// Notes what is about to be made. Returns which of it is new in the record.
    pub(crate) fn note(&mut self, made: Vec<Made>) -> Result<Vec<Made>, Error> {
        let mut new: Vec<Made> = Vec::new();
        for made in made {
            if !self.entries.iter().any(|known| known.same_thing(&made)) {
                self.entries.push(made.clone());
                new.push(made);
            }
        }
        if !new.is_empty() {
            self.store()?;
        }
        Ok(new)
    }

    /// Forgets what was not made after all, or is undone.
    pub(crate) fn forget(&mut self, gone: &[Made]) -> Result<(), Error> {
        let before = self.entries.len();
        self.entries.retain(|made| !gone.contains(made));
        if self.entries.len() == before {
            return Ok(());
        }
        self.store()
    }

    fn store(&self) -> Result<(), Error> {
        if self.entries.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io("remove", &self.path)(error))
                }
                _ => Ok(()),
            };
        }
        let mut text = String::new();
        for made in &self.entries {
            let line = serde_json::to_string(made)
                .map_err(|error| Error::Refused(format!("cannot note {made:?}: {error}")))?;
            text.push_str(&line);
            text.push('\n');
        }
        safe_fs::write(&self.path, text.as_bytes(), 0o600, Durable::Yes)
            .map_err(Error::io("write", &self.path))
    }
}

/// Undoes all that is recorded, the last made first. What is not as format left it, or still in
/// use, is kept; the lines say so.
pub(crate) fn undo(
    config: &FormatConfig,
    dry_run: bool,
    tell: &mut dyn FnMut(&str),
) -> Result<bool, Error> {
    let record_path = config.record();
    let mut record = Record::open(&record_path)?;
    if record.is_empty() {
        tell("nothing to undo: format made nothing on this machine");
        return Ok(true);
    }
    refuse_when_in_use(config, &record)?;
    let mut all = true;
    // The record lies in these: they go when nothing is left to remember.
    let holds_record =
        |made: &Made| matches!(made, Made::Directory { path } if record_path.starts_with(path));
    let (last, first): (Vec<Made>, Vec<Made>) = record
        .entries
        .clone()
        .into_iter()
        .rev()
        .partition(holds_record);
    for made in first {
        let text = made.undoing();
        if dry_run {
            tell(&format!("would {text}"));
            continue;
        }
        match made.undo(config) {
            Ok(None) => tell(&text),
            Ok(Some(reason)) if reason.is_empty() => {}
            Ok(Some(reason)) => {
                all = false;
                tell(&format!("cannot {text}: {reason}"));
                continue;
            }
            Err(error) => {
                all = false;
                tell(&format!("cannot {text}: {error}"));
                continue;
            }
        }
        record.forget(std::slice::from_ref(&made))?;
    }
    for made in last {
        let text = made.undoing();
        if dry_run {
            tell(&format!("would {text} if it is empty"));
        } else if all {
            record.forget(&record.entries.clone())?;
            if let Made::Directory { path } = &made
                && fs::remove_dir(path).is_ok()
            {
                tell(&text);
            }
        }
    }
    Ok(all)
}

/// An instance's files and processes are nothing that format made.
fn refuse_when_in_use(config: &FormatConfig, record: &Record) -> Result<(), Error> {
    let mut used = Vec::new();
    for made in &record.entries {
        let Made::Directory { path } = made else {
            continue;
        };
        let is_partition = path.parent() == Some(&config.instance_root);
        let names = Dir::open_trusted(path).and_then(|dir| dir.names());
        let names = names.unwrap_or_default();
        if is_partition
            && names
                .iter()
                .any(|name| !MARKS.iter().any(|mark| name == mark))
        {
            used.push(path.display().to_string());
        }
    }
    if !used.is_empty() {
        return Err(Error::Refused(format!(
            "partitions are in use: {}; nothing is undone before their instances are destroyed and \
             `slapos node report` removed them",
            used.join(", ")
        )));
    }
    let facts = Facts::read(std::iter::empty())?;
    let mut running = BTreeSet::new();
    let uids: BTreeSet<(u32, &str)> = record
        .entries
        .iter()
        .filter_map(|made| match made {
            Made::User { name, .. } => Some((facts.users.get(name)?.uid, name.as_str())),
            _ => None,
        })
        .collect();
    for uid in procfs::pids()
        .into_iter()
        .flatten()
        .filter_map(procfs::owner)
    {
        running.extend(uids.iter().filter(|(found, _)| *found == uid));
    }
    if running.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = running.into_iter().map(|(_, name)| name).collect();
    Err(Error::Refused(format!(
        "processes of {} run; stop them (`slapos node stop all`) before format is undone",
        names.join(", ")
    )))
}

/// Why something is kept; empty where it is gone already.
type Kept = Option<String>;

impl Made {
    fn undoing(&self) -> String {
        match self {
            Made::Directory { path } => format!("remove directory {}", path.display()),
            Made::Mode { path, former } => {
                format!("give {} its mode {former:04o} back", path.display())
            }
            Made::Owner { path, uid, gid } => {
                format!("give {} back to {uid}:{gid}", path.display())
            }
            Made::File { path } => format!("remove {}", path.display()),
            Made::Group { name } => format!("remove group {name}"),
            Made::User { name, .. } => format!("remove user {name}"),
            Made::UserChange { name, .. } => format!("make user {name} what it was"),
            Made::Member { user, group } => format!("take {user} out of group {group}"),
            Made::Lock { user } => format!("unlock the password of {user}"),
            Made::NonlocalBind => "set sysctl net.ipv6.ip_nonlocal_bind = 0".to_owned(),
            Made::Link { name } => format!("remove interface {name}"),
            Made::Address {
                interface,
                address,
                length,
            } => format!("remove address {address}/{length} from {interface}"),
            Made::Route {
                destination,
                device,
                ..
            } => format!("remove the route to {destination} through {device}"),
        }
    }

    fn undo(&self, config: &FormatConfig) -> Result<Kept, Error> {
        let gone = Ok(Some(String::new()));
        match self {
            Made::Directory { path } => remove_directory(config, path),
            Made::Mode { path, former } => with_directory(path, |dir| dir.set_mode(*former)),
            Made::Owner { path, uid, gid } => with_directory(path, |dir| dir.set_owner(*uid, *gid)),
            Made::File { path } => match fs::remove_file(path) {
                Ok(()) => Ok(None),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => gone,
                Err(error) => Err(Error::io("remove", path)(error)),
            },
            Made::User { name, home } if is_user_name(name) => {
                let facts = Facts::read(std::iter::empty())?;
                let Some(user) = facts.users.get(name) else {
                    return gone;
                };
                if Path::new(&user.home) != home || user.uid == 0 {
                    return Ok(Some("it is not as format made it".to_owned()));
                }
                if let Some(path) = owned(config, user.uid) {
                    return Ok(Some(format!("{} belongs to it", path.display())));
                }
                tool::run("userdel", &[name]).map(|_| None)
            }
            Made::Group { name } if is_user_name(name) => {
                let facts = Facts::read(std::iter::empty())?;
                match facts.groups.get(name) {
                    // `userdel` removes a user's own group with it.
                    None => gone,
                    Some(group) if facts.users.values().any(|user| user.gid == group.gid) => {
                        Ok(Some("it is a user's own group".to_owned()))
                    }
                    Some(_) => tool::run("groupdel", &[name]).map(|_| None),
                }
            }
            Made::UserChange {
                name,
                gid,
                home,
                shell,
            } if is_user_name(name) => {
                let facts = Facts::read(std::iter::empty())?;
                if !facts.users.contains_key(name) {
                    return gone;
                }
                let gid = gid.to_string();
                let words = ["-d", home, "-g", &gid, "-s", shell, name];
                tool::run("usermod", &words).map(|_| None)
            }
            Made::Member { user, group } if is_user_name(user) && is_user_name(group) => {
                let facts = Facts::read(std::iter::empty())?;
                let group_fact = facts.groups.get(group);
                if !group_fact.is_some_and(|fact| fact.members.contains(user)) {
                    return gone;
                }
                tool::run("gpasswd", &["-d", user, group]).map(|_| None)
            }
            Made::Lock { user } if is_user_name(user) => {
                let facts = Facts::read(std::iter::empty())?;
                if !facts.locked.contains(user) {
                    return gone;
                }
                tool::run("usermod", &["-U", user]).map(|_| None)
            }
            Made::NonlocalBind => match fs::write(NONLOCAL_BIND, "0\n") {
                Ok(()) => Ok(None),
                Err(error) => Err(Error::io("write", NONLOCAL_BIND)(error)),
            },
            Made::Link { name } if is_interface_name(name) => {
                let mut facts = Facts::default();
                facts.read_network()?;
                match facts.link(name) {
                    None => gone,
                    Some(link) if link.tunnel_kind().is_none() => {
                        Ok(Some("it is neither tap nor tun".to_owned()))
                    }
                    Some(_) => tool::run("ip", &["link", "delete", name]).map(|_| None),
                }
            }
            Made::Address {
                interface,
                address,
                length,
            } if is_interface_name(interface) => {
                let mut facts = Facts::default();
                facts.read_network()?;
                if !facts.link(interface).is_some_and(|link| link.has(*address)) {
                    return gone;
                }
                remove_address(interface, *address, *length).map(|()| None)
            }
            Made::Route {
                destination,
                device,
                via,
                local,
            } if is_interface_name(device) => {
                let mut facts = Facts::default();
                facts.read_network()?;
                let table = if *local {
                    &facts.local_routes
                } else {
                    &facts.routes
                };
                let there = table.iter().any(|route| {
                    route.destination == *destination
                        && route.device == *device
                        && route.via == *via
                });
                if !there {
                    return gone;
                }
                let route = RouteStep {
                    destination: destination.clone(),
                    device: device.clone(),
                    via: via.clone(),
                    local: *local,
                };
                tool::run("ip", &route.words("del")).map(|_| None)
            }
            _ => Ok(Some("the record names something impossible".to_owned())),
        }
    }
}

/// Takes an address from an interface.
pub(crate) fn remove_address(interface: &str, address: IpAddr, length: u32) -> Result<(), Error> {
    let address = format!("{address}/{length}");
    tool::run("ip", &["address", "delete", &address, "dev", interface]).map(drop)
}

/// A directory format may have given to this user and that is still there.
fn owned(config: &FormatConfig, uid: u32) -> Option<PathBuf> {
    let partitions = fs::read_dir(&config.instance_root).into_iter().flatten();
    let paths = partitions.flatten().map(|entry| entry.path());
    paths.chain([config.software_root.clone()]).find(|path| {
        fs::symlink_metadata(path)
            .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == uid)
    })
}

fn remove_directory(config: &FormatConfig, path: &Path) -> Result<Kept, Error> {
    if path.parent() == Some(&config.instance_root) {
        // Nothing of an instance is in it, that was checked: only what the node itself put there.
        match Dir::open_trusted(path) {
            Ok(dir) => {
                for name in MARKS {
                    dir.remove_tree(name).map_err(Error::io("empty", path))?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Some(String::new()));
            }
            Err(error) => return Err(Error::io("open", path)(error)),
        }
    }
    match fs::remove_dir(path) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Some(String::new())),
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {
            Ok(Some("it is not empty".to_owned()))
        }
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

fn with_directory(
    path: &Path,
    change: impl FnOnce(&Dir) -> std::io::Result<()>,
) -> Result<Kept, Error> {
    match Dir::open_trusted(path) {
        Ok(dir) => change(&dir)
            .map(|()| None)
            .map_err(Error::io("change", path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Some(String::new())),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}
