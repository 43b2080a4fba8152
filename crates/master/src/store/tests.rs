//! The life of instances, from request to destruction, on the store itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod catalogue;
mod details;
mod listing;
mod placing;
mod standing;
mod upgrades;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use slap::{InstallationState, InstanceState, InstanceTitle, ReleaseUrl};

use testkit::{TestDatabase, for_each_database};

use super::sql::params;
use super::*;
use crate::domain::{
    AllocationScope, Caller, InstanceKey, NodeKey, NodeKind, NodeReference, PersonKey, ProjectKey,
    Refusal, Timestamp,
};

const RELEASE: &str = "https://example.com/software.cfg";

/// A clock that stands still unless told.
struct Still(AtomicI64);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct World {
    store: Store,
    clock: Arc<Still>,
    _database: TestDatabase,
}

const PROJECT: ProjectKey = ProjectKey(1);
const ALICE: Caller = person(1);
const BOB: Caller = person(2);
const MANAGER: Caller = person(3);

const fn person(key: i64) -> Caller {
    Caller::Person {
        person: PersonKey(key),
        administrator: false,
    }
}

impl World {
    /// Alice and Bob are members of a project, the manager manages it.
    async fn new(database: TestDatabase) -> Self {
        let clock = Arc::new(Still(AtomicI64::new(1_000_000_000_000_000)));
        let store = Store::open_with_clock(
            &Database::parse(database.url()).unwrap(),
            Arc::new(Hub::default()),
            Arc::clone(&clock) as Arc<dyn Clock>,
        )
        .unwrap();
        store
            .write(|tx| {
                for (login, role) in [("alice", "member"), ("bob", "member"), ("boss", "manager")] {
                    let key = tx.insert(
                        "INSERT INTO person (login, name, administrator, created_at) \
                         VALUES (?1, ?1, 0, 0) RETURNING id",
                        params![login],
                    )?;
                    if key == 1 {
                        tx.execute(
                            "INSERT INTO project (title, created_at) VALUES ('one', 0)",
                            &[],
                        )?;
                    }
                    tx.execute(
                        "INSERT INTO member (project_id, person_id, role) VALUES (1, ?1, ?2)",
                        params![key, role],
                    )?;
                }
                Ok(())
            })
            .await
            .unwrap();
        World {
            store,
            clock,
            _database: database,
        }
    }

    fn pass(&self, seconds: i64) {
        self.clock
            .0
            .fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }

    /// A node with partitions that has the release.
    async fn node(&self, title: &str, partitions: usize) -> NodeReference {
        let node = self.bare_node(title, partitions).await;
        self.supply(node, RELEASE).await;
        node
    }

    async fn bare_node(&self, title: &str, partitions: usize) -> NodeReference {
        let node = self
            .store
            .create_node(MANAGER, PROJECT, NodeKind::Compute, title.to_owned())
            .await
            .unwrap();
        self.store
            .format(Caller::Node(node.key), node, description(partitions))
            .await
            .unwrap();
        node
    }

    async fn supply(&self, node: NodeReference, release: &str) {
        let release = ReleaseUrl::new(release).unwrap();
        self.store
            .supply(MANAGER, node, release.clone(), InstallationState::Available)
            .await
            .unwrap();
        self.store
            .report_installation(
                Caller::Node(node.key),
                node,
                release,
                InstallationReport::Available,
            )
            .await
            .unwrap();
    }

    async fn request(&self, caller: Caller, wanted: Wanted) -> Requested {
        self.store.request(caller, wanted).await.unwrap()
    }

    async fn placed(&self, caller: Caller, wanted: Wanted) -> InstanceRecord {
        match self.request(caller, wanted).await {
            Requested::Placed(record) => *record,
            Requested::Waiting { why, .. } => panic!("not placed: {why}"),
        }
    }

    async fn revision(&self, node: NodeReference) -> i64 {
        self.store.node_revision(MANAGER, node).await.unwrap()
    }

    async fn destroyed(&self, record: &InstanceRecord) -> Result<(), StoreError> {
        let node = record.placement.as_ref().unwrap().node;
        self.store
            .report_instance(
                Caller::Node(node.key),
                Subject::Instance(record.key),
                Reported::Destroyed,
            )
            .await
    }
}

fn description(partitions: usize) -> NodeDescription {
    NodeDescription {
        partitions: (0..partitions)
            .map(|number| PartitionDescription {
                name: format!("slappart{number}"),
                addresses: vec![Address {
                    interface: "lo".into(),
                    ip: format!("10.0.0.{number}"),
                    route: None,
                }],
                capabilities: Vec::new(),
            })
            .collect(),
        further: "{}".to_owned(),
    }
}

fn wanted(title: &str) -> Wanted {
    Wanted {
        requester: None,
        project: None,
        title: InstanceTitle::new(title).unwrap(),
        release: ReleaseUrl::new(RELEASE).unwrap(),
        software_type: None,
        parameters: None,
        sla: None,
        state: None,
        shared: None,
    }
}

fn below(requester: InstanceKey, title: &str) -> Wanted {
    Wanted {
        requester: Some(Subject::Instance(requester)),
        ..wanted(title)
    }
}

fn state(state: InstanceState, wanted: Wanted) -> Wanted {
    Wanted {
        state: Some(state),
        ..wanted
    }
}

fn as_instance(record: &InstanceRecord) -> Caller {
    Caller::Instance {
        instance: record.key,
        tree: record.tree,
    }
}

fn texts(pairs: &[(&str, &str)]) -> Texts {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

for_each_database!(
    a_request_is_placed_at_once_and_asking_again_writes_nothing,
    what_waits_is_placed_as_soon_as_something_changes_and_says_why_it_waits,
    destroying_a_tree_takes_its_members_and_frees_their_partitions,
    a_stopped_tree_stops_its_members_and_starts_none,
    shared_instances_find_a_host_and_change_it_with_their_parameters,
    nobody_sees_or_changes_what_is_not_theirs,
    a_node_is_known_by_its_title_too,
    nodes_fill_evenly_and_silent_or_closed_ones_take_nothing,
    publishing_has_the_requester_processed_and_a_rename_moves_the_identity,
);

async fn a_request_is_placed_at_once_and_asking_again_writes_nothing(database: TestDatabase) {
    let world = World::new(database).await;
    let node = world.node("n", 2).await;
    let first = Wanted {
        parameters: Some(texts(&[("a", "1")])),
        ..wanted("t")
    };
    let record = world.placed(ALICE, first.clone()).await;
    assert_eq!(
        record.placement,
        Some(Placement {
            node,
            partition: "slappart0".into()
        })
    );
    assert_eq!(record.addresses.len(), 1);
    let revision = world.revision(node).await;
    world.pass(10);
    assert_eq!(world.placed(ALICE, first).await, record);
    // What is left out keeps what is stored.
    assert_eq!(world.placed(ALICE, wanted("t")).await, record);
    assert_eq!(world.revision(node).await, revision);
    // Another person's tree of this title is another one.
    let other = world.placed(BOB, wanted("t")).await;
    assert_ne!(other.key, record.key);
    assert_eq!(other.placement.unwrap().partition, "slappart1");
    assert!(world.revision(node).await > revision);
    // A change rises the timestamp.
    let changed = world
        .placed(
            ALICE,
            Wanted {
                parameters: Some(texts(&[])),
                ..wanted("t")
            },
        )
        .await;
    assert!(changed.timestamp > record.timestamp);
    assert!(changed.parameters.is_empty());
}

async fn what_waits_is_placed_as_soon_as_something_changes_and_says_why_it_waits(
    database: TestDatabase,
) {
    let world = World::new(database).await;
    let why = |requested: Requested| match requested {
        Requested::Waiting { why, instance } => (why, instance.unwrap()),
        Requested::Placed(record) => panic!("placed: {record:?}"),
    };
    let (nothing, key) = why(world.request(ALICE, wanted("t")).await);
    assert!(nothing.contains("PROJ-1"), "{nothing}");
    let node = world.bare_node("n", 1).await;
    let release = ReleaseUrl::new(RELEASE).unwrap();
    world
        .store
        .supply(MANAGER, node, release.clone(), InstallationState::Available)
        .await
        .unwrap();
    world
        .store
        .report_installation(
            Caller::Node(node.key),
            node,
            release.clone(),
            InstallationReport::Building,
        )
        .await
        .unwrap();
    let (building, _) = why(world.request(ALICE, wanted("t")).await);
    assert!(building.contains("building"), "{building}");
    let (second, _) = why(world.request(BOB, wanted("u")).await);
    assert!(second.contains("building"), "{second}");
    world
        .store
        .report_installation(
            Caller::Node(node.key),
            node,
            release,
            InstallationReport::Available,
        )
        .await
        .unwrap();
    // The older request was placed by the report, before anybody asked again.
    let document = world
        .store
        .node_document(Caller::Node(node.key), node)
        .await
        .unwrap();
    assert_eq!(document.partitions[0].instance.as_ref().unwrap().key, key);
    let (busy, _) = why(world.request(BOB, wanted("u")).await);
    assert!(busy.contains("busy"), "{busy}");
    // Another partition takes the other one.
    world
        .store
        .format(Caller::Node(node.key), node, description(2))
        .await
        .unwrap();
    assert_eq!(
        world
            .placed(BOB, wanted("u"))
            .await
            .placement
            .unwrap()
            .partition,
        "slappart1"
    );
}

async fn destroying_a_tree_takes_its_members_and_frees_their_partitions(database: TestDatabase) {
    let world = World::new(database).await;
    let node = world.node("n", 4).await;
    let root = world.placed(ALICE, wanted("t")).await;
    let child = world.placed(as_instance(&root), wanted("child")).await;
    let grandchild = world
        .placed(Caller::Node(node.key), below(child.key, "grandchild"))
        .await;
    assert_eq!(grandchild.requester, Some(child.key));
    assert_eq!(grandchild.root_title, "t");
    // Nothing is destroyed that was not ordered to be.
    assert!(matches!(
        world.destroyed(&child).await,
        Err(StoreError::Refused(Refusal::Conflict(_)))
    ));
    let gone = world
        .request(ALICE, state(InstanceState::Destroyed, wanted("t")))
        .await;
    assert!(matches!(gone, Requested::Waiting { .. }));
    for record in [&root, &child, &grandchild] {
        let now = world
            .store
            .instance(Caller::Node(node.key), Subject::Instance(record.key))
            .await
            .unwrap();
        assert_eq!(now.state, InstanceState::Destroyed, "{}", record.title);
        assert!(now.timestamp > record.timestamp);
    }
    // The title is free at once, for a new tree; the old one cannot come back.
    let again = world.placed(ALICE, wanted("t")).await;
    assert_ne!(again.tree, root.tree);
    assert!(matches!(
        world
            .store
            .request(Caller::Node(node.key), below(root.key, "child"))
            .await,
        Err(StoreError::Refused(Refusal::Conflict(_)))
    ));
    for record in [&grandchild, &child, &root] {
        world.destroyed(record).await.unwrap();
        assert!(matches!(
            world.destroyed(record).await,
            Err(StoreError::Refused(Refusal::NotFound(_)))
        ));
    }
    let document = world.store.node(MANAGER, node).await.unwrap();
    assert_eq!((document.free, document.used), (3, 1));
    assert_eq!(
        world
            .placed(BOB, wanted("b"))
            .await
            .placement
            .unwrap()
            .partition,
        "slappart0"
    );
}

async fn a_stopped_tree_stops_its_members_and_starts_none(database: TestDatabase) {
    let world = World::new(database).await;
    world.node("n", 4).await;
    let root = world.placed(ALICE, wanted("t")).await;
    let me = as_instance(&root);
    let child = world.placed(me, wanted("child")).await;
    world
        .placed(ALICE, state(InstanceState::Stopped, wanted("t")))
        .await;
    let stopped = world
        .store
        .instance(me, Subject::Instance(child.key))
        .await
        .unwrap();
    assert_eq!(stopped.state, InstanceState::Stopped);
    assert!(stopped.timestamp > child.timestamp);
    let still = world
        .placed(me, state(InstanceState::Started, wanted("child")))
        .await;
    assert_eq!(still.state, InstanceState::Stopped);
    world
        .placed(ALICE, state(InstanceState::Started, wanted("t")))
        .await;
    let started = world
        .placed(me, state(InstanceState::Started, wanted("child")))
        .await;
    assert_eq!(started.state, InstanceState::Started);
    // Destroying the member is the parent's right, and takes it away when its node says so.
    world
        .request(me, state(InstanceState::Destroyed, wanted("child")))
        .await;
    world.destroyed(&child).await.unwrap();
    let anew = world.placed(me, wanted("child")).await;
    assert_ne!(anew.key, child.key);
}

async fn shared_instances_find_a_host_and_change_it_with_their_parameters(database: TestDatabase) {
    let world = World::new(database).await;
    let node = world.node("n", 2).await;
    let shared = |title: &str| Wanted {
        shared: Some(true),
        parameters: Some(texts(&[("p", title)])),
        ..wanted(title)
    };
    assert!(matches!(
        world.request(BOB, shared("s1")).await,
        Requested::Waiting { .. }
    ));
    let host = world.placed(ALICE, wanted("host")).await;
    // The host's arrival placed what waited for one.
    let s1 = world.placed(BOB, shared("s1")).await;
    assert_eq!(s1.host, Some(host.key));
    let before = world
        .store
        .partition(Caller::Node(node.key), node, "slappart0".into())
        .await
        .unwrap();
    assert_eq!(before.shared.len(), 1);
    world.pass(1);
    let s2 = world.placed(BOB, shared("s2")).await;
    let after = world
        .store
        .partition(Caller::Node(node.key), node, "slappart0".into())
        .await
        .unwrap();
    assert_eq!(after.shared.len(), 2);
    assert!(after.instance.as_ref().unwrap().timestamp > before.instance.unwrap().timestamp);
    // The host publishes for the one it serves, nobody else's.
    let me = as_instance(&host);
    let published = world
        .store
        .publish(
            me,
            Subject::Instance(host.key),
            Some(s2.key),
            texts(&[("url", "x")]),
        )
        .await
        .unwrap();
    assert!(published);
    let other = world.placed(ALICE, wanted("other")).await;
    assert!(matches!(
        world
            .store
            .publish(
                as_instance(&other),
                Subject::Instance(other.key),
                Some(s2.key),
                texts(&[])
            )
            .await,
        Err(StoreError::Refused(Refusal::NotFound(_)))
    ));
    assert_eq!(
        world.placed(BOB, shared("s2")).await.connection,
        Some(texts(&[("url", "x")]))
    );
    // Destroyed, it is gone at once and the host is told.
    world
        .request(BOB, state(InstanceState::Destroyed, shared("s2")))
        .await;
    let last = world
        .store
        .partition(Caller::Node(node.key), node, "slappart0".into())
        .await
        .unwrap();
    assert_eq!(last.shared.len(), 1);
    // Without its host a shared instance looks for another one.
    world
        .request(ALICE, state(InstanceState::Destroyed, wanted("host")))
        .await;
    world.destroyed(&host).await.unwrap();
    let moved = world.placed(BOB, shared("s1")).await;
    assert_eq!(moved.host, Some(other.key));
}

async fn nobody_sees_or_changes_what_is_not_theirs(database: TestDatabase) {
    let world = World::new(database).await;
    let node = world.node("n", 3).await;
    let stranger = world.bare_node("stranger", 1).await;
    let record = world.placed(ALICE, wanted("t")).await;
    let subject = || Subject::Instance(record.key);
    for caller in [BOB, Caller::Node(stranger.key)] {
        assert!(matches!(
            world.store.instance(caller, subject()).await,
            Err(StoreError::Refused(Refusal::NotFound(_)))
        ));
        assert!(matches!(
            world.store.bang(caller, subject(), "m".into()).await,
            Err(StoreError::Refused(Refusal::NotFound(_)))
        ));
    }
    assert!(matches!(
        world.store.instance(Caller::Anonymous, subject()).await,
        Err(StoreError::Refused(Refusal::Unauthenticated(_)))
    ));
    // A person does not report what a node did.
    assert!(matches!(
        world
            .store
            .report_instance(ALICE, subject(), Reported::Started)
            .await,
        Err(StoreError::Refused(Refusal::Forbidden(_)))
    ));
    // A member sees the node, without what is others'.
    let seen = world.store.node_document(BOB, node).await.unwrap();
    assert_eq!(seen.partitions.len(), 2);
    assert!(
        seen.partitions
            .iter()
            .all(|partition| partition.instance.is_none())
    );
    let all = world.store.node_document(MANAGER, node).await.unwrap();
    assert_eq!(all.partitions.len(), 3);
    // An instance is told of its own partition, and no release.
    let own = world
        .store
        .node_document(as_instance(&record), node)
        .await
        .unwrap();
    assert_eq!(own.partitions.len(), 1);
    assert!(own.installations.is_empty());
    assert!(matches!(
        world
            .store
            .node_document(as_instance(&record), stranger)
            .await,
        Err(StoreError::Refused(Refusal::NotFound(_)))
    ));
    assert!(matches!(
        world
            .store
            .supply(
                ALICE,
                node,
                ReleaseUrl::new("x").unwrap(),
                InstallationState::Available
            )
            .await,
        Err(StoreError::Refused(Refusal::Forbidden(_)))
    ));
}

async fn a_node_is_known_by_its_title_too(database: TestDatabase) {
    let world = World::new(database).await;
    world.node("first", 2).await;
    let second = world.node("second", 2).await;
    let called = |caller, name: &'static str| world.store.node_called(caller, name);
    assert_eq!(called(ALICE, "second").await.unwrap(), second);
    assert_eq!(called(ALICE, "COMP-2").await.unwrap(), second);
    let mut on_second = wanted("here");
    on_second.sla = Some([("computer_guid".to_owned(), "second".to_owned())].into());
    let record = world.placed(ALICE, on_second).await;
    assert_eq!(record.placement.unwrap().node, second);
    assert_eq!(record.sla["computer_guid"], second.to_string());
    for (caller, name) in [(ALICE, "third"), (Caller::Anonymous, "second")] {
        assert!(called(caller, name).await.is_err(), "{name}");
    }
    // Another project may use the name too; who sees both has to say which.
    let store = &world.store;
    let other = store
        .create_project(Caller::Master, "two".to_owned())
        .await
        .unwrap();
    store
        .create_node(
            Caller::Master,
            other,
            NodeKind::Compute,
            "second".to_owned(),
        )
        .await
        .unwrap();
    assert_eq!(called(ALICE, "second").await.unwrap(), second);
    assert!(matches!(
        called(Caller::Master, "second").await,
        Err(StoreError::Refused(Refusal::Invalid(text))) if text.contains("COMP-2, COMP-3")
    ));
}

async fn nodes_fill_evenly_and_silent_or_closed_ones_take_nothing(database: TestDatabase) {
    let world = World::new(database).await;
    let one = world.node("one", 3).await;
    let two = world.node("two", 2).await;
    let mut order = Vec::new();
    for number in 0..4 {
        let record = world.placed(ALICE, wanted(&format!("t{number}"))).await;
        order.push(record.placement.unwrap().node);
    }
    assert_eq!(order, [one, one, two, one]);
    // The clock goes on: two calls, one does not.
    world.pass(700);
    world
        .store
        .node_revision(Caller::Node(one.key), one)
        .await
        .unwrap();
    world.store.close_silent_nodes().await.unwrap();
    let requested = world.request(ALICE, wanted("t4")).await;
    let Requested::Waiting { why, .. } = requested else {
        panic!("placed on a node that is away");
    };
    assert!(why.contains("contact"), "{why}");
    // Its next call places what waited.
    world
        .store
        .node_revision(Caller::Node(two.key), two)
        .await
        .unwrap();
    assert_eq!(
        world
            .placed(ALICE, wanted("t4"))
            .await
            .placement
            .unwrap()
            .node,
        two
    );
    let three = world.node("three", 1).await;
    world
        .store
        .set_scope(MANAGER, three, AllocationScope::Maintenance)
        .await
        .unwrap();
    assert!(matches!(
        world.request(ALICE, wanted("t5")).await,
        Requested::Waiting { .. }
    ));
    world
        .store
        .set_scope(MANAGER, three, AllocationScope::Open)
        .await
        .unwrap();
    assert_eq!(
        world
            .placed(ALICE, wanted("t5"))
            .await
            .placement
            .unwrap()
            .node,
        three
    );
    let full = world.node("four", 2).await;
    world
        .store
        .set_capacity(MANAGER, full, Some(1))
        .await
        .unwrap();
    world.placed(ALICE, wanted("t6")).await;
    assert!(matches!(
        world.request(ALICE, wanted("t7")).await,
        Requested::Waiting { .. }
    ));
    let nobody = NodeKey(99).reference(NodeKind::Compute);
    assert!(world.store.node(MANAGER, nobody).await.is_err());
}

async fn publishing_has_the_requester_processed_and_a_rename_moves_the_identity(
    database: TestDatabase,
) {
    let world = World::new(database).await;
    world.node("n", 3).await;
    let root = world.placed(ALICE, wanted("t")).await;
    let me = as_instance(&root);
    let child = world.placed(me, wanted("child")).await;
    world.pass(1);
    let say = |parameters| {
        world.store.publish(
            as_instance(&child),
            Subject::Instance(child.key),
            None,
            parameters,
        )
    };
    assert!(say(texts(&[("url", "1")])).await.unwrap());
    let after = world.placed(ALICE, wanted("t")).await;
    assert!(after.timestamp > root.timestamp);
    assert!(!say(texts(&[("url", "1")])).await.unwrap());
    assert_eq!(world.placed(ALICE, wanted("t")).await, after);
    let seen = world.placed(me, wanted("child")).await;
    assert_eq!(
        seen.timestamp, child.timestamp,
        "its own work is not done again"
    );
    world
        .store
        .rename(
            as_instance(&child),
            Subject::Instance(child.key),
            None,
            InstanceTitle::new("kid").unwrap(),
        )
        .await
        .unwrap();
    assert_eq!(world.placed(me, wanted("kid")).await.key, child.key);
    assert_ne!(world.placed(me, wanted("child")).await.key, child.key);
    assert!(matches!(
        world
            .store
            .rename(
                me,
                Subject::Instance(root.key),
                None,
                InstanceTitle::new("kid").unwrap()
            )
            .await,
        Err(StoreError::Refused(Refusal::Conflict(_)))
    ));
    world
        .store
        .rename(
            ALICE,
            Subject::Instance(root.key),
            None,
            InstanceTitle::new("T").unwrap(),
        )
        .await
        .unwrap();
    let renamed = world.placed(ALICE, wanted("T")).await;
    assert_eq!((renamed.key, renamed.root_title.as_str()), (root.key, "T"));
}

/// Two Masters on one database, whose clients ask for more than there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_masters_never_give_a_partition_twice() {
    const NODES: usize = 3;
    const PARTITIONS: usize = 8;
    const WANTED: usize = 40;
    let Some(database) = TestDatabase::postgres() else {
        return;
    };
    let url = database.url().to_owned();
    let world = World::new(database).await;
    for number in 0..NODES {
        world.node(&format!("n{number}"), PARTITIONS).await;
    }
    let other = Store::open_with_clock(
        &Database::parse(&url).unwrap(),
        Arc::new(Hub::default()),
        Arc::clone(&world.clock) as Arc<dyn Clock>,
    )
    .unwrap();
    let masters = [Arc::new(world.store), Arc::new(other)];
    let requests: Vec<_> = (0..WANTED)
        .map(|number| {
            // Each is asked for at both, at once.
            let masters = masters.clone();
            let wanted = wanted(&format!("t{number}"));
            tokio::spawn(async move {
                let (one, two) = tokio::join!(
                    masters[0].request(ALICE, wanted.clone()),
                    masters[1].request(ALICE, wanted)
                );
                (one.unwrap(), two.unwrap())
            })
        })
        .collect();
    let mut placements = std::collections::BTreeSet::new();
    let mut waiting = 0;
    for request in requests {
        match request.await.unwrap() {
            (Requested::Placed(one), Requested::Placed(two)) => {
                assert_eq!(one.key, two.key);
                assert_eq!(one.placement, two.placement);
                let place = one.placement.unwrap();
                assert!(placements.insert((place.node, place.partition)));
            }
            (Requested::Waiting { .. }, Requested::Waiting { .. }) => waiting += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(placements.len(), NODES * PARTITIONS);
    assert_eq!(waiting, WANTED - NODES * PARTITIONS);
}
