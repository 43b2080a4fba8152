//! The files of a Master's directory: all of them private, each replaced as a whole.
//!
//! `secret.key` opens the secrets in the database; `server.pem` is the server's own certificate and
//! key; `ca.crt` is for people to take to clients.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::pki::Sealer;

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const SECRET_KEY: &str = "secret.key";

/// Why the Master's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The file system.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it is not possible.
        source: std::io::Error,
    },
    /// A directory that others use too.
    #[error(
        "{path} can be read by other users and holds other things than a Master's; give the Master \
         a directory of its own with --data-dir"
    )]
    Shared {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else's directory.
    #[error("{path} belongs to another user; start the Master as its owner")]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// A key that is none.
    #[error(
        "{path} is damaged: it should hold 64 hexadecimal digits; take it from a backup, nothing \
         else opens the secrets in the database"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// There is no randomness.
    #[error("{0}")]
    Random(String),
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FilesError {
    let path = path.to_owned();
    move |source| FilesError::Io { what, path, source }
}

/// The directory of a Master, which nobody else can read.
#[derive(Debug, Clone)]
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    /// Makes the directory if it is not there.
    ///
    /// # Errors
    /// [`FilesError`]; a directory that others use is not touched.
    pub(crate) fn prepare(path: &Path) -> Result<Self, FilesError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(io("make the directory", path))?;
        let metadata = std::fs::metadata(path).map_err(io("look at", path))?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(FilesError::Foreign {
                path: path.to_owned(),
            });
        }
        if metadata.mode() & 0o077 != 0 {
            let ours = path.join(SECRET_KEY).exists();
            let empty = std::fs::read_dir(path)
                .map_err(io("look into", path))?
                .next()
                .is_none();
            if !ours && !empty {
                return Err(FilesError::Shared {
                    path: path.to_owned(),
                });
            }
            std::fs::set_permissions(path, Permissions::from_mode(0o700))
                .map_err(io("close for others", path))?;
        }
        let path = std::path::absolute(path).map_err(io("find", path))?;
        Ok(DataDir(path))
    }

    /// Where a file of this name is.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where the key is that opens the secrets in the database.
    pub(crate) fn secret_key_path(&self) -> PathBuf {
        self.file(SECRET_KEY)
    }

    /// That key, if it is there.
    ///
    /// # Errors
    /// [`FilesError`].
    pub(crate) fn secret_key(&self) -> Result<Option<[u8; 32]>, FilesError> {
        let path = self.secret_key_path();
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let damaged = || FilesError::Damaged { path: path.clone() };
        let digits = text.trim().as_bytes();
        let mut key = [0; 32];
        if digits.len() != 2 * key.len() {
            return Err(damaged());
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| damaged())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| damaged())?;
        }
        Ok(Some(key))
    }

    /// Makes that key.
    ///
    /// # Errors
    /// [`FilesError`], also when there is one: it is never replaced.
    pub(crate) fn make_secret_key(&self) -> Result<[u8; 32], FilesError> {
        let key = Sealer::new_key().map_err(|error| FilesError::Random(error.to_string()))?;
        let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.write_new(SECRET_KEY, &format!("{text}\n"))?;
        Ok(key)
    }

    /// The text of a file, if it is there.
    ///
    /// # Errors
    /// [`FilesError`].
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, FilesError> {
        read(&self.file(name))
    }

    /// Writes a file that only its owner can read, or replaces it as a whole.
    ///
    /// # Errors
    /// [`FilesError`]; the file is as it was then.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), FilesError> {
        let path = self.file(name);
        let new = self.draft(name, text)?;
        std::fs::rename(&new, &path).map_err(io("replace", &path))?;
        self.sync()
    }

    /// Writes a file that must not be there yet.
    fn write_new(&self, name: &str, text: &str) -> Result<(), FilesError> {
        let path = self.file(name);
        let new = self.draft(name, text)?;
        // Unlike a rename, a link replaces nothing.
        let linked = std::fs::hard_link(&new, &path).map_err(io("make", &path));
        std::fs::remove_file(&new).map_err(io("remove", &new))?;
        linked?;
        self.sync()
    }

    /// The text on disk, under another name.
    fn draft(&self, name: &str, text: &str) -> Result<PathBuf, FilesError> {
        let path = self.file(&format!("{name}.new"));
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io("remove", &path)(error));
            }
            _ => {}
        }
        File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .map_err(io("write", &path))?;
        Ok(path)
    }

    fn sync(&self) -> Result<(), FilesError> {
        File::open(&self.0)
            .and_then(|directory| directory.sync_all())
            .map_err(io("write", &self.0))
    }
}

/// The text of a file, if it is there.
///
/// # Errors
/// [`FilesError`].
pub(crate) fn read(path: &Path) -> Result<Option<String>, FilesError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", path)(error)),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(io("read", path))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_directory_and_its_files_are_private() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let directory = DataDir::prepare(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(directory.secret_key().unwrap(), None);
        let key = directory.make_secret_key().unwrap();
        assert_eq!(directory.secret_key().unwrap(), Some(key));
        assert_eq!(mode(&directory.secret_key_path()), 0o600);
        assert!(directory.make_secret_key().is_err(), "never replaced");
        assert_eq!(directory.secret_key().unwrap(), Some(key));
        directory.write("x", "1").unwrap();
        directory.write("x", "2").unwrap();
        assert_eq!(directory.read("x").unwrap().as_deref(), Some("2"));
        assert_eq!(mode(&directory.file("x")), 0o600);
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
        // Opened by accident, it is closed again.
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        DataDir::prepare(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn a_directory_that_others_use_is_not_touched() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::set_permissions(parent.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::write(parent.path().join("other"), "").unwrap();
        assert!(matches!(
            DataDir::prepare(parent.path()),
            Err(FilesError::Shared { .. })
        ));
        assert_eq!(mode(parent.path()), 0o755);
    }

    #[test]
    fn a_damaged_key_is_told() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDir::prepare(parent.path()).unwrap();
        for text in ["", "abc", &"x".repeat(64), &"0".repeat(66)] {
            directory.write(SECRET_KEY, text).unwrap();
            assert!(matches!(
                directory.secret_key(),
                Err(FilesError::Damaged { .. })
            ));
        }
    }
}
