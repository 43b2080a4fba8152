//! What is done to a Master, what it answers, and what can be seen of it: the words the model, the
//! systems under test and the driver share.

use std::collections::BTreeMap;
use std::fmt;

use slap::InstanceState;

pub type Texts = BTreeMap<String, String>;

/// Who does something. Nodes and instances by the numbers of their references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    Nobody,
    /// One of [`crate::cast::PEOPLE`].
    Person(usize),
    Node(i64),
    Instance(i64),
}

/// A partition of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub node: i64,
    pub partition: String,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    pub title: String,
    pub release: String,
    pub kind: Option<String>,
    pub parameters: Option<Texts>,
    pub sla: Option<Texts>,
    pub state: Option<InstanceState>,
    pub shared: Option<bool>,
    pub project: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Started,
    Stopped,
    Destroyed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseWord {
    Building,
    Available,
    Error,
    Destroyed,
}

/// A partition as its node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// Interface and address.
    pub addresses: Vec<(String, String)>,
    pub capabilities: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Request {
        requester: Option<Place>,
        ask: Ask,
    },
    Report {
        at: Place,
        word: Word,
    },
    Error {
        at: Place,
        shared: Option<i64>,
        log: String,
    },
    Bang {
        at: Place,
        message: String,
    },
    Publish {
        at: Place,
        shared: Option<i64>,
        parameters: Texts,
    },
    Rename {
        at: Place,
        shared: Option<i64>,
        title: String,
    },
    Related {
        at: Place,
    },
    Supply {
        node: i64,
        release: String,
        wanted: bool,
    },
    ReportRelease {
        node: i64,
        release: String,
        word: ReleaseWord,
    },
    Format {
        node: i64,
        partitions: Vec<Described>,
    },
    BangNode {
        node: i64,
        message: String,
    },
    Usage {
        node: i64,
    },
    /// The node asks for its document, as it does every minute.
    Poll {
        node: i64,
    },
    NewNode {
        project: i64,
        title: String,
    },
    Scope {
        node: i64,
        scope: &'static str,
    },
    Capacity {
        node: i64,
        capacity: Option<i64>,
    },
    Network {
        node: i64,
        network: Option<i64>,
    },
    Region {
        node: i64,
        region: Option<String>,
    },
    RemoveNode {
        node: i64,
    },
    /// A person's place in a project: whether as manager, or none.
    Member {
        person: usize,
        project: i64,
        manager: Option<bool>,
    },
}

/// Somebody does something.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    pub by: Actor,
    pub what: What,
}

/// An instance as the one who asked for it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub key: i64,
    pub title: String,
    pub root_title: String,
    pub release: String,
    pub kind: String,
    pub parameters: Texts,
    pub sla: Texts,
    pub connection: Texts,
    pub state: InstanceState,
    pub timestamp: i64,
    pub node: i64,
    pub partition: String,
    pub addresses: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Done,
    Placed(Box<Told>),
    /// Nothing to show yet, with the reason.
    Waiting(String),
    Node(i64),
    /// The status of a refusal.
    Refused(u16, String),
    /// Something that must never come back.
    Broken(String),
    /// Nobody knows: the Master was killed.
    Lost,
}

/// A shared instance as its host is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    pub key: i64,
    pub title: String,
    pub kind: String,
    /// Its parameters, overlaid by what was published for it.
    pub entries: Texts,
    pub timestamp: i64,
}

/// A partition as its node is told.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionSeen {
    pub name: String,
    pub on: Option<OnPartition>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OnPartition {
    pub told: Told,
    pub status: Option<String>,
    pub served: Vec<Served>,
}

/// All a caller is told of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSeen {
    /// Tag of the document; none where the system gives none to this caller.
    pub tag: Option<String>,
    pub partitions: Vec<PartitionSeen>,
    /// Release and what is asked for.
    pub installations: Vec<(String, bool)>,
}

/// A live instance as the database has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub key: i64,
    pub tree: i64,
    pub root_title: String,
    pub owner: i64,
    pub project: i64,
    pub title: String,
    pub requester: Option<i64>,
    pub shared: bool,
    pub release: String,
    pub kind: String,
    pub parameters: Texts,
    pub sla: Texts,
    pub connection: Option<Texts>,
    pub state: InstanceState,
    pub timestamp: i64,
    pub host: Option<i64>,
    pub reported: String,
    pub status: Option<String>,
    pub place: Option<(i64, String)>,
}

/// A node as the database has it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRow {
    pub key: i64,
    pub project: i64,
    pub title: String,
    pub scope: String,
    pub capacity: Option<i64>,
    pub used: i64,
    pub network: Option<i64>,
    pub region: Option<String>,
    pub alive: bool,
    /// Release, whether it is wanted, and what was reported of it.
    pub installations: Vec<(String, bool, String)>,
    /// Name, place in the node's order unless it is described no more, and capabilities.
    pub partitions: Vec<(String, Option<usize>, Vec<String>)>,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            Actor::Person(person) => write!(f, "{}", crate::cast::PEOPLE[person].0)?,
            other => write!(f, "{other:?}")?,
        }
        match &self.what {
            What::Request { requester, ask } => {
                match requester {
                    Some(place) => {
                        write!(f, " as COMP-{}/{} requests", place.node, place.partition)?
                    }
                    None => write!(f, " requests")?,
                }
                write!(f, " {:?} {}", ask.title, short(&ask.release))?;
                if let Some(kind) = &ask.kind {
                    write!(f, " type={kind}")?;
                }
                for (name, texts) in [("parameters", &ask.parameters), ("sla", &ask.sla)] {
                    if let Some(texts) = texts {
                        write!(f, " {name}={texts:?}")?;
                    }
                }
                if let Some(state) = ask.state {
                    write!(f, " {}", state.as_str())?;
                }
                match ask.shared {
                    Some(true) => write!(f, " shared")?,
                    Some(false) => write!(f, " ordinary")?,
                    None => {}
                }
                match ask.project {
                    Some(project) => write!(f, " in PROJ-{project}"),
                    None => Ok(()),
                }
            }
            other => write!(f, " {other:?}"),
        }
    }
}

fn short(release: &str) -> &str {
    release.rsplit('/').next().unwrap_or(release)
}
