//! Requests and answers, as upstream's proxy has them (N 1.4), with an `ETag` besides.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use slap_server::headers::text;
use slap_server::json::{self, Spacing};
use slap_server::{PAGE_TYPE, Problem};
use tokio::task::spawn_blocking;

use crate::body::{self, FileBody};
use crate::rules::{self, Entry, Key, Sum, Wanted};
use crate::store::{Store, Upload};
use crate::{CacheError, OpenError, Settings};

/// A cache, as the Masters ask it. Clones are the same one.
#[derive(Debug, Clone)]
pub struct NetworkCache(Arc<Store>);

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
        Store::open(settings).map(NetworkCache)
    }

    /// What it keeps.
    pub fn store(&self) -> &Arc<Store> {
        &self.0
    }

    /// `GET` (or `HEAD`) of an object: all of it, or the part that `Range` says.
    ///
    /// # Errors
    /// 404, and 416 for a part that there is not.
    pub async fn object(&self, name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
        // What can be no object's name is none.
        let sum: Sum = name.parse().map_err(|_| Problem::no_such_page())?;
        let store = Arc::clone(&self.0);
        let found = blocking(move || store.find(&sum)).await?;
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
        set(&mut response, header::ETAG, &tag);
        set(&mut response, header::ACCEPT_RANGES, "bytes");
        set(&mut response, header::LAST_MODIFIED, &date(found.since));
        if status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        set(
            &mut response,
            header::CONTENT_TYPE,
            "application/octet-stream",
        );
        set(&mut response, header::CONTENT_LENGTH, &bytes.to_string());
        // Nothing in here is to be shown by a browser.
        let disposition = format!("attachment; filename={sum}");
        set(&mut response, header::CONTENT_DISPOSITION, &disposition);
        set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        if let Wanted::Part(first, last) = wanted {
            let part = format!("bytes {first}-{last}/{}", found.bytes);
            set(&mut response, header::CONTENT_RANGE, &part);
        }
        Ok(response)
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
        let store = Arc::clone(&self.0);
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
        let store = Arc::clone(&self.0);
        let list = blocking(move || store.entries(&key)).await?;
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
        let entry = Entry::parse(body, giver, self.0.settings().takes_unsigned)?;
        let (name, sum) = (key.as_str().to_owned(), entry.sum);
        let store = Arc::clone(&self.0);
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
        let store = Arc::clone(&self.0);
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
