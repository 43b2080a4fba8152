//! What `node format` is configured to do (N 1.3).

use std::path::{Path, PathBuf};

use slap::NodeId;

use crate::config::{ConfigError, MasterAccess, Overrides, Values, read};

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
    /// Whether only root may work.
    pub root_check: bool,
    /// Tell what would be done and do nothing.
    pub dry_run: bool,
    /// Don't wait a random time first.
    pub now: bool,
}

impl FormatConfig {
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
            alter_network: values.bool("alter_network", true)?,
            root_check: values.bool("root_check", true)?,
            dry_run: values.bool("dry_run", false)?,
            now: values.bool("now", false)?,
        })
    }
}
