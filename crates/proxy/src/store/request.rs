//! Carrying out a request: the decision is the domain's, this finds what it needs and writes what it
//! decided, in one transaction.

use std::borrow::Cow;

use rusqlite::Connection;
use slap::InstanceState;

use super::queries::{self, InstanceRow};
use super::writer::Write;
use super::{StoreError, touch};
use crate::domain::{
    Decision, HostWish, Instance, Known, Place, Refusal, Request, Update, choose_host, decide,
    shared_reference,
};

/// What is known when a request arrives.
struct Context {
    requester: Option<InstanceRow>,
    /// The state of the tree's root, for a request from inside the tree.
    root: Option<InstanceState>,
    known: Option<InstanceRow>,
}

impl Context {
    fn find(connection: &Connection, request: &Request) -> Result<Self, StoreError> {
        let title = request.title.as_str();
        // Who does not say whether it is a shared one means the one there is.
        let either = |find: &dyn Fn(bool) -> Result<Option<InstanceRow>, StoreError>| match find(
            request.shared,
        )? {
            None if request.omitted.shared => find(!request.shared),
            found => Ok(found),
        };
        let Some(place) = &request.requester else {
            return Ok(Context {
                requester: None,
                root: None,
                known: either(&|shared| queries::root(connection, title, shared))?,
            });
        };
        let requester = requester(connection, place)?;
        let root = if requester.instance.is_root {
            Some(requester.instance.state)
        } else {
            // A tree that lost its root goes on as it is.
            queries::tree_root(connection, requester.tree)?.map(|row| row.instance.state)
        };
        Ok(Context {
            known: either(&|shared| queries::member(connection, requester.tree, title, shared))?,
            root: Some(root.unwrap_or(InstanceState::Started)),
            requester: Some(requester),
        })
    }

    /// The request with what it leaves out as the instance has it.
    fn complete<'r>(&self, request: &'r Request) -> Cow<'r, Request> {
        match &self.known {
            Some(row) => request.completed_by(&row.instance),
            None => Cow::Borrowed(request),
        }
    }

    fn decide(&self, request: &Request) -> Result<Decision, Refusal> {
        let known = self.known.as_ref().map(|row| Known {
            instance: &row.instance,
            same_requester: row.requester == self.requester.as_ref().map(|row| row.instance.id.0),
        });
        decide(request, known.as_ref(), self.root)
    }
}

/// The instance on the partition that asks.
pub(super) fn requester(connection: &Connection, place: &Place) -> Result<InstanceRow, StoreError> {
    let partition = super::known_partition(connection, place)?;
    queries::instance_on_partition(connection, partition)?.ok_or_else(|| {
        StoreError::Refused(Refusal::NoInstance {
            node: place.node.as_str().to_owned(),
            partition: place.partition.as_str().to_owned(),
        })
    })
}

/// The answer to a request that changes nothing, without writing; `None` when it would write.
pub(super) fn peek(
    connection: &Connection,
    request: &Request,
) -> Result<Option<Instance>, StoreError> {
    let context = Context::find(connection, request)?;
    let request = &*context.complete(request);
    match (context.decide(request)?, context.known) {
        (Decision::Unchanged, Some(row)) => queries::with_addresses(connection, row).map(Some),
        _ => Ok(None),
    }
}

/// Whether what a request names is there already.
pub(super) fn is_known(connection: &Connection, request: &Request) -> Result<bool, StoreError> {
    Ok(Context::find(connection, request)?.known.is_some())
}

/// Carries out a request and returns the instance as it now is (or, removed, as it was).
pub(super) fn execute(
    write: &mut Write<'_>,
    request: &Request,
    default_node: &str,
) -> Result<Instance, StoreError> {
    let connection = write.connection;
    let context = Context::find(connection, request)?;
    let request = &*context.complete(request);
    let decision = context.decide(request)?;
    let id = match (decision, &context.known) {
        (Decision::Create(state), _) if request.shared => {
            create_shared(write, request, default_node, &context, state)?
        }
        (Decision::Create(state), _) => create(write, request, default_node, &context, state)?,
        (Decision::Update(state, update), Some(row)) => {
            change(write, request, default_node, &context, row, state, &update)?;
            row.instance.id.0
        }
        (Decision::Remove, Some(row)) => {
            let answer = queries::with_addresses(connection, row.clone())?;
            super::remove_shared(write, row)?;
            return Ok(answer);
        }
        (_, Some(row)) => row.instance.id.0,
        (_, None) => return Err(vanished()),
    };
    let row = queries::instance_by_id(connection, id)?.ok_or_else(vanished)?;
    queries::with_addresses(connection, row)
}

/// The decision is taken in the same transaction, so this cannot be.
fn vanished() -> StoreError {
    StoreError::Corrupt {
        what: "an instance",
        detail: "it is not there any more".to_owned(),
    }
}

fn create(
    write: &mut Write<'_>,
    request: &Request,
    default_node: &str,
    context: &Context,
    state: InstanceState,
) -> Result<i64, StoreError> {
    let node = request.sla_text("computer_guid").unwrap_or(default_node);
    let partition = queries::first_free_partition(write.connection, node)?.ok_or_else(|| {
        Refusal::NoFreePartition {
            title: request.title.as_str().to_owned(),
        }
    })?;
    write
        .connection
        .prepare_cached("UPDATE partition SET busy = 1 WHERE id = ?1")?
        .execute([partition])?;
    let id = insert(write, request, context, state, Some(partition), None, None)?;
    write.changes.node(node);
    Ok(id)
}

fn create_shared(
    write: &mut Write<'_>,
    request: &Request,
    default_node: &str,
    context: &Context,
    state: InstanceState,
) -> Result<i64, StoreError> {
    let host = find_host(write.connection, request, default_node)?;
    let root = context
        .requester
        .as_ref()
        .map(|row| row.instance.root_title.as_str());
    let wanted = shared_reference(root, request.title.as_str());
    let reference = free_reference(write.connection, wanted)?;
    let id = insert(
        write,
        request,
        context,
        state,
        None,
        Some(host),
        Some(&reference),
    )?;
    touch(write, host)?;
    Ok(id)
}

/// `a_b` and `c` name a shared instance like `a` and `b_c` do; a number keeps two of them apart.
fn free_reference(connection: &Connection, wanted: String) -> Result<String, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM instance WHERE reference = ?1")?;
    let mut reference = wanted.clone();
    let mut number = 1;
    while statement.exists([&reference])? {
        number += 1;
        reference = format!("{wanted}~{number}");
    }
    Ok(reference)
}

fn find_host(
    connection: &Connection,
    request: &Request,
    default_node: &str,
) -> Result<i64, StoreError> {
    let guid = request.sla_text("instance_guid");
    let node = request.sla_text("computer_guid");
    let release = request.release.as_str();
    let software_type = request.software_type.as_str();
    let wish = HostWish {
        release,
        software_type,
        // A host named by its reference may be on any node.
        node: node.or(guid.is_none().then_some(default_node)),
        guid,
    };
    let candidates = queries::host_candidates(connection, release, software_type)?;
    choose_host(&wish, &candidates)
        .map(|host| host.id.0)
        .ok_or_else(|| {
            let wish = [release, node.unwrap_or(default_node), software_type]
                .into_iter()
                .chain(guid)
                .map(str::to_owned)
                .collect();
            StoreError::Refused(Refusal::NoHost { wish })
        })
}

fn insert(
    write: &mut Write<'_>,
    request: &Request,
    context: &Context,
    state: InstanceState,
    partition: Option<i64>,
    host: Option<i64>,
    reference: Option<&str>,
) -> Result<i64, StoreError> {
    let connection = write.connection;
    let title = request.title.as_str();
    let tree = match &context.requester {
        Some(requester) => requester.tree,
        None => match queries::tree_by_title(connection, title, request.shared)? {
            // Its root was freed before its members were.
            Some(tree) => tree,
            None => {
                connection
                    .prepare_cached("INSERT INTO tree (title, shared) VALUES (?1, ?2)")?
                    .execute((title, request.shared))?;
                connection.last_insert_rowid()
            }
        },
    };
    connection
        .prepare_cached(
            "INSERT INTO instance (tree_id, is_root, requester_id, title, shared, reference, \
             release, software_type, state, parameters, sla, timestamp, partition_id, host_id) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute((
            tree,
            context.requester.is_none(),
            context.requester.as_ref().map(|row| row.instance.id.0),
            title,
            request.shared,
            reference,
            request.release.as_str(),
            request.software_type.as_str(),
            state.as_str(),
            queries::write_parameters(&request.parameters),
            queries::write_parameters(&request.sla),
            write.now.nanoseconds(),
            partition,
            host,
        ))?;
    Ok(connection.last_insert_rowid())
}

fn change(
    write: &mut Write<'_>,
    request: &Request,
    default_node: &str,
    context: &Context,
    row: &InstanceRow,
    state: InstanceState,
    update: &Update,
) -> Result<(), StoreError> {
    let connection = write.connection;
    let host = if update.host {
        Some(find_host(connection, request, default_node)?)
    } else {
        row.host
    };
    let timestamp = if update.processing || update.host {
        row.instance.timestamp.advance(write.now)
    } else {
        row.instance.timestamp
    };
    connection
        .prepare_cached(
            "UPDATE instance SET requester_id = ?2, release = ?3, software_type = ?4, state = ?5, \
             parameters = ?6, sla = ?7, timestamp = ?8, host_id = ?9 WHERE id = ?1",
        )?
        .execute((
            row.instance.id.0,
            context.requester.as_ref().map(|row| row.instance.id.0),
            request.release.as_str(),
            request.software_type.as_str(),
            state.as_str(),
            queries::write_parameters(&request.parameters),
            queries::write_parameters(&request.sla),
            timestamp.nanoseconds(),
            host,
        ))?;
    if let Some(place) = &row.instance.place {
        write.changes.node(place.node.as_str());
    }
    // A host is told whatever its shared instances become, the one that loses one too.
    if row.instance.shared && (update.processing || update.host) {
        for host in [row.host, host.filter(|host| row.host != Some(*host))]
            .into_iter()
            .flatten()
        {
            touch(write, host)?;
        }
    }
    Ok(())
}
