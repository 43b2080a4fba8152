//! Managers: what a node does for instances that ask for more than files and processes (N 7).
//!
//! An administrator names them in `manager_list`. Each reads a file that instances may write, and
//! does as root what their users cannot; so each checks all of it: the file is a stranger's. They
//! are called in the order of the list, one partition at a time.

mod cpuset;
mod devperm;
mod portredir;
mod prerm;
mod whitelist;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::Value as Json;
use slap::Value;

use crate::config::NodeConfig;
use crate::partition::Partition;
use crate::services::Services;

/// The names there are.
pub(crate) const NAMES: &[&str] = &[
    cpuset::NAME,
    devperm::NAME,
    portredir::NAME,
    prerm::NAME,
    whitelist::NAME,
];

/// Most entries in a file of wishes.
const WISHES_MAX: usize = 100;

/// Which managers there are, and their own options.
#[derive(Debug, Clone, Default)]
pub struct ManagerConfig {
    /// Their names, in order; all of them known.
    pub names: Vec<String>,
    /// Unix users who may reserve processors (`power_user_list`).
    pub power_users: Vec<String>,
    /// Devices instances may have (`allowed-disk-for-vm` of `[manager:devperm]`); `None`: any disk
    /// the machine itself does not use.
    pub allowed_disks: Option<Vec<PathBuf>>,
    /// The program that redirects ports (our own `socat` of `[manager:portredir]`); `None`: the one
    /// in `PATH`.
    pub socat: Option<PathBuf>,
}

impl ManagerConfig {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Suffixes of the supervisor's groups that go on when the instance to remove is stopped.
    pub(crate) fn last_suffixes(&self) -> &'static [&'static str] {
        if self.has(prerm::NAME) {
            &[prerm::SUFFIX]
        } else {
            &[]
        }
    }

    /// Suffixes of the supervisor's groups that managers keep while a partition is processed.
    pub(crate) fn kept_suffixes(&self) -> &'static [&'static str] {
        if self.has(portredir::NAME) {
            &[portredir::SUFFIX]
        } else {
            &[]
        }
    }
}

/// A partition as managers see it.
pub(crate) struct Place<'a> {
    pub(crate) partition: &'a Partition<'a>,
    pub(crate) services: &'a Services<'a>,
    /// Whether its instance shall run.
    pub(crate) is_started: bool,
    /// Says what an administrator should know.
    pub(crate) warn: &'a dyn Fn(&str),
}

/// What managers may hook into. An error fails the partition.
pub(crate) trait Manager: Send + Sync {
    /// Before the partition is looked at.
    fn instance(&self, _place: &Place<'_>) -> Result<(), String> {
        Ok(())
    }

    /// After it was looked at, processed or not, well or not.
    fn instance_tear_down(&self, _place: &Place<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Before the instance is removed, for good and with no retention left.
    fn report(&self, _place: &Place<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// Managers share the machine, and partitions are processed side by side.
static TURN: Mutex<()> = Mutex::new(());

/// The node's managers.
pub(crate) struct Managers(Vec<Box<dyn Manager>>);

impl Managers {
    pub(crate) fn new(config: &NodeConfig) -> Managers {
        let all = config
            .managers
            .names
            .iter()
            .filter_map(|name| -> Option<Box<dyn Manager>> {
                match name.as_str() {
                    cpuset::NAME => Some(Box::new(cpuset::CpuSet::new(&config.managers))),
                    devperm::NAME => Some(Box::new(devperm::DevPerm::new(&config.managers))),
                    portredir::NAME => Some(Box::new(portredir::PortRedir::new(&config.managers))),
                    prerm::NAME => Some(Box::new(prerm::PreRm)),
                    whitelist::NAME => {
                        Some(Box::new(whitelist::Whitelist::new(config.firewall.clone())))
                    }
                    _ => None,
                }
            })
            .collect();
        Managers(all)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn instance(&self, place: &Place<'_>) -> Result<(), String> {
        self.each(|manager| manager.instance(place))
    }

    pub(crate) fn instance_tear_down(&self, place: &Place<'_>) -> Result<(), String> {
        self.each(|manager| manager.instance_tear_down(place))
    }

    pub(crate) fn report(&self, place: &Place<'_>) -> Result<(), String> {
        self.each(|manager| manager.report(place))
    }

    fn each(&self, call: impl Fn(&dyn Manager) -> Result<(), String>) -> Result<(), String> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.iter().try_for_each(|manager| call(manager.as_ref()))
    }
}

/// What managers do to the machine when it is formatted.
pub(crate) fn format(names: &[String], warn: &dyn Fn(&str)) {
    if names.iter().any(|name| name == cpuset::NAME) {
        cpuset::format(warn);
    }
}

/// The list of wishes in a file of the partition; `None` when there is none. One that makes no
/// sense is told, and is none.
fn wishes(place: &Place<'_>, name: &str) -> Option<Vec<Json>> {
    let shown = place.partition.path.join(name);
    let bytes = match place.partition.dir.read(name) {
        Ok(None) => return None,
        Ok(Some(bytes)) => bytes,
        Err(error) => {
            (place.warn)(&format!("cannot read {}: {error}", shown.display()));
            return None;
        }
    };
    match serde_json::from_slice(&bytes) {
        Ok(Json::Array(list)) if list.len() <= WISHES_MAX => Some(list),
        Ok(Json::Array(_)) => {
            (place.warn)(&format!(
                "{} has more than {WISHES_MAX} entries",
                shown.display()
            ));
            None
        }
        Ok(_) => {
            (place.warn)(&format!("{} is not a list", shown.display()));
            None
        }
        Err(error) => {
            (place.warn)(&format!("{} is not JSON: {error}", shown.display()));
            None
        }
    }
}

/// The instance's addresses as the Master has them: interface and address.
pub(crate) fn addresses(partition: &Partition<'_>) -> Vec<(String, String)> {
    let Some(parameters) = &partition.document.parameters else {
        return Vec::new();
    };
    ["ip_list", "full_ip_list"]
        .iter()
        .filter_map(|name| parameters.get(*name)?.as_sequence())
        .flatten()
        .filter_map(|item| match item.as_sequence()? {
            [interface, address, ..] => Some((text(interface)?, text(address)?)),
            _ => None,
        })
        .collect()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
