//! Where the releases of products are: on which nodes, and how many instances run them. What the
//! catalogue of the dashboard shows.

use std::collections::HashMap;

use super::details::like;
use super::documents::installation_from_row;
use super::listing::known;
use super::products::{self, ranked};
use super::projects::check_project;
use super::records::InstallationRecord;
use super::sql::{Connection, Row, SqlError, params};
use super::standing::{project_named, sees};
use super::{Page, ProductRecord, Store, StoreError};
use crate::domain::access::{self, Action, Caller};
use crate::domain::{NodeKey, ProductKey, ProjectKey, Refusal, ReleaseKey, Timestamp};

/// How far instances are counted: more than this many is said as one more.
pub const INSTANCES_COUNTED: i64 = 1_000;
/// Releases without a product one is told of.
const LOOSE_MAX: i64 = 20;

/// On how many nodes a release is asked for, and how it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deployed {
    /// Nodes it is asked for on.
    pub nodes: i64,
    /// Those on which it can be used.
    pub installed: i64,
    /// Those on which it could not be built.
    pub failed: i64,
    /// Instances of it that have a place; [`INSTANCES_COUNTED`] and one for all that are more.
    pub instances: i64,
}

impl Deployed {
    /// Adds nodes; instances are counted by themselves.
    fn add(&mut self, more: Deployed) {
        self.nodes += more.nodes;
        self.installed += more.installed;
        self.failed += more.failed;
    }
}

/// A product in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductState {
    /// Its key.
    pub key: ProductKey,
    /// Its project.
    pub project: ProjectKey,
    /// Its reference.
    pub reference: String,
    /// Its title.
    pub title: String,
    /// How many releases it has.
    pub releases: usize,
    /// The best one of them.
    pub best: Option<String>,
    /// Where they are, all together.
    pub deployed: Deployed,
}

/// A product with where each of its releases is, in the order of the releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductDetail {
    /// The product.
    pub product: ProductRecord,
    /// Where each of its releases is.
    pub deployed: Vec<Deployed>,
    /// Whether the caller may change it.
    pub is_managed: bool,
}

/// A release on nodes of a project that has no product with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LooseRelease {
    /// The project.
    pub project: ProjectKey,
    /// The release.
    pub url: String,
    /// How many of its nodes it is asked for on.
    pub nodes: i64,
}

/// How releases are on the nodes of the projects a caller sees: one look at all of them.
fn on_nodes(
    sql: &mut Connection,
    caller: Caller,
) -> Result<HashMap<(i64, i64), Deployed>, StoreError> {
    let (all, person, _) = sees(caller);
    let rows = sql.all(
        "SELECT s.project_id, s.release_id, COUNT(*), \
         COALESCE(SUM(CASE s.reported WHEN 'available' THEN 1 ELSE 0 END), 0), \
         COALESCE(SUM(CASE s.reported WHEN 'error' THEN 1 ELSE 0 END), 0) \
         FROM installation s WHERE s.removed_at IS NULL AND (?1 = 1 OR EXISTS \
          (SELECT 1 FROM member m WHERE m.project_id = s.project_id AND m.person_id = ?2)) \
         GROUP BY s.project_id, s.release_id",
        params![all, person],
    )?;
    let entry = |row: &Row| {
        let deployed = Deployed {
            nodes: row.int(2)?,
            installed: row.int(3)?,
            failed: row.int(4)?,
            instances: 0,
        };
        Ok(((row.int(0)?, row.int(1)?), deployed))
    };
    Ok(rows.iter().map(entry).collect::<Result<_, SqlError>>()?)
}

/// Instances of a release in a project that have a place, as far as they are counted.
fn instances(
    sql: &mut Connection,
    project: ProjectKey,
    release: ReleaseKey,
) -> Result<i64, StoreError> {
    let row = sql.one(
        "SELECT COUNT(*) FROM (SELECT 1 FROM instance WHERE project_id = ?1 AND release_id = ?2 \
         AND shared = 0 AND placed = 1 AND removed_at IS NULL LIMIT ?3) AS counted",
        params![project.0, release.0, INSTANCES_COUNTED + 1],
    )?;
    Ok(row.map_or(Ok(0), |row| row.int(0))?)
}

/// Instances of any release of a product that have a place, as far as they are counted.
fn instances_of(
    sql: &mut Connection,
    product: ProductKey,
    project: ProjectKey,
) -> Result<i64, StoreError> {
    let row = sql.one(
        "SELECT COUNT(*) FROM (SELECT 1 FROM product_release pr JOIN instance i \
          ON i.project_id = ?2 AND i.release_id = pr.release_id AND i.shared = 0 \
          AND i.placed = 1 AND i.removed_at IS NULL \
         WHERE pr.product_id = ?1 LIMIT ?3) AS counted",
        params![product.0, project.0, INSTANCES_COUNTED + 1],
    )?;
    Ok(row.map_or(Ok(0), |row| row.int(0))?)
}

/// Where each release of a product is, the best one first, with their URLs; their instances are not
/// counted.
fn deployed(
    sql: &mut Connection,
    product: ProductKey,
    project: ProjectKey,
    on_nodes: &HashMap<(i64, i64), Deployed>,
    now: Timestamp,
) -> Result<Vec<(ReleaseKey, String, Deployed)>, StoreError> {
    let (ranked, mut urls) = ranked(sql, product, now)?;
    let mut found = Vec::with_capacity(ranked.len());
    for dated in ranked {
        let release = dated.release;
        let place = (project.0, release.0);
        let deployed = on_nodes.get(&place).copied().unwrap_or_default();
        let url = urls.remove(&release).unwrap_or_default();
        found.push((release, url, deployed));
    }
    Ok(found)
}

/// The product of a key, for who may see its project, and whether the caller manages it.
fn gate(
    sql: &mut Connection,
    caller: Caller,
    key: ProductKey,
) -> Result<(Row, ProjectKey, bool), StoreError> {
    let unknown = || access::absent(caller, "such product");
    let row = sql.one(
        "SELECT id, reference, title, project_id FROM product WHERE id = ?1",
        params![key.0],
    )?;
    let row = row.ok_or_else(unknown)?;
    let project = ProjectKey(row.int(3)?);
    match check_project(sql, caller, Action::SeeProject, project) {
        Ok(()) => {}
        Err(StoreError::Refused(Refusal::NotFound(_))) => return Err(unknown().into()),
        Err(error) => return Err(error),
    }
    let is_managed = check_project(sql, caller, Action::ManageProject, project).is_ok();
    Ok((row, project, is_managed))
}

impl Store {
    /// A page of the products the caller may see whose reference or title contains a text, or whose
    /// project's reference it is, by project and reference.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn product_states(
        &self,
        caller: Caller,
        text: String,
        page: Page,
    ) -> Result<Vec<ProductState>, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            known(caller, "product")?;
            let (all, person, _) = sees(caller);
            let rows = sql.all(
                "SELECT p.id, p.reference, p.title, p.project_id FROM product p \
                 JOIN project o ON o.id = p.project_id AND o.closed_at IS NULL \
                 WHERE (?1 = 1 OR EXISTS (SELECT 1 FROM member m \
                   WHERE m.project_id = p.project_id AND m.person_id = ?2)) \
                 AND (LOWER(p.reference) LIKE ?3 ESCAPE '\\' OR LOWER(p.title) LIKE ?3 ESCAPE '\\' \
                  OR p.project_id = ?6) \
                 ORDER BY p.project_id, p.reference LIMIT ?4 OFFSET ?5",
                params![
                    all,
                    person,
                    format!("%{}%", like(&text.trim().to_lowercase())),
                    page.limit,
                    page.skip,
                    project_named(&text)
                ],
            )?;
            let on_nodes = on_nodes(sql, caller)?;
            let mut found = Vec::with_capacity(rows.len());
            for row in &rows {
                let (key, project) = (ProductKey(row.int(0)?), ProjectKey(row.int(3)?));
                let releases = deployed(sql, key, project, &on_nodes, now)?;
                let mut all = Deployed::default();
                for (_, _, deployed) in &releases {
                    all.add(*deployed);
                }
                all.instances = instances_of(sql, key, project)?;
                found.push(ProductState {
                    key,
                    project,
                    reference: row.text(1)?.to_owned(),
                    title: row.text(2)?.to_owned(),
                    releases: releases.len(),
                    best: releases.into_iter().next().map(|(_, url, _)| url),
                    deployed: all,
                });
            }
            Ok(found)
        })
        .await
    }

    /// A product with where its releases are.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for who may not see its project.
    pub async fn product_detail(
        &self,
        caller: Caller,
        key: ProductKey,
    ) -> Result<ProductDetail, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            let (row, project, is_managed) = gate(sql, caller, key)?;
            let on_nodes = on_nodes(sql, caller)?;
            let mut found = Vec::new();
            for (release, _, deployed) in deployed(sql, key, project, &on_nodes, now)? {
                let instances = instances(sql, project, release)?;
                found.push(Deployed {
                    instances,
                    ..deployed
                });
            }
            Ok(ProductDetail {
                product: products::record(sql, &row, project, now)?,
                deployed: found,
                is_managed,
            })
        })
        .await
    }

    /// A page of the releases of a product on the nodes of its project, with the titles of the nodes.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] for who may not see its project.
    pub async fn product_installations(
        &self,
        caller: Caller,
        key: ProductKey,
        page: Page,
    ) -> Result<Vec<(String, InstallationRecord)>, StoreError> {
        self.read(move |sql| {
            let (_, project, _) = gate(sql, caller, key)?;
            let rows = sql.all(
                "SELECT s.id, r.url, s.state, s.reported, s.status_text, s.status_at, \
                 s.status_since, n.id, n.kind, n.title FROM installation s \
                 JOIN product_release pr ON pr.release_id = s.release_id AND pr.product_id = ?1 \
                 JOIN release r ON r.id = s.release_id \
                 JOIN node n ON n.id = s.node_id AND n.removed_at IS NULL \
                 WHERE s.project_id = ?2 AND s.removed_at IS NULL \
                 ORDER BY n.id, s.id LIMIT ?3 OFFSET ?4",
                params![key.0, project.0, page.limit, page.skip],
            )?;
            let entry = |row: &Row| {
                let node = NodeKey(row.int(7)?).reference(row.parsed(8)?);
                Ok((row.text(9)?.to_owned(), installation_from_row(row, node)?))
            };
            Ok(rows.iter().map(entry).collect::<Result<_, SqlError>>()?)
        })
        .await
    }

    /// Releases on nodes the caller may see that no product of their project has, those on most
    /// nodes first; 20 at most.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows.
    pub async fn loose_releases(&self, caller: Caller) -> Result<Vec<LooseRelease>, StoreError> {
        self.read(move |sql| {
            known(caller, "release")?;
            let (all, person, _) = sees(caller);
            let rows = sql.all(
                "SELECT s.project_id, r.url, COUNT(*) AS nodes FROM installation s \
                 JOIN release r ON r.id = s.release_id \
                 WHERE s.removed_at IS NULL AND (?1 = 1 OR EXISTS (SELECT 1 FROM member m \
                   WHERE m.project_id = s.project_id AND m.person_id = ?2)) \
                 AND NOT EXISTS (SELECT 1 FROM product_release pr \
                   JOIN product p ON p.id = pr.product_id \
                   WHERE pr.release_id = s.release_id AND p.project_id = s.project_id) \
                 GROUP BY s.project_id, r.url ORDER BY nodes DESC, s.project_id, r.url LIMIT ?3",
                params![all, person, LOOSE_MAX],
            )?;
            let entry = |row: &Row| {
                Ok(LooseRelease {
                    project: ProjectKey(row.int(0)?),
                    url: row.text(1)?.to_owned(),
                    nodes: row.int(2)?,
                })
            };
            Ok(rows.iter().map(entry).collect::<Result<_, SqlError>>()?)
        })
        .await
    }
}
