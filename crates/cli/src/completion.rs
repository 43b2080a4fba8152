//! Completion in shells, with the names a Master knows.
//!
//! The script of a shell runs this program with `COMPLETE=SHELL` for every press of the tab key. It
//! must be quick and silent whatever the Master does: what was learnt is kept for a moment, and a
//! Master that does not answer soon is not waited for.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime};

use clap::{Arg, Command};
use clap_complete::CompleteEnv;
use clap_complete::engine::{
    ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};

use crate::args::client::ClientConfig;
use crate::failure::Failure;
use crate::{contexts, help, settings};

/// How long a Master may take to answer.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long an answer is as good as a new one.
const FRESH: Duration = Duration::from_secs(15);
/// How long an answer is better than none.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Largest kept answer that is read, in bytes.
const KEPT_BYTES_MAX: u64 = 4 << 20;
/// The commands that talk to the Master of a client's configuration.
const CLIENTS: &[&str] = &[
    "request",
    "service",
    "apply",
    "supply",
    "remove",
    "software",
    "computer",
    "console",
    "login",
    "logout",
    "context",
    "check",
    "configure",
];

/// Completes a line and ends, when a shell asks for it.
pub(crate) fn answer_if_asked() {
    if std::env::var_os("COMPLETE").is_some() {
        CompleteEnv::with_factory(command).bin("slapos").complete();
    }
}

/// What can be completed beyond the words of the command line itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Services,
    Nodes,
    Releases,
    Contexts,
}

/// The command line, where each argument knows what it may be.
fn command() -> Command {
    help::command().mut_subcommands(|inner| {
        if CLIENTS.contains(&inner.get_name()) {
            with_names(inner)
        } else {
            inner
        }
    })
}

fn with_names(command: Command) -> Command {
    command
        .mut_args(|argument| match kind_of(&argument) {
            Some(kind) => argument.add(ArgValueCompleter::new(Names(kind))),
            None => argument,
        })
        .mut_subcommands(with_names)
}

/// Arguments of the same meaning have the same name in the help, everywhere.
fn kind_of(argument: &Arg) -> Option<Kind> {
    let name = argument.get_value_names()?.first()?.as_str();
    match name {
        "TITLE" | "OLD" => Some(Kind::Services),
        "NODE" => Some(Kind::Nodes),
        // An option `--master-url URL` is no release.
        "URL" | "SOFTWARE" | "RELEASE" if argument.get_long().is_none() => Some(Kind::Releases),
        "CONTEXT" | "URL|CONTEXT" => Some(Kind::Contexts),
        _ => None,
    }
}

struct Names(Kind);

impl ValueCompleter for Names {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let begun = current.to_string_lossy();
        let mut found: Vec<CompletionCandidate> = names(self.0)
            .into_iter()
            .filter(|name| name.starts_with(begun.as_ref()) && can_be_inserted(name))
            .map(CompletionCandidate::new)
            .collect();
        if self.0 == Kind::Releases {
            found.extend(PathCompleter::any().complete(current));
        }
        found
    }
}

/// Bash takes what it is given as it is: a name with a blank would become two words.
fn can_be_inserted(name: &str) -> bool {
    std::env::var_os("COMPLETE").is_none_or(|shell| shell != "bash")
        || name
            .chars()
            .all(|c| c.is_alphanumeric() || "._/@%+=,:-".contains(c))
}

fn names(kind: Kind) -> Vec<String> {
    if kind == Kind::Contexts {
        return contexts::names();
    }
    let config = config_of_line(std::env::args_os().map(|word| word.to_string_lossy().into()));
    let Ok(file) = contexts::client_file(&config) else {
        return Vec::new();
    };
    let kept = Kept::new(&file, kind);
    if let Some(names) = kept.read(FRESH) {
        return names;
    }
    let (send, receive) = sync_channel(1);
    let asking = std::thread::Builder::new().spawn(move || {
        // Nobody listens any more when it took too long.
        let _ = send.send(ask(&config, kind).ok());
    });
    let answer = asking
        .ok()
        .and_then(|_| receive.recv_timeout(PATIENCE).ok().flatten());
    match answer {
        Some(names) => {
            // Without a place to keep it, it is asked again.
            let _ = kept.write(&names);
            names
        }
        None => kept.read(STALE).unwrap_or_default(),
    }
}

fn ask(config: &ClientConfig, kind: Kind) -> Result<Vec<String>, Failure> {
    let cloud = settings::cloud(config)?;
    Ok(match kind {
        Kind::Services => {
            let services = cloud.services()?;
            services.into_iter().map(|service| service.title).collect()
        }
        Kind::Nodes => {
            let nodes = cloud.nodes()?;
            nodes.into_iter().map(|node| node.reference).collect()
        }
        Kind::Releases => cloud.software_list()?.into_keys().collect(),
        Kind::Contexts => Vec::new(),
    })
}

/// `--cfg` and `--context` of the line that is being completed.
fn config_of_line(words: impl Iterator<Item = String>) -> ClientConfig {
    let mut config = ClientConfig {
        cfg: None,
        context: None,
    };
    let mut words = words;
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        match name.as_str() {
            "--cfg" => config.cfg = value.or_else(|| words.next()).map(PathBuf::from),
            "--context" => config.context = value.or_else(|| words.next()),
            _ => {}
        }
    }
    config
}

/// An answer that is kept: one name on each line.
struct Kept {
    file: PathBuf,
}

impl Kept {
    fn new(configuration: &Path, kind: Kind) -> Kept {
        let base = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| settings::home().join(".cache"));
        // No security rests on it: other Masters have other files.
        let mut hasher = DefaultHasher::new();
        (configuration, kind, std::env::var_os("SLAPOS_MASTER_URL")).hash(&mut hasher);
        let name = format!("complete-{:016x}", hasher.finish());
        Kept {
            file: base.join("slapos").join(name),
        }
    }

    fn read(&self, not_older: Duration) -> Option<Vec<String>> {
        let file = File::open(&self.file).ok()?;
        let written = file.metadata().ok()?.modified().ok()?;
        if SystemTime::now().duration_since(written).ok()? > not_older {
            return None;
        }
        let mut text = String::new();
        file.take(KEPT_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }

    fn write(&self, names: &[String]) -> io::Result<()> {
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let new = self.file.with_extension(std::process::id().to_string());
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        let written = names.iter().try_for_each(|name| writeln!(file, "{name}"));
        // A half one, after a crash, would be wrong for seconds only: nothing is synced.
        written
            .and_then(|()| fs::rename(&new, &self.file))
            .inspect_err(|_| drop(fs::remove_file(&new)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_configuration_of_the_line_is_found() {
        let of = |line: &str| {
            let config = config_of_line(line.split(' ').map(str::to_owned));
            (config.cfg, config.context)
        };
        assert_eq!(of("slapos -- slapos service info"), (None, None));
        assert_eq!(
            of("slapos service info --context lab x"),
            (None, Some("lab".to_owned()))
        );
        assert_eq!(of("a --cfg=/b"), (Some("/b".into()), None));
        assert_eq!(of("a --cfg"), (None, None));
    }

    #[test]
    fn what_means_the_same_is_completed_with_the_same() {
        let mut whole = command();
        whole.build();
        let kind = |words: &[&str], name: &str| {
            let mut found = &whole;
            for word in words {
                found = found.find_subcommand(word).unwrap();
            }
            let argument = found.get_arguments().find(|argument| {
                argument.get_long() == Some(name) || argument.get_id().as_str() == name
            });
            argument.and_then(kind_of)
        };
        for (words, name, expected) in [
            (&["request"][..], "title", Some(Kind::Services)),
            (&["request"], "release", Some(Kind::Releases)),
            (&["request"], "context", Some(Kind::Contexts)),
            (&["request"], "parameters", None),
            (&["supply"], "node", Some(Kind::Nodes)),
            (&["service", "info"], "title", Some(Kind::Services)),
            (&["service", "rename"], "old", Some(Kind::Services)),
            (&["service", "stop"], "titles", Some(Kind::Services)),
            (&["computer", "info"], "node", Some(Kind::Nodes)),
            (&["context", "use"], "context", Some(Kind::Contexts)),
            (&["login"], "target", Some(Kind::Contexts)),
            (&["login"], "master-url-web", None),
            (&["console"], "master-url", None),
        ] {
            assert_eq!(kind(words, name), expected, "{words:?} {name}");
        }
    }

    #[test]
    fn an_answer_is_kept_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Kept {
            file: directory.path().join("a/b"),
        };
        assert_eq!(kept.read(STALE), None);
        kept.write(&["a".to_owned(), "b c".to_owned()]).unwrap();
        assert_eq!(kept.read(STALE).unwrap(), ["a", "b c"]);
        assert_eq!(kept.read(Duration::ZERO), None);
        kept.write(&[]).unwrap();
        assert_eq!(kept.read(STALE).unwrap(), Vec::<String>::new());
    }
}
