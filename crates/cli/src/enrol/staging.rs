//! Files that are written together, or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A directory beside the place where its files shall go. It is made before a token is used up, so
/// that what the token is turned into can be kept; it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Staging {
    directory: PathBuf,
    target: PathBuf,
    kept: bool,
}

fn cannot(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot {doing} {}: {error}", path.display()))
}

/// Makes a directory with this mode and those above it.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| cannot("create", parent, &error))?;
    }
    DirBuilder::new()
        .mode(mode)
        .create(path)
        // Whatever the umask is.
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| cannot("create", path, &error))
}

impl Staging {
    /// Prepares for files in a directory, which is there.
    pub(crate) fn new(target: &Path) -> Result<Self, Failure> {
        let directory = target.join(format!(".slapos-enrol-{}", std::process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(|error| cannot("write below", target, &error))?;
        let staging = Staging {
            directory,
            target: target.to_owned(),
            kept: false,
        };
        // A full disk is noticed now.
        staging.write("probe", &[b' '; 16 << 10], 0o600)?;
        Ok(staging)
    }

    /// Writes a file to its preliminary place.
    pub(crate) fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<(), Failure> {
        let path = self.directory.join(name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut file| {
                file.set_permissions(fs::Permissions::from_mode(mode))?;
                file.write_all(content)?;
                file.sync_all()
            })
            .map_err(|error| cannot("write", &path, &error))
    }

    /// Makes a directory in the preliminary place.
    pub(crate) fn directory(&self, name: &str, mode: u32) -> Result<(), Failure> {
        make_directory(&self.directory.join(name), mode)
    }

    /// Makes a name for another file beside it.
    pub(crate) fn link(&self, name: &str, to: &str) -> Result<(), Failure> {
        let path = self.directory.join(name);
        symlink(to, &path).map_err(|error| cannot("create", &path, &error))
    }

    /// From now on the files are precious: they stay where they are when they cannot be put in
    /// place.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// Puts these in place, in this order, over what is there.
    pub(crate) fn commit(mut self, names: &[&str]) -> Result<(), Failure> {
        for name in names {
            let (from, to) = (self.directory.join(name), self.target.join(name));
            fs::rename(&from, &to).map_err(|error| {
                cannot("write", &to, &error)
                    .hint(format!("what was to be written is in {}", from.display()))
            })?;
        }
        self.kept = false;
        File::open(&self.target)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| cannot("write", &self.target, &error))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept {
            // What is left behind is empty or of no use.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
