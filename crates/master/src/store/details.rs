//! Whole trees, lists of them, and where releases are: what people who watch are told, each in one
//! read.

use std::collections::{BTreeMap, HashMap};

use slap::InstanceState;
use slap_server::promises::Promise;

use super::documents::{installation_from_row, installations, on_node};
use super::instances::{self, select_instances};
use super::listing::{known, see_tree, status};
use super::projects::check_project;
use super::records::{Address, InstallationRecord, InstanceRecord, NodeRecord, Status};
use super::sql::{Connection, Row, SqlError, params};
use super::{Page, Store, StoreError, nodes, placement};
use crate::domain::access::{self, Action, Caller, Verdict};
use crate::domain::upgrade::{DecisionState, UpgradePolicy};
use crate::domain::{
    InstanceKey, NodeKey, NodeReference, PersonKey, ProductKey, ProjectKey, Refusal, Role,
    Timestamp, TreeKey,
};

/// Instances of a tree one is told of at most.
const MEMBERS_MAX: i64 = 2_000;
/// Instances of one answer of which it is found out why they wait: it costs a look at the nodes.
const REASONS_MAX: usize = 20;
/// Trees whose instances are read by one statement.
const CHUNK: usize = 50;
/// Places of a release one is told of at most.
const PLACES_MAX: i64 = 10_000;

/// A tree with all its instances.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeTree {
    /// Its key, `HOSTSUBS-n`.
    pub key: TreeKey,
    /// Its title.
    pub title: String,
    /// Its project.
    pub project: ProjectKey,
    /// The login of its owner.
    pub owner: String,
    /// What happens when a better release exists.
    pub policy: UpgradePolicy,
    /// The upgrade it is offered, or that is under way, and its release.
    pub upgrade: Option<(DecisionState, String)>,
    /// When it was requested.
    pub created_at: Timestamp,
    /// Its instances, the root first, then in the order they came; with why they wait.
    pub members: Vec<(InstanceRecord, Option<String>)>,
    /// The promises of those that shall be started, where their nodes told of them.
    pub promises: BTreeMap<InstanceKey, Vec<Promise>>,
    /// Whether these are all.
    pub complete: bool,
}

/// How an instance of a tree in a list is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberState {
    /// Which.
    pub key: InstanceKey,
    /// What it shall be.
    pub state: InstanceState,
    /// Whether it has no partition of its own.
    pub shared: bool,
    /// When it was last changed.
    pub timestamp: Timestamp,
    /// What its node last reported.
    pub status: Status,
    /// Its node.
    pub node: Option<NodeReference>,
}

/// Which services are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TreeFilter {
    /// All of them.
    #[default]
    All,
    /// Those that shall be started.
    Started,
    /// Those that shall be stopped.
    Stopped,
    /// Those with an instance of which a node told something bad.
    Failing,
    /// Those with an instance that has no place.
    Waiting,
    /// Those for which there is a better release.
    Upgradable,
}

impl TreeFilter {
    /// Every filter, in the order they are offered.
    pub const ALL: [TreeFilter; 6] = [
        TreeFilter::All,
        TreeFilter::Started,
        TreeFilter::Stopped,
        TreeFilter::Failing,
        TreeFilter::Waiting,
        TreeFilter::Upgradable,
    ];

    /// The word for it; none for all.
    pub fn as_str(self) -> &'static str {
        match self {
            TreeFilter::All => "",
            TreeFilter::Started => "started",
            TreeFilter::Stopped => "stopped",
            TreeFilter::Failing => "failing",
            TreeFilter::Waiting => "waiting",
            TreeFilter::Upgradable => "upgradable",
        }
    }

    /// What has to hold, about the tree `t` and its root `i`.
    fn condition(self) -> &'static str {
        match self {
            TreeFilter::All => "",
            TreeFilter::Started => "AND i.state = 'started' ",
            TreeFilter::Stopped => "AND i.state = 'stopped' ",
            TreeFilter::Failing => {
                "AND EXISTS (SELECT 1 FROM instance o WHERE o.tree_id = t.id \
                 AND o.removed_at IS NULL AND o.placed = 1 AND o.state <> 'destroyed' \
                 AND o.status_text LIKE '#error%') "
            }
            TreeFilter::Waiting => {
                "AND EXISTS (SELECT 1 FROM instance o WHERE o.tree_id = t.id \
                 AND o.removed_at IS NULL AND o.placed = 0 AND o.state = 'started') "
            }
            TreeFilter::Upgradable => {
                "AND EXISTS (SELECT 1 FROM upgrade_decision d WHERE d.tree_id = t.id \
                 AND d.state IN ('planned', 'accepted')) "
            }
        }
    }
}

/// Whose services are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreesOf {
    /// The calling person's own, or the one an instance belongs to.
    Caller,
    /// Those in a project that the caller may see.
    Project(ProjectKey),
    /// Those of them with an instance of a release of this product, which is of that project.
    Product(ProductKey, ProjectKey),
}

impl TreesOf {
    /// What has to hold about the tree `t`, where ?1 is the caller or its tree and ?2 whether it sees
    /// all that is there: the rule of `access` for seeing an instance, where the database looks.
    /// ?6 and ?7 are the project and the product.
    fn condition(self, caller: Caller) -> &'static str {
        match (self, caller) {
            (TreesOf::Caller, Caller::Instance { .. }) => {
                "t.id = ?1 AND ?2 = 0 AND ?6 = 0 AND ?7 = 0"
            }
            (TreesOf::Caller, _) => {
                "t.person_id = ?1 AND ?6 = 0 AND ?7 = 0 AND (?2 = 1 OR EXISTS (SELECT 1 FROM member m \
                 WHERE m.project_id = t.project_id AND m.person_id = ?1))"
            }
            (TreesOf::Project(_), _) => {
                "t.project_id = ?6 AND ?7 = 0 AND (?2 = 1 OR t.person_id = ?1)"
            }
            (TreesOf::Product(..), _) => {
                "t.project_id = ?6 AND (?2 = 1 OR t.person_id = ?1) AND EXISTS (SELECT 1 \
                 FROM instance u JOIN product_release pr ON pr.release_id = u.release_id \
                 AND pr.product_id = ?7 WHERE u.tree_id = t.id AND u.removed_at IS NULL)"
            }
        }
    }
}

/// A tree in a list, with how its instances are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeState {
    /// Its key, `HOSTSUBS-n`.
    pub key: TreeKey,
    /// Its title.
    pub title: String,
    /// The login of its owner.
    pub owner: String,
    /// Its project.
    pub project: ProjectKey,
    /// The release of its root.
    pub release: String,
    /// What its root shall be.
    pub state: InstanceState,
    /// When it was requested.
    pub created_at: Timestamp,
    /// Its instances.
    pub members: Vec<MemberState>,
    /// Why the first of them that waits has no place.
    pub waiting: Option<String>,
    /// The release it is offered, or upgraded to.
    pub upgrade: Option<String>,
}

/// A release on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledOn {
    /// The node's title.
    pub title: String,
    /// The release there.
    pub installation: InstallationRecord,
}

/// A partition, with what is on it as far as the caller may see it.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionState {
    /// Its name.
    pub name: String,
    /// Whether something is on it.
    pub busy: bool,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// The instance on it.
    pub instance: Option<InstanceRecord>,
}

/// A node with all that is on it.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeNode {
    /// The node.
    pub node: NodeRecord,
    /// Its partitions in its own order.
    pub partitions: Vec<PartitionState>,
    /// The releases asked for, in the order they were.
    pub installations: Vec<InstallationRecord>,
}

impl Store {
    /// A node with its partitions and releases.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn whole_node(
        &self,
        caller: Caller,
        node: NodeReference,
    ) -> Result<WholeNode, StoreError> {
        let mut whole = self
            .read(move |sql| {
                nodes::gate(sql, caller, Action::SeeNode, node)?;
                let mut on = HashMap::new();
                for found in on_node(sql, node.key)? {
                    if found.record.host.is_none()
                        && let Some(place) = found.record.placement.clone()
                    {
                        on.insert(place.partition, found);
                    }
                }
                let mut partitions = Vec::new();
                for row in sql.all(
                    "SELECT name, addresses FROM partition \
                     WHERE node_id = ?1 AND (active = 1 OR instance_id IS NOT NULL) \
                     ORDER BY position, id",
                    params![node.key.0],
                )? {
                    let name = row.text(0)?.to_owned();
                    let addresses = row.json(1)?;
                    let found = on.remove(&name);
                    let busy = found.is_some();
                    let instance = match found {
                        Some(found) => {
                            let role = instances::role_of(sql, caller, found.record.project)?;
                            let seen =
                                access::verdict(caller, Action::SeeInstance, &found.facts(role));
                            (seen == Verdict::Allowed).then_some(found.record)
                        }
                        None => None,
                    };
                    partitions.push(PartitionState {
                        name,
                        busy,
                        addresses,
                        instance,
                    });
                }
                Ok(WholeNode {
                    node: nodes::record(sql, node)?,
                    partitions,
                    installations: installations(sql, node)?,
                })
            })
            .await?;
        self.refresh(&mut whole.node);
        Ok(whole)
    }

    /// A tree with all its instances.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such tree for the caller.
    pub async fn whole_tree(&self, caller: Caller, tree: TreeKey) -> Result<WholeTree, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            let title = see_tree(sql, caller, tree)?;
            let unknown = || Refusal::unknown("instance tree", tree);
            let row = sql
                .one(
                    "SELECT t.project_id, w.login, t.upgrade, t.created_at FROM tree t \
                     JOIN person w ON w.id = t.person_id WHERE t.id = ?1",
                    params![tree.0],
                )?
                .ok_or_else(unknown)?;
            let rows = sql.all(
                select_instances!(
                    "WHERE i.tree_id = ?1 AND i.removed_at IS NULL \
                     ORDER BY CASE WHEN i.requester_id IS NULL THEN 0 ELSE 1 END, i.id LIMIT ?2"
                ),
                params![tree.0, MEMBERS_MAX + 1],
            )?;
            if rows.is_empty() {
                return Err(unknown().into());
            }
            let complete = i64::try_from(rows.len()).unwrap_or(i64::MAX) <= MEMBERS_MAX;
            let mut members = Vec::with_capacity(rows.len());
            let mut reasons = 0;
            for row in rows.iter().take(usize::try_from(MEMBERS_MAX).unwrap_or(0)) {
                let found = instances::from_row(row)?;
                let why = if found.placed || reasons >= REASONS_MAX {
                    None
                } else {
                    reasons += 1;
                    placement::reason(sql, &found, now)?
                };
                members.push((found.record, why));
            }
            let promises = super::promises::of_tree(sql, tree)?;
            Ok(WholeTree {
                promises: promises
                    .into_iter()
                    .map(|(key, (_, promises))| (key, promises))
                    .collect(),
                key: tree,
                title,
                project: ProjectKey(row.int(0)?),
                owner: row.text(1)?.to_owned(),
                policy: row.parsed(2)?,
                upgrade: upgrades(sql, &[tree.0])?.remove(&tree.0),
                created_at: Timestamp(row.int(3)?),
                members,
                complete,
            })
        })
        .await
    }

    /// Trees that are not archived whose titles contain a text, in the order of their titles; with how
    /// their instances are.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows, and for who may not see the project.
    pub async fn tree_states(
        &self,
        caller: Caller,
        of: TreesOf,
        title: String,
        filter: TreeFilter,
        page: Page,
    ) -> Result<Vec<TreeState>, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            known(caller, "instance tree")?;
            let pattern = format!("%{}%", like(&title.to_lowercase()));
            let mut trees = page_of_trees(sql, caller, of, &pattern, filter, page)?;
            let mut reasons = 0;
            for chunk in trees.chunks_mut(CHUNK) {
                let keys: Vec<i64> = chunk.iter().map(|tree| tree.key.0).collect();
                let mut members = members_of(sql, &keys)?;
                let mut offers = upgrades(sql, &keys)?;
                for tree in chunk {
                    tree.members = members.remove(&tree.key.0).unwrap_or_default();
                    tree.upgrade = offers.remove(&tree.key.0).map(|(_, release)| release);
                    let waits = tree.members.iter().find(|member| {
                        member.node.is_none() && member.state == InstanceState::Started
                    });
                    if let Some(member) = waits
                        && reasons < REASONS_MAX
                        && let Some(found) = instances::by_key(sql, member.key)?
                    {
                        reasons += 1;
                        tree.waiting = placement::reason(sql, &found, now)?;
                    }
                }
            }
            Ok(trees)
        })
        .await
    }

    /// The nodes the caller may see on which a release was asked for, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn installed_on(
        &self,
        caller: Caller,
        release: String,
    ) -> Result<Vec<InstalledOn>, StoreError> {
        self.read(move |sql| {
            known(caller, "software release")?;
            // The rule of `access` for seeing a node, here where the database looks.
            let (all, person, node) = match caller {
                Caller::Master => (true, 0, 0),
                Caller::Person {
                    person: PersonKey(person),
                    administrator,
                } => (administrator, person, 0),
                Caller::Node(node) => (false, 0, node.0),
                Caller::Anonymous | Caller::Instance { .. } => return Ok(Vec::new()),
            };
            let rows = sql.all(
                "SELECT s.id, r.url, s.state, s.reported, s.status_text, s.status_at, \
                 s.status_since, n.id, n.kind, n.title FROM release r \
                 JOIN installation s ON s.release_id = r.id AND s.removed_at IS NULL \
                 JOIN node n ON n.id = s.node_id AND n.removed_at IS NULL \
                 WHERE r.url = ?1 AND (?2 = 1 OR n.id = ?4 OR EXISTS (SELECT 1 FROM member m \
                   WHERE m.project_id = n.project_id AND m.person_id = ?3)) \
                 ORDER BY n.id LIMIT ?5",
                params![release.as_str(), all, person, node, PLACES_MAX],
            )?;
            let place = |row: &Row| {
                let node = NodeKey(row.int(7)?).reference(row.parsed(8)?);
                Ok(InstalledOn {
                    title: row.text(9)?.to_owned(),
                    installation: installation_from_row(row, node)?,
                })
            };
            Ok(rows.iter().map(place).collect::<Result<_, SqlError>>()?)
        })
        .await
    }
}

/// A text as part of a pattern.
pub(super) fn like(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_")
}

fn page_of_trees(
    sql: &mut Connection,
    caller: Caller,
    of: TreesOf,
    pattern: &str,
    filter: TreeFilter,
    page: Page,
) -> Result<Vec<TreeState>, StoreError> {
    let (project, product) = match of {
        TreesOf::Caller => (ProjectKey(0), ProductKey(0)),
        TreesOf::Project(project) => (project, ProductKey(0)),
        TreesOf::Product(product, project) => (project, product),
    };
    let of_caller = of == TreesOf::Caller;
    if !of_caller {
        check_project(sql, caller, Action::SeeProject, project)?;
    }
    let (key, all) = match caller {
        Caller::Person {
            person,
            administrator,
        } => {
            let manages =
                !of_caller && instances::role_of(sql, caller, project)? == Some(Role::Manager);
            (person.0, administrator || manages)
        }
        Caller::Instance { tree, .. } if of_caller => (tree.0, false),
        Caller::Master if !of_caller => (0, true),
        _ => return Ok(Vec::new()),
    };
    let whose = of.condition(caller);
    let condition = filter.condition();
    let rows = sql.all(
        &format!(
            "SELECT t.id, t.title, t.project_id, r.url, i.state, t.created_at, w.login FROM tree t \
             JOIN person w ON w.id = t.person_id \
             JOIN instance i ON i.tree_id = t.id AND i.title = t.title \
              AND i.requester_id IS NULL AND i.removed_at IS NULL \
             JOIN release r ON r.id = i.release_id \
             WHERE {whose} AND t.archived_at IS NULL AND LOWER(t.title) LIKE ?3 ESCAPE '\\' \
             {condition}ORDER BY t.title, t.id LIMIT ?4 OFFSET ?5"
        ),
        params![
            key, all, pattern, page.limit, page.skip, project.0, product.0
        ],
    )?;
    let line = |row: &Row| {
        Ok(TreeState {
            key: TreeKey(row.int(0)?),
            title: row.text(1)?.to_owned(),
            owner: row.text(6)?.to_owned(),
            project: ProjectKey(row.int(2)?),
            release: row.text(3)?.to_owned(),
            state: row.parsed(4)?,
            created_at: Timestamp(row.int(5)?),
            members: Vec::new(),
            waiting: None,
            upgrade: None,
        })
    };
    Ok(rows.iter().map(line).collect::<Result<_, SqlError>>()?)
}

/// `?1, ?2, …`: always as many, so that there is one statement to prepare; those left over are 0,
/// which is nobody's key.
fn list_of(keys: &[i64]) -> (String, Vec<i64>) {
    let mut padded = keys.to_vec();
    padded.resize(CHUNK, 0);
    let marks: Vec<String> = (1..=CHUNK).map(|number| format!("?{number}")).collect();
    (marks.join(", "), padded)
}

fn members_of(
    sql: &mut Connection,
    trees: &[i64],
) -> Result<HashMap<i64, Vec<MemberState>>, StoreError> {
    let (marks, keys) = list_of(trees);
    let keys: Vec<_> = keys.iter().map(|key| (*key).into()).collect();
    let rows = sql.all(
        &format!(
            "SELECT i.tree_id, i.id, i.state, i.shared, i.timestamp, i.reported, i.status_text, \
             i.status_at, i.status_since, n.id, n.kind FROM instance i \
             LEFT JOIN partition p ON p.instance_id = COALESCE(i.host_id, i.id) \
             LEFT JOIN node n ON n.id = p.node_id \
             WHERE i.tree_id IN ({marks}) AND i.removed_at IS NULL ORDER BY i.id"
        ),
        &keys,
    )?;
    let mut members: HashMap<i64, Vec<MemberState>> = HashMap::new();
    for row in &rows {
        let node = match row.maybe_int(9)? {
            Some(key) => Some(NodeKey(key).reference(row.parsed(10)?)),
            None => None,
        };
        members.entry(row.int(0)?).or_default().push(MemberState {
            key: InstanceKey(row.int(1)?),
            state: row.parsed(2)?,
            shared: row.flag(3)?,
            timestamp: Timestamp(row.int(4)?),
            status: status(row, 5)?,
            node,
        });
    }
    Ok(members)
}

/// The upgrades that trees are offered, or that are under way; what is under way first.
fn upgrades(
    sql: &mut Connection,
    trees: &[i64],
) -> Result<BTreeMap<i64, (DecisionState, String)>, StoreError> {
    let (marks, keys) = list_of(trees);
    let keys: Vec<_> = keys.iter().map(|key| (*key).into()).collect();
    let rows = sql.all(
        &format!(
            "SELECT d.tree_id, d.state, r.url FROM upgrade_decision d \
             JOIN release r ON r.id = d.to_release_id \
             WHERE d.tree_id IN ({marks}) AND d.state IN ('planned', 'accepted') \
             ORDER BY d.state DESC, d.id"
        ),
        &keys,
    )?;
    let mut found = BTreeMap::new();
    for row in &rows {
        found.insert(row.int(0)?, (row.parsed(1)?, row.text(2)?.to_owned()));
    }
    Ok(found)
}
