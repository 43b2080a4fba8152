//! The network cache of a machine that is a cloud of its own (`--enable-shacache-proxy`): its Master
//! keeps one, and its node gives releases to it and takes them from it.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::enrol::escaped;
use crate::enrol::staging::make_directory;
use crate::failure::Failure;

const KEY: &str = "signing-key.pem";
const CERTIFICATE: &str = "signing-certificate.pem";
/// What the Master keeps at most, in MiB.
const TOTAL_MIB_MAX: u64 = 100 << 10;
/// The node signs, and believes, its own work for so long.
const DAYS: &str = "7300";

/// A network cache in this directory.
pub(super) struct Cache {
    directory: PathBuf,
    /// What the node believes, in PEM.
    certificate: String,
}

impl Cache {
    /// Whether one can be made at all.
    pub(super) fn check() -> Result<(), Failure> {
        openssl(&["version"]).map(drop)
    }

    /// Makes its directory, and a key to sign with unless there is one.
    pub(super) fn prepare(instance_root: &Path) -> Result<Cache, Failure> {
        let directory = instance_root.join("shacache");
        make_directory(&directory, 0o700)?;
        let [key, certificate] = [KEY, CERTIFICATE].map(|name| directory.join(name));
        let [key_text, certificate_text] =
            [&key, &certificate].map(|path| path.display().to_string());
        if !key.exists() {
            // Under another name until it is whole.
            let partial = format!("{key_text}.new");
            openssl(&["genrsa", "-out", &partial, "2048"])?;
            fs::set_permissions(&partial, Permissions::from_mode(0o600))?;
            fs::rename(&partial, &key)?;
        }
        #[rustfmt::skip]
        openssl(&[
            "req", "-x509", "-new", "-key", &key_text, "-out", &certificate_text,
            "-days", DAYS, "-subj", "/CN=this node's releases",
        ])?;
        Ok(Cache {
            directory,
            certificate: fs::read_to_string(certificate)?,
        })
    }

    /// For the Master's configuration.
    pub(super) fn master_options(&self) -> String {
        let directory = escaped(&self.directory.display().to_string());
        format!(
            "# Its network cache. Objects that nobody asks for make room for new ones.\n\
             shacache_content_directory = {directory}/data\n\
             shacache_metadata_directory = {directory}/dir\n\
             shacache_total_mib_max = {TOTAL_MIB_MAX}\n\
             # What is not there can be fetched from a cache of others, and is kept; whom to believe\n\
             # is in signature-certificate-list of the nodes.\n\
             #shacache_upstream_cache_url = http://shacache.nxdcdn.com\n\
             #shacache_upstream_dir_url = http://shadir.nxdcdn.com\n"
        )
    }

    /// For the node's configuration.
    pub(super) fn node_section(&self, master_url: &str) -> String {
        let cache = format!("{master_url}shacache");
        let key = escaped(&self.directory.join(KEY).display().to_string());
        let certificate = self.certificate.trim_end().replace('\n', "\n  ");
        format!(
            "
[networkcache]
# Releases that were built, and sources; the Master of this machine keeps them.
download-binary-cache-url = {cache}/cache
download-binary-dir-url = {cache}/dir
download-cache-url = {cache}/cache
download-dir-url = {cache}/dir
upload-binary-cache-url = {cache}/cache
upload-binary-dir-url = {cache}/dir
# What is at a path may change without another name.
download-from-binary-cache-url-blacklist =
  /
upload-to-binary-cache-url-blacklist =
  /
# Other nodes need this certificate in their list to believe this one, and this one theirs.
signature-private-key-file = {key}
signature-certificate-list =
  {certificate}
"
        )
    }
}

/// Runs `openssl`, which also signs each release that is uploaded.
fn openssl(arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new("the program `openssl` is not installed")
                .hint("install it: it signs what the network cache is given"),
            _ => Failure::new(format!("cannot run openssl: {error}")),
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().last().unwrap_or_default();
    Err(Failure::new(format!("openssl failed: {said}")))
}
