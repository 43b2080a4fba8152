//! Bodies in pieces: what comes is read with a clock, what goes is read from the disk when the other
//! side has taken what was before.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::CacheError;
use crate::rules::Sum;
use crate::store::Upload;

/// Read from the disk at once.
const PIECE_BYTES: usize = 256 << 10;
/// How long nothing may come.
const STALL: Duration = Duration::from_secs(60);
/// What is read and forgotten after a refusal, so that the answer is read: bytes, and time.
const LINGER_BYTES: usize = 64 << 20;
const LINGER: Duration = Duration::from_secs(5);

/// The next piece of what comes, of at least [`PIECE_BYTES`] unless it is the last one.
pub(crate) async fn next(body: &mut Body) -> Result<Option<Vec<u8>>, CacheError> {
    let mut piece = Vec::new();
    while piece.len() < PIECE_BYTES {
        match frame(body).await? {
            Some(bytes) => piece.extend_from_slice(&bytes),
            None => break,
        }
    }
    Ok((!piece.is_empty()).then_some(piece))
}

async fn frame(body: &mut Body) -> Result<Option<Bytes>, CacheError> {
    let broken = |why: String| CacheError::Broken(why);
    let coming = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
    let Ok(frame) = tokio::time::timeout(STALL, coming).await else {
        let why = format!("nothing came for {} s", STALL.as_secs());
        return Err(broken(why));
    };
    match frame
        .transpose()
        .map_err(|error| broken(error.to_string()))?
    {
        // What is no data tells nothing here.
        Some(frame) => Ok(Some(frame.into_data().unwrap_or_default())),
        None => Ok(None),
    }
}

/// What comes through a channel, of so many bytes; an end before them breaks the answer off.
pub(crate) struct PassedOn {
    pub(crate) pieces: Receiver<io::Result<Bytes>>,
    pub(crate) left: u64,
}

impl HttpBody for PassedOn {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Ok(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(error)),
            None if self.left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Keeps what is read and passes it on; the last piece once the whole is what it was said to be.
/// Goes on keeping when nobody takes it any more. Blocks.
pub(crate) fn pass_on(
    mut content: impl Read,
    mut upload: Upload,
    sum: Sum,
    pieces: Sender<io::Result<Bytes>>,
) -> Result<(), CacheError> {
    let mut taker = Some(pieces);
    let mut give = |piece: io::Result<Bytes>| {
        if let Some(pieces) = &taker {
            let giving = tokio::time::timeout(STALL, pieces.send(piece));
            if !matches!(Handle::current().block_on(giving), Ok(Ok(()))) {
                taker = None;
            }
        }
    };
    let mut held: Option<Bytes> = None;
    let mut keep = || -> Result<(), CacheError> {
        loop {
            let mut piece = Vec::new();
            let mut part = content.by_ref().take(PIECE_BYTES as u64);
            part.read_to_end(&mut piece)
                .map_err(|error| CacheError::Behind(format!("it broke off: {error}")))?;
            if piece.is_empty() {
                return Ok(());
            }
            upload.write(&piece)?;
            if let Some(before) = held.replace(piece.into()) {
                give(Ok(before));
            }
        }
    };
    let kept = keep().and_then(|()| upload.finish(Some(sum)));
    match kept {
        Ok(_) => {
            held.into_iter().for_each(|last| give(Ok(last)));
            Ok(())
        }
        Err(error) => {
            tracing::warn!("the network cache does not get {sum}: {error}");
            give(Err(io::Error::other(error.to_string())));
            Err(error)
        }
    }
}

/// Reads what somebody goes on sending who was refused.
pub(crate) async fn drain(mut body: Body) {
    let read = async {
        let mut left = LINGER_BYTES;
        while let Ok(Some(bytes)) = frame(&mut body).await {
            match left.checked_sub(bytes.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Who has not finished by then reads no answer either.
    let _ = tokio::time::timeout(LINGER, read).await;
}

/// A part of a file, as a body.
pub(crate) struct FileBody {
    state: State,
    left: u64,
}

enum State {
    Idle(File),
    Reading(JoinHandle<io::Result<(File, Bytes)>>),
    Over,
}

impl FileBody {
    /// So many bytes from there.
    pub(crate) async fn new(mut file: File, from: u64, bytes: u64) -> io::Result<FileBody> {
        if from > 0 {
            let sought = spawn_blocking(move || file.seek(SeekFrom::Start(from)).map(|_| file));
            file = sought.await.map_err(io::Error::other)??;
        }
        Ok(FileBody {
            state: State::Idle(file),
            left: bytes,
        })
    }
}

fn piece(mut file: File, bytes: usize) -> io::Result<(File, Bytes)> {
    let mut piece = vec![0; bytes];
    file.read_exact(&mut piece)?;
    Ok((file, piece.into()))
}

impl HttpBody for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Poll::Ready(None),
                State::Idle(file) => {
                    if self.left == 0 {
                        return Poll::Ready(None);
                    }
                    let bytes = usize::try_from(self.left).unwrap_or(PIECE_BYTES);
                    let bytes = bytes.min(PIECE_BYTES);
                    self.state = State::Reading(spawn_blocking(move || piece(file, bytes)));
                }
                State::Reading(mut reading) => {
                    let read = match Pin::new(&mut reading).poll(cx) {
                        Poll::Pending => {
                            self.state = State::Reading(reading);
                            return Poll::Pending;
                        }
                        Poll::Ready(read) => read,
                    };
                    let (file, bytes) = match read.map_err(io::Error::other).flatten() {
                        Ok(read) => read,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    };
                    self.left -= bytes.len() as u64;
                    self.state = State::Idle(file);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
