//! What has to be done so that the machine is as described (N 5.3): facts and description in, steps
//! out. Nothing is done here; on a machine that is as described the plan is empty.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use super::arithmetic::netmask_length_v6;
use super::config::FormatConfig;
use super::facts::{Facts, UserFact};
use super::machine::{Machine, Slot};

/// The shell of every user format makes.
const SHELL: &str = "/bin/sh";

/// Mode of a partition's directory.
const PARTITION_MODE: u32 = 0o750;

/// One thing to do. Each can be repeated and undone by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Directory {
        path: PathBuf,
        mode: u32,
    },
    Mode {
        path: PathBuf,
        mode: u32,
        former: u32,
    },
    /// The owner's own group has their name.
    Own {
        path: PathBuf,
        user: String,
        /// Numbers of user and group before; `None` when the directory is new.
        former: Option<(u32, u32)>,
    },
    Group {
        name: String,
    },
    User {
        name: String,
        home: PathBuf,
        groups: Vec<String>,
    },
    ChangeUser {
        name: String,
        home: PathBuf,
        groups: Vec<String>,
        /// Those of the groups the user is not in yet.
        new_groups: Vec<String>,
        former: UserFact,
    },
    Lock {
        user: String,
    },
    NonlocalBind,
    Link {
        name: String,
        kind: &'static str,
        user: String,
    },
    Up {
        name: String,
    },
    Address {
        interface: String,
        address: IpAddr,
        length: u32,
        /// A tap's address: its routes are separate steps.
        no_prefix_route: bool,
    },
    Route(RouteStep),
}

/// A route to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteStep {
    pub(crate) destination: String,
    pub(crate) device: String,
    pub(crate) via: Option<String>,
    /// In the kernel's table of its own addresses: a whole range is this machine's.
    pub(crate) local: bool,
}

impl RouteStep {
    /// The words of `ip` that add or delete it.
    pub(crate) fn words<'a>(&'a self, verb: &'a str) -> Vec<&'a str> {
        let family = if self.destination.contains(':') {
            "-6"
        } else {
            "-4"
        };
        let mut words = vec![family, "route", verb];
        words.extend(self.local.then_some("local"));
        words.extend([self.destination.as_str(), "dev", &self.device]);
        if let Some(via) = &self.via {
            words.extend(["via", via]);
        }
        words
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Directory { path, mode } => {
                write!(out, "create directory {} ({mode:04o})", path.display())
            }
            Step::Mode { path, mode, former } => write!(
                out,
                "change the mode of {} from {former:04o} to {mode:04o}",
                path.display()
            ),
            Step::Own { path, user, .. } => write!(out, "give {} to {user}", path.display()),
            Step::Group { name } => write!(out, "create group {name}"),
            Step::User { name, home, groups } => {
                write!(out, "create user {name} at home in {}", home.display())?;
                if !groups.is_empty() {
                    write!(out, ", also in {}", groups.join(", "))?;
                }
                Ok(())
            }
            Step::ChangeUser { name, home, .. } => write!(
                out,
                "change user {name}: home {}, shell {SHELL}, groups",
                home.display()
            ),
            Step::Lock { user } => write!(out, "lock the password of {user}"),
            Step::NonlocalBind => write!(out, "set sysctl net.ipv6.ip_nonlocal_bind = 1"),
            Step::Link { name, kind, user } => write!(out, "create {kind} {name} for {user}"),
            Step::Up { name } => write!(out, "set interface {name} up"),
            Step::Address {
                interface,
                address,
                length,
                ..
            } => write!(out, "add address {address}/{length} to {interface}"),
            Step::Route(route) => write!(out, "ip {}", route.words("add").join(" ")),
        }
    }
}

/// All steps, in the order they have to be done.
pub(crate) fn plan(machine: &Machine, facts: &Facts, config: &FormatConfig) -> Vec<Step> {
    let mut plan = Plan {
        facts,
        config,
        steps: Vec::new(),
        planned: BTreeSet::new(),
    };
    plan.roots(machine);
    if config.alter_network && config.network.partition_has_ipv6_range {
        let wanted = facts.nonlocal_bind == Some(false);
        plan.steps.extend(wanted.then_some(Step::NonlocalBind));
    }
    for slot in &machine.partitions {
        plan.partition(machine, slot);
    }
    plan.steps
}

/// The directories a plan for this machine looks at.
pub(crate) fn directories(machine: &Machine, config: &FormatConfig) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    let ends = [&config.instance_root, &config.software_root]
        .into_iter()
        .chain(&config.certificate_repository)
        .map(PathBuf::as_path)
        .chain(config.computer_xml.parent());
    for end in ends {
        all.extend(end.ancestors().map(Path::to_owned));
    }
    for slot in &machine.partitions {
        all.push(config.instance_root.join(slot.reference.as_str()));
        for path in slot.external_storage() {
            all.extend(path.ancestors().map(Path::to_owned));
        }
    }
    all.sort();
    all.dedup();
    all
}

struct Plan<'a> {
    facts: &'a Facts,
    config: &'a FormatConfig,
    steps: Vec<Step>,
    /// Directories that steps make already.
    planned: BTreeSet<PathBuf>,
}

impl Plan<'_> {
    fn roots(&mut self, machine: &Machine) {
        let user = self.config.alter_user.then_some(&machine.software_user);
        if let Some(user) = user {
            self.user(user, &self.config.software_root, &[]);
        }
        self.directory(&self.config.instance_root, 0o755, None);
        let owner = user.map(String::as_str);
        self.directory(&self.config.software_root, 0o755, owner);
        if let Some(directory) = &self.config.certificate_repository
            && !self.facts.directories.contains_key(directory)
        {
            // Partitions' users have to reach their own certificate in it; nobody can list it.
            let mode = if self.config.alter_user { 0o711 } else { 0o700 };
            self.directory(directory, mode, None);
        }
        if let Some(directory) = self.config.computer_xml_directory()
            && !self.facts.directories.contains_key(&directory)
        {
            self.directory(&directory, 0o755, None);
        }
    }

    fn partition(&mut self, machine: &Machine, slot: &Slot) {
        let path = self.config.instance_root.join(slot.reference.as_str());
        let mut owner = None;
        if self.config.alter_user {
            let groups = [machine.software_user.clone()];
            self.user(slot.user(), &path, &groups);
            owner = Some(slot.user());
        }
        self.directory(&path, PARTITION_MODE, owner);
        for path in slot.external_storage() {
            self.directory(&path, PARTITION_MODE, owner);
        }
        if self.config.alter_network {
            self.network(slot);
        }
    }

    /// A directory with exactly this mode and owner; its missing ancestors are made too.
    fn directory(&mut self, path: &Path, mode: u32, owner: Option<&str>) {
        let fact = self.facts.directories.get(path);
        if fact.is_none() && !self.planned.contains(path) {
            let mut missing: Vec<&Path> = path
                .ancestors()
                .skip(1)
                .take_while(|path| !self.facts.directories.contains_key(*path))
                .filter(|path| !path.as_os_str().is_empty() && !self.planned.contains(*path))
                .collect();
            missing.reverse();
            for path in missing {
                self.planned.insert(path.to_owned());
                self.steps.push(Step::Directory {
                    path: path.to_owned(),
                    mode: 0o755,
                });
            }
            self.planned.insert(path.to_owned());
            self.steps.push(Step::Directory {
                path: path.to_owned(),
                mode,
            });
        }
        if let Some(user) = owner {
            let ids = self.facts.users.get(user).map(|user| user.uid);
            let ids = ids.zip(self.facts.groups.get(user).map(|group| group.gid));
            let former = fact.map(|fact| (fact.uid, fact.gid));
            if former.is_none() || former != ids {
                self.steps.push(Step::Own {
                    path: path.to_owned(),
                    user: user.to_owned(),
                    former,
                });
            }
        }
        if let Some(fact) = fact
            && fact.mode != mode
        {
            self.steps.push(Step::Mode {
                path: path.to_owned(),
                mode,
                former: fact.mode,
            });
        }
    }

    fn user(&mut self, name: &str, home: &Path, groups: &[String]) {
        let group = self.facts.groups.get(name);
        if group.is_none() {
            self.steps.push(Step::Group {
                name: name.to_owned(),
            });
        }
        let Some(user) = self.facts.users.get(name) else {
            // Nobody can log in as a new user: it has no password.
            self.steps.push(Step::User {
                name: name.to_owned(),
                home: home.to_owned(),
                groups: groups.to_vec(),
            });
            return;
        };
        let is_member = |wanted: &String| {
            let group = self.facts.groups.get(wanted);
            group.is_some_and(|group| {
                group.gid == user.gid || group.members.iter().any(|member| member == name)
            })
        };
        let new_groups: Vec<String> = groups
            .iter()
            .filter(|group| !is_member(group))
            .cloned()
            .collect();
        let fits = Path::new(&user.home) == home
            && user.shell == SHELL
            && group.is_some_and(|group| group.gid == user.gid);
        if !fits || !new_groups.is_empty() {
            self.steps.push(Step::ChangeUser {
                name: name.to_owned(),
                home: home.to_owned(),
                groups: groups.to_vec(),
                new_groups,
                former: user.clone(),
            });
        }
        if !self.facts.locked.contains(name) {
            self.steps.push(Step::Lock {
                user: name.to_owned(),
            });
        }
    }

    fn network(&mut self, slot: &Slot) {
        let network = &self.config.network;
        let user = slot.user();
        // Without users of their own, taps are root's.
        let exists = self.config.alter_user || self.facts.users.contains_key(user);
        let owner = if exists { user } else { "root" };
        if network.create_tap {
            let tap = slot.text(&["tap", "name"]).to_owned();
            self.tunnel(&tap, "tap", owner);
            self.tap(slot, &tap);
        }
        if network.create_tun {
            let tun = slot.text(&["tun", "name"]).to_owned();
            self.tunnel(&tun, "tun", owner);
            for (address, netmask) in [("ipv4_addr", "ipv4_netmask"), ("ipv6_addr", "ipv6_netmask")]
            {
                let address = slot.text(&["tun", address]);
                self.address(&tun, address, slot.text(&["tun", netmask]), false);
            }
        }
        for (address, netmask) in slot.address_pairs() {
            let interface = if address.contains(':') {
                self.config.ipv6_interface()
            } else {
                network.interface_name.as_deref()
            };
            if let Some(interface) = interface {
                self.address(interface, &address, &netmask, false);
            }
        }
        if let Some(range) = slot.range_network() {
            self.route(RouteStep {
                destination: range,
                device: "lo".to_owned(),
                via: None,
                local: true,
            });
        }
    }

    fn tunnel(&mut self, name: &str, kind: &'static str, user: &str) {
        let link = self.facts.link(name);
        if link.is_none() {
            self.steps.push(Step::Link {
                name: name.to_owned(),
                kind,
                user: user.to_owned(),
            });
        }
        if !link.is_some_and(|link| link.is_up()) {
            self.steps.push(Step::Up {
                name: name.to_owned(),
            });
        }
    }

    fn tap(&mut self, slot: &Slot, tap: &str) {
        let route = |destination: &str, via: Option<&str>| RouteStep {
            destination: destination.to_owned(),
            device: tap.to_owned(),
            via: via.map(str::to_owned),
            local: false,
        };
        let v4 = slot.text(&["tap", "ipv4_addr"]);
        if !v4.is_empty() {
            self.route(route(v4, None));
        }
        let address = slot.text(&["tap", "ipv6_addr"]);
        if address.is_empty() {
            return;
        }
        let netmask = slot.text(&["tap", "ipv6_netmask"]);
        self.address(tap, address, netmask, true);
        let gateway = slot.text(&["tap", "ipv6_gateway"]);
        self.route(route(gateway, None));
        // The gateway stands for its network.
        let network = netmask_length_v6(netmask).zip(address.parse::<Ipv6Addr>().ok());
        if let Some((length, address)) = network {
            let mask = netmask.split('/').next().unwrap_or_default().parse();
            let mask = mask.map_or(0, |mask: Ipv6Addr| u128::from(mask));
            let network = Ipv6Addr::from(u128::from(address) & mask);
            self.route(route(&format!("{network}/{length}"), Some(gateway)));
        }
    }

    fn address(&mut self, interface: &str, address: &str, netmask: &str, no_prefix_route: bool) {
        let Ok(address) = address.parse::<IpAddr>() else {
            return;
        };
        let length = match address {
            IpAddr::V6(_) => netmask_length_v6(netmask).unwrap_or(128),
            IpAddr::V4(_) => {
                let mask: Option<std::net::Ipv4Addr> = netmask.parse().ok();
                mask.map_or(32, |mask| u32::from(mask).leading_ones())
            }
        };
        let there = self.facts.link(interface);
        if !there.is_some_and(|link| link.has(address)) {
            self.steps.push(Step::Address {
                interface: interface.to_owned(),
                address,
                length,
                no_prefix_route,
            });
        }
    }

    fn route(&mut self, route: RouteStep) {
        let table = if route.local {
            &self.facts.local_routes
        } else {
            &self.facts.routes
        };
        let there = table.iter().any(|found| {
            found.destination == route.destination
                && found.device == route.device
                && found.via == route.via
        });
        if !there {
            self.steps.push(Step::Route(route));
        }
    }
}
