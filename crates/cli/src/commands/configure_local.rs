//! `slapos configure local` (N 6.8): a node with a Master of its own, from nothing to ready.

mod cache;

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use node::boot::has_global_ipv6;
use node::config::{NodeConfig, Overrides};
use node::format::FormatConfig;
use node::{Cancel, Outcome};
use supervisor::config::{
    AutoRestart, GroupConfig, LogConfig, LogTarget, ProgramConfig, User, quote,
};

use crate::args::Global;
use crate::args::enrol::ConfigureLocal;
use crate::enrol::escaped;
use crate::enrol::staging::{Staging, make_directory};
use crate::failure::{Code, Failure};
use crate::progress::{NodeProgress, Spinner};
use crate::{CommandResult, contexts, interrupt, settings};
use cache::Cache;

/// The node's reference, as upstream's.
const NODE: &str = "local_computer";
const CONFIGURATION: &str = "slapos.cfg";
const PROXY_CONFIGURATION: &str = "slapos-proxy.cfg";
/// The Master's name for the supervisor, and of its file there.
const PROGRAM: &str = "slapproxy";
/// Where root's configuration is.
const SYSTEM: &str = "/etc/opt/slapos";

/// How long the Master may take to answer after it was started.
const READY: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Where everything is.
struct Place {
    configuration: PathBuf,
    software_root: PathBuf,
    instance_root: PathBuf,
    /// Database, logs, locks, and what format decided.
    state: PathBuf,
    unprivileged: bool,
    /// Whether partitions can have addresses of their own.
    has_network: bool,
    address: SocketAddr,
}

pub(super) fn run(arguments: &ConfigureLocal, global: &Global) -> CommandResult {
    let place = Place::choose(arguments, rustix::process::geteuid().is_root())?;
    place.check()?;
    if arguments.enable_shacache_proxy {
        Cache::check()?;
    }
    let progress = NodeProgress::new(global.quiet, global.verbose);
    let cancel = Cancel::new();
    let stop = cancel.clone();
    interrupt::on_interrupt(move || stop.cancel())?;

    make_directory(&place.configuration, 0o755)?;
    make_directory(&place.state, 0o755)?;
    make_directory(&place.state.join("log"), 0o700)?;
    make_directory(&place.software_root, 0o755)?;
    make_directory(&place.instance_root, 0o755)?;
    if !place.unprivileged && !place.has_network {
        tracing::warn!(
            "{} has no global IPv6 address: partitions share the loopback addresses. To give each \
             its own, add an IPv6 prefix to an interface, name it in [slapformat] of {}, set \
             `alter_network = True` there, and run {}",
            arguments.interface_name,
            place.configuration.join(CONFIGURATION).display(),
            place.command("node format --now")
        );
    }
    let (mut node_text, mut proxy_text) = (place.node_text(arguments), place.proxy_text());
    if arguments.enable_shacache_proxy {
        let cache = Cache::prepare(&place.instance_root)?;
        node_text += &cache.node_section(&place.url());
        proxy_text += &cache.master_options();
    }
    let staging = Staging::new(&place.configuration)?;
    staging.write(CONFIGURATION, node_text.as_bytes(), 0o644)?;
    staging.write(PROXY_CONFIGURATION, proxy_text.as_bytes(), 0o644)?;
    staging.commit(&[PROXY_CONFIGURATION, CONFIGURATION])?;
    let file = place.configuration.join(CONFIGURATION);
    tracing::info!("SlapOS configuration written to {}", file.display());

    place.start_master(&file)?;
    let format = FormatConfig::load(&file, Overrides::new().set("now", "true"))
        .map_err(|error| Failure::of(&error))?;
    let options = node::format::Options {
        undo: false,
        cancel,
    };
    match node::format::run(&format, &options, &progress)? {
        Outcome::Success => {}
        other => {
            return Err(Failure::new("the machine could not be prepared completely")
                .hint(format!("try again: {}", place.command("node format --now")))
                .exit_code(other.exit_code()));
        }
    }
    place.client_configuration(&file)?;
    tracing::info!(
        "this machine is a cloud of its own; its Master is at {}",
        place.url()
    );
    tracing::info!(
        "now install a software release: slapos supply URL {NODE}; then {} and {}, again and again",
        place.command("node software"),
        place.command("node instance")
    );
    Ok(ExitCode::SUCCESS)
}

impl Place {
    fn choose(arguments: &ConfigureLocal, is_root: bool) -> Result<Place, Failure> {
        let unprivileged = arguments.unprivileged || !is_root;
        let absolute = |path: &PathBuf| std::path::absolute(settings::expand_home(path));
        let configuration = match &arguments.slapos_configuration_directory {
            Some(directory) => absolute(directory)?,
            None if unprivileged => {
                return Err(
                    Failure::new("only root can set up this machine for everybody")
                        .hint(
                            "run it as root, or name a place of your own: \
                             --slapos-configuration-directory ~/node/etc",
                        )
                        .code(Code::Refused),
                );
            }
            None => PathBuf::from(SYSTEM),
        };
        // `…/etc` has its neighbours in `…`.
        let base = match configuration.parent() {
            Some(parent) if configuration.ends_with("etc") => parent.to_owned(),
            _ => configuration.clone(),
        };
        let directory = |given: &Option<PathBuf>, own: &str, system: &str| match given {
            Some(path) => absolute(path),
            None if unprivileged => Ok(base.join(own)),
            None => Ok(PathBuf::from(system)),
        };
        Ok(Place {
            software_root: directory(&arguments.slapos_software_root, "software", "/opt/slapgrid")?,
            instance_root: directory(&arguments.slapos_instance_root, "instance", "/srv/slapgrid")?,
            state: directory(&arguments.slapos_buildout_directory, "var", "/opt/slapos")?,
            configuration,
            unprivileged,
            has_network: !unprivileged && has_global_ipv6(&arguments.interface_name),
            address: SocketAddr::new(arguments.daemon_listen_ip, arguments.daemon_listen_port),
        })
    }

    /// Everything that can be known before something is made.
    fn check(&self) -> Result<(), Failure> {
        let file = self.configuration.join(CONFIGURATION);
        if fs::symlink_metadata(&file).is_ok() {
            return Err(Failure::new(format!(
                "A SlapOS configuration already exists at {}",
                file.display()
            ))
            .hint("move it away, or set up another place with --slapos-configuration-directory"));
        }
        TcpListener::bind(self.address).map(drop).map_err(|error| {
            Failure::new(format!("cannot listen on {}: {error}", self.address))
                .hint("choose with --daemon-listen-ip and --daemon-listen-port")
        })
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// A command of this node, as it has to be typed.
    fn command(&self, words: &str) -> String {
        if self.configuration == Path::new(SYSTEM) {
            return format!("slapos {words}");
        }
        let file = self.configuration.join(CONFIGURATION);
        format!("slapos {words} --cfg {}", file.display())
    }

    /// Writes the Master's section for the supervisor, starts that, and waits for the Master.
    fn start_master(&self, file: &Path) -> Result<(), Failure> {
        let config =
            NodeConfig::load(file, &Overrides::new()).map_err(|error| Failure::of(&error))?;
        config.prepare_structure()?;
        let section = self.program()?.render();
        let path = config.supervisord_conf_d().join(format!("{PROGRAM}.conf"));
        fs::write(&path, section)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        let client = node::supervisor(&config)?;
        // One that runs already reads the new section only when told.
        let update = client
            .update(Some(&[PROGRAM]))
            .map_err(|error| Failure::of(&error))?;
        if let Some((group, error)) = update.failures.first() {
            return Err(Failure::new(format!("the supervisor: {group}: {error}")));
        }
        let _spinner = Spinner::start("starting the Master");
        let end = Instant::now() + READY;
        while let Err(error) = TcpStream::connect_timeout(&self.reachable(), LOOK) {
            if Instant::now() >= end {
                let log = self.log();
                return Err(Failure::new(format!(
                    "the Master does not answer at {}: {error}",
                    self.address
                ))
                .hint(format!("see {}", log.display())));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Where the Master answers: one that listens everywhere does so on loopback.
    fn reachable(&self) -> SocketAddr {
        let ip = match self.address.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        SocketAddr::new(ip, self.address.port())
    }

    fn log(&self) -> PathBuf {
        self.state.join("log/slapos-proxy.log")
    }

    /// The Master as the supervisor keeps it.
    fn program(&self) -> Result<GroupConfig, Failure> {
        let program = std::env::current_exe()?;
        let words = [
            program.display().to_string(),
            "proxy".to_owned(),
            "start".to_owned(),
            "--cfg".to_owned(),
            self.configuration
                .join(PROXY_CONFIGURATION)
                .display()
                .to_string(),
        ];
        let command: Vec<String> = words.iter().map(|word| quote(word)).collect();
        let root = rustix::process::geteuid().is_root();
        Ok(GroupConfig::alone(ProgramConfig {
            directory: Some(self.state.clone()),
            autorestart: AutoRestart::Always,
            startsecs: 0,
            startretries: 0,
            stopwaitsecs: 60,
            user: root.then_some(User::Id(0)),
            gid: root.then_some(0),
            redirect_stderr: true,
            stdout: LogConfig::file(self.log(), 100 * 1024, 1),
            stderr: LogConfig {
                target: LogTarget::None,
                ..LogConfig::none()
            },
            ..ProgramConfig::new(PROGRAM, command.join(" "))
        }))
    }

    /// Makes the client's commands find this Master, unless they have one already.
    fn client_configuration(&self, file: &Path) -> Result<(), Failure> {
        let directory = settings::home().join(".slapos");
        let client = directory.join(contexts::FILE);
        if fs::symlink_metadata(&client).is_ok() {
            tracing::info!(
                "{} is there already; clients of this Master need `master_url = {}`, or --cfg {}",
                client.display(),
                self.url(),
                file.display()
            );
            return Ok(());
        }
        make_directory(&directory, 0o700)?;
        symlink(file, &client).map_err(|error| {
            Failure::new(format!("cannot create {}: {error}", client.display()))
        })?;
        tracing::info!("SlapOS client configuration is {}", client.display());
        Ok(())
    }

    fn proxy_text(&self) -> String {
        let remote = if self.address.ip().is_loopback() {
            ""
        } else {
            "# Nobody is asked who they are: whoever reaches this address commands the machine.\n\
             allow_remote = true\n"
        };
        format!(
            "\
# Written by `slapos configure local`: the Master of this machine.
[slapos]
computer_id = {NODE}
master_url = {url}

[slapproxy]
host = {host}
port = {port}
{remote}database_uri = {state}/proxy.db
local_software_release_root = /
",
            url = self.url(),
            host = self.address.ip(),
            port = self.address.port(),
            state = escaped(&self.state.display().to_string()),
        )
    }

    fn node_text(&self, arguments: &ConfigureLocal) -> String {
        let path = |path: &Path| escaped(&path.display().to_string());
        let root_check = if self.unprivileged {
            "root_check = false\n"
        } else {
            ""
        };
        let alter = match (self.unprivileged, self.has_network) {
            (true, _) => {
                "# An ordinary user's node: partitions are that user's, on loopback addresses.\n\
                 alter_user = False\nalter_network = False\npartition_has_ipv6_range = False\n"
            }
            (false, false) => {
                "# The interface had no global IPv6 address: partitions share the loopback ones.\n\
                 alter_network = False\npartition_has_ipv6_range = False\n"
            }
            (false, true) => "",
        };
        format!(
            "\
# Written by `slapos configure local`.
[slapos]
computer_id = {NODE}
# The Master of this machine; {PROXY_CONFIGURATION} is its configuration.
master_url = {url}
software_root = {software_root}
instance_root = {instance_root}
pidfile_software = {state}/slapgrid-sr.pid
pidfile_instance = {state}/slapgrid-cp.pid
pidfile_report = {state}/slapgrid-ur.pid
{root_check}
[slapformat]
interface_name = {interface}
ipv4_local_network = {network}
partition_amount = {partitions}
create_tap = False
{alter}partition_base_name = slappart
user_base_name = slapuser
tap_base_name = slaptap
computer_xml = {state}/slapos.xml
log_file = {state}/log/slapos-node-format.log
",
            url = self.url(),
            software_root = path(&self.software_root),
            instance_root = path(&self.instance_root),
            state = path(&self.state),
            interface = escaped(&arguments.interface_name),
            network = escaped(&arguments.ipv4_local_network),
            partitions = arguments.partition_number,
        )
    }
}
