//! What a request finds: who asks, for which tree, what is there, and what the rules make of it.

use slap::InstanceState;

use super::StoreError;
use super::instances::{self, Found};
use super::records::Wanted;
use super::sql::{Connection, params};
use crate::domain::access::{self, Action, Caller, Facts};
use crate::domain::request::{Asked, Decision, Differences, Stored, decide};
use crate::domain::{InstanceKey, PersonKey, ProjectKey, Refusal, Sla, TreeKey, tree};

/// Projects a person may belong to for one to be guessed.
const GUESS_PROJECTS: usize = 2;

/// Who asks, and for what tree.
pub(super) enum Place {
    /// A person, for the root of a tree of this title, which may not exist yet.
    Root {
        owner: PersonKey,
        tree: Option<(TreeKey, ProjectKey)>,
    },
    /// An instance, for a member of its tree.
    Member { requester: Box<Found> },
}

/// What a request finds.
pub(super) struct Situation {
    pub(super) place: Place,
    pub(super) known: Option<Found>,
    pub(super) decision: Decision,
}

/// Finds what a request is about, checks that the caller may ask, and decides.
pub(super) fn examine(
    sql: &mut Connection,
    caller: Caller,
    wanted: &Wanted,
) -> Result<Situation, StoreError> {
    let title = wanted.title.as_str();
    let place = locate(sql, caller, wanted)?;
    let (known, root_state) = match &place {
        Place::Root { tree: None, .. } => (None, None),
        Place::Root {
            tree: Some((tree, _)),
            ..
        } => (instances::root_of(sql, *tree)?, None),
        Place::Member { requester } => {
            let tree = requester.record.tree;
            if requester.record.root_title == title {
                return Err(Refusal::Invalid(format!(
                    "{title:?} is the title of the instance tree: its root cannot be requested from \
                     inside"
                ))
                .into());
            }
            if requester.record.state == InstanceState::Destroyed
                && wanted.state != Some(InstanceState::Destroyed)
            {
                return Err(Refusal::Conflict(format!(
                    "{} is being destroyed: it requests nothing any more",
                    requester.record.key
                ))
                .into());
            }
            let known = instances::by_title(sql, tree, title)?;
            let root = if requester.record.requester.is_none() {
                Some(requester.record.state)
            } else {
                instances::root_of(sql, tree)?.map(|root| root.record.state)
            };
            // A tree whose root is gone has nobody to ask.
            (known, Some(root.unwrap_or(InstanceState::Destroyed)))
        }
    };
    let requester = match &place {
        Place::Root { .. } => None,
        Place::Member { requester } => Some(requester.record.key),
    };
    let mut asked = Asked {
        release: wanted.release.as_str(),
        software_type: wanted.software_type.as_ref().map(|kind| kind.as_str()),
        parameters: wanted.parameters.as_ref(),
        sla: wanted.sla.as_ref(),
        state: wanted.state,
        shared: wanted.shared,
        requester,
    };
    let stored = known.as_ref().map(|found| Stored {
        release: &found.record.release,
        software_type: &found.record.software_type,
        parameters: &found.record.parameters,
        sla: &found.record.sla,
        state: found.record.state,
        shared: found.record.shared,
        requester: found.record.requester,
    });
    if let (Some(stored), Some(found), Place::Root { .. }) = (&stored, &known, &place)
        && stored.release != asked.release
        && was_upgraded_from(sql, found.record.tree, asked.release)?
    {
        // Who goes on asking for the release an accepted upgrade replaced does not go back.
        asked.release = stored.release;
    }
    let decision = decide(title, &asked, stored.as_ref(), root_state)?;
    if let (Decision::Update(_, differences), Some(found)) = (decision, &known) {
        check_update(sql, &place, found, &asked, differences)?;
    }
    Ok(Situation {
        place,
        known,
        decision,
    })
}

/// Who asks, and whether they may.
fn locate(sql: &mut Connection, caller: Caller, wanted: &Wanted) -> Result<Place, StoreError> {
    let requester = match (&wanted.requester, caller) {
        (Some(subject), _) => Some(instances::subject(
            sql,
            caller,
            Action::ActAsInstance,
            subject,
        )?),
        (None, Caller::Instance { instance, .. }) => Some(instances::subject(
            sql,
            caller,
            Action::ActAsInstance,
            &super::Subject::Instance(instance),
        )?),
        (None, _) => None,
    };
    if let Some(requester) = requester {
        return Ok(Place::Member {
            requester: Box::new(requester),
        });
    }
    let Caller::Person { person, .. } = caller else {
        access::check(caller, Action::RequestTree, &Facts::default(), "project")?;
        return Err(Refusal::Forbidden(
            "the root of an instance tree is requested by a person".to_owned(),
        )
        .into());
    };
    let tree = sql
        .one(
            "SELECT id, project_id FROM tree \
             WHERE person_id = ?1 AND title = ?2 AND archived_at IS NULL",
            params![person.0, wanted.title.as_str()],
        )?
        .map(|row| Ok::<_, StoreError>((TreeKey(row.int(0)?), ProjectKey(row.int(1)?))))
        .transpose()?;
    if let Some((_, project)) = tree {
        let named = named_project(wanted)?;
        if named.is_some_and(|named| named != project) {
            return Err(Refusal::Conflict(format!(
                "your instance tree {:?} belongs to project {project}; give another title, or that \
                 project",
                wanted.title.as_str()
            ))
            .into());
        }
        check_member(sql, caller, project)?;
    }
    Ok(Place::Root {
        owner: person,
        tree,
    })
}

fn check_member(
    sql: &mut Connection,
    caller: Caller,
    project: ProjectKey,
) -> Result<(), StoreError> {
    let facts = Facts {
        project: Some(project),
        role: instances::role_of(sql, caller, project)?,
        ..Facts::default()
    };
    access::check(
        caller,
        Action::RequestTree,
        &facts,
        &format!("project {project}"),
    )?;
    Ok(())
}

/// The project a request names, by itself or in its SLA.
fn named_project(wanted: &Wanted) -> Result<Option<ProjectKey>, Refusal> {
    if wanted.project.is_some() {
        return Ok(wanted.project);
    }
    let text = wanted
        .sla
        .as_ref()
        .and_then(|sla| sla.get("project_guid"))
        .filter(|text| !text.is_empty());
    text.map(|text| {
        text.parse()
            .map_err(|error| Refusal::Invalid(format!("project_guid: {error}")))
    })
    .transpose()
}

/// The project of a new tree: named, or the only one of the person, or that of the node or network
/// the SLA names, or the only one with that release (P 6.3).
pub(super) fn project_of(
    sql: &mut Connection,
    caller: Caller,
    owner: PersonKey,
    wanted: &Wanted,
) -> Result<ProjectKey, StoreError> {
    if let Some(project) = named_project(wanted)? {
        check_member(sql, caller, project)?;
        let open = sql.one(
            "SELECT id FROM project WHERE id = ?1 AND closed_at IS NULL",
            params![project.0],
        )?;
        return open
            .map(|_| project)
            .ok_or_else(|| Refusal::unknown("open project", project).into());
    }
    let keys = |rows: Vec<super::sql::Row>| -> Result<Vec<ProjectKey>, StoreError> {
        rows.iter().map(|row| Ok(ProjectKey(row.int(0)?))).collect()
    };
    let mine = keys(sql.all(
        "SELECT p.id FROM project p JOIN member m ON m.project_id = p.id \
         WHERE m.person_id = ?1 AND p.closed_at IS NULL ORDER BY p.id",
        params![owner.0],
    )?)?;
    if let [only] = mine.as_slice() {
        return Ok(*only);
    }
    let among_mine = |found: Vec<ProjectKey>| -> Option<ProjectKey> {
        let mut found = found.into_iter().filter(|project| mine.contains(project));
        match (found.next(), found.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    };
    if let Some(sla) = wanted.sla.as_ref().and_then(|sla| Sla::parse(sla).ok()) {
        if let Some(node) = sla.node {
            let found = keys(sql.all(
                "SELECT project_id FROM node WHERE id = ?1 AND removed_at IS NULL",
                params![node.key.0],
            )?)?;
            if let Some(project) = among_mine(found) {
                return Ok(project);
            }
        }
        if let Some(network) = sla.network {
            let found = keys(sql.all(
                "SELECT project_id FROM network WHERE id = ?1",
                params![network.0],
            )?)?;
            if let Some(project) = among_mine(found) {
                return Ok(project);
            }
        }
    }
    let offering = keys(sql.all(
        "SELECT DISTINCT p.project_id FROM product p \
         JOIN product_release pr ON pr.product_id = p.id JOIN release r ON r.id = pr.release_id \
         WHERE r.url = ?1 ORDER BY p.project_id",
        params![wanted.release.as_str()],
    )?)?;
    if let Some(project) = among_mine(offering) {
        return Ok(project);
    }
    let names: Vec<String> = mine.iter().map(ToString::to_string).collect();
    Err(Refusal::Invalid(if names.len() < GUESS_PROJECTS {
        "you belong to no project: ask a manager of one to add you (`slapos master project member \
         add`)"
            .to_owned()
    } else {
        format!(
            "you belong to several projects ({}): say which with the SLA entry project_guid",
            names.join(", ")
        )
    })
    .into())
}

fn was_upgraded_from(
    sql: &mut Connection,
    tree: TreeKey,
    release: &str,
) -> Result<bool, StoreError> {
    Ok(sql
        .one(
            "SELECT d.id FROM upgrade_decision d JOIN release r ON r.id = d.from_release_id \
             WHERE d.tree_id = ?1 AND r.url = ?2 AND d.state = 'done' LIMIT 1",
            params![tree.0, release],
        )?
        .is_some())
}

/// What only the database can tell about an update.
fn check_update(
    sql: &mut Connection,
    place: &Place,
    found: &Found,
    asked: &Asked<'_>,
    differences: Differences,
) -> Result<(), StoreError> {
    match place {
        Place::Root { .. } if differences.release => {
            let Some(node) = found.node() else {
                return Ok(());
            };
            let available = sql.one(
                "SELECT s.id FROM installation s JOIN release r ON r.id = s.release_id \
                 WHERE s.node_id = ?1 AND r.url = ?2 AND s.state = 'available' \
                 AND s.reported = 'available' AND s.removed_at IS NULL",
                params![node.0, asked.release],
            )?;
            if available.is_none() && !found.record.shared {
                let node = found
                    .record
                    .placement
                    .as_ref()
                    .map(|place| place.node.to_string())
                    .unwrap_or_default();
                return Err(Refusal::Conflict(format!(
                    "{:?} runs {} on {node}, where {} is not available: `slapos supply {} {node}` \
                     first, and ask again when it is built",
                    found.record.title, found.record.release, asked.release, asked.release
                ))
                .into());
            }
        }
        Place::Member { requester } if differences.requester => {
            check_link(sql, requester, Some(found))?;
        }
        _ => {}
    }
    Ok(())
}

/// Checks that an instance may request another one, which may be new (P 6.4).
pub(super) fn check_link(
    sql: &mut Connection,
    requester: &Found,
    requested: Option<&Found>,
) -> Result<(), StoreError> {
    let requested = requested.map(|found| found.record.key);
    let mut chain = vec![requester.record.key];
    let mut above = requester.record.requester;
    while let Some(key) = above.filter(|_| chain.len() <= tree::DEPTH_MAX) {
        chain.push(key);
        above = instances::by_key(sql, key)?.and_then(|found| found.record.requester);
    }
    let members = if requested.is_some() {
        instances::of_tree(sql, requester.record.tree)?
    } else {
        Vec::new()
    };
    let mut height = 0;
    let mut level: Vec<InstanceKey> = requested.into_iter().collect();
    while height <= tree::DEPTH_MAX {
        level = members
            .iter()
            .filter(|member| {
                member
                    .record
                    .requester
                    .is_some_and(|requester| level.contains(&requester))
            })
            .map(|member| member.record.key)
            .collect();
        if level.is_empty() {
            break;
        }
        height += 1;
    }
    let count = sql
        .one(
            "SELECT COUNT(*) FROM instance WHERE requester_id = ?1 AND removed_at IS NULL \
             AND state <> 'destroyed' AND id <> ?2",
            params![requester.record.key.0, requested.map_or(0, |key| key.0)],
        )?
        .map(|row| row.int(0))
        .transpose()?
        .unwrap_or_default();
    let successors = usize::try_from(count).unwrap_or(usize::MAX);
    tree::check_link(&chain, successors, requested, height)
        .map_err(|mistake| Refusal::Conflict(mistake.to_string()).into())
}
