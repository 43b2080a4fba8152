//! The administration socket: one line of JSON in, one line out, as often as one likes.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::execute::{Administration, execute};
use super::{Answer, Command, Refused, RefusedKind};
use crate::domain::Caller;

/// The socket's name in the Master's directory.
pub(crate) const SOCKET: &str = "master.sock";
/// The longest question, in bytes.
const QUESTION_MAX: u64 = 1 << 20;
/// The longest answer, in bytes.
const ANSWER_MAX: u64 = 1 << 30;
/// Those who ask at once.
const CONNECTIONS_MAX: usize = 16;
/// How long somebody may be connected without asking.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// A path to a file of a directory that is short, however long the directory's own is: the address
/// of a socket has 107 bytes at most. Good as long as the directory is open.
fn short(directory: &std::fs::File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

fn parts(path: &Path) -> std::io::Result<(std::fs::File, String)> {
    let directory = std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().unwrap_or_default();
    Ok((directory, name.to_string_lossy().into_owned()))
}

/// Answers administrators until dropped. A socket that a Master left behind is replaced; the caller
/// holds the lock that says there is no other.
pub(crate) async fn listen(
    administration: Arc<Administration>,
    path: PathBuf,
) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
    let (directory, name) = parts(&path)?;
    if connect(&path).is_ok() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::AddrInUse,
            "another Master uses this data directory",
        ));
    }
    let draft = short(&directory, &format!("{name}.new"));
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&draft)?;
    // Nobody else gets so far: the directory is private. Under its name the socket is private too.
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))?;
    let owner = std::fs::metadata(&draft)?.uid();
    std::fs::rename(&draft, &path)?;
    Ok(serve(listener, administration, owner, Remove(path)))
}

/// Takes the socket away when the Master ends in order.
struct Remove(PathBuf);

impl Drop for Remove {
    fn drop(&mut self) {
        // Another start replaces what is left.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn serve(
    listener: UnixListener,
    administration: Arc<Administration>,
    owner: u32,
    _remove: Remove,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut conversations = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while conversations.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("an administrator could not connect: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let administration = Arc::clone(&administration);
        conversations.spawn(async move {
            let _place = place;
            let ended = converse(stream, &administration, owner).await;
            if let Err(error) = ended {
                tracing::debug!("an administrator's connection ended: {error}");
            }
        });
    }
}

async fn converse(
    mut stream: UnixStream,
    administration: &Administration,
    owner: u32,
) -> std::io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let (reader, mut writer) = stream.split();
    let mut reader = tokio::io::BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(QUESTION_MAX + 1);
        let read = tokio::time::timeout(SILENCE_MAX, limited.read_until(b'\n', &mut line)).await;
        match read {
            Ok(Ok(0)) | Err(_) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error),
        }
        let result = if peer != 0 && peer != owner {
            Err(Refused {
                kind: RefusedKind::Forbidden,
                message: "this socket is for the Master's own user and for root".to_owned(),
            })
        } else if line.len() as u64 > QUESTION_MAX {
            Err(Refused::invalid("this is too long"))
        } else {
            match serde_json::from_slice::<Command>(&line) {
                Ok(command) => execute(administration, Caller::Master, command).await,
                Err(error) => Err(Refused::invalid(format!(
                    "this Master does not understand the command: {error}"
                ))),
            }
        };
        let mut text = serde_json::to_vec(&result)?;
        text.push(b'\n');
        writer.write_all(&text).await?;
        if line.len() as u64 > QUESTION_MAX || peer != 0 && peer != owner {
            return Ok(());
        }
    }
}

/// Connects as an administrator's program does.
pub(super) fn connect(path: &Path) -> std::io::Result<std::os::unix::net::UnixStream> {
    let (directory, name) = parts(path)?;
    std::os::unix::net::UnixStream::connect(short(&directory, &name))
}

/// Asks, and waits for the answer as long as it takes.
pub(super) fn call(
    stream: &mut std::os::unix::net::UnixStream,
    command: &Command,
) -> Result<Answer, Refused> {
    let lost = |error: std::io::Error| {
        Refused::failed(format!(
            "the Master did not answer ({error}): whether it did what was asked is not known"
        ))
    };
    let mut text = serde_json::to_vec(command).map_err(Refused::failed)?;
    text.push(b'\n');
    stream.write_all(&text).map_err(lost)?;
    let mut line = Vec::new();
    let read = BufReader::new(std::io::Read::take(&mut *stream, ANSWER_MAX))
        .read_until(b'\n', &mut line)
        .map_err(lost)?;
    if read == 0 {
        return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice::<Result<Answer, Refused>>(&line).unwrap_or_else(|error| {
        Err(Refused::failed(format!(
            "the answer of the Master cannot be read ({error}); is it of another version?"
        )))
    })
}
