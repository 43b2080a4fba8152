//! The Master's store in this process, without HTTP: quick, and with a clock that only moves when
//! told.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

use master::domain::{
    AllocationScope, Caller, Clock, InstanceKey, NetworkKey, NodeKey, NodeKind, NodeReference,
    PersonKey, ProjectKey, Role, Timestamp,
};
use master::events::Hub;
use master::store::{
    Address, Database, InstallationReport, InstanceRecord, NodeDescription, PartitionDescription,
    Reported, Requested, Store, StoreError, Subject, Wanted,
};
use slap::{InstallationState, InstanceTitle, ReleaseUrl, SoftwareType};
use tokio::runtime::Runtime;

use crate::backdoor::{self, Backdoor};
use crate::cast::PEOPLE;
use crate::generate::Abilities;
use crate::operation::{
    Actor, NodeSeen, OnPartition, Op, PartitionSeen, Place, ReleaseWord, Reply, Served, Told, What,
    Word,
};
use crate::system::{System, Unseen};

/// A clock that stands still unless told, and then may even go back.
struct Still(AtomicI64);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

pub struct InProcess {
    runtime: Runtime,
    clock: Arc<Still>,
    store: RwLock<Option<Store>>,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

/// Where the clock begins.
pub const BEGINNING: i64 = 1_800_000_000_000_000;

/// In memory where possible: what a crash of the machine would leave is not looked at here.
pub fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory")
}

impl InProcess {
    pub fn new() -> InProcess {
        let directory = quick_directory();
        let system = InProcess {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .build()
                .expect("a runtime"),
            clock: Arc::new(Still(AtomicI64::new(BEGINNING))),
            store: RwLock::new(None),
            file: directory.path().join("master.db"),
            _directory: directory,
        };
        system.start();
        let store = system.store.read().expect("unpoisoned");
        people(&system.runtime, store.as_ref().expect("it is open"));
        drop(store);
        system
    }

    /// Nothing when it was killed a moment ago.
    fn try_with<T>(&self, work: impl AsyncFnOnce(&Store) -> T) -> Option<T> {
        let store = self.store.read().expect("unpoisoned");
        let store = store.as_ref()?;
        Some(self.runtime.block_on(work(store)))
    }

    fn with<T>(&self, work: impl AsyncFnOnce(&Store) -> T) -> T {
        self.try_with(work).expect("the store is open")
    }

    async fn caller(store: &Store, by: Actor) -> Caller {
        match by {
            Actor::Nobody => Caller::Anonymous,
            Actor::Person(person) => Caller::Person {
                person: PersonKey(person_key(person)),
                administrator: PEOPLE[person].1,
            },
            Actor::Node(key) => match store.node(Caller::Master, reference(key)).await {
                Ok(_) => Caller::Node(NodeKey(key)),
                Err(_) => Caller::Anonymous,
            },
            Actor::Instance(key) => {
                let subject = Subject::Instance(InstanceKey(key));
                match store.instance(Caller::Master, subject).await {
                    Ok(record) if !record.shared => Caller::Instance {
                        instance: record.key,
                        tree: record.tree,
                    },
                    _ => Caller::Anonymous,
                }
            }
        }
    }
}

/// Makes the cast, its projects and networks in an empty database.
pub fn people(runtime: &Runtime, store: &Store) {
    runtime.block_on(async {
        for (index, (login, administrator, _)) in PEOPLE.iter().enumerate() {
            let key = store
                .create_person(
                    Caller::Master,
                    master::store::NewPerson {
                        login: login.parse().expect("a login"),
                        name: String::new(),
                        administrator: *administrator,
                    },
                )
                .await
                .expect("a new person");
            assert_eq!(key.0, person_key(index));
        }
        for project in 1..=crate::cast::PROJECTS {
            let key = store
                .create_project(Caller::Master, format!("project {project}"))
                .await
                .expect("a new project");
            assert_eq!(key.0, project);
        }
        for (login, _, roles) in PEOPLE {
            for (project, manager) in roles {
                set_role(store, login, *project, Some(*manager)).await;
            }
        }
        for (network, project) in crate::cast::NETWORKS {
            let key = store
                .create_network(
                    Caller::Master,
                    ProjectKey(project),
                    format!("net {network}"),
                )
                .await
                .expect("a new network");
            assert_eq!(key.0, network);
        }
    });
}

async fn set_role(store: &Store, login: &str, project: i64, manager: Option<bool>) {
    let role = manager.map(|manager| match manager {
        true => Role::Manager,
        false => Role::Member,
    });
    store
        .set_member(
            Caller::Master,
            ProjectKey(project),
            login.parse().expect("a login"),
            role,
        )
        .await
        .expect("a role");
}

/// The key of one of the cast in the database.
pub fn person_key(person: usize) -> i64 {
    i64::try_from(person).expect("few people") + 1
}

fn reference(key: i64) -> NodeReference {
    NodeKey(key).reference(NodeKind::Compute)
}

fn subject(at: &Place) -> Subject {
    Subject::At {
        node: reference(at.node),
        partition: at.partition.clone(),
    }
}

fn release(url: &str) -> ReleaseUrl {
    ReleaseUrl::new(url).expect("a release")
}

fn told(record: &InstanceRecord) -> Told {
    let place = record.placement.clone();
    Told {
        key: record.key.0,
        title: record.title.clone(),
        root_title: record.root_title.clone(),
        release: record.release.clone(),
        kind: record.software_type.clone(),
        parameters: record.parameters.clone(),
        sla: record.sla.clone(),
        connection: record.connection.clone().unwrap_or_default(),
        state: record.state,
        timestamp: record.timestamp.0,
        node: place.as_ref().map_or(0, |place| place.node.key.0),
        partition: place.map_or_else(String::new, |place| place.partition),
        addresses: addresses(&record.addresses),
    }
}

fn addresses(addresses: &[Address]) -> Vec<(String, String)> {
    addresses
        .iter()
        .map(|address| (address.interface.clone(), address.ip.clone()))
        .collect()
}

fn refused(error: StoreError) -> Result<u16, String> {
    use master::domain::Refusal as R;
    match error {
        StoreError::Refused(refusal) => Ok(match refusal {
            R::Unauthenticated(_) => 401,
            R::Forbidden(_) => 403,
            R::NotFound(_) => 404,
            R::Invalid(_) => 400,
            R::Conflict(_) => 409,
            R::NotReady(_) => 408,
            R::TooMany(_) => 429,
        }),
        other => Err(other.to_string()),
    }
}

fn reply<T>(result: Result<T, StoreError>, done: impl FnOnce(T) -> Reply) -> Reply {
    match result {
        Ok(value) => done(value),
        Err(error) => {
            let text = error.to_string();
            match refused(error) {
                Ok(status) => Reply::Refused(status, text),
                Err(text) => Reply::Broken(text),
            }
        }
    }
}

impl System for InProcess {
    fn abilities(&self) -> Abilities {
        Abilities {
            only_the_administrator_manages: false,
        }
    }

    fn call(&self, op: &Op) -> Reply {
        let reply = self.try_with(async |store| {
            let caller = Self::caller(store, op.by).await;
            perform(store, caller, &op.what).await
        });
        reply.unwrap_or(Reply::Lost)
    }

    fn node(&self, by: Actor, node: i64) -> Result<NodeSeen, Unseen> {
        let document = self.with(async |store| {
            let caller = match by {
                // No sign of life of the node.
                Actor::Person(0) => Caller::Master,
                by => Self::caller(store, by).await,
            };
            store.node_document(caller, reference(node)).await
        });
        let document = document.map_err(|error| match refused(error) {
            Ok(status) => Unseen::Refused(status),
            Err(text) => Unseen::Broken(text),
        })?;
        let partition = |record: master::store::PartitionRecord| PartitionSeen {
            name: record.name.clone(),
            on: record.instance.map(|instance| OnPartition {
                told: told(&instance),
                status: instance.status.text,
                served: record
                    .shared
                    .iter()
                    .map(|shared| {
                        let mut entries = shared.parameters.clone();
                        entries.extend(shared.connection.clone().unwrap_or_default());
                        Served {
                            key: shared.key.0,
                            title: shared.title.clone(),
                            kind: shared.software_type.clone(),
                            entries,
                            timestamp: shared.timestamp.0,
                        }
                    })
                    .collect(),
            }),
        };
        Ok(NodeSeen {
            tag: Some(document.node.revision.to_string()),
            partitions: document.partitions.into_iter().map(partition).collect(),
            installations: document
                .installations
                .iter()
                .map(|one| {
                    (
                        one.release.clone(),
                        one.state == InstallationState::Available,
                    )
                })
                .collect(),
        })
    }

    fn is_unchanged(&self, node: i64, tag: &str) -> bool {
        self.with(async |store| {
            let revision = store
                .node_revision(Caller::Node(NodeKey(node)), reference(node))
                .await;
            revision.is_ok_and(|revision| revision.to_string() == tag)
        })
    }

    fn backdoor(&self) -> Backdoor {
        Backdoor::open(&backdoor::Database::Sqlite(self.file.clone()))
    }

    fn introduce(&self, _nodes: &[i64], _instances: &[i64]) {}

    fn pass(&self, microseconds: i64) -> Option<i64> {
        let before = self.clock.0.fetch_add(microseconds, Ordering::SeqCst);
        Some(before + microseconds)
    }

    fn now(&self) -> i64 {
        self.clock.0.load(Ordering::SeqCst)
    }

    fn tick(&self) {
        let closed = self.with(async |store| store.close_silent_nodes().await);
        closed.expect("the duty is done");
    }

    fn kill(&self) {
        *self.store.write().expect("unpoisoned") = None;
    }

    fn start(&self) {
        let database = Database::Sqlite(self.file.clone());
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let store = Store::open_with_clock(&database, Arc::new(Hub::default()), clock);
        *self.store.write().expect("unpoisoned") = Some(store.expect("the store opens"));
    }
}

async fn perform(store: &Store, caller: Caller, what: &What) -> Reply {
    let done = |()| Reply::Done;
    match what {
        What::Request { requester, ask } => {
            let wanted = Wanted {
                requester: requester.as_ref().map(subject),
                project: ask.project.map(ProjectKey),
                title: InstanceTitle::new(ask.title.clone()).expect("a title"),
                release: release(&ask.release),
                software_type: ask
                    .kind
                    .as_ref()
                    .map(|kind| SoftwareType::new(kind.clone()).expect("a type")),
                parameters: ask.parameters.clone(),
                sla: ask.sla.clone(),
                state: ask.state,
                shared: ask.shared,
            };
            reply(
                store.request(caller, wanted).await,
                |requested| match requested {
                    Requested::Placed(record) => Reply::Placed(Box::new(told(&record))),
                    Requested::Waiting { why, .. } => Reply::Waiting(why),
                },
            )
        }
        What::Report { at, word } => {
            let reported = match word {
                Word::Started => Reported::Started,
                Word::Stopped => Reported::Stopped,
                Word::Destroyed => Reported::Destroyed,
            };
            reply(
                store.report_instance(caller, subject(at), reported).await,
                done,
            )
        }
        What::Error { at, shared, log } => {
            let shared = shared.map(InstanceKey);
            let result = store.instance_error(caller, subject(at), shared, log.clone());
            reply(result.await, done)
        }
        What::Bang { at, message } => {
            reply(store.bang(caller, subject(at), message.clone()).await, done)
        }
        What::Publish {
            at,
            shared,
            parameters,
        } => {
            let shared = shared.map(InstanceKey);
            let result = store.publish(caller, subject(at), shared, parameters.clone());
            reply(result.await, |_| Reply::Done)
        }
        What::Rename { at, shared, title } => {
            let title = InstanceTitle::new(title.clone()).expect("a title");
            let result = store.rename(caller, subject(at), shared.map(InstanceKey), title);
            reply(result.await, done)
        }
        What::Related { at } => reply(store.instance(caller, subject(at)).await, |_| Reply::Done),
        What::Supply {
            node,
            release: url,
            wanted,
        } => {
            let state = match wanted {
                true => InstallationState::Available,
                false => InstallationState::Destroyed,
            };
            let result = store.supply(caller, reference(*node), release(url), state);
            reply(result.await, done)
        }
        What::ReportRelease {
            node,
            release: url,
            word,
        } => {
            let report = match word {
                ReleaseWord::Building => InstallationReport::Building,
                ReleaseWord::Available => InstallationReport::Available,
                ReleaseWord::Error => InstallationReport::Error("it failed".to_owned()),
                ReleaseWord::Destroyed => InstallationReport::Destroyed,
            };
            let result = store.report_installation(caller, reference(*node), release(url), report);
            reply(result.await, done)
        }
        What::Format { node, partitions } => {
            let description = NodeDescription {
                partitions: partitions
                    .iter()
                    .map(|told| PartitionDescription {
                        name: told.name.clone(),
                        addresses: told
                            .addresses
                            .iter()
                            .map(|(interface, ip)| Address {
                                interface: interface.clone(),
                                ip: ip.clone(),
                                route: None,
                            })
                            .collect(),
                        capabilities: told.capabilities.clone(),
                    })
                    .collect(),
                further: "{}".to_owned(),
            };
            reply(
                store.format(caller, reference(*node), description).await,
                done,
            )
        }
        What::BangNode { node, message } => {
            let result = store.bang_node(caller, reference(*node), message.clone());
            reply(result.await, done)
        }
        What::Usage { node } => {
            let result = store.usage(caller, reference(*node), "x".into(), "<journal/>".into());
            reply(result.await, done)
        }
        What::Poll { node } => {
            let document = store.node_document(caller, reference(*node)).await;
            reply(document, |_| Reply::Done)
        }
        What::NewNode { project, title } => {
            let project = ProjectKey(*project);
            let node = store.create_node(caller, project, NodeKind::Compute, title.clone());
            reply(node.await, |node| Reply::Node(node.key.0))
        }
        What::Scope { node, scope } => {
            let scope: AllocationScope = scope.parse().expect("a scope");
            reply(store.set_scope(caller, reference(*node), scope).await, done)
        }
        What::Capacity { node, capacity } => {
            let result = store.set_capacity(caller, reference(*node), *capacity);
            reply(result.await, done)
        }
        What::Network { node, network } => {
            let network = network.map(NetworkKey);
            let result = store.set_network(caller, reference(*node), network);
            reply(result.await, done)
        }
        What::Region { node, region } => {
            let categories = region
                .iter()
                .map(|region| ("region".to_owned(), region.clone()))
                .collect();
            let result = store.set_categories(caller, reference(*node), categories);
            reply(result.await, done)
        }
        What::RemoveNode { node } => reply(store.remove_node(caller, reference(*node)).await, done),
        What::Member {
            person,
            project,
            manager,
        } => {
            set_role(store, PEOPLE[*person].0, *project, *manager).await;
            Reply::Done
        }
    }
}
