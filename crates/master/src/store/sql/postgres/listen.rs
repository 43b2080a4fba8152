//! What other Masters on this database change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postgres::Client;
use postgres::fallible_iterator::FallibleIterator;

use super::super::SqlError;
use super::{CHANNEL, Server, error};

/// How long nothing may be heard before it is asked whether the server is still there.
const SILENCE: Duration = Duration::from_secs(20);
/// How long to wait before the next attempt to reach the server.
const RETRY: Duration = Duration::from_millis(500);

/// A thread that hears what other Masters change, until this is dropped. It ends when it next hears
/// something: at once, if the writer's connection is closed after this.
pub(crate) struct Listener {
    stop: Arc<AtomicBool>,
}

impl Listener {
    /// Begins to listen. Each notice of another Master is handed on; an empty one after times in
    /// which some may have been missed.
    pub(crate) fn start(
        server: Arc<Server>,
        heard: impl Fn(&str) + Send + 'static,
    ) -> Result<Self, SqlError> {
        let first = open(&server)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("store-listener".to_owned())
            .spawn(move || run(first, &server, &stopped, &heard))
            .map_err(|error| SqlError::Other(format!("cannot start a thread: {error}")))?;
        Ok(Listener { stop })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn run(first: Client, server: &Server, stopped: &AtomicBool, heard: &impl Fn(&str)) {
    let mut client = first;
    loop {
        match hear(&mut client, server, stopped, heard) {
            Ok(()) => return,
            Err(error) => tracing::warn!("what other Masters change cannot be heard: {error}"),
        }
        client = loop {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            match open(server) {
                Ok(client) => break client,
                Err(_) => std::thread::sleep(RETRY),
            }
        };
        // Whatever was told meanwhile.
        heard("");
    }
}

fn open(server: &Server) -> Result<Client, SqlError> {
    let mut client = server.session()?;
    client
        .batch_execute(&format!("LISTEN {CHANNEL}"))
        .map_err(error)?;
    Ok(client)
}

/// Hands on what is heard, until it is told to stop or the connection is lost.
fn hear(
    client: &mut Client,
    server: &Server,
    stopped: &AtomicBool,
    heard: &impl Fn(&str),
) -> Result<(), SqlError> {
    loop {
        let told = client
            .notifications()
            .timeout_iter(SILENCE)
            .next()
            .map_err(error)?;
        if stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        match told {
            Some(notification) => {
                let (who, notice) = notification
                    .payload()
                    .split_once(' ')
                    .unwrap_or(("", notification.payload()));
                if who != server.id {
                    heard(notice);
                }
            }
            // Silence, or the end.
            None => client.batch_execute("").map_err(error)?,
        }
    }
}
