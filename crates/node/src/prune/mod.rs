//! `node prune`: shared parts that nothing uses any more are removed (N 6.5).
//!
//! A part is used when its directory's name, a hash, occurs where buildout writes what it uses: in
//! a release's `.installed.cfg` and `bin/`, in the record of a part that is used itself, and in the
//! same files of every SlapOS that runs inside a partition. The releases are the roots, parts are
//! reached from them; no file is read twice, none is held in memory, and reading ends as soon as
//! every part is known to be used.

mod needles;
mod nested;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use crate::cancel::Cancel;
use crate::config::NodeConfig;
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::safe_fs::{Dir, Kind};
use crate::start;

use needles::Needles;

/// What a part is called once it was decided to remove it. Buildout never sees a half of one.
const DOOMED: &str = ".pruned-";

/// Directories deeper than this do not count into the size that is shown.
const MEASURE_DEPTH_MAX: usize = 256;

/// What `node prune` is asked on its command line.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only tell what would be removed.
    pub dry_run: bool,
    /// Further directories of releases whose parts are kept.
    pub additional_software_directories: Vec<PathBuf>,
    /// Raised to interrupt the run; whole parts are removed, or not at all.
    pub cancel: Cancel,
}

/// A shared part that nothing uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// Its directory.
    pub path: PathBuf,
    /// What it takes up on the disk.
    pub bytes: u64,
}

/// Finds, and unless it is a dry run removes, the parts nothing uses, and passes each to `found`.
///
/// # Errors
/// [`Error::Refused`] when no directory of shared parts is configured, [`Error::Locked`] while
/// releases are built, [`Error::Io`] when something that may name parts cannot be read: then
/// nothing is removed.
pub fn run(
    config: &NodeConfig,
    options: &Options,
    observer: &dyn Observer,
    found: &mut dyn FnMut(&Unused),
) -> Result<Outcome, Error> {
    let Some(shared) = slap::config::lines(&config.shared_part_list).last() else {
        return Err(Error::Refused(format!(
            "option `shared_part_list` is not set in [slapos] of {}: there are no shared parts to \
             prune",
            config.file.display()
        )));
    };
    let shared = PathBuf::from(shared);
    // Nobody builds meanwhile: what a build has just made is not referred to yet.
    let _lock = start::begin(config, &config.pidfile_software, &options.cancel, observer)?;
    let Some(root) = Dir::open_if_present(&shared).map_err(Error::io("open", &shared))? else {
        observer.event(&Event::Info(&format!(
            "{} does not exist: nothing to prune",
            shared.display()
        )));
        return Ok(Outcome::Success);
    };
    observer.event(&Event::Info(&format!(
        "looking for unused shared parts in {}",
        shared.display()
    )));
    let listed = list(&root).map_err(Error::io("list", &shared))?;
    let mut outcome = Outcome::Success;
    if !options.dry_run {
        for (name, left) in &listed.doomed {
            if let Err(error) = root
                .dir(name)
                .and_then(|dir| dir.map_or(Ok(()), |dir| dir.remove_tree(left)))
            {
                observer.event(&Event::Failure(&format!(
                    "cannot remove {}: {error}",
                    shared.join(name).join(left).display()
                )));
                outcome = Outcome::Failure;
            }
        }
    }
    let mut search = Search::new(&root, &listed.parts, &options.cancel, observer);
    search.releases(&config.software_root, true)?;
    for directory in &options.additional_software_directories {
        if directory.is_dir() {
            search.releases(directory, true)?;
        } else {
            observer.event(&Event::Warning(&format!(
                "additional software directory {} does not exist",
                directory.display()
            )));
        }
    }
    search.nested(&config.instance_root)?;
    search.reach()?;
    for (part, used) in listed.parts.iter().zip(search.used) {
        if used {
            continue;
        }
        if options.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let path = shared.join(&part.name).join(&part.hash);
        match part.remove(&root, options.dry_run) {
            Ok(bytes) => found(&Unused { path, bytes }),
            Err(error) => {
                observer.event(&Event::Failure(&format!(
                    "cannot remove {}: {error}",
                    path.display()
                )));
                outcome = Outcome::Failure;
            }
        }
    }
    Ok(outcome)
}

/// `<shared>/<name>/<hash>`.
#[derive(Debug)]
struct Part {
    name: OsString,
    hash: OsString,
}

impl Part {
    fn open(&self, root: &Dir) -> io::Result<Option<Dir>> {
        match root.dir(&self.name)? {
            Some(parent) => parent.dir(&self.hash),
            None => Ok(None),
        }
    }

    /// Removes the part, unless it is only a trial; what it takes up.
    fn remove(&self, root: &Dir, dry_run: bool) -> io::Result<u64> {
        let Some(parent) = root.dir(&self.name)? else {
            return Ok(0);
        };
        let bytes = match parent.dir(&self.hash)? {
            Some(dir) => measure(&dir, 0)?,
            None => 0,
        };
        if dry_run {
            return Ok(bytes);
        }
        let mut doomed = OsString::from(DOOMED);
        doomed.push(&self.hash);
        parent.remove_tree(&doomed)?;
        parent.rename(&self.hash, &doomed)?;
        parent.remove_tree(&doomed)?;
        if parent.names()?.is_empty() {
            // Another part of this name may come at any time; then it stays.
            let _ = std::fs::remove_dir(parent.path());
        }
        Ok(bytes)
    }
}

#[derive(Debug, Default)]
struct Listed {
    parts: Vec<Part>,
    /// Parts an earlier run was killed on while it removed them.
    doomed: Vec<(OsString, OsString)>,
}

/// All parts there are. Links are none, nor is what begins with a dot.
fn list(root: &Dir) -> io::Result<Listed> {
    let mut listed = Listed::default();
    for name in visible_directories(root)? {
        let Some(parent) = root.dir(&name)? else {
            continue;
        };
        for hash in parent.names()? {
            if hash.as_bytes().starts_with(DOOMED.as_bytes()) {
                listed.doomed.push((name.clone(), hash));
            } else if is_visible(&hash) && parent.kind(&hash)? == Some(Kind::Directory) {
                listed.parts.push(Part {
                    name: name.clone(),
                    hash,
                });
            }
        }
    }
    Ok(listed)
}

fn is_visible(name: &OsStr) -> bool {
    !name.as_bytes().starts_with(b".")
}

fn visible_directories(dir: &Dir) -> io::Result<Vec<OsString>> {
    let mut found = Vec::new();
    for name in dir.names()? {
        if is_visible(&name) && dir.kind(&name)? == Some(Kind::Directory) {
            found.push(name);
        }
    }
    Ok(found)
}

/// Bytes on the disk of a directory and everything in it. A file with several names counts for a
/// share of it at each.
fn measure(dir: &Dir, depth: usize) -> io::Result<u64> {
    let mut bytes = 0;
    for name in dir.names()? {
        let Some(stat) = dir.stat(&name)? else {
            continue;
        };
        let is_directory = Kind::from(&stat) == Kind::Directory;
        // A directory's links are its subdirectories'.
        let names = if is_directory {
            1
        } else {
            stat.st_nlink.max(1)
        };
        bytes += (stat.st_blocks as u64).saturating_mul(512) / names;
        if is_directory
            && depth < MEASURE_DEPTH_MAX
            && let Ok(Some(inside)) = dir.dir(&name)
        {
            bytes += measure(&inside, depth + 1)?;
        }
    }
    Ok(bytes)
}

/// Which parts are used, as far as is known yet.
struct Search<'a> {
    root: &'a Dir,
    parts: &'a [Part],
    needles: Needles,
    /// The parts behind each needle: two releases of one software may share a hash.
    behind: Vec<Vec<usize>>,
    used: Vec<bool>,
    unknown: usize,
    /// Used parts whose own records were not read yet.
    fresh: Vec<usize>,
    cancel: &'a Cancel,
    observer: &'a dyn Observer,
}

impl<'a> Search<'a> {
    fn new(
        root: &'a Dir,
        parts: &'a [Part],
        cancel: &'a Cancel,
        observer: &'a dyn Observer,
    ) -> Self {
        let mut behind: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
        for (index, part) in parts.iter().enumerate() {
            behind.entry(part.hash.as_bytes()).or_default().push(index);
        }
        Search {
            root,
            parts,
            needles: Needles::new(behind.keys().copied()),
            behind: behind.into_values().collect(),
            used: vec![false; parts.len()],
            unknown: parts.len(),
            fresh: Vec::new(),
            cancel,
            observer,
        }
    }

    /// Whether nothing is left to find out.
    fn is_done(&self) -> bool {
        self.unknown == 0
    }

    fn mark(&mut self, needle: usize, except: Option<usize>) {
        for part in &self.behind[needle] {
            if !self.used[*part] && Some(*part) != except {
                self.used[*part] = true;
                self.unknown -= 1;
                self.fresh.push(*part);
            }
        }
    }

    /// Marks what a text names. A part does not use itself.
    fn text(&mut self, reader: impl io::Read, except: Option<usize>) -> io::Result<()> {
        let mut seen = BTreeSet::new();
        self.needles.find(reader, &mut seen)?;
        for needle in seen {
            self.mark(needle, except);
        }
        Ok(())
    }

    /// Marks what the releases in a directory use. Unless `strict`, what cannot be read is passed
    /// over.
    fn releases(&mut self, directory: &Path, strict: bool) -> Result<(), Error> {
        let Ok(root) = Dir::open_trusted(directory) else {
            return Err(Error::Refused(format!(
                "cannot read the releases in {}; nothing was removed",
                directory.display()
            )));
        };
        let names = visible_directories(&root).map_err(Error::io("list", directory))?;
        for name in names {
            if self.is_done() {
                break;
            }
            self.check_cancel()?;
            match self.release(&root, &name) {
                Err(error) if strict => {
                    return Err(Error::io("read the release", directory.join(&name))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn release(&mut self, root: &Dir, name: &OsStr) -> io::Result<()> {
        let Some(release) = root.dir(name)? else {
            return Ok(());
        };
        if let Some(file) = open_regular(&release.path().join(".installed.cfg"))? {
            self.text(file, None)?;
        }
        let Ok(Some(bin)) = release.dir("bin") else {
            return Ok(());
        };
        for name in bin.names()? {
            if self.is_done() || self.cancel.is_cancelled() {
                break;
            }
            if !is_visible(&name) {
                continue;
            }
            let path = bin.path().join(&name);
            if let Ok(target) = std::fs::read_link(&path) {
                self.text(target.as_os_str().as_bytes(), None)?;
            }
            if let Some(file) = open_regular(&path)? {
                self.text(needles::unless_binary(file)?, None)?;
            }
        }
        Ok(())
    }

    /// Marks what every SlapOS inside a partition uses.
    fn nested(&mut self, instance_root: &Path) -> Result<(), Error> {
        let mut known = nested::Known::default();
        let mut roots = vec![instance_root.to_owned()];
        while let Some(root) = roots.pop() {
            if self.is_done() {
                break;
            }
            for found in nested::find(&root, &mut known, self.cancel)? {
                self.observer.event(&Event::Info(&format!(
                    "{} is a SlapOS inside: what it uses is kept",
                    found.file.display()
                )));
                // Its files are a stranger's: what cannot be read there hinders nobody.
                if known.is_new(&found.software_root) {
                    let _ = self.releases(&found.software_root, false);
                }
                if let Some(shared) = &found.shared
                    && known.is_new(shared)
                {
                    self.records_in(shared);
                }
                self.check_cancel()?;
                roots.push(found.instance_root);
            }
        }
        Ok(())
    }

    /// Marks what the parts in another SlapOS's directory of shared parts use.
    fn records_in(&mut self, shared: &Path) {
        let Ok(root) = Dir::open_trusted(shared) else {
            return;
        };
        // The very same directory: its parts are looked at one by one anyhow.
        if root.is_same(self.root) {
            return;
        }
        for name in visible_directories(&root).unwrap_or_default() {
            let Ok(Some(parent)) = root.dir(&name) else {
                continue;
            };
            for hash in visible_directories(&parent).unwrap_or_default() {
                if let Ok(Some(dir)) = parent.dir(&hash) {
                    let _ = self.records(&dir, None);
                }
            }
        }
    }

    /// Marks everything that is used by what is used.
    fn reach(&mut self) -> Result<(), Error> {
        while let Some(index) = self.fresh.pop() {
            if self.is_done() {
                break;
            }
            self.check_cancel()?;
            let part = &self.parts[index];
            let result = part.open(self.root).and_then(|dir| match dir {
                Some(dir) => self.records(&dir, Some(index)),
                None => Ok(()),
            });
            result.map_err(Error::io(
                "read the records of",
                self.root.path().join(&part.name).join(&part.hash),
            ))?;
        }
        Ok(())
    }

    fn records(&mut self, dir: &Dir, part: Option<usize>) -> io::Result<()> {
        for name in dir.names()? {
            let bytes = name.as_bytes();
            if (bytes == b".buildout-shared.json"
                || (bytes.starts_with(b".") && bytes.ends_with(b"signature")))
                && let Some(file) = open_regular(&dir.path().join(&name))?
            {
                self.text(file, part)?;
            }
        }
        Ok(())
    }

    fn check_cancel(&self) -> Result<(), Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }
}

/// Opens what a path leads to when that is a regular file. Nothing else is opened, not even for a
/// moment: there are devices that act when they are.
fn open_regular(path: &Path) -> io::Result<Option<File>> {
    use rustix::io::Errno;
    let handle = match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(handle) => handle,
        Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::ACCESS) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&handle)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    File::open(format!("/proc/self/fd/{}", handle.as_raw_fd())).map(Some)
}

#[cfg(test)]
mod tests;
