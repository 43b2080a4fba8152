//! Hears when somebody changes the promises of a partition.
//!
//! Only directories are watched, by descriptors that were reached without following a link: a
//! partition's user cannot have root watch anything else. Where the kernel gives no more watches the
//! clock has to do.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use slap::PartitionId;

use super::Message;
use crate::config::NodeConfig;
use crate::safe_fs::Dir;

/// What is watched in each partition's `etc`.
const DIRECTORIES: &[&str] = &["promise", "plugin"];
/// Bytes of events read at once.
const BUFFER_BYTES: usize = 4096;

/// The watches of all partitions.
#[derive(Debug)]
pub(super) struct Files {
    inotify: Arc<OwnedFd>,
    watched: Arc<Mutex<BTreeMap<i32, PartitionId>>>,
}

impl Files {
    /// Starts to listen; `None` where the kernel does not let us.
    pub(super) fn listen(to: Sender<Message>) -> Option<Files> {
        let inotify = Arc::new(inotify::init(CreateFlags::CLOEXEC).ok()?);
        let watched = Arc::new(Mutex::new(BTreeMap::new()));
        let files = Files {
            inotify: Arc::clone(&inotify),
            watched: Arc::clone(&watched),
        };
        thread::Builder::new()
            .name("files".to_owned())
            .spawn(move || hear(&inotify, &watched, &to))
            .ok()?;
        Some(files)
    }

    /// Watches what is there of a partition; what is watched already stays so.
    pub(super) fn watch(&self, config: &NodeConfig, id: &PartitionId) {
        let etc = Dir::open_trusted(&config.partition_directory(id)).and_then(|dir| dir.dir("etc"));
        let Ok(Some(etc)) = etc else { return };
        for name in DIRECTORIES {
            let Ok(Some(dir)) = etc.dir(name) else {
                continue;
            };
            let path = format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd());
            let flags = WatchFlags::CLOSE_WRITE
                | WatchFlags::CREATE
                | WatchFlags::MOVE
                | WatchFlags::DELETE
                | WatchFlags::ATTRIB
                | WatchFlags::ONLYDIR;
            // Under the lock: its first event may come before we know its number.
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            match inotify::add_watch(&*self.inotify, path, flags) {
                Ok(watch) => drop(watched.insert(watch, id.clone())),
                Err(error) => tracing::debug!("cannot watch etc/{name} of {id}: {error}"),
            }
        }
    }
}

fn hear(inotify: &OwnedFd, watched: &Mutex<BTreeMap<i32, PartitionId>>, to: &Sender<Message>) {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => {
                tracing::debug!("no longer watching files: {error}");
                return;
            }
        };
        let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
        // The directory is gone, and with it the watch; the next look at the partition makes one.
        if event.events().contains(ReadFlags::IGNORED) {
            watched.remove(&event.wd());
            continue;
        }
        let Some(id) = watched.get(&event.wd()).cloned() else {
            continue;
        };
        drop(watched);
        if to.send(Message::Files(id)).is_err() {
            return;
        }
    }
}
