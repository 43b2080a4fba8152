//! Lists, paged by the database, and what hypermedia documents and streams of events tell.

use super::documents::{SELECT_INSTALLATION, installation_from_row};
use super::instances::{self, select_instances};
use super::nodes;
use super::records::{InstallationRecord, InstanceRecord, Status, TreeRecord};
use super::sql::{Connection, Row, SqlError, params};
use super::{Store, StoreError};
use crate::domain::access::{self, Action, Caller, Facts, Verdict};
use crate::domain::{
    InstallationKey, InstanceKey, NodeKey, NodeReference, PersonKey, ProjectKey, Refusal,
    Timestamp, TreeKey,
};

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Lines left out at its beginning.
    pub skip: i64,
    /// Most lines.
    pub limit: i64,
}

impl Page {
    /// The beginning of a list.
    pub fn first(limit: i64) -> Self {
        Page { skip: 0, limit }
    }
}

/// A tree in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeLine {
    /// Its key, `HOSTSUBS-n`.
    pub key: TreeKey,
    /// Its title.
    pub title: String,
    /// The release of its root.
    pub release: String,
}

/// A node in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLine {
    /// `COMP-n` or `REMOTE-n`.
    pub node: NodeReference,
    /// Its title.
    pub title: String,
}

/// What was last reported of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceNews {
    /// The instance.
    pub key: InstanceKey,
    /// Its partition's name; empty as long as it has none of its own.
    pub partition: String,
    /// What was reported.
    pub status: Status,
}

/// Things that changed, as far as the caller may see them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenChanges {
    /// Nodes with the revision of what they are told.
    pub nodes: Vec<(NodeReference, i64)>,
    /// Trees with their titles.
    pub trees: Vec<(TreeKey, String)>,
}

/// Refuses nobody known; lists are empty rather than refused to everybody else.
pub(super) fn known(caller: Caller, what: &str) -> Result<(), StoreError> {
    if caller == Caller::Anonymous {
        access::check(caller, Action::SeeProject, &Facts::default(), what)?;
    }
    Ok(())
}

pub(super) fn status(row: &Row, from: usize) -> Result<Status, SqlError> {
    Ok(Status {
        reported: row.text(from)?.to_owned(),
        text: row.maybe_text(from + 1)?.map(str::to_owned),
        at: row.maybe_int(from + 2)?.map(Timestamp),
        since: row.maybe_int(from + 3)?.map(Timestamp),
    })
}

/// A tree's title, and what access to it depends on.
fn tree_facts(
    sql: &mut Connection,
    caller: Caller,
    tree: TreeKey,
) -> Result<Option<(String, Facts)>, StoreError> {
    let row = sql.one(
        "SELECT title, project_id, person_id FROM tree WHERE id = ?1",
        params![tree.0],
    )?;
    let Some(row) = row else {
        return Ok(None);
    };
    let project = ProjectKey(row.int(1)?);
    let facts = Facts {
        project: Some(project),
        role: instances::role_of(sql, caller, project)?,
        owner: Some(PersonKey(row.int(2)?)),
        tree: Some(tree),
        ..Facts::default()
    };
    Ok(Some((row.text(0)?.to_owned(), facts)))
}

/// Checks that the caller may see a tree; its title.
pub(super) fn see_tree(
    sql: &mut Connection,
    caller: Caller,
    tree: TreeKey,
) -> Result<String, StoreError> {
    let shown = format!("instance tree {tree}");
    match tree_facts(sql, caller, tree)? {
        Some((title, facts)) => {
            access::check(caller, Action::SeeInstance, &facts, &shown)?;
            Ok(title)
        }
        None => Err(access::absent(caller, &shown).into()),
    }
}

impl Store {
    /// The calling person's own trees that are not archived, in the order of their titles; an
    /// instance's own one. Each line costs two look-ups, however many instances there are.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn list_trees(
        &self,
        caller: Caller,
        page: Page,
    ) -> Result<Vec<TreeLine>, StoreError> {
        self.read(move |sql| {
            known(caller, "instance tree")?;
            let rows = match caller {
                // An owner sees its trees as long as it belongs to their projects: the rule of
                // `access`, here where the database pages.
                Caller::Person {
                    person,
                    administrator,
                } => sql.all(
                    "SELECT t.id, t.title, r.url FROM tree t \
                     JOIN instance i ON i.tree_id = t.id AND i.title = t.title \
                      AND i.requester_id IS NULL AND i.removed_at IS NULL \
                     JOIN release r ON r.id = i.release_id \
                     WHERE t.person_id = ?1 AND t.archived_at IS NULL AND (?2 = 1 OR EXISTS \
                      (SELECT 1 FROM member m \
                       WHERE m.project_id = t.project_id AND m.person_id = ?1)) \
                     ORDER BY t.title, t.id LIMIT ?3 OFFSET ?4",
                    params![person.0, administrator, page.limit, page.skip],
                )?,
                Caller::Instance { tree, .. } => sql.all(
                    "SELECT t.id, t.title, r.url FROM tree t \
                     JOIN instance i ON i.tree_id = t.id AND i.title = t.title \
                      AND i.requester_id IS NULL AND i.removed_at IS NULL \
                     JOIN release r ON r.id = i.release_id \
                     WHERE t.id = ?1 AND t.archived_at IS NULL LIMIT ?2 OFFSET ?3",
                    params![tree.0, page.limit, page.skip],
                )?,
                Caller::Anonymous | Caller::Node(_) | Caller::Master => Vec::new(),
            };
            let line = |row: &Row| {
                Ok(TreeLine {
                    key: TreeKey(row.int(0)?),
                    title: row.text(1)?.to_owned(),
                    release: row.text(2)?.to_owned(),
                })
            };
            Ok(rows.iter().map(line).collect::<Result<_, SqlError>>()?)
        })
        .await
    }

    /// The tree of a title that the caller knows by it: a person's own one, an
    /// instance's own one.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn tree_titled(
        &self,
        caller: Caller,
        title: String,
    ) -> Result<Option<TreeKey>, StoreError> {
        self.read(move |sql| {
            known(caller, "instance tree")?;
            let row = match caller {
                Caller::Person { person, .. } => sql.one(
                    "SELECT id FROM tree \
                     WHERE person_id = ?1 AND title = ?2 AND archived_at IS NULL",
                    params![person.0, title.as_str()],
                )?,
                Caller::Instance { tree, .. } => sql.one(
                    "SELECT id FROM tree WHERE id = ?1 AND title = ?2 AND archived_at IS NULL",
                    params![tree.0, title.as_str()],
                )?,
                Caller::Anonymous | Caller::Node(_) | Caller::Master => None,
            };
            let Some(row) = row else {
                return Ok(None);
            };
            let key = TreeKey(row.int(0)?);
            let seen = tree_facts(sql, caller, key)?.is_some_and(|(_, facts)| {
                access::verdict(caller, Action::SeeInstance, &facts) == Verdict::Allowed
            });
            Ok(seen.then_some(key))
        })
        .await
    }

    /// As [`Store::tree_titled`]; where a person has none, the last one that had this title, as long
    /// as something of it is still there.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn tree_last_titled(
        &self,
        caller: Caller,
        title: String,
    ) -> Result<Option<TreeKey>, StoreError> {
        if let Some(key) = self.tree_titled(caller, title.clone()).await? {
            return Ok(Some(key));
        }
        let Caller::Person { person, .. } = caller else {
            return Ok(None);
        };
        self.read(move |sql| {
            let row = sql.one(
                "SELECT t.id FROM tree t \
                 WHERE t.person_id = ?1 AND t.title = ?2 AND t.archived_at IS NOT NULL AND EXISTS ( \
                 SELECT 1 FROM instance i WHERE i.tree_id = t.id AND i.removed_at IS NULL) \
                 ORDER BY t.id DESC LIMIT 1",
                params![person.0, title.as_str()],
            )?;
            let Some(row) = row else {
                return Ok(None);
            };
            let key = TreeKey(row.int(0)?);
            let seen = tree_facts(sql, caller, key)?.is_some_and(|(_, facts)| {
                access::verdict(caller, Action::SeeInstance, &facts) == Verdict::Allowed
            });
            Ok(seen.then_some(key))
        })
        .await
    }

    /// A tree with its root, and what was last reported of its first instances.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such tree for the caller.
    pub async fn tree(
        &self,
        caller: Caller,
        tree: TreeKey,
        news_max: i64,
    ) -> Result<(TreeRecord, Vec<InstanceNews>), StoreError> {
        self.read(move |sql| {
            let title = see_tree(sql, caller, tree)?;
            let root = instances::root_of(sql, tree)?
                .ok_or_else(|| Refusal::unknown("instance tree", tree))?;
            let owner = sql
                .one(
                    "SELECT login FROM person WHERE id = ?1",
                    params![root.owner.0],
                )?
                .map(|row| row.text(0).map(str::to_owned))
                .transpose()?
                .unwrap_or_default();
            let rows = sql.all(
                "SELECT id, reported, status_text, status_at, status_since FROM instance \
                 WHERE tree_id = ?1 AND removed_at IS NULL AND status_text IS NOT NULL \
                 ORDER BY id LIMIT ?2",
                params![tree.0, news_max],
            )?;
            let news = |row: &Row| {
                Ok(InstanceNews {
                    key: InstanceKey(row.int(0)?),
                    partition: String::new(),
                    status: status(row, 1)?,
                })
            };
            let news = rows.iter().map(news).collect::<Result<_, SqlError>>()?;
            let record = TreeRecord {
                key: tree,
                title,
                project: root.record.project,
                owner,
                root: root.record,
            };
            Ok((record, news))
        })
        .await
    }

    /// A part of the instances of a tree, in the order they came.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such tree for the caller.
    pub async fn list_members(
        &self,
        caller: Caller,
        tree: TreeKey,
        page: Page,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.read(move |sql| {
            see_tree(sql, caller, tree)?;
            let rows = sql.all(
                select_instances!(
                    "WHERE i.tree_id = ?1 AND i.removed_at IS NULL ORDER BY i.id \
                     LIMIT ?2 OFFSET ?3"
                ),
                params![tree.0, page.limit, page.skip],
            )?;
            let record = |row| instances::from_row(row).map(|found| found.record);
            Ok(rows.iter().map(record).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The nodes the caller may see, oldest first; with `only`, that one if it is among them.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn list_nodes(
        &self,
        caller: Caller,
        only: Option<NodeReference>,
        page: Page,
    ) -> Result<Vec<NodeLine>, StoreError> {
        self.read(move |sql| {
            known(caller, "compute node")?;
            // One node is a range of one.
            let (from, to) = only.map_or((0, i64::MAX), |node| (node.key.0, node.key.0));
            let rows = match caller {
                Caller::Master
                | Caller::Person {
                    administrator: true,
                    ..
                } => sql.all(
                    "SELECT n.id, n.kind, n.title FROM node n \
                     WHERE n.removed_at IS NULL AND n.id BETWEEN ?1 AND ?2 \
                     ORDER BY n.id LIMIT ?3 OFFSET ?4",
                    params![from, to, page.limit, page.skip],
                )?,
                Caller::Person { person, .. } => sql.all(
                    "SELECT n.id, n.kind, n.title FROM node n \
                     JOIN member m ON m.project_id = n.project_id AND m.person_id = ?5 \
                     WHERE n.removed_at IS NULL AND n.id BETWEEN ?1 AND ?2 \
                     ORDER BY n.id LIMIT ?3 OFFSET ?4",
                    params![from, to, page.limit, page.skip, person.0],
                )?,
                Caller::Node(node) => sql.all(
                    "SELECT n.id, n.kind, n.title FROM node n \
                     WHERE n.removed_at IS NULL AND n.id BETWEEN ?1 AND ?2 AND n.id = ?5 \
                     ORDER BY n.id LIMIT ?3 OFFSET ?4",
                    params![from, to, page.limit, page.skip, node.0],
                )?,
                Caller::Anonymous | Caller::Instance { .. } => Vec::new(),
            };
            let line = |row: &Row| {
                Ok(NodeLine {
                    node: NodeKey(row.int(0)?).reference(row.parsed(1)?),
                    title: row.text(2)?.to_owned(),
                })
            };
            let lines: Vec<NodeLine> = rows.iter().map(line).collect::<Result<_, SqlError>>()?;
            let asked = |line: &NodeLine| only.is_none_or(|only| only == line.node);
            Ok(lines.into_iter().filter(asked).collect())
        })
        .await
    }

    /// What was last reported of the instances on a node's partitions, as far as the caller may see
    /// them.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn partition_news(
        &self,
        caller: Caller,
        node: NodeReference,
    ) -> Result<Vec<InstanceNews>, StoreError> {
        self.read(move |sql| {
            let gate = nodes::gate(sql, caller, Action::SeeNode, node)?;
            let role = instances::role_of(sql, caller, gate.project)?;
            let rows = sql.all(
                "SELECT i.id, i.reported, i.status_text, i.status_at, i.status_since, p.name, \
                 i.tree_id, t.person_id FROM partition p JOIN instance i ON i.id = p.instance_id \
                 JOIN tree t ON t.id = i.tree_id WHERE p.node_id = ?1 AND i.project_id = ?2 \
                 ORDER BY p.position",
                params![node.key.0, gate.project.0],
            )?;
            let mut news = Vec::with_capacity(rows.len());
            for row in &rows {
                let key = InstanceKey(row.int(0)?);
                let facts = Facts {
                    project: Some(gate.project),
                    role,
                    node: Some(node.key),
                    owner: Some(PersonKey(row.int(7)?)),
                    tree: Some(TreeKey(row.int(6)?)),
                    instance: Some(key),
                    host: None,
                };
                if access::verdict(caller, Action::SeeInstance, &facts) == Verdict::Allowed {
                    news.push(InstanceNews {
                        key,
                        partition: row.text(5)?.to_owned(),
                        status: status(row, 1)?,
                    });
                }
            }
            Ok(news)
        })
        .await
    }

    /// A release on a node, by its own reference.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such one for the caller.
    pub async fn installation_by_key(
        &self,
        caller: Caller,
        key: InstallationKey,
    ) -> Result<InstallationRecord, StoreError> {
        self.read(move |sql| {
            known(caller, "software installation")?;
            let unknown = || Refusal::unknown("software installation", key);
            let row = sql
                .one(
                    "SELECT n.id, n.kind FROM installation s JOIN node n ON n.id = s.node_id \
                     WHERE s.id = ?1 AND s.removed_at IS NULL",
                    params![key.0],
                )?
                .ok_or_else(unknown)?;
            let node = NodeKey(row.int(0)?).reference(row.parsed(1)?);
            match nodes::gate(sql, caller, Action::SeeNode, node) {
                // Which node it is on is not for everybody to know.
                Err(StoreError::Refused(Refusal::NotFound(_))) => return Err(unknown().into()),
                other => other?,
            };
            let row = sql
                .one(
                    &format!("{SELECT_INSTALLATION} WHERE s.id = ?1 AND s.removed_at IS NULL"),
                    params![key.0],
                )?
                .ok_or_else(unknown)?;
            Ok(installation_from_row(&row, node)?)
        })
        .await
    }

    /// The revision of what a node is told. Unlike [`Store::node_revision`] it says nothing of the
    /// node being alive: who looks is this Master, for a stream that is open.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn watched_revision(
        &self,
        caller: Caller,
        node: NodeReference,
    ) -> Result<i64, StoreError> {
        self.read(move |sql| Ok(nodes::gate(sql, caller, Action::SeeNode, node)?.revision))
            .await
    }

    /// The title of a tree.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such tree for the caller.
    pub async fn tree_title(&self, caller: Caller, tree: TreeKey) -> Result<String, StoreError> {
        self.read(move |sql| see_tree(sql, caller, tree)).await
    }

    /// Those of the things that changed that the caller may see.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn seen_changes(
        &self,
        caller: Caller,
        nodes: Vec<NodeKey>,
        trees: Vec<TreeKey>,
    ) -> Result<SeenChanges, StoreError> {
        self.read(move |sql| {
            known(caller, "change")?;
            let mut seen = SeenChanges::default();
            for key in nodes {
                let row = sql.one(
                    "SELECT kind, project_id, revision FROM node WHERE id = ?1",
                    params![key.0],
                )?;
                let Some(row) = row else { continue };
                let project = ProjectKey(row.int(1)?);
                let facts = Facts {
                    project: Some(project),
                    role: instances::role_of(sql, caller, project)?,
                    node: Some(key),
                    ..Facts::default()
                };
                if access::verdict(caller, Action::SeeNode, &facts) == Verdict::Allowed {
                    seen.nodes
                        .push((key.reference(row.parsed(0)?), row.int(2)?));
                }
            }
            for key in trees {
                if let Some((title, facts)) = tree_facts(sql, caller, key)?
                    && access::verdict(caller, Action::SeeInstance, &facts) == Verdict::Allowed
                {
                    seen.trees.push((key, title));
                }
            }
            Ok(seen)
        })
        .await
    }
}
