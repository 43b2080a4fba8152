//! Where the Python files of the SDK are on this machine.
//!
//! They are in this program, and unpacked once for each user. What Python loads runs with the
//! user's rights, so nobody else may be able to put anything there: if the user's cache could be
//! written by others, a fresh private directory is used instead, for this one run.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use include_dir::{Dir, DirEntry, include_dir};

use crate::failure::Failure;
use crate::settings;

/// The Python files of the SDK.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../python/python");

/// Its native module, when one was built before this program.
#[cfg(embedded_python_module)]
static NATIVE: Option<&[u8]> = Some(include_bytes!(env!("SLAPOS_PYTHON_MODULE_FILE")));
#[cfg(not(embedded_python_module))]
static NATIVE: Option<&[u8]> = None;

/// Where the native module belongs among the files, named so that every Python 3 finds it.
const NATIVE_FILE: &str = "slapos/slap/_native.abi3.so";

/// How long what another version unpacked is kept.
const OLD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where the modules are.
pub(crate) struct Modules {
    /// The directory of the package `slapos`.
    pub(crate) directory: PathBuf,
    /// Whether we have the native module: else the user's Python may have it.
    pub(crate) own: bool,
    /// The native module, where it is not among the files.
    pub(crate) native: Option<PathBuf>,
    /// Whether the directory is for this run only.
    pub(crate) temporary: bool,
}

/// Unpacks them if that has not been done.
pub(crate) fn find() -> Result<Modules, Failure> {
    let native = match NATIVE {
        Some(_) => None,
        None => beside_the_program(),
    };
    let own = native.is_some() || NATIVE.is_some();
    let modules = |directory, temporary| Modules {
        directory,
        own,
        native: native.clone(),
        temporary,
    };
    if let Some(directory) = cache().and_then(|cache| unpacked_in(&cache).ok()) {
        return Ok(modules(directory, false));
    }
    let directory = private_directory().and_then(|directory| {
        write_all(&directory)?;
        Ok(directory)
    });
    match directory {
        Ok(directory) => Ok(modules(directory, true)),
        Err(error) => Err(Failure::new(format!(
            "cannot unpack the console's Python files in {}: {error}",
            env::temp_dir().display()
        ))
        .hint("set XDG_CACHE_HOME to a directory of your own that nobody else can write to")),
    }
}

/// The native module as cargo leaves it.
fn beside_the_program() -> Option<PathBuf> {
    let name = format!(
        "{}slapos_native{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    );
    let path = env::current_exe().ok()?.parent()?.join(name);
    path.is_file().then_some(path)
}

fn cache() -> Option<PathBuf> {
    let named = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = match named.filter(|path| path.is_absolute()) {
        Some(base) => base,
        None => Some(settings::home())
            .filter(|home| home.is_absolute() && home != Path::new("/"))?
            .join(".cache"),
    };
    Some(base)
}

/// The directory with the files in this cache, unpacked now if it is not there.
fn unpacked_in(cache: &Path) -> io::Result<PathBuf> {
    let place = cache.join("slapos");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&place)?;
    for directory in [cache, &place] {
        only_ours(&fs::metadata(directory)?)?;
    }
    let directory = place.join(concat!("python-", env!("SLAPOS_PYTHON_HASH")));
    match fs::symlink_metadata(&directory) {
        Ok(found) if found.is_dir() => {
            only_ours(&found)?;
            return Ok(directory);
        }
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let fresh = place.join(format!("unpacking-{}", std::process::id()));
    let _ = fs::remove_dir_all(&fresh);
    DirBuilder::new().mode(0o700).create(&fresh)?;
    let done = write_all(&fresh).and_then(|()| fs::rename(&fresh, &directory));
    if let Err(error) = done {
        let _ = fs::remove_dir_all(&fresh);
        // Another one may have been faster.
        if !directory.is_dir() {
            return Err(error);
        }
    }
    remove_old(&place, &directory);
    Ok(directory)
}

/// Whether nobody else can change what is in the directory.
fn only_ours(directory: &Metadata) -> io::Result<()> {
    let ours = directory.uid() == rustix::process::geteuid().as_raw();
    let others_write = directory.mode() & 0o022 != 0;
    if ours && !others_write {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// A new directory nobody else can enter.
fn private_directory() -> io::Result<PathBuf> {
    let base = env::temp_dir();
    let stamp = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let directory = base.join(format!("slapos-console-{}-{stamp}", std::process::id()));
    // Fails if somebody has made it before us.
    DirBuilder::new().mode(0o700).create(&directory)?;
    Ok(directory)
}

fn write_all(directory: &Path) -> io::Result<()> {
    write_below(&FILES, directory)?;
    if let Some(native) = NATIVE {
        write(&directory.join(NATIVE_FILE), native)?;
    }
    Ok(())
}

fn write_below(files: &Dir<'_>, directory: &Path) -> io::Result<()> {
    for entry in files.entries() {
        if entry.path().file_name() == Some(OsStr::new("__pycache__")) {
            continue;
        }
        match entry {
            DirEntry::Dir(inner) => {
                DirBuilder::new()
                    .mode(0o700)
                    .create(directory.join(inner.path()))?;
                write_below(inner, directory)?;
            }
            DirEntry::File(file) => write(&directory.join(file.path()), file.contents())?,
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// What other versions left, when nobody has needed it for long.
fn remove_old(place: &Path, current: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let path = entry.path();
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age > OLD));
        if old && path != current {
            let _ = fs::remove_dir_all(path);
        }
    }
}
