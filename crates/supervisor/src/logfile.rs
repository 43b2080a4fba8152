//! Log files: append with rotation by size, and the two ways in which supervisord reads them.
//!
//! A program's log lives in a directory that belongs to its untrusted user, and the daemon is
//! root (N 8): a link or a special file found in its place is refused, never followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// No single answer carries more of a log.
const MAX_READ: u64 = 8 << 20;

/// An append-only file that is renamed to `.1`, `.2`, … when it is full.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    max_bytes: u64,
    backups: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// A device (`/dev/null`) is written to and never rotated.
    rotates: bool,
}

impl RotatingFile {
    pub(crate) fn new(path: impl Into<PathBuf>, max_bytes: u64, backups: u32) -> Self {
        Self {
            path: path.into(),
            max_bytes,
            backups,
            open: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file if it is not open, to learn early that it cannot be.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        self.opened().map(drop)
    }

    /// Closes the file; the next write opens it again under its name.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// Appends, rotating as often as needed. Says how many bytes were written before an error.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut done = 0;
        while done < bytes.len() {
            let max_bytes = self.max_bytes;
            let open = self.opened().map_err(|e| (done, e))?;
            let mut piece = &bytes[done..];
            if open.rotates && max_bytes > 0 {
                let room =
                    usize::try_from(max_bytes.saturating_sub(open.size)).unwrap_or(usize::MAX);
                if room == 0 {
                    self.rotate().map_err(|e| (done, e))?;
                    continue;
                }
                piece = &piece[..piece.len().min(room)];
            }
            match open.file.write(piece) {
                Ok(0) => return Err((done, io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    open.size += n as u64;
                    done += n;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((done, error)),
            }
        }
        Ok(())
    }

    /// Empties the log and forgets its backups' youngest content: what `clear` means.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.open = None;
        let file = open_safely(&self.path, OpenOptions::new().append(true).create(true))?;
        if file.metadata()?.is_file() {
            file.set_len(0)?;
        }
        Ok(())
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let file = open_safely(&self.path, OpenOptions::new().append(true).create(true))?;
                let metadata = file.metadata()?;
                Open {
                    size: metadata.len(),
                    rotates: metadata.is_file(),
                    file,
                }
            }
        };
        Ok(self.open.insert(open))
    }

    fn rotate(&mut self) -> io::Result<()> {
        let backup = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{n}"));
            PathBuf::from(name)
        };
        if self.backups == 0 {
            if let Some(open) = &mut self.open {
                open.file.set_len(0)?;
                open.size = 0;
            }
            return Ok(());
        }
        // Up to the first free number, so that many allowed backups cost nothing while few exist.
        let mut free = 1;
        while free < self.backups && fs::symlink_metadata(backup(free)).is_ok() {
            free += 1;
        }
        for n in (1..free).rev() {
            rename_if_present(&backup(n), &backup(n + 1))?;
        }
        rename_if_present(&self.path, &backup(1))?;
        self.open = None;
        Ok(())
    }
}

fn rename_if_present(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens without following a link at the end, without blocking on a FIFO, and without writing to
/// a file that has a second name somewhere else.
fn open_safely(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags =
        rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let refused = |why: &str| {
        Err(io::Error::other(format!(
            "log file {} is {why}; remove it",
            path.display()
        )))
    };
    let file = match options.mode(0o644).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return refused("a symbolic link");
        }
        Err(error) => {
            return Err(io::Error::new(
                error.kind(),
                format!("log file {}: {error}", path.display()),
            ));
        }
    };
    let metadata = file.metadata()?;
    if metadata.file_type().is_char_device() {
        return Ok(file);
    }
    if !metadata.is_file() {
        return refused("not a regular file");
    }
    if metadata.nlink() > 1 {
        return refused("a hard link to another file");
    }
    Ok(file)
}

/// Why a log cannot be read; each is a fault of its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    NoFile,
    BadArguments,
    Failed,
}

fn open_for_reading(path: &Path) -> Result<(File, u64), ReadError> {
    let file =
        open_safely(path, OpenOptions::new().read(true)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::NoFile,
            _ => ReadError::Failed,
        })?;
    let size = file.metadata().map_err(|_| ReadError::Failed)?.len();
    Ok((file, size))
}

fn read_at(mut file: File, offset: u64, length: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))
        .and_then(|_| file.take(length.min(MAX_READ)).read_to_end(&mut bytes))
        .map_err(|_| ReadError::Failed)?;
    Ok(bytes)
}

/// supervisord's `read…Log`: a negative offset with length 0 means the last bytes, a length of 0
/// means up to the end (here: at most 8 MiB).
pub(crate) fn read(path: &Path, offset: i64, length: i64) -> Result<Vec<u8>, ReadError> {
    if (offset < 0 && length != 0) || length < 0 {
        return Err(ReadError::BadArguments);
    }
    let (file, size) = open_for_reading(path)?;
    if offset < 0 {
        let wanted = offset.unsigned_abs().min(MAX_READ);
        return read_at(file, size.saturating_sub(wanted), wanted);
    }
    let length = if length == 0 {
        MAX_READ
    } else {
        length.unsigned_abs()
    };
    read_at(file, offset.unsigned_abs(), length)
}

/// supervisord's `tail…Log`: bytes, the offset to ask for next, whether some were skipped.
pub(crate) fn tail(path: &Path, offset: i64, length: i64) -> (Vec<u8>, i64, bool) {
    let Ok((file, size)) = open_for_reading(path) else {
        return (Vec::new(), offset, false);
    };
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let (mut offset, mut length) = (offset, length);
    let overflow = size > offset.saturating_add(length);
    if overflow {
        offset = size - 1;
    }
    if offset.saturating_add(length) > size {
        if offset > size - 1 {
            length = 0;
        }
        offset = size - length;
    }
    let (offset, length) = (offset.max(0), length.max(0));
    let bytes = read_at(file, offset.unsigned_abs(), length.unsigned_abs()).unwrap_or_default();
    (bytes, size, overflow)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// All files together, oldest first, end with exactly what was written.
        #[test]
        fn rotation_loses_nothing(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12), max in 5u64..40) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            let mut log = RotatingFile::new(&path, max, 10_000);
            for piece in &pieces { log.append(piece).unwrap(); }
            let written: Vec<u8> = pieces.concat();
            let mut files = Vec::new();
            for n in 1.. {
                match fs::read(directory.path().join(format!("log.{n}"))) { Ok(bytes) => files.push(bytes), Err(_) => break }
            }
            files.reverse();
            for file in &files { prop_assert_eq!(file.len() as u64, max); }
            let mut all = files.concat();
            all.extend(fs::read(&path).unwrap_or_default());
            prop_assert_eq!(all, written);
        }
    }

    #[test]
    fn backups_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = RotatingFile::new(&path, 4, 2);
        log.append(b"aaaabbbbccccddddee").unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(
            (read("log"), read("log.1"), read("log.2")),
            ("ee".into(), "dddd".into(), "cccc".into())
        );
        assert!(!directory.path().join("log.3").exists());
        let mut none = RotatingFile::new(directory.path().join("none"), 4, 0);
        none.append(b"aaaabb").unwrap();
        assert_eq!(read("none"), "bb");
    }

    #[test]
    fn links_and_special_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        fs::write(&target, "precious").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let hard = directory.path().join("hard");
        fs::hard_link(&target, &hard).unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        for (path, why) in [
            (&link, "symbolic link"),
            (&hard, "hard link"),
            (&fifo, "log file"),
        ] {
            let (done, error) = RotatingFile::new(path, 10, 1).append(b"evil").unwrap_err();
            assert_eq!(done, 0);
            assert!(error.to_string().contains(why), "{error}");
            assert!(RotatingFile::new(path, 10, 1).clear().is_err());
        }
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        RotatingFile::new("/dev/null", 4, 1)
            .append(b"more than four")
            .unwrap();
    }

    #[test]
    fn reading_follows_supervisord() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "0123456789").unwrap();
        assert_eq!(read(&path, -4, 0).unwrap(), b"6789");
        assert_eq!(read(&path, -40, 0).unwrap(), b"0123456789");
        assert_eq!(read(&path, 2, 3).unwrap(), b"234");
        assert_eq!(read(&path, 2, 0).unwrap(), b"23456789");
        assert_eq!(read(&path, -1, 1), Err(ReadError::BadArguments));
        assert_eq!(read(&path, 0, -1), Err(ReadError::BadArguments));
        assert_eq!(
            read(&directory.path().join("no"), 0, 0),
            Err(ReadError::NoFile)
        );
        assert_eq!(tail(&path, 0, 100), (b"0123456789".to_vec(), 10, false));
        assert_eq!(tail(&path, 0, 4), (b"6789".to_vec(), 10, true));
        assert_eq!(tail(&path, 10, 4), (Vec::new(), 10, false));
        assert_eq!(tail(&path, i64::MIN, i64::MAX).1, 10);
    }
}
