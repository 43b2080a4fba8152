//! The one small interface between the node and whatever builds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use slap::ReleaseUrl;

use crate::cancel::Cancel;

/// Builds releases and processes partitions. A native engine will replace [`super::ZcBuildout`].
///
/// Called from several threads at once, never twice for the same directory.
pub trait Builder: Sync {
    /// Builds a release into its directory, which exists and belongs to its user. What an earlier,
    /// interrupted build left there is used or repaired.
    ///
    /// # Errors
    /// [`BuildError`]; the directory may hold a half-built release then.
    fn build_release(
        &self,
        job: &ReleaseJob<'_>,
        output: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError>;

    /// Makes a partition what its `buildout.cfg` describes.
    ///
    /// # Errors
    /// [`BuildError`]; the partition may be in between then, and is processed again later.
    fn process_partition(
        &self,
        job: &PartitionJob<'_>,
        output: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError>;
}

/// A release to build.
#[derive(Debug)]
pub struct ReleaseJob<'a> {
    /// The profile.
    pub release: &'a ReleaseUrl,
    /// Where to build.
    pub directory: &'a Path,
    /// Raised when the build shall stop.
    pub cancel: &'a Cancel,
}

/// A partition to process.
#[derive(Debug)]
pub struct PartitionJob<'a> {
    /// The partition's directory, with its `buildout.cfg`.
    pub directory: &'a Path,
    /// The release it is an instance of.
    pub release_directory: &'a Path,
    /// Told to what runs, as `SLAPGRID_INSTANCE_ROOT`.
    pub instance_root: &'a Path,
    /// Limit for the whole.
    pub timeout: Option<Duration>,
    /// Raised when the processing shall stop.
    pub cancel: &'a Cancel,
}

/// Why something was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// What was run failed. The text is what upstream sends to the Master (N 9.1.3).
    #[error("{title}\n{output}")]
    Failed {
        /// What failed, and where.
        title: String,
        /// Everything it printed, the middle left out when very long.
        output: String,
    },
    /// The builder cannot work on this machine as it is.
    #[error("{0}")]
    Unusable(String),
    /// Files needed could not be read or written.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It was interrupted.
    #[error("interrupted while {0} was running; it was killed with all its children")]
    Cancelled(String),
}

impl BuildError {
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> BuildError {
        let path = path.into();
        move |source| BuildError::Io {
            doing,
            path,
            source,
        }
    }

    /// The error as people shall see it at once: its title and the last lines of its output.
    pub fn summary(&self, lines: usize) -> String {
        match self {
            BuildError::Failed { title, output } => {
                let all: Vec<&str> = output.trim_end().lines().collect();
                let tail = &all[all.len().saturating_sub(lines)..];
                format!("{title}\n{}", tail.join("\n"))
            }
            other => other.to_string(),
        }
    }
}
