//! What instances and their nodes say: published parameters, states, errors, bangs, new names.

use serde_json::json;
use slap::InstanceTitle;

use super::audit::audit;
use super::history::{self, tail};
use super::instances::{self, Found};
use super::records::{Reported, Subject, Texts};
use super::sql::params;
use super::writer::Tx;
use super::{Store, StoreError, lifecycle};
use crate::domain::access::{Action, Caller};
use crate::domain::{InstanceKey, Refusal, report};

/// Instances above one another at most: what goes up stops there.
const DEPTH_MAX: usize = 1_000;
/// Characters of an error that are kept as its status (quirk 40).
const ERROR_CHARS: usize = 80;
/// Characters of an error that are kept in its history.
const LOG_CHARS_MAX: usize = 8_000;
/// Reports of an instance that are kept when it fails again.
const REPORTS_MAX: i64 = 50;

/// Has an instance processed again, and whoever requested it, up to the root (P 6.8).
pub(super) fn bang_up(tx: &mut Tx<'_>, found: &Found) -> Result<(), StoreError> {
    lifecycle::touch(tx, found)?;
    let mut above = found.record.requester;
    for _ in 0..DEPTH_MAX {
        let Some(key) = above else { break };
        let Some(requester) = instances::by_key(tx.sql(), key)? else {
            break;
        };
        lifecycle::touch(tx, &requester)?;
        above = requester.record.requester;
    }
    Ok(())
}

/// Whether this was said already, since the instance was last changed: what was said before that says
/// nothing of what it shall be now.
fn is_known(found: &Found, text: &str, reported: Option<&str>) -> bool {
    let status = &found.record.status;
    status.text.as_deref() == Some(text)
        && reported.is_none_or(|reported| reported == status.reported)
        && status.at.is_some_and(|at| at >= found.record.timestamp)
}

/// Notes what was said of an instance; whether it is news. The same again writes nothing.
pub(super) fn set_status(
    tx: &mut Tx<'_>,
    found: &Found,
    text: &str,
    reported: Option<&str>,
) -> Result<bool, StoreError> {
    let status = &found.record.status;
    if is_known(found, text, reported) {
        return Ok(false);
    }
    let reported = reported.unwrap_or(&status.reported);
    let word = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    let same_word = status.text.as_deref().map(word) == Some(word(text));
    // Never before what it is about, even after the clock was set back.
    let now = tx.now().max(found.record.timestamp);
    tx.execute(
        "UPDATE instance SET status_text = ?2, reported = ?3, status_at = ?4, \
         status_since = CASE WHEN ?5 = 1 THEN status_since ELSE ?4 END WHERE id = ?1",
        params![found.record.key.0, text, reported, now.0, same_word],
    )?;
    tx.changes.trees.insert(found.record.tree);
    if let Some(node) = found.node() {
        // The document of the node carries the status.
        tx.changes.nodes.insert(node);
    }
    Ok(true)
}

/// Publishes connection parameters; whether they differ. Who requested it is processed again.
pub(super) fn publish(
    tx: &mut Tx<'_>,
    caller: Caller,
    found: &Found,
    parameters: &Texts,
) -> Result<bool, StoreError> {
    if found.record.connection.as_ref() == Some(parameters) {
        return Ok(false);
    }
    tx.execute(
        "UPDATE instance SET connection = ?2 WHERE id = ?1",
        params![found.record.key.0, lifecycle::json_text(parameters)?],
    )?;
    tx.changes.trees.insert(found.record.tree);
    if let Some(node) = found.node() {
        tx.changes.nodes.insert(node);
    }
    if let Some(requester) = found.record.requester
        && let Some(requester) = instances::by_key(tx.sql(), requester)?
    {
        lifecycle::touch(tx, &requester)?;
    }
    let keys: Vec<&String> = parameters.keys().collect();
    audit(
        tx,
        caller,
        "publish",
        &found.record.key.to_string(),
        Some(found.record.project),
        json!({"keys": keys}),
    )?;
    Ok(true)
}

/// Takes an instance away that its node says is destroyed.
pub(super) fn gone(tx: &mut Tx<'_>, caller: Caller, found: &Found) -> Result<(), StoreError> {
    let life = report::Life::Wanted(found.record.state);
    report::report_instance(life, report::InstanceReport::Destroyed)
        .map_err(|refused| Refusal::Conflict(format!("{}: {refused}", found.record.key)))?;
    lifecycle::remove(tx, found)?;
    audit(
        tx,
        caller,
        "destroyed",
        &found.record.key.to_string(),
        Some(found.record.project),
        json!({}),
    )
}

impl Store {
    /// Publishes connection parameters of an instance, or of a shared one it serves; whether they
    /// differ from the last ones (P 6.8).
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not, or there is no such instance.
    pub async fn publish(
        &self,
        caller: Caller,
        subject: Subject,
        shared: Option<InstanceKey>,
        parameters: Texts,
    ) -> Result<bool, StoreError> {
        let peeked = {
            let (subject, parameters) = (subject.clone(), parameters.clone());
            self.read(move |sql| {
                let found = instances::subject_or_shared(
                    sql,
                    caller,
                    Action::ActAsInstance,
                    &subject,
                    shared,
                )?;
                Ok(found.record.connection.as_ref() == Some(&parameters))
            })
            .await?
        };
        if peeked {
            return Ok(false);
        }
        self.write(move |tx| {
            let found = instances::subject_or_shared(
                tx.sql(),
                caller,
                Action::ActAsInstance,
                &subject,
                shared,
            )?;
            publish(tx, caller, &found, &parameters)
        })
        .await
    }

    /// Renames an instance, or a shared one it serves (P 6.16). A tree bears its root's title.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not, or the title is taken.
    pub async fn rename(
        &self,
        caller: Caller,
        subject: Subject,
        shared: Option<InstanceKey>,
        title: InstanceTitle,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let found = instances::subject_or_shared(
                tx.sql(),
                caller,
                Action::ActAsInstance,
                &subject,
                shared,
            )?;
            let record = &found.record;
            if record.title == title.as_str() {
                return Ok(());
            }
            let taken = |what: &str| -> StoreError {
                Refusal::Conflict(format!(
                    "{} keeps its title {:?}: {what} is called {:?} already",
                    record.key,
                    record.title,
                    title.as_str()
                ))
                .into()
            };
            if instances::by_title(tx.sql(), record.tree, title.as_str())?.is_some() {
                return Err(taken("another instance of its tree"));
            }
            if record.requester.is_none() {
                if tx
                    .one(
                        "SELECT id FROM tree \
                         WHERE person_id = ?1 AND title = ?2 AND archived_at IS NULL",
                        params![found.owner.0, title.as_str()],
                    )?
                    .is_some()
                {
                    return Err(taken("another instance tree of its owner"));
                }
                tx.execute(
                    "UPDATE tree SET title = ?2 WHERE id = ?1",
                    params![record.tree.0, title.as_str()],
                )?;
                for member in instances::of_tree(tx.sql(), record.tree)? {
                    if let Some(node) = member.node() {
                        tx.changes.nodes.insert(node);
                    }
                }
            }
            tx.execute(
                "UPDATE instance SET title = ?2 WHERE id = ?1",
                params![record.key.0, title.as_str()],
            )?;
            tx.changes.trees.insert(record.tree);
            if let Some(node) = found.node() {
                tx.changes.nodes.insert(node);
            }
            audit(
                tx,
                caller,
                "rename",
                &record.key.to_string(),
                Some(record.project),
                json!({"from": record.title, "to": title.as_str()}),
            )
        })
        .await
    }

    /// Asks for reprocessing of an instance and of whoever requested it, up to the root.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not, or there is no such instance.
    pub async fn bang(
        &self,
        caller: Caller,
        subject: Subject,
        message: String,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let found = instances::subject(tx.sql(), caller, Action::ActAsInstance, &subject)?;
            bang_up(tx, &found)?;
            set_status(tx, &found, &format!("#error bang called: {message}"), None)?;
            audit(
                tx,
                caller,
                "bang",
                &found.record.key.to_string(),
                Some(found.record.project),
                json!({"message": message}),
            )
        })
        .await
    }

    /// An instance, or a shared one it serves, could not be processed.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not, or there is no such instance.
    pub async fn instance_error(
        &self,
        caller: Caller,
        subject: Subject,
        shared: Option<InstanceKey>,
        log: String,
    ) -> Result<(), StoreError> {
        let skip = log.chars().count().saturating_sub(ERROR_CHARS);
        let last: String = log.chars().skip(skip).collect();
        let text = format!("#error while instanciating: {last}");
        let log = tail(&log, LOG_CHARS_MAX);
        self.report(caller, subject, shared, text, None, Some(log))
            .await
    }

    /// A node says what it did with an instance. What it says of one that is no more, or not
    /// destroyed by order, changes nothing: an old view resurrects and destroys nothing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller may not, there is no such instance, or its
    /// destruction was not asked for.
    pub async fn report_instance(
        &self,
        caller: Caller,
        subject: Subject,
        reported: Reported,
    ) -> Result<(), StoreError> {
        let (text, word) = match reported {
            Reported::Started => ("#access Instance correctly started", "started"),
            Reported::Stopped => ("#access Instance correctly stopped", "stopped"),
            Reported::Destroyed => {
                return self
                    .write(move |tx| {
                        let found =
                            instances::subject(tx.sql(), caller, Action::ReportInstance, &subject)?;
                        gone(tx, caller, &found)
                    })
                    .await;
            }
        };
        self.report(caller, subject, None, text.to_owned(), Some(word), None)
            .await
    }

    async fn report(
        &self,
        caller: Caller,
        subject: Subject,
        shared: Option<InstanceKey>,
        text: String,
        reported: Option<&'static str>,
        log: Option<String>,
    ) -> Result<(), StoreError> {
        let action = match reported {
            Some(_) => Action::ReportInstance,
            None => Action::ActAsInstance,
        };
        let known = {
            let (subject, text) = (subject.clone(), text.clone());
            self.read(move |sql| {
                let found = instances::subject_or_shared(sql, caller, action, &subject, shared)?;
                Ok(is_known(&found, &text, reported))
            })
            .await?
        };
        if known {
            return Ok(());
        }
        self.write(move |tx| {
            let found = instances::subject_or_shared(tx.sql(), caller, action, &subject, shared)?;
            if set_status(tx, &found, &text, reported)? {
                let subject = found.record.key.to_string();
                let mut detail = json!({"status": text});
                if let Some(log) = &log {
                    detail["log"] = json!(log);
                    history::forget(tx, &subject, "report", REPORTS_MAX)?;
                }
                audit(
                    tx,
                    caller,
                    "report",
                    &subject,
                    Some(found.record.project),
                    detail,
                )?;
            }
            Ok(())
        })
        .await
    }
}
