//! What an administrator asks for, and why it is not done: plain data, as it goes through the socket.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::Refusal;

/// A text that is not to be seen: in logs it is a dot.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What is asked for. Things are named as people name them: a login, `PROJ-1` or a project's title,
/// `COMP-1`; an absent project is the only one there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Says that somebody listens.
    Ping,
    /// Add a person; without a password, a one-time token to set it comes back.
    UserAdd {
        /// The name to sign in with.
        login: String,
        /// The person's name.
        name: Option<String>,
        /// Whether it administrates the Master.
        administrator: bool,
        /// The password.
        password: Option<Secret>,
    },
    /// List persons.
    UserList,
    /// Refuse a person, or no longer.
    UserDisable {
        /// The person.
        login: String,
        /// Whether it is refused.
        disabled: bool,
    },
    /// Set a password; without one, a one-time token to set it comes back.
    UserPassword {
        /// The person.
        login: String,
        /// The password.
        password: Option<Secret>,
    },
    /// Make an administrator, or an ordinary person.
    UserAdmin {
        /// The person.
        login: String,
        /// Whether it administrates.
        administrator: bool,
    },
    /// Add a project.
    ProjectAdd {
        /// Its title.
        title: String,
        /// Logins of its managers.
        managers: Vec<String>,
    },
    /// List projects.
    ProjectList,
    /// Close a project.
    ProjectClose {
        /// The project.
        project: String,
    },
    /// Let a person in, or change its role.
    MemberAdd {
        /// The project.
        project: String,
        /// The person.
        login: String,
        /// `member` or `manager`.
        role: String,
    },
    /// Take a person out.
    MemberRemove {
        /// The project.
        project: String,
        /// The person.
        login: String,
    },
    /// List members.
    MemberList {
        /// The project.
        project: String,
    },
    /// Make a one-time token.
    TokenCreate {
        /// For whom.
        login: String,
        /// `client`, `node` or `any`.
        purpose: String,
        /// For a node: its project.
        project: Option<String>,
    },
    /// List tokens.
    TokenList,
    /// List certificates.
    CertificateList {
        /// Of this person, node or instance only.
        owner: Option<String>,
    },
    /// Refuse a certificate.
    CertificateRevoke {
        /// Its common name.
        common_name: String,
    },
    /// The authority.
    Authority,
    /// The list of revoked certificates.
    RevocationList,
    /// Add a node, with a certificate.
    NodeAdd {
        /// Its title.
        title: String,
        /// Its project.
        project: Option<String>,
    },
    /// List nodes.
    NodeList,
    /// Whether a node takes new instances.
    NodeScope {
        /// The node.
        node: String,
        /// The scope's word.
        scope: String,
    },
    /// Limit a node.
    NodeCapacity {
        /// The node.
        node: String,
        /// Units; none for no limit.
        units: Option<i64>,
    },
    /// A node's network.
    NodeNetwork {
        /// The node.
        node: String,
        /// `NET-1`, or none.
        network: Option<String>,
    },
    /// What a node is.
    NodeCategories {
        /// The node.
        node: String,
        /// All of them.
        categories: BTreeMap<String, String>,
    },
    /// Remove a node.
    NodeRemove {
        /// The node.
        node: String,
    },
    /// Refuse a node's certificates.
    NodeRevoke {
        /// The node.
        node: String,
    },
    /// Add a network.
    NetworkAdd {
        /// Its title.
        title: String,
        /// Its project.
        project: Option<String>,
    },
    /// List networks.
    NetworkList,
    /// Add a gate to another Master, or change how it is reached.
    RemoteAdd {
        /// Its title.
        title: String,
        /// Its project.
        project: Option<String>,
        /// The other Master's URL.
        master_url: String,
        /// The certificate of the authority that signed that Master's, PEM; none for a public one.
        authority: Option<String>,
        /// Our certificate there, PEM.
        certificate: Option<String>,
        /// Its key, PEM.
        key: Option<Secret>,
        /// The releases it takes; all when there are none.
        releases: Vec<String>,
    },
    /// List gates to other Masters.
    RemoteList,
    /// Add a product.
    ProductAdd {
        /// Its reference.
        product: String,
        /// Its title.
        title: Option<String>,
        /// Its project.
        project: Option<String>,
    },
    /// List products.
    ProductList,
    /// Add a release to a product.
    ReleaseAdd {
        /// The product.
        product: String,
        /// Its project.
        project: Option<String>,
        /// The release's URL.
        url: String,
        /// From when on it counts, in microseconds since 1970.
        effective_at: Option<i64>,
    },
    /// List a product's releases, the best first.
    ReleaseList {
        /// The product.
        product: String,
        /// Its project.
        project: Option<String>,
    },
    /// Take a release out of a product.
    ReleaseRemove {
        /// The product.
        product: String,
        /// Its project.
        project: Option<String>,
        /// The release's URL.
        url: String,
    },
    /// What instances of a software type take of a node.
    ProductType {
        /// The product.
        product: String,
        /// Its project.
        project: Option<String>,
        /// The software type.
        software_type: String,
        /// Units.
        units: i64,
    },
    /// List upgrade decisions.
    DecisionList {
        /// Also those that were made.
        all: bool,
    },
    /// Take an upgrade, or turn it down.
    DecisionMake {
        /// Its number.
        number: i64,
        /// Whether it is taken.
        accept: bool,
    },
    /// Whether a tree takes its upgrades by itself.
    DecisionAuto {
        /// The tree.
        tree: String,
        /// Whether it does.
        automatic: bool,
    },
    /// Instances without a place.
    Waiting,
    /// The audit trail, the newest first.
    Audit {
        /// In this project only.
        project: Option<String>,
        /// Of this only.
        subject: Option<String>,
        /// By this one only.
        actor: Option<String>,
        /// So many.
        limit: i64,
    },
    /// Copies the database into a new file in the data directory, for the one who asks to take it.
    Snapshot {
        /// Whether the secret key goes with it.
        with_secret: bool,
    },
    /// Looks for contradictions.
    Check,
}

/// Why it was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// How a program is to take it.
    pub kind: RefusedKind,
    /// In words.
    pub message: String,
}

/// How a program is to take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedKind {
    /// There is no such thing.
    NotFound,
    /// It makes no sense.
    Invalid,
    /// It makes sense, but not now.
    Conflict,
    /// The caller may not.
    Forbidden,
    /// It could not be done.
    Failed,
}

impl Refused {
    /// It could not be done.
    pub fn failed(message: impl fmt::Display) -> Self {
        Refused {
            kind: RefusedKind::Failed,
            message: message.to_string(),
        }
    }

    /// There is no such thing.
    pub fn not_found(message: impl fmt::Display) -> Self {
        Refused {
            kind: RefusedKind::NotFound,
            message: message.to_string(),
        }
    }

    /// It makes no sense.
    pub fn invalid(message: impl fmt::Display) -> Self {
        Refused {
            kind: RefusedKind::Invalid,
            message: message.to_string(),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::NotFound(_) => RefusedKind::NotFound,
            Refusal::Invalid(_) => RefusedKind::Invalid,
            Refusal::Conflict(_) | Refusal::NotReady(_) => RefusedKind::Conflict,
            Refusal::Unauthenticated(_) | Refusal::Forbidden(_) => RefusedKind::Forbidden,
            Refusal::TooMany(_) => RefusedKind::Failed,
        };
        Refused {
            kind,
            message: refusal.to_string(),
        }
    }
}

impl From<crate::store::StoreError> for Refused {
    fn from(error: crate::store::StoreError) -> Self {
        match error {
            crate::store::StoreError::Refused(refusal) => refusal.into(),
            other => Refused::failed(other),
        }
    }
}

impl From<crate::pki::PkiError> for Refused {
    fn from(error: crate::pki::PkiError) -> Self {
        Refused::failed(error)
    }
}
