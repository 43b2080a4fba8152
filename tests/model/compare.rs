//! Whether what is seen is what the model says.

use std::collections::{BTreeMap, HashMap};

use crate::cast::ROOT;
use crate::in_process::person_key;
use crate::operation::{Actor, NodeRow, NodeSeen, Reply, Row, Told};
use crate::reference::{Age, Outcome, World};
use crate::system::{System, Unseen};

/// All that was seen at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Each node's document as the administrator sees it; none of removed nodes.
    pub nodes: BTreeMap<i64, NodeSeen>,
    /// The revision of each node's document.
    pub tags: BTreeMap<i64, i64>,
    /// Every live instance.
    pub rows: Vec<Row>,
    pub node_rows: Vec<NodeRow>,
}

impl View {
    pub fn take(system: &dyn System, world: &World) -> Result<View, String> {
        let mut backdoor = system.backdoor();
        let mut view = View {
            rows: backdoor.instances(),
            node_rows: backdoor.nodes(system.now()),
            tags: backdoor.revisions().into_iter().collect(),
            ..View::default()
        };
        for node in world.nodes.iter().filter(|node| !node.removed) {
            let seen = system.node(Actor::Person(ROOT), node.key);
            let seen =
                seen.map_err(|unseen| format!("COMP-{} is not seen: {unseen:?}", node.key))?;
            view.nodes.insert(node.key, seen);
        }
        Ok(view)
    }

    /// As [`View::take`]; nodes that are gone meanwhile are left out.
    pub fn take_some(system: &dyn System, world: &World) -> Result<View, String> {
        let mut world = world.clone();
        for node in &mut world.nodes {
            let seen = system.node(Actor::Person(ROOT), node.key);
            node.removed |= matches!(seen, Err(Unseen::Refused(404)));
        }
        View::take(system, &world)
    }

    fn row(&self, key: i64) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == key)
    }
}

/// What is remembered of timestamps: how old the model's instance was when they were seen.
#[derive(Debug, Clone, Default)]
pub struct Stamps {
    seen: HashMap<i64, (Age, i64)>,
    shown: HashMap<i64, (Age, i64)>,
}

fn differs<T: std::fmt::Debug>(what: &str, is: T, expected: T) -> Result<(), String> {
    Err(format!("{what}: is {is:?}, expected {expected:?}"))
}

/// Gives the numbers of new instances to the model's, which came in the same order.
pub fn bind(world: &mut World, view: &View) -> Result<(), String> {
    let known: Vec<i64> = world.instances.iter().filter_map(|one| one.key).collect();
    let new: Vec<i64> = view
        .rows
        .iter()
        .map(|row| row.key)
        .filter(|key| !known.contains(key))
        .collect();
    let nameless: Vec<usize> = world
        .live()
        .into_iter()
        .filter(|one| world.instances[*one].key.is_none())
        .collect();
    if new.len() != nameless.len() {
        return differs("new instances", new.len(), nameless.len());
    }
    for (instance, key) in nameless.into_iter().zip(new) {
        world.instances[instance].key = Some(key);
    }
    Ok(())
}

/// Compares everything; the model's new instances are bound already.
pub fn compare(world: &World, view: &View) -> Result<(), String> {
    let live = world.live();
    let keys: Vec<i64> = view.rows.iter().map(|row| row.key).collect();
    let mut expected: Vec<i64> = live
        .iter()
        .filter_map(|one| world.instances[*one].key)
        .collect();
    expected.sort_unstable();
    if keys != expected {
        return differs("live instances", keys, expected);
    }
    for instance in live {
        let key = world.instances[instance].key.unwrap_or_default();
        let Some(row) = view.row(key) else { continue };
        let expected = expected_row(world, instance, row);
        if *row != expected {
            return differs(&format!("SOFTINST-{key} in the database"), row, &expected);
        }
    }
    let nodes: Vec<i64> = world
        .nodes
        .iter()
        .filter(|node| !node.removed)
        .map(|node| node.key)
        .collect();
    let seen: Vec<i64> = view.nodes.keys().copied().collect();
    if nodes != seen {
        return differs("nodes", seen, nodes);
    }
    for row in &view.node_rows {
        let Some(node) = world.node_of(row.key) else {
            return Err(format!("COMP-{} is not known to the model", row.key));
        };
        let expected = expected_node(world, node);
        if *row != expected {
            return differs(&format!("COMP-{} in the database", row.key), row, &expected);
        }
    }
    for (key, seen) in &view.nodes {
        let expected = world
            .node_seen(Actor::Person(ROOT), *key)
            .map_err(|statuses| format!("COMP-{key} is seen, expected {statuses:?}"))?;
        same_document(&format!("COMP-{key}"), seen, &expected)?;
    }
    Ok(())
}

fn expected_node(world: &World, node: usize) -> NodeRow {
    let it = &world.nodes[node];
    let mut partitions: Vec<_> = it
        .partitions
        .iter()
        .map(|one| (one.name.clone(), one.position, one.capabilities.clone()))
        .collect();
    partitions.sort();
    NodeRow {
        key: it.key,
        project: it.project,
        title: it.title.clone(),
        scope: it.scope.to_owned(),
        capacity: it.capacity,
        used: world.used(node),
        network: it.network,
        region: it.region.clone(),
        alive: world.is_alive(node),
        installations: it
            .installations
            .iter()
            .map(|one| (one.release.clone(), one.wanted, one.reported.to_owned()))
            .collect(),
        partitions,
    }
}

fn expected_row(world: &World, instance: usize, row: &Row) -> Row {
    let one = &world.instances[instance];
    let tree = &world.trees[one.tree];
    let key_of = |other: usize| world.instances[other].key.unwrap_or_default();
    Row {
        key: row.key,
        tree: row.tree,
        root_title: tree.title.clone(),
        owner: person_key(tree.owner),
        project: tree.project,
        title: one.title.clone(),
        requester: one.requester.map(key_of),
        shared: one.shared,
        release: one.release.clone(),
        kind: one.kind.clone(),
        parameters: one.parameters.clone(),
        sla: one.sla.clone(),
        connection: one.connection.clone(),
        state: one.state,
        timestamp: row.timestamp,
        host: one.host.map(key_of),
        reported: one.reported.to_owned(),
        status: one.status.clone(),
        place: one.place.map(|(node, partition)| {
            let node = &world.nodes[node];
            (node.key, node.partitions[partition].name.clone())
        }),
    }
}

/// Compares documents but for tags, timestamps, and the order of partitions.
pub fn same_document(what: &str, seen: &NodeSeen, expected: &NodeSeen) -> Result<(), String> {
    let plain = |seen: &NodeSeen| {
        let mut seen = seen.clone();
        seen.tag = None;
        seen.partitions.sort_by(|a, b| a.name.cmp(&b.name));
        for on in seen.partitions.iter_mut().filter_map(|one| one.on.as_mut()) {
            on.told.timestamp = 0;
            for served in &mut on.served {
                served.timestamp = 0;
            }
            on.served.sort_by_key(|served| served.key);
        }
        seen
    };
    let (seen, expected) = (plain(seen), plain(expected));
    if seen.installations != expected.installations {
        return differs(
            &format!("installations of {what}"),
            seen.installations,
            expected.installations,
        );
    }
    if seen.partitions != expected.partitions {
        let other = seen
            .partitions
            .iter()
            .find(|one| !expected.partitions.contains(one));
        let missing = expected
            .partitions
            .iter()
            .find(|one| !seen.partitions.contains(one));
        return differs(&format!("document of {what}"), other, missing);
    }
    Ok(())
}

/// Timestamps rise exactly when something changed.
pub fn check_stamps(world: &World, view: &View, stamps: &mut Stamps) -> Result<(), String> {
    let mut next = Stamps::default();
    for instance in world.live() {
        let one = &world.instances[instance];
        let key = one.key.unwrap_or_default();
        if let Some(row) = view.row(key) {
            check_stamp(
                &format!("SOFTINST-{key}"),
                stamps.seen.get(&key),
                one.age,
                row.timestamp,
            )?;
            next.seen.insert(key, (one.age, row.timestamp));
        }
    }
    for on in view
        .nodes
        .values()
        .flat_map(|node| &node.partitions)
        .filter_map(|partition| partition.on.as_ref())
    {
        let key = on.told.key;
        let Some(instance) = world.instance_of(key) else {
            continue;
        };
        let age = world.instances[instance].age;
        let shown = on.told.timestamp;
        check_stamp(
            &format!("SOFTINST-{key} as its node sees it"),
            stamps.shown.get(&key),
            age,
            shown,
        )?;
        for served in &on.served {
            if served.timestamp > shown {
                return Err(format!(
                    "SOFTINST-{key} shows {shown}, and serves SOFTINST-{} of {}",
                    served.key, served.timestamp
                ));
            }
        }
        next.shown.insert(key, (age, shown));
    }
    *stamps = next;
    Ok(())
}

fn check_stamp(
    what: &str,
    before: Option<&(Age, i64)>,
    age: Age,
    timestamp: i64,
) -> Result<(), String> {
    let Some((then, was)) = before else {
        return Ok(());
    };
    let good = if age.must > then.must {
        timestamp > *was
    } else if age.may > then.may {
        timestamp >= *was
    } else {
        timestamp == *was
    };
    if good {
        Ok(())
    } else {
        Err(format!(
            "timestamp of {what}: was {was} at {then:?}, is {timestamp} at {age:?}"
        ))
    }
}

/// A document that changed has another tag.
pub fn check_tags(before: &View, after: &View) -> Result<(), String> {
    for (node, tag) in &after.tags {
        let (Some(old), Some(new)) = (before.nodes.get(node), after.nodes.get(node)) else {
            continue;
        };
        let plain = |seen: &NodeSeen| NodeSeen {
            tag: None,
            ..seen.clone()
        };
        if plain(old) != plain(new) && before.tags.get(node) == Some(tag) {
            return Err(format!(
                "the document of COMP-{node} changed, its tag is still {tag}:\n{old:?}\n{new:?}"
            ));
        }
    }
    Ok(())
}

/// Nothing changed at all.
pub fn check_unchanged(before: &View, after: &View) -> Result<(), String> {
    if before.rows != after.rows {
        return differs(
            "instances that should not change",
            &after.rows,
            &before.rows,
        );
    }
    if before.nodes != after.nodes {
        return differs(
            "documents that should not change",
            &after.nodes,
            &before.nodes,
        );
    }
    if before.tags != after.tags {
        return differs(
            "revisions that should not change",
            &after.tags,
            &before.tags,
        );
    }
    Ok(())
}

/// Whether an answer is the one the model expects. The model's new instances need not be bound.
pub fn check_reply(world: &World, outcome: &Outcome, reply: &Reply) -> Result<(), String> {
    match (outcome, reply) {
        (_, Reply::Broken(text)) => Err(format!("broken: {text}")),
        (Outcome::Done, Reply::Done) => Ok(()),
        (Outcome::Waiting, Reply::Waiting(why)) => {
            if why.contains("ask again") {
                Err(format!("it waits without a reason: {why}"))
            } else {
                Ok(())
            }
        }
        (Outcome::Refused(statuses), Reply::Refused(status, _)) if statuses.contains(status) => {
            Ok(())
        }
        (Outcome::Node(node), Reply::Node(key)) => {
            let known = world.nodes[*node].key;
            if known == 0 || known == *key {
                Ok(())
            } else {
                differs("node", *key, known)
            }
        }
        (Outcome::Placed(instance), Reply::Placed(told)) => {
            let expected = world.told(*instance).ok_or("the model has it nowhere")?;
            same_told(told, &expected)
        }
        _ => differs("answer", format!("{reply:?}"), format!("{outcome:?}")),
    }
}

fn same_told(told: &Told, expected: &Told) -> Result<(), String> {
    let mut expected = expected.clone();
    expected.timestamp = told.timestamp;
    if expected.key == 0 {
        expected.key = told.key;
    }
    if *told == expected {
        Ok(())
    } else {
        differs("what is told", told, &expected)
    }
}

/// Everybody sees what is theirs and nothing else.
pub fn check_sight(system: &dyn System, world: &World, by: Actor, node: i64) -> Result<(), String> {
    let expected = world.node_seen(by, node);
    match (system.node(by, node), expected) {
        (Ok(seen), Ok(expected)) => {
            same_document(&format!("COMP-{node} for {by:?}"), &seen, &expected)
        }
        (Err(Unseen::Refused(status)), Err(statuses)) if statuses.contains(&status) => Ok(()),
        (seen, expected) => differs(
            &format!("COMP-{node} for {by:?}"),
            format!("{seen:?}"),
            format!("{expected:?}"),
        ),
    }
}
