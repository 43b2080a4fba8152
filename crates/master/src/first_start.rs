//! What a Master makes when it starts for the first time, and finds again afterwards: the key of
//! its secrets, its certificate authority, an administrator, a project.
//!
//! Each step looks whether its work is done, so a start that was interrupted is finished by the
//! next one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Caller, CertificateOwner, PersonKey, ProjectKey, TokenPurpose};
use crate::files::{DataDir, FilesError};
use crate::pki::{Authority, PkiError, Sealer, random_hex};
use crate::store::{NewPerson, NewToken, PersonRecord, Store, StoreError};

/// The settings that belong together, the first of which decides who was first.
const AUTHORITY_CERTIFICATE: &str = "authority_certificate";
const AUTHORITY_KEY: &str = "authority_key";
const EPOCH: &str = "epoch";
/// What the authority's key is sealed for.
const AUTHORITY_PURPOSE: &str = "authority-key";

const ADMINISTRATOR: &str = "admin";
const PROJECT: &str = "Main";
/// How long the first administrator has.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Why a Master cannot start with what it finds.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// Its files.
    #[error("{0}")]
    Files(#[from] FilesError),
    /// Its database.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Its certificates.
    #[error("{0}")]
    Pki(#[from] PkiError),
    /// The key of the secrets is not there.
    #[error(
        "{path} is missing, and the database holds secrets that only it opens; put it back from \
         your backup, or copy it from another Master on this database"
    )]
    NoKey {
        /// Where it should be.
        path: PathBuf,
    },
    /// The key is another database's.
    #[error(
        "{path} does not open the secrets in the database: it belongs to another one; put back the \
         right one from your backup, or copy it from another Master on this database"
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
}

/// What the Master's secrets are worked with.
#[derive(Clone)]
pub(crate) struct Secrets {
    /// Issues certificates.
    pub(crate) authority: Arc<Authority>,
    /// Opens secrets in the database.
    pub(crate) sealer: Arc<Sealer>,
    /// Differs between two databases, and before and after one is restored.
    pub(crate) epoch: String,
}

/// What the first administrator needs to come in.
#[derive(Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The administrator's login name.
    pub login: String,
    /// A one-time token that sets its password. Secret.
    pub password_token: String,
    /// A one-time token that gets it a client certificate. Secret.
    pub client_token: String,
    /// The project that was made for the beginning.
    pub project: Option<ProjectKey>,
}

/// Finds the authority and the key of the secrets, or makes them where the database is new.
///
/// # Errors
/// [`FirstStartError`].
pub(crate) async fn secrets(
    directory: &DataDir,
    store: &Store,
    organisation: &str,
) -> Result<Secrets, FirstStartError> {
    if store.setting(AUTHORITY_CERTIFICATE).await?.is_none() {
        make(directory, store, organisation).await?;
    }
    let setting = async |name| {
        let value = store.setting(name).await?;
        value.ok_or_else(|| {
            StoreError::Internal(format!("the setting {name} is missing in the database"))
        })
    };
    let certificate = setting(AUTHORITY_CERTIFICATE).await?;
    let sealed = setting(AUTHORITY_KEY).await?;
    let epoch = setting(EPOCH).await?;
    let path = directory.secret_key_path();
    let key = directory
        .secret_key()?
        .ok_or_else(|| FirstStartError::NoKey { path: path.clone() })?;
    let sealer = Sealer::from_key(&key)?;
    let key = sealer
        .open_text(AUTHORITY_PURPOSE, &sealed)
        .map_err(|_| FirstStartError::WrongKey { path })?;
    Ok(Secrets {
        authority: Arc::new(Authority::load(&certificate, &key)?),
        sealer: Arc::new(sealer),
        epoch,
    })
}

/// Makes an authority. Of several Masters that start at once on a new database one wins; the others
/// find its work, and that they lack its key.
async fn make(
    directory: &DataDir,
    store: &Store,
    organisation: &str,
) -> Result<(), FirstStartError> {
    let key = match directory.secret_key()? {
        Some(key) => key,
        None => directory.make_secret_key()?,
    };
    let sealer = Sealer::from_key(&key)?;
    let (_, material) = Authority::create(organisation, store.clock().now().system())?;
    let sealed = sealer.seal(AUTHORITY_PURPOSE, material.key_pem.as_bytes())?;
    store
        .keep_settings(vec![
            (AUTHORITY_CERTIFICATE, material.certificate_pem),
            (AUTHORITY_KEY, sealed),
            (EPOCH, random_hex(6)?),
        ])
        .await?;
    Ok(())
}

/// Makes the first administrator and the first project where nobody is there. As long as no
/// administrator ever came in, each start makes new tokens: a link that was lost is no harm.
///
/// # Errors
/// [`FirstStartError`].
pub(crate) async fn welcome(store: &Store) -> Result<Option<Welcome>, FirstStartError> {
    let persons = store.persons(Caller::Master, None).await?;
    let administrator = match persons.as_slice() {
        [] => Some(make_administrator(store).await?),
        [only] if only.administrator && !came_in(store, only).await? => Some(only.key),
        _ => None,
    };
    let Some(person) = administrator else {
        return Ok(None);
    };
    let project = make_project(store, person).await?;
    let mut tokens = Vec::new();
    for purpose in [TokenPurpose::Password, TokenPurpose::Client] {
        let token = store
            .create_token(
                Caller::Master,
                NewToken {
                    purpose,
                    person,
                    project: None,
                    life: TOKEN_LIFE,
                },
            )
            .await?;
        tokens.push(token);
    }
    let mut tokens = tokens.into_iter();
    let (Some(password), Some(client)) = (tokens.next(), tokens.next()) else {
        return Ok(None);
    };
    Ok(Some(Welcome {
        login: password.login.to_string(),
        password_token: password.token,
        client_token: client.token,
        project,
    }))
}

async fn make_administrator(store: &Store) -> Result<PersonKey, FirstStartError> {
    let login = ADMINISTRATOR
        .parse()
        .map_err(|error| StoreError::Internal(format!("{error}")))?;
    let new = NewPerson {
        login,
        name: "Administrator".to_owned(),
        administrator: true,
    };
    Ok(store.create_person(Caller::Master, new).await?)
}

/// Whether a person ever had a way in.
async fn came_in(store: &Store, person: &PersonRecord) -> Result<bool, FirstStartError> {
    if person.has_password {
        return Ok(true);
    }
    let owner = CertificateOwner::Person(person.key);
    let certificates = store.certificates(Caller::Master, owner).await?;
    Ok(!certificates.is_empty())
}

/// The first project, managed by that person, unless there is one.
async fn make_project(
    store: &Store,
    person: PersonKey,
) -> Result<Option<ProjectKey>, FirstStartError> {
    if let Some(first) = store.projects(Caller::Master, None).await?.first() {
        return Ok(Some(first.key));
    }
    let caller = Caller::Person {
        person,
        administrator: true,
    };
    Ok(Some(
        store.create_project(caller, PROJECT.to_owned()).await?,
    ))
}
