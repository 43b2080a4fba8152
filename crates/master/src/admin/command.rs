//! What an administrator asks for, and what comes back: plain data, as it goes through the socket.

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

/// What comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "snake_case")]
pub enum Answer {
    /// It is done; in words.
    Done(String),
    /// Something was made; its reference.
    Made(Made),
    /// A secret that is told once.
    Token(OneTime),
    /// A node with its certificate and key.
    NodeCertificate(NodeCertificate),
    /// A text such as a certificate.
    Text(String),
    /// Persons.
    Users(Vec<User>),
    /// Projects.
    Projects(Vec<Project>),
    /// Members.
    Members(Vec<Member>),
    /// Tokens.
    Tokens(Vec<Token>),
    /// Certificates.
    Certificates(Vec<Certificate>),
    /// The authority.
    Authority(Authority),
    /// Nodes.
    Nodes(Vec<Node>),
    /// Networks.
    Networks(Vec<Network>),
    /// Gates to other Masters.
    Remotes(Vec<Remote>),
    /// Products.
    Products(Vec<Product>),
    /// Releases.
    Releases(Vec<Release>),
    /// Decisions.
    Decisions(Vec<Decision>),
    /// Waiting instances.
    Waiting(Vec<Waiting>),
    /// The audit trail.
    Audit(Vec<Event>),
    /// A copy of the database.
    Snapshot(Snapshot),
    /// What is wrong; nothing when all is well.
    Problems(Vec<Problem>),
}

/// Something that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Its reference.
    pub reference: String,
    /// In words.
    pub what: String,
}

/// A secret that is told once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTime {
    /// For whom.
    pub login: String,
    /// What it is good for.
    pub purpose: String,
    /// The token.
    pub token: Secret,
    /// Where it is used, if in a browser.
    pub link: Option<Secret>,
    /// Until when, in microseconds since 1970.
    pub expires_at: i64,
}

/// A node with its certificate and key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCertificate {
    /// The node.
    pub node: String,
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: Secret,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name to sign in with.
    pub login: String,
    /// The person's name.
    pub name: String,
    /// Whether it administrates the Master.
    pub administrator: bool,
    /// Whether it is refused.
    pub disabled: bool,
    /// Whether it has set a password.
    pub password: bool,
    /// Since when, in microseconds since 1970.
    pub created_at: i64,
}

/// A project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// `PROJ-1`.
    pub reference: String,
    /// Its title.
    pub title: String,
    /// Whether it is closed.
    pub closed: bool,
    /// Its members.
    pub members: i64,
    /// Its nodes.
    pub nodes: i64,
    /// Its trees.
    pub trees: i64,
}

/// A member of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The person.
    pub login: String,
    /// The person's name.
    pub name: String,
    /// `member` or `manager`.
    pub role: String,
}

/// A token, without itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// For whom.
    pub login: String,
    /// What it is good for.
    pub purpose: String,
    /// The project it is for.
    pub project: Option<String>,
    /// `unused`, `used` or `expired`.
    pub state: String,
    /// Since when, in microseconds since 1970.
    pub created_at: i64,
    /// Until when.
    pub expires_at: i64,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its common name.
    pub common_name: String,
    /// Whose it is.
    pub owner: String,
    /// Its serial number, as openssl writes it.
    pub serial: String,
    /// SHA-256 of it.
    pub fingerprint: String,
    /// `valid`, `expired` or `revoked`.
    pub state: String,
    /// Since when, in microseconds since 1970.
    pub issued_at: i64,
    /// Until when.
    pub expires_at: i64,
}

/// The certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Whose it is.
    pub organisation: String,
    /// SHA-256 of its certificate.
    pub fingerprint: String,
    /// Until when it is valid, in microseconds since 1970.
    pub expires_at: i64,
    /// Its certificate as PEM.
    pub certificate: String,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `COMP-1`.
    pub reference: String,
    /// Its title.
    pub title: String,
    /// Its project.
    pub project: String,
    /// Whether it takes new instances.
    pub scope: String,
    /// Whether it answers.
    pub alive: bool,
    /// Its partitions.
    pub partitions: i64,
    /// Those that are free.
    pub free: i64,
    /// Units it takes at most.
    pub capacity: Option<i64>,
    /// Units its instances take.
    pub used: i64,
    /// Its network.
    pub network: Option<String>,
    /// What it is.
    pub categories: BTreeMap<String, String>,
    /// What it said last.
    pub status: Option<String>,
    /// When it last called, in microseconds since 1970.
    pub contact_at: Option<i64>,
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// `NET-1`.
    pub reference: String,
    /// Its title.
    pub title: String,
    /// Its project.
    pub project: String,
    /// Its nodes.
    pub nodes: i64,
}

/// A gate to another Master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// `REMOTE-1`.
    pub reference: String,
    /// Its title.
    pub title: String,
    /// Its project.
    pub project: String,
    /// The other Master's URL.
    pub master_url: String,
    /// The releases it takes; all when there are none.
    pub releases: Vec<String>,
    /// When it last answered, in microseconds since 1970.
    pub contact_at: Option<i64>,
    /// Why it does not answer.
    pub error: Option<String>,
}

/// A product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Its reference.
    pub reference: String,
    /// Its title.
    pub title: String,
    /// Its project.
    pub project: String,
    /// Its best release now.
    pub best: Option<String>,
    /// How many releases it has.
    pub releases: i64,
    /// Units its software types take.
    pub units: BTreeMap<String, i64>,
}

/// A release of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its URL.
    pub url: String,
    /// From when on it counts, in microseconds since 1970.
    pub effective_at: Option<i64>,
    /// When it was added.
    pub created_at: i64,
}

/// An upgrade a tree was offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Its number.
    pub number: i64,
    /// The tree.
    pub tree: String,
    /// The tree's title.
    pub title: String,
    /// Its owner.
    pub owner: String,
    /// The release it has.
    pub from: String,
    /// The release it is offered.
    pub to: String,
    /// `planned`, `accepted`, `done`, `rejected`.
    pub state: String,
}

/// An instance without a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// `SOFTINST-1`.
    pub instance: String,
    /// Its title.
    pub title: String,
    /// Its tree's title.
    pub tree: String,
    /// Its project.
    pub project: String,
    /// Its release.
    pub release: String,
    /// Since when, in microseconds since 1970.
    pub since: i64,
    /// In words.
    pub why: String,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in microseconds since 1970.
    pub at: i64,
    /// Who.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// With what.
    pub subject: String,
    /// In which project.
    pub project: Option<String>,
    /// What else is worth knowing.
    pub detail: serde_json::Value,
}

/// A copy of the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The file.
    pub path: std::path::PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// A contradiction in the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The rule that is broken.
    pub rule: String,
    /// With what.
    pub subject: String,
    /// In words.
    pub problem: String,
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
