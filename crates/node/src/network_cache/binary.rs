//! Releases that somebody else built: taken instead of built (N 3.1.1).

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA512};
use serde_json::Value as Json;
use slap::ReleaseUrl;

use super::{CacheDirectory, CacheError, CacheKind, MachineKind, agent};
use crate::cancel::Cancel;
use crate::child::{self, Spawn};
use crate::config::{Overrides, Values, read};
use crate::layout::release_key;
use crate::safe_fs::{Dir, Kind};
use crate::user::User;

/// Largest archive of a release.
const ARCHIVE_BYTES_MAX: u64 = 64 << 30;
/// Limit for its transfer, and for its unpacking.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(6 * 3600);
const CHUNK_BYTES: usize = 256 << 10;

/// Inside the directory where a release is made ready.
const ARCHIVE: &str = "archive.tar.gz";
const CONTENT: &str = "content";

/// Where built releases are, and which are wanted from there.
#[derive(Debug)]
pub(crate) struct BinaryCache {
    directory: CacheDirectory,
    content_url: String,
    content: ureq::Agent,
    refused: Vec<String>,
    forced: Vec<String>,
}

impl BinaryCache {
    /// The cache a configuration names; `None` when it names none.
    pub(crate) fn load(file: &Path) -> Result<Option<BinaryCache>, CacheError> {
        let config = read(file)?;
        let none = Overrides::new();
        let values = Values::new(file, "networkcache", &config, &["networkcache"], &none)?;
        let (Some(_), Some(content_url)) = (
            values.optional("download-binary-dir-url"),
            values.optional("download-binary-cache-url"),
        ) else {
            return Ok(None);
        };
        let list = |option: &str| -> Vec<String> {
            slap::config::lines(&values.text(option))
                .map(str::to_owned)
                .collect()
        };
        let mut refused = list("download-from-binary-cache-url-blacklist");
        refused.extend(list("binary-cache-url-blacklist"));
        Ok(Some(BinaryCache {
            directory: CacheDirectory::load(file, CacheKind::Binary)?,
            content_url: content_url.trim_end_matches('/').to_owned(),
            content: agent(&values, "shacache")?
                .timeout_recv_body(Some(TRANSFER_TIMEOUT))
                .build()
                .new_agent(),
            refused,
            forced: list("download-from-binary-cache-force-url-list"),
        }))
    }

    /// Whether a release is never taken from the cache.
    pub(crate) fn is_refused(&self, release: &ReleaseUrl) -> bool {
        starts(release, &self.refused)
    }

    /// Whether a release is never built here.
    pub(crate) fn is_forced(&self, release: &ReleaseUrl) -> bool {
        starts(release, &self.forced)
    }

    /// Puts a release that somebody built for such a machine and this very place into
    /// `software_root`; `false` when there is none. It is complete or not there at all.
    ///
    /// # Errors
    /// In words, when there is one that could not be taken.
    pub(crate) fn take(
        &self,
        release: &ReleaseUrl,
        software_root: &Path,
        user: &User,
        cancel: &Cancel,
    ) -> Result<bool, String> {
        let key = release_key(release);
        let Some(sum) = self.find(&key, release, software_root)? else {
            return Ok(false);
        };
        let owner = (!user.is_us()).then(|| user.ids());
        let io = |error: std::io::Error| error.to_string();
        let root = Dir::open_trusted(software_root).map_err(io)?;
        let name = format!(".cache-{key}");
        root.remove_tree(&name).map_err(io)?;
        let work = root.make_dir(&name, 0o700, owner).map_err(io)?;
        let unpacked = self
            .download(&sum, &work, cancel)
            .and_then(|()| unpack(&work, &key, user, cancel));
        let result = unpacked.and_then(|()| {
            let from = work.path().join(CONTENT).join(&key);
            std::fs::rename(from, software_root.join(&key)).map_err(io)
        });
        let _ = root.remove_tree(&name);
        result.map(|()| true)
    }

    /// The sum of the first archive that fits.
    fn find(
        &self,
        key: &str,
        release: &ReleaseUrl,
        software_root: &Path,
    ) -> Result<Option<String>, String> {
        let entries = self
            .directory
            .entries(key)
            .map_err(|error| error.to_string())?;
        let here = MachineKind::here();
        let root = software_root.to_string_lossy();
        let found = entries.into_iter().flatten().find(|entry| {
            let is = |name: &str, value: &str| {
                entry.fields.get(name).and_then(Json::as_str) == Some(value)
            };
            // A build knows its own place, and works nowhere else.
            entry.verified
                && is("software_url", release.as_str())
                && is("software_root", &root)
                && MachineKind::of(entry).is_some_and(|kind| kind.is_compatible_with(&here))
        });
        Ok(found
            .and_then(|entry| entry.fields.get("sha512")?.as_str().map(str::to_owned))
            .filter(|sum| sum.len() == 128 && sum.bytes().all(|byte| byte.is_ascii_hexdigit())))
    }

    fn download(&self, sum: &str, work: &Dir, cancel: &Cancel) -> Result<(), String> {
        let url = format!("{}/{sum}", self.content_url);
        let failed = |reason: &dyn std::fmt::Display| format!("{url}: {reason}");
        let mut reply = self
            .content
            .get(&url)
            .call()
            .map_err(|error| failed(&error))?;
        if !reply.status().is_success() {
            return Err(failed(&format!("status {}", reply.status().as_u16())));
        }
        let stat = rustix::fs::stat(work.path()).map_err(|error| failed(&error))?;
        let owner = (
            rustix::fs::Uid::from_raw(stat.st_uid),
            rustix::fs::Gid::from_raw(stat.st_gid),
        );
        let mut file = work
            .append(ARCHIVE, 0o600, Some(owner))
            .map_err(|error| failed(&error))?;
        let mut reader = reply.body_mut().as_reader().take(ARCHIVE_BYTES_MAX);
        let mut digest = Context::new(&SHA512);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            if cancel.is_cancelled() {
                return Err("interrupted".to_owned());
            }
            let count = reader.read(&mut chunk).map_err(|error| failed(&error))?;
            if count == 0 {
                break;
            }
            digest.update(&chunk[..count]);
            file.write_all(&chunk[..count])
                .map_err(|error| failed(&error))?;
        }
        let found: String = digest
            .finish()
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if !found.eq_ignore_ascii_case(sum) {
            return Err(failed(&"what came is not what was signed"));
        }
        Ok(())
    }
}

/// Unpacks an archive as the releases' owner, who may write nowhere else.
fn unpack(work: &Dir, key: &str, user: &User, cancel: &Cancel) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    let owner = (!user.is_us()).then(|| user.ids());
    let content = work.make_dir(CONTENT, 0o755, owner).map_err(io)?;
    let archive = format!("../{ARCHIVE}");
    let mut spawn = Spawn::new("tar", content.path(), user).args(["-xzf", archive.as_str()]);
    spawn.timeout = Some(TRANSFER_TIMEOUT);
    let ended = child::run(spawn, cancel, &mut |_| {})
        .map_err(|error| format!("cannot unpack it: {error}"))?;
    if !ended.status.success() {
        return Err(format!(
            "it cannot be unpacked: {}: {}",
            ended.describe(),
            ended.output.trim()
        ));
    }
    if content.kind(key).map_err(io)? != Some(Kind::Directory) {
        return Err(format!("the archive holds no directory {key}"));
    }
    Ok(())
}

fn starts(release: &ReleaseUrl, prefixes: &[String]) -> bool {
    prefixes
        .iter()
        .any(|prefix| release.as_str().starts_with(prefix))
}
