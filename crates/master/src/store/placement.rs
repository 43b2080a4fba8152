//! Placing instances: in the request itself where possible, otherwise as soon as something changes.
//!
//! The rules are [`crate::domain::allocation`]'s; here candidates are handed to them in their order
//! of preference, straight from an index, so that placing costs the same on ten nodes and on ten
//! thousand.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use serde_json::json;
use slap::InstanceState;

use super::audit::audit;
use super::instances::{self, Found};
use super::sql::{Connection, Row, SqlError, params};
use super::writer::Tx;
use super::{Store, StoreError, Texts, nodes, touch_host};
use crate::domain::access::{Action, Caller};
use crate::domain::allocation::{
    self, FreeGroup, HostView, NodeFacts, NodeView, Place, ReleaseOnNode, SharedPlace, Slot, Wish,
};
use crate::domain::capacity::{self, Liveness};
use crate::domain::waiting::Waiting;
use crate::domain::{
    Category, InstanceKey, NetworkKey, NodeKey, NodeKind, NodeReference, PartitionKey, ProjectKey,
    Sla, Timestamp, TreeKey,
};

/// Nodes taken from the index at a time, after the first.
const WALK_NODES: i64 = 8;
/// Waiting instances looked at in one transaction for one release; the rest follow in the next.
const PASS_INSTANCES: i64 = 500;
/// What an SLA says that wants a network for each instance of a tree.
const UNIQUE: &str = "unique_by_network";
/// Instances looked at as hosts of a shared one.
const HOSTS_MAX: i64 = 2_000;

/// Units of capacity an instance takes: what its product says, else one (P 6.5).
pub(super) fn units(
    sql: &mut Connection,
    project: ProjectKey,
    release: i64,
    software_type: &str,
) -> Result<i64, StoreError> {
    let declared = sql
        .one(
            "SELECT t.units FROM product_release pr JOIN product p ON p.id = pr.product_id \
             JOIN product_type t ON t.product_id = p.id AND t.software_type = ?3 \
             WHERE pr.release_id = ?2 AND p.project_id = ?1 ORDER BY p.id LIMIT 1",
            params![project.0, release, software_type],
        )?
        .map(|row| row.int(0))
        .transpose()?;
    Ok(capacity::units_of(declared))
}

/// What is to be placed, which need not be written down yet.
pub(super) struct Candidate<'a> {
    pub(super) project: ProjectKey,
    pub(super) tree: TreeKey,
    pub(super) release: &'a str,
    pub(super) release_id: i64,
    pub(super) software_type: &'a str,
    pub(super) sla: &'a Texts,
    pub(super) units: i64,
    pub(super) shared: bool,
}

impl<'a> From<&'a Found> for Candidate<'a> {
    fn from(found: &'a Found) -> Self {
        Candidate {
            project: found.record.project,
            tree: found.record.tree,
            release: &found.record.release,
            release_id: found.release_id,
            software_type: &found.record.software_type,
            sla: &found.record.sla,
            units: found.units,
            shared: found.record.shared,
        }
    }
}

/// Where an instance goes.
pub(super) enum Chosen {
    /// Onto this partition.
    Partition(NodeReference, PartitionKey),
    /// To another Master.
    Gate(NodeReference),
    /// It is shared, and served by this instance.
    Host(InstanceKey),
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chosen::Partition(node, _) | Chosen::Gate(node) => node.fmt(f),
            Chosen::Host(host) => host.fmt(f),
        }
    }
}

/// Places an instance if it waits and can be placed; whether it was.
pub(super) fn try_place(tx: &mut Tx<'_>, key: InstanceKey) -> Result<bool, StoreError> {
    let Some(found) = instances::by_key(tx.sql(), key)? else {
        return Ok(false);
    };
    if found.placed || found.record.state != InstanceState::Started {
        return Ok(false);
    }
    let now = tx.now();
    let candidate = Candidate::from(&found);
    let Ok(chosen) = choose(tx.sql(), &candidate, now)? else {
        return Ok(false);
    };
    let host = match &chosen {
        Chosen::Host(host) => Some(host.0),
        _ => None,
    };
    let timestamp = found.record.timestamp.advance(now);
    tx.execute(
        "UPDATE instance SET placed = 1, host_id = ?2, timestamp = ?3 WHERE id = ?1",
        params![key.0, host, timestamp.0],
    )?;
    occupy(tx, key, &candidate, &chosen, timestamp)?;
    tx.changes.trees.insert(found.record.tree);
    audit(
        tx,
        Caller::Master,
        "placed",
        &key.to_string(),
        Some(found.record.project),
        json!({"at": chosen.to_string()}),
    )?;
    Ok(true)
}

/// Takes the place chosen for an instance, which is written down as placed with this timestamp.
pub(super) fn occupy(
    tx: &mut Tx<'_>,
    key: InstanceKey,
    candidate: &Candidate<'_>,
    chosen: &Chosen,
    timestamp: Timestamp,
) -> Result<(), StoreError> {
    match chosen {
        Chosen::Partition(node, partition) => take(tx, key, candidate, *node, *partition)?,
        Chosen::Gate(node) => take_gate(tx, key, candidate, *node)?,
        Chosen::Host(host) => touch_host(tx, *host, timestamp)?,
    }
    if !candidate.shared {
        // Shared instances may have waited for one like this.
        tx.changes
            .hosts
            .insert((candidate.project, candidate.release_id));
    }
    Ok(())
}

/// Gives a free partition to an instance.
fn take(
    tx: &mut Tx<'_>,
    key: InstanceKey,
    candidate: &Candidate<'_>,
    node: NodeReference,
    partition: PartitionKey,
) -> Result<(), StoreError> {
    let row = tx
        .one_changed(
            "UPDATE partition SET instance_id = ?2 WHERE id = ?1 AND instance_id IS NULL \
             RETURNING capabilities",
            params![partition.0, key.0],
        )?
        .ok_or_else(|| {
            StoreError::Internal(format!("the partition chosen for {key} was not free"))
        })?;
    let plain = row.text(0)? == "[]";
    let row = tx
        .one_changed(
            "UPDATE node SET used = used + ?2, free = free - ?3 WHERE id = ?1 \
             RETURNING used, capacity, free",
            params![node.key.0, candidate.units, plain],
        )?
        .ok_or_else(|| StoreError::Internal(format!("{node} is gone")))?;
    let used = row.int(0)?;
    if row.maybe_int(1)?.is_some_and(|capacity| used >= capacity) {
        nodes::recount(tx, node.key, candidate.project)?;
    } else if plain {
        tx.execute(
            "UPDATE installation SET free = ?2 \
             WHERE node_id = ?1 AND removed_at IS NULL AND free > 0",
            params![node.key.0, row.int(2)?],
        )?;
    }
    tx.changes.nodes.insert(node.key);
    Ok(())
}

/// Gives an instance a place at a gate to another Master, made for it.
fn take_gate(
    tx: &mut Tx<'_>,
    key: InstanceKey,
    candidate: &Candidate<'_>,
    node: NodeReference,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO partition (node_id, name, position, active, addresses, capabilities, \
         instance_id) VALUES (?1, ?2, ?3, 1, '[]', '[]', ?3)",
        params![node.key.0, format!("slapremote{}", key.0), key.0],
    )?;
    tx.execute(
        "UPDATE node SET used = used + ?2 WHERE id = ?1",
        params![node.key.0, candidate.units],
    )?;
    tx.changes.nodes.insert(node.key);
    Ok(())
}

/// What decides whether an instance that waits can be placed; of two that agree in it, the younger
/// one has no better luck.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct WaitsFor {
    release: i64,
    units: i64,
    sla: String,
    /// The software type a host must have, of a shared one.
    shared: Option<String>,
    /// Its tree, where that matters.
    tree: Option<i64>,
}

/// Places what waits for releases that became usable, and what waits for those it placed to serve it.
/// Older ones first, whatever they wait for. What is too much for one transaction goes on in the next.
pub(super) fn place_waiting(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let mut hopeless: HashSet<WaitsFor> = HashSet::new();
    loop {
        let placeable = std::mem::take(&mut tx.changes.placeable);
        let mut keys: BTreeMap<_, bool> = std::mem::take(&mut tx.changes.hosts)
            .into_iter()
            .map(|key| (key, true))
            .collect();
        keys.extend(placeable.into_iter().map(|key| (key, false)));
        if keys.is_empty() {
            return Ok(());
        }
        let mut waiting = Vec::new();
        for (key, only_shared) in keys {
            waiting.extend(who_waits(tx, key, only_shared)?);
        }
        waiting.sort_unstable_by_key(|(instance, _)| *instance);
        for (instance, wish) in waiting {
            if !hopeless.contains(&wish) && !try_place(tx, instance)? {
                hopeless.insert(wish);
            }
        }
        // Placing takes room away, and gives hosts to shared instances.
        hopeless.retain(|wish| wish.shared.is_none());
    }
}

macro_rules! select_waiting {
    ($condition:literal) => {
        concat!(
            "SELECT id, shared, software_type, sla, units, tree_id FROM instance \
             WHERE project_id = ?1 AND release_id = ?2 AND id > ?3 AND placed = 0 \
             AND state = 'started' AND removed_at IS NULL ",
            $condition,
            "ORDER BY id LIMIT ?4"
        )
    };
}

/// The instances that wait for a release, oldest first, and what for.
fn who_waits(
    tx: &mut Tx<'_>,
    (project, release): (ProjectKey, i64),
    only_shared: bool,
) -> Result<Vec<(InstanceKey, WaitsFor)>, StoreError> {
    let from = tx.changes.resume.remove(&(project, release)).unwrap_or(0);
    // Those few who wait for a host are found without a look at all who wait for a partition.
    let sql = if only_shared {
        select_waiting!("AND shared = 1 ")
    } else {
        select_waiting!("")
    };
    let rows = tx.all(sql, params![project.0, release, from, PASS_INSTANCES])?;
    let waiting = rows
        .iter()
        .map(|row| {
            let sla = row.text(3)?.to_owned();
            let wish = WaitsFor {
                release,
                units: row.int(4)?,
                shared: row
                    .flag(1)?
                    .then(|| row.text(2).map(str::to_owned))
                    .transpose()?,
                tree: sla.contains(UNIQUE).then(|| row.int(5)).transpose()?,
                sla,
            };
            Ok((InstanceKey(row.int(0)?), wish))
        })
        .collect::<Result<Vec<_>, SqlError>>()?;
    if i64::try_from(waiting.len()).unwrap_or(i64::MAX) == PASS_INSTANCES
        && let Some((last, _)) = waiting.last()
    {
        tx.changes.resume.insert((project, release), last.0);
    }
    Ok(waiting)
}

/// A tree may have left a network: whoever of it wants one for itself may have found it.
pub(super) fn left_network(
    tx: &mut Tx<'_>,
    tree: TreeKey,
    node: Option<NodeKey>,
) -> Result<(), StoreError> {
    let Some(node) = node else { return Ok(()) };
    // An archived tree, in which everything goes, is not looked through once for each of them.
    let rows = tx.all(
        "SELECT DISTINCT i.project_id, i.release_id FROM tree t JOIN instance i ON i.tree_id = t.id \
         WHERE t.id = ?1 AND t.archived_at IS NULL AND i.removed_at IS NULL AND i.placed = 0 \
         AND i.state = 'started' AND i.sla LIKE ?3 \
         AND EXISTS (SELECT 1 FROM node n WHERE n.id = ?2 AND n.network_id IS NOT NULL)",
        params![tree.0, node.0, format!("%{UNIQUE}%")],
    )?;
    note_placeable(tx, &rows)
}

/// A node is in another network: whoever wants one for its tree may have found it, on any node.
pub(super) fn network_changed(tx: &mut Tx<'_>, project: ProjectKey) -> Result<(), StoreError> {
    let rows = tx.all(
        "SELECT DISTINCT project_id, release_id FROM instance \
         WHERE project_id = ?1 AND placed = 0 AND state = 'started' AND removed_at IS NULL \
         AND sla LIKE ?2",
        params![project.0, format!("%{UNIQUE}%")],
    )?;
    note_placeable(tx, &rows)
}

fn note_placeable(tx: &mut Tx<'_>, rows: &[Row]) -> Result<(), StoreError> {
    for row in rows {
        tx.changes
            .placeable
            .insert((ProjectKey(row.int(0)?), row.int(1)?));
    }
    Ok(())
}

/// Decides where an instance goes.
pub(super) fn choose(
    sql: &mut Connection,
    candidate: &Candidate<'_>,
    now: Timestamp,
) -> Result<Result<Chosen, Waiting>, StoreError> {
    let sla = match Sla::parse(candidate.sla) {
        Ok(sla) => sla,
        Err(mistake) => return Ok(Err(Waiting::from(mistake))),
    };
    if let Some(url) = &sla.master_url {
        let gate = gate_to(sql, candidate.project, url)?;
        return Ok(gate.map(Chosen::Gate).ok_or(Waiting::OtherMaster));
    }
    let networks = if sla.unique_by_network {
        networks_of_tree(sql, candidate.tree)?
    } else {
        BTreeSet::new()
    };
    let wish = Wish {
        project: candidate.project,
        tree: candidate.tree,
        release: candidate.release,
        software_type: candidate.software_type,
        sla: &sla,
        units: candidate.units,
        networks_used_by_tree: &networks,
    };
    if candidate.shared {
        let hosts = hosts(sql, &wish, candidate.release_id, now)?;
        let gates = all_nodes(
            sql,
            &wish,
            candidate.release_id,
            now,
            Some(NodeKind::Remote),
        )?;
        let place = allocation::place_shared(&wish, hosts, gates);
        return Ok(place.map(|place| match place {
            SharedPlace::Host(host) => Chosen::Host(host),
            SharedPlace::Gate(gate) => Chosen::Gate(gate),
        }));
    }
    if let Err(waiting) = wish.check(false) {
        return Ok(Err(waiting));
    }
    let chosen = |place: Place| match place.slot {
        Slot::Partition(partition) => Chosen::Partition(place.node, partition),
        Slot::Gate => Chosen::Gate(place.node),
    };
    if sla.capability.is_none()
        && sla.node.is_none()
        && let Some(place) = walk(sql, &wish, candidate.release_id, now)?
    {
        return Ok(Ok(chosen(place)));
    }
    let nodes = all_nodes(sql, &wish, candidate.release_id, now, None)?;
    Ok(allocation::place(&wish, nodes).map(chosen))
}

/// Nodes in the order of the policy with their first free partition, straight from the index.
macro_rules! walk_from {
    ($condition:literal) => {
        concat!(
            "SELECT n.id, n.kind, n.project_id, n.scope, n.capacity, n.used, n.contact_at, \
             n.status_text, n.network_id, n.categories, s.free, p.id, p.position \
             FROM (SELECT node_id, free FROM installation \
               WHERE project_id = ?1 AND release_id = ?2 AND ",
            $condition,
            " ORDER BY free DESC, node_id LIMIT ?3) s JOIN node n ON n.id = s.node_id \
             JOIN partition p ON p.id = (SELECT q.id FROM partition q WHERE q.node_id = s.node_id \
               AND q.instance_id IS NULL AND q.active = 1 AND q.capabilities = '[]' \
               ORDER BY q.position LIMIT 1) \
             ORDER BY s.free DESC, n.id"
        )
    };
}

/// The first node, in the order of the policy, that takes an instance. `None` says nothing about
/// nodes that are not in the index, such as gates.
fn walk(
    sql: &mut Connection,
    wish: &Wish<'_>,
    release: i64,
    now: Timestamp,
) -> Result<Option<Place>, StoreError> {
    let mut after: Option<(i64, i64)> = None;
    // Mostly the first one will do.
    let mut nodes = 1;
    loop {
        let rows = match after {
            None => sql.all(
                walk_from!("free > 0"),
                params![wish.project.0, release, nodes],
            ),
            Some((free, node)) => sql.all(
                walk_from!("free > 0 AND free <= ?4 AND (free < ?4 OR node_id > ?5)"),
                params![wish.project.0, release, nodes, free, node],
            ),
        }?;
        let mut views = Vec::with_capacity(rows.len());
        for row in &rows {
            let free = row.int(10)?;
            after = Some((free, row.int(0)?));
            views.push(NodeView {
                facts: facts(row, now)?,
                release: ReleaseOnNode::Available,
                partitions: free,
                free: vec![FreeGroup {
                    capabilities: BTreeSet::new(),
                    first: PartitionKey(row.int(11)?),
                    position: row.int(12)?,
                    free,
                }],
            });
        }
        let count = views.len();
        if let Ok(place) = allocation::first(wish, views) {
            return Ok(Some(place));
        }
        if i64::try_from(count).unwrap_or(i64::MAX) < nodes {
            return Ok(None);
        }
        nodes = WALK_NODES;
    }
}

/// What a node is, from the first ten columns of a row.
fn facts(row: &Row, now: Timestamp) -> Result<NodeFacts, SqlError> {
    let kind: NodeKind = row.parsed(1)?;
    let texts: BTreeMap<String, String> = match row.text(9)? {
        "{}" => BTreeMap::new(),
        _ => row.json(9)?,
    };
    let contact = row.maybe_int(6)?.map(Timestamp);
    Ok(NodeFacts {
        reference: NodeKey(row.int(0)?).reference(kind),
        project: ProjectKey(row.int(2)?),
        scope: row.parsed(3)?,
        liveness: Liveness::of(contact, row.maybe_text(7)?, now),
        capacity_left: row
            .maybe_int(4)?
            .map(|capacity| Ok::<_, SqlError>(capacity::capacity_left(Some(capacity), row.int(5)?)))
            .transpose()?,
        network: row.maybe_int(8)?.map(NetworkKey),
        categories: texts
            .into_iter()
            .filter_map(|(key, path)| Some((key.parse::<Category>().ok()?, path)))
            .collect(),
    })
}

/// All nodes of a project, as a wish sees them.
fn all_nodes(
    sql: &mut Connection,
    wish: &Wish<'_>,
    release: i64,
    now: Timestamp,
    only: Option<NodeKind>,
) -> Result<Vec<NodeView>, StoreError> {
    let rows = sql.all(
        "SELECT n.id, n.kind, n.project_id, n.scope, n.capacity, n.used, n.contact_at, \
         n.status_text, n.network_id, n.categories, s.state, s.reported, m.releases, \
         (SELECT COUNT(*) FROM partition p WHERE p.node_id = n.id AND p.active = 1) \
         FROM node n LEFT JOIN installation s ON s.node_id = n.id AND s.release_id = ?2 \
         AND s.removed_at IS NULL LEFT JOIN remote m ON m.node_id = n.id \
         WHERE n.project_id = ?1 AND n.removed_at IS NULL AND (?3 = '' OR n.kind = ?3) \
         AND (?4 = 0 OR n.id = ?4) ORDER BY n.id",
        params![
            wish.project.0,
            release,
            only.map_or("", NodeKind::as_str),
            wish.sla.node.map_or(0, |node| node.key.0)
        ],
    )?;
    let mut views = Vec::with_capacity(rows.len());
    for row in &rows {
        let facts = facts(row, now)?;
        let node = facts.reference;
        let release = match node.kind {
            NodeKind::Remote => {
                let releases: Vec<String> = match row.maybe_text(12)? {
                    Some(_) => row.json(12)?,
                    None => Vec::new(),
                };
                ReleaseOnNode::of_gate(&releases, wish.release)
            }
            NodeKind::Compute => match (row.maybe_text(10)?, row.maybe_text(11)?) {
                (None, _) => ReleaseOnNode::NotRequested,
                (Some("destroyed"), _) => ReleaseOnNode::BeingRemoved,
                (_, Some("available")) => ReleaseOnNode::Available,
                (_, Some("building")) => ReleaseOnNode::Building,
                (_, Some("error")) => ReleaseOnNode::Failed,
                _ => ReleaseOnNode::Requested,
            },
        };
        let mut free = Vec::new();
        if release == ReleaseOnNode::Available && node.kind == NodeKind::Compute {
            for partition in sql.all(
                "SELECT id, position, capabilities FROM partition WHERE node_id = ?1 \
                 AND instance_id IS NULL AND active = 1 ORDER BY position, id",
                params![node.key.0],
            )? {
                let capabilities: BTreeSet<String> = match partition.text(2)? {
                    "[]" => BTreeSet::new(),
                    _ => partition.json(2)?,
                };
                free.push((
                    PartitionKey(partition.int(0)?),
                    partition.int(1)?,
                    capabilities,
                ));
            }
        }
        views.push(NodeView {
            facts,
            release,
            partitions: row.int(13)?,
            free: FreeGroup::collect(free),
        });
    }
    Ok(views)
}

/// Instances that might serve a shared one: of its release and type, in its project.
fn hosts(
    sql: &mut Connection,
    wish: &Wish<'_>,
    release: i64,
    now: Timestamp,
) -> Result<Vec<HostView>, StoreError> {
    let rows = sql.all(
        "SELECT n.id, n.kind, n.project_id, n.scope, n.capacity, n.used, n.contact_at, \
         n.status_text, n.network_id, n.categories, i.id, i.tree_id, i.state, p.capabilities, \
         (SELECT COUNT(*) FROM instance c WHERE c.host_id = i.id AND c.removed_at IS NULL) \
         FROM instance i JOIN partition p ON p.instance_id = i.id JOIN node n ON n.id = p.node_id \
         WHERE i.project_id = ?1 AND i.release_id = ?2 AND i.software_type = ?3 AND i.shared = 0 \
         AND i.placed = 1 AND i.removed_at IS NULL AND n.kind = 'compute' \
         AND (?4 = 0 OR i.id = ?4) AND (?5 = 0 OR n.id = ?5) ORDER BY i.id LIMIT ?6",
        params![
            wish.project.0,
            release,
            wish.software_type,
            wish.sla.host.map_or(0, |host| host.0),
            wish.sla.node.map_or(0, |node| node.key.0),
            HOSTS_MAX
        ],
    )?;
    let mut views = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut node = facts(row, now)?;
        // Serving a shared instance takes no partition: what it takes of a node is its host's.
        node.capacity_left = None;
        views.push(HostView {
            instance: InstanceKey(row.int(10)?),
            tree: TreeKey(row.int(11)?),
            release: wish.release.to_owned(),
            software_type: wish.software_type.to_owned(),
            state: row.parsed(12)?,
            shared: row.int(14)?,
            capabilities: row.json(13)?,
            node,
        });
    }
    Ok(views)
}

fn networks_of_tree(
    sql: &mut Connection,
    tree: TreeKey,
) -> Result<BTreeSet<NetworkKey>, StoreError> {
    let rows = sql.all(
        "SELECT DISTINCT n.network_id FROM instance i \
         JOIN partition p ON p.instance_id = COALESCE(i.host_id, i.id) \
         JOIN node n ON n.id = p.node_id \
         WHERE i.tree_id = ?1 AND i.removed_at IS NULL AND n.network_id IS NOT NULL",
        params![tree.0],
    )?;
    Ok(rows
        .iter()
        .map(|row| Ok(NetworkKey(row.int(0)?)))
        .collect::<Result<_, SqlError>>()?)
}

/// The gate of a project to the Master of this URL.
fn gate_to(
    sql: &mut Connection,
    project: ProjectKey,
    url: &str,
) -> Result<Option<NodeReference>, StoreError> {
    let rows = sql.all(
        "SELECT n.id, m.master_url FROM node n JOIN remote m ON m.node_id = n.id \
         WHERE n.project_id = ?1 AND n.removed_at IS NULL AND n.scope = 'open' ORDER BY n.id",
        params![project.0],
    )?;
    for row in &rows {
        if row.text(1)?.trim_end_matches('/') == url.trim_end_matches('/') {
            return Ok(Some(NodeKey(row.int(0)?).reference(NodeKind::Remote)));
        }
    }
    Ok(None)
}

/// Why an instance has no place, in words for who asked for it; nothing for one that has.
pub(super) fn reason(
    sql: &mut Connection,
    found: &Found,
    now: Timestamp,
) -> Result<Option<String>, StoreError> {
    if found.placed {
        return Ok(None);
    }
    Ok(Some(match found.record.state {
        InstanceState::Destroyed => "it is being destroyed".to_owned(),
        InstanceState::Stopped => {
            "it is to be stopped: it is given a partition when it is started".to_owned()
        }
        InstanceState::Started => match choose(sql, &Candidate::from(found), now)? {
            Ok(_) => "a partition is free for it: ask again".to_owned(),
            Err(waiting) => waiting.to_string(),
        },
    }))
}

impl Store {
    /// Why an instance has no place, in words for who asked for it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such instance for the caller.
    pub async fn why_waiting(
        &self,
        caller: Caller,
        key: InstanceKey,
    ) -> Result<String, StoreError> {
        self.read(move |sql| {
            let subject = super::Subject::Instance(key);
            instances::subject(sql, caller, Action::SeeInstance, &subject)?;
            Ok(())
        })
        .await?;
        self.why(key).await
    }

    /// As [`Store::why_waiting`], for one who was just answered about it.
    pub(super) async fn why(&self, key: InstanceKey) -> Result<String, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            let Some(found) = instances::by_key(sql, key)? else {
                return Ok("it is gone".to_owned());
            };
            let why = reason(sql, &found, now)?;
            Ok(why.unwrap_or_else(|| "it is being placed: ask again".to_owned()))
        })
        .await
    }
}
