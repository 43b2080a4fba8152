//! The promises a partition has (N 4.1).

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::safe_fs::Dir;

/// Most promises of a partition.
const PROMISES_MAX: usize = 1000;

/// A promise of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Promise {
    /// Its file's name without the last extension.
    pub(super) title: String,
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// A Python plugin, or an executable.
    pub(super) is_plugin: bool,
}

/// The promises of a partition: plugins first, then executables, each in the order of their names.
/// `warn` is told what is there and no promise.
pub(super) fn discover(partition: &Dir, warn: &mut dyn FnMut(&str)) -> io::Result<Vec<Promise>> {
    let mut found = Vec::new();
    let Some(etc) = partition.dir("etc")? else {
        return Ok(found);
    };
    for (directory, is_plugin) in [("plugin", true), ("promise", false)] {
        let Some(dir) = etc.dir(directory)? else {
            continue;
        };
        let names = dir.names()?;
        for name in &names {
            let path = dir.path().join(name);
            let Some((text, title)) = name.to_str().zip(title(name)) else {
                warn(&format!("Bad promise file at {}.", path.display()));
                continue;
            };
            if is_plugin && text.ends_with(".py") && !text.starts_with("__init__")
                || !is_plugin && is_executable(&path)
            {
                found.push(Promise {
                    title,
                    name: text.to_owned(),
                    path,
                    is_plugin,
                });
            } else if !is_plugin {
                warn(&format!("Bad promise file at {}.", path.display()));
            } else if [".pyc", ".pyo"].iter().any(|end| text.ends_with(end))
                && !names.iter().any(|other| *other == text[..text.len() - 1])
            {
                // What was compiled from a plugin that is gone: Python would still import it.
                let _ = dir.remove(name);
            }
        }
    }
    if found.len() > PROMISES_MAX {
        warn(&format!(
            "only the first {PROMISES_MAX} of {} promises are run",
            found.len()
        ));
        found.truncate(PROMISES_MAX);
    }
    Ok(found)
}

/// A promise's title: its file's name without the last extension.
fn title(name: &OsStr) -> Option<String> {
    Path::new(name)
        .file_stem()
        .and_then(OsStr::to_str)
        .map(str::to_owned)
}

/// Links are followed here: the file is run as the partition's user, who chose it.
fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
