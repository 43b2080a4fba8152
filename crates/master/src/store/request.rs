//! Requests: the one operation everything begins with (P 6.3, 6.4).

use std::sync::Arc;

use serde_json::json;
use slap::InstanceState;

use super::audit::audit;
use super::instances::{self, Found};
use super::placement::{Candidate, Chosen};
use super::records::{InstanceRecord, Requested, Texts, Wanted};
use super::situation::{Place, check_link, examine, project_of};
use super::sql::{Connection, params};
use super::writer::Tx;
use super::{Store, StoreError, lifecycle, placement, versions};
use crate::domain::access::Caller;
use crate::domain::request::{Decision, Differences};
use crate::domain::{InstanceKey, NodeReference, Refusal, TreeKey, sla};

/// The SLA's key for the node, and the one for another Master, whose nodes are not ours to know.
const NODE: &str = "computer_guid";
const MASTER_URL: &str = "master_url";

impl Store {
    /// Carries out a request: the instance as it now is, or why there is nothing to show. One that
    /// changes nothing writes nothing; one that is to be placed is, before the answer.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the reason; nothing was changed then.
    pub async fn request(&self, caller: Caller, wanted: Wanted) -> Result<Requested, StoreError> {
        let wanted = Arc::new(normal(self.with_node(caller, wanted).await?));
        let peeked = {
            let wanted = Arc::clone(&wanted);
            self.read(move |sql| peek(sql, caller, &wanted)).await?
        };
        let done = match peeked {
            Some(done) => done,
            None => {
                let wanted = Arc::clone(&wanted);
                self.write(move |tx| execute(tx, caller, &wanted)).await?
            }
        };
        match done {
            Done::Placed(record) => Ok(Requested::Placed(record)),
            Done::Waiting(key) => {
                let why = self.why(key).await?;
                Ok(Requested::Waiting {
                    instance: Some(key),
                    why,
                })
            }
            Done::Nothing(why) => Ok(Requested::Waiting {
                instance: None,
                why,
            }),
        }
    }
}

impl Store {
    /// A node that the SLA names by its title is named by its reference from here on.
    async fn with_node(&self, caller: Caller, mut wanted: Wanted) -> Result<Wanted, StoreError> {
        let elsewhere = |sla: &Texts| sla.get(MASTER_URL).is_some_and(|url| !url.is_empty());
        if let Some(sla) = wanted.sla.as_mut().filter(|sla| !elsewhere(sla))
            && let Some(name) = sla.get_mut(NODE)
            && !name.is_empty()
            && name.parse::<NodeReference>().is_err()
        {
            match self.node_called(caller, name).await {
                Ok(node) => *name = node.to_string(),
                // What the SLA's own rules say of it is clearer.
                Err(StoreError::Refused(Refusal::NotFound(_))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted)
    }
}

/// How a request ends.
enum Done {
    Placed(Box<InstanceRecord>),
    /// It exists and has no place yet.
    Waiting(InstanceKey),
    /// There is nothing to show, for this reason.
    Nothing(String),
}

/// The request as it is stored.
fn normal(mut wanted: Wanted) -> Wanted {
    if let (Some(software_type), Some(entries)) = (&wanted.software_type, &mut wanted.sla) {
        sla::add_defaults(software_type.as_str(), entries);
    }
    wanted
}

/// The answer to a request that changes nothing; `None` when it must be written.
fn peek(sql: &mut Connection, caller: Caller, wanted: &Wanted) -> Result<Option<Done>, StoreError> {
    let situation = examine(sql, caller, wanted)?;
    Ok(match (situation.decision, situation.known) {
        (Decision::Unchanged, Some(found)) => Some(shown(found)),
        (Decision::NothingToDestroy, _) => Some(nothing_to_destroy(wanted)),
        (Decision::BeingDestroyed, Some(found)) => Some(being_destroyed(&found)),
        _ => None,
    })
}

fn shown(found: Found) -> Done {
    if found.record.placement.is_some() {
        Done::Placed(Box::new(found.record))
    } else {
        Done::Waiting(found.record.key)
    }
}

fn nothing_to_destroy(wanted: &Wanted) -> Done {
    Done::Nothing(format!(
        "there is no instance {:?}: nothing is to be destroyed",
        wanted.title.as_str()
    ))
}

fn being_destroyed(found: &Found) -> Done {
    Done::Nothing(format!(
        "{:?} is being destroyed; the title can be used again once its node reported that nothing \
         is left",
        found.record.title
    ))
}

fn execute(tx: &mut Tx<'_>, caller: Caller, wanted: &Wanted) -> Result<Done, StoreError> {
    let situation = examine(tx.sql(), caller, wanted)?;
    match (situation.decision, situation.known) {
        (Decision::Unchanged, Some(found)) => Ok(shown(found)),
        (Decision::NothingToDestroy, _) => Ok(nothing_to_destroy(wanted)),
        (Decision::BeingDestroyed, Some(found)) => Ok(being_destroyed(&found)),
        (Decision::Create(state), _) => create(tx, caller, wanted, &situation.place, state),
        (Decision::Update(state, differences), Some(found)) => update(
            tx,
            caller,
            wanted,
            &situation.place,
            &found,
            state,
            differences,
        ),
        (Decision::Destroy, Some(found)) => {
            lifecycle::set_state(tx, &found, InstanceState::Destroyed)?;
            note(tx, caller, "destroy", &found.record, json!({}))?;
            Ok(being_destroyed(&found))
        }
        _ => Err(StoreError::Internal(
            "a request was decided without the instance it names".to_owned(),
        )),
    }
}

fn create(
    tx: &mut Tx<'_>,
    caller: Caller,
    wanted: &Wanted,
    place: &Place,
    state: InstanceState,
) -> Result<Done, StoreError> {
    let title = wanted.title.as_str();
    let (tree, project, requester) = match place {
        Place::Root { owner, tree } => {
            let (tree, project) = match tree {
                Some(known) => *known,
                None => {
                    let project = project_of(tx.sql(), caller, *owner, wanted)?;
                    let tree = tx.insert(
                        "INSERT INTO tree (project_id, person_id, title, upgrade, created_at) \
                         VALUES (?1, ?2, ?3, 'ask', ?4) RETURNING id",
                        params![project.0, owner.0, title, tx.now().0],
                    )?;
                    (TreeKey(tree), project)
                }
            };
            (tree, project, None)
        }
        Place::Member { requester } => {
            check_link(tx.sql(), requester, None)?;
            let record = &requester.record;
            (record.tree, record.project, Some(record.key))
        }
    };
    let software_type = wanted
        .software_type
        .as_ref()
        .map_or("default", |kind| kind.as_str());
    let release = lifecycle::release_key(tx, wanted.release.as_str())?;
    let units = placement::units(tx.sql(), project, release, software_type)?;
    let nothing = super::Texts::new();
    let sla = wanted.sla.as_ref().unwrap_or(&nothing);
    let shared = wanted.shared.unwrap_or_default();
    let now = tx.now();
    let candidate = Candidate {
        project,
        tree,
        release: wanted.release.as_str(),
        release_id: release,
        software_type,
        sla,
        units,
        shared,
    };
    let chosen = match state {
        InstanceState::Started => placement::choose(tx.sql(), &candidate, now)?.ok(),
        _ => None,
    };
    let host = match &chosen {
        Some(Chosen::Host(host)) => Some(host.0),
        _ => None,
    };
    let key = tx.insert(
        "INSERT INTO instance (tree_id, project_id, title, requester_id, shared, release_id, \
         software_type, parameters, sla, state, timestamp, placed, host_id, units, reported, \
         created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, '', ?11) \
         RETURNING id",
        params![
            tree.0,
            project.0,
            title,
            requester.map(|key| key.0),
            shared,
            release,
            software_type,
            lifecycle::json_text(wanted.parameters.as_ref().unwrap_or(&nothing))?,
            lifecycle::json_text(sla)?,
            state.as_str(),
            now.0,
            chosen.is_some(),
            host,
            units,
        ],
    )?;
    let key = InstanceKey(key);
    if let Some(chosen) = &chosen {
        placement::occupy(tx, key, &candidate, chosen, now)?;
    }
    tx.changes.trees.insert(tree);
    audit(
        tx,
        caller,
        "request",
        &key.to_string(),
        Some(project),
        json!({
            "title": title,
            "release": wanted.release.as_str(),
            "state": state.as_str(),
            "at": chosen.map(|chosen| chosen.to_string()),
        }),
    )?;
    instances::by_key(tx.sql(), key)?
        .map(shown)
        .ok_or_else(|| StoreError::Internal("a new instance is not there".to_owned()))
}

fn update(
    tx: &mut Tx<'_>,
    caller: Caller,
    wanted: &Wanted,
    place: &Place,
    found: &Found,
    state: InstanceState,
    differences: Differences,
) -> Result<Done, StoreError> {
    let record = &found.record;
    let key = record.key;
    if differences.tells() {
        versions::keep(tx, caller, found)?;
    }
    if differences.requester
        && let Place::Member { requester } = place
    {
        tx.execute(
            "UPDATE instance SET requester_id = ?2 WHERE id = ?1",
            params![key.0, requester.record.key.0],
        )?;
    }
    if differences.release || differences.software_type {
        let release = if differences.release {
            lifecycle::release_key(tx, wanted.release.as_str())?
        } else {
            found.release_id
        };
        let software_type = wanted
            .software_type
            .as_ref()
            .map_or(record.software_type.as_str(), |kind| kind.as_str());
        tx.execute(
            "UPDATE instance SET release_id = ?2, software_type = ?3 WHERE id = ?1",
            params![key.0, release, software_type],
        )?;
        if record.shared && found.placed {
            // Its host serves another release or type: it looks for one that fits.
            lifecycle::leave_host(tx, found)?;
        } else if found.placed {
            // It may serve shared ones that nobody could serve so far.
            tx.changes.hosts.insert((record.project, release));
        }
    }
    if let Some(parameters) = wanted
        .parameters
        .as_ref()
        .filter(|_| differences.parameters)
    {
        tx.execute(
            "UPDATE instance SET parameters = ?2 WHERE id = ?1",
            params![key.0, lifecycle::json_text(parameters)?],
        )?;
    }
    if let Some(sla) = wanted.sla.as_ref().filter(|_| differences.sla) {
        tx.execute(
            "UPDATE instance SET sla = ?2 WHERE id = ?1",
            params![key.0, lifecycle::json_text(sla)?],
        )?;
    }
    if differences.state {
        lifecycle::set_state(tx, found, state)?;
    }
    if differences.processing() {
        lifecycle::touch(tx, found)?;
    }
    tx.changes.trees.insert(record.tree);
    let mut changed = Vec::new();
    for (differs, name) in [
        (differences.release, "release"),
        (differences.software_type, "software_type"),
        (differences.parameters, "parameters"),
        (differences.sla, "sla"),
        (differences.state, "state"),
        (differences.requester, "requester"),
    ] {
        if differs {
            changed.push(name);
        }
    }
    note(
        tx,
        caller,
        "update",
        record,
        json!({"changed": changed, "state": state.as_str()}),
    )?;
    placement::try_place(tx, key)?;
    instances::by_key(tx.sql(), key)?
        .map(shown)
        .ok_or_else(|| StoreError::Internal("an updated instance is not there".to_owned()))
}

/// Writes the audit trail of an instance.
fn note(
    tx: &mut Tx<'_>,
    caller: Caller,
    action: &str,
    record: &InstanceRecord,
    detail: serde_json::Value,
) -> Result<(), StoreError> {
    audit(
        tx,
        caller,
        action,
        &record.key.to_string(),
        Some(record.project),
        detail,
    )
}
