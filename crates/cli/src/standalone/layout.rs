//! Where a standalone SlapOS keeps what, and the configuration files it writes.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use crate::failure::Failure;
use crate::settings;

/// The releases that ship inside the program.
static HELLOWORLD: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../software/helloworld");

/// A unix socket's path is limited to 107 bytes; the supervisor's is the longest one we make.
const ROOT_BYTES_MAX: usize = 107 - "/instance/sv.sock.1234567".len();

/// The node's reference.
pub(super) const NODE: &str = "local_computer";

/// Where things are below the root directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub root: PathBuf,
}

impl Layout {
    /// Makes the directories. The Master's data and the logs are their owner's alone.
    pub(super) fn create(root: Option<&Path>) -> Result<Layout, Failure> {
        let root = root.map_or_else(
            || settings::home().join(".slapos/standalone"),
            settings::expand_home,
        );
        let root = std::path::absolute(&root)?;
        if root.as_os_str().len() > ROOT_BYTES_MAX {
            return Err(Failure::new(format!(
                "{} is too long a path: sockets below it would exceed the system's limit",
                root.display()
            ))
            .hint(format!(
                "choose one of at most {ROOT_BYTES_MAX} bytes with --root"
            )));
        }
        let layout = Layout { root };
        for (directory, mode) in [
            ("", 0o755),
            ("etc", 0o755),
            ("instance", 0o755),
            ("log", 0o700),
            ("software", 0o755),
            ("var", 0o700),
        ] {
            let path = layout.root.join(directory);
            DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(&path)
                .map_err(|error| cannot("create", &path, &error))?;
        }
        Ok(layout)
    }

    pub(super) fn configuration(&self) -> PathBuf {
        self.root.join("etc/slapos.cfg")
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.root.join("var/standalone.lock")
    }

    pub(super) fn master_log(&self) -> PathBuf {
        self.root.join("log/master.log")
    }

    pub(super) fn instance_root(&self) -> PathBuf {
        self.root.join("instance")
    }

    pub(super) fn software_root(&self) -> PathBuf {
        self.root.join("software")
    }

    /// Path of the `helloworld` release, unpacked from the program.
    pub(super) fn helloworld(&self) -> Result<PathBuf, Failure> {
        let directory = self.root.join("share/software/helloworld");
        fs::create_dir_all(&directory).map_err(|error| cannot("create", &directory, &error))?;
        for file in HELLOWORLD.files() {
            write(&directory.join(file.path()), file.contents(), 0o644)?;
        }
        Ok(directory.join("software.cfg"))
    }

    /// Writes the configuration of Master, node and client, which is one file. The port is the
    /// given one, else the one used before, else a free one.
    pub(super) fn configure(&self, port: Option<u16>, partitions: u32) -> Result<u16, Failure> {
        let before = fs::read_to_string(self.configuration())
            .ok()
            .and_then(|text| slap::config::Config::parse(&text).ok())
            .and_then(|config| config.get("slapproxy", "port").ok().flatten())
            .and_then(|port| port.parse().ok());
        let port = match port.or(before) {
            Some(port) => port,
            None => free_port()?,
        };
        write(
            &self.root.join("etc/definition.cfg"),
            definition(partitions).as_bytes(),
            0o644,
        )?;
        write(
            &self.configuration(),
            self.configuration_text(port, partitions).as_bytes(),
            0o644,
        )?;
        Ok(port)
    }

    fn configuration_text(&self, port: u16, partitions: u32) -> String {
        // A literal percent sign is written twice in this dialect.
        let root = self.root.display().to_string().replace('%', "%%");
        format!(
            "\
# Written by `slapos standalone` at each start: Master, node and client in one file.
[slapos]
computer_id = {NODE}
master_url = http://127.0.0.1:{port}/
master_rest_url = http://127.0.0.1:{port}/hateoas/
software_root = {root}/software
instance_root = {root}/instance
pidfile_software = {root}/var/slapos-node-software.pid
pidfile_instance = {root}/var/slapos-node-instance.pid
pidfile_report = {root}/var/slapos-node-report.pid
root_check = false
software_min_free_space = 200M
instance_min_free_space = 100M

[slapformat]
alter_user = False
alter_network = False
create_tap = False
partition_has_ipv6_range = False
partition_amount = {partitions}
partition_base_name = slappart
user_base_name = slapuser
input_definition_file = {root}/etc/definition.cfg
computer_xml = {root}/var/slapos.xml

[slapproxy]
host = 127.0.0.1
port = {port}
database_uri = {root}/var/master.db
local_software_release_root = /
"
        )
    }
}

fn definition(partitions: u32) -> String {
    let user = settings_user();
    let mut text = String::from("[computer]\naddress = 127.0.0.1/255.255.255.255\n");
    for index in 0..partitions {
        text.push_str(&format!(
            "\n[partition_{index}]\n\
             address = 127.0.0.1/255.255.255.255 ::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n\
             pathname = slappart{index}\nuser = {user}\nnetwork_interface =\n"
        ));
    }
    text
}

fn settings_user() -> String {
    std::env::var("USER")
        .ok()
        .filter(|user| !user.is_empty())
        .unwrap_or_else(|| rustix::process::geteuid().as_raw().to_string())
}

/// A port nobody listens on, outside the range from which the system gives ports to clients: it is
/// kept, and shall still be free after the next reboot.
fn free_port() -> Result<u16, Failure> {
    let start = u16::try_from(std::process::id() % 10_000).unwrap_or_default();
    (0..10_000)
        .map(|step| 20_000 + (start + step) % 10_000)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| Failure::new("no port is free between 20000 and 30000"))
}

/// Writes a file whole or not at all, and only when it says something else.
fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), Failure> {
    if fs::read(path).is_ok_and(|known| known == contents) {
        return Ok(());
    }
    let temporary = path.with_extension("tmp");
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(contents)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|error| cannot("write", path, &error))
}

fn cannot(doing: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot {doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_port_is_kept_and_the_configuration_reads_back() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::create(Some(&directory.path().join("a%b"))).unwrap();
        let port = layout.configure(None, 3).unwrap();
        assert_eq!(layout.configure(None, 3).unwrap(), port);
        let text = fs::read_to_string(layout.configuration()).unwrap();
        let config = slap::config::Config::parse(&text).unwrap();
        assert_eq!(
            config.get("slapos", "software_root").unwrap().unwrap(),
            layout.software_root().display().to_string()
        );
    }

    #[test]
    fn a_root_too_long_for_sockets_is_refused_before_anything_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("x".repeat(100));
        assert!(Layout::create(Some(&root)).is_err());
        assert!(!root.exists());
    }

    #[test]
    fn the_release_ships_inside_the_program() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::create(Some(directory.path())).unwrap();
        let profile = layout.helloworld().unwrap();
        assert!(profile.exists());
        assert!(profile.with_file_name("software.cfg.json").exists());
    }
}
