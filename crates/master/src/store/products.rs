//! Software products: named applications with dated releases, and what their software types take of
//! a node (P 6.14).

use std::collections::BTreeMap;

use serde_json::json;

use super::audit::audit;
use super::lifecycle;
use super::projects::{check_open, check_project, projects_of};
use super::sql::{Connection, Row, SqlError, params};
use super::writer::Tx;
use super::{Store, StoreError};
use crate::domain::access::{self, Action, Caller, Facts};
use crate::domain::upgrade::{self, Dated};
use crate::domain::{ProductKey, ProjectKey, Refusal, ReleaseKey, Timestamp};

/// The longest reference and title of a product, in characters.
const NAME_MAX: usize = 100;
/// Most releases of a product.
const RELEASES_MAX: i64 = 1_000;
/// Most units an instance can take.
const UNITS_MAX: i64 = 1_000_000;

/// A product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductRecord {
    /// Its key.
    pub key: ProductKey,
    /// Its project.
    pub project: ProjectKey,
    /// Its reference, unique in the project.
    pub reference: String,
    /// Its title.
    pub title: String,
    /// Its releases, the best one first.
    pub releases: Vec<ReleaseRecord>,
    /// Units its software types take of a node's capacity; those not named take one.
    pub units: BTreeMap<String, i64>,
}

/// A release of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRecord {
    /// Its URL.
    pub url: String,
    /// From when on it is the one to use; none for the moment it was added.
    pub effective_at: Option<Timestamp>,
    /// When it was added.
    pub added_at: Timestamp,
}

impl ReleaseRecord {
    /// Whether it may be used already.
    pub fn in_effect(&self, now: Timestamp) -> bool {
        self.effective_at.is_none_or(|at| at <= now)
    }
}

/// Which product is meant.
struct Known {
    key: ProductKey,
    project: ProjectKey,
}

/// The open projects whose products a caller may see. A node and an instance see those of their own.
fn visible(sql: &mut Connection, caller: Caller) -> Result<Vec<ProjectKey>, StoreError> {
    let rows = match caller {
        Caller::Anonymous => {
            access::check(caller, Action::SeeProject, &Facts::default(), "product")?;
            Vec::new()
        }
        Caller::Person {
            person,
            administrator: false,
        } => return Ok(projects_of(sql, person)?),
        Caller::Person { .. } | Caller::Master => sql.all(
            "SELECT id FROM project WHERE closed_at IS NULL ORDER BY id",
            &[],
        )?,
        Caller::Node(node) => sql.all(
            "SELECT project_id FROM node WHERE id = ?1 AND removed_at IS NULL",
            params![node.0],
        )?,
        Caller::Instance { instance, .. } => sql.all(
            "SELECT project_id FROM instance WHERE id = ?1 AND removed_at IS NULL",
            params![instance.0],
        )?,
    };
    Ok(rows
        .iter()
        .map(|row| Ok(ProjectKey(row.int(0)?)))
        .collect::<Result<_, SqlError>>()?)
}

/// The projects in which products are looked for: the one that is named, else all that are visible.
fn places(
    sql: &mut Connection,
    caller: Caller,
    project: Option<ProjectKey>,
) -> Result<Vec<ProjectKey>, StoreError> {
    let visible = visible(sql, caller)?;
    match project {
        None => Ok(visible),
        Some(project) if visible.contains(&project) => Ok(vec![project]),
        Some(project) => Err(Refusal::unknown("project", project).into()),
    }
}

fn known(
    sql: &mut Connection,
    project: ProjectKey,
    reference: &str,
) -> Result<Option<Known>, StoreError> {
    let row = sql.one(
        "SELECT id FROM product WHERE project_id = ?1 AND reference = ?2",
        params![project.0, reference],
    )?;
    Ok(row
        .map(|row| {
            Ok::<_, SqlError>(Known {
                key: ProductKey(row.int(0)?),
                project,
            })
        })
        .transpose()?)
}

/// The product a manager changes.
fn managed(
    sql: &mut Connection,
    caller: Caller,
    project: ProjectKey,
    reference: &str,
) -> Result<Known, StoreError> {
    check_project(sql, caller, Action::ManageProject, project)?;
    check_open(sql, project)?;
    known(sql, project, reference)?.ok_or_else(|| {
        Refusal::NotFound(format!(
            "there is no product {reference:?} in project {project}: add it with \
             `slapos master product add`"
        ))
        .into()
    })
}

/// The releases of a product with what ranks them, the best one first, and their URLs.
pub(super) fn ranked(
    sql: &mut Connection,
    product: ProductKey,
    now: Timestamp,
) -> Result<(Vec<Dated>, BTreeMap<ReleaseKey, String>), StoreError> {
    let rows = sql.all(
        "SELECT pr.release_id, pr.effective_at, pr.created_at, r.url FROM product_release pr \
         JOIN release r ON r.id = pr.release_id WHERE pr.product_id = ?1 ORDER BY pr.release_id",
        params![product.0],
    )?;
    let mut releases = Vec::with_capacity(rows.len());
    let mut urls = BTreeMap::new();
    for row in &rows {
        let release = ReleaseKey(row.int(0)?);
        releases.push(Dated {
            release,
            effective: row.maybe_int(1)?.map(Timestamp),
            added: Timestamp(row.int(2)?),
        });
        urls.insert(release, row.text(3)?.to_owned());
    }
    upgrade::rank(&mut releases, now);
    Ok((releases, urls))
}

fn releases_of(
    sql: &mut Connection,
    product: ProductKey,
    now: Timestamp,
) -> Result<Vec<ReleaseRecord>, StoreError> {
    let (ranked, mut urls) = ranked(sql, product, now)?;
    Ok(ranked
        .into_iter()
        .map(|dated| ReleaseRecord {
            url: urls.remove(&dated.release).unwrap_or_default(),
            effective_at: dated.effective,
            added_at: dated.added,
        })
        .collect())
}

/// A product of a row with its key, reference and title.
pub(super) fn record(
    sql: &mut Connection,
    row: &Row,
    project: ProjectKey,
    now: Timestamp,
) -> Result<ProductRecord, StoreError> {
    let key = ProductKey(row.int(0)?);
    let types = sql.all(
        "SELECT software_type, units FROM product_type WHERE product_id = ?1 \
         ORDER BY software_type",
        params![key.0],
    )?;
    Ok(ProductRecord {
        key,
        project,
        reference: row.text(1)?.to_owned(),
        title: row.text(2)?.to_owned(),
        releases: releases_of(sql, key, now)?,
        units: types
            .iter()
            .map(|row| Ok((row.text(0)?.to_owned(), row.int(1)?)))
            .collect::<Result<_, SqlError>>()?,
    })
}

/// A name people choose: one line without spaces at its ends.
fn check_name(what: &str, text: &str) -> Result<(), Refusal> {
    let plain = !text.is_empty()
        && text.chars().count() <= NAME_MAX
        && text.trim() == text
        && !text.chars().any(char::is_control);
    if plain {
        Ok(())
    } else {
        Err(Refusal::Invalid(format!(
            "a product's {what} is one line of 1 to {NAME_MAX} characters without blanks around it"
        )))
    }
}

/// Makes a product, or gives one there is this title, if one is given.
fn put_product(
    tx: &mut Tx<'_>,
    caller: Caller,
    project: ProjectKey,
    reference: &str,
    title: Option<&str>,
) -> Result<ProductKey, StoreError> {
    check_project(tx.sql(), caller, Action::ManageProject, project)?;
    check_open(tx.sql(), project)?;
    check_name("reference", reference)?;
    if title.is_none()
        && let Some(product) = known(tx.sql(), project, reference)?
    {
        return Ok(product.key);
    }
    let title = title.unwrap_or(reference);
    check_name("title", title)?;
    let now = tx.now();
    let key = tx.insert(
        "INSERT INTO product (project_id, reference, title, created_at) \
         VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (project_id, reference) DO UPDATE SET title = excluded.title \
         RETURNING id",
        params![project.0, reference, title, now.0],
    )?;
    audit(
        tx,
        caller,
        "create_product",
        reference,
        Some(project),
        json!({"title": title}),
    )?;
    Ok(ProductKey(key))
}

/// Adds a release to a product, or changes its date.
fn put_release(
    tx: &mut Tx<'_>,
    caller: Caller,
    product: &Known,
    reference: &str,
    url: &slap::ReleaseUrl,
    effective_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let release = lifecycle::release_key(tx, url.as_str())?;
    let other = tx.one(
        "SELECT p.reference FROM product_release pr JOIN product p ON p.id = pr.product_id \
         WHERE pr.release_id = ?1 AND p.project_id = ?2 AND p.id <> ?3 LIMIT 1",
        params![release, product.project.0, product.key.0],
    )?;
    if let Some(row) = other {
        return Err(Refusal::Conflict(format!(
            "{url} is a release of the product {:?} already, and belongs to one only",
            row.text(0)?
        ))
        .into());
    }
    let count = tx
        .one(
            "SELECT COUNT(*) FROM product_release WHERE product_id = ?1",
            params![product.key.0],
        )?
        .map_or(Ok(0), |row| row.int(0))?;
    if count >= RELEASES_MAX {
        return Err(Refusal::TooMany(format!(
            "{reference:?} has {count} releases: take out those nobody uses any more"
        ))
        .into());
    }
    let now = tx.now();
    tx.execute(
        "INSERT INTO product_release (product_id, release_id, effective_at, created_at) \
         VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (product_id, release_id) DO UPDATE SET \
         effective_at = excluded.effective_at",
        params![product.key.0, release, effective_at.map(|at| at.0), now.0],
    )?;
    audit(
        tx,
        caller,
        "add_release",
        reference,
        Some(product.project),
        json!({"release": url.as_str(), "effective": effective_at.map(|at| at.seconds())}),
    )
}

impl Store {
    /// The URLs of a product's releases, the best one first: what
    /// `getSoftwareReleaseListFromSoftwareProduct` answers. Empty for a product nobody knows. Where
    /// no project is named, the oldest visible one that has the product counts.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for a caller nobody knows, or a project it may not see.
    pub async fn product_releases(
        &self,
        caller: Caller,
        reference: String,
        project: Option<ProjectKey>,
    ) -> Result<Vec<String>, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            for project in places(sql, caller, project)? {
                if let Some(product) = known(sql, project, &reference)? {
                    return urls_of(sql, product.key, now);
                }
            }
            Ok(Vec::new())
        })
        .await
    }

    /// As [`Store::product_releases`], of the product that has a release of this URL.
    ///
    /// # Errors
    /// As [`Store::product_releases`].
    pub async fn releases_like(
        &self,
        caller: Caller,
        url: String,
        project: Option<ProjectKey>,
    ) -> Result<Vec<String>, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            for project in places(sql, caller, project)? {
                let row = sql.one(
                    "SELECT pr.product_id FROM product_release pr \
                     JOIN product p ON p.id = pr.product_id JOIN release r ON r.id = pr.release_id \
                     WHERE p.project_id = ?1 AND r.url = ?2 ORDER BY pr.product_id LIMIT 1",
                    params![project.0, url.as_str()],
                )?;
                if let Some(row) = row {
                    return urls_of(sql, ProductKey(row.int(0)?), now);
                }
            }
            Ok(Vec::new())
        })
        .await
    }

    /// The products a caller may see, by project and reference.
    ///
    /// # Errors
    /// As [`Store::product_releases`].
    pub async fn products(
        &self,
        caller: Caller,
        project: Option<ProjectKey>,
    ) -> Result<Vec<ProductRecord>, StoreError> {
        let now = self.clock().now();
        self.read(move |sql| {
            let mut products = Vec::new();
            for project in places(sql, caller, project)? {
                let rows = sql.all(
                    "SELECT id, reference, title FROM product WHERE project_id = ?1 \
                     ORDER BY reference",
                    params![project.0],
                )?;
                for row in &rows {
                    products.push(record(sql, row, project, now)?);
                }
            }
            Ok(products)
        })
        .await
    }

    /// Makes a product. Making it again gives it this title.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not manage the project, or a name is no name.
    pub async fn create_product(
        &self,
        caller: Caller,
        project: ProjectKey,
        reference: String,
        title: String,
    ) -> Result<ProductKey, StoreError> {
        self.write(move |tx| put_product(tx, caller, project, &reference, Some(&title)))
            .await
    }

    /// Makes a product with its first release, or adds the release to one there is. The title of one
    /// there is stays, unless another one is given; a new one is called by its reference.
    ///
    /// # Errors
    /// As [`Store::create_product`] and [`Store::add_release`]; nothing is changed then.
    pub async fn catalogue(
        &self,
        caller: Caller,
        project: ProjectKey,
        reference: String,
        title: Option<String>,
        release: Option<slap::ReleaseUrl>,
    ) -> Result<ProductKey, StoreError> {
        let key = self
            .write(move |tx| {
                let key = put_product(tx, caller, project, &reference, title.as_deref())?;
                if let Some(url) = &release {
                    let product = Known { key, project };
                    put_release(tx, caller, &product, &reference, url, None)?;
                }
                Ok(key)
            })
            .await?;
        self.review_upgrades().await?;
        Ok(key)
    }

    /// Adds a release to a product, or changes its date. Trees that use an older one are offered it:
    /// see [`super::UpgradeWatch`].
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not manage the project, there is no such product,
    /// or the URL belongs to another product of the project.
    pub async fn add_release(
        &self,
        caller: Caller,
        project: ProjectKey,
        reference: String,
        url: slap::ReleaseUrl,
        effective_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let product = managed(tx.sql(), caller, project, &reference)?;
            put_release(tx, caller, &product, &reference, &url, effective_at)
        })
        .await?;
        self.review_upgrades().await
    }

    /// Takes a release out of a product. Whoever uses it keeps it, and is offered nothing newer.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not manage the project, or there is no such
    /// product or release.
    pub async fn remove_release(
        &self,
        caller: Caller,
        project: ProjectKey,
        reference: String,
        url: slap::ReleaseUrl,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let product = managed(tx.sql(), caller, project, &reference)?;
            let removed = tx.execute(
                "DELETE FROM product_release WHERE product_id = ?1 AND release_id = \
                 (SELECT id FROM release WHERE url = ?2)",
                params![product.key.0, url.as_str()],
            )?;
            if removed == 0 {
                return Err(Refusal::NotFound(format!(
                    "{url} is no release of the product {reference:?}"
                ))
                .into());
            }
            audit(
                tx,
                caller,
                "remove_release",
                &reference,
                Some(product.project),
                json!({"release": url.as_str()}),
            )
        })
        .await?;
        self.review_upgrades().await
    }

    /// Says what instances of a software type take of a node's capacity, from now on.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not manage the project, there is no such product,
    /// or the number makes no sense.
    pub async fn set_units(
        &self,
        caller: Caller,
        project: ProjectKey,
        reference: String,
        software_type: slap::SoftwareType,
        units: i64,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let product = managed(tx.sql(), caller, project, &reference)?;
            if !(0..=UNITS_MAX).contains(&units) {
                return Err(Refusal::Invalid(format!(
                    "an instance takes 0 to {UNITS_MAX} units, not {units}"
                ))
                .into());
            }
            tx.execute(
                "INSERT INTO product_type (product_id, software_type, units) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (product_id, software_type) DO UPDATE SET units = excluded.units",
                params![product.key.0, software_type.as_str(), units],
            )?;
            audit(
                tx,
                caller,
                "set_units",
                &reference,
                Some(product.project),
                json!({"software_type": software_type.as_str(), "units": units}),
            )
        })
        .await
    }
}

fn urls_of(
    sql: &mut Connection,
    product: ProductKey,
    now: Timestamp,
) -> Result<Vec<String>, StoreError> {
    Ok(releases_of(sql, product, now)?
        .into_iter()
        .map(|release| release.url)
        .collect())
}
