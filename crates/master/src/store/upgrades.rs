//! Upgrades: a tree whose root uses an older release of a product is offered a better one, which its
//! owner takes or turns down, or which is taken by itself (P 6.14).
//!
//! What is to be done is [`upgrade::due`]'s to say. It is asked when something changed (a product, an
//! answer, a tree's policy) and, for dates that come, from time to time. What was accepted is carried
//! out as soon as the new release can be used on the root's node, in the transaction in which it
//! becomes usable.

use serde_json::json;
use slap::{InstallationState, InstanceState, ReleaseUrl};

use super::audit::audit;
use super::instances::{self, Found};
use super::listing::see_tree;
use super::products::ranked;
use super::sql::{Connection, Row, SqlError, params};
use super::trees::check_tree;
use super::writer::Tx;
use super::{Store, StoreError, lifecycle, placement, software, versions};
use crate::domain::access::{Action, Caller};
use crate::domain::upgrade::{self, Answer, Decision, DecisionState, Step, UpgradePolicy};
use crate::domain::{
    DecisionKey, NodeKind, ProductKey, ProjectKey, Refusal, ReleaseKey, Timestamp, TreeKey,
};

/// Trees looked at in one transaction.
const PASS_TREES: i64 = 200;
/// Trees looked for in one read: it must not keep others waiting.
const PASS_RANGE: i64 = 5_000;
/// Trees that are upgraded or offered an upgrade while whoever changed a product waits.
const AT_ONCE: usize = 1_000;
/// Decisions one is shown at a time.
const PAGE_MAX: i64 = 10_000;

/// An upgrade a tree was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Its number.
    pub key: DecisionKey,
    /// The tree.
    pub tree: TreeKey,
    /// The tree's title.
    pub title: String,
    /// The login of its owner.
    pub owner: String,
    /// Its project.
    pub project: ProjectKey,
    /// The release the root had when it was offered.
    pub from: String,
    /// The release that is offered.
    pub to: String,
    /// How far it has come.
    pub state: DecisionState,
    /// When it was offered.
    pub created_at: Timestamp,
}

const SELECT: &str = "SELECT d.id, d.tree_id, t.title, w.login, t.project_id, f.url, r.url, d.state, \
     d.created_at FROM upgrade_decision d JOIN tree t ON t.id = d.tree_id \
     JOIN person w ON w.id = t.person_id JOIN release f ON f.id = d.from_release_id \
     JOIN release r ON r.id = d.to_release_id";

fn from_row(row: &Row) -> Result<DecisionRecord, SqlError> {
    Ok(DecisionRecord {
        key: DecisionKey(row.int(0)?),
        tree: TreeKey(row.int(1)?),
        title: row.text(2)?.to_owned(),
        owner: row.text(3)?.to_owned(),
        project: ProjectKey(row.int(4)?),
        from: row.text(5)?.to_owned(),
        to: row.text(6)?.to_owned(),
        state: row.parsed(7)?,
        created_at: Timestamp(row.int(8)?),
    })
}

/// The product that has a release, in a project.
fn product_of(
    sql: &mut Connection,
    project: ProjectKey,
    release: i64,
) -> Result<Option<ProductKey>, StoreError> {
    let row = sql.one(
        "SELECT p.id FROM product_release pr JOIN product p ON p.id = pr.product_id \
         WHERE pr.release_id = ?1 AND p.project_id = ?2 ORDER BY p.id LIMIT 1",
        params![release, project.0],
    )?;
    Ok(row
        .map(|row| Ok::<_, SqlError>(ProductKey(row.int(0)?)))
        .transpose()?)
}

fn decisions_of(sql: &mut Connection, tree: TreeKey) -> Result<Vec<Decision>, StoreError> {
    let rows = sql.all(
        "SELECT id, to_release_id, state FROM upgrade_decision WHERE tree_id = ?1 ORDER BY id",
        params![tree.0],
    )?;
    Ok(rows
        .iter()
        .map(|row| {
            Ok(Decision {
                key: DecisionKey(row.int(0)?),
                to: ReleaseKey(row.int(1)?),
                state: row.parsed(2)?,
            })
        })
        .collect::<Result<_, SqlError>>()?)
}

/// Does what is due about a tree's upgrades.
pub(super) fn review(tx: &mut Tx<'_>, tree: TreeKey) -> Result<(), StoreError> {
    // Carrying an upgrade out may make the next one due; each round uses up a decision.
    for _ in 0..PASS_TREES {
        let Some(root) = instances::root_of(tx.sql(), tree)? else {
            return Ok(());
        };
        if root.record.state == InstanceState::Destroyed {
            return Ok(());
        }
        let project = root.record.project;
        let now = tx.now();
        let releases = match product_of(tx.sql(), project, root.release_id)? {
            Some(product) => ranked(tx.sql(), product, now)?.0,
            None => Vec::new(),
        };
        let policy = tx
            .one("SELECT upgrade FROM tree WHERE id = ?1", params![tree.0])?
            .map(|row| row.parsed(0))
            .transpose()?
            .unwrap_or_default();
        let decisions = decisions_of(tx.sql(), tree)?;
        let present = ReleaseKey(root.release_id);
        for step in upgrade::due(present, &releases, &decisions, policy, now) {
            apply(tx, &root, step)?;
        }
        if !carry_out(tx, &root)? {
            return Ok(());
        }
    }
    Ok(())
}

fn apply(tx: &mut Tx<'_>, root: &Found, step: Step) -> Result<(), StoreError> {
    let now = tx.now();
    let tree = root.record.tree;
    let (word, detail) = match step {
        Step::Withdraw(key) => {
            tx.execute(
                "DELETE FROM upgrade_decision WHERE id = ?1 AND state = 'planned'",
                params![key.0],
            )?;
            ("withdraw_upgrade", json!({"decision": key.0}))
        }
        Step::Finish(key) => {
            tx.execute(
                "UPDATE upgrade_decision SET state = 'done' WHERE id = ?1",
                params![key.0],
            )?;
            ("upgrade", json!({"decision": key.0}))
        }
        Step::Accept(key) => {
            tx.execute(
                "UPDATE upgrade_decision SET state = 'accepted', decided_at = ?2 WHERE id = ?1",
                params![key.0, now.0],
            )?;
            ("accept_upgrade", json!({"decision": key.0}))
        }
        Step::Propose { to, state } => {
            let decided = (state == DecisionState::Accepted).then_some(now.0);
            let key = tx.insert(
                "INSERT INTO upgrade_decision (tree_id, from_release_id, to_release_id, state, \
                 decided_at, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING id",
                params![
                    tree.0,
                    root.release_id,
                    to.0,
                    state.as_str(),
                    decided,
                    now.0
                ],
            )?;
            (
                "propose_upgrade",
                json!({"decision": key, "state": state.as_str()}),
            )
        }
    };
    tx.changes.trees.insert(tree);
    audit(
        tx,
        Caller::Master,
        word,
        &tree.to_string(),
        Some(root.record.project),
        detail,
    )
}

/// Carries out the accepted upgrade of a tree, if there is one and its release can be used where the
/// root is; otherwise has it supplied there. `true` when the root has it now.
fn carry_out(tx: &mut Tx<'_>, root: &Found) -> Result<bool, StoreError> {
    let record = &root.record;
    let row = tx.one(
        "SELECT d.id, d.to_release_id, r.url FROM upgrade_decision d \
         JOIN release r ON r.id = d.to_release_id \
         WHERE d.tree_id = ?1 AND d.state = 'accepted' ORDER BY d.id LIMIT 1",
        params![record.tree.0],
    )?;
    let Some(row) = row else { return Ok(false) };
    let (decision, release, url) = (row.int(0)?, row.int(1)?, row.text(2)?.to_owned());
    if release == root.release_id {
        return Ok(false);
    }
    if let Some(place) = &record.placement
        && place.node.kind == NodeKind::Compute
        && !record.shared
    {
        let usable = tx
            .one(
                "SELECT CASE WHEN reported = 'available' THEN 1 ELSE 0 END FROM installation \
                 WHERE node_id = ?1 AND release_id = ?2 AND state = 'available' \
                 AND removed_at IS NULL",
                params![place.node.key.0, release],
            )?
            .map(|row| row.flag(0))
            .transpose()?;
        match usable {
            Some(true) => {}
            Some(false) => return Ok(false),
            None => {
                let url = ReleaseUrl::new(url)
                    .map_err(|error| StoreError::Internal(format!("release {release}: {error}")))?;
                let project = node_project(tx.sql(), place.node.key.0)?;
                software::supply(
                    tx,
                    Caller::Master,
                    place.node,
                    project,
                    &url,
                    InstallationState::Available,
                )?;
                return Ok(false);
            }
        }
    }
    versions::keep(tx, Caller::Master, root)?;
    tx.execute(
        "UPDATE instance SET release_id = ?2 WHERE id = ?1",
        params![record.key.0, release],
    )?;
    // What the root has counts as what it was upgraded from: a client that asks again for the
    // release it knew means the tree as it is now.
    tx.execute(
        "UPDATE upgrade_decision SET state = 'done', from_release_id = ?2 WHERE id = ?1",
        params![decision, root.release_id],
    )?;
    if record.shared && root.placed {
        lifecycle::leave_host(tx, root)?;
    }
    lifecycle::touch(tx, root)?;
    placement::try_place(tx, record.key)?;
    audit(
        tx,
        Caller::Master,
        "upgrade",
        &record.tree.to_string(),
        Some(record.project),
        json!({"decision": decision, "from": record.release, "to": url}),
    )?;
    Ok(true)
}

fn node_project(sql: &mut Connection, node: i64) -> Result<ProjectKey, StoreError> {
    sql.one("SELECT project_id FROM node WHERE id = ?1", params![node])?
        .map(|row| row.int(0))
        .transpose()?
        .map(ProjectKey)
        .ok_or_else(|| StoreError::Internal(format!("node {node} is gone")))
}

/// Carries out what was accepted and waited for releases that can be used from now on: part of each
/// transaction.
pub(super) fn carry_out_waiting(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    let keys: Vec<_> = tx.changes.placeable.iter().copied().collect();
    for (project, release) in keys {
        let rows = tx.all(
            "SELECT d.tree_id FROM upgrade_decision d JOIN tree t ON t.id = d.tree_id \
             WHERE d.to_release_id = ?1 AND d.state = 'accepted' AND t.project_id = ?2 \
             AND t.archived_at IS NULL ORDER BY d.id LIMIT ?3",
            params![release, project.0, PASS_TREES],
        )?;
        for row in &rows {
            review(tx, TreeKey(row.int(0)?))?;
        }
    }
    Ok(())
}

/// Trees in a range of which something may be due: those with an open decision, and those whose root
/// uses a release for which the product has a better one.
const CANDIDATES: &str = "SELECT DISTINCT t.id FROM tree t JOIN instance i ON i.tree_id = t.id \
     AND i.requester_id IS NULL AND i.removed_at IS NULL \
     WHERE t.archived_at IS NULL AND t.id > ?3 AND t.id <= ?4 AND (\
       EXISTS (SELECT 1 FROM upgrade_decision d WHERE d.tree_id = t.id \
         AND d.state IN ('planned', 'accepted')) \
       OR EXISTS (SELECT 1 FROM product_release pr JOIN product p ON p.id = pr.product_id \
         JOIN product_release b ON b.product_id = p.id \
         WHERE pr.release_id = i.release_id AND p.project_id = t.project_id \
         AND (b.effective_at IS NULL OR b.effective_at <= ?1) \
         AND (COALESCE(b.effective_at, b.created_at) > COALESCE(pr.effective_at, pr.created_at) \
           OR COALESCE(b.effective_at, b.created_at) = COALESCE(pr.effective_at, pr.created_at) \
           AND b.release_id > pr.release_id) \
         AND NOT EXISTS (SELECT 1 FROM upgrade_decision d WHERE d.tree_id = t.id \
           AND d.to_release_id = b.release_id AND d.state IN ('rejected', 'done')))) \
     ORDER BY t.id LIMIT ?2";

fn keys_of(rows: &[Row]) -> Result<Vec<i64>, SqlError> {
    rows.iter().map(|row| row.int(0)).collect()
}

fn highest_tree(sql: &mut Connection) -> Result<i64, SqlError> {
    sql.one("SELECT COALESCE(MAX(id), 0) FROM tree", &[])?
        .map_or(Ok(0), |row| row.int(0))
}

/// What there is of products at a time: when it is another, trees may be due that were not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Catalogue {
    releases: i64,
    newest: i64,
    in_effect: i64,
    dates: i64,
}

fn catalogue(sql: &mut Connection, now: Timestamp) -> Result<Catalogue, SqlError> {
    let row = sql.one(
        "SELECT COUNT(*), COALESCE(MAX(created_at), 0), \
         COALESCE(SUM(CASE WHEN effective_at <= ?1 THEN 1 ELSE 0 END), 0), \
         COALESCE(SUM(effective_at / 1000000), 0) FROM product_release",
        params![now.0],
    )?;
    let Some(row) = row else {
        return Ok(Catalogue::default());
    };
    Ok(Catalogue {
        releases: row.int(0)?,
        newest: row.int(1)?,
        in_effect: row.int(2)?,
        dates: row.int(3)?,
    })
}

/// What a Master remembers between two looks at the upgrades of all trees, so that a look at rest
/// costs next to nothing.
#[derive(Debug, Default)]
pub struct UpgradeWatch {
    seen: Option<(Catalogue, i64)>,
}

impl UpgradeWatch {
    /// Does what is due: for all trees where the products have changed (a date has come, too), else
    /// for those that are new, and those whose accepted upgrade waits for its release.
    ///
    /// # Errors
    /// The database.
    pub async fn look(&mut self, store: &Store) -> Result<(), StoreError> {
        let now = store.clock().now();
        let (catalogue, highest, accepted) = store
            .read(move |sql| {
                let accepted = sql.all(
                    "SELECT DISTINCT tree_id FROM upgrade_decision WHERE state = 'accepted' \
                     ORDER BY tree_id LIMIT ?1",
                    params![PAGE_MAX],
                )?;
                Ok((
                    catalogue(sql, now)?,
                    highest_tree(sql)?,
                    keys_of(&accepted)?,
                ))
            })
            .await?;
        for trees in accepted.chunks(usize::try_from(PASS_TREES).unwrap_or(1)) {
            store.review_trees(trees.to_vec()).await?;
        }
        let after = match self.seen {
            Some((seen, highest)) if seen == catalogue => highest,
            _ => 0,
        };
        if catalogue.releases > 1 || self.seen.is_none() {
            store.review_range(after, highest, usize::MAX).await?;
        }
        self.seen = Some((catalogue, highest));
        Ok(())
    }
}

impl Store {
    /// Does what is due about the upgrades of all trees, as far as that is quickly done: the rest is
    /// the [`UpgradeWatch`]'s. Doing it again changes nothing.
    ///
    /// # Errors
    /// The database.
    pub async fn review_upgrades(&self) -> Result<(), StoreError> {
        let highest = self.read(|sql| Ok(highest_tree(sql)?)).await?;
        self.review_range(0, highest, AT_ONCE).await
    }

    /// Does what is due about the upgrades of the trees after one up to another, as long as it is
    /// not too many of which something is.
    async fn review_range(
        &self,
        mut after: i64,
        highest: i64,
        most: usize,
    ) -> Result<(), StoreError> {
        let mut looked_at = 0;
        while after < highest && looked_at < most {
            let until = highest.min(after + PASS_RANGE);
            let now = self.clock().now();
            let trees = self
                .read(move |sql| {
                    let rows = sql.all(CANDIDATES, params![now.0, PASS_TREES, after, until])?;
                    Ok(keys_of(&rows)?)
                })
                .await?;
            after = match trees.last() {
                Some(last) if trees.len() == usize::try_from(PASS_TREES).unwrap_or(0) => *last,
                _ => until,
            };
            looked_at += trees.len();
            self.review_trees(trees).await?;
        }
        Ok(())
    }

    async fn review_trees(&self, trees: Vec<i64>) -> Result<(), StoreError> {
        if trees.is_empty() {
            return Ok(());
        }
        self.write(move |tx| {
            for tree in &trees {
                review(tx, TreeKey(*tree))?;
            }
            Ok(())
        })
        .await
    }

    /// The upgrades that the trees a caller may manage were offered, the newest first; open ones
    /// only, or all.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn decisions(
        &self,
        caller: Caller,
        all: bool,
    ) -> Result<Vec<DecisionRecord>, StoreError> {
        self.read(move |sql| {
            let (everything, person) = match caller {
                Caller::Master => (true, 0),
                Caller::Person {
                    person,
                    administrator,
                } => (administrator, person.0),
                Caller::Node(_) | Caller::Instance { .. } => return Ok(Vec::new()),
                Caller::Anonymous => {
                    crate::domain::access::check(
                        caller,
                        Action::ManageTree,
                        &Default::default(),
                        "upgrade",
                    )?;
                    return Ok(Vec::new());
                }
            };
            let rows = sql.all(
                &format!(
                    "{SELECT} WHERE (?1 = 1 OR d.state IN ('planned', 'accepted')) \
                     AND t.archived_at IS NULL AND (?2 = 1 OR EXISTS (SELECT 1 FROM member m \
                       WHERE m.project_id = t.project_id AND m.person_id = ?3 \
                       AND (t.person_id = ?3 OR m.role = 'manager'))) \
                     ORDER BY d.id DESC LIMIT ?4"
                ),
                params![all, everything, person, PAGE_MAX],
            )?;
            Ok(rows.iter().map(from_row).collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The upgrade a tree is offered, or that is under way.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such tree for the caller, or no such upgrade.
    pub async fn open_decision(
        &self,
        caller: Caller,
        tree: TreeKey,
    ) -> Result<DecisionRecord, StoreError> {
        self.read(move |sql| {
            let title = see_tree(sql, caller, tree)?;
            let row = sql.one(
                &format!(
                    "{SELECT} WHERE d.tree_id = ?1 AND d.state IN ('planned', 'accepted') \
                     ORDER BY d.state DESC, d.id DESC LIMIT 1"
                ),
                params![tree.0],
            )?;
            let none = || Refusal::Conflict(format!("no upgrade is offered for {title:?}"));
            Ok(from_row(&row.ok_or_else(none)?)?)
        })
        .await
    }

    /// Takes an upgrade, or turns it down; what became of it. Giving the same answer again changes
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such offer for the caller, or it is too late.
    pub async fn answer_decision(
        &self,
        caller: Caller,
        key: DecisionKey,
        answer: Answer,
    ) -> Result<DecisionRecord, StoreError> {
        self.write(move |tx| {
            let unknown = || Refusal::unknown("upgrade", key.0);
            let record = one(tx.sql(), key)?.ok_or_else(unknown)?;
            let members = instances::of_tree(tx.sql(), record.tree)?;
            check_tree(tx.sql(), caller, Action::ManageTree, &members, record.tree).map_err(
                |error| match error {
                    StoreError::Refused(Refusal::NotFound(_)) => unknown().into(),
                    other => other,
                },
            )?;
            let root = instances::root_of(tx.sql(), record.tree)?.ok_or_else(unknown)?;
            let now = tx.now();
            let releases = match product_of(tx.sql(), record.project, root.release_id)? {
                Some(product) => ranked(tx.sql(), product, now)?.0,
                None => Vec::new(),
            };
            let to = decisions_of(tx.sql(), record.tree)?
                .into_iter()
                .find(|decision| decision.key == key)
                .map_or(ReleaseKey(0), |decision| decision.to);
            let better = upgrade::is_better(to, ReleaseKey(root.release_id), &releases, now);
            let state = upgrade::answer(record.state, answer, better)
                .map_err(|refused| Refusal::Conflict(refused.to_string()))?;
            if state != record.state {
                let by = match caller {
                    Caller::Person { person, .. } => Some(person.0),
                    _ => None,
                };
                tx.execute(
                    "UPDATE upgrade_decision SET state = ?2, decided_at = ?3, decided_by = ?4 \
                     WHERE id = ?1",
                    params![key.0, state.as_str(), now.0, by],
                )?;
                audit(
                    tx,
                    caller,
                    match answer {
                        Answer::Accept => "accept_upgrade",
                        Answer::Reject => "reject_upgrade",
                    },
                    &record.tree.to_string(),
                    Some(record.project),
                    json!({"decision": key.0, "to": record.to}),
                )?;
                tx.changes.trees.insert(record.tree);
                review(tx, record.tree)?;
            }
            Ok(one(tx.sql(), key)?.ok_or_else(unknown)?)
        })
        .await
    }

    /// Says whether a tree is upgraded without asking.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such tree for the caller.
    pub async fn set_upgrade_policy(
        &self,
        caller: Caller,
        tree: TreeKey,
        policy: UpgradePolicy,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let members = instances::of_tree(tx.sql(), tree)?;
            check_tree(tx.sql(), caller, Action::ManageTree, &members, tree)?;
            let changed = tx.execute(
                "UPDATE tree SET upgrade = ?2 WHERE id = ?1 AND archived_at IS NULL \
                 AND upgrade <> ?2",
                params![tree.0, policy.as_str()],
            )?;
            if changed == 0 {
                return Ok(());
            }
            let project = members.first().map(|member| member.record.project);
            audit(
                tx,
                caller,
                "set_upgrade_policy",
                &tree.to_string(),
                project,
                json!({"policy": policy.as_str()}),
            )?;
            tx.changes.trees.insert(tree);
            review(tx, tree)
        })
        .await
    }
}

fn one(sql: &mut Connection, key: DecisionKey) -> Result<Option<DecisionRecord>, StoreError> {
    let row = sql.one(&format!("{SELECT} WHERE d.id = ?1"), params![key.0])?;
    Ok(row.as_ref().map(from_row).transpose()?)
}
