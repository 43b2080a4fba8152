//! `node software`: every release the Master wants is built, every one it gives up is removed
//! (N 3.1).
//!
//! Releases are independent and built side by side, each with its own log; only shared parts force
//! them into a row. `available` is reported before `.completed` is written, so that a report that
//! fails is tried again.

mod builder;
mod environment;
mod record;
mod zc_buildout;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use slap::document::{InstallationDocument, NodeDocument};
use slap::{InstallationState, ReleaseUrl};
use slap_client::Client;

pub use builder::{BuildError, Builder, PartitionJob, ReleaseJob};
pub use zc_buildout::ZcBuildout;

use crate::cancel::Cancel;
use crate::config::NodeConfig;
use crate::layout::{check_free_space, release_key};
use crate::network_cache::{BinaryCache, BinaryUpload};
use crate::observer::{Event, Observer};
use crate::outcome::{Error, Outcome};
use crate::parallel;
use crate::safe_fs::{Dir, Durable};
use crate::start;
use crate::time;
use crate::user::User;

/// In a release's directory when it was built to its end.
const COMPLETED: &str = ".completed";

/// Last lines of a failed build shown at once; the log has them all.
const SHOWN_LINES: usize = 20;

/// What `node software` is asked on its command line.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these releases, by URL or key; empty: all.
    pub only: Vec<String>,
    /// Remove releases the Master does not list any more.
    pub garbage_collect: bool,
    /// Raised to interrupt the run.
    pub cancel: Cancel,
}

/// Builds and removes releases with the real buildout.
///
/// # Errors
/// When the run could not be made at all; failures of single releases are an [`Outcome`].
pub fn run(
    config: &NodeConfig,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Outcome, Error> {
    let builder = ZcBuildout::new(config, observer);
    run_with(config, options, observer, &builder)
}

/// Builds and removes releases with this builder.
///
/// # Errors
/// As [`run`].
pub fn run_with(
    config: &NodeConfig,
    options: &Options,
    observer: &dyn Observer,
    builder: &dyn Builder,
) -> Result<Outcome, Error> {
    let _lock = start::begin(config, &config.pidfile_software, &options.cancel, observer)?;
    config.warn_unsupported(observer);
    config.prepare_structure()?;
    let client = config.master.client()?;
    let document = client.node(&config.node)?;
    let run = Run {
        config,
        options,
        observer,
        builder,
        client: &client,
        interrupts_are_told: true,
    };
    let results = parallel::map(&document.installations, width(config), |installation| {
        run.installation(installation)
    });
    let mut outcome = Outcome::Success;
    for result in results {
        if result?.is_err() {
            outcome = Outcome::Failure;
        }
    }
    if options.garbage_collect {
        let wanted = document
            .installations
            .iter()
            .filter(|installation| installation.requested_state() == InstallationState::Available)
            .map(|installation| release_key(&installation.release));
        let used = document
            .partitions
            .iter()
            .filter_map(|partition| partition.release.as_ref())
            .map(|release| release_key(release.url()));
        run.garbage_collect(&wanted.chain(used).collect());
    }
    Ok(outcome)
}

/// How many releases are built at once. Two builds may want to install the same shared part, and
/// recipes do not lock.
pub(crate) fn width(config: &NodeConfig) -> usize {
    let alone = !config.shared_part_list.trim().is_empty()
        || !config.build_time_part_list.trim().is_empty();
    if alone { 1 } else { config.workers }
}

/// The releases of this document that are wanted and complete.
pub(crate) fn ready(config: &NodeConfig, document: &NodeDocument) -> BTreeSet<ReleaseUrl> {
    document
        .installations
        .iter()
        .filter(|installation| installation.requested_state() == InstallationState::Available)
        .map(|installation| &installation.release)
        .filter(|release| config.release_directory(release).join(COMPLETED).exists())
        .cloned()
        .collect()
}

/// Makes one release what the Master wants, without the command's lock. What fails is reported to
/// the Master.
///
/// # Errors
/// When it was interrupted; that the build failed is the inner result.
pub(crate) fn process_one(
    config: &NodeConfig,
    client: &Client,
    builder: &dyn Builder,
    installation: &InstallationDocument,
    cancel: &Cancel,
    observer: &dyn Observer,
) -> Result<Result<(), BuildError>, Error> {
    let options = Options {
        cancel: cancel.clone(),
        ..Options::default()
    };
    let run = Run {
        config,
        options: &options,
        observer,
        builder,
        client,
        // An agent that is restarted goes on where it was: that is nothing to tell the user.
        interrupts_are_told: false,
    };
    run.installation(installation)
}

struct Run<'a> {
    config: &'a NodeConfig,
    options: &'a Options,
    observer: &'a dyn Observer,
    builder: &'a dyn Builder,
    client: &'a Client,
    /// Whether the Master is told that a build failed because of an interrupt (N 3).
    interrupts_are_told: bool,
}

impl Run<'_> {
    /// Makes one release what the Master wants.
    fn installation(
        &self,
        installation: &InstallationDocument,
    ) -> Result<Result<(), BuildError>, Error> {
        let release = &installation.release;
        if !self.is_selected(release) {
            return Ok(Ok(()));
        }
        if self.options.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let result = match installation.requested_state() {
            InstallationState::Available => self.make_available(release),
            InstallationState::Destroyed => self.destroy(release),
        };
        match result {
            Ok(()) => Ok(Ok(())),
            Err(BuildError::Cancelled(what)) => {
                if self.interrupts_are_told {
                    let text = format!("interrupted by the administrator while {what} was running");
                    self.report_error(release, &text);
                }
                Err(Error::Cancelled)
            }
            Err(error) => {
                self.report_error(release, &error.to_string());
                Ok(Err(error))
            }
        }
    }

    fn is_selected(&self, release: &ReleaseUrl) -> bool {
        let only = &self.options.only;
        only.is_empty()
            || only
                .iter()
                .any(|name| name == release.as_str() || *name == release_key(release))
    }

    fn make_available(&self, release: &ReleaseUrl) -> Result<(), BuildError> {
        let directory = self.config.release_directory(release);
        if !self.config.force && directory.join(COMPLETED).exists() {
            return Ok(());
        }
        match self.client.release_building(release, &self.config.node) {
            Err(error) if !error.is_not_found() => return Err(unreported(&error)),
            _ => {}
        }
        let begin = Instant::now();
        let log = self.config.release_log(release);
        self.observer.event(&Event::ReleaseStarted {
            release,
            directory: &directory,
            log: &log,
        });
        let result = self.build(release);
        let error = result.as_ref().err().map(|error| {
            format!(
                "{}\nThe whole log is in {}",
                error.summary(SHOWN_LINES),
                log.display()
            )
        });
        self.observer.event(&Event::ReleaseFinished {
            release,
            elapsed: begin.elapsed(),
            error: error.as_deref(),
        });
        let built_here = result?;
        // Reported before it is marked: a report that fails is made again by the next run.
        self.client
            .release_available(release, &self.config.node)
            .map_err(|error| unreported(&error))?;
        Dir::open(&directory)
            .and_then(|dir| {
                let now = time::asctime(SystemTime::now());
                dir.write(COMPLETED, now.as_bytes(), 0o644, None, Durable::Yes)
            })
            .map_err(BuildError::io("mark as complete", &directory))?;
        if built_here {
            self.give_to_cache(release);
        }
        Ok(())
    }

    /// Makes the release; tells whether it was built, and not taken from elsewhere.
    fn build(&self, release: &ReleaseUrl) -> Result<bool, BuildError> {
        let root = &self.config.software_root;
        let directory = self.config.release_directory(release);
        check_free_space(
            &directory,
            self.config.software_min_free_space,
            "software_min_free_space",
        )
        .map_err(BuildError::Unusable)?;
        let user = User::owner_of(root).map_err(|error| BuildError::Unusable(error.to_string()))?;
        let owner = (!user.is_us()).then(|| user.ids());
        if !directory.exists() && self.take_from_cache(release, &user)? {
            return Ok(false);
        }
        let parent = Dir::open_trusted(root).map_err(BuildError::io("open", root))?;
        parent
            .make_dir(release_key(release), 0o755, owner)
            .map_err(BuildError::io("create", &directory))?;
        let mut log = self.open_log(release)?;
        let job = ReleaseJob {
            release,
            directory: &directory,
            cancel: &self.options.cancel,
        };
        let result = self.builder.build_release(&job, &mut |line| {
            // A full disk must not stop the build from saying what went wrong.
            let _ = writeln!(log, "{line}");
            self.observer.event(&Event::ReleaseOutput { release, line });
        });
        if let Err(error) = &result {
            let _ = writeln!(log, "{}", error.summary(0));
        }
        result.map(|()| true)
    }

    /// Gives the release to the network cache, where one is configured for that. It is complete
    /// here whatever comes of it.
    fn give_to_cache(&self, release: &ReleaseUrl) {
        let root = &self.config.software_root;
        let given = BinaryUpload::load(&self.config.file)
            .map_err(|error| error.to_string())
            .and_then(|cache| match cache {
                None => Ok(false),
                Some(cache) => {
                    let user = User::owner_of(root).map_err(|error| error.to_string())?;
                    cache.give(release, root, &user, &self.options.cancel)
                }
            });
        match given {
            Ok(false) => {}
            Ok(true) => self.observer.event(&Event::Info(&format!(
                "{release}: given to the network cache"
            ))),
            Err(reason) => self.observer.event(&Event::Warning(&format!(
                "{release}: cannot be given to the network cache: {reason}"
            ))),
        }
    }

    /// Takes the release from the network cache, where one is configured and has it (N 3.1.1).
    fn take_from_cache(&self, release: &ReleaseUrl, user: &User) -> Result<bool, BuildError> {
        let cache = match BinaryCache::load(&self.config.file) {
            Ok(Some(cache)) if !cache.is_refused(release) => cache,
            Ok(_) => return Ok(false),
            Err(error) => {
                self.observer.event(&Event::Warning(&format!(
                    "{release}: built here, as the network cache cannot be used: {error}"
                )));
                return Ok(false);
            }
        };
        let cancel = &self.options.cancel;
        let reason = match cache.take(release, &self.config.software_root, user, cancel) {
            Ok(true) => {
                self.observer.event(&Event::Info(&format!(
                    "{release}: taken from the network cache"
                )));
                return Ok(true);
            }
            Ok(false) => "it has nothing that fits this machine".to_owned(),
            Err(reason) => reason,
        };
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled("the download".to_owned()));
        }
        if cache.is_forced(release) {
            return Err(BuildError::Unusable(format!(
                "Binary cache forced for {release}, but: {reason}"
            )));
        }
        self.observer.event(&Event::Info(&format!(
            "{release}: not taken from the network cache: {reason}"
        )));
        Ok(false)
    }

    /// The log of this build, for the node's administrator and readable by others as releases are.
    fn open_log(&self, release: &ReleaseUrl) -> Result<File, BuildError> {
        let path = self.config.release_log(release);
        let name = format!("{}.log", release_key(release));
        let open = || {
            let logs =
                Dir::open_trusted(&self.config.software_root)?.make_dir(".log", 0o755, None)?;
            if logs.stat(&name)?.is_some() {
                logs.rename(&name, format!("{name}.1"))?;
            }
            logs.append(&name, 0o644, None)
        };
        open().map_err(BuildError::io("open the log", path))
    }

    fn destroy(&self, release: &ReleaseUrl) -> Result<(), BuildError> {
        let directory = self.config.release_directory(release);
        let key = release_key(release);
        let removed = self
            .remove(&key)
            .map_err(BuildError::io("remove", &directory))?;
        if removed {
            self.observer.event(&Event::ReleaseRemoved { release });
        }
        self.client
            .release_destroyed(release, &self.config.node)
            .map_err(|error| unreported(&error))
    }

    /// Removes a release's directory; tells whether there was one.
    fn remove(&self, key: &str) -> std::io::Result<bool> {
        let root = Dir::open_trusted(&self.config.software_root)?;
        match root.dir(key) {
            Ok(None) => return Ok(false),
            // The mark goes first: what is left of an interrupted removal is not a release.
            Ok(Some(directory)) => {
                directory.remove(COMPLETED)?;
            }
            Err(_) => {}
        }
        root.remove_tree(key)?;
        Ok(true)
    }

    /// Removes releases that are neither wanted nor used by a partition (`--garbage-collect`).
    fn garbage_collect(&self, wanted: &BTreeSet<String>) {
        if wanted.is_empty() {
            self.observer.event(&Event::Warning(
                "the Master lists no release at all: nothing is collected, in case that is a mistake",
            ));
            return;
        }
        for path in self.installed() {
            let key = path.file_name().unwrap_or_default().to_string_lossy();
            if wanted.contains(key.as_ref()) {
                continue;
            }
            match self.remove(&key) {
                Ok(_) => self.observer.event(&Event::Info(&format!(
                    "removed {}, which the Master does not list",
                    path.display()
                ))),
                Err(error) => self.observer.event(&Event::Failure(&format!(
                    "cannot remove {}: {error}",
                    path.display()
                ))),
            }
        }
    }

    /// Directories that are releases: named by a key, with a profile.
    fn installed(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.config.software_root);
        let mut found: Vec<PathBuf> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.len() == 32
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
            })
            .map(|entry| entry.path())
            .filter(|path| path.join("buildout.cfg").exists())
            .collect();
        found.sort();
        found
    }

    fn report_error(&self, release: &ReleaseUrl, text: &str) {
        if let Err(error) = self.client.release_error(release, &self.config.node, text) {
            self.observer.event(&Event::Warning(&format!(
                "cannot tell the Master that {release} failed: {error}"
            )));
        }
    }
}

fn unreported(error: &slap_client::Error) -> BuildError {
    BuildError::Unusable(format!("cannot report to the Master: {error}"))
}

impl NodeConfig {
    pub(crate) fn warn_unsupported(&self, observer: &dyn Observer) {
        for what in &self.unsupported {
            observer.event(&Event::Warning(&format!(
                "{what} in {} is not supported and has no effect",
                self.file.display()
            )));
        }
    }
}
