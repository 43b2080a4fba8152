//! Where everything is on disk (N 2), and the structure every command makes sure of (N 3.0).

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use slap::{PartitionId, ReleaseUrl};
use supervisor::config::DaemonConfig;

use crate::config::NodeConfig;
use crate::outcome::Error;
use crate::safe_fs::{self, Durable};

/// Longest path a unix socket may have, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The key of a release: hexadecimal MD5 of the URL exactly as the Master sent it (N 2.1).
pub fn release_key(release: &ReleaseUrl) -> String {
    let digest = Md5::digest(release.as_str().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl NodeConfig {
    /// The directory of a release.
    pub fn release_directory(&self, release: &ReleaseUrl) -> PathBuf {
        self.software_root.join(release_key(release))
    }

    /// Where the last build's output of a release is kept; the one before ends in `.1`.
    pub fn release_log(&self, release: &ReleaseUrl) -> PathBuf {
        let name = format!("{}.log", release_key(release));
        self.software_root.join(".log").join(name)
    }

    /// The directory of a partition.
    pub fn partition_directory(&self, partition: &PartitionId) -> PathBuf {
        self.instance_root.join(partition.as_str())
    }

    /// The supervisor's configuration file.
    pub fn supervisord_conf(&self) -> PathBuf {
        self.instance_root.join("etc/supervisord.conf")
    }

    /// The directory of the supervisor's group files.
    pub fn supervisord_conf_d(&self) -> PathBuf {
        self.instance_root.join("etc/supervisord.conf.d")
    }

    /// The supervisor's control socket: `sv.sock`, or the legacy name where that one exists.
    pub fn supervisor_socket(&self) -> PathBuf {
        let legacy = self.instance_root.join("supervisord.socket");
        if legacy.exists() {
            legacy
        } else {
            self.instance_root.join("sv.sock")
        }
    }

    /// Certificate and key of a partition; `None` when no repository is configured.
    pub(crate) fn partition_certificate(
        &self,
        partition: &PartitionId,
    ) -> Option<(PathBuf, PathBuf)> {
        let directory = self.certificate_repository.as_ref()?;
        Some((
            directory.join(format!("{partition}.crt")),
            directory.join(format!("{partition}.key")),
        ))
    }

    /// Makes the directories and files below `instance_root` that every command relies on.
    pub fn prepare_structure(&self) -> Result<(), Error> {
        let root = &self.instance_root;
        make_directory(&root.join("var"), 0o755)?;
        for name in ["etc", "var/log", "var/run", "etc/supervisord.conf.d"] {
            make_directory(&root.join(name), 0o700)?;
        }
        let socket = self.supervisor_socket();
        let length = socket.as_os_str().len();
        if length > SOCKET_PATH_BYTES_MAX {
            return Err(Error::Refused(format!(
                "the path of the supervisor's socket is too long for a unix socket \
                 ({length} bytes, at most {SOCKET_PATH_BYTES_MAX}): {}; choose a shorter instance_root",
                socket.display()
            )));
        }
        let text = DaemonConfig::for_instance_root(root, &socket).render(
            &format!("{}/*.conf", self.supervisord_conf_d().display()),
            &self.watchdog_command(),
        );
        let path = self.supervisord_conf();
        safe_fs::write_if_different(&path, text.as_bytes(), 0o600, Durable::No)
            .map_err(Error::io("write", &path))?;
        Ok(())
    }

    /// The watchdog's command line as N 2.6 has it. Our supervisor ignores it.
    fn watchdog_command(&self) -> String {
        let repository = self
            .certificate_repository
            .as_ref()
            .map_or_else(String::new, |path| {
                format!("--certificate-repository-path '{}' ", path.display())
            });
        format!(
            "/opt/slapos/bin/slapos-watchdog --master-url '{}'  {repository}--computer-id '{}' --instance-root '{}'",
            self.master.url,
            self.node,
            self.instance_root.display()
        )
    }
}

/// Makes a directory where it is missing, and gives it exactly this mode.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(Error::io("create the directory", path)(error)),
    }
    let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
    if metadata.permissions().mode() & 0o7777 != mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(Error::io("change the mode of", path))?;
    }
    Ok(())
}

/// Refuses to work where less than this many bytes are free for ordinary users.
///
/// The first existing ancestor tells, as the directory itself may not exist yet.
pub(crate) fn check_free_space(path: &Path, required: u64, option: &str) -> Result<(), String> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists());
    let existing = existing.unwrap_or(Path::new("/"));
    let Ok(usage) = rustix::fs::statvfs(existing) else {
        return Ok(());
    };
    let available = usage.f_bavail.saturating_mul(usage.f_frsize);
    if available < required {
        return Err(format!(
            "Not enough space for {}: available {available}, required {required} (option '{option}')",
            path.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn n_2_1_a_release_is_keyed_by_its_exact_url() {
        let key = |url: &str| release_key(&ReleaseUrl::new(url).unwrap());
        assert_eq!(
            key("http://example.org/"),
            "d0d92cdc9b30c1300fbc3c7ebd304be0".to_owned()
        );
        assert_ne!(key("/srv/a/software.cfg"), key("/srv/a//software.cfg"));
    }

    #[test]
    fn n_3_1_too_little_space_is_said_as_upstream_does() {
        let text = check_free_space(Path::new("/no/such/place"), u64::MAX, "x_min").unwrap_err();
        assert!(text.starts_with("Not enough space for /no/such/place: available "));
        assert!(text.ends_with("required 18446744073709551615 (option 'x_min')"));
        assert!(check_free_space(Path::new("/no/such/place"), 0, "x").is_ok());
    }
}
