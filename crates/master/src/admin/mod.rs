//! What an administrator of the Master can do, over a socket while it runs, or on its database while
//! it does not. Both ways run the same [`execute`](execute::execute).
//!
//! Whoever may read the Master's files may do everything: the socket is for the Master's own user and
//! root.

mod answer;
mod command;
mod execute;
mod lists;
mod people;
mod places;
mod socket;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use answer::*;
pub use command::*;
pub(crate) use execute::Administration;
pub(crate) use socket::{SOCKET, listen};

use crate::auth::Auth;
use crate::domain::Caller;
use crate::events::Hub;
use crate::files::DataDir;
use crate::first_start;
use crate::settings::Settings;
use crate::store::{Database, OpenError, Store};

/// How long a database that is in use is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// A way to a Master's administration.
pub struct Admin {
    way: Way,
    settings: Settings,
}

enum Way {
    /// The Master runs.
    Socket(UnixStream),
    /// It does not, or another one does on the same server.
    Direct(Box<Direct>),
}

struct Direct {
    runtime: tokio::runtime::Runtime,
    administration: Arc<Administration>,
}

impl Admin {
    /// Finds the running Master of a directory, or opens its database. Where the database is in use
    /// and nobody answers, a Master is about to start or to stop, or another administrator is at
    /// work: that is waited for a little.
    ///
    /// # Errors
    /// [`Refused`] when there is no Master, or it is in use and does not answer.
    pub fn connect(settings: &Settings) -> Result<Self, Refused> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let way = match Self::socket(settings)? {
                Some(stream) => Ok(Way::Socket(stream)),
                None => Direct::open(settings).map(|direct| Way::Direct(Box::new(direct))),
            };
            match way {
                Ok(way) => {
                    return Ok(Admin {
                        way,
                        settings: settings.clone(),
                    });
                }
                Err(NotOpen::InUse(_)) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                Err(NotOpen::InUse(why)) => {
                    return Err(Refused::failed(format!(
                        "{why}; no Master answers at {}: is --data-dir right?",
                        settings.data_dir.join(SOCKET).display()
                    )));
                }
                Err(NotOpen::Refused(refused)) => return Err(refused),
            }
        }
    }

    /// The running Master, if one listens.
    fn socket(settings: &Settings) -> Result<Option<UnixStream>, Refused> {
        let path = settings.data_dir.join(SOCKET);
        match socket::connect(&path) {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => Ok(None),
                ErrorKind::PermissionDenied => Err(Refused {
                    kind: RefusedKind::Forbidden,
                    message: format!(
                        "{} is for root and for the user the Master runs as",
                        path.display()
                    ),
                }),
                _ => Err(Refused::failed(format!(
                    "cannot reach the Master at {}: {error}",
                    path.display()
                ))),
            },
        }
    }

    /// Whether a running Master answers.
    pub fn is_running(&self) -> bool {
        matches!(self.way, Way::Socket(_))
    }

    /// Does something.
    ///
    /// # Errors
    /// [`Refused`] says why it was not done.
    pub fn call(&mut self, command: &Command) -> Result<Answer, Refused> {
        match &mut self.way {
            Way::Socket(stream) => socket::call(stream, command),
            Way::Direct(direct) => {
                let administration = Arc::clone(&direct.administration);
                let command = command.clone();
                direct.runtime.block_on(async move {
                    execute::execute(&administration, Caller::Master, command).await
                })
            }
        }
    }

    /// Copies the database into a new file of the caller's.
    ///
    /// # Errors
    /// [`Refused`]; there is no new file then.
    pub fn backup(&mut self, file: &Path, with_secret: bool) -> Result<u64, Refused> {
        let file = std::path::absolute(file).map_err(Refused::failed)?;
        if file.symlink_metadata().is_ok() {
            return Err(Refused {
                kind: RefusedKind::Conflict,
                message: format!("{} exists: give the name of a new file", file.display()),
            });
        }
        let command = Command::Snapshot { with_secret };
        match self.call(&command)? {
            Answer::Snapshot(snapshot) => {
                let moved = take(&snapshot.path, &file);
                // What was taken by its name is gone already.
                let _ = std::fs::remove_file(&snapshot.path);
                moved.map_err(|error| {
                    Refused::failed(format!("cannot write {}: {error}", file.display()))
                })?;
                Ok(snapshot.bytes)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Where the Master is.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// What was answered to another question.
pub fn unexpected(answer: &Answer) -> Refused {
    let text = serde_json::to_value(answer).unwrap_or_default();
    Refused::failed(format!(
        "the Master answered {} to another question; is it of another version?",
        text.get("answer").unwrap_or(&serde_json::Value::Null)
    ))
}

/// Gives a file another name, in another file system if need be. It never replaces one.
fn take(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let directory = to.parent().unwrap_or(Path::new("/"));
    if std::fs::hard_link(from, to).is_err() {
        let mut source = std::fs::File::open(from)?;
        let mut target = std::fs::File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(to)?;
        let copied = std::io::copy(&mut source, &mut target).and_then(|_| target.sync_all());
        if copied.is_err() {
            // Half a backup is none.
            let _ = std::fs::remove_file(to);
        }
        copied?;
    }
    std::fs::File::open(directory)?.sync_all()
}

/// Why a database was not opened.
enum NotOpen {
    /// Another process has it.
    InUse(OpenError),
    Refused(Refused),
}

impl From<Refused> for NotOpen {
    fn from(refused: Refused) -> Self {
        NotOpen::Refused(refused)
    }
}

impl Direct {
    fn open(settings: &Settings) -> Result<Self, NotOpen> {
        let nothing = || {
            Refused::not_found(format!(
                "there is no Master in {} yet: start one with `slapos master start --data-dir {}`",
                settings.data_dir.display(),
                settings.data_dir.display()
            ))
        };
        // Opening would make a new one.
        match &settings.database {
            Database::Sqlite(path) if !path.exists() => return Err(nothing().into()),
            Database::Postgres(_) if !settings.data_dir.join("secret.key").exists() => {
                return Err(nothing().into());
            }
            _ => {}
        }
        let directory = DataDir::prepare(&settings.data_dir).map_err(Refused::failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Refused::failed)?;
        let store = match Store::open(&settings.database, Arc::new(Hub::default())) {
            Ok(store) => store,
            Err(error @ OpenError::Locked { .. }) => return Err(NotOpen::InUse(error)),
            Err(error) => return Err(Refused::failed(error).into()),
        };
        let store = Arc::new(store);
        let secrets = runtime
            .block_on(first_start::secrets(
                &directory,
                &store,
                &settings.organisation,
            ))
            .map_err(Refused::failed)?;
        let auth = Arc::new(Auth::new(
            Arc::clone(&store),
            Arc::clone(&secrets.authority),
            Arc::clone(&secrets.sealer),
            Vec::new(),
        ));
        let administration = Arc::new(Administration {
            store,
            auth,
            authority: secrets.authority,
            sealer: secrets.sealer,
            directory,
            database: settings.database.clone(),
            public_url: settings.public_url.clone(),
        });
        Ok(Direct {
            runtime,
            administration,
        })
    }
}
