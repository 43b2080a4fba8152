//! The server's own certificate: made by the Master's authority or taken from files, renewed early,
//! swapped without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::files::{self, DataDir, FilesError};
use crate::pki::{Authority, PkiError, certificate_facts, server_renewal_due};
use crate::server::{ServerTls, TlsError};

/// Where people find the authority's certificate.
pub(crate) const AUTHORITY_FILE: &str = "ca.crt";
/// The server's certificate, then its key.
const SERVER_FILE: &str = "server.pem";
/// How often is looked whether the certificate has to be renewed, or its files changed.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Why the server has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServerIdentityError {
    /// The files.
    #[error("{0}")]
    Files(#[from] FilesError),
    /// Making it.
    #[error("{0}")]
    Pki(#[from] PkiError),
    /// Using it.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// A file that was named is not there.
    #[error("the file {path} named for the server's certificate does not exist")]
    Missing {
        /// The file.
        path: PathBuf,
    },
}

/// Where the certificate comes from.
enum Source {
    /// From files that somebody else keeps fresh; with what they held last.
    Files {
        certificate: PathBuf,
        key: PathBuf,
        last: (String, String),
    },
    /// From the Master's own authority.
    Authority { names: Vec<String> },
}

/// The server's certificate.
pub(crate) struct ServerIdentity {
    tls: Arc<ServerTls>,
    directory: DataDir,
    authority: Arc<Authority>,
    source: Source,
}

impl ServerIdentity {
    /// Loads the certificate, or makes one for these names.
    ///
    /// # Errors
    /// [`ServerIdentityError`].
    pub(crate) fn load(
        directory: &DataDir,
        given: Option<(PathBuf, PathBuf)>,
        authority: Arc<Authority>,
        names: Vec<String>,
    ) -> Result<Self, ServerIdentityError> {
        let authorities = [authority.certificate_pem()];
        if directory.read(AUTHORITY_FILE)?.as_deref() != Some(authority.certificate_pem()) {
            directory.write(AUTHORITY_FILE, authority.certificate_pem())?;
        }
        let (tls, source) = match given {
            Some((certificate, key)) => {
                let last = (existing(&certificate)?, existing(&key)?);
                let tls = ServerTls::new(&last.0, &last.1, &authorities)?;
                let source = Source::Files {
                    certificate,
                    key,
                    last,
                };
                (tls, source)
            }
            None => {
                let usable = directory
                    .read(SERVER_FILE)?
                    .filter(|pem| is_fresh(pem, &authority, &names));
                let tls = match usable {
                    Some(pem) => ServerTls::new(&pem, &pem, &authorities)?,
                    None => {
                        let pem = issue(directory, &authority, &names)?;
                        ServerTls::new(&pem, &pem, &authorities)?
                    }
                };
                (tls, Source::Authority { names })
            }
        };
        Ok(ServerIdentity {
            tls,
            directory: directory.clone(),
            authority,
            source,
        })
    }

    /// For listeners.
    pub(crate) fn tls(&self) -> &Arc<ServerTls> {
        &self.tls
    }

    /// Looks now and then whether there is, or has to be, a new certificate; until dropped.
    pub(crate) async fn keep_fresh(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.refresh() {
                Ok(false) => {}
                Ok(true) => tracing::info!("the server shows a new certificate from now on"),
                Err(error) => tracing::warn!("the server keeps its certificate: {error}"),
            }
        }
    }

    /// Takes a new certificate if there is, or has to be, one; whether it did.
    fn refresh(&mut self) -> Result<bool, ServerIdentityError> {
        match &mut self.source {
            Source::Files {
                certificate,
                key,
                last,
            } => {
                let now = (existing(certificate)?, existing(key)?);
                if now == *last {
                    return Ok(false);
                }
                // Half replaced files do not fit together: the next look finds both.
                self.tls.replace(&now.0, &now.1)?;
                *last = now;
            }
            Source::Authority { names } => {
                let pem = self.directory.read(SERVER_FILE)?.unwrap_or_default();
                if is_fresh(&pem, &self.authority, names) {
                    return Ok(false);
                }
                let pem = issue(&self.directory, &self.authority, names)?;
                self.tls.replace(&pem, &pem)?;
            }
        }
        Ok(true)
    }
}

fn existing(path: &Path) -> Result<String, ServerIdentityError> {
    files::read(path)?.ok_or_else(|| ServerIdentityError::Missing {
        path: path.to_owned(),
    })
}

/// Whether a certificate of ours is still good for a while, for all names.
fn is_fresh(pem: &str, authority: &Authority, names: &[String]) -> bool {
    let ours = pem.contains(authority.certificate_pem().trim());
    ours && certificate_facts(pem)
        .is_ok_and(|facts| !server_renewal_due(&facts, names, SystemTime::now()))
        && ServerTls::new(pem, pem, &[]).is_ok()
}

fn issue(
    directory: &DataDir,
    authority: &Authority,
    names: &[String],
) -> Result<String, ServerIdentityError> {
    let issued = authority.issue_server(names, SystemTime::now())?;
    let pem = format!(
        "{}\n{}\n{}",
        issued.certificate_pem.trim_end(),
        authority.certificate_pem().trim_end(),
        issued.key_pem
    );
    directory.write(SERVER_FILE, &pem)?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_certificate_is_kept_as_long_as_it_is_good() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDir::prepare(parent.path()).unwrap();
        let authority = |name| Arc::new(Authority::create(name, SystemTime::now()).unwrap().0);
        let load = |authority: &Arc<Authority>, of: &[&str]| {
            ServerIdentity::load(&directory, None, Arc::clone(authority), names(of)).unwrap();
            directory.read(SERVER_FILE).unwrap().unwrap()
        };
        let ours = authority("ours");
        let first = load(&ours, &["a.example", "localhost"]);
        assert_eq!(
            load(&ours, &["localhost"]),
            first,
            "fewer names are no reason"
        );
        let second = load(&ours, &["b.example"]);
        assert_ne!(second, first);
        assert!(!is_fresh(
            &second,
            &authority("other"),
            &names(&["b.example"])
        ));
        directory.write(SERVER_FILE, "damaged").unwrap();
        assert_ne!(load(&ours, &["b.example"]), "damaged");
        assert_eq!(
            directory.read(AUTHORITY_FILE).unwrap().unwrap(),
            ours.certificate_pem()
        );
    }

    #[test]
    fn files_that_change_are_taken_over() {
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDir::prepare(parent.path()).unwrap();
        let authority = Arc::new(Authority::create("x", SystemTime::now()).unwrap().0);
        let (certificate, key) = (directory.file("c.pem"), directory.file("k.pem"));
        let put = || {
            let issued = authority
                .issue_server(&names(&["localhost"]), SystemTime::now())
                .unwrap();
            std::fs::write(&certificate, &issued.certificate_pem).unwrap();
            std::fs::write(&key, &issued.key_pem).unwrap();
        };
        put();
        let given = Some((certificate.clone(), key.clone()));
        let mut identity =
            ServerIdentity::load(&directory, given, Arc::clone(&authority), Vec::new()).unwrap();
        assert!(!identity.refresh().unwrap());
        put();
        assert!(identity.refresh().unwrap());
        std::fs::write(&key, "half").unwrap();
        assert!(identity.refresh().is_err(), "the one before stays");
        std::fs::remove_file(&key).unwrap();
        assert!(matches!(
            identity.refresh(),
            Err(ServerIdentityError::Missing { .. })
        ));
    }
}
