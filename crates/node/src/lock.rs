//! The lock that keeps two runs of one command apart (N 3.0.2).
//!
//! Upstream's file and content (the pid, no line end), held for real by `flock`: there is no moment
//! between looking and taking, and a killed process holds nothing. A running upstream node, which
//! only writes its pid, is respected as well.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::outcome::Error;

/// How often the file is opened again because its last holder removed it meanwhile.
const TRIES_MAX: usize = 100;

/// A held lock; dropping it releases it and removes the file.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock, or tells who has it.
    pub(crate) fn take(path: &Path) -> Result<Lock, Error> {
        for _ in 0..TRIES_MAX {
            if let Some(lock) = Self::try_once(path)? {
                return Ok(lock);
            }
        }
        Err(Error::Refused(format!(
            "the lock file {} keeps being replaced; something else writes there",
            path.display()
        )))
    }

    fn try_once(path: &Path) -> Result<Option<Lock>, Error> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(path)
            .map_err(|error| {
                Error::Refused(format!(
                    "cannot open the lock file {}: {error}; the options pidfile_software, \
                     pidfile_instance and pidfile_report (or pidfile) in [slapos] say where they are",
                    path.display()
                ))
            })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::Locked {
                    path: path.to_owned(),
                    pid: read_pid(&mut file),
                });
            }
            Err(error) => return Err(Error::io("lock", path)(error.into())),
        }
        // The holder before us removes the file before it lets go: what we locked may be gone.
        let ours = file.metadata().map_err(Error::io("read", path))?;
        let current = fs::metadata(path);
        if !current.is_ok_and(|current| current.ino() == ours.ino() && current.dev() == ours.dev())
        {
            return Ok(None);
        }
        if let Some(pid) = read_pid(&mut file).filter(|pid| is_upstream(*pid)) {
            return Err(Error::Locked {
                path: path.to_owned(),
                pid: Some(pid),
            });
        }
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            std::io::Seek::rewind(file)?;
            write!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(Error::io("write", path))?;
        Ok(Some(Lock {
            path: path.to_owned(),
            _file: file,
        }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still held, so that whoever opened it before notices.
        let _ = fs::remove_file(&self.path);
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    std::io::Seek::rewind(file).ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether a process is upstream's node: a Python whose command line speaks of slapos. Ours would
/// hold the `flock`, so a file that names one of ours is stale.
fn is_upstream(pid: u32) -> bool {
    let Ok(command) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let interpreter = command.split(|byte| *byte == 0).next().unwrap_or_default();
    contains(interpreter, b"python") && contains(&command, b"slapos")
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn n_3_0_only_one_holds_it_and_it_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        let lock = Lock::take(&path).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
        let error = Lock::take(&path).unwrap_err();
        assert_eq!(error.exit_code(), 10);
        drop(lock);
        assert!(!path.exists());
        Lock::take(&path).unwrap();
    }

    #[test]
    fn a_stale_file_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        for content in ["4000000", "rubbish", "", &std::process::id().to_string()] {
            fs::write(&path, content).unwrap();
            Lock::take(&path).unwrap();
        }
    }

    #[test]
    fn threads_that_race_for_it_hold_it_one_at_a_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pid");
        let (holders, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 200 {
                        if let Ok(_lock) = Lock::take(&path) {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            std::thread::yield_now();
                            holders.fetch_sub(1, Ordering::SeqCst);
                            taken.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
    }
}
