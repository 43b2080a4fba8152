//! Building with the real zc.buildout (N 3.1, 3.2; B 3.18).

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use slap::ReleaseUrl;

use super::builder::{BuildError, Builder, PartitionJob, ReleaseJob};
use super::environment::Environment;
use super::record;
use crate::cancel::Cancel;
use crate::child::{self, ChildError, Spawn, shebang};
use crate::config::NodeConfig;
use crate::observer::Observer;
use crate::safe_fs::{Dir, Durable, Owner};
use crate::time;
use crate::user::User;

/// What buildout and its children create is for its user and group only.
const UMASK: u32 = 0o027;

/// Marks that the last build skipped the bootstrap (N 3.1): the next one does not, so that a broken
/// `bin/buildout` heals.
const SKIPPED: &str = "buildout-bootstrap-skipped";

/// What the name of a release's own bootstrap for partitions begins with.
const BOOTSTRAP: &str = "bootstrap";

/// The builder that runs zc.buildout from an environment of its own.
pub struct ZcBuildout<'a> {
    config: &'a NodeConfig,
    environment: Environment<'a>,
}

impl<'a> ZcBuildout<'a> {
    /// A builder for this node. Its environment is made when it is first needed.
    pub fn new(config: &'a NodeConfig, observer: &'a dyn Observer) -> Self {
        ZcBuildout {
            config,
            environment: Environment::new(config, observer),
        }
    }

    /// The arguments every run for a release gets, in upstream's order.
    fn release_arguments(&self, directory: &Path) -> Vec<OsString> {
        let joined = |prefix: &str, path: &Path| {
            let mut argument = OsString::from(prefix);
            argument.push(path);
            argument
        };
        let mut arguments = vec![
            joined("buildout:extends-cache=", &directory.join("extends-cache")),
            joined("buildout:directory=", directory),
        ];
        arguments.extend(source_cache_arguments(&self.config.source_cache));
        if !self.config.force {
            arguments.push("-N".into());
        }
        arguments.push("-c".into());
        arguments.push(directory.join("buildout.cfg").into());
        arguments
    }

    /// Runs a bootstrap with the builder's own buildout in a directory.
    fn bootstrap(
        &self,
        directory: &Path,
        arguments: Vec<OsString>,
        user: &User,
        cancel: &Cancel,
        output: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let python = self.environment.python(cancel)?;
        let mut command: Vec<OsString> = match &self.config.buildout {
            Some(script) => vec!["-S".into(), script.into()],
            None => vec!["-c".into(), self.environment.bootstrap_code().into()],
        };
        command.extend(arguments);
        command.push("bootstrap".into());
        let mut spawn = Spawn::new(python, directory, user).args(command);
        spawn.umask = Some(UMASK);
        run(
            spawn,
            &format!(
                "Failed to bootstrap buildout in '{}'.:",
                directory.display()
            ),
            cancel,
            output,
        )
    }

    /// Runs a directory's buildout script with the interpreter its first line names.
    fn buildout(
        &self,
        script: &Path,
        mut spawn: Spawn<'_>,
        arguments: Vec<OsString>,
        cancel: &Cancel,
        output: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        mend_record(spawn.directory, spawn.user)?;
        let mut command = script_command(script)?;
        spawn.program = command.remove(0);
        spawn.args = command;
        let interpreter = Path::new(&spawn.program);
        if interpreter.starts_with(&self.config.builder_directory) && !interpreter.exists() {
            // An upgrade of the system took the builder's Python away.
            self.environment.python(cancel)?;
        }
        if self.config.buildout_debug {
            spawn.args.push("-D".into());
        }
        spawn.args.push("-U".into());
        spawn.args.extend(arguments);
        spawn.umask = Some(UMASK);
        let title = format!(
            "Failed to run buildout profile in directory '{}':",
            spawn.directory.display()
        );
        run(spawn, &title, cancel, output)
    }
}

impl Builder for ZcBuildout<'_> {
    fn build_release(
        &self,
        job: &ReleaseJob<'_>,
        output: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let directory = job.directory;
        let owner_error = |error: crate::Error| BuildError::Unusable(error.to_string());
        // Not the release's own directory: its user could make that a link to one of root's.
        let user = User::owner_of(&self.config.software_root).map_err(owner_error)?;
        let owner: Owner = (!user.is_us()).then(|| user.ids());
        let root = Dir::open(directory).map_err(BuildError::io("open", directory))?;
        refresh_netrc(&root, &user, owner).map_err(BuildError::io("write .netrc in", directory))?;
        root.make_dir("extends-cache", 0o755, owner)
            .map_err(BuildError::io("create extends-cache in", directory))?;
        self.write_profile(&root, job.release, owner, &user, job.cancel)
            .map_err(BuildError::io("write buildout.cfg in", directory))?;
        let arguments = self.release_arguments(directory);
        let bin = root
            .make_dir("bin", 0o755, owner)
            .map_err(BuildError::io("create bin in", directory))?;
        let skip = decide_bootstrap(&bin, owner).map_err(BuildError::io("use", bin.path()))?;
        if !skip {
            self.bootstrap(directory, arguments.clone(), &user, job.cancel, output)?;
        }
        let mut spawn = Spawn::new("", directory, &user);
        spawn.home = directory;
        self.buildout(
            &directory.join("bin/buildout"),
            spawn,
            arguments,
            job.cancel,
            output,
        )?;
        bin.remove(SKIPPED)
            .map_err(BuildError::io("use", bin.path()))?;
        Ok(())
    }

    fn process_partition(
        &self,
        job: &PartitionJob<'_>,
        output: &mut dyn FnMut(&str),
    ) -> Result<(), BuildError> {
        let directory = job.directory;
        let user =
            User::owner_of(directory).map_err(|error| BuildError::Unusable(error.to_string()))?;
        let own = directory.join("sbin/buildout");
        let script = match release_bootstrap(job.release_directory)? {
            Some(bootstrap) => {
                let mut command = script_command(&bootstrap)?;
                let mut spawn = Spawn::new(command.remove(0), directory, &user).args(command);
                spawn.instance_root = Some(job.instance_root);
                let title = format!(
                    "Failed to bootstrap buildout in '{}'.:",
                    directory.display()
                );
                run(spawn, &title, job.cancel, output)?;
                own
            }
            None => {
                let shared = job.release_directory.join("bin/buildout");
                if shared.exists() {
                    shared
                } else {
                    let mut argument = OsString::from("buildout:bin-directory=");
                    argument.push(directory.join("sbin"));
                    self.bootstrap(directory, vec![argument], &user, job.cancel, output)?;
                    own
                }
            }
        };
        let mut spawn = Spawn::new("", directory, &user);
        spawn.home = directory;
        spawn.instance_root = Some(job.instance_root);
        spawn.timeout = job.timeout;
        self.buildout(&script, spawn, Vec::new(), job.cancel, output)
    }
}

/// What makes Nexedi's buildout use the network cache for sources. Others ignore it.
fn source_cache_arguments(options: &[(&'static str, String)]) -> Vec<OsString> {
    // Credentials alone lead nowhere.
    let leads = |name: &str| {
        matches!(
            name,
            "signature-private-key-file" | "upload-cache-url" | "upload-dir-url"
        )
    };
    let mut arguments = Vec::new();
    if options.iter().any(|(name, _)| leads(name)) {
        arguments.push("buildout:networkcache-section=networkcache".into());
    }
    arguments.extend(
        options
            .iter()
            .map(|(name, value)| format!("networkcache:{name}={value}").into()),
    );
    arguments
}

impl ZcBuildout<'_> {
    /// Writes the release's `buildout.cfg` once (N 2.1), and notes the revision of a local profile.
    fn write_profile(
        &self,
        root: &Dir,
        release: &ReleaseUrl,
        owner: Owner,
        user: &User,
        cancel: &Cancel,
    ) -> std::io::Result<()> {
        let current = root.read_text("buildout.cfg")?;
        let mut text = current.clone().unwrap_or_else(|| {
            let value = |text: &str| text.replace('\n', "\n\t");
            format!(
                "[buildout]\nextends = {}\nshared-part-list = {}\nbuild-time-part-list = {}\n\n",
                release.as_str(),
                value(&self.config.shared_part_list),
                value(&self.config.build_time_part_list)
            )
        });
        if let Some(revision) = git_revision(release, user, cancel)
            && !text
                .lines()
                .next_back()
                .is_some_and(|last| last.contains(&revision))
        {
            let now = time::utc(std::time::SystemTime::now());
            text.push_str(&format!("# {now} git revision: {revision}\n"));
        }
        if current.as_ref() != Some(&text) {
            root.write("buildout.cfg", text.as_bytes(), 0o644, owner, Durable::No)?;
        }
        Ok(())
    }
}

/// A run that was killed may have left half a record of what is installed.
fn mend_record(directory: &Path, user: &User) -> Result<(), BuildError> {
    let failed = || BuildError::io("mend .installed.cfg in", directory);
    let root = Dir::open(directory).map_err(failed())?;
    let owner: Owner = (!user.is_us()).then(|| user.ids());
    if record::mend(&root, owner).map_err(failed())? {
        tracing::warn!(
            "{}: buildout's record of what is installed was torn by an interrupted run; what it \
             forgot is installed again",
            directory.display()
        );
    }
    Ok(())
}

fn run(
    spawn: Spawn<'_>,
    title: &str,
    cancel: &Cancel,
    output: &mut dyn FnMut(&str),
) -> Result<(), BuildError> {
    match child::run(spawn, cancel, output) {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => Err(BuildError::Failed {
            title: title.to_owned(),
            output: ended.output,
        }),
        Err(ChildError::Cancelled { program }) => Err(BuildError::Cancelled(program)),
        Err(error @ ChildError::Timeout { .. }) => {
            let text = error.to_string();
            let ChildError::Timeout { output, .. } = error else {
                return Err(BuildError::Unusable(text));
            };
            Err(BuildError::Failed {
                title: text,
                output,
            })
        }
        Err(error) => Err(BuildError::Failed {
            title: title.to_owned(),
            output: error.to_string(),
        }),
    }
}

/// A script's interpreter words and its path: independent of the kernel's limits on first lines.
fn script_command(script: &Path) -> Result<Vec<OsString>, BuildError> {
    let head = fs::read(script).map_err(BuildError::io("read", script))?;
    let mut words = shebang(&head).ok_or_else(|| {
        BuildError::Unusable(format!(
            "{} does not begin with `#!` and an interpreter; build its release again with --force",
            script.display()
        ))
    })?;
    words.push(script.into());
    Ok(words)
}

/// Whether to skip the bootstrap, by the alternating rule of N 3.1.
fn decide_bootstrap(bin: &Dir, owner: Owner) -> std::io::Result<bool> {
    if bin.remove(SKIPPED)? {
        return Ok(false);
    }
    if bin.stat("buildout")?.is_none() {
        return Ok(false);
    }
    bin.write(SKIPPED, b"", 0o644, owner, Durable::No)?;
    Ok(true)
}

/// The release's own bootstrap for partitions, where it has exactly one.
fn release_bootstrap(release: &Path) -> Result<Option<PathBuf>, BuildError> {
    let bin = release.join("bin");
    let names = match fs::read_dir(&bin) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BuildError::io("read", &bin)(error)),
    };
    let mut found: Vec<PathBuf> = names
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(BOOTSTRAP))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(BuildError::Unusable(format!(
            "More than one bootstrap script in {}: only one file may begin with `{BOOTSTRAP}`",
            bin.display()
        ))),
    }
}

/// Copies the user's `.netrc`, so that the build may fetch what needs a password; a copy whose
/// original is gone goes too.
fn refresh_netrc(root: &Dir, user: &User, owner: Owner) -> std::io::Result<()> {
    match Dir::open(&user.home).and_then(|home| home.read(".netrc")) {
        Ok(Some(bytes)) => root
            .write_if_different(".netrc", &bytes, 0o600, owner, Durable::No)
            .map(drop),
        _ => root.remove(".netrc").map(drop),
    }
}

/// `git describe` of a local profile's directory; `None` when it is not in a git repository.
fn git_revision(release: &ReleaseUrl, user: &User, cancel: &Cancel) -> Option<String> {
    let path = Path::new(release.as_str());
    let directory = path.parent().filter(|_| path.is_file())?;
    let mut spawn =
        Spawn::new("git", directory, user).args(["describe", "--all", "--long", "--dirty"]);
    spawn.timeout = Some(std::time::Duration::from_secs(10));
    let ended = child::run(spawn, cancel, &mut |_| {}).ok()?;
    let line = ended.output.lines().next()?.trim().to_owned();
    (ended.status.success() && !line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn n_3_1_buildout_is_told_of_the_cache_of_sources() {
        assert!(source_cache_arguments(&[]).is_empty());
        let credentials = [("shadir-key-file", "/k".to_owned())];
        assert_eq!(
            source_cache_arguments(&credentials),
            ["networkcache:shadir-key-file=/k"]
        );
        let upload = [
            ("upload-dir-url", "http://d".to_owned()),
            ("shadir-key-file", "/k".to_owned()),
        ];
        assert_eq!(
            source_cache_arguments(&upload),
            [
                "buildout:networkcache-section=networkcache",
                "networkcache:upload-dir-url=http://d",
                "networkcache:shadir-key-file=/k"
            ]
        );
    }

    #[test]
    fn n_3_1_a_retried_build_alternates_between_skipping_and_bootstrapping() {
        let directory = tempfile::tempdir().unwrap();
        let bin = Dir::open(directory.path()).unwrap();
        let skip = || decide_bootstrap(&bin, None).unwrap();
        assert!(!skip(), "nothing there yet");
        fs::write(directory.path().join("buildout"), "").unwrap();
        assert_eq!([skip(), skip(), skip(), skip()], [true, false, true, false]);
    }

    #[test]
    fn only_one_bootstrap_script_is_accepted() {
        let release = tempfile::tempdir().unwrap();
        assert_eq!(release_bootstrap(release.path()).unwrap(), None);
        let bin = release.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("buildout"), "").unwrap();
        assert_eq!(release_bootstrap(release.path()).unwrap(), None);
        fs::write(bin.join("bootstrap2"), "").unwrap();
        assert_eq!(
            release_bootstrap(release.path()).unwrap(),
            Some(bin.join("bootstrap2"))
        );
        fs::write(bin.join("bootstrap3"), "").unwrap();
        assert!(release_bootstrap(release.path()).is_err());
    }
}
