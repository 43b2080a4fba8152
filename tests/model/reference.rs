//! The Master as a person would explain it, written from the protocol's description (P 5.1, 6) and
//! from `docs/compatibility-master.md`, without a look at how the Master does it: plain lists,
//! looked through from end to end.

use std::collections::BTreeSet;

use slap::InstanceState::{self, Destroyed, Started, Stopped};

use crate::cast::{NETWORKS, PEOPLE};
use crate::operation::{
    Actor, Ask, Described, NodeSeen, OnPartition, Op, PartitionSeen, Place, ReleaseWord, Served,
    Texts, Told, What, Word,
};

/// A node that is silent for longer takes nothing new, in microseconds.
pub const SILENCE: i64 = 600_000_000;
/// Units of a node nobody has said anything about.
const CAPACITY: i64 = 1_000_000;

#[derive(Debug, Clone)]
pub struct Person {
    /// Project and whether as manager.
    pub roles: Vec<(i64, bool)>,
}

#[derive(Debug, Clone)]
pub struct Partition {
    pub name: String,
    /// Whether the node still describes it, and where in its list.
    pub position: Option<usize>,
    pub addresses: Vec<(String, String)>,
    pub capabilities: Vec<String>,
    pub holds: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Installation {
    pub release: String,
    pub wanted: bool,
    pub reported: &'static str,
}

#[derive(Debug, Clone)]
pub struct Node {
    pub key: i64,
    pub project: i64,
    pub title: String,
    pub scope: &'static str,
    pub capacity: Option<i64>,
    pub network: Option<i64>,
    pub region: Option<String>,
    pub contact: Option<i64>,
    pub faulty: bool,
    pub removed: bool,
    pub partitions: Vec<Partition>,
    pub installations: Vec<Installation>,
}

#[derive(Debug, Clone)]
pub struct Tree {
    pub project: i64,
    pub owner: usize,
    pub title: String,
    pub archived: bool,
}

/// How often something had to change, and how often it was free to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Age {
    pub must: u64,
    pub may: u64,
}

#[derive(Debug, Clone)]
pub struct Instance {
    /// Its number, once it is known.
    pub key: Option<i64>,
    pub tree: usize,
    pub title: String,
    pub requester: Option<usize>,
    pub shared: bool,
    pub release: String,
    pub kind: String,
    pub parameters: Texts,
    pub sla: Texts,
    pub connection: Option<Texts>,
    pub state: InstanceState,
    /// Node and partition.
    pub place: Option<(usize, usize)>,
    pub host: Option<usize>,
    pub reported: &'static str,
    pub status: Option<String>,
    pub removed: bool,
    pub age: Age,
}

/// What comes of an operation. Where several refusals are right, any of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done,
    Placed(usize),
    Waiting,
    Node(usize),
    Refused(Vec<u16>),
}

fn refuse<T>(status: u16) -> Result<T, Outcome> {
    Err(Outcome::Refused(vec![status]))
}

#[derive(Debug, Clone, Default)]
pub struct World {
    /// Whether callers may have been known a moment ago: things happen at once.
    pub lenient: bool,
    pub now: i64,
    pub people: Vec<Person>,
    pub nodes: Vec<Node>,
    pub trees: Vec<Tree>,
    /// In the order they came.
    pub instances: Vec<Instance>,
}

/// What is wanted of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    See,
    Act,
    Report,
}

/// What is wanted of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WantNode {
    See,
    Manage,
    Act,
}

// ---------------------------------------------------------------------------------------------
// Who may what

impl World {
    pub fn new(now: i64) -> World {
        World {
            now,
            people: PEOPLE
                .iter()
                .map(|(_, _, roles)| Person {
                    roles: roles.to_vec(),
                })
                .collect(),
            ..World::default()
        }
    }

    fn role(&self, person: usize, project: i64) -> Option<bool> {
        let mut roles = self.people[person].roles.iter();
        roles
            .find(|(one, _)| *one == project)
            .map(|(_, manager)| *manager)
    }

    pub fn instance_of(&self, key: i64) -> Option<usize> {
        self.instances
            .iter()
            .position(|instance| instance.key == Some(key))
    }

    pub fn node_of(&self, key: i64) -> Option<usize> {
        self.nodes.iter().position(|node| node.key == key)
    }

    /// Whether the Master knows this caller at all: certificates end with their owner, and shared
    /// instances have none.
    fn is_known(&self, by: Actor) -> bool {
        match by {
            Actor::Nobody => false,
            Actor::Person(_) => true,
            Actor::Node(key) => self
                .node_of(key)
                .is_some_and(|node| !self.nodes[node].removed),
            Actor::Instance(key) => self
                .instance_of(key)
                .is_some_and(|one| !self.instances[one].removed && !self.instances[one].shared),
        }
    }

    fn node_holding(&self, instance: usize) -> Option<usize> {
        let one = &self.instances[instance];
        let on = one
            .host
            .map_or(one.place, |host| self.instances[host].place);
        on.map(|(node, _)| node)
    }

    fn may(&self, by: Actor, want: Want, instance: usize) -> Result<(), Outcome> {
        let one = &self.instances[instance];
        let tree = &self.trees[one.tree];
        let (sees, may) = match by {
            Actor::Nobody => return refuse(401),
            // What machines say of themselves, not even an administrator says.
            Actor::Person(person) if PEOPLE[person].1 => (true, want != Want::Report),
            Actor::Person(person) => {
                let role = self.role(person, tree.project);
                let theirs = role == Some(true) || (role.is_some() && tree.owner == person);
                (theirs, theirs && want != Want::Report)
            }
            Actor::Node(key) => {
                let there = self.node_holding(instance);
                let there = there.is_some_and(|node| self.nodes[node].key == key);
                (there, there)
            }
            Actor::Instance(key) => {
                let me = self.instance_of(key);
                let itself = me == Some(instance);
                let serves = me.is_some() && one.host == me;
                let sibling = me.is_some_and(|me| self.instances[me].tree == one.tree);
                let may = match want {
                    Want::See => itself || serves || sibling,
                    Want::Act => itself || serves,
                    Want::Report => itself,
                };
                (itself || serves || sibling, may)
            }
        };
        match (sees, may) {
            (_, true) => Ok(()),
            (true, false) => refuse(403),
            (false, false) => refuse(404),
        }
    }

    fn may_node(&self, by: Actor, want: WantNode, key: i64) -> Result<usize, Outcome> {
        if by == Actor::Nobody {
            return refuse(401);
        }
        let Some(node) = self.node_of(key).filter(|node| !self.nodes[*node].removed) else {
            return refuse(404);
        };
        match by {
            Actor::Nobody => refuse(401),
            Actor::Person(person) if PEOPLE[person].1 => match want {
                WantNode::See | WantNode::Manage => Ok(node),
                WantNode::Act => refuse(403),
            },
            Actor::Person(person) => match (self.role(person, self.nodes[node].project), want) {
                (None, _) => refuse(404),
                (Some(_), WantNode::See) | (Some(true), WantNode::Manage) => Ok(node),
                _ => refuse(403),
            },
            Actor::Node(me) if me == key => match want {
                WantNode::See | WantNode::Act => Ok(node),
                WantNode::Manage => refuse(403),
            },
            Actor::Node(_) | Actor::Instance(_) => refuse(404),
        }
    }

    /// The instance on a partition, if the caller may do this with it.
    fn at(&self, by: Actor, want: Want, place: &Place) -> Result<usize, Outcome> {
        if by == Actor::Nobody {
            return refuse(401);
        }
        let node = self.node_of(place.node);
        let node = node.filter(|node| !self.nodes[*node].removed);
        let on = node.and_then(|node| {
            let mut partitions = self.nodes[node].partitions.iter();
            partitions
                .find(|partition| partition.name == place.partition)?
                .holds
        });
        match on {
            None => refuse(404),
            Some(instance) => self.may(by, want, instance).map(|()| instance),
        }
    }

    /// As [`World::at`], or a shared instance it serves.
    fn at_or_shared(
        &self,
        by: Actor,
        place: &Place,
        shared: Option<i64>,
    ) -> Result<usize, Outcome> {
        let host = self.at(by, Want::Act, place)?;
        let Some(key) = shared else { return Ok(host) };
        let shared = self.instance_of(key);
        match shared {
            Some(shared) if shared == host => Ok(host),
            Some(shared)
                if self.instances[shared].host == Some(host) && !self.instances[shared].removed =>
            {
                Ok(shared)
            }
            _ => refuse(404),
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Operations

impl World {
    /// Does it; what has to come back.
    pub fn apply(&mut self, op: &Op) -> Outcome {
        let outcome = match self.carry_out(op) {
            Ok(outcome) | Err(outcome) => outcome,
        };
        // Whoever waits is placed before the next operation, also of the same transaction.
        self.settle();
        match outcome {
            Outcome::Placed(instance) if !self.is_placed(instance) => Outcome::Waiting,
            other => other,
        }
    }

    fn carry_out(&mut self, op: &Op) -> Result<Outcome, Outcome> {
        let by = op.by;
        if !self.is_known(by) {
            let gone = self.lenient && by != Actor::Nobody;
            return Err(Outcome::Refused(if gone {
                vec![401, 404]
            } else {
                vec![401]
            }));
        }
        match &op.what {
            What::Request { requester, ask } => self.request(by, requester.as_ref(), ask),
            What::Report { at, word } => {
                let instance = self.at(by, Want::Report, at)?;
                match word {
                    Word::Started => {
                        let text = "#access Instance correctly started";
                        self.say(instance, text, Some("started"));
                    }
                    Word::Stopped => {
                        let text = "#access Instance correctly stopped";
                        self.say(instance, text, Some("stopped"));
                    }
                    Word::Destroyed if self.instances[instance].state == Destroyed => {
                        self.remove(instance);
                    }
                    // Nobody has ordered that.
                    Word::Destroyed => return refuse(409),
                }
                Ok(Outcome::Done)
            }
            What::Error { at, shared, log } => {
                let instance = self.at_or_shared(by, at, *shared)?;
                let skip = log.chars().count().saturating_sub(80);
                let last: String = log.chars().skip(skip).collect();
                self.say(
                    instance,
                    &format!("#error while instanciating: {last}"),
                    None,
                );
                Ok(Outcome::Done)
            }
            What::Bang { at, message } => {
                let instance = self.at(by, Want::Act, at)?;
                self.bang_up(instance);
                self.say(instance, &format!("#error bang called: {message}"), None);
                Ok(Outcome::Done)
            }
            What::Publish {
                at,
                shared,
                parameters,
            } => {
                let instance = self.at_or_shared(by, at, *shared)?;
                if self.instances[instance].connection.as_ref() != Some(parameters) {
                    self.instances[instance].connection = Some(parameters.clone());
                    let requester = self.instances[instance].requester;
                    if let Some(requester) = requester.filter(|one| !self.instances[*one].removed) {
                        self.process(requester);
                    }
                }
                Ok(Outcome::Done)
            }
            What::Rename { at, shared, title } => {
                let instance = self.at_or_shared(by, at, *shared)?;
                self.rename(instance, title)
            }
            What::Related { at } => {
                self.at(by, Want::See, at)?;
                Ok(Outcome::Done)
            }
            What::Supply {
                node,
                release,
                wanted,
            } => {
                let node = self.may_node(by, WantNode::Manage, *node)?;
                self.supply(node, release, *wanted);
                Ok(Outcome::Done)
            }
            What::ReportRelease {
                node,
                release,
                word,
            } => {
                let node = self.may_node(by, WantNode::Act, *node)?;
                let installations = &mut self.nodes[node].installations;
                let Some(index) = installations.iter().position(|one| one.release == *release)
                else {
                    return refuse(404);
                };
                installations[index].reported = match word {
                    ReleaseWord::Building => "building",
                    ReleaseWord::Available => "available",
                    ReleaseWord::Error => "error",
                    ReleaseWord::Destroyed => {
                        if installations[index].wanted {
                            return refuse(404);
                        }
                        installations.remove(index);
                        return Ok(Outcome::Done);
                    }
                };
                Ok(Outcome::Done)
            }
            What::Format { node, partitions } => {
                let node = self.may_node(by, WantNode::Act, *node)?;
                self.format(node, partitions);
                self.contact(node);
                Ok(Outcome::Done)
            }
            What::BangNode { node, .. } => {
                let node = self.may_node(by, WantNode::Act, *node)?;
                for instance in 0..self.instances.len() {
                    if !self.instances[instance].removed
                        && self.node_holding(instance) == Some(node)
                    {
                        self.bang_up(instance);
                    }
                }
                self.nodes[node].faulty = true;
                Ok(Outcome::Done)
            }
            What::Usage { node } => {
                self.may_node(by, WantNode::Act, *node)?;
                Ok(Outcome::Done)
            }
            What::Poll { node } => {
                self.node_seen(by, *node).map_err(Outcome::Refused)?;
                if by == Actor::Node(*node) {
                    let node = self.node_of(*node).expect("it is seen");
                    self.contact(node);
                }
                Ok(Outcome::Done)
            }
            What::NewNode { project, title } => self.new_node(by, *project, title),
            What::Scope { node, scope } => {
                let node = self.may_node(by, WantNode::Manage, *node)?;
                self.nodes[node].scope = scope;
                Ok(Outcome::Done)
            }
            What::Capacity { node, capacity } => {
                let node = self.may_node(by, WantNode::Manage, *node)?;
                self.nodes[node].capacity = *capacity;
                Ok(Outcome::Done)
            }
            What::Network { node, network } => {
                let node = self.may_node(by, WantNode::Manage, *node)?;
                let project = self.nodes[node].project;
                if network.is_some_and(|network| !NETWORKS.contains(&(network, project))) {
                    return refuse(404);
                }
                self.nodes[node].network = *network;
                Ok(Outcome::Done)
            }
            What::Region { node, region } => {
                let node = self.may_node(by, WantNode::Manage, *node)?;
                self.nodes[node].region = region.clone();
                Ok(Outcome::Done)
            }
            What::RemoveNode { node } => {
                let node = self.may_node(by, WantNode::Manage, *node)?;
                let mut partitions = self.nodes[node].partitions.iter();
                if partitions.any(|partition| partition.holds.is_some()) {
                    return refuse(409);
                }
                self.nodes[node].removed = true;
                Ok(Outcome::Done)
            }
            What::Member {
                person,
                project,
                manager,
            } => {
                let Actor::Person(me) = by else {
                    return refuse(403);
                };
                if !PEOPLE[me].1 {
                    return refuse(403);
                }
                let roles = &mut self.people[*person].roles;
                roles.retain(|(one, _)| one != project);
                roles.extend(manager.map(|manager| (*project, manager)));
                Ok(Outcome::Done)
            }
        }
    }

    fn new_node(&mut self, by: Actor, project: i64, title: &str) -> Result<Outcome, Outcome> {
        match by {
            Actor::Person(person) if PEOPLE[person].1 => {}
            Actor::Person(person) => match self.role(person, project) {
                Some(true) => {}
                Some(false) => return refuse(403),
                None => return refuse(404),
            },
            // Neither nodes nor instances know of projects.
            _ => return Err(Outcome::Refused(vec![403, 404])),
        }
        let known = self
            .nodes
            .iter()
            .position(|node| !node.removed && node.project == project && node.title == title);
        Ok(Outcome::Node(known.unwrap_or_else(|| {
            self.nodes.push(Node {
                key: 0,
                project,
                title: title.to_owned(),
                scope: "open",
                capacity: None,
                network: None,
                region: None,
                contact: None,
                faulty: false,
                removed: false,
                partitions: Vec::new(),
                installations: Vec::new(),
            });
            self.nodes.len() - 1
        })))
    }

    fn contact(&mut self, node: usize) {
        self.nodes[node].contact = Some(self.now);
        self.nodes[node].faulty = false;
    }

    fn supply(&mut self, node: usize, release: &str, wanted: bool) {
        let installations = &mut self.nodes[node].installations;
        match installations.iter().position(|one| one.release == release) {
            Some(index) if installations[index].wanted == wanted => {}
            Some(index) if !wanted => installations[index].wanted = false,
            None if !wanted => {}
            found => {
                // What was to be removed is built anew.
                if let Some(index) = found {
                    installations.remove(index);
                }
                installations.push(Installation {
                    release: release.to_owned(),
                    wanted: true,
                    reported: "",
                });
            }
        }
    }

    fn format(&mut self, node: usize, described: &[Described]) {
        for partition in &mut self.nodes[node].partitions {
            partition.position = None;
        }
        for (position, told) in described.iter().enumerate() {
            let mut capabilities = told.capabilities.clone();
            capabilities.sort();
            let partitions = &mut self.nodes[node].partitions;
            match partitions.iter_mut().find(|one| one.name == told.name) {
                None => partitions.push(Partition {
                    name: told.name.clone(),
                    position: Some(position),
                    addresses: told.addresses.clone(),
                    capabilities,
                    holds: None,
                }),
                Some(known) => {
                    known.position = Some(position);
                    known.capabilities = capabilities;
                    if known.addresses != told.addresses {
                        known.addresses = told.addresses.clone();
                        if let Some(instance) = known.holds {
                            self.process(instance);
                        }
                    }
                }
            }
        }
    }

    fn rename(&mut self, instance: usize, title: &str) -> Result<Outcome, Outcome> {
        let one = &self.instances[instance];
        if one.title == title {
            return Ok(Outcome::Done);
        }
        if self.by_title(one.tree, title).is_some() {
            return refuse(409);
        }
        let tree = one.tree;
        if one.requester.is_none() {
            let owner = self.trees[tree].owner;
            if self.tree_of(owner, title).is_some() {
                return refuse(409);
            }
            self.trees[tree].title = title.to_owned();
        }
        self.instances[instance].title = title.to_owned();
        Ok(Outcome::Done)
    }

    fn say(&mut self, instance: usize, text: &str, word: Option<&'static str>) {
        let one = &mut self.instances[instance];
        one.status = Some(text.to_owned());
        one.reported = word.unwrap_or(one.reported);
    }
}

// ---------------------------------------------------------------------------------------------
// Requests

impl World {
    fn tree_of(&self, owner: usize, title: &str) -> Option<usize> {
        self.trees
            .iter()
            .position(|tree| tree.owner == owner && tree.title == title && !tree.archived)
    }

    fn by_title(&self, tree: usize, title: &str) -> Option<usize> {
        self.instances
            .iter()
            .position(|one| one.tree == tree && one.title == title && !one.removed)
    }

    fn root_of(&self, tree: usize) -> Option<usize> {
        self.instances
            .iter()
            .position(|one| one.tree == tree && one.requester.is_none() && !one.removed)
    }

    pub fn is_placed(&self, instance: usize) -> bool {
        let one = &self.instances[instance];
        one.place.is_some() || one.host.is_some()
    }

    fn request(
        &mut self,
        by: Actor,
        requester: Option<&Place>,
        ask: &Ask,
    ) -> Result<Outcome, Outcome> {
        let mut ask = ask.clone();
        if let (Some("pull-backup"), Some(sla)) = (ask.kind.as_deref(), &mut ask.sla) {
            sla.entry("retention_delay".to_owned())
                .or_insert_with(|| "7.0".to_owned());
        }
        let requester = match (requester, by) {
            (Some(place), _) => Some(self.at(by, Want::Act, place)?),
            (None, Actor::Instance(key)) => self.instance_of(key),
            (None, _) => None,
        };
        match (requester, by) {
            (Some(requester), _) => self.request_member(requester, &ask),
            (None, Actor::Person(person)) => self.request_root(person, &ask),
            // A node has no trees.
            (None, _) => Err(Outcome::Refused(vec![403, 404])),
        }
    }

    fn request_root(&mut self, person: usize, ask: &Ask) -> Result<Outcome, Outcome> {
        let destroys = ask.state == Some(Destroyed);
        let named = named_project(ask);
        let Some(tree) = self.tree_of(person, &ask.title) else {
            if destroys {
                return Ok(Outcome::Waiting);
            }
            let project = self.project_for(person, named, ask)?;
            self.trees.push(Tree {
                project,
                owner: person,
                title: ask.title.clone(),
                archived: false,
            });
            return Ok(self.create(self.trees.len() - 1, None, ask));
        };
        let project = self.trees[tree].project;
        if named.is_some_and(|named| named != project) {
            return Err(Outcome::Refused(vec![409]));
        }
        if !PEOPLE[person].1 && self.role(person, project).is_none() {
            return refuse(404);
        }
        let root = self
            .root_of(tree)
            .expect("a tree has a root until it is archived");
        if !destroys {
            let one = &self.instances[root];
            if ask.shared.is_some_and(|shared| shared != one.shared) {
                return refuse(409);
            }
            let elsewhere = one.place.filter(|_| ask.release != one.release);
            if elsewhere.is_some_and(|(node, _)| !self.has_release(node, &ask.release)) {
                return refuse(409);
            }
        }
        Ok(self.change(root, None, ask))
    }

    fn request_member(&mut self, requester: usize, ask: &Ask) -> Result<Outcome, Outcome> {
        let destroys = ask.state == Some(Destroyed);
        let tree = self.instances[requester].tree;
        let root = self.root_of(tree);
        if ask.title == self.trees[tree].title {
            return refuse(400);
        }
        let tree_is_dead = root.is_none_or(|root| self.instances[root].state == Destroyed);
        if !destroys && (tree_is_dead || self.instances[requester].state == Destroyed) {
            return refuse(409);
        }
        let Some(known) = self.by_title(tree, &ask.title) else {
            if destroys {
                return Ok(Outcome::Waiting);
            }
            return Ok(self.create(tree, Some(requester), ask));
        };
        let one = &self.instances[known];
        if one.state == Destroyed {
            // It is on its way out; it does not come back.
            return Ok(Outcome::Waiting);
        }
        if !destroys {
            if ask.shared.is_some_and(|shared| shared != one.shared) {
                return refuse(409);
            }
            // No circles: who requests must not depend on what it requests.
            let mut above = Some(requester);
            while let Some(instance) = above {
                if instance == known {
                    return refuse(409);
                }
                above = self.instances[instance].requester;
            }
        }
        Ok(self.change(known, Some(requester), ask))
    }

    /// The project of a new tree (P 6.3).
    fn project_for(&self, person: usize, named: Option<i64>, ask: &Ask) -> Result<i64, Outcome> {
        let roles = &self.people[person].roles;
        if let Some(named) = named {
            let knows = PEOPLE[person].1 || roles.iter().any(|(project, _)| *project == named);
            return if knows { Ok(named) } else { refuse(404) };
        }
        if let [(only, _)] = roles.as_slice() {
            return Ok(*only);
        }
        let mine = |project: &i64| roles.iter().any(|(one, _)| one == project);
        let empty = Texts::new();
        let sla = ask.sla.as_ref().unwrap_or(&empty);
        if self.is_possible(sla) {
            let node = given(sla, "computer_guid").and_then(|text| number(text, "COMP-"));
            let node = node.and_then(|key| self.nodes.iter().find(|node| node.key == key));
            let node = node.filter(|node| !node.removed);
            if let Some(project) = node.map(|node| node.project).filter(mine) {
                return Ok(project);
            }
            let network = given(sla, "network_guid").and_then(|text| number(text, "NET-"));
            let network = NETWORKS.iter().find(|(key, _)| Some(*key) == network);
            if let Some(project) = network.map(|(_, project)| *project).filter(mine) {
                return Ok(project);
            }
        }
        refuse(400)
    }

    fn create(&mut self, tree: usize, requester: Option<usize>, ask: &Ask) -> Outcome {
        let root_is_stopped = requester.is_some()
            && self
                .root_of(tree)
                .is_some_and(|root| self.instances[root].state == Stopped);
        let mut state = ask.state.unwrap_or(Started);
        if state == Started && root_is_stopped {
            state = Stopped;
        }
        self.instances.push(Instance {
            key: None,
            tree,
            title: ask.title.clone(),
            requester,
            shared: ask.shared.unwrap_or(false),
            release: ask.release.clone(),
            kind: ask.kind.clone().unwrap_or_else(|| "default".to_owned()),
            parameters: ask.parameters.clone().unwrap_or_default(),
            sla: ask.sla.clone().unwrap_or_default(),
            connection: None,
            state,
            place: None,
            host: None,
            reported: "",
            status: None,
            removed: false,
            age: Age::default(),
        });
        let new = self.instances.len() - 1;
        self.try_place(new);
        Outcome::Placed(new)
    }

    fn change(&mut self, known: usize, requester: Option<usize>, ask: &Ask) -> Outcome {
        if ask.state == Some(Destroyed) {
            self.destroy(known);
            return Outcome::Waiting;
        }
        let tree = self.instances[known].tree;
        let root_is_stopped = requester.is_some()
            && self
                .root_of(tree)
                .is_some_and(|root| self.instances[root].state == Stopped);
        let one = &mut self.instances[known];
        let before = one.clone();
        one.requester = requester;
        one.release = ask.release.clone();
        if let Some(kind) = &ask.kind {
            one.kind = kind.clone();
        }
        if let Some(parameters) = &ask.parameters {
            one.parameters = parameters.clone();
        }
        if let Some(sla) = &ask.sla {
            one.sla = sla.clone();
        }
        if let Some(state) = ask.state {
            one.state = match state {
                Started if root_is_stopped => Stopped,
                other => other,
            };
        }
        let now = one.clone();
        let fits_host = now.release == before.release && now.kind == before.kind;
        let differs = !fits_host
            || now.parameters != before.parameters
            || now.sla != before.sla
            || now.state != before.state;
        if differs {
            self.process(known);
        }
        if now.shared && !fits_host {
            self.leave_host(known);
        }
        if now.state == Stopped && before.state != Stopped && now.requester.is_none() {
            // In a stopped tree everything is stopped.
            for other in 0..self.instances.len() {
                let one = &self.instances[other];
                if one.tree == tree && !one.removed && one.state == Started {
                    self.instances[other].state = Stopped;
                    self.process(other);
                }
            }
        }
        self.try_place(known);
        Outcome::Placed(known)
    }
}

/// The project a request names, itself or in its SLA.
fn named_project(ask: &Ask) -> Option<i64> {
    let in_sla = ask.sla.as_ref().and_then(|sla| given(sla, "project_guid"));
    ask.project
        .or_else(|| in_sla.and_then(|text| number(text, "PROJ-")))
}

fn given<'a>(sla: &'a Texts, key: &str) -> Option<&'a str> {
    sla.get(key)
        .map(String::as_str)
        .filter(|text| !text.is_empty())
}

fn number(text: &str, prefix: &str) -> Option<i64> {
    text.strip_prefix(prefix)?.parse().ok()
}

// ---------------------------------------------------------------------------------------------
// The life of instances

impl World {
    /// It has to be processed again; so has who serves it.
    fn process(&mut self, instance: usize) {
        self.instances[instance].age.must += 1;
        if let Some(host) = self.instances[instance].host {
            self.instances[host].age.must += 1;
        }
    }

    fn bang_up(&mut self, instance: usize) {
        let mut next = Some(instance);
        while let Some(instance) = next {
            if self.instances[instance].removed {
                break;
            }
            self.process(instance);
            next = self.instances[instance].requester;
        }
    }

    /// An instance and all that it requested, directly or not, shall be destroyed.
    fn destroy(&mut self, instance: usize) {
        let tree = self.instances[instance].tree;
        let is_root = self.instances[instance].requester.is_none();
        if is_root {
            self.trees[tree].archived = true;
        }
        let mut doomed = vec![instance];
        let mut next = 0;
        while next < doomed.len() {
            let requester = doomed[next];
            next += 1;
            for other in 0..self.instances.len() {
                if self.instances[other].requester == Some(requester)
                    && !self.instances[other].removed
                    && !doomed.contains(&other)
                {
                    doomed.push(other);
                }
            }
        }
        for one in &doomed {
            if self.instances[*one].state != Destroyed {
                self.instances[*one].state = Destroyed;
                self.process(*one);
            }
        }
        // Of what is on no partition of its own, nothing is left anywhere.
        for one in doomed {
            if self.instances[one].place.is_none() && !self.instances[one].removed {
                self.remove(one);
            }
        }
    }

    fn leave_host(&mut self, instance: usize) {
        if let Some(host) = self.instances[instance].host.take() {
            self.instances[host].age.must += 1;
            self.instances[instance].connection = None;
            self.instances[instance].age.may += 1;
        }
    }

    fn remove(&mut self, instance: usize) {
        self.leave_host(instance);
        self.instances[instance].removed = true;
        self.instances[instance].state = Destroyed;
        if let Some((node, partition)) = self.instances[instance].place.take() {
            self.nodes[node].partitions[partition].holds = None;
        }
        for other in 0..self.instances.len() {
            if self.instances[other].host == Some(instance) {
                self.instances[other].host = None;
                self.instances[other].connection = None;
                self.instances[other].age.may += 1;
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Allocation (P 6.9)

impl World {
    /// Places whatever waits and can be placed, the oldest first.
    fn settle(&mut self) {
        let mut any = true;
        while any {
            any = false;
            for instance in 0..self.instances.len() {
                any |= self.try_place(instance);
            }
        }
    }

    fn try_place(&mut self, instance: usize) -> bool {
        let one = &self.instances[instance];
        if one.removed || one.state != Started || self.is_placed(instance) {
            return false;
        }
        if !self.is_possible(&one.sla) {
            return false;
        }
        if one.shared {
            let Some(host) = self.host_for(instance) else {
                return false;
            };
            self.instances[instance].host = Some(host);
            self.instances[instance].age.may += 1;
            self.instances[host].age.must += 1;
        } else {
            let Some((node, partition)) = self.partition_for(instance) else {
                return false;
            };
            self.nodes[node].partitions[partition].holds = Some(instance);
            self.instances[instance].place = Some((node, partition));
            self.instances[instance].age.may += 1;
        }
        true
    }

    /// Whether every key of an SLA is known and can mean something.
    fn is_possible(&self, sla: &Texts) -> bool {
        let known = [
            "computer_guid",
            "instance_guid",
            "network_guid",
            "project_guid",
            "mode",
            "region",
            "capability",
            "retention_delay",
        ];
        sla.iter().all(|(key, value)| {
            known.contains(&key.as_str())
                && (key != "mode" || value.is_empty() || value == "unique_by_network")
        })
    }

    pub fn is_alive(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        !node.faulty
            && node
                .contact
                .is_some_and(|contact| self.now - contact <= SILENCE)
    }

    fn has_release(&self, node: usize, release: &str) -> bool {
        self.nodes[node]
            .installations
            .iter()
            .any(|one| one.release == release && one.wanted && one.reported == "available")
    }

    pub fn used(&self, node: usize) -> i64 {
        let held = self.nodes[node].partitions.iter();
        held.filter(|partition| partition.holds.is_some()).count() as i64
    }

    /// What the SLA asks of a node, and what the node's owner and its health say.
    fn suits(&self, instance: usize, node: usize) -> bool {
        let one = &self.instances[instance];
        let it = &self.nodes[node];
        let sla = &one.sla;
        let below = |asked: &str| {
            it.region
                .as_ref()
                .is_some_and(|path| path == asked || path.starts_with(&format!("{asked}/")))
        };
        let networks_of_tree: BTreeSet<Option<i64>> = self
            .instances
            .iter()
            .enumerate()
            .filter(|(_, other)| other.tree == one.tree && !other.removed)
            .filter_map(|(other, _)| self.node_holding(other))
            .map(|node| self.nodes[node].network)
            .collect();
        let project = self.trees[one.tree].project;
        it.project == project
            && !it.removed
            && it.scope == "open"
            && self.is_alive(node)
            && given(sla, "project_guid").is_none_or(|text| number(text, "PROJ-") == Some(project))
            && given(sla, "computer_guid").is_none_or(|text| number(text, "COMP-") == Some(it.key))
            && given(sla, "network_guid").is_none_or(|text| number(text, "NET-") == it.network)
            && given(sla, "region").is_none_or(below)
            && (given(sla, "mode").is_none()
                || (it.network.is_some() && !networks_of_tree.contains(&it.network)))
    }

    /// The node with most free partitions that fit, of equals the oldest; its first such partition.
    fn partition_for(&self, instance: usize) -> Option<(usize, usize)> {
        let one = &self.instances[instance];
        if given(&one.sla, "instance_guid").is_some() {
            return None;
        }
        let capability = given(&one.sla, "capability").map(str::to_owned);
        let mut best: Option<(usize, usize, usize)> = None;
        for node in 0..self.nodes.len() {
            let it = &self.nodes[node];
            if !self.suits(instance, node)
                || !self.has_release(node, &one.release)
                || self.used(node) >= it.capacity.unwrap_or(CAPACITY)
            {
                continue;
            }
            let mut fitting: Vec<(usize, usize)> = it
                .partitions
                .iter()
                .enumerate()
                .filter(|(_, partition)| match &capability {
                    Some(capability) => partition.capabilities.contains(capability),
                    None => partition.capabilities.is_empty(),
                })
                .filter(|(_, partition)| partition.holds.is_none())
                .filter_map(|(index, partition)| Some((partition.position?, index)))
                .collect();
            fitting.sort_unstable();
            let Some((_, first)) = fitting.first() else {
                continue;
            };
            if best.is_none_or(|(free, _, _)| fitting.len() > free) {
                best = Some((fitting.len(), node, *first));
            }
        }
        best.map(|(_, node, partition)| (node, partition))
    }

    /// One of the own tree first, unless the SLA names an instance or a node; then the one that
    /// serves fewest; of equals, the oldest.
    fn host_for(&self, instance: usize) -> Option<usize> {
        let one = &self.instances[instance];
        let asked = given(&one.sla, "instance_guid").and_then(|text| number(text, "SOFTINST-"));
        let named = asked.is_some() || given(&one.sla, "computer_guid").is_some();
        let capability = given(&one.sla, "capability");
        (0..self.instances.len())
            .filter(|host| {
                let it = &self.instances[*host];
                let Some((node, partition)) = it.place else {
                    return false;
                };
                let partition = &self.nodes[node].partitions[partition];
                !it.shared
                    && !it.removed
                    && it.state != Destroyed
                    && it.release == one.release
                    && it.kind == one.kind
                    && asked.is_none_or(|asked| it.key == Some(asked))
                    && capability
                        .is_none_or(|asked| partition.capabilities.iter().any(|one| one == asked))
                    && self.suits(instance, node)
            })
            .min_by_key(|host| {
                let foreign = !named && self.instances[*host].tree != one.tree;
                (foreign, self.served_by(*host).len(), *host)
            })
    }

    /// The shared instances somebody serves, in any state.
    pub fn served_by(&self, host: usize) -> Vec<usize> {
        (0..self.instances.len())
            .filter(|one| self.instances[*one].host == Some(host))
            .collect()
    }
}

// ---------------------------------------------------------------------------------------------
// What is to be seen

impl World {
    pub fn told(&self, instance: usize) -> Option<Told> {
        let one = &self.instances[instance];
        let on = one
            .host
            .map_or(one.place, |host| self.instances[host].place);
        let (node, partition) = on?;
        let partition = &self.nodes[node].partitions[partition];
        Some(Told {
            key: one.key.unwrap_or_default(),
            title: one.title.clone(),
            root_title: self.trees[one.tree].title.clone(),
            release: one.release.clone(),
            kind: one.kind.clone(),
            parameters: one.parameters.clone(),
            sla: one.sla.clone(),
            connection: one.connection.clone().unwrap_or_default(),
            state: one.state,
            timestamp: 0,
            node: self.nodes[node].key,
            partition: partition.name.clone(),
            addresses: partition.addresses.clone(),
        })
    }

    /// What a caller is told of a node; the status where it is told nothing. Timestamps are 0.
    pub fn node_seen(&self, by: Actor, key: i64) -> Result<NodeSeen, Vec<u16>> {
        let status = |outcome| match outcome {
            Outcome::Refused(statuses) => statuses,
            other => panic!("{other:?} is no refusal"),
        };
        if !self.is_known(by) {
            return Err(vec![401]);
        }
        let own = |instance: usize| matches!(by, Actor::Instance(me) if self.instances[instance].key == Some(me));
        let is_instance = matches!(by, Actor::Instance(_));
        let node = match by {
            // An instance is told of its own partition.
            Actor::Instance(me) => {
                let me = self.instance_of(me).expect("it is known");
                match self.instances[me].place {
                    Some((node, _)) if self.nodes[node].key == key => node,
                    _ => return Err(vec![404]),
                }
            }
            _ => self.may_node(by, WantNode::See, key).map_err(status)?,
        };
        let it = &self.nodes[node];
        let mut partitions: Vec<(usize, usize, &Partition)> = Vec::new();
        for (index, partition) in it.partitions.iter().enumerate() {
            let visible = match partition.holds {
                None => partition.position.is_some() && !is_instance,
                Some(instance) if is_instance => own(instance),
                Some(instance) => self.may(by, Want::See, instance).is_ok(),
            };
            if visible {
                partitions.push((partition.position.unwrap_or(usize::MAX), index, partition));
            }
        }
        partitions.sort_by_key(|(position, index, _)| (*position, *index));
        Ok(NodeSeen {
            tag: None,
            partitions: partitions
                .into_iter()
                .map(|(_, _, partition)| PartitionSeen {
                    name: partition.name.clone(),
                    on: partition.holds.map(|instance| OnPartition {
                        told: self.told(instance).expect("it is there"),
                        status: self.instances[instance].status.clone(),
                        served: self.served(instance),
                    }),
                })
                .collect(),
            installations: if is_instance {
                Vec::new()
            } else {
                it.installations
                    .iter()
                    .map(|one| (one.release.clone(), one.wanted))
                    .collect()
            },
        })
    }

    /// Shared instances as their host is told of them: those that shall be started.
    fn served(&self, host: usize) -> Vec<Served> {
        let served = self
            .served_by(host)
            .into_iter()
            .map(|one| &self.instances[one]);
        served
            .filter(|one| one.state == Started)
            .map(|one| {
                let mut entries = one.parameters.clone();
                entries.extend(one.connection.clone().unwrap_or_default());
                Served {
                    key: one.key.unwrap_or_default(),
                    title: one.title.clone(),
                    kind: one.kind.clone(),
                    entries,
                    timestamp: 0,
                }
            })
            .collect()
    }

    /// Live instances, in the order they came.
    pub fn live(&self) -> Vec<usize> {
        (0..self.instances.len())
            .filter(|one| !self.instances[*one].removed)
            .collect()
    }
}
