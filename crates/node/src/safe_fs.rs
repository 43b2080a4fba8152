//! Files in directories that belong to somebody else.
//!
//! A partition's user owns their directory and may plant links in it. Whatever the node reads,
//! writes or removes there goes through a [`Dir`]: names are resolved one at a time from an open
//! directory and a symbolic link is never followed (N 8, weakness 2).

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Uid, renameat_with,
};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

/// Most bytes read from a file of a partition, unless said otherwise.
pub(crate) const READ_BYTES_MAX: u64 = 16 << 20;

/// Directories deeper than this are hoisted before they are removed, so that a deep tree cannot
/// exhaust open files or stack.
const REMOVE_DEPTH_MAX: usize = 64;

/// Most file systems that are taken away from one place: mounts may lie on each other.
const MOUNTS_MAX: usize = 16;

/// Whom a new file shall belong to; `None` leaves it to the caller's identity.
pub(crate) type Owner = Option<(Uid, Gid)>;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Link,
    Other,
}

impl From<&Stat> for Kind {
    fn from(stat: &Stat) -> Self {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        }
    }
}

fn absent_is_none<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// Opens a directory; its last component must not be a link, the ones before it are trusted.
    pub(crate) fn open(path: &Path) -> io::Result<Dir> {
        let fd = fs::open(path, DIRECTORY, Mode::empty())?;
        Ok(Dir {
            fd,
            path: path.to_owned(),
        })
    }

    /// Like [`Dir::open`], `None` when nothing is there.
    pub(crate) fn open_if_present(path: &Path) -> io::Result<Option<Dir>> {
        match Dir::open(path) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where it was when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory in it; `None` when there is none of that name.
    pub(crate) fn dir(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Dir>> {
        let name = name.as_ref();
        let fd = absent_is_none(fs::openat(&self.fd, name, DIRECTORY, Mode::empty()))?;
        Ok(fd.map(|fd| Dir {
            fd,
            path: self.path.join(name),
        }))
    }

    /// Opens a directory in it, made with exactly this mode and owner where it is missing.
    pub(crate) fn make_dir(
        &self,
        name: impl AsRef<OsStr>,
        mode: u32,
        owner: Owner,
    ) -> io::Result<Dir> {
        let name = name.as_ref();
        let created = match fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let dir = self
            .dir(name)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if created {
            fs::fchmod(&dir.fd, Mode::from_raw_mode(mode))?;
        }
        if let Some((uid, gid)) = owner {
            let stat = fs::fstat(&dir.fd)?;
            if stat.st_uid != uid.as_raw() || stat.st_gid != gid.as_raw() {
                fs::fchown(&dir.fd, Some(uid), Some(gid))?;
            }
        }
        Ok(dir)
    }

    /// What is under a name, links not followed; `None` when nothing is.
    pub(crate) fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        absent_is_none(fs::statat(
            &self.fd,
            name.as_ref(),
            AtFlags::SYMLINK_NOFOLLOW,
        ))
    }

    /// What kind of thing is under a name; `None` when nothing is.
    pub(crate) fn kind(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Kind>> {
        Ok(self.stat(name)?.as_ref().map(Kind::from))
    }

    /// Permission bits of the directory itself.
    pub(crate) fn mode(&self) -> io::Result<u32> {
        Ok(fs::fstat(&self.fd)?.st_mode & 0o7777)
    }

    /// Changes the permission bits of the directory itself.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(fs::fchmod(&self.fd, Mode::from_raw_mode(mode))?)
    }

    /// Gives the directory itself to this user and group.
    pub(crate) fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(fs::fchown(&self.fd, Some(uid), Some(gid))?)
    }

    /// The names in it, sorted.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        // `Dir::read_from` opens the directory anew, so the position is not shared.
        for entry in fs::Dir::read_from(self.fd.as_fd())? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The names in it and what they stand for, in no order; cheaper than asking for each.
    pub(crate) fn entries(&self) -> io::Result<Vec<(OsString, Kind)>> {
        let mut entries = Vec::new();
        for entry in fs::Dir::read_from(self.fd.as_fd())? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let name = OsString::from_vec(name.to_vec());
            let kind = match entry.file_type() {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Directory,
                FileType::Symlink => Kind::Link,
                // There are file systems that do not say.
                FileType::Unknown => match self.kind(&name)? {
                    Some(kind) => kind,
                    None => continue,
                },
                _ => Kind::Other,
            };
            entries.push((name, kind));
        }
        Ok(entries)
    }

    /// Whether both are the very same directory.
    pub(crate) fn is_same(&self, other: &Dir) -> bool {
        match (fs::fstat(&self.fd), fs::fstat(&other.fd)) {
            (Ok(one), Ok(two)) => (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino),
            _ => false,
        }
    }

    /// A regular file's bytes and the time it was last written; `None` when nothing is there.
    ///
    /// Links, pipes and devices are errors, as are files above the limit.
    pub(crate) fn read_with_time(
        &self,
        name: impl AsRef<OsStr>,
        limit: u64,
    ) -> io::Result<Option<(Vec<u8>, SystemTime)>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = absent_is_none(fs::openat(&self.fd, name.as_ref(), flags, Mode::empty()))?;
        let Some(fd) = fd else { return Ok(None) };
        let file = std::fs::File::from(fd);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        if metadata.len() > limit {
            return Err(io::Error::other(format!("more than {limit} bytes")));
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some((bytes, metadata.modified()?)))
    }

    /// The last bytes of a regular file; `None` when nothing is there.
    pub(crate) fn read_tail(
        &self,
        name: impl AsRef<OsStr>,
        limit: u64,
    ) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = absent_is_none(fs::openat(&self.fd, name.as_ref(), flags, Mode::empty()))?;
        let Some(fd) = fd else { return Ok(None) };
        let mut file = std::fs::File::from(fd);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let start = metadata.len().saturating_sub(limit);
        io::Seek::seek(&mut file, io::SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// A regular file's bytes; `None` when nothing is there.
    pub(crate) fn read(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Vec<u8>>> {
        let read = self.read_with_time(name, READ_BYTES_MAX)?;
        Ok(read.map(|(bytes, _)| bytes))
    }

    /// A regular file's text, trimmed by nothing; `None` when nothing is there.
    pub(crate) fn read_text(&self, name: impl AsRef<OsStr>) -> io::Result<Option<String>> {
        let bytes = self.read(name)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Puts a file under a name in one step: a reader sees the old bytes or the new ones, and a
    /// link of that name is replaced, not followed. `durable` survives a power cut.
    pub(crate) fn write(
        &self,
        name: impl AsRef<OsStr>,
        bytes: &[u8],
        mode: u32,
        owner: Owner,
        durable: Durable,
    ) -> io::Result<()> {
        let name = name.as_ref();
        let temporary = temporary_name(name);
        let result = self.write_temporary(&temporary, bytes, mode, owner, durable);
        let result = result.and_then(|()| {
            renameat_with(&self.fd, &temporary, &self.fd, name, RenameFlags::empty())
                .map_err(io::Error::from)
        });
        if result.is_err() {
            let _ = fs::unlinkat(&self.fd, &temporary, AtFlags::empty());
        } else if durable == Durable::Yes {
            fs::fsync(&self.fd)?;
        }
        result
    }

    fn write_temporary(
        &self,
        name: &OsStr,
        bytes: &[u8],
        mode: u32,
        owner: Owner,
        durable: Durable,
    ) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600))?;
        let mut file = std::fs::File::from(fd);
        file.write_all(bytes)?;
        if let Some((uid, gid)) = owner {
            fs::fchown(&file, Some(uid), Some(gid))?;
        }
        fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        if durable == Durable::Yes {
            file.sync_all()?;
        }
        Ok(())
    }

    /// Like [`Dir::write`], but touches nothing when these very bytes are there already.
    /// Tells whether it wrote.
    pub(crate) fn write_if_different(
        &self,
        name: impl AsRef<OsStr>,
        bytes: &[u8],
        mode: u32,
        owner: Owner,
        durable: Durable,
    ) -> io::Result<bool> {
        let name = name.as_ref();
        let same_mode = self
            .stat(name)?
            .is_some_and(|stat| Kind::from(&stat) == Kind::File && stat.st_mode & 0o7777 == mode);
        if same_mode && self.read(name)?.as_deref() == Some(bytes) {
            return Ok(false);
        }
        self.write(name, bytes, mode, owner, durable)?;
        Ok(true)
    }

    /// Opens a regular file to append to, made with this mode and owner where it is missing.
    pub(crate) fn append(
        &self,
        name: impl AsRef<OsStr>,
        mode: u32,
        owner: Owner,
    ) -> io::Result<std::fs::File> {
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::APPEND
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name.as_ref(), flags, Mode::from_raw_mode(mode))?;
        let file = std::fs::File::from(fd);
        let metadata = file.metadata()?;
        // A second name would be somebody else's file.
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(io::Error::other("not a regular file of its own"));
        }
        if let Some((uid, gid)) = owner
            && metadata.len() == 0
        {
            fs::fchown(&file, Some(uid), Some(gid))?;
        }
        Ok(file)
    }

    /// Opens a regular file to read; `None` when nothing is there.
    pub(crate) fn open_file(&self, name: impl AsRef<OsStr>) -> io::Result<Option<std::fs::File>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = absent_is_none(fs::openat(&self.fd, name.as_ref(), flags, Mode::empty()))?;
        let Some(fd) = fd else { return Ok(None) };
        let file = std::fs::File::from(fd);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(Some(file))
    }

    /// Writes over the last bytes of a regular file, and on.
    pub(crate) fn replace_end(
        &self,
        name: impl AsRef<OsStr>,
        count: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name.as_ref(), flags, Mode::empty())?;
        let file = std::fs::File::from(fd);
        let metadata = file.metadata()?;
        // A second name would be somebody else's file.
        if !metadata.is_file() || metadata.nlink() != 1 {
            return Err(io::Error::other("not a regular file of its own"));
        }
        let start = metadata.len().saturating_sub(count);
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, start)
    }

    /// Renames inside the directory.
    pub(crate) fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        fs::renameat(&self.fd, from.as_ref(), &self.fd, to.as_ref())?;
        Ok(())
    }

    /// Removes a file or link; nothing happens when it is not there.
    pub(crate) fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<bool> {
        let removed = fs::unlinkat(&self.fd, name.as_ref(), AtFlags::empty());
        Ok(absent_is_none(removed)?.is_some())
    }

    /// Makes `name` a symbolic link to `target`, in one step. Whatever else than a link is under
    /// that name is left alone, and the answer is `false`.
    pub(crate) fn link(&self, name: &str, target: &Path, owner: Owner) -> io::Result<bool> {
        match self.kind(name)? {
            Some(Kind::Link) => {
                let current = fs::readlinkat(&self.fd, name, Vec::new())?;
                if current.as_bytes() == target.as_os_str().as_bytes() {
                    return Ok(true);
                }
            }
            Some(_) => return Ok(false),
            None => {}
        }
        let temporary = temporary_name(OsStr::new(name));
        fs::symlinkat(target, &self.fd, &temporary)?;
        if let Some((uid, gid)) = owner {
            fs::chownat(
                &self.fd,
                &temporary,
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        fs::renameat(&self.fd, &temporary, &self.fd, name)?;
        Ok(true)
    }

    /// Removes whatever is under a name, a whole tree included, without ever following a link. What
    /// is mounted there is somebody else's: it is unmounted, never emptied. Flags that forbid changes
    /// (`chattr +i`, `+a`) are taken away in the tree, and not from this
    /// directory.
    pub(crate) fn remove_tree(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = name.as_ref();
        match self.own_kind(name)? {
            None => Ok(()),
            Some(Kind::Directory) => self.remove_directory(name, self, 0),
            Some(_) => self.remove_own(name),
        }
    }

    /// Removes everything in the directory, but not the directory itself.
    pub(crate) fn remove_contents(&self) -> io::Result<()> {
        let _ = free(&self.fd);
        // Trees too deep for one go are hoisted to here meanwhile: look again until it is empty.
        loop {
            let names = self.names()?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                self.remove_tree(&name)?;
            }
        }
    }

    fn remove_directory(&self, name: &OsStr, top: &Dir, depth: usize) -> io::Result<()> {
        if depth >= REMOVE_DEPTH_MAX {
            let hoisted = self.hoist(name, top)?;
            return top.remove_directory(&hoisted, top, 0);
        }
        let dir = match self.own_dir(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.unlock(name)?;
                self.own_dir(name)?
            }
            other => other?,
        };
        let Some(dir) = dir else { return Ok(()) };
        let mode = dir.mode()?;
        if mode & 0o700 != 0o700 {
            dir.open_up(mode)?;
        }
        for child in dir.names()? {
            match dir.own_kind(&child)? {
                None => {}
                Some(Kind::Directory) => dir.remove_directory(&child, top, depth + 1)?,
                Some(_) => dir.remove_leaf(&child)?,
            }
        }
        // The directory above is part of the tree unless this is its top.
        self.remove_emptied(name, &dir, depth > 0)
    }

    // Apart, so that the function that calls itself needs little of the stack.

    /// Moves a directory up to the top of its tree; gives its name there.
    fn hoist(&self, name: &OsStr, top: &Dir) -> io::Result<OsString> {
        let hoisted = temporary_name(OsStr::new("deep"));
        let child = self.own_dir(name)?;
        let freed = [Some(&self.fd), child.as_ref().map(|dir| &dir.fd)];
        though_locked(freed, || fs::renameat(&self.fd, name, &top.fd, &hoisted))?;
        Ok(hoisted)
    }

    /// Gives its owner all rights on it.
    fn open_up(&self, mode: u32) -> io::Result<()> {
        let changed = though_locked([Some(&self.fd)], || {
            fs::fchmod(&self.fd, Mode::from_raw_mode(mode | 0o700))
        });
        Ok(changed?)
    }

    /// Removes a file of a tree.
    fn remove_leaf(&self, name: &OsStr) -> io::Result<()> {
        match self.remove_own(name) {
            Err(error) if is_locked(&error) && free(&self.fd).is_some() => self.remove_own(name),
            other => other,
        }
    }

    /// Removes a directory that is empty now; the one above may be freed, too, or not.
    fn remove_emptied(&self, name: &OsStr, dir: &Dir, above: bool) -> io::Result<()> {
        let freed = [above.then_some(&self.fd), Some(&dir.fd)];
        let removed = though_locked(freed, || fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR));
        absent_is_none(removed)?;
        Ok(())
    }

    /// The kind of what is under a name. What is mounted there and does not answer is unmounted.
    fn own_kind(&self, name: &OsStr) -> io::Result<Option<Kind>> {
        match self.kind(name) {
            // A file system of a user's program: only that user may look, or the program is gone.
            Err(error) if is_silent(&error) => {
                self.unmount(name).map_err(|_| error)?;
                self.kind(name)
            }
            other => other,
        }
    }

    /// Opens a directory in it that is no mount point: what is mounted there is unmounted.
    fn own_dir(&self, name: &OsStr) -> io::Result<Option<Dir>> {
        for _ in 0..MOUNTS_MAX {
            let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
            match fs::openat2(&self.fd, name, DIRECTORY, Mode::empty(), resolve) {
                Ok(fd) => {
                    return Ok(Some(Dir {
                        fd,
                        path: self.path.join(name),
                    }));
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::XDEV) => self.unmount(name)?,
                // Before Linux 5.6: another device is all that can be told.
                Err(Errno::NOSYS) => {
                    let Some(dir) = self.dir(name)? else {
                        return Ok(None);
                    };
                    if fs::fstat(&dir.fd)?.st_dev == fs::fstat(&self.fd)?.st_dev {
                        return Ok(Some(dir));
                    }
                    self.unmount(name)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other(format!(
            "too much is mounted at {}",
            self.path.join(name).display()
        )))
    }

    /// Removes a file that may be a mount point.
    fn remove_own(&self, name: &OsStr) -> io::Result<()> {
        for _ in 0..MOUNTS_MAX {
            match self.remove(name) {
                Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                    self.unmount(name)?;
                }
                Err(error) if is_locked(&error) => return self.remove_locked(name, error),
                other => return other.map(drop),
            }
        }
        self.remove(name).map(drop)
    }

    /// Removes a file whose flags forbid it. Where it has other names, they keep the flags.
    fn remove_locked(&self, name: &OsStr, error: io::Error) -> io::Result<()> {
        // Only what can be opened without any effect has flags.
        if self.kind(name)? != Some(Kind::File) {
            return Err(error);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = fs::openat(&self.fd, name, flags, Mode::empty())?;
        let Some(before) = free(&file) else {
            return Err(error);
        };
        let removed = self.remove(name).map(drop);
        if removed.is_err() || fs::fstat(&file)?.st_nlink > 0 {
            let _ = fs::ioctl_setflags(&file, before);
        }
        removed
    }

    /// Takes away what is mounted under a name. Who uses it may go on until they end.
    fn unmount(&self, name: &OsStr) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name, flags, Mode::empty())?;
        let through_proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        unmount(through_proc, UnmountFlags::DETACH).map_err(|error| {
            io::Error::new(
                io::Error::from(error).kind(),
                format!(
                    "something is mounted at {} and cannot be unmounted ({error}); unmount it",
                    self.path.join(name).display()
                ),
            )
        })
    }

    /// Makes a directory that even its owner may not read readable to them.
    fn unlock(&self, name: &OsStr) -> io::Result<()> {
        // O_PATH needs no permission on the directory itself, and never follows the link.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, name, flags, Mode::empty())?;
        let through_proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        fs::chmod(through_proc, Mode::from_raw_mode(0o700))?;
        Ok(())
    }
}

/// Flags that forbid even root to change or remove something.
const LOCKS: fs::IFlags = fs::IFlags::IMMUTABLE.union(fs::IFlags::APPEND);

/// Takes these flags away; gives those from before, if that was of use.
fn free(fd: &OwnedFd) -> Option<fs::IFlags> {
    // Most file systems that know no flags say so.
    let before = fs::ioctl_getflags(fd).ok()?;
    let is_locked = before.intersects(LOCKS);
    (is_locked && fs::ioctl_setflags(fd, before - LOCKS).is_ok()).then_some(before)
}

fn is_locked(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::PERM.raw_os_error())
}

/// Does something; where flags of these forbid it, once more without them.
fn though_locked<const N: usize>(
    freed: [Option<&OwnedFd>; N],
    act: impl Fn() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match act() {
        Err(Errno::PERM) if freed.into_iter().flatten().filter_map(free).count() > 0 => act(),
        other => other,
    }
}

/// Whether this is how a mounted file system answers that is nobody's any more, or not ours.
fn is_silent(error: &io::Error) -> bool {
    let silent = [Errno::NOTCONN, Errno::ACCESS, Errno::STALE];
    silent
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether a write must survive a power cut before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    Yes,
    /// The file is written again anyhow when its content is lost.
    No,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn temporary_name(name: &OsStr) -> OsString {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut temporary = OsString::from(".");
    // A name may be 255 bytes long; the temporary one must fit as well.
    let bytes = name.as_bytes();
    temporary.push(OsStr::from_bytes(&bytes[..bytes.len().min(200)]));
    temporary.push(format!(
        ".{}.{}.new",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    ));
    temporary
}

/// Puts a file under a path in a trusted directory in one step (see [`Dir::write`]).
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32, durable: Durable) -> io::Result<()> {
    let (dir, name) = split(path)?;
    Dir::open_trusted(dir)?.write(name, bytes, mode, None, durable)
}

/// Like [`write`], but touches nothing when these very bytes are there already.
pub(crate) fn write_if_different(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    durable: Durable,
) -> io::Result<bool> {
    let (dir, name) = split(path)?;
    Dir::open_trusted(dir)?.write_if_different(name, bytes, mode, None, durable)
}

impl Dir {
    /// Opens a directory of the administrator's, which may be a link.
    pub(crate) fn open_trusted(path: &Path) -> io::Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty())?;
        Ok(Dir {
            fd,
            path: path.to_owned(),
        })
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("not the name of a file"))?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    Ok((dir.unwrap_or(Path::new(".")), name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn fixture() -> (tempfile::TempDir, Dir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let partition = root.path().join("partition");
        std::fs::create_dir(&partition).unwrap();
        let outside = root.path().join("outside");
        std::fs::write(&outside, "precious").unwrap();
        let dir = Dir::open(&partition).unwrap();
        (root, dir, outside)
    }

    #[test]
    fn a_planted_link_is_never_written_through() {
        let (_root, dir, outside) = fixture();
        symlink(&outside, dir.path().join("file")).unwrap();
        assert!(dir.read("file").is_err());
        assert!(dir.append("file", 0o600, None).is_err());
        std::fs::hard_link(&outside, dir.path().join("second")).unwrap();
        assert!(dir.append("second", 0o600, None).is_err());
        std::fs::remove_file(dir.path().join("second")).unwrap();
        dir.write("file", b"new", 0o640, None, Durable::No).unwrap();
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "precious");
        assert_eq!(dir.read("file").unwrap().unwrap(), b"new");
        let mode = std::fs::metadata(dir.path().join("file")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o7777, 0o640);
        assert_eq!(dir.names().unwrap(), ["file"], "no temporary file stays");
    }

    #[test]
    fn a_planted_directory_link_is_never_entered() {
        let (root, dir, _) = fixture();
        symlink(root.path(), dir.path().join(".slapgrid")).unwrap();
        assert!(dir.dir(".slapgrid").is_err());
        assert!(dir.make_dir(".slapgrid", 0o755, None).is_err());
        assert!(Dir::open(&dir.path().join(".slapgrid")).is_err());
    }

    #[test]
    fn removal_never_leaves_the_directory() {
        let (root, dir, outside) = fixture();
        symlink(root.path(), dir.path().join("link")).unwrap();
        let locked = dir.path().join("a/b/locked");
        std::fs::create_dir_all(&locked).unwrap();
        std::fs::write(locked.join("file"), "x").unwrap();
        symlink(&outside, dir.path().join("a/escape")).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        dir.remove_contents().unwrap();
        assert!(dir.names().unwrap().is_empty());
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "precious");
    }

    #[test]
    fn what_flags_protect_is_removed_too() {
        let (root, dir, outside) = fixture();
        std::fs::hard_link(&outside, dir.path().join("a-link")).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        for file in ["file", "a/log", "a/b/c/deep"] {
            std::fs::write(dir.path().join(file), "x").unwrap();
        }
        symlink(&outside, dir.path().join("a/b/escape")).unwrap();
        let flag = |flag: &str, path: &Path| {
            let mut chattr = std::process::Command::new("chattr");
            let output = chattr.arg(flag).arg(path).output();
            output.is_ok_and(|output| output.status.success())
        };
        let path = |name: &str| dir.path().join(name);
        if !flag("+i", &path("file")) {
            #[allow(clippy::print_stderr)]
            {
                eprintln!("SKIPPED: no flags of files here, or no right to set them");
            }
            return;
        }
        for (how, name) in [
            ("+a", "a/log"),
            ("+i", "a/b/c/deep"),
            ("+i", "a/b/c"),
            ("+a", "a/b"),
            ("+i", "a"),
            ("+i", "a-link"),
        ] {
            assert!(flag(how, &path(name)), "{name}");
        }
        // Not ours to free: the directory above the tree.
        assert!(flag("+a", dir.path()));
        assert!(dir.remove_tree("a").is_err());
        dir.remove_contents().unwrap();
        assert!(dir.names().unwrap().is_empty());
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "precious");
        // Another name of the same file: as protected as before.
        assert!(std::fs::write(&outside, "lost").is_err());
        assert!(flag("-i", &outside));
        drop(root);
    }

    #[test]
    fn a_very_deep_tree_is_removed_too() {
        let (_root, dir, _) = fixture();
        let mut current = Dir::open(dir.path()).unwrap();
        for _ in 0..1500 {
            current = current.make_dir("d", 0o755, None).unwrap();
        }
        dir.remove_contents().unwrap();
        assert!(dir.names().unwrap().is_empty());
    }

    #[test]
    fn the_same_bytes_are_not_written_again() {
        let (_root, dir, _) = fixture();
        let write = |bytes: &[u8], mode| {
            dir.write_if_different("f", bytes, mode, None, Durable::Yes)
                .unwrap()
        };
        assert!(write(b"one", 0o600));
        assert!(!write(b"one", 0o600));
        assert!(write(b"one", 0o644));
        assert!(write(b"two", 0o644));
    }

    #[test]
    fn links_are_replaced_and_nothing_else() {
        let (_root, dir, _) = fixture();
        assert!(
            dir.link("software_release", Path::new("/one"), None)
                .unwrap()
        );
        assert!(
            dir.link("software_release", Path::new("/two"), None)
                .unwrap()
        );
        assert_eq!(
            std::fs::read_link(dir.path().join("software_release")).unwrap(),
            Path::new("/two")
        );
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(!dir.link("file", Path::new("/one"), None).unwrap());
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let (_root, dir, _) = fixture();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        assert!(dir.read("d").is_err());
        std::fs::write(dir.path().join("big"), [0; 20]).unwrap();
        assert!(dir.read_with_time("big", 10).is_err());
        assert!(dir.read("absent").unwrap().is_none());
    }
}
