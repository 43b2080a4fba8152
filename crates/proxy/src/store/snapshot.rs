//! A look at all that is stored, for people. The Master that owns the database may be running.

use std::path::Path;

use rusqlite::Connection;
use slap::InstallationState;

use super::{Kind, OpenError, StoreError, kind, queries, reader};
use crate::domain::{Instance, Node};

/// An instance and the partition that requested it.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceRecord {
    /// The instance.
    pub instance: Instance,
    /// The partition of its requester; `user` for a person.
    pub requester: String,
}

/// All that is stored, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The nodes that described themselves.
    pub nodes: Vec<Node>,
    /// Releases asked for: node, release, state.
    pub installations: Vec<(String, String, InstallationState)>,
    /// All instances: by node and partition, then the shared ones.
    pub instances: Vec<InstanceRecord>,
    /// The addresses of each partition: node, partition, addresses.
    pub addresses: Vec<(String, String, Vec<String>)>,
}

impl Snapshot {
    /// Reads a database. Nothing is created or changed.
    ///
    /// # Errors
    /// [`OpenError`] when it is missing or not ours; what cannot be read counts as that, too.
    pub fn read(path: &Path) -> Result<Self, OpenError> {
        let connection = open(path)?;
        (|| {
            connection.execute_batch("BEGIN")?;
            Ok(Snapshot {
                nodes: queries::nodes(&connection)?,
                installations: queries::all_installations(&connection)?,
                instances: queries::all_instances(&connection)?
                    .into_iter()
                    .map(|(row, requester)| InstanceRecord {
                        instance: row.instance,
                        requester,
                    })
                    .collect(),
                addresses: queries::all_addresses(&connection)?,
            })
        })()
        .map_err(|error: StoreError| match error {
            StoreError::Database(source) => OpenError::Database {
                path: path.to_owned(),
                source,
            },
            other => OpenError::Unreadable {
                path: path.to_owned(),
                detail: other.to_string(),
            },
        })
    }
}

fn open(path: &Path) -> Result<Connection, OpenError> {
    if !path.is_file() {
        return Err(OpenError::Missing {
            path: path.to_owned(),
        });
    }
    let connection = reader(path).map_err(|source| OpenError::Database {
        path: path.to_owned(),
        source,
    })?;
    match kind(path, &connection)? {
        Kind::Ours => Ok(connection),
        Kind::Empty => Err(OpenError::Foreign {
            path: path.to_owned(),
        }),
        Kind::Upstream { .. } => Err(OpenError::NotTakenOver {
            path: path.to_owned(),
        }),
    }
}
