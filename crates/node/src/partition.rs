//! One partition of this node on disk, as every command uses it (N 2.3).

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use slap::document::PartitionDocument;
use slap::{PartitionId, ReleaseUrl, python};
use slap_client::Client;

use crate::config::NodeConfig;
use crate::instance::plan::Observed;
use crate::outcome::Error;
use crate::safe_fs::{Dir, Durable, Owner};
use crate::time;
use crate::user::User;

/// Equal to the Master's timestamp when the partition is as the Master wants it.
pub(crate) const MARK: &str = ".timestamp";

/// Where the node keeps what concerns only itself.
pub(crate) const NODE_DIRECTORY: &str = ".slapgrid";

/// A partition, its instance's document and its directory.
pub(crate) struct Partition<'a> {
    pub(crate) config: &'a NodeConfig,
    pub(crate) document: &'a PartitionDocument,
    pub(crate) path: PathBuf,
    pub(crate) dir: Dir,
    pub(crate) user: User,
}

impl<'a> Partition<'a> {
    /// Opens a partition's directory. It may be a link: the instance root is the administrator's.
    pub(crate) fn open(
        config: &'a NodeConfig,
        document: &'a PartitionDocument,
    ) -> Result<Self, Error> {
        let path = config.partition_directory(&document.partition);
        let mut user = User::owner_of(&path)?;
        user.cgroup = settled_cgroup(config, &user);
        Ok(Partition {
            config,
            document,
            dir: Dir::open_trusted(&path).map_err(Error::io("open", &path))?,
            user,
            path,
        })
    }

    pub(crate) fn id(&self) -> &'a PartitionId {
        &self.document.partition
    }

    /// Whom files made for the instance belong to.
    pub(crate) fn owner(&self) -> Owner {
        (!self.user.is_us()).then(|| self.user.ids())
    }

    /// The release of its instance.
    pub(crate) fn release(&self) -> Option<&'a ReleaseUrl> {
        self.document.release.as_ref().map(|release| release.url())
    }

    pub(crate) fn release_directory(&self) -> Option<PathBuf> {
        self.release()
            .map(|release| self.config.release_directory(release))
    }

    /// Name of the file that says why the last processing failed.
    pub(crate) fn error_file(&self) -> String {
        format!(".slapgrid-{}-error.log", self.id())
    }

    /// Name of the file that lists what the instance requested.
    pub(crate) fn transaction_file(&self) -> String {
        format!(".slapos-request-transaction-{}", self.id())
    }

    /// The node's own directory in it, made where it is missing.
    pub(crate) fn node_directory(&self) -> Result<Dir, Error> {
        self.dir
            .make_dir(NODE_DIRECTORY, 0o755, self.owner())
            .map_err(Error::io("create", self.path.join(NODE_DIRECTORY)))
    }

    /// Puts a small file of the node's into the partition.
    pub(crate) fn write(
        &self,
        name: &str,
        bytes: &[u8],
        mode: u32,
        durable: Durable,
    ) -> Result<(), Error> {
        self.dir
            .write(name, bytes, mode, None, durable)
            .map_err(Error::io("write", self.path.join(name)))
    }

    /// Removes a file of the node's from the partition.
    pub(crate) fn remove(&self, name: &str) -> Result<(), Error> {
        self.dir
            .remove(name)
            .map(drop)
            .map_err(Error::io("remove", self.path.join(name)))
    }

    /// Fetches the partition's certificate and key and writes them where they differ, readable
    /// only to its user. Nothing happens when no repository is configured.
    pub(crate) fn update_certificate(&self, client: &Client) -> Result<(), UpdateError> {
        let Some((certificate_path, key_path)) = self.config.partition_certificate(self.id())
        else {
            return Ok(());
        };
        let Some(repository) = &self.config.certificate_repository else {
            return Ok(());
        };
        let certificate = client.partition_certificate(&self.config.node, self.id())?;
        let dir = Dir::open_trusted(repository).map_err(Error::io("open", repository))?;
        for (path, text) in [
            (&certificate_path, &certificate.certificate),
            (&key_path, &certificate.key),
        ] {
            let name = path.file_name().unwrap_or_default();
            dir.write_if_different(name, text.as_bytes(), 0o400, self.owner(), Durable::Yes)
                .map_err(Error::io("write", path))?;
        }
        Ok(())
    }
}

/// The control group of a partition's user, ready to be joined. Where it cannot be made partitions
/// work without: that they work comes first.
fn settled_cgroup(config: &NodeConfig, user: &User) -> Option<PathBuf> {
    let hierarchy = config.cgroups.as_ref()?;
    let group = hierarchy.group(user)?;
    match hierarchy.settle(&group, &config.limits) {
        Ok(()) => Some(group),
        Err(error) => {
            tracing::warn!("no control group for {}: {error}", user.name);
            None
        }
    }
}

/// Makes the control group of a partition's user, for what is started without its document.
pub(crate) fn settle_cgroup(config: &NodeConfig, id: &PartitionId) {
    match User::owner_of(&config.partition_directory(id)) {
        Ok(user) => drop(settled_cgroup(config, &user)),
        Err(error) => tracing::warn!("no control group for {id}: {error}"),
    }
}

/// Why a certificate was not updated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateError {
    #[error("{0}")]
    Master(#[from] slap_client::Error),
    #[error("{0}")]
    Local(#[from] Error),
}

/// What is on disk of a partition, for the plan. What cannot be read counts as absent: the
/// partition is processed then.
pub(crate) fn observe(config: &NodeConfig, document: &PartitionDocument) -> Observed {
    let path = config.partition_directory(&document.partition);
    let Ok(dir) = Dir::open_trusted(&path) else {
        return Observed {
            directory: path.is_dir(),
            ..Observed::default()
        };
    };
    let mark = dir
        .read_with_time(MARK, 4096)
        .ok()
        .flatten()
        .map(|(bytes, written)| (String::from_utf8_lossy(&bytes).into_owned(), written));
    Observed {
        directory: true,
        mark,
        periodicity: document
            .release
            .as_ref()
            .and_then(|release| periodicity(&config.release_directory(release.url()))),
    }
}

/// A release's own periodicity. A file that makes no sense is removed, as upstream does.
fn periodicity(release: &Path) -> Option<i64> {
    let path = release.join("periodicity");
    let text = fs::read_to_string(&path).ok()?;
    match text.trim().parse() {
        Ok(seconds) => Some(seconds),
        Err(_) => {
            tracing::warn!("{} holds no number and is removed", path.display());
            let _ = fs::remove_file(&path);
            None
        }
    }
}

/// Cleans what an earlier use left in a free partition. Tells of anything else that lies there.
pub(crate) fn tidy_free(config: &NodeConfig, id: &PartitionId) -> Result<Option<String>, Error> {
    let path = config.partition_directory(id);
    if !path.exists() {
        return Ok(None);
    }
    let dir = Dir::open_trusted(&path).map_err(Error::io("open", &path))?;
    let names = dir.names().map_err(Error::io("list", &path))?;
    for name in [NODE_DIRECTORY, MARK] {
        if names.iter().any(|found| found == name) {
            dir.remove_tree(name)
                .map_err(Error::io("remove", path.join(name)))?;
        }
    }
    let left = names
        .iter()
        .any(|name| name != NODE_DIRECTORY && name != MARK && name != ".slapos-resource");
    Ok(left.then(|| format!("Free partition {id} contains file(s) in {}", path.display())))
}

/// Held while a command works in a partition: `instance` and `report` have locks of their own and
/// do run side by side.
pub(crate) struct PartitionLock {
    file: fs::File,
}

impl PartitionLock {
    /// Takes the partition's lock; `None` when another command has it. The lock is not kept in the
    /// partition, where its user could hold it for ever.
    pub(crate) fn take(config: &NodeConfig, id: &PartitionId) -> Result<Option<Self>, Error> {
        let path = config.instance_root.join(format!("var/run/{id}.lock"));
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io("open the lock", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(PartitionLock { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io("lock", path)(error.into())),
        }
    }

    /// Notes that the instance was destroyed now: whoever works with an older document must not
    /// bring it back to life.
    pub(crate) fn note_destroyed(&self) -> std::io::Result<()> {
        let moment = python::float(time::unix(SystemTime::now()));
        self.file
            .write_all_at(format!("{moment}\n").as_bytes(), 0)?;
        self.file.sync_data()
    }

    /// Whether the instance was destroyed after this moment.
    pub(crate) fn was_destroyed_after(&self, moment: SystemTime) -> bool {
        let mut text = [0; 64];
        let count = self.file.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..count]);
        let noted = text
            .lines()
            .next()
            .and_then(|line| line.parse::<f64>().ok());
        noted.is_some_and(|noted| noted >= time::unix(moment))
    }
}
