//! What the releases of the Master's products say of themselves: their types and the schemas of
//! their parameters.
//!
//! Read for people who fill in a form, by a few threads, bounded in size and time, and kept in memory
//! for a while. Managers add releases by URL; so the Master reaches for them only what they could
//! reach themselves, unless its administrator says otherwise: see [`CatalogueSettings`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use slap::{ReleaseUrl, SoftwareType};
use slap_client::release::{Guarded, Library, Metadata, MetadataError, Mistake, ParameterSchema};
use tokio::sync::Semaphore;

/// How long what was read is taken for true, and what could not be read for lost.
const FRESH: Duration = Duration::from_secs(600);
const LOST: Duration = Duration::from_secs(60);
/// Most files that are kept, and most bytes of all of them.
const FILES_MAX: usize = 500;
const BYTES_MAX: usize = 64 << 20;
/// How many releases are read at a time; how long somebody waits for a turn, for one file and for
/// all files of a release.
const TURNS: usize = 4;
const TURN_WAIT: Duration = Duration::from_secs(10);
const FILE_TIME: Duration = Duration::from_secs(8);
const ALL_TIME: Duration = Duration::from_secs(20);

/// Where releases may be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CatalogueSettings {
    /// Whether from this machine and private networks too.
    pub private: bool,
    /// Whether from files of this machine.
    pub local: bool,
}

/// What releases say, as far as it was read.
#[derive(Debug)]
pub(crate) struct Catalogue {
    settings: CatalogueSettings,
    kept: Arc<Mutex<Kept>>,
    turns: Semaphore,
}

impl Catalogue {
    pub(crate) fn new(settings: CatalogueSettings) -> Self {
        Catalogue {
            settings,
            kept: Arc::default(),
            turns: Semaphore::new(TURNS),
        }
    }

    /// What a release says of itself; the error is a sentence. Only for releases of a product: what
    /// else people type must not be reached for.
    pub(crate) async fn metadata(&self, release: &ReleaseUrl) -> Result<Metadata, String> {
        let release = release.as_str().to_owned();
        self.work(&release.clone(), move |library| {
            Metadata::read(&release, library)?.ok_or_else(|| MetadataError::Unreadable {
                place: format!("{release}.json"),
                reason: "there is nothing".to_owned(),
            })
        })
        .await
    }

    /// The schema of the parameters of a type of a release, if it has one; the error is a sentence.
    pub(crate) async fn schema(
        &self,
        release: &ReleaseUrl,
        metadata: &Metadata,
        software_type: &SoftwareType,
        shared: bool,
    ) -> Result<Option<Arc<ParameterSchema>>, String> {
        let (metadata, software_type) = (metadata.clone(), software_type.clone());
        self.work(release.as_str(), move |library| {
            let schema = metadata.whole_schema(&software_type, shared, library)?;
            Ok(schema.map(Arc::new))
        })
        .await
    }

    /// What of these parameters a schema does not take; the error is a sentence.
    pub(crate) async fn mistakes(
        &self,
        schema: &Arc<ParameterSchema>,
        parameters: &Json,
    ) -> Result<Vec<Mistake>, String> {
        let (schema, parameters) = (Arc::clone(schema), parameters.clone());
        self.work("", move |_| schema.mistakes(&parameters)).await
    }

    /// Does something with files, on a thread that may wait.
    async fn work<T: Send + 'static>(
        &self,
        release: &str,
        work: impl FnOnce(&dyn Library) -> Result<T, MetadataError> + Send + 'static,
    ) -> Result<T, String> {
        let turn = tokio::time::timeout(TURN_WAIT, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err("too many releases are read just now: try again".to_owned());
        };
        // What is reached over a network never leads to a file of this machine.
        let is_local = release.starts_with('/') || release.starts_with("file://");
        let library = Shelf {
            kept: Arc::clone(&self.kept),
            guarded: Guarded {
                local: self.settings.local && is_local,
                private: self.settings.private,
                timeout: None,
            },
            deadline: Instant::now() + ALL_TIME,
        };
        let done = tokio::task::spawn_blocking(move || work(&library)).await;
        match done {
            Ok(done) => done.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A file that was read, or why not.
#[derive(Debug)]
struct File {
    read: Result<Option<Arc<Json>>, String>,
    bytes: usize,
    until: Instant,
}

#[derive(Debug, Default)]
struct Kept {
    /// By place, and whether files of this machine could be meant.
    files: HashMap<(String, bool), File>,
    bytes: usize,
}

impl Kept {
    fn keep(&mut self, key: (String, bool), file: File) {
        if file.bytes > BYTES_MAX / 4 {
            return;
        }
        self.bytes += file.bytes;
        if let Some(before) = self.files.insert(key, file) {
            self.bytes -= before.bytes;
        }
        while self.files.len() > FILES_MAX || self.bytes > BYTES_MAX {
            let oldest = self.files.iter().min_by_key(|(_, file)| file.until);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            if let Some(gone) = self.files.remove(&key) {
                self.bytes -= gone.bytes;
            }
        }
    }
}

/// Files, from memory where they were read a moment ago.
struct Shelf {
    kept: Arc<Mutex<Kept>>,
    guarded: Guarded,
    deadline: Instant,
}

impl Shelf {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Whoever panicked left whole entries.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Library for Shelf {
    fn json(&self, place: &str) -> Result<Option<Json>, MetadataError> {
        let unreadable = |reason: String| MetadataError::Unreadable {
            place: place.to_owned(),
            reason,
        };
        let key = (place.to_owned(), self.guarded.local);
        let now = Instant::now();
        let known = {
            let kept = self.kept();
            let file = kept.files.get(&key);
            file.map(|file| (file.read.clone(), file.bytes, file.until > now))
        };
        if let Some((read, _, true)) = known {
            return match read {
                Ok(json) => Ok(json.map(|json| Json::clone(&json))),
                Err(reason) => Err(unreadable(reason)),
            };
        }
        let left = self.deadline.saturating_duration_since(now);
        if left.is_zero() {
            return Err(unreadable("reading the release took too long".to_owned()));
        }
        let guarded = Guarded {
            timeout: Some(left.min(FILE_TIME)),
            ..self.guarded
        };
        let read = guarded.json(place);
        let (kept, bytes, lasts) = match (&read, known) {
            (Ok(json), _) => {
                let bytes = json.as_ref().map_or(0, |json| json.to_string().len());
                (Ok(json.clone().map(Arc::new)), bytes, FRESH)
            }
            // Who is away does not take away what is known.
            (Err(_), Some((Ok(Some(before)), bytes, _))) => (Ok(Some(before)), bytes, LOST),
            (Err(error), _) => {
                let reason = match error {
                    MetadataError::Unreadable { reason, .. } => reason.clone(),
                    MetadataError::NotJson { reason, .. } => format!("it is not JSON: {reason}"),
                    error @ MetadataError::Schema { .. } => error.to_string(),
                };
                (Err(reason), 0, LOST)
            }
        };
        let file = File {
            read: kept.clone(),
            bytes: bytes + place.len(),
            until: Instant::now() + lasts,
        };
        self.kept().keep(key, file);
        match kept {
            Ok(json) => Ok(json.map(|json| Json::clone(&json))),
            Err(reason) => Err(unreadable(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A server that answers so many requests with this, and then is away.
    fn server(body: &'static str, times: usize) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/software.cfg", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().take(times) {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                count.fetch_add(1, Ordering::SeqCst);
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                stream.write_all((head + body).as_bytes()).unwrap();
            }
        });
        (url, asked)
    }

    fn release(url: &str) -> ReleaseUrl {
        ReleaseUrl::new(url).unwrap()
    }

    #[tokio::test]
    async fn what_was_read_is_kept_and_what_failed_is_not_tried_at_once() {
        let (url, asked) = server("{\"name\": \"X\"}", 1);
        let catalogue = Catalogue::new(CatalogueSettings {
            private: true,
            local: false,
        });
        for _ in 0..3 {
            let metadata = catalogue.metadata(&release(&url)).await.unwrap();
            assert_eq!(metadata.title(), "X");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // It is time to read it again, and it is gone: what is known still counts.
        for file in catalogue.kept.lock().unwrap().files.values_mut() {
            file.until = Instant::now();
        }
        assert!(catalogue.metadata(&release(&url)).await.is_ok());

        let (url, asked) = server("no json", 9);
        for _ in 0..3 {
            let error = catalogue.metadata(&release(&url)).await.unwrap_err();
            assert!(error.contains("not JSON"), "{error}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_is_private_is_read_when_that_is_allowed() {
        let (url, asked) = server("{}", 9);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("software.cfg");
        std::fs::write(directory.path().join("software.cfg.json"), "{}").unwrap();
        let file = file.to_str().unwrap();
        let closed = Catalogue::new(CatalogueSettings::default());
        let error = closed.metadata(&release(&url)).await.unwrap_err();
        assert!(error.contains("private network"), "{error}");
        assert!(closed.metadata(&release(file)).await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        let open = Catalogue::new(CatalogueSettings {
            private: true,
            local: true,
        });
        assert!(open.metadata(&release(&url)).await.is_ok());
        assert!(open.metadata(&release(file)).await.is_ok());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut kept = Kept::default();
        let start = Instant::now();
        for number in 0..FILES_MAX + 50 {
            let file = File {
                read: Ok(None),
                bytes: BYTES_MAX / 100,
                until: start + Duration::from_secs(number as u64),
            };
            kept.keep((number.to_string(), false), file);
        }
        assert!(kept.files.len() <= 100 && kept.bytes <= BYTES_MAX);
        assert!(
            kept.files
                .contains_key(&(format!("{}", FILES_MAX + 49), false))
        );
    }
}
