//! What `node format` is configured to do (N 1.3).

use std::path::{Path, PathBuf};

use slap::NodeId;

use super::arithmetic::network_v4;
use crate::config::{ConfigError, MasterAccess, Overrides, Values, manager_names, read};

/// Options that asked for something else long ago; using them is a mistake.
const OBSOLETE: &[&str] = &["bridge_name", "no_bridge"];

/// Most partitions of one node.
const PARTITIONS_MAX: usize = 10_000;

/// Everything `node format` needs to know: `[slapformat]`, then `[slapos]`, then the command line.
#[derive(Debug, Clone)]
pub struct FormatConfig {
    /// The file it came from.
    pub file: PathBuf,
    /// This node's reference.
    pub node: NodeId,
    /// Its Master.
    pub master: MasterAccess,
    /// Where releases are installed; created.
    pub software_root: PathBuf,
    /// Where partitions are; created.
    pub instance_root: PathBuf,
    /// Where the partitions' certificates will be written; created.
    pub certificate_repository: Option<PathBuf>,
    /// How many partitions there shall be.
    pub partition_amount: usize,
    /// Their names are this and an index.
    pub partition_base_name: String,
    /// Their users' names are this and an index.
    pub user_base_name: String,
    /// Their taps' names are this and an index.
    pub tap_base_name: String,
    /// Owner of `software_root`.
    pub software_user: String,
    /// The state file, kept between runs.
    pub computer_xml: PathBuf,
    /// The same as JSON.
    pub computer_json: Option<PathBuf>,
    /// An explicit description of the machine.
    pub input_definition_file: Option<PathBuf>,
    /// Where to write the description that was made.
    pub output_definition_file: Option<PathBuf>,
    /// Root of further data disks.
    pub instance_storage_home: Option<PathBuf>,
    /// Create users and give them their directories.
    pub alter_user: bool,
    /// Create addresses, taps and routes.
    pub alter_network: bool,
    /// What is done to the network where `alter_network` is on.
    pub network: NetworkConfig,
    /// The managers that have something to do with the machine.
    pub managers: Vec<String>,
    /// Whether only root may work.
    pub root_check: bool,
    /// Tell what would be done and do nothing.
    pub dry_run: bool,
    /// Don't wait a random time first.
    pub now: bool,
}

/// What `node format` does to the network.
#[derive(Debug, Clone, Default)]
pub struct NetworkConfig {
    /// The interface that gets the partitions' IPv4 addresses.
    pub interface_name: Option<String>,
    /// The interface whose prefix is divided and that gets their IPv6 addresses.
    pub ipv6_interface: Option<String>,
    /// The network their IPv4 addresses are taken from, as it was written.
    pub ipv4_local_network: Option<String>,
    /// Give each partition a tap.
    pub create_tap: bool,
    /// Route an IPv6 range to each tap.
    pub tap_ipv6: bool,
    /// The interface whose IPv4 network is distributed to the taps.
    pub tap_gateway_interface: Option<String>,
    /// Give each partition a tun.
    pub create_tun: bool,
    /// Give each tun an IPv6 address.
    pub tun_ipv6: bool,
    /// Give each partition an IPv6 range.
    pub partition_has_ipv6_range: bool,
    /// Bits by which the ranges' prefixes are longer than the interface's.
    pub ipv6_prefixshift: u32,
}

impl NetworkConfig {
    fn read(values: &Values, partitions: usize) -> Result<NetworkConfig, ConfigError> {
        let shift = values.number("ipv6_prefixshift")?.unwrap_or(16);
        if !(2..=32).contains(&shift) {
            let reason = "must be between 2 and 32".to_owned();
            return Err(values.error("ipv6_prefixshift", reason));
        }
        if (1_u64 << shift) < 4 * partitions as u64 {
            let reason = format!(
                "{shift} bits are too few for {partitions} partitions: 2^{shift} must be at least \
                 four times their number"
            );
            return Err(values.error("ipv6_prefixshift", reason));
        }
        let ipv4_local_network = values.optional("ipv4_local_network");
        if let Some(text) = &ipv4_local_network
            && network_v4(text).is_none()
        {
            let reason = format!("`{text}` is not a network such as 10.0.0.0/16");
            return Err(values.error("ipv4_local_network", reason));
        }
        let interface = |option: &str| {
            let name = values.optional(option);
            match name {
                Some(name) if !is_interface_name(&name) => Err(values.error(
                    option,
                    format!("`{name}` cannot be the name of an interface"),
                )),
                name => Ok(name),
            }
        };
        Ok(NetworkConfig {
            interface_name: interface("interface_name")?,
            ipv6_interface: interface("ipv6_interface")?,
            ipv4_local_network,
            create_tap: values.bool("create_tap", true)?,
            tap_ipv6: values.bool("tap_ipv6", true)?,
            tap_gateway_interface: interface("tap_gateway_interface")?,
            create_tun: values.bool("create_tun", false)?,
            tun_ipv6: values.bool("tun_ipv6", true)?,
            partition_has_ipv6_range: values.bool("partition_has_ipv6_range", true)?,
            ipv6_prefixshift: shift,
        })
    }
}

/// What the kernel takes as the name of an interface, and no program as an option.
pub(crate) fn is_interface_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    !name.is_empty() && name.len() <= 15 && !name.starts_with(['-', '.']) && name.bytes().all(fine)
}

/// What the shadow tools take as the name of a user or group, and no program as an option.
pub(crate) fn is_user_name(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !name.is_empty()
        && name.len() <= 32
        && !name.starts_with(['-', '.'])
        && !name.bytes().all(|byte| byte.is_ascii_digit())
        && name.bytes().all(fine)
}

impl FormatConfig {
    /// Where it is kept what format made on this machine, beside the state file.
    pub fn record(&self) -> PathBuf {
        let mut name = self.computer_xml.clone().into_os_string();
        name.push(".made");
        name.into()
    }

    /// The directory of the state file.
    pub(crate) fn computer_xml_directory(&self) -> Option<PathBuf> {
        self.computer_xml.parent().map(Path::to_owned)
    }

    /// The interface whose IPv6 prefix is divided: `ipv6_interface`, else `interface_name`.
    pub fn ipv6_interface(&self) -> Option<&str> {
        let network = &self.network;
        let name = network.ipv6_interface.as_ref();
        name.or(network.interface_name.as_ref()).map(String::as_str)
    }

    /// Reads the file, overlays the command line and checks what can be checked.
    ///
    /// # Errors
    /// [`ConfigError`] names the option and the file.
    pub fn load(file: &Path, overrides: &Overrides) -> Result<FormatConfig, ConfigError> {
        let config = read(file)?;
        let values = Values::new(
            file,
            "slapformat",
            &config,
            &["slapformat", "slapos"],
            overrides,
        )?;
        for option in OBSOLETE {
            if !values.text(option).is_empty() {
                let reason = "it is obsolete; remove it, interface_name replaces it".to_owned();
                return Err(values.error(option, reason));
            }
        }
        for option in [
            "key_file",
            "cert_file",
            "master_ca_file",
            "input_definition_file",
        ] {
            if let Some(path) = values.path(option)?
                && !path.exists()
            {
                return Err(values.error(option, format!("{} does not exist", path.display())));
            }
        }
        let partition_amount = match values.number("partition_amount")? {
            None => return Err(values.missing("partition_amount")),
            Some(amount) if amount > PARTITIONS_MAX => {
                let reason = format!("at most {PARTITIONS_MAX} partitions are possible");
                return Err(values.error("partition_amount", reason));
            }
            Some(amount) => amount,
        };
        let name = |option: &str, default: &str| {
            values
                .optional(option)
                .unwrap_or_else(|| default.to_owned())
        };
        let alter_network = values.bool("alter_network", true)?;
        let network = if alter_network {
            NetworkConfig::read(&values, partition_amount)?
        } else {
            NetworkConfig::default()
        };
        if alter_network {
            for (option, value) in [
                ("interface_name", &network.interface_name),
                ("ipv4_local_network", &network.ipv4_local_network),
            ] {
                if value.is_none() {
                    return Err(values.missing(option));
                }
            }
        }
        Ok(FormatConfig {
            file: file.to_owned(),
            node: values.node()?,
            master: values.master()?,
            software_root: values.required_path("software_root")?,
            instance_root: values.required_path("instance_root")?,
            certificate_repository: values.path("certificate_repository_path")?,
            partition_amount,
            partition_base_name: name("partition_base_name", "slappart"),
            user_base_name: name("user_base_name", "slapuser"),
            tap_base_name: name("tap_base_name", "slaptap"),
            software_user: name("software_user", "slapsoft"),
            computer_xml: values.required_path("computer_xml")?,
            computer_json: values.path("computer_json")?,
            input_definition_file: values.path("input_definition_file")?,
            output_definition_file: values.path("output_definition_file")?,
            instance_storage_home: values.path("instance_storage_home")?,
            alter_user: values.bool("alter_user", true)?,
            alter_network,
            network,
            managers: manager_names(&values).0,
            root_check: values.bool("root_check", true)?,
            dry_run: values.bool("dry_run", false)?,
            now: values.bool("now", false)?,
        })
    }
}
