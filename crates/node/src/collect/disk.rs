//! What a partition takes up on its disks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::User;
use crate::cancel::Cancel;
use crate::outcome::Error;
use crate::safe_fs::{Dir, Kind};

/// What lies deeper is not counted.
const DEPTH_MAX: usize = 128;

/// Most files with several names that are told apart.
const NAMES_MAX: usize = 1_000_000;

/// The partition's directories on further disks. Not by its own links: they may lead anywhere.
pub(super) fn data_directories(home: Option<&Path>, partition: &str) -> Vec<PathBuf> {
    let disks = home.and_then(|home| std::fs::read_dir(home).ok());
    let mut found: Vec<PathBuf> = disks
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("data"))
        .map(|entry| entry.path().join(partition))
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

/// KiB of a partition's files, as `du` counts them. No link is followed and no other file system
/// entered.
pub(super) fn used_kib(user: &User, cancel: &Cancel) -> Result<f64, Error> {
    let mut walk = Walk {
        blocks: 0,
        seen: BTreeSet::new(),
        cancel,
    };
    for path in std::iter::once(&user.path).chain(&user.data) {
        // A partition that is not formatted yet has no size.
        if let Ok(dir) = Dir::open_trusted(path) {
            walk.enter(&dir, None, 0)?;
        }
    }
    Ok(walk.blocks as f64 / 2.0)
}

struct Walk<'a> {
    /// Of 512 bytes.
    blocks: u64,
    /// Files with several names that were counted.
    seen: BTreeSet<(u64, u64)>,
    cancel: &'a Cancel,
}

impl Walk<'_> {
    fn enter(&mut self, dir: &Dir, device: Option<u64>, depth: usize) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        // What vanishes meanwhile, or cannot be read, takes up nothing that could be told.
        let Ok(Some(own)) = dir.stat(".") else {
            return Ok(());
        };
        if device.is_some_and(|device| device != own.st_dev) {
            return Ok(());
        }
        self.blocks += own.st_blocks as u64;
        for (name, kind) in dir.entries().unwrap_or_default() {
            if kind == Kind::Directory {
                if depth < DEPTH_MAX
                    && let Ok(Some(inside)) = dir.dir(&name)
                {
                    self.enter(&inside, Some(own.st_dev), depth + 1)?;
                }
                continue;
            }
            let Ok(Some(stat)) = dir.stat(&name) else {
                continue;
            };
            let first = stat.st_nlink < 2
                || self.seen.len() >= NAMES_MAX
                || self.seen.insert((stat.st_dev, stat.st_ino));
            if first {
                self.blocks += stat.st_blocks as u64;
            }
        }
        Ok(())
    }
}
