//! A SlapOS inside a partition, such as a web runner: it uses the shared parts of the one around it.
//! It is known by its configuration, `slapos.cfg`, wherever in the instance root that lies.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use slap::config::Config;

use super::open_regular;
use crate::cancel::Cancel;
use crate::outcome::Error;
use crate::safe_fs::{Dir, Kind};

const FILE: &str = "slapos.cfg";
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Nobody puts a configuration deeper than this.
const DEPTH_MAX: usize = 100;

/// Most of them in one node.
const NESTED_MAX: usize = 10_000;

/// What was looked at already.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeSet<(u64, u64)>);

impl Known {
    /// Whether this directory was not looked at before; it counts as such from now on.
    pub(super) fn is_new(&mut self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path)
            .is_ok_and(|metadata| self.0.insert((metadata.dev(), metadata.ino())))
    }
}

/// One that was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nested {
    pub(super) file: PathBuf,
    pub(super) software_root: PathBuf,
    pub(super) instance_root: PathBuf,
    /// Its own directory of shared parts.
    pub(super) shared: Option<PathBuf>,
}

/// All there are below a directory that was not walked before.
pub(super) fn find(root: &Path, known: &mut Known, cancel: &Cancel) -> Result<Vec<Nested>, Error> {
    let mut found = Vec::new();
    if known.is_new(root)
        && let Ok(dir) = Dir::open_trusted(root)
    {
        walk(&dir, 0, cancel, &mut found)?;
    }
    Ok(found)
}

/// Never follows a link; what cannot be listed, or vanishes meanwhile, is passed over.
fn walk(dir: &Dir, depth: usize, cancel: &Cancel, found: &mut Vec<Nested>) -> Result<(), Error> {
    if cancel.is_cancelled() {
        return Err(Error::Cancelled);
    }
    let Ok(entries) = dir.entries() else {
        return Ok(());
    };
    for (name, kind) in entries {
        match kind {
            Kind::File if name == FILE && found.len() < NESTED_MAX => {
                found.extend(read(&dir.path().join(FILE)));
            }
            Kind::Directory if depth < DEPTH_MAX => {
                if let Ok(Some(inside)) = dir.dir(&name) {
                    walk(&inside, depth + 1, cancel, found)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a configuration says; `None` when it is none.
fn read(file: &Path) -> Option<Nested> {
    let mut text = String::new();
    open_regular(file)
        .ok()??
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    let config = Config::parse(&text).ok()?;
    let get = |option| config.get("slapos", option).ok().flatten();
    Some(Nested {
        file: file.to_owned(),
        software_root: get("software_root")?.into(),
        instance_root: get("instance_root")?.into(),
        shared: get("shared_part_list")
            .as_deref()
            .and_then(|list| slap::config::lines(list).last().map(PathBuf::from)),
    })
}
