//! The agent's ear at the supervisor: one thread that hears of every process that ends.
//!
//! It opens its stream when the agent has looked whether the supervisor runs, and says when it is
//! over: then there may be no supervisor, and the agent looks again. Upstream's supervisord has no
//! such stream; the agent looks at it from time to time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use slap::PartitionId;
use supervisor::{Client, Heard, Hush, ProcessState};

use super::Message;
use crate::services::needs_somebody;

/// What is to be looked at because a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// This partition.
    Of(PartitionId),
    /// Perhaps all: something was not heard.
    Unknown,
}

/// Who listens, until this is dropped.
#[derive(Debug)]
pub(super) struct Exits {
    hurry: Sender<()>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    heard: AtomicBool,
    over: AtomicBool,
    hush: Mutex<Option<Hush>>,
}

impl Exits {
    /// Starts to listen as soon as it is told to hurry.
    pub(super) fn listen(socket: &Path, to: Sender<Message>) -> Exits {
        let (hurry, hurried) = channel();
        let shared = Arc::<Shared>::default();
        let (client, ours) = (Client::new(socket), Arc::clone(&shared));
        let thread = thread::Builder::new().name("exits".to_owned());
        if let Err(error) = thread.spawn(move || listen(&client, &ours, &hurried, &to)) {
            tracing::warn!("cannot listen to the supervisor: {error}");
        }
        Exits { hurry, shared }
    }

    /// The supervisor was just there.
    pub(super) fn hurry(&self) {
        if !self.are_heard() {
            // Without a listener nobody hurries.
            let _ = self.hurry.send(());
        }
    }

    /// Whether the end of each process is heard at once.
    pub(super) fn are_heard(&self) -> bool {
        self.shared.heard.load(Ordering::SeqCst)
    }
}

impl Drop for Exits {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(hush) = &*self.shared.hush() {
            hush.now();
        }
    }
}

impl Shared {
    fn hush(&self) -> std::sync::MutexGuard<'_, Option<Hush>> {
        self.hush.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(client: &Client, shared: &Shared, hurried: &Receiver<()>, to: &Sender<Message>) {
    while hurried.recv().is_ok() {
        let mut ear = match client.listen(&[ProcessState::Exited, ProcessState::Fatal]) {
            Ok(ear) => ear,
            Err(error) => {
                tracing::debug!("the supervisor does not tell: {error}");
                continue;
            }
        };
        let Ok(hush) = ear.hush() else { continue };
        *shared.hush() = Some(hush);
        // Looked at after it is there: who ends us does it the other way round.
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        shared.heard.store(true, Ordering::SeqCst);
        while hurried.try_recv().is_ok() {}
        // What ended before we listened.
        let mut news = Some(End::Unknown);
        loop {
            if let Some(end) = news.take()
                && to.send(Message::Process(end)).is_err()
            {
                return;
            }
            news = match ear.hear() {
                // Other groups than those of partitions are nobody's.
                Ok(Some(Heard::Change(end))) => Some(end)
                    .filter(needs_somebody)
                    .and_then(|end| end.group.parse().ok())
                    .map(End::Of),
                Ok(Some(Heard::Missed(_))) => Some(End::Unknown),
                Ok(None) | Err(_) => break,
            };
        }
        shared.heard.store(false, Ordering::SeqCst);
        *shared.hush() = None;
        let is_over = shared.over.load(Ordering::SeqCst);
        if is_over || to.send(Message::Process(End::Unknown)).is_err() {
            return;
        }
    }
}
