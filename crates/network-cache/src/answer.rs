//! Requests and answers, as upstream's proxy has them (N 1.4), with an `ETag` besides.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use slap_server::headers::text;
use slap_server::json::{self, Spacing};
use slap_server::{PAGE_TYPE, Problem};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::behind::{Behind, Coming};
use crate::body::{self, FileBody, PassedOn};
use crate::rules::{self, Entry, Key, Sum, Wanted};
use crate::store::{Store, Upload};
use crate::{CacheError, OpenError, Settings};

/// Pieces of an object that wait for whoever takes them.
const PIECES_MAX: usize = 4;

/// A cache, as the Masters ask it. Clones are the same one.
#[derive(Debug, Clone)]
pub struct NetworkCache {
    store: Arc<Store>,
    behind: Option<Arc<Behind>>,
}

/// An object that was taken, with the answer to who gave it.
#[derive(Debug)]
pub struct Taken {
    /// Its name.
    pub sum: Sum,
    /// Its size.
    pub bytes: u64,
    /// Whether it was not there before.
    pub is_new: bool,
    /// `201`, with the sum.
    pub response: Response,
}

/// An entry that was added, with the answer to who gave it.
#[derive(Debug)]
pub struct Added {
    /// Under which key.
    pub key: String,
    /// The object it is about.
    pub sum: Sum,
    /// Whether it was not there before.
    pub is_new: bool,
    /// `201`.
    pub response: Response,
}

impl NetworkCache {
    /// Opens a cache, or makes one; blocks.
    ///
    /// # Errors
    /// When another process has it, or the disk fails.
    pub fn open(settings: &Settings) -> Result<NetworkCache, OpenError> {
        let upstream = &settings.upstream;
        let asks = upstream.cache_url.is_some() || upstream.dir_url.is_some();
        Ok(NetworkCache {
            store: Store::open(settings)?,
            behind: asks.then(|| Arc::new(Behind::new(upstream))),
        })
    }

    /// What it keeps.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// `GET` (or `HEAD`) of an object: all of it, or the part that `Range` says.
    ///
    /// # Errors
    /// 404, and 416 for a part that there is not.
    pub async fn object(&self, name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
        // What can be no object's name is none.
        let sum: Sum = name.parse().map_err(|_| Problem::no_such_page())?;
        let store = Arc::clone(&self.store);
        let found = match blocking(move || store.find(&sum)).await {
            Err(CacheError::NoObject(_)) if self.behind.is_some() => {
                // Whoever wants a part of it gets it from here, once it is here.
                let passed_on = self.fetch(sum, text(headers, "range").is_some()).await?;
                if let Some(response) = passed_on {
                    return Ok(response);
                }
                let store = Arc::clone(&self.store);
                blocking(move || store.find(&sum)).await?
            }
            found => found?,
        };
        let tag = format!("\"{sum}\"");
        let tags = text(headers, "if-none-match").unwrap_or_default();
        let is_known = tags.split(',').any(|known| {
            let known = known.trim();
            known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
        });
        let range = text(headers, "range").filter(|_| {
            // Whoever began with another object begins anew.
            text(headers, "if-range").is_none_or(|begun| begun == tag)
        });
        let wanted = rules::wanted(range, found.bytes);
        let (status, from, bytes) = match wanted {
            _ if is_known => (StatusCode::NOT_MODIFIED, 0, 0),
            Wanted::Whole => (StatusCode::OK, 0, found.bytes),
            Wanted::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
            Wanted::Nothing => {
                let problem = Problem::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "The server cannot provide the requested range.",
                );
                let mut response = page(&problem);
                set(
                    &mut response,
                    header::CONTENT_RANGE,
                    &format!("bytes */{}", found.bytes),
                );
                return Ok(response);
            }
        };
        let body = FileBody::new(found.file, from, bytes)
            .await
            .map_err(CacheError::from)?;
        let mut response = Response::new(Body::new(body));
        *response.status_mut() = status;
        set(&mut response, header::LAST_MODIFIED, &date(found.since));
        if status == StatusCode::NOT_MODIFIED {
            set(&mut response, header::ETAG, &tag);
            return Ok(response);
        }
        describe(&mut response, &sum, bytes);
        if let Wanted::Part(first, last) = wanted {
            let part = format!("bytes {first}-{last}/{}", found.bytes);
            set(&mut response, header::CONTENT_RANGE, &part);
        }
        Ok(response)
    }

    /// Fetches an object from the cache behind this one and keeps it; an answer that passes it on, or
    /// `None` once it is here, where it is wanted `whole` first or nobody says how large it is.
    async fn fetch(&self, sum: Sum, whole: bool) -> Result<Option<Response>, CacheError> {
        let missing = || CacheError::NoObject(sum.to_string());
        let behind = self.behind.clone().ok_or_else(missing)?;
        let coming = blocking(move || behind.object(&sum)).await?;
        let Coming { content, bytes } = coming.ok_or_else(missing)?;
        let store = Arc::clone(&self.store);
        let upload = blocking(move || store.begin(bytes)).await?;
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let passing = move || body::pass_on(content, upload, sum, sender);
        match bytes.filter(|bytes| *bytes > 0 && !whole) {
            Some(left) => {
                spawn_blocking(passing);
                let mut response = Response::new(Body::new(PassedOn { pieces, left }));
                describe(&mut response, &sum, left);
                Ok(Some(response))
            }
            None => {
                drop(pieces);
                blocking(passing).await.map(|()| None)
            }
        }
    }

    /// `POST` of an object, or `PUT` under the name it has to have.
    ///
    /// # Errors
    /// 400 when it is another one or breaks off, 413, 503, and 507 when there is no room.
    pub async fn take(
        &self,
        name: Option<&str>,
        headers: &HeaderMap,
        mut body: Body,
    ) -> Result<Taken, Problem> {
        let taken = self.take_body(name, headers, &mut body).await;
        if taken.is_err() {
            body::drain(body).await;
        }
        let (sum, bytes, is_new) = taken?;
        Ok(Taken {
            sum,
            bytes,
            is_new,
            response: created(sum.to_string()),
        })
    }

    async fn take_body(
        &self,
        name: Option<&str>,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<(Sum, u64, bool), CacheError> {
        let expected: Option<Sum> = name.map(str::parse).transpose()?;
        let declared = text(headers, "content-length").and_then(|text| text.parse().ok());
        let store = Arc::clone(&self.store);
        let mut upload: Upload = blocking(move || store.begin(declared)).await?;
        while let Some(piece) = body::next(body).await? {
            upload = blocking(move || upload.write(&piece).map(|()| upload)).await?;
        }
        blocking(move || upload.finish(expected)).await
    }

    /// `GET` of a key's entries.
    ///
    /// # Errors
    /// 404.
    pub async fn entries(&self, key: &str) -> Result<Response, Problem> {
        let key = Key::of_path(key).map_err(|_| Problem::no_such_page())?;
        let mut failed = None;
        if let Some(behind) = &self.behind {
            let (store, behind, key) = (Arc::clone(&self.store), Arc::clone(behind), key.clone());
            let asked = blocking(move || {
                let unsigned = store.settings().takes_unsigned;
                match behind.entries(&key, unsigned)? {
                    Some(theirs) => store.remember(&key, theirs),
                    None => Ok(()),
                }
            });
            failed = asked.await.err();
        }
        let store = Arc::clone(&self.store);
        let list = match (blocking(move || store.entries(&key)).await, failed) {
            (Err(CacheError::NoEntry), Some(error)) => return Err(error.into()),
            (list, failed) => {
                // What is known of it already is good without.
                if let Some(error) = failed {
                    tracing::warn!("{error}");
                }
                list?
            }
        };
        let told = json::write(&rules::told(&list), Spacing::Wide);
        Ok(reply(StatusCode::OK, PAGE_TYPE, told))
    }

    /// `PUT` of an entry, by whomever the Master calls so.
    ///
    /// # Errors
    /// 400 when it is none, 403 when nobody signed it, 409 when its object is not there, 415, 507.
    pub async fn add_entry(
        &self,
        key: &str,
        headers: &HeaderMap,
        body: &Bytes,
        giver: &str,
    ) -> Result<Added, Problem> {
        slap_server::headers::need_json(headers)?;
        let key = Key::of_path(key)?;
        let entry = Entry::parse(body, giver, self.store.settings().takes_unsigned)?;
        let (name, sum) = (key.as_str().to_owned(), entry.sum);
        let store = Arc::clone(&self.store);
        let is_new = blocking(move || store.add_entry(&key, entry)).await?;
        Ok(Added {
            key: name,
            sum,
            is_new,
            response: created(String::new()),
        })
    }

    /// `POST` to `update`: entries about objects that are gone go too.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn sweep(&self) -> Result<Response, Problem> {
        let store = Arc::clone(&self.store);
        let swept = blocking(move || store.sweep()).await?;
        let told = serde_json::json!({"removed": swept, "updated": []});
        let told = json::write(&told, Spacing::Wide);
        Ok(reply(StatusCode::OK, "application/json", told))
    }

    /// What a Master without a cache says.
    pub fn absent() -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "This Master keeps no network cache; its configuration can give it one",
        )
    }
}

/// Does something that waits for the disk elsewhere.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CacheError> + Send + 'static,
) -> Result<T, CacheError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(std::io::Error::other(error).into()),
    }
}

fn created(text: String) -> Response {
    reply(StatusCode::CREATED, PAGE_TYPE, text)
}

/// What is said of an object, or of so many bytes of it.
fn describe(response: &mut Response, sum: &Sum, bytes: u64) {
    set(response, header::ETAG, &format!("\"{sum}\""));
    set(response, header::ACCEPT_RANGES, "bytes");
    set(response, header::CONTENT_TYPE, "application/octet-stream");
    set(response, header::CONTENT_LENGTH, &bytes.to_string());
    // Nothing in here is to be shown by a browser.
    let disposition = format!("attachment; filename={sum}");
    set(response, header::CONTENT_DISPOSITION, &disposition);
    set(response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
}

fn page(problem: &Problem) -> Response {
    reply(problem.status, PAGE_TYPE, problem.page())
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, kind);
    response
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// A moment as HTTP writes it; one before 1970 is none.
fn date(moment: SystemTime) -> String {
    httpdate::fmt_http_date(moment.max(SystemTime::UNIX_EPOCH))
}

impl From<CacheError> for Problem {
    fn from(error: CacheError) -> Problem {
        let status = match &error {
            CacheError::NoSum
            | CacheError::BadKey
            | CacheError::BadEntry(_)
            | CacheError::WrongSum { .. }
            | CacheError::Broken(_) => StatusCode::BAD_REQUEST,
            CacheError::Unsigned => StatusCode::FORBIDDEN,
            CacheError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            CacheError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            CacheError::Busy => StatusCode::SERVICE_UNAVAILABLE,
            CacheError::NoObject(_) | CacheError::NoEntry => return Problem::no_such_page(),
            CacheError::NoContent(_) => StatusCode::CONFLICT,
            CacheError::Behind(_) => StatusCode::BAD_GATEWAY,
            CacheError::Io(error) => {
                tracing::error!("the network cache: {error}");
                return Problem::internal(
                    "The disk of this Master failed and nothing was kept; its log says why",
                );
            }
        };
        Problem::new(status, error.to_string())
    }
}
