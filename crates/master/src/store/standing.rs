//! How things stand, in numbers and in pages of lists: what the dashboard shows.

use slap_server::json_rpc::detail::Actual;
use slap_server::promises::Promise;

use super::details::like;
use super::instances;
use super::listing::known;
use super::nodes::{self, SELECT_NODE, node_from_row};
use super::people::check_administrator;
use super::records::NodeRecord;
use super::sql::{Connection, Row, SqlError, params};
use super::{Page, Store, StoreError};
use crate::domain::access::{self, Action, Caller, Verdict};
use crate::domain::{
    InstanceKey, NodeReference, PersonKey, ProjectKey, Refusal, Timestamp, TreeKey,
};

/// Services that need attention one is told of.
const ATTENTION_MAX: i64 = 8;

/// Which nodes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeFilter {
    /// All of them.
    #[default]
    All,
    /// Those that answer.
    Online,
    /// Those that do not.
    Silent,
    /// Those that take nothing new.
    Closed,
}

impl NodeFilter {
    /// Every filter, in the order they are offered.
    pub const ALL: [NodeFilter; 4] = [
        NodeFilter::All,
        NodeFilter::Online,
        NodeFilter::Silent,
        NodeFilter::Closed,
    ];

    /// The word for it; none for all.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeFilter::All => "",
            NodeFilter::Online => "online",
            NodeFilter::Silent => "silent",
            NodeFilter::Closed => "closed",
        }
    }
}

/// A node in a list, with how its releases are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeState {
    /// The node.
    pub node: NodeRecord,
    /// Releases asked for.
    pub releases: i64,
    /// Those that can be used.
    pub installed: i64,
    /// Those that could not be built.
    pub failed: i64,
}

/// How the services of a person stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServicesStanding {
    /// How many there are of each state, each as its worst instance.
    pub counts: Vec<(Actual, i64)>,
    /// Some of those that fail or wait, with their titles.
    pub attention: Vec<(TreeKey, String, Actual)>,
}

impl ServicesStanding {
    /// All of them.
    pub fn total(&self) -> i64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// Those of a state.
    pub fn of(&self, actual: Actual) -> i64 {
        let mut found = self.counts.iter().filter(|(state, _)| *state == actual);
        found.next().map_or(0, |(_, count)| *count)
    }
}

/// How the nodes a caller may see stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NodesStanding {
    /// Nodes.
    pub nodes: i64,
    /// Those that answer.
    pub alive: i64,
    /// Partitions.
    pub partitions: i64,
    /// Partitions with an instance.
    pub busy: i64,
}

/// How everything on this Master stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterStanding {
    /// How many instances there are of each state.
    pub instances: Vec<(Actual, i64)>,
    /// Nodes.
    pub nodes: i64,
    /// Those that answer.
    pub alive: i64,
    /// Those that take nothing new.
    pub closed: i64,
    /// Releases that nodes build now.
    pub building: i64,
    /// Releases that nodes could not build.
    pub failed: i64,
    /// The kind of the database: `SQLite`, `PostgreSQL`.
    pub database: &'static str,
    /// How large it is, in bytes.
    pub database_bytes: i64,
}

impl MasterStanding {
    /// The instances of a state.
    pub fn of(&self, actual: Actual) -> i64 {
        let mut found = self.instances.iter().filter(|(state, _)| *state == actual);
        found.next().map_or(0, |(_, count)| *count)
    }
}

/// What a node said it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// What it called the report, such as the day it is about.
    pub reference: String,
    /// The report (P 6.12).
    pub body: String,
    /// When it came.
    pub received_at: Timestamp,
}

/// A promise that fails on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingPromise {
    /// The partition.
    pub partition: String,
    /// The instance on it.
    pub instance: InstanceKey,
    /// Its title.
    pub title: String,
    /// Its tree, and that one's title.
    pub tree: (TreeKey, String),
    /// The promise.
    pub promise: Promise,
}

/// Promises that fail on a node one is told of.
const FAILING_MAX: usize = 50;

/// The states in the order of their weight, as `actual_of` numbers them.
const STATES: [Actual; 7] = [
    Actual::Stopped,
    Actual::Started,
    Actual::Destroying,
    Actual::Stopping,
    Actual::Starting,
    Actual::Waiting,
    Actual::Error,
];

/// How an instance `i` is, as a number: the rule of [`Actual::of`] where the database looks.
macro_rules! actual_of {
    () => {
        "CASE WHEN i.state = 'destroyed' THEN 2 \
         WHEN i.placed = 0 AND i.state = 'started' THEN 5 \
         WHEN i.placed = 0 THEN 0 \
         WHEN i.status_text LIKE '#error%' THEN 6 \
         WHEN i.shared = 1 OR (i.reported = i.state AND i.status_at >= i.timestamp) \
          THEN CASE WHEN i.state = 'started' THEN 1 ELSE 0 END \
         WHEN i.state = 'stopped' THEN 3 ELSE 4 END"
    };
}

/// The trees of person ?1, who is an administrator if ?2 is 1, each with its worst instance.
const WORST: &str = concat!(
    "SELECT t.id AS id, t.title AS title, MAX(",
    actual_of!(),
    ") AS worst FROM tree t JOIN instance i ON i.tree_id = t.id AND i.removed_at IS NULL \
     WHERE t.person_id = ?1 AND t.archived_at IS NULL AND (?2 = 1 OR EXISTS \
      (SELECT 1 FROM member m WHERE m.project_id = t.project_id AND m.person_id = ?1)) \
     GROUP BY t.id, t.title"
);

/// Whether the caller sees all nodes, and whose it sees else: the rule of `access` for seeing a node,
/// where the database looks.
pub(super) fn sees(caller: Caller) -> (bool, i64, i64) {
    match caller {
        Caller::Master => (true, 0, 0),
        Caller::Person {
            person: PersonKey(person),
            administrator,
        } => (administrator, person, 0),
        Caller::Node(node) => (false, 0, node.0),
        Caller::Anonymous | Caller::Instance { .. } => (false, 0, 0),
    }
}

/// The project whose reference a text is; 0, which is nobody's key, for another text.
pub(super) fn project_named(text: &str) -> i64 {
    let named = text.trim().to_ascii_uppercase().parse::<ProjectKey>();
    named.map_or(0, |key| key.0)
}

fn actual(row: &Row, column: usize) -> Result<Actual, SqlError> {
    let number = usize::try_from(row.int(column)?).unwrap_or(usize::MAX);
    Ok(STATES.get(number).copied().unwrap_or(Actual::Error))
}

fn services(
    sql: &mut Connection,
    person: i64,
    administrator: bool,
) -> Result<ServicesStanding, StoreError> {
    let counts = sql.all(
        &format!("SELECT w.worst, COUNT(*) FROM ({WORST}) AS w GROUP BY w.worst ORDER BY w.worst"),
        params![person, administrator],
    )?;
    let attention = sql.all(
        &format!(
            "SELECT w.id, w.title, w.worst FROM ({WORST}) AS w WHERE w.worst >= 5 \
             ORDER BY w.worst DESC, w.id LIMIT ?3"
        ),
        params![person, administrator, ATTENTION_MAX],
    )?;
    Ok(ServicesStanding {
        counts: counts
            .iter()
            .map(|row| Ok((actual(row, 0)?, row.int(1)?)))
            .collect::<Result<_, SqlError>>()?,
        attention: attention
            .iter()
            .map(|row| {
                let title = row.text(1)?.to_owned();
                Ok((TreeKey(row.int(0)?), title, actual(row, 2)?))
            })
            .collect::<Result<_, SqlError>>()?,
    })
}

impl Store {
    /// How the calling person's own services stand.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn services_standing(&self, caller: Caller) -> Result<ServicesStanding, StoreError> {
        self.read(move |sql| {
            known(caller, "instance tree")?;
            match caller {
                Caller::Person {
                    person,
                    administrator,
                } => services(sql, person.0, administrator),
                _ => Ok(ServicesStanding::default()),
            }
        })
        .await
    }

    /// How the nodes the caller may see stand.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn nodes_standing(&self, caller: Caller) -> Result<NodesStanding, StoreError> {
        self.read(move |sql| {
            known(caller, "compute node")?;
            let (all, person, node) = sees(caller);
            let row = sql.one(
                "SELECT COUNT(*), COALESCE(SUM(n.alive), 0), COALESCE(SUM(p.partitions), 0), \
                 COALESCE(SUM(p.busy), 0) FROM node n LEFT JOIN (SELECT node_id, \
                   COUNT(*) AS partitions, COUNT(instance_id) AS busy FROM partition \
                   WHERE active = 1 OR instance_id IS NOT NULL GROUP BY node_id) AS p \
                  ON p.node_id = n.id \
                 WHERE n.removed_at IS NULL AND (?1 = 1 OR n.id = ?3 OR EXISTS \
                  (SELECT 1 FROM member m WHERE m.project_id = n.project_id AND m.person_id = ?2))",
                params![all, person, node],
            )?;
            Ok(match row {
                Some(row) => NodesStanding {
                    nodes: row.int(0)?,
                    alive: row.int(1)?,
                    partitions: row.int(2)?,
                    busy: row.int(3)?,
                },
                None => NodesStanding::default(),
            })
        })
        .await
    }

    /// How everything on this Master stands. It looks at every instance.
    ///
    /// # Errors
    /// Only administrators may know.
    pub async fn master_standing(&self, caller: Caller) -> Result<MasterStanding, StoreError> {
        self.read(move |sql| {
            check_administrator(caller, "health of this Master")?;
            let instances = sql.all(
                concat!(
                    "SELECT a.actual, COUNT(*) FROM (SELECT ",
                    actual_of!(),
                    " AS actual FROM instance i WHERE i.removed_at IS NULL) AS a \
                     GROUP BY a.actual ORDER BY a.actual"
                ),
                &[],
            )?;
            let instances = instances.iter();
            let instances = instances
                .map(|row| Ok((actual(row, 0)?, row.int(1)?)))
                .collect::<Result<_, SqlError>>()?;
            let mut counts = |statement: &str, columns: usize| -> Result<Vec<i64>, StoreError> {
                let row = sql.one(statement, &[])?;
                let number = |column| row.as_ref().map_or(Ok(0), |row| row.int(column));
                Ok((0..columns).map(number).collect::<Result<_, SqlError>>()?)
            };
            let nodes = counts(
                "SELECT COUNT(*), COALESCE(SUM(alive), 0), \
                 COALESCE(SUM(CASE scope WHEN 'open' THEN 0 ELSE 1 END), 0) \
                 FROM node WHERE removed_at IS NULL",
                3,
            )?;
            let releases = counts(
                "SELECT COALESCE(SUM(CASE reported WHEN 'building' THEN 1 ELSE 0 END), 0), \
                 COALESCE(SUM(CASE reported WHEN 'error' THEN 1 ELSE 0 END), 0) \
                 FROM installation WHERE removed_at IS NULL AND state <> 'destroyed'",
                2,
            )?;
            let dialect = sql.dialect();
            let size = sql.one(dialect.size, &[])?;
            Ok(MasterStanding {
                instances,
                nodes: nodes[0],
                alive: nodes[1],
                closed: nodes[2],
                building: releases[0],
                failed: releases[1],
                database: dialect.name,
                database_bytes: size.map_or(Ok(0), |row| row.int(0))?,
            })
        })
        .await
    }

    /// The nodes the caller may see whose title contains a text, or whose reference it is or that of
    /// their project, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn node_states(
        &self,
        caller: Caller,
        text: String,
        filter: NodeFilter,
        page: Page,
    ) -> Result<Vec<NodeState>, StoreError> {
        let mut found = self
            .read(move |sql| {
                known(caller, "compute node")?;
                let (all, person, node) = sees(caller);
                let pattern = format!("%{}%", like(&text.to_lowercase()));
                let named = text.trim().to_ascii_uppercase().parse::<NodeReference>();
                let named = named.map_or(0, |node| node.key.0);
                let project = project_named(&text);
                let rows = sql.all(
                    &format!(
                        "{SELECT_NODE} WHERE n.removed_at IS NULL AND (?1 = 1 OR n.id = ?3 OR EXISTS \
                          (SELECT 1 FROM member m \
                           WHERE m.project_id = n.project_id AND m.person_id = ?2)) \
                         AND (LOWER(n.title) LIKE ?4 ESCAPE '\\' OR n.id = ?5 OR n.project_id = ?9) \
                         AND CASE ?6 WHEN 'online' THEN n.alive WHEN 'silent' THEN 1 - n.alive \
                          WHEN 'closed' THEN CASE n.scope WHEN 'open' THEN 0 ELSE 1 END \
                          ELSE 1 END = 1 \
                         ORDER BY n.id LIMIT ?7 OFFSET ?8"
                    ),
                    params![
                        all,
                        person,
                        node,
                        pattern,
                        named,
                        filter.as_str(),
                        page.limit,
                        page.skip,
                        project
                    ],
                )?;
                let mut found = Vec::with_capacity(rows.len());
                for row in &rows {
                    let node = node_from_row(row)?;
                    let releases = sql.one(
                        "SELECT COUNT(*), \
                         COALESCE(SUM(CASE reported WHEN 'available' THEN 1 ELSE 0 END), 0), \
                         COALESCE(SUM(CASE reported WHEN 'error' THEN 1 ELSE 0 END), 0) \
                         FROM installation WHERE node_id = ?1 AND removed_at IS NULL",
                        params![node.node.key.0],
                    )?;
                    let count = |column| releases.as_ref().map_or(Ok(0), |row| row.int(column));
                    found.push(NodeState {
                        releases: count(0)?,
                        installed: count(1)?,
                        failed: count(2)?,
                        node,
                    });
                }
                Ok(found)
            })
            .await?;
        for state in &mut found {
            self.refresh(&mut state.node);
        }
        Ok(found)
    }

    /// Whether the caller may change a node, and not only see it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn may_manage_node(
        &self,
        caller: Caller,
        node: NodeReference,
    ) -> Result<bool, StoreError> {
        self.read(move |sql| {
            nodes::gate(sql, caller, Action::SeeNode, node)?;
            match nodes::gate(sql, caller, Action::ManageNode, node) {
                Ok(_) => Ok(true),
                Err(StoreError::Refused(Refusal::Forbidden(_))) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// What a node said it used, the latest first.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn node_usage(
        &self,
        caller: Caller,
        node: NodeReference,
        limit: i64,
    ) -> Result<Vec<UsageRecord>, StoreError> {
        self.read(move |sql| {
            nodes::gate(sql, caller, Action::SeeNode, node)?;
            let rows = sql.all(
                "SELECT reference, body, received_at FROM usage_report WHERE node_id = ?1 \
                 ORDER BY id DESC LIMIT ?2",
                params![node.key.0, limit],
            )?;
            let record = |row: &Row| {
                Ok(UsageRecord {
                    reference: row.text(0)?.to_owned(),
                    body: row.text(1)?.to_owned(),
                    received_at: Timestamp(row.int(2)?),
                })
            };
            Ok(rows.iter().map(record).collect::<Result<_, SqlError>>()?)
        })
        .await
    }

    /// The promises that fail on a node, of the instances the caller may see.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn failing_promises(
        &self,
        caller: Caller,
        node: NodeReference,
    ) -> Result<Vec<FailingPromise>, StoreError> {
        self.read(move |sql| {
            nodes::gate(sql, caller, Action::SeeNode, node)?;
            let rows = sql.all(
                "SELECT p.name, i.id, m.document FROM partition p \
                 JOIN instance i ON i.id = p.instance_id AND i.state = 'started' \
                 JOIN instance_promises m ON m.instance_id = i.id \
                 WHERE p.node_id = ?1 AND m.document LIKE '%\"failed\":true%' \
                 ORDER BY p.position",
                params![node.key.0],
            )?;
            let mut failing = Vec::new();
            for row in &rows {
                let Some(found) = instances::by_key(sql, InstanceKey(row.int(1)?))? else {
                    continue;
                };
                let role = instances::role_of(sql, caller, found.record.project)?;
                let seen = access::verdict(caller, Action::SeeInstance, &found.facts(role));
                if seen != Verdict::Allowed {
                    continue;
                }
                let promises: Vec<Promise> = serde_json::from_str(row.text(2)?).unwrap_or_default();
                for promise in promises.into_iter().filter(|promise| promise.failed) {
                    if failing.len() >= FAILING_MAX {
                        return Ok(failing);
                    }
                    failing.push(FailingPromise {
                        partition: row.text(0)?.to_owned(),
                        instance: found.record.key,
                        title: found.record.title.clone(),
                        tree: (found.record.tree, found.record.root_title.clone()),
                        promise,
                    });
                }
            }
            Ok(failing)
        })
        .await
    }
}
