//! Does the steps of a plan, one by one, each noted before it is done.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::config::FormatConfig;
use super::facts::{self, Facts, NONLOCAL_BIND};
use super::machine::Machine;
use super::plan::Step;
use super::record::{Made, Record, remove_address};
use super::tool;
use crate::layout::make_directory;
use crate::observer::{Event, Observer};
use crate::outcome::Error;
use crate::safe_fs::Dir;

/// How long the kernel may take to find out whether others have the new addresses.
const SETTLE: Duration = Duration::from_secs(10);

/// Between two looks at that.
const LOOK: Duration = Duration::from_millis(50);

/// Makes the directory the record lies in, which cannot be noted before it exists.
pub(crate) fn make_place(config: &FormatConfig, steps: &mut [Step]) -> Result<(), Error> {
    let record = config.record();
    for step in steps {
        if let Step::Directory { path, mode } = step
            && record.starts_with(&*path)
        {
            make_directory(path, *mode)?;
        }
    }
    Ok(())
}

/// Does all steps. What is not done after an error is not in the record.
pub(crate) fn all(
    steps: &[Step],
    record: &mut Record,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let made: Vec<Made> = steps.iter().flat_map(Made::of).collect();
    let new = record.note(made)?;
    for (index, step) in steps.iter().enumerate() {
        observer.event(&Event::Info(&step.to_string()));
        if let Err(error) = step.carry_out() {
            let not_done: Vec<Made> = steps[index..]
                .iter()
                .flat_map(Made::of)
                .filter(|made| new.contains(made))
                .collect();
            record.forget(&not_done)?;
            return Err(error);
        }
    }
    Ok(())
}

/// Waits until the kernel knows whether the partitions' addresses are theirs alone. Those that
/// somebody else has are taken back and returned.
pub(crate) fn settle(
    config: &FormatConfig,
    machine: &Machine,
    record: &mut Record,
) -> Result<Vec<IpAddr>, Error> {
    let ours: Vec<IpAddr> = machine
        .partitions
        .iter()
        .flat_map(|slot| slot.address_pairs())
        .filter_map(|(address, _)| address.parse().ok())
        .collect();
    let end = Instant::now() + SETTLE;
    loop {
        let links = facts::links()?;
        let interface = config.ipv6_interface().unwrap_or_default();
        let Some(link) = links.iter().find(|link| link.name == interface) else {
            return Ok(Vec::new());
        };
        let addresses = || {
            let addresses = link.addresses.iter();
            addresses.filter(|found| ours.contains(&found.address))
        };
        let undecided = addresses().any(|found| found.tentative && !found.dadfailed);
        // Nothing can be found out on a link that is down: it is then, when it comes up.
        if undecided && link.is_up() && link.has_carrier() && Instant::now() < end {
            std::thread::sleep(LOOK);
            continue;
        }
        let mut conflicts = Vec::new();
        for found in addresses().filter(|found| found.dadfailed) {
            remove_address(interface, found.address, found.length)?;
            record.forget(&[Made::Address {
                interface: interface.to_owned(),
                address: found.address,
                length: found.length,
            }])?;
            conflicts.push(found.address);
        }
        return Ok(conflicts);
    }
}

impl Step {
    fn carry_out(&self) -> Result<(), Error> {
        match self {
            Step::Directory { path, mode } => make_directory(path, *mode),
            Step::Mode { path, mode, .. } => Dir::open_trusted(path)
                .and_then(|dir| dir.set_mode(*mode))
                .map_err(Error::io("change the mode of", path)),
            Step::Own { path, user, .. } => {
                let facts = Facts::read(std::iter::empty())?;
                let uid = facts.users.get(user).map(|user| user.uid);
                let gid = facts.groups.get(user).map(|group| group.gid);
                let (Some(uid), Some(gid)) = (uid, gid) else {
                    return Err(Error::Refused(format!(
                        "there is no user {user} with a group of that name in /etc/passwd"
                    )));
                };
                Dir::open_trusted(path)
                    .and_then(|dir| dir.set_owner(uid, gid))
                    .map_err(Error::io("change the owner of", path))
            }
            Step::Group { name } => tool::run("groupadd", &["-r", name]).map(drop),
            Step::User { name, home, groups } => {
                let home = home.to_string_lossy();
                let groups = groups.join(",");
                let mut words = vec!["-r", "-M", "-d", &home, "-g", name, "-s", "/bin/sh"];
                if !groups.is_empty() {
                    words.extend(["-G", &groups]);
                }
                words.push(name);
                tool::run("useradd", &words).map(drop)
            }
            Step::ChangeUser {
                name, home, groups, ..
            } => {
                let home = home.to_string_lossy();
                let groups = groups.join(",");
                let mut words = vec!["-d", &home, "-g", name, "-s", "/bin/sh"];
                if !groups.is_empty() {
                    words.extend(["-a", "-G", &groups]);
                }
                words.push(name);
                tool::run("usermod", &words).map(drop)
            }
            Step::Lock { user } => tool::run("passwd", &["-l", user]).map(drop),
            Step::NonlocalBind => {
                fs::write(NONLOCAL_BIND, "1\n").map_err(Error::io("write", NONLOCAL_BIND))
            }
            Step::Link { name, kind, user } => {
                let words = ["tuntap", "add", "dev", name, "mode", kind, "user", user];
                tool::run("ip", &words).map(drop)
            }
            Step::Up { name } => tool::run("ip", &["link", "set", "dev", name, "up"]).map(drop),
            Step::Address {
                interface,
                address,
                length,
                no_prefix_route,
            } => {
                let address = format!("{address}/{length}");
                let mut words = vec!["address", "add", &address, "dev", interface];
                words.extend(no_prefix_route.then_some("noprefixroute"));
                tool::run("ip", &words).map(drop)
            }
            Step::Route(route) => tool::run("ip", &route.words("add")).map(drop),
        }
    }
}
