//! What nodes say of themselves: their partitions, what they used, that all is to be done again.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::audit::audit;
use super::documents::on_node;
use super::instances::{from_row, select_instances};
use super::nodes::{gate, reopened};
use super::records::NodeDescription;
use super::sql::params;
use super::writer::Tx;
use super::{Store, StoreError, contact, lifecycle};
use crate::domain::access::{Action, Caller};
use crate::domain::{NodeKey, NodeReference, Refusal};

/// Partitions a node may describe.
const PARTITIONS_MAX: usize = 10_000;

impl Store {
    /// Stores what a node tells about itself (P 6.11). An unchanged description writes nothing. A
    /// partition that is no longer described takes nothing new; what is on it stays.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller is not that node, or the description makes no sense.
    pub async fn format(
        &self,
        caller: Caller,
        node: NodeReference,
        description: NodeDescription,
    ) -> Result<(), StoreError> {
        let mut names = HashSet::new();
        if description.partitions.len() > PARTITIONS_MAX
            || !description
                .partitions
                .iter()
                .all(|partition| !partition.name.is_empty() && names.insert(&partition.name))
        {
            return Err(Refusal::Invalid(format!(
                "a node describes at most {PARTITIONS_MAX} partitions, each under its own name"
            ))
            .into());
        }
        self.write(move |tx| {
            let gate = gate(tx.sql(), caller, Action::ActAsNode, node)?;
            let changed = apply_format(tx, node.key, &description)?;
            if changed {
                reopened(tx, node.key, gate.project)?;
                tx.changes.nodes.insert(node.key);
                audit(
                    tx,
                    caller,
                    "format",
                    &node.to_string(),
                    Some(gate.project),
                    json!({"partitions": description.partitions.len()}),
                )?;
            }
            contact::write(tx, node, gate.project, gate.alive, gate.contact_at)
        })
        .await
    }

    /// A node asks for reprocessing of all that is on it, with the trees above (P 6.8).
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller is not that node.
    pub async fn bang_node(
        &self,
        caller: Caller,
        node: NodeReference,
        message: String,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let gate = gate(tx.sql(), caller, Action::ActAsNode, node)?;
            for found in on_node(tx.sql(), node.key)? {
                super::reports::bang_up(tx, &found)?;
            }
            contact::set_status(tx, node, gate.project, &format!("#error bang: {message}"))?;
            audit(
                tx,
                caller,
                "bang_node",
                &node.to_string(),
                Some(gate.project),
                json!({"message": message}),
            )
        })
        .await
    }

    /// Keeps what a node says it used (P 6.12). The text is checked by the caller.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the caller is not that node.
    pub async fn usage(
        &self,
        caller: Caller,
        node: NodeReference,
        reference: String,
        body: String,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            gate(tx.sql(), caller, Action::ActAsNode, node)?;
            let now = tx.now();
            tx.execute(
                "INSERT INTO usage_report (node_id, reference, body, received_at) \
                 VALUES (?1, ?2, ?3, ?4)",
                params![node.key.0, reference.as_str(), body.as_str(), now.0],
            )?;
            tx.changes.shown.insert(node.key);
            Ok(())
        })
        .await
    }
}

/// Makes partitions what their node says they are; whether anything changed.
fn apply_format(
    tx: &mut Tx<'_>,
    node: NodeKey,
    description: &NodeDescription,
) -> Result<bool, StoreError> {
    let text = |value: serde_json::Result<String>| {
        value.map_err(|error| StoreError::Internal(error.to_string()))
    };
    let mut known: HashMap<String, (i64, i64, bool, String, String)> = HashMap::new();
    for row in tx.all(
        "SELECT name, id, position, active, addresses, capabilities FROM partition \
         WHERE node_id = ?1",
        params![node.0],
    )? {
        known.insert(
            row.text(0)?.to_owned(),
            (
                row.int(1)?,
                row.int(2)?,
                row.flag(3)?,
                row.text(4)?.to_owned(),
                row.text(5)?.to_owned(),
            ),
        );
    }
    let mut changed = false;
    for (position, partition) in (0i64..).zip(&description.partitions) {
        let addresses = text(serde_json::to_string(&partition.addresses))?;
        let mut sorted = partition.capabilities.clone();
        sorted.sort();
        let capabilities = text(serde_json::to_string(&sorted))?;
        match known.remove(&partition.name) {
            None => {
                tx.execute(
                    "INSERT INTO partition (node_id, name, position, active, addresses, \
                     capabilities) VALUES (?1, ?2, ?3, 1, ?4, ?5)",
                    params![node.0, &partition.name, position, addresses, capabilities],
                )?;
                changed = true;
            }
            Some((id, at, active, had_addresses, had_capabilities)) => {
                if at == position
                    && active
                    && had_addresses == addresses
                    && had_capabilities == capabilities
                {
                    continue;
                }
                tx.execute(
                    "UPDATE partition SET position = ?2, active = 1, addresses = ?3, \
                     capabilities = ?4 WHERE id = ?1",
                    params![id, position, addresses.as_str(), capabilities],
                )?;
                if had_addresses != addresses {
                    // What is there must learn its new addresses.
                    let found = tx.one(
                        select_instances!("WHERE p.id = ?1 AND i.shared = 0"),
                        params![id],
                    )?;
                    if let Some(row) = found {
                        lifecycle::touch(tx, &from_row(&row)?)?;
                    }
                }
                changed = true;
            }
        }
    }
    for (id, _, active, _, _) in known.into_values() {
        if active {
            tx.execute("UPDATE partition SET active = 0 WHERE id = ?1", params![id])?;
            changed = true;
        }
    }
    let described = tx.execute(
        "UPDATE node SET description = ?2 \
         WHERE id = ?1 AND (description IS NULL OR description <> ?2)",
        params![node.0, description.further.as_str()],
    )?;
    Ok(changed || described > 0)
}
