//! Releases that were built here, given to others (N 3.1, 3.1.1). Once, after everything else is
//! done: nobody waits for it, and a cache that is away costs nothing but the upload.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA512};
use serde_json::json;
use slap::ReleaseUrl;
use ureq::SendBody;

use super::{CacheError, MachineKind, TIMEOUT, agent};
use crate::cancel::Cancel;
use crate::child::{self, Spawn};
use crate::config::{Overrides, Values, read};
use crate::layout::release_key;
use crate::safe_fs::Dir;
use crate::user::User;

/// Limit for the packing, and for the transfer.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(6 * 3600);
const CHUNK_BYTES: usize = 256 << 10;
const ARCHIVE: &str = "archive.tar.gz";
/// A release with this file is not for others.
const PRIVATE: &str = ".shared";

/// Where releases are given to, and which are not.
#[derive(Debug)]
pub(crate) struct BinaryUpload {
    directory_url: String,
    directory: ureq::Agent,
    content_url: String,
    content: ureq::Agent,
    key: Option<PathBuf>,
    refused: Vec<String>,
}

impl BinaryUpload {
    /// Where a configuration wants releases; `None` when it does not.
    pub(crate) fn load(file: &Path) -> Result<Option<BinaryUpload>, CacheError> {
        let config = read(file)?;
        let none = Overrides::new();
        let sections = &["slapos", "networkcache"];
        let values = Values::new(file, "networkcache", &config, sections, &none)?;
        let (Some(directory_url), Some(content_url)) = (
            values.optional("upload-binary-dir-url"),
            values.optional("upload-binary-cache-url"),
        ) else {
            return Ok(None);
        };
        let made = |prefix: &str| -> Result<ureq::Agent, CacheError> {
            let builder = agent(&values, prefix)?.timeout_send_body(Some(UPLOAD_TIMEOUT));
            let builder = builder.timeout_recv_body(Some(TIMEOUT));
            Ok(builder.build().new_agent())
        };
        let key = match values.path("signature-private-key-file")? {
            Some(key) => Some(key),
            None => values.path("signature_private_key_file")?,
        };
        let refused = values.text("upload-to-binary-cache-url-blacklist");
        Ok(Some(BinaryUpload {
            directory: made("shadir")?,
            content: made("shacache")?,
            directory_url: directory_url.trim_end_matches('/').to_owned(),
            content_url: content_url.trim_end_matches('/').to_owned(),
            key,
            refused: slap::config::lines(&refused).map(str::to_owned).collect(),
        }))
    }

    /// Packs a release, gives it to the cache and has it listed; `false` when it is not for others.
    ///
    /// # Errors
    /// In words, when that failed.
    pub(crate) fn give(
        &self,
        release: &ReleaseUrl,
        software_root: &Path,
        user: &User,
        cancel: &Cancel,
    ) -> Result<bool, String> {
        let key = release_key(release);
        let refused = |prefix: &String| release.as_str().starts_with(prefix);
        if self.refused.iter().any(refused) || software_root.join(&key).join(PRIVATE).exists() {
            return Ok(false);
        }
        let io = |error: std::io::Error| error.to_string();
        let root = Dir::open_trusted(software_root).map_err(io)?;
        let name = format!(".upload-{key}");
        root.remove_tree(&name).map_err(io)?;
        let owner = (!user.is_us()).then(|| user.ids());
        let work = root.make_dir(&name, 0o700, owner).map_err(io)?;
        let given = pack(&work, &key, user, cancel)
            .and_then(|()| self.send(&work, release, &key, software_root));
        let _ = root.remove_tree(&name);
        given.map(|()| true)
    }

    fn send(
        &self,
        work: &Dir,
        release: &ReleaseUrl,
        key: &str,
        software_root: &Path,
    ) -> Result<(), String> {
        let io = |error: std::io::Error| error.to_string();
        let mut file = work
            .open_file(ARCHIVE)
            .map_err(io)?
            .ok_or_else(|| "the archive is gone".to_owned())?;
        let sum = sha512(&mut file).map_err(io)?;
        let url = format!("{}/{sum}", self.content_url);
        let known = self.content.get(&url).call();
        if !known.is_ok_and(|reply| reply.status().is_success()) {
            self.post(file, &sum)?;
        }
        let here = MachineKind::here();
        let text = json!({
            "sha512": sum,
            "software_url": release.as_str(),
            "software_root": software_root.to_string_lossy(),
            "multiarch": here.multiarch,
            "os": here.os,
        })
        .to_string();
        let signature = match &self.key {
            Some(key) => sign(key, &text)?,
            None => String::new(),
        };
        let url = format!("{}/{key}", self.directory_url);
        let reply = self
            .directory
            .put(&url)
            .content_type("application/json")
            .send(json!([text, signature]).to_string())
            .map_err(|error| format!("{url}: {error}"))?;
        match reply.status().as_u16() {
            201 => Ok(()),
            status => Err(format!("{url}: status {status}")),
        }
    }

    fn post(&self, file: File, sum: &str) -> Result<(), String> {
        let url = &self.content_url;
        let length = file.metadata().map_err(|error| error.to_string())?.len();
        let mut reply = self
            .content
            .post(url)
            .content_type("application/octet-stream")
            .header("Content-Length", length.to_string())
            .send(SendBody::from_owned_reader(file))
            .map_err(|error| format!("{url}: {error}"))?;
        let status = reply.status().as_u16();
        let mut said = String::new();
        // What is no text is no sum either.
        let _ = reply
            .body_mut()
            .as_reader()
            .take(1024)
            .read_to_string(&mut said);
        if status != 201 || said.trim() != sum {
            return Err(format!("{url}: status {status}, {said:?}"));
        }
        Ok(())
    }
}

/// Packs a release as its owner, without the mark that it is complete here.
fn pack(work: &Dir, key: &str, user: &User, cancel: &Cancel) -> Result<(), String> {
    let exclude = format!("--exclude={key}/.completed");
    let mut spawn = Spawn::new("tar", work.path(), user).args([
        "-czf",
        ARCHIVE,
        exclude.as_str(),
        "-C",
        "..",
        key,
    ]);
    spawn.timeout = Some(UPLOAD_TIMEOUT);
    let ended = child::run(spawn, cancel, &mut |_| {})
        .map_err(|error| format!("cannot pack it: {error}"))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(format!(
        "it cannot be packed: {}: {}",
        ended.describe(),
        ended.output.trim()
    ))
}

fn sha512(file: &mut File) -> std::io::Result<String> {
    let mut digest = Context::new(&SHA512);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        digest.update(&chunk[..count]);
    }
    file.rewind()?;
    let sum = digest.finish();
    Ok(sum
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Signs with RSA and SHA-1, as the wire has it and only OpenSSL still does.
fn sign(key: &Path, text: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            "the program `openssl` is not installed: it signs what is uploaded".to_owned()
        }
        _ => format!("cannot run openssl: {error}"),
    };
    let mut child = Command::new("openssl")
        .args(["dgst", "-sha1", "-sign"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or_default();
        return Err(format!("cannot sign with {}: {said}", key.display()));
    }
    Ok(base64(&output.stdout))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for index in 0..4 {
            if index > chunk.len() {
                out.push('=');
            } else {
                let letter = (bits >> (18 - 6 * index)) & 63;
                out.push(char::from(LETTERS[letter as usize]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn base64_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(super::super::base64(&super::base64(&bytes)).unwrap(), bytes);
        }
    }
}
