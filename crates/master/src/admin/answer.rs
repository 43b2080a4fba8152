//! What an administrator is answered: plain data, as it goes through the socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Secret;

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
    /// Where the Master is, if it runs.
    pub url: Option<String>,
    /// SHA-256 of the certificate of its authority, by which it is recognised.
    pub fingerprint: String,
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
