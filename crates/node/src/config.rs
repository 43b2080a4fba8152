//! The node's configuration: `slapos.cfg` and the command line, checked and typed (N 1).
//!
//! Merging follows N 1.1: `[slapos]`, overlaid by `[networkcache]`, overlaid by the command line.
//! Values are parsed once, here; an unusable one names its option and the file. Where upstream
//! ignores or breaks on an option in the file (N 1.2 marks them), the file's value simply works.

mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use slap::NodeId;
use slap::config::Config;
use slap_client::Trust;

use crate::cgroup::{Hierarchy, Limits};
use crate::firewalld::FirewallConfig;
use crate::manager::{self, ManagerConfig};
pub(crate) use values::Values;
pub use values::parse_size;

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How often the agent measures what is used: often enough for the usage report, which tells days.
const COLLECT_INTERVAL: Duration = Duration::from_secs(3600);

/// Options that name files which must exist when given.
const FILES: &[&str] = &[
    "key_file",
    "cert_file",
    "master_ca_file",
    "shacache-ca-file",
    "shacache-cert-file",
    "shacache-key-file",
    "shadir-ca-file",
    "shadir-cert-file",
    "shadir-key-file",
    "signature-private-key-file",
];

/// Options that buildout gets for the cache of sources, in upstream's order.
const SOURCE_CACHE: &[&str] = &[
    "signature-private-key-file",
    "upload-cache-url",
    "upload-dir-url",
    "shacache-ca-file",
    "shacache-cert-file",
    "shacache-key-file",
    "shadir-ca-file",
    "shadir-cert-file",
    "shadir-key-file",
];

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not in the expected dialect.
    #[error("{file}: {source}")]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: slap::config::ConfigError,
    },
    /// An option that is needed is missing.
    #[error("{file}: option `{option}` is missing from section [{section}]")]
    Missing {
        /// The file.
        file: PathBuf,
        /// The section it belongs in.
        section: &'static str,
        /// The option.
        option: String,
    },
    /// An option has a value that makes no sense.
    #[error("{origin}: option `{option}`: {reason}")]
    Value {
        /// The file, or the command line.
        origin: String,
        /// The option.
        option: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
}

/// Options given on the command line, by the names they have in the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides(BTreeMap<String, String>);

impl Overrides {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an option, such as `master_url`. Names are those of N 1.2 and 1.3.
    pub fn set(&mut self, option: &str, value: impl Into<String>) -> &mut Self {
        self.0.insert(option.to_owned(), value.into());
        self
    }

    /// Adds an option that was given.
    pub fn set_opt(&mut self, option: &str, value: Option<impl Into<String>>) -> &mut Self {
        if let Some(value) = value {
            self.set(option, value);
        }
        self
    }
}

/// How to reach the Master, and as whom.
#[derive(Debug, Clone)]
pub struct MasterAccess {
    /// The URL as configured.
    pub url: String,
    /// Certificate and key of the node.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// What the Master's own certificate is checked against. Our own option
    /// `master_tls_verify = false` turns the check off.
    pub trust: Trust,
}

impl MasterAccess {
    fn from_values(values: &Values) -> Result<Self, ConfigError> {
        let certificate = match (values.path("cert_file")?, values.path("key_file")?) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, Some(_)) => return Err(values.missing("cert_file")),
            (Some(_), None) => return Err(values.missing("key_file")),
        };
        let trust = if !values.bool("master_tls_verify", true)? {
            Trust::Insecure
        } else if let Some(file) = values.path("master_ca_file")? {
            Trust::CaFile(file)
        } else {
            Trust::WebRoots
        };
        Ok(MasterAccess {
            url: values.required("master_url")?,
            certificate,
            trust,
        })
    }

    /// A client for this Master.
    ///
    /// # Errors
    /// When the URL or the certificates cannot be used.
    pub fn client(&self) -> Result<slap_client::Client, slap_client::Error> {
        let mut settings = slap_client::Settings::new(self.url.clone());
        settings.certificate.clone_from(&self.certificate);
        settings.trust = self.trust.clone();
        slap_client::Client::new(settings)
    }
}

/// Everything `node software`, `instance`, `report` and `promise` need to know.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The file it came from.
    pub file: PathBuf,
    /// This node's reference (`computer_id`).
    pub node: NodeId,
    /// Its Master.
    pub master: MasterAccess,
    /// Where releases are installed.
    pub software_root: PathBuf,
    /// Where partitions are.
    pub instance_root: PathBuf,
    /// Where the partitions' certificates are written.
    pub certificate_repository: Option<PathBuf>,
    /// Directories with shared parts, as written: handed on to buildout verbatim.
    pub shared_part_list: String,
    /// The same for parts only needed while building.
    pub build_time_part_list: String,
    /// A script that replaces the builder's own buildout for bootstrapping.
    pub buildout: Option<PathBuf>,
    /// Seconds after which an unchanged partition is processed again; negative: never, 0: always.
    pub maximum_periodicity: i64,
    /// Limit for one promise.
    pub promise_timeout: Duration,
    /// Limit for the processing of one partition.
    pub partition_timeout: Option<Duration>,
    /// Bytes that must be free to build a release.
    pub software_min_free_space: u64,
    /// Bytes that must be free to process a partition.
    pub instance_min_free_space: u64,
    /// Between two measurements of what is used, by the agent; zero: it does none.
    pub collect_interval: Duration,
    /// Root of further data disks, as written.
    pub instance_storage_home: String,
    /// Copied to the partitions' `[network-information]`.
    pub ipv4_global_network: String,
    /// Whether somebody else starts the supervisor.
    pub forbid_supervisord_automatic_launch: bool,
    /// Whether only root may work.
    pub root_check: bool,
    /// Lock of `node software`.
    pub pidfile_software: PathBuf,
    /// Lock of `node instance` and `node promise`.
    pub pidfile_instance: PathBuf,
    /// Lock of `node report`.
    pub pidfile_report: PathBuf,
    /// Start after a random delay of at most this many seconds, …
    pub maximal_delay: u64,
    /// … unless this is set.
    pub now: bool,
    /// Process everything even where nothing changed (`force`, `develop`).
    pub force: bool,
    /// Run buildout with its debugger's options.
    pub buildout_debug: bool,
    /// How many releases or partitions are processed at once. Our own option `workers`; default:
    /// the number of cores.
    pub workers: usize,
    /// Where the builder keeps its environment. Our own option `builder_directory`; default:
    /// `<software_root>/.builder`.
    pub builder_directory: PathBuf,
    /// The Python the builder's environment is made with. Our own option `builder_python`;
    /// default: the newest suitable `python3` in `PATH`.
    pub builder_python: Option<PathBuf>,
    /// What starts the supervisor in the foreground. Its last argument is the configuration file.
    pub supervisor_command: Vec<OsString>,
    /// Where partitions have their control groups. Our own option `cgroups = false` does without.
    pub cgroups: Option<Hierarchy>,
    /// What each partition may use. Our own options `partition_memory_max`, `partition_tasks_max`
    /// and `partition_cpus_max`.
    pub limits: Limits,
    /// Options of `[networkcache]` that buildout gets for the cache of sources, by their names.
    pub source_cache: Vec<(&'static str, String)>,
    /// What instances may ask for beyond files and processes.
    pub managers: ManagerConfig,
    /// Section `[firewall]`: instances are reached only by those who may.
    pub firewall: Option<FirewallConfig>,
    /// Options that are set but not supported yet, for a warning.
    pub unsupported: Vec<String>,
}

impl NodeConfig {
    /// Reads the file, overlays the command line and checks everything that can be checked without
    /// the Master.
    ///
    /// # Errors
    /// [`ConfigError`] names the option and the file.
    pub fn load(file: &Path, overrides: &Overrides) -> Result<NodeConfig, ConfigError> {
        let config = read(file)?;
        let values = Values::new(
            file,
            "slapos",
            &config,
            &["slapos", "networkcache"],
            overrides,
        )?;
        let master = MasterAccess::from_values(&values)?;
        let certificate_repository = values.path("certificate_repository_path")?;
        if master.certificate.is_some() && certificate_repository.is_none() {
            return Err(values.missing("certificate_repository_path"));
        }
        if let Some(directory) = &certificate_repository {
            values.check_directory("certificate_repository_path", directory)?;
        }
        for option in FILES {
            if let Some(path) = values.path(option)?
                && !path.exists()
            {
                return Err(values.error(option, format!("{} does not exist", path.display())));
            }
        }
        let software_root = values.required_path("software_root")?;
        let instance_root = values.required_path("instance_root")?;
        values.check_directory("software_root", &software_root)?;
        values.check_directory("instance_root", &instance_root)?;
        let pidfile = |option: &str, default: &str| -> Result<PathBuf, ConfigError> {
            Ok(values
                .path(option)?
                .or(values.path("pidfile")?)
                .unwrap_or_else(|| PathBuf::from(default)))
        };
        let timeout = values
            .seconds("partition_timeout")?
            .or(values.seconds("partition-timeout")?);
        let cgroups = if values.bool("cgroups", true)? {
            Hierarchy::find()
        } else {
            None
        };
        let limits = limits(&values)?;
        let (managers, mut unsupported) = managers(&values, &config)?;
        unsupported.extend(unlimited(&limits, cgroups.as_ref()));
        let limits = limits.or_default();
        Ok(NodeConfig {
            file: file.to_owned(),
            node: values.node()?,
            cgroups,
            limits,
            source_cache: SOURCE_CACHE
                .iter()
                .filter_map(|option| Some((*option, values.optional(option)?)))
                .collect(),
            managers,
            firewall: FirewallConfig::read(file, &config)?,
            builder_directory: values
                .path("builder_directory")?
                .unwrap_or_else(|| software_root.join(".builder")),
            builder_python: values.path("builder_python")?,
            master,
            certificate_repository,
            shared_part_list: values.text("shared_part_list"),
            build_time_part_list: values.text("build_time_part_list"),
            buildout: values.path("buildout")?,
            maximum_periodicity: values.number("maximum_periodicity")?.unwrap_or(86_400),
            promise_timeout: values
                .seconds("promise_timeout")?
                .unwrap_or(Duration::from_secs(20)),
            partition_timeout: timeout,
            software_min_free_space: values.size("software_min_free_space")?,
            instance_min_free_space: values.size("instance_min_free_space")?,
            collect_interval: values
                .number("collect_interval")?
                .map_or(COLLECT_INTERVAL, Duration::from_secs),
            instance_storage_home: values.text("instance_storage_home"),
            ipv4_global_network: values.text("ipv4_global_network"),
            forbid_supervisord_automatic_launch: values
                .bool("forbid_supervisord_automatic_launch", false)?,
            root_check: values.bool("root_check", true)?,
            pidfile_software: pidfile("pidfile_software", "/opt/slapos/slapgrid-sr.pid")?,
            pidfile_instance: pidfile("pidfile_instance", "/opt/slapos/slapgrid-cp.pid")?,
            pidfile_report: pidfile("pidfile_report", "/opt/slapos/slapgrid-ur.pid")?,
            maximal_delay: values.number("maximal_delay")?.unwrap_or(0),
            now: values.bool("now", false)?,
            force: values.bool("force", false)? || values.bool("develop", false)?,
            buildout_debug: values.bool("buildout_debug", false)?,
            workers: match values.number("workers")? {
                Some(0) => return Err(values.error("workers", "must be at least 1".into())),
                Some(count) => count,
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
            supervisor_command: supervisor_command(&instance_root),
            unsupported,
            software_root,
            instance_root,
        })
    }

    /// Refuses to go on when only root may and we are not.
    pub(crate) fn check_root(&self) -> Result<(), crate::Error> {
        if self.root_check && !rustix::process::geteuid().is_root() {
            return Err(crate::Error::NotRoot {
                file: self.file.clone(),
            });
        }
        Ok(())
    }
}

/// Reads a configuration file.
pub(crate) fn read(file: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source| ConfigError::Read {
        file: file.to_owned(),
        source,
    };
    let mut text = String::new();
    let size = File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(unreadable)?;
    if size as u64 > FILE_BYTES_MAX {
        return Err(unreadable(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("it has more than {FILE_BYTES_MAX} bytes"),
        )));
    }
    Config::parse(&text).map_err(|source| ConfigError::Syntax {
        file: file.to_owned(),
        source,
    })
}

/// This program's own hidden command that runs the supervisor in the foreground.
fn supervisor_command(instance_root: &Path) -> Vec<OsString> {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("slapos"));
    vec![
        program.into(),
        "node".into(),
        "supervisord".into(),
        "--nodaemon".into(),
        "--configuration".into(),
        instance_root.join("etc/supervisord.conf").into(),
    ]
}

/// What a partition may use, as far as it is configured.
fn limits(values: &Values) -> Result<Limits, ConfigError> {
    let memory = match values.optional("partition_memory_max") {
        None => None,
        Some(text) => Some(parse_size(&text).ok_or_else(|| {
            values.error(
                "partition_memory_max",
                format!("`{text}` is not a size such as `512M` or `1.5G`"),
            )
        })?),
    };
    let cpus = match values.number::<f64>("partition_cpus_max")? {
        Some(cpus) if !(0.01..=100_000.0).contains(&cpus) => {
            return Err(values.error(
                "partition_cpus_max",
                format!("`{cpus}` is no number of processors such as `0.5` or `2`"),
            ));
        }
        cpus => cpus,
    };
    let tasks = match values.number("partition_tasks_max")? {
        Some(0) => return Err(values.error("partition_tasks_max", "must be at least 1".into())),
        tasks => tasks,
    };
    Ok(Limits {
        memory,
        tasks,
        cpus,
    })
}

/// Limits that are asked for and cannot be kept on this machine.
fn unlimited(limits: &Limits, cgroups: Option<&Hierarchy>) -> Vec<String> {
    let there = cgroups.map(Hierarchy::controllers).unwrap_or_default();
    limits
        .set()
        .into_iter()
        .filter(|(_, controller)| !there.iter().any(|found| found == controller))
        .map(|(option, controller)| {
            format!("option `{option}` (cgroup v2 has no {controller} controller here)")
        })
        .collect()
}

/// The managers that are asked for, and a complaint about each that does not exist.
fn managers(values: &Values, config: &Config) -> Result<(ManagerConfig, Vec<String>), ConfigError> {
    let (names, unknown) = manager_names(values);
    let words = |option: &str| -> Vec<String> {
        values
            .text(option)
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    let (mut allowed_disks, mut socat) = (None, None);
    for section in config.sections() {
        // One character of any kind separates the word from the name.
        let mut rest = section.strip_prefix("manager").unwrap_or_default().chars();
        rest.next();
        let get = |option| {
            config
                .get(section, option)
                .map_err(|source| ConfigError::Syntax {
                    file: values.file().to_owned(),
                    source,
                })
        };
        match rest.as_str() {
            "devperm" => {
                allowed_disks = get("allowed-disk-for-vm")?
                    .map(|list| slap::config::lines(&list).map(PathBuf::from).collect());
            }
            "portredir" => socat = get("socat")?.map(PathBuf::from),
            _ => {}
        }
    }
    Ok((
        ManagerConfig {
            names,
            power_users: words("power_user_list"),
            allowed_disks,
            socat,
        },
        unknown,
    ))
}

/// The names in `manager_list` that exist, and a complaint about each other one.
pub(crate) fn manager_names(values: &Values) -> (Vec<String>, Vec<String>) {
    let list = values.text("manager_list");
    let (names, unknown): (Vec<&str>, Vec<&str>) = list
        .split([',', ' ', '\t', '\n'])
        .filter(|name| !name.is_empty())
        .partition(|name| manager::NAMES.contains(name));
    let complain = |name: &&str| {
        format!(
            "manager `{name}` of option `manager_list` (there are {})",
            manager::NAMES.join(", ")
        )
    };
    (
        names.into_iter().map(str::to_owned).collect(),
        unknown.iter().map(complain).collect(),
    )
}

impl Values {
    pub(crate) fn node(&self) -> Result<NodeId, ConfigError> {
        NodeId::new(self.required("computer_id")?)
            .map_err(|error| self.error("computer_id", error.to_string()))
    }

    /// Must be a directory already: making one here would hide a mistake in the path.
    pub(crate) fn check_directory(&self, option: &str, path: &Path) -> Result<(), ConfigError> {
        if path.is_dir() {
            return Ok(());
        }
        Err(self.error(
            option,
            format!(
                "{} is not a directory; run `slapos node format` first, or create it",
                path.display()
            ),
        ))
    }

    pub(crate) fn master(&self) -> Result<MasterAccess, ConfigError> {
        MasterAccess::from_values(self)
    }
}

#[cfg(test)]
mod tests;
