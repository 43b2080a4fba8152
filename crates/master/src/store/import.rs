//! Taking over the database of upstream's proxy (P 6.17).

use std::collections::HashSet;
use std::path::Path;

use rusqlite::Connection;
use slap::NodeId;

use super::OpenError;
use crate::domain::Clock;

/// The one schema version that is taken over.
const VERSION: u32 = 18;

/// The schema version of upstream's proxy that these tables are of, if they are.
pub(super) fn upstream_version(tables: &HashSet<String>) -> Option<u32> {
    tables
        .iter()
        .filter_map(|table| table.strip_prefix("partition")?.parse().ok())
        .filter(|version| tables.contains(&format!("computer{version}")))
        .max()
}

/// Takes the tables over, in one transaction, after leaving a copy beside the file.
pub(super) fn run(
    path: &Path,
    _connection: &mut Connection,
    version: u32,
    _default_node: &NodeId,
    _clock: &dyn Clock,
) -> Result<(), OpenError> {
    if version != VERSION {
        return Err(OpenError::UpstreamSchema {
            path: path.to_owned(),
            found: version,
        });
    }
    Err(OpenError::Import {
        path: path.to_owned(),
        detail: "not supported yet".to_owned(),
    })
}
