//! The schema: numbered migrations, forward only, embedded in the binary.

use rusqlite::Connection;

/// Marks a database as ours in its header ("SLAP").
pub(super) const APPLICATION_ID: i64 = 0x534C_4150;

/// The migrations; the one at index `n` leads from version `n` to version `n + 1`.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001.sql")];

/// The version this binary reads and writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// The version a database has; 0 when it is empty.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Runs the migrations that are missing. To be called inside a transaction.
pub(super) fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let from = usize::try_from(version(connection)?).unwrap_or_default();
    for migration in MIGRATIONS.iter().skip(from) {
        connection.execute_batch(migration)?;
    }
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)
}

/// Names of the tables that are there, SQLite's own left out.
pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )?
        .query_map([], |row| row.get(0))?
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn migrations_lead_from_nothing_to_the_present_and_run_once() {
        let connection = Connection::open_in_memory().unwrap();
        assert_eq!(version(&connection).unwrap(), 0);
        migrate(&connection).unwrap();
        assert_eq!(version(&connection).unwrap(), VERSION);
        let before = tables(&connection).unwrap();
        assert!(before.contains(&"instance".to_owned()));
        migrate(&connection).unwrap();
        assert_eq!(tables(&connection).unwrap(), before);
    }

    #[test]
    fn the_database_itself_refuses_a_partition_twice() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection).unwrap();
        connection
            .execute_batch(
                "INSERT INTO node (reference) VALUES ('n');
                 INSERT INTO partition (node_id, reference, position) VALUES (1, 'p', 0);
                 INSERT INTO tree (title, shared) VALUES ('a', 0), ('b', 0);",
            )
            .unwrap();
        let insert = |tree: i64| {
            connection.execute(
                "INSERT INTO instance (tree_id, is_root, title, shared, release, software_type,
                   state, parameters, sla, timestamp, partition_id)
                 VALUES (?1, 1, 't', 0, 'r', 'd', 'started', '{}', '{}', 0, 1)",
                [tree],
            )
        };
        insert(1).unwrap();
        assert!(insert(2).is_err());
    }
}
