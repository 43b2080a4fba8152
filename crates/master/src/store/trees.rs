//! Reading trees and their members.

use super::instances::{self, Found};
use super::records::{InstanceRecord, Subject, TreeRecord};
use super::sql::{Connection, params};
use super::{Store, StoreError};
use crate::domain::access::{self, Action, Caller, Facts};
use crate::domain::{InstanceKey, TreeKey};

impl Store {
    /// An instance.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such one for the caller.
    pub async fn instance(
        &self,
        caller: Caller,
        subject: Subject,
    ) -> Result<InstanceRecord, StoreError> {
        self.read(move |sql| {
            Ok(instances::subject(sql, caller, Action::SeeInstance, &subject)?.record)
        })
        .await
    }

    /// The shared instances an instance serves, in any state.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such instance for the caller.
    pub async fn shared_on(
        &self,
        caller: Caller,
        host: InstanceKey,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.read(move |sql| {
            instances::subject(sql, caller, Action::SeeInstance, &Subject::Instance(host))?;
            Ok(records(instances::shared_on(sql, host)?))
        })
        .await
    }

    /// As [`Store::shared_on`], for who was given the host's record a moment ago: that showed that
    /// it may see this too.
    ///
    /// # Errors
    /// The database.
    pub(crate) async fn shared_by(
        &self,
        host: &InstanceRecord,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        let host = host.key;
        self.read(move |sql| Ok(records(instances::shared_on(sql, host)?)))
            .await
    }

    /// The calling person's trees in the order of their titles; for an administrator or the Master
    /// itself, everybody's. `after` and `limit` page through them.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn trees(
        &self,
        caller: Caller,
        title: Option<String>,
        limit: i64,
    ) -> Result<Vec<TreeRecord>, StoreError> {
        self.read(move |sql| {
            let (all, person) = match caller {
                Caller::Anonymous => {
                    access::check(caller, Action::SeeInstance, &Facts::default(), "tree")?;
                    return Ok(Vec::new());
                }
                Caller::Master => (true, 0),
                Caller::Person { person, .. } => (false, person.0),
                Caller::Node(_) | Caller::Instance { .. } => return Ok(Vec::new()),
            };
            let rows = sql.all(
                "SELECT t.id, t.title, w.login FROM tree t JOIN person w ON w.id = t.person_id \
                 WHERE t.archived_at IS NULL AND (?1 = 1 OR t.person_id = ?2) \
                 AND (?3 IS NULL OR t.title = ?3) ORDER BY t.title, t.id LIMIT ?4",
                params![all, person, title.as_deref(), limit],
            )?;
            let mut trees = Vec::with_capacity(rows.len());
            for row in &rows {
                let key = TreeKey(row.int(0)?);
                if let Some(root) = instances::root_of(sql, key)? {
                    let role = instances::role_of(sql, caller, root.record.project)?;
                    let facts = root.facts(role);
                    if access::verdict(caller, Action::SeeInstance, &facts)
                        != access::Verdict::Allowed
                    {
                        continue;
                    }
                    trees.push(TreeRecord {
                        key,
                        title: row.text(1)?.to_owned(),
                        project: root.record.project,
                        owner: row.text(2)?.to_owned(),
                        root: root.record,
                    });
                }
            }
            Ok(trees)
        })
        .await
    }

    /// The root of the calling person's tree of this title.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn tree_by_title(
        &self,
        caller: Caller,
        title: String,
    ) -> Result<Option<InstanceRecord>, StoreError> {
        let mut trees = self.trees(caller, Some(title), 1).await?;
        Ok(trees.pop().map(|tree| tree.root))
    }

    /// All instances of a tree in the order they came.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such tree for the caller.
    pub async fn tree_members(
        &self,
        caller: Caller,
        tree: TreeKey,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.read(move |sql| {
            let members = instances::of_tree(sql, tree)?;
            check_tree(sql, caller, Action::SeeInstance, &members, tree)?;
            Ok(records(members))
        })
        .await
    }

    /// Addresses of all partitions of the tree an instance belongs to: interface and address
    /// (P 1.3, `getHostingSubscriptionIpList`).
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such instance for the caller.
    pub async fn tree_addresses(
        &self,
        caller: Caller,
        subject: Subject,
    ) -> Result<Vec<(String, String)>, StoreError> {
        self.read(move |sql| {
            let found = instances::subject(sql, caller, Action::SeeInstance, &subject)?;
            let members = instances::of_tree(sql, found.record.tree)?;
            Ok(members
                .into_iter()
                .filter(|member| member.record.host.is_none())
                .flat_map(|member| member.record.addresses)
                .map(|address| (address.interface, address.ip))
                .collect())
        })
        .await
    }

    /// Instances on a node, shared ones left out, in the order they came.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such node for the caller.
    pub async fn instances_on(
        &self,
        caller: Caller,
        node: crate::domain::NodeReference,
    ) -> Result<Vec<InstanceRecord>, StoreError> {
        self.read(move |sql| {
            super::nodes::gate(sql, caller, Action::SeeNode, node)?;
            let mut seen = Vec::new();
            for found in super::documents::on_node(sql, node.key)? {
                if found.record.host.is_some() {
                    continue;
                }
                let role = instances::role_of(sql, caller, found.record.project)?;
                let facts = found.facts(role);
                if access::verdict(caller, Action::SeeInstance, &facts) == access::Verdict::Allowed
                {
                    seen.push(found.record);
                }
            }
            Ok(seen)
        })
        .await
    }
}

fn records(found: Vec<Found>) -> Vec<InstanceRecord> {
    found.into_iter().map(|found| found.record).collect()
}

/// Checks that the caller may do this with a tree, by its root or what is left of it.
pub(super) fn check_tree(
    sql: &mut Connection,
    caller: Caller,
    action: Action,
    members: &[Found],
    tree: TreeKey,
) -> Result<(), StoreError> {
    let shown = format!("instance tree {tree}");
    match members.first() {
        Some(member) => instances::check(sql, caller, action, member, &shown),
        None => Err(access::absent(caller, &shown).into()),
    }
}
