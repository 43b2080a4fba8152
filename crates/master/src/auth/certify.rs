//! Gives certificates to persons, nodes and instances (P 5.5).
//!
//! Private keys of persons and nodes leave with the answer and are not kept. An instance's key is
//! kept, sealed: its node asks for it before each processing and is to be given the same one.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;

use crate::domain::{Caller, CertificateOwner, InstanceKey, NodeReference, PersonKey, Timestamp};
use crate::pki::{Authority, Issued, PkiError, Profile, Sealer, Subject, login_common_name};
use crate::store::{NewCertificate, Store, StoreError};

/// The e-mail address in certificates, where released clients expect one (P 5.4). Nobody is there.
const EMAIL: &str = "nobody@slapos.invalid";
/// RSA keys that are made at the same time: each takes a processor for up to half a second.
const KEYS_AT_ONCE: usize = 2;

/// A certificate and its key, to be handed over.
pub struct Certified {
    /// The certificate as PEM; for persons and nodes after a text for people (P 5.4).
    pub certificate: String,
    /// The key as PEM. Secret.
    pub key: String,
    /// The serial number, upper-case hexadecimal digits; empty where it is not told.
    pub serial: String,
    /// The common name; empty where it is not told.
    pub common_name: String,
}

/// Makes certificates and makes them known.
pub struct Certifier {
    store: Arc<Store>,
    authority: Arc<Authority>,
    sealer: Arc<Sealer>,
    turns: Semaphore,
}

fn internal(error: impl std::fmt::Display) -> StoreError {
    StoreError::Internal(error.to_string())
}

impl Certifier {
    pub(super) fn new(store: Arc<Store>, authority: Arc<Authority>, sealer: Arc<Sealer>) -> Self {
        Certifier {
            store,
            authority,
            sealer,
            turns: Semaphore::new(KEYS_AT_ONCE),
        }
    }

    /// The certificate of the authority, as PEM.
    pub fn authority_pem(&self) -> &str {
        self.authority.certificate_pem()
    }

    /// SHA-256 of that certificate, lower-case hexadecimal digits.
    pub fn authority_fingerprint(&self) -> &str {
        &self.authority.facts().fingerprint_sha256_hex
    }

    /// When the authority's certificate ends: nothing is believed after that.
    pub fn authority_ends(&self) -> SystemTime {
        self.authority.facts().not_after
    }

    /// A further certificate for a person.
    ///
    /// # Errors
    /// As [`Store::may_certify`].
    pub async fn for_person(
        &self,
        caller: Caller,
        person: PersonKey,
    ) -> Result<Certified, StoreError> {
        self.certify(caller, CertificateOwner::Person(person), Profile::Person)
            .await
    }

    /// The certificate of a node.
    ///
    /// # Errors
    /// As [`Store::may_certify`]: a conflict with the words `Certificate still active.` when it has
    /// one.
    pub async fn for_node(
        &self,
        caller: Caller,
        node: NodeReference,
    ) -> Result<Certified, StoreError> {
        self.certify(caller, CertificateOwner::Node(node), Profile::Node)
            .await
    }

    async fn certify(
        &self,
        caller: Caller,
        owner: CertificateOwner,
        profile: Profile,
    ) -> Result<Certified, StoreError> {
        // Asked before and after: making the key takes long, and others may be faster.
        self.store.may_certify(caller, owner).await?;
        let issued = self.issue(owner, profile).await?;
        self.store
            .record_certificate(caller, known(owner, &issued)?)
            .await?;
        Ok(Certified {
            certificate: issued.certificate,
            key: issued.key_pem,
            serial: issued.serial_hex,
            common_name: issued.common_name,
        })
    }

    /// The certificate and key of an instance: made when they are asked for the first time, then
    /// always the same, until they are revoked.
    ///
    /// # Errors
    /// Only its node and itself may have them.
    pub async fn for_instance(
        &self,
        caller: Caller,
        instance: InstanceKey,
    ) -> Result<Certified, StoreError> {
        let (certificate, sealed) = match self.store.instance_key(caller, instance).await? {
            Some(kept) => kept,
            None => {
                let owner = CertificateOwner::Instance(instance);
                let issued = self.issue(owner, Profile::Instance).await?;
                let sealed = self
                    .sealer
                    .seal(&purpose(instance), issued.key_pem.as_bytes())
                    .map_err(internal)?;
                let new = known(owner, &issued)?;
                self.store
                    .keep_instance_key(caller, instance, new, issued.certificate_pem, sealed)
                    .await?
            }
        };
        let key = self
            .sealer
            .open(&purpose(instance), &sealed)
            .map_err(internal)?;
        Ok(Certified {
            certificate,
            key: String::from_utf8(key).map_err(internal)?,
            serial: String::new(),
            common_name: String::new(),
        })
    }

    async fn issue(&self, owner: CertificateOwner, profile: Profile) -> Result<Issued, StoreError> {
        // The keys of instances take no time.
        let _turn = match profile {
            Profile::Instance => None,
            Profile::Person | Profile::Node => Some(self.turns.acquire().await.map_err(internal)?),
        };
        let authority = Arc::clone(&self.authority);
        let now = self.store.clock().now();
        tokio::task::spawn_blocking(move || {
            let subject = Subject {
                common_name: login_common_name(owner.key(), &owner.to_string())?,
                email: EMAIL.to_owned(),
            };
            authority.issue(&subject, profile, now.system())
        })
        .await
        .map_err(internal)?
        .map_err(|error: PkiError| internal(error))
    }
}

/// What a sealed key is for.
fn purpose(instance: InstanceKey) -> String {
    format!("key of {instance}")
}

fn known(owner: CertificateOwner, issued: &Issued) -> Result<NewCertificate, StoreError> {
    let expires = issued
        .not_after
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(internal)?;
    Ok(NewCertificate {
        owner,
        common_name: issued.common_name.clone(),
        serial: issued.serial_hex.clone(),
        fingerprint: issued.fingerprint_sha256_hex.clone(),
        expires_at: Timestamp::default().plus(expires),
    })
}
