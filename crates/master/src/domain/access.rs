//! Who may do what: the one place where that is decided (P 5.1, promise P6).
//!
//! A caller stands in some relation to what a call is about. Whoever may not even know of it is told
//! that there is no such thing; whoever may know but not act is told so.

use super::Refusal;
use super::words::{InstanceKey, NodeKey, PersonKey, ProjectKey, Role, TreeKey};

/// Who calls, as its certificate, session or token showed on this very request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Nobody known.
    Anonymous,
    /// A person.
    Person {
        /// Who.
        person: PersonKey,
        /// Whether this one administrates the Master.
        administrator: bool,
    },
    /// A compute node.
    Node(NodeKey),
    /// An instance.
    Instance {
        /// Which.
        instance: InstanceKey,
        /// Its tree.
        tree: TreeKey,
    },
    /// The Master itself: its command line and its own duties.
    Master,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Administrate the Master: people, projects, everything's audit trail.
    Administrate,
    /// Act for a person: its certificates, its tokens.
    ActAsPerson,
    /// See a project: its nodes, products, trees of one's own.
    SeeProject,
    /// Manage a project: its members, nodes, supplies, products.
    ManageProject,
    /// Request the root of a tree in a project.
    RequestTree,
    /// See a compute node, its partitions and installations.
    SeeNode,
    /// Ask for releases on a node, or for their removal.
    Supply,
    /// Give a node a certificate, or revoke it; set its scope; remove it.
    ManageNode,
    /// Speak for a node: format, reports, usage, bang.
    ActAsNode,
    /// See an instance with its parameters and connection parameters.
    SeeInstance,
    /// Speak for an instance: request, publish, rename, bang, error.
    ActAsInstance,
    /// Report what a node did with an instance: started, stopped, destroyed.
    ReportInstance,
    /// Be given an instance's key and certificate.
    TakeInstanceKey,
    /// Change a tree: its upgrades, its state.
    ManageTree,
    /// Give objects and entries to the network cache.
    FillCache,
}

/// Every action, for tables.
pub const ACTIONS: [Action; 15] = [
    Action::Administrate,
    Action::ActAsPerson,
    Action::SeeProject,
    Action::ManageProject,
    Action::RequestTree,
    Action::SeeNode,
    Action::Supply,
    Action::ManageNode,
    Action::ActAsNode,
    Action::SeeInstance,
    Action::ActAsInstance,
    Action::ReportInstance,
    Action::TakeInstanceKey,
    Action::ManageTree,
    Action::FillCache,
];

/// What is known of the subject of a call, and of the caller's relation to it. What does not apply
/// is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// The project it belongs to.
    pub project: Option<ProjectKey>,
    /// The calling person's role there.
    pub role: Option<Role>,
    /// The node it is, or is on.
    pub node: Option<NodeKey>,
    /// The person whose tree it belongs to, or who it is.
    pub owner: Option<PersonKey>,
    /// Its tree.
    pub tree: Option<TreeKey>,
    /// The instance it is.
    pub instance: Option<InstanceKey>,
    /// The instance that serves it, if it is a shared one.
    pub host: Option<InstanceKey>,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Do it.
    Allowed,
    /// Know of it, and no more.
    Forbidden,
    /// Not even know of it.
    Hidden,
    /// Come back with a certificate.
    Unauthenticated,
}

/// Decides. A function of its arguments: whoever calls it looks the facts up in the same transaction.
pub fn verdict(caller: Caller, action: Action, facts: &Facts) -> Verdict {
    let allowed = match caller {
        Caller::Anonymous => return Verdict::Unauthenticated,
        Caller::Master => true,
        Caller::Person {
            person,
            administrator,
        } => (administrator && !is_for_machines(action)) || person_may(person, action, facts),
        Caller::Node(node) => facts.node == Some(node) && node_may(action, facts),
        Caller::Instance { instance, tree } => instance_may(instance, tree, action, facts),
    };
    if allowed {
        Verdict::Allowed
    } else if sees(caller, action, facts) {
        Verdict::Forbidden
    } else {
        Verdict::Hidden
    }
}

/// What nodes and instances do themselves: nobody says in their place what they did, or gets their
/// keys, administrators included.
fn is_for_machines(action: Action) -> bool {
    matches!(
        action,
        Action::ActAsNode | Action::ReportInstance | Action::TakeInstanceKey
    )
}

fn person_may(person: PersonKey, action: Action, facts: &Facts) -> bool {
    let manager = facts.role == Some(Role::Manager);
    let member = facts.role.is_some();
    let owner = facts.owner == Some(person);
    match action {
        Action::Administrate => false,
        Action::ActAsPerson => owner,
        Action::SeeProject | Action::RequestTree | Action::SeeNode => member,
        Action::ManageProject | Action::Supply | Action::ManageNode => manager,
        // What is given is read by all projects: it takes who answers for one of them.
        Action::FillCache => manager,
        // A tree is its owner's as long as the owner belongs to the project; the project's managers
        // look after all of them.
        Action::SeeInstance | Action::ActAsInstance | Action::ManageTree => {
            member && (owner || manager)
        }
        // What a node does is the node's to tell, and a key is for who uses it.
        Action::ActAsNode | Action::ReportInstance | Action::TakeInstanceKey => false,
    }
}

fn node_may(action: Action, facts: &Facts) -> bool {
    match action {
        Action::SeeNode | Action::ActAsNode | Action::FillCache => true,
        Action::SeeInstance
        | Action::ActAsInstance
        | Action::ReportInstance
        | Action::TakeInstanceKey => facts.instance.is_some(),
        _ => false,
    }
}

fn instance_may(instance: InstanceKey, tree: TreeKey, action: Action, facts: &Facts) -> bool {
    let itself = facts.instance == Some(instance);
    let serves = facts.host == Some(instance);
    match action {
        Action::SeeInstance => itself || serves || facts.tree == Some(tree),
        Action::ActAsInstance => itself || serves,
        Action::ReportInstance | Action::TakeInstanceKey => itself,
        _ => false,
    }
}

/// Whether the caller may know of the subject at all.
fn sees(caller: Caller, action: Action, facts: &Facts) -> bool {
    let about_instance = matches!(
        action,
        Action::SeeInstance
            | Action::ActAsInstance
            | Action::ReportInstance
            | Action::TakeInstanceKey
            | Action::ManageTree
    );
    match caller {
        Caller::Anonymous => false,
        // Everybody known may read it.
        _ if action == Action::FillCache => true,
        Caller::Master => true,
        Caller::Person {
            administrator: true,
            ..
        } => true,
        Caller::Person { person, .. } => {
            if about_instance {
                person_may(person, Action::SeeInstance, facts)
            } else {
                action == Action::Administrate || facts.role.is_some()
            }
        }
        Caller::Node(node) => {
            facts.node == Some(node) && (!about_instance || facts.instance.is_some())
        }
        Caller::Instance { instance, tree } => {
            about_instance && instance_may(instance, tree, Action::SeeInstance, facts)
        }
    }
}

/// As [`verdict`], as a result: `what` names the subject for the one who asks.
///
/// # Errors
/// [`Refusal`], unless allowed.
pub fn check(caller: Caller, action: Action, facts: &Facts, what: &str) -> Result<(), Refusal> {
    match verdict(caller, action, facts) {
        Verdict::Allowed => Ok(()),
        Verdict::Forbidden => Err(Refusal::Forbidden(format!(
            "you may see {what}, but not do this with it"
        ))),
        Verdict::Hidden => Err(hidden(what)),
        Verdict::Unauthenticated => Err(unauthenticated()),
    }
}

/// The refusal for something there is not: the same whether there never was one, it is gone, or the
/// caller may not know of it. To somebody unknown not even that is told.
pub fn absent(caller: Caller, what: &str) -> Refusal {
    match caller {
        Caller::Anonymous => unauthenticated(),
        _ => hidden(what),
    }
}

fn hidden(what: &str) -> Refusal {
    Refusal::NotFound(format!("there is no {what} that you may see"))
}

fn unauthenticated() -> Refusal {
    Refusal::Unauthenticated(
        "this needs a certificate of this Master that is neither expired nor revoked: see \
         `slapos configure client` and `slapos node register`"
            .to_owned(),
    )
}
