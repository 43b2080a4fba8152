//! `slapos node register` (C 3.3, N 6.3).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use slap::NodeId;

use crate::args::enrol::Register;
use crate::enrol::staging::{Staging, make_directory};
use crate::enrol::{Door, escaped};
use crate::failure::{Code, Failure};
use crate::{CommandResult, settings};

const SSL: &str = "ssl";
/// Where root's node keeps its state.
const STATE: &str = "/opt/slapos";
/// A unix socket's path is limited to 107 bytes; the supervisor's is the longest one a node makes.
const INSTANCE_ROOT_BYTES_MAX: usize = 107 - "/sv.sock.1234567".len();

/// Where everything of a node is.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// The configuration.
    file: PathBuf,
    /// Where it is, with the directory of the certificates.
    directory: PathBuf,
    software_root: PathBuf,
    instance_root: PathBuf,
    /// Logs, locks, and what `node format` decided.
    state: PathBuf,
    unprivileged: bool,
}

pub(super) fn run(arguments: &Register, cfg: Option<&Path>) -> CommandResult {
    let is_root = rustix::process::geteuid().is_root();
    let place = Place::choose(arguments, cfg, is_root)?;
    if arguments.name.trim().is_empty() {
        return Err(Failure::new("a node needs a name").code(Code::Usage));
    }
    if arguments.dry_run {
        place.tell();
        return Ok(ExitCode::SUCCESS);
    }
    // Everything that can fail comes before the token is used up.
    make_directory(&place.directory, 0o711)?;
    make_directory(&place.state, 0o755)?;
    make_directory(&place.state.join("log"), 0o755)?;
    let mut staging = Staging::new(&place.directory)?;
    let door = Door::open(&arguments.access)?;
    let token = Door::token(&arguments.access.proof, "Computer security token: ")?;
    tracing::info!("asking the Master to register `{}`", arguments.name);
    let enrolled = door.node(&token, arguments.name.trim())?;

    staging.keep();
    staging.directory(SSL, 0o711)?;
    staging.directory(&format!("{SSL}/partition_pki"), 0o711)?;
    staging.write(&format!("{SSL}/key"), enrolled.key.as_bytes(), 0o600)?;
    staging.write(
        &format!("{SSL}/certificate"),
        enrolled.certificate.as_bytes(),
        0o600,
    )?;
    if let Some(pem) = door.authority() {
        staging.write(&format!("{SSL}/ca.crt"), pem.as_bytes(), 0o644)?;
    }
    let node = enrolled.node()?;
    let name = place.name();
    let text = place.configuration(arguments, &door, &node);
    staging.write(name, text.as_bytes(), 0o644)?;
    place.keep_former()?;
    staging.commit(&[SSL, name])?;
    tracing::info!("SlapOS configuration written to {}", place.file.display());

    match door.client(&enrolled).and_then(|client| client.node(&node)) {
        Ok(_) => tracing::info!("Node has successfully been configured as {node}."),
        Err(error) => tracing::warn!(
            "Node has been configured as {node}, but the Master's API at {} did not answer as it \
             should: {error}",
            door.master_url
        ),
    }
    tracing::info!("now prepare it with `{}`", place.next_command());
    Ok(ExitCode::SUCCESS)
}

impl Place {
    fn choose(arguments: &Register, cfg: Option<&Path>, is_root: bool) -> Result<Self, Failure> {
        let mut file = std::path::absolute(settings::node_file(cfg))?;
        if file.is_dir() {
            file.push("slapos.cfg");
        }
        let named = cfg.is_some() || std::env::var_os("SLAPOS_CONFIGURATION").is_some();
        if !is_root && !named {
            return Err(
                Failure::new("only root can register this machine for everybody")
                    .hint(
                        "run it as root, or name a place of your own: --cfg ~/node/etc/slapos.cfg",
                    )
                    .code(Code::Refused),
            );
        }
        let (Some(directory), Some(_)) = (file.parent(), file.file_name().and_then(|n| n.to_str()))
        else {
            return Err(Failure::new(format!(
                "{} cannot be the name of a configuration",
                file.display()
            )));
        };
        let directory = directory.to_owned();
        let unprivileged = arguments.unprivileged || !is_root;
        // `…/etc/slapos.cfg` has its neighbours in `…`.
        let base = match directory.parent() {
            Some(parent) if directory.ends_with("etc") => parent.to_owned(),
            _ => directory.clone(),
        };
        let root = |given: &Option<PathBuf>, own: &str, system: &str| match given {
            Some(path) => std::path::absolute(settings::expand_home(path)),
            None if unprivileged => Ok(base.join(own)),
            None => Ok(PathBuf::from(system)),
        };
        let place = Place {
            software_root: root(&arguments.software_root, "software", "/opt/slapgrid")?,
            instance_root: root(&arguments.instance_root, "instance", "/srv/slapgrid")?,
            state: if unprivileged {
                base.join("var")
            } else {
                PathBuf::from(STATE)
            },
            file,
            directory,
            unprivileged,
        };
        if place.instance_root.as_os_str().len() > INSTANCE_ROOT_BYTES_MAX {
            return Err(Failure::new(format!(
                "{} is too long a path: sockets below it would exceed the system's limit",
                place.instance_root.display()
            ))
            .hint(format!(
                "choose one of at most {INSTANCE_ROOT_BYTES_MAX} bytes with --instance-root"
            )));
        }
        Ok(place)
    }

    fn name(&self) -> &str {
        self.file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("slapos.cfg")
    }

    /// Says what would be done.
    fn tell(&self) {
        for path in [
            &self.directory.join(SSL).join("key"),
            &self.directory.join(SSL).join("certificate"),
            &self.file,
        ] {
            tracing::info!("would write {}", path.display());
        }
        tracing::info!(
            "the node would keep releases in {}, partitions in {}, its state in {}",
            self.software_root.display(),
            self.instance_root.display(),
            self.state.display()
        );
    }

    fn next_command(&self) -> String {
        if self.file == Path::new("/etc/opt/slapos/slapos.cfg") {
            "slapos node format --now".to_owned()
        } else {
            format!("slapos node format --now --cfg {}", self.file.display())
        }
    }

    /// A configuration and certificates that are there go on under other names. What else is in the
    /// directory is not ours.
    fn keep_former(&self) -> Result<(), Failure> {
        let former = [self.file.clone(), self.directory.join(SSL)];
        let aside = |path: &Path, count: u32| {
            let mut name = path.as_os_str().to_owned();
            name.push(match count {
                0 => ".old".to_owned(),
                count => format!(".old.{count}"),
            });
            PathBuf::from(name)
        };
        let there = |path: &Path| fs::symlink_metadata(path).is_ok();
        let Some(count) =
            (0..u32::MAX).find(|count| !former.iter().any(|path| there(&aside(path, *count))))
        else {
            return Ok(());
        };
        for path in former.iter().filter(|path| there(path)) {
            let to = aside(path, count);
            tracing::info!("keeping the former {} as {}", path.display(), to.display());
            fs::rename(path, &to).map_err(|error| {
                Failure::new(format!("cannot move {}: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    fn configuration(&self, arguments: &Register, door: &Door, node: &NodeId) -> String {
        let path = |path: &Path| escaped(&path.display().to_string());
        let ssl = |name: &str| path(&self.directory.join(SSL).join(name));
        let state = |name: &str| path(&self.state.join(name));
        let ordinary = if self.unprivileged {
            "# An ordinary user's node: partitions are that user's, on loopback addresses.\n"
        } else {
            ""
        };
        let root_check = if self.unprivileged {
            "root_check = false\n"
        } else {
            ""
        };
        let alter = if self.unprivileged {
            "alter_user = False\nalter_network = False\npartition_has_ipv6_range = False\n"
        } else {
            ""
        };
        format!(
            "\
# Written by `slapos node register`.
[slapos]
computer_id = {node}
# The Master, and how it is recognised.
master_url = {url}
{trust}# Who this node is: whoever has the key can act for it.
key_file = {key}
cert_file = {certificate}
# The certificates of the instances.
certificate_repository_path = {pki}
software_root = {software_root}
instance_root = {instance_root}
pidfile_software = {pid_software}
pidfile_instance = {pid_instance}
pidfile_report = {pid_report}
{root_check}
[slapformat]
{ordinary}interface_name = {interface}
ipv4_local_network = {network}
partition_amount = {partitions}
create_tap = {tap}
{alter}partition_base_name = slappart
user_base_name = slapuser
tap_base_name = slaptap
computer_xml = {computer_xml}
log_file = {log}
",
            url = escaped(&door.master_url),
            trust = door.options(
                &self
                    .directory
                    .join(SSL)
                    .join("ca.crt")
                    .display()
                    .to_string()
            ),
            key = ssl("key"),
            certificate = ssl("certificate"),
            pki = ssl("partition_pki"),
            software_root = path(&self.software_root),
            instance_root = path(&self.instance_root),
            pid_software = state("slapgrid-sr.pid"),
            pid_instance = state("slapgrid-cp.pid"),
            pid_report = state("slapgrid-ur.pid"),
            interface = escaped(&arguments.interface_name),
            network = escaped(&arguments.ipv4_local_network),
            partitions = arguments.partition_number,
            tap = if arguments.create_tap {
                "True"
            } else {
                "False"
            },
            computer_xml = state("slapos.xml"),
            log = state("log/slapos-node-format.log"),
        )
    }
}
