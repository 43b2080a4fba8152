//! What an administrator of the Master can do, over a socket while it runs, or on its database while
//! it does not. Both ways run the same [`execute`](execute::execute).
//!
//! Whoever may read the Master's files may do everything: the socket is for the Master's own user and
//! root.

mod command;
mod execute;
mod lists;
mod socket;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

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

/// A way to a Master's administration.
pub struct Admin {
    way: Way,
    settings: Settings,
}

enum Way {
    /// The Master runs.
    Socket(std::os::unix::net::UnixStream),
    /// It does not, or another one does on the same server.
    Direct(Box<Direct>),
}

struct Direct {
    runtime: tokio::runtime::Runtime,
    administration: Arc<Administration>,
}

impl Admin {
    /// Finds the running Master of a directory, or opens its database.
    ///
    /// # Errors
    /// [`Refused`] when there is no Master, or it is in use and does not answer.
    pub fn connect(settings: &Settings) -> Result<Self, Refused> {
        let socket = settings.data_dir.join(SOCKET);
        let way = match socket::connect(&socket) {
            Ok(stream) => Way::Socket(stream),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                Way::Direct(Box::new(Direct::open(settings)?))
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(Refused {
                    kind: RefusedKind::Forbidden,
                    message: format!(
                        "{} is for root and for the user the Master runs as",
                        socket.display()
                    ),
                });
            }
            Err(error) => {
                return Err(Refused::failed(format!(
                    "cannot reach the Master at {}: {error}",
                    socket.display()
                )));
            }
        };
        Ok(Admin {
            way,
            settings: settings.clone(),
        })
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

impl Direct {
    fn open(settings: &Settings) -> Result<Self, Refused> {
        let nothing = || {
            Refused::not_found(format!(
                "there is no Master in {} yet: start one with `slapos master start --data-dir {}`",
                settings.data_dir.display(),
                settings.data_dir.display()
            ))
        };
        // Opening would make a new one.
        match &settings.database {
            Database::Sqlite(path) if !path.exists() => return Err(nothing()),
            Database::Postgres(_) if !settings.data_dir.join("secret.key").exists() => {
                return Err(nothing());
            }
            _ => {}
        }
        let directory = DataDir::prepare(&settings.data_dir).map_err(Refused::failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(Refused::failed)?;
        let store = Store::open(&settings.database, Arc::new(Hub::default())).map_err(|error| {
            let in_use = matches!(error, OpenError::Locked { .. });
            let mut refused = Refused::failed(error);
            if in_use {
                refused.message.push_str(
                    "; its administration socket is not in this data directory: is --data-dir right?",
                );
            }
            refused
        })?;
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
